"""The galleries of classic methods, and of what is asked of a trained network beside them."""

from netwright.core.entry import Entry, Gallery

_FIT = "netwright.baselines.tables:baseline"

BASELINES = Gallery(
    "baseline",
    [
        Entry(
            "dummy",
            "ignores the inputs: the class shares, or the mean, of the training rows",
            "Pedregosa et al. (2011)",
            _FIT,
            needs=("data",),
            options={"name": "dummy"},
        ),
        Entry(
            "linear",
            "logistic or ridge regression, its penalty chosen on validation rows; images and volumes shrunk to at most 1,024 values, "
            "sets as statistics over their elements",
            "Cox (1958); Hoerl and Kennard (1970)",
            _FIT,
            needs=("data",),
            kinds=("table", "vector", "image", "volume", "set"),
            options={"name": "linear"},
        ),
        Entry(
            "gradient-boosting",
            "histogram gradient boosting of trees, stopped early on validation rows; sets as statistics over their elements",
            "Friedman (2001); Ke et al. (2017)",
            _FIT,
            needs=("data",),
            kinds=("table", "vector", "set"),
            options={"name": "gradient-boosting"},
        ),
        Entry(
            "nearest-neighbours",
            "the vote of the most similar training images, as pixels shrunk to at most 256 values, their number chosen on validation rows",
            "Cover and Hart (1967)",
            _FIT,
            needs=("data",),
            kinds=("image",),
            options={"name": "nearest-neighbours"},
        ),
        Entry(
            "word-tfidf",
            "TF-IDF of words and pairs of words, then logistic or ridge regression, its penalty chosen on validation rows",
            "Salton and Buckley (1988); Cox (1958)",
            _FIT,
            needs=("data",),
            kinds=("text",),
            options={"name": "word-tfidf"},
        ),
        Entry(
            "char-tfidf",
            "TF-IDF of 2 to 5 characters in a row, then logistic or ridge regression, its penalty chosen on validation rows",
            "Cavnar and Trenkle (1994); Cox (1958)",
            _FIT,
            needs=("data",),
            kinds=("text",),
            options={"name": "char-tfidf"},
        ),
        Entry(
            "random-kernels",
            "shares of steps at which fixed convolution kernels exceed thresholds, then ridge regression, its penalty by leave-one-out",
            "Dempster, Petitjean and Webb (2020); Dempster, Schmidt and Webb (2021)",
            _FIT,
            needs=("data",),
            kinds=("series",),
            options={"name": "random-kernels"},
        ),
        Entry(
            "nearest-series",
            "the class of the nearest training series by Euclidean distance, each channel of each series standardised",
            "Cover and Hart (1967); Keogh and Kasetty (2003)",
            _FIT,
            needs=("data",),
            kinds=("series",),
            options={"name": "nearest-series"},
        ),
        Entry(
            "mel-frames",
            "log-mel frames averaged over twelve parts of each sound, then logistic or ridge regression",
            "Davis and Mermelstein (1980); Cox (1958)",
            _FIT,
            needs=("data",),
            kinds=("audio",),
            options={"name": "mel-frames"},
        ),
        Entry(
            "tree-counts",
            "counts of labels and of pairs of parent and child, then logistic or ridge regression, its penalty chosen on validation rows",
            "Cox (1958); Collins and Duffy (2001) for sub-trees as features",
            _FIT,
            needs=("data",),
            kinds=("tree",),
            options={"name": "tree-counts"},
        ),
        Entry(
            "tree-edit-neighbours",
            "the vote of the training trees at the smallest edit distance, their number chosen on validation rows",
            "Zhang and Shasha (1989); Cover and Hart (1967)",
            _FIT,
            needs=("data",),
            kinds=("tree",),
            options={"name": "tree-edit-neighbours"},
        ),
    ],
)
"""Contenders on the same rows as the network. Each fits on training rows and is measured on test rows."""

COMPARISONS = Gallery(
    "comparison",
    [
        Entry(
            "comparison",
            "test scores of network and baselines with intervals, a paired test, and which one to use",
            "Efron (1979); McNemar (1947); Dietterich (1998)",
            "netwright.baselines.compare:comparison",
            needs=("model", "data", "predictions", "link"),
        ),
        Entry(
            "calibration",
            "whether probabilities come true as often as they say, and whether intervals cover what they promise",
            "Guo et al. (2017); Vovk, Gammerman and Shafer (2005)",
            "netwright.baselines.calibration:calibration",
            needs=("model", "data", "link"),
        ),
        Entry(
            "errors",
            "confusion or residuals, the worst errors as rows, and the slices of the data where they gather",
            "Chung et al. (2019), Slice Finder",
            "netwright.baselines.errors:errors",
            needs=("model", "data", "link"),
        ),
    ],
)
"""What is asked of a trained network on the test rows."""
