"""The gallery of templates and of named recipes."""

from netwright.core.entry import Entry, Gallery

TEMPLATES = Gallery(
    "template",
    [
        Entry(
            "residual-mlp",
            "residual perceptron on embeddings of numbers and categories",
            "Gorishniy et al. (2021, 2022)",
            "netwright.recipes.templates:residual_mlp",
        ),
        Entry(
            "linear",
            "one linear map of standardised numbers and category embeddings",
            "Cox (1958)",
            "netwright.recipes.templates:linear",
        ),
    ],
)

RECIPES = Gallery(
    "recipe",
    [
        Entry(
            "table-classifier",
            "residual perceptron with cross-entropy for classes from a table",
            "Gorishniy et al. (2021, 2022)",
            "netwright.recipes.book:table_classifier",
            kinds=("table",),
            tasks=("binary", "classes"),
        ),
        Entry(
            "table-regressor",
            "residual perceptron with squared error for a number from a table",
            "Gorishniy et al. (2021, 2022)",
            "netwright.recipes.book:table_regressor",
            kinds=("table",),
            tasks=("number",),
        ),
    ],
)
