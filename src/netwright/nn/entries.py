"""The gallery of layers and of networks composed of them."""

from netwright.core.entry import Entry, Example, Gallery, Whole

LAYERS = Gallery(
    "layer",
    [
        Entry(
            "piecewise-linear",
            "numbers to vectors by a piecewise-linear encoding between quantiles",
            "Gorishniy, Rubachev and Babenko (2022)",
            "netwright.nn.embed:PiecewiseLinear",
            example=Example({"knots": ((0.0, 1.0, 2.0, 4.0), (-1.0, 0.0, 1.0)), "dim": 8}, inputs=((4, 2),)),
        ),
        Entry(
            "category-embedding",
            "category codes to learned vectors, with one for categories never seen",
            "Guo and Berkhahn (2016)",
            "netwright.nn.embed:CategoryEmbedding",
            example=Example({"n_codes": (4, 3), "dim": 8}, inputs=(Whole((4, 2), below=3),)),
        ),
        Entry(
            "residual-block",
            "norm, two linear maps and dropout on a branch beside the identity",
            "He et al. (2016); Gorishniy et al. (2021)",
            "netwright.nn.residual:ResidualBlock",
            example=Example({"width": 16, "hidden": 32}, inputs=((4, 16),)),
        ),
        Entry(
            "residual-mlp",
            "perceptron of residual blocks whose head starts close to zero",
            "He et al. (2016); Gorishniy et al. (2021)",
            "netwright.nn.residual:ResidualMLP",
            example=Example({"n_in": 5, "n_out": 3, "width": 16}, inputs=((4, 5),)),
        ),
        Entry(
            "ensemble",
            "mean of the outputs of networks that were trained each on its own",
            "Hansen and Salamon (1990); Lakshminarayanan et al. (2017)",
            "netwright.nn.ensemble:Ensemble",
            example=Example(make="netwright.nn.example:ensemble"),
        ),
        Entry(
            "residual-conv-block",
            "two 3 x 3 convolutions with batch norm on a branch beside the identity",
            "He et al. (2016); Zagoruyko and Komodakis (2016)",
            "netwright.nn.convnet:ResidualConvBlock",
            example=Example({"width": 8}, inputs=((2, 8, 14, 14),)),
        ),
        Entry(
            "residual-conv-net",
            "stages of residual blocks, each at half the size of the one before",
            "He et al. (2016)",
            "netwright.nn.convnet:ResidualConvNet",
            example=Example({"channels": 1, "height": 28, "width_pixels": 28, "width": 8}, inputs=((2, 1, 28, 28),)),
        ),
        Entry(
            "augment",
            "random shifts, turns, zooms and mirrorings of a batch of images, in training only",
            "Simard, Steinkraus and Platt (2003); Riba et al. (2020)",
            "netwright.nn.augment:Augment",
            example=Example({"shift": 0.1, "rotate": 10.0}, inputs=((2, 1, 28, 28),)),
        ),
        Entry(
            "ngram-bag-layer",
            "sum of the vectors of hashed n-grams of tokens over the root of their number",
            "Joulin et al. (2017)",
            "netwright.nn.text:NgramBag",
            example=Example({"n_ids": 100, "dim": 8, "buckets": 1024}, inputs=(Whole((2, 12), below=100, least=1),)),
        ),
        Entry(
            "token-conv",
            "convolutions over embedded tokens and the maximum of each feature over the text",
            "Kim (2014)",
            "netwright.nn.text:TokenConv",
            example=Example({"n_ids": 100, "dim": 8, "width": 16}, inputs=(Whole((2, 12), below=100, least=1),)),
        ),
        Entry(
            "mlp",
            "multi-layer perceptron of any widths and activation",
            "Rumelhart, Hinton and Williams (1986)",
            "netwright.nn.mlp:MLP",
        ),
        Entry(
            "threshold-net",
            "binary units with weights -1 and +1 that compute a boolean expression or a truth table",
            "McCulloch and Pitts (1943)",
            "netwright.nn.threshold:ThresholdNet",
        ),
    ],
)

