"""The gallery of explanations. Each is a probe: (Subject, *, budget_seconds, seed, **options) -> Finding."""

from netwright.core.entry import Entry, Gallery

EXPLANATIONS = Gallery(
    "explanation",
    [
        Entry(
            "permutation-importance",
            "how much worse the metric becomes when one column is shuffled",
            "Breiman (2001), Random forests; Fisher, Rudin and Dominici (2019), All models are wrong, but many are useful",
            "netwright.explain.permutation:permutation_importance",
            needs=("model", "data"),
            kinds=("table", "vector"),
        ),
        Entry(
            "sensitivity",
            "how far the answer moves with each number, by its gradient in raw units, and with each swap of a category",
            "Zurada, Malinowski and Cloete (1994), Sensitivity analysis; Simonyan, Vedaldi and Zisserman (2014)",
            "netwright.explain.sensitivity:sensitivity",
            needs=("model", "data"),
            kinds=("table", "vector"),
        ),
        Entry(
            "partial-dependence",
            "the mean answer over the range of the inputs that move it most",
            "Friedman (2001), Greedy function approximation; Goldstein et al. (2015), Peeking inside the black box",
            "netwright.explain.dependence:partial_dependence",
            needs=("model", "data"),
            kinds=("table", "vector"),
        ),
        Entry(
            "occlusion",
            "by how much the answer falls when a patch of the image is covered, place after place",
            "Zeiler and Fergus (2014), Visualizing and understanding convolutional networks",
            "netwright.explain.images:occlusion",
            needs=("model", "data", "images"),
            kinds=("image", "table"),
        ),
        Entry(
            "integrated-gradients",
            "how much of the answer each pixel is worth, by gradients on the way from the mean image",
            "Sundararajan, Taly and Yan (2017), Axiomatic attribution for deep networks",
            "netwright.explain.images:integrated_gradients",
            needs=("model", "data", "images"),
            kinds=("image", "table"),
        ),
        Entry(
            "deletion",
            "by how much the answer falls when a word of the text is left out, word after word",
            "Li, Monroe and Jurafsky (2016), Understanding neural networks through representation erasure",
            "netwright.explain.texts:deletion",
            needs=("model", "data", "texts"),
            kinds=("text", "table"),
        ),
        Entry(
            "token-gradients",
            "how much of the answer each token is worth, by integrated gradients on its embedding",
            "Sundararajan, Taly and Yan (2017), Axiomatic attribution for deep networks",
            "netwright.explain.tokens:token_gradients",
            needs=("model", "data", "texts"),
            kinds=("text", "table"),
        ),
        Entry(
            "attention",
            "how much attention takes from each word, step, element or column, drawn over what it was given",
            "Bahdanau, Cho and Bengio (2015), Neural machine translation by jointly learning to align and translate",
            "netwright.explain.attention:attention",
            needs=("model", "data", "attention"),
            kinds=("text", "series", "set", "table"),
        ),
        Entry(
            "filters",
            "what the first convolution looks for, and the maps that the layers make of some images, as pictures",
            "Zeiler and Fergus (2014), Visualizing and understanding convolutional networks",
            "netwright.explain.filters:filters",
            needs=("model", "data", "images"),
            kinds=("image", "table"),
        ),
        Entry(
            "shifts",
            "the score on test images that are all moved by some pixels, for every direction",
            "Azulay and Weiss (2019), Why do deep convolutional networks generalize so poorly to small image transformations",
            "netwright.explain.shifts:shifts",
            needs=("model", "data", "images"),
            kinds=("image", "table"),
        ),
    ],
)
