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
            kinds=("table", "vector"),
        ),
        Entry(
            "residual-conv",
            "stages of residual convolutions on standardised pixels",
            "He et al. (2016)",
            "netwright.recipes.templates:residual_conv",
            kinds=("image", "table"),
            needs=("image",),
        ),
        Entry(
            "ngram-bag",
            "sums of the vectors of hashed n-grams of words and characters",
            "Joulin et al. (2017); Bojanowski et al. (2017)",
            "netwright.recipes.templates:ngram_bag",
            kinds=("text", "table"),
            needs=("text",),
        ),
        Entry(
            "word-conv",
            "one-dimensional convolutions over words, maximum over the text",
            "Kim (2014)",
            "netwright.recipes.templates:word_conv",
            kinds=("text", "table"),
            needs=("text",),
        ),
        Entry(
            "char-conv",
            "one-dimensional convolutions over characters, maximum over the text",
            "Zhang, Zhao and LeCun (2015); dos Santos and Gatti (2014)",
            "netwright.recipes.templates:char_conv",
            kinds=("text", "table"),
            needs=("text",),
        ),
        Entry(
            "mlp",
            "inputs from 0 to 1, one-hot categories, layers of sums and activations",
            "Rumelhart, Hinton and Williams (1986)",
            "netwright.recipes.mlp:mlp",
            kinds=("table", "vector", "image"),
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
            kinds=("table", "vector"),
            tasks=("binary", "classes"),
        ),
        Entry(
            "table-regressor",
            "residual perceptron with squared error for a number from a table",
            "Gorishniy et al. (2021, 2022)",
            "netwright.recipes.book:table_regressor",
            kinds=("table", "vector"),
            tasks=("number",),
        ),
        Entry(
            "image-classifier",
            "residual convolutions with cross-entropy for classes of images",
            "He et al. (2016)",
            "netwright.recipes.book:image_classifier",
            kinds=("image",),
            tasks=("binary", "classes"),
        ),
        Entry(
            "image-regressor",
            "residual convolutions with squared error for a number from an image",
            "He et al. (2016)",
            "netwright.recipes.book:image_regressor",
            kinds=("image",),
            tasks=("number",),
        ),
        Entry(
            "text-classifier",
            "hashed n-grams with cross-entropy for classes of texts",
            "Joulin et al. (2017)",
            "netwright.recipes.book:text_classifier",
            kinds=("text",),
            tasks=("binary", "classes"),
        ),
        Entry(
            "text-regressor",
            "hashed n-grams with squared error for a number from a text",
            "Joulin et al. (2017)",
            "netwright.recipes.book:text_regressor",
            kinds=("text",),
            tasks=("number",),
        ),
        Entry(
            "mlp-classifier",
            "multi-layer perceptron by the book for classes from a table",
            "Rumelhart, Hinton and Williams (1986)",
            "netwright.recipes.mlp:mlp_classifier",
            kinds=("table", "vector"),
            tasks=("binary", "classes"),
        ),
        Entry(
            "mlp-regressor",
            "multi-layer perceptron by the book for a number from a table",
            "Rumelhart, Hinton and Williams (1986)",
            "netwright.recipes.mlp:mlp_regressor",
            kinds=("table", "vector"),
            tasks=("number",),
        ),
    ],
)
