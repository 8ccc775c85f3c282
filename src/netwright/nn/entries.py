"""The gallery of layers and of networks composed of them."""

from netwright.core.entry import Entry, Gallery

LAYERS = Gallery(
    "layer",
    [
        Entry(
            "piecewise-linear",
            "numbers to vectors by a piecewise-linear encoding between quantiles",
            "Gorishniy, Rubachev and Babenko (2022)",
            "netwright.nn.embed:PiecewiseLinear",
        ),
        Entry(
            "category-embedding",
            "category codes to learned vectors, with one for categories never seen",
            "Guo and Berkhahn (2016)",
            "netwright.nn.embed:CategoryEmbedding",
        ),
        Entry(
            "residual-block",
            "norm, two linear maps and dropout on a branch beside the identity",
            "He et al. (2016); Gorishniy et al. (2021)",
            "netwright.nn.residual:ResidualBlock",
        ),
        Entry(
            "residual-mlp",
            "perceptron of residual blocks whose head starts close to zero",
            "He et al. (2016); Gorishniy et al. (2021)",
            "netwright.nn.residual:ResidualMLP",
        ),
        Entry(
            "ensemble",
            "mean of the outputs of networks that were trained each on its own",
            "Hansen and Salamon (1990); Lakshminarayanan et al. (2017)",
            "netwright.nn.ensemble:Ensemble",
        ),
        Entry(
            "residual-conv-block",
            "two 3 x 3 convolutions with batch norm on a branch beside the identity",
            "He et al. (2016); Zagoruyko and Komodakis (2016)",
            "netwright.nn.convnet:ResidualConvBlock",
        ),
        Entry(
            "residual-conv-net",
            "stages of residual blocks, each at half the size of the one before",
            "He et al. (2016)",
            "netwright.nn.convnet:ResidualConvNet",
        ),
        Entry(
            "augment",
            "random shifts, turns, zooms and mirrorings of a batch of images, in training only",
            "Simard, Steinkraus and Platt (2003); Riba et al. (2020)",
            "netwright.nn.augment:Augment",
        ),
        Entry(
            "ngram-bag-layer",
            "sum of the vectors of hashed n-grams of tokens over the root of their number",
            "Joulin et al. (2017)",
            "netwright.nn.text:NgramBag",
        ),
        Entry(
            "token-conv",
            "convolutions over embedded tokens and the maximum of each feature over the text",
            "Kim (2014)",
            "netwright.nn.text:TokenConv",
        ),
    ],
)
