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
    ],
)