ACTIVATIONS = Gallery(
    "activation",
    [
        Entry(
            "step",
            "1 from 0 on and 0 below: fires or does not",
            "McCulloch and Pitts (1943)",
            "netwright.nn.activations:step",
        ),
        Entry("sign", "1 from 0 on and -1 below", "Rosenblatt (1958)", "netwright.nn.activations:sign"),
        Entry(
            "identity",
            "the number itself: layers of it are one linear map",
            "Widrow and Hoff (1960)",
            "netwright.nn.activations:identity",
        ),
        Entry(
            "sigmoid",
            "logistic curve from 0 to 1",
            "Verhulst (1845); Rumelhart, Hinton and Williams (1986)",
            "netwright.nn.activations:sigmoid",
        ),
        Entry(
            "tanh",
            "hyperbolic tangent, from -1 to 1",
            "LeCun, Bottou, Orr and Mueller (1998)",
            "netwright.nn.activations:tanh",
        ),
        Entry(
            "scaled-tanh",
            "hyperbolic tangent that takes 1 to 1 and -1 to -1",
            "LeCun (1989); LeCun et al. (1998)",
            "netwright.nn.activations:scaled_tanh",
        ),
        Entry(
            "hard-sigmoid",
            "three straight pieces in place of the sigmoid",
            "Courbariaux, Bengio and David (2015); Howard et al. (2019) for the slope",
            "netwright.nn.activations:hard_sigmoid",
        ),
        Entry(
            "hard-tanh",
            "three straight pieces in place of the hyperbolic tangent",
            "Collobert (2004)",
            "netwright.nn.activations:hard_tanh",
        ),
        Entry(
            "relu",
            "rectified linear unit: 0 below 0, the number itself above",
            "Fukushima (1969); Nair and Hinton (2010)",
            "netwright.nn.activations:relu",
        ),
        Entry("relu6", "rectified linear unit that stops at 6", "Krizhevsky (2010)", "netwright.nn.activations:relu6"),
        Entry(
            "squared-relu",
            "square of the rectified linear unit",
            "So et al. (2021)",
            "netwright.nn.activations:squared_relu",
        ),
        Entry(
            "leaky-relu",
            "rectified linear unit with a small slope below 0",
            "Maas, Hannun and Ng (2013)",
            "netwright.nn.activations:leaky_relu",
        ),
        Entry(
            "prelu",
            "rectified linear unit whose slope below 0 is learned",
            "He et al. (2015)",
            "netwright.nn.activations:prelu",
        ),
        Entry(
            "elu",
            "exponential linear unit: falls smoothly to -1",
            "Clevert, Unterthiner and Hochreiter (2016)",
            "netwright.nn.activations:elu",
        ),
        Entry(
            "selu",
            "exponential linear unit, scaled so that mean 0 and variance 1 are kept",
            "Klambauer et al. (2017)",
            "netwright.nn.activations:selu",
        ),
        Entry(
            "celu",
            "exponential linear unit whose slope is continuous for every depth",
            "Barron (2017)",
            "netwright.nn.activations:celu",
        ),
        Entry(
            "gelu",
            "the number times the probability that a normal one is smaller",
            "Hendrycks and Gimpel (2016)",
            "netwright.nn.activations:gelu",
        ),
        Entry(
            "silu",
            "the number times its sigmoid, also called swish",
            "Elfwing, Uchibe and Doya (2018); Ramachandran, Zoph and Le (2017)",
            "netwright.nn.activations:silu",
        ),
        Entry(
            "hard-swish",
            "straight and square pieces in place of swish",
            "Howard et al. (2019)",
            "netwright.nn.activations:hard_swish",
        ),
        Entry(
            "mish",
            "the number times the hyperbolic tangent of its softplus",
            "Misra (2020)",
            "netwright.nn.activations:mish",
        ),
        Entry(
            "softplus",
            "smooth form of the rectified linear unit",
            "Dugas et al. (2001)",
            "netwright.nn.activations:softplus",
        ),
        Entry("log-sigmoid", "logarithm of the sigmoid", "Verhulst (1845)", "netwright.nn.activations:log_sigmoid"),
        Entry(
            "softsign",
            "the number over one more than its size",
            "Bergstra et al. (2009)",
            "netwright.nn.activations:softsign",
        ),
        Entry(
            "gaussian", "bell that fires near 0 only", "Broomhead and Lowe (1988)", "netwright.nn.activations:gaussian"
        ),
        Entry("sine", "sine wave", "Sitzmann et al. (2020)", "netwright.nn.activations:sine"),
    ],
)
"""Functions of one number. Softmax is none: its outputs depend on all inputs (`netwright.nn.activations.softmax_jacobian`)."""
