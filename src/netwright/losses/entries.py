"""The gallery of losses and of metrics."""

from netwright.core.entry import Entry, Gallery

LOSSES = Gallery(
    "loss",
    [
        Entry(
            "cross-entropy",
            "softmax cross-entropy; predicts class probabilities",
            "Bridle (1990)",
            "netwright.losses.standard:for_cross_entropy",
            tasks=("binary", "classes"),
        ),
        Entry(
            "squared-error",
            "squared error in units of the target's spread; predicts the mean",
            "Gauss (1809)",
            "netwright.losses.standard:for_squared_error",
            tasks=("number",),
        ),
        Entry(
            "reject-cross-entropy",
            "cross-entropy beside a class for none, for outputs that are minus distances",
            "LeCun et al. (1998)",
            "netwright.losses.standard:for_reject_cross_entropy",
            tasks=("binary", "classes"),
        ),
    ],
)

_CLASSES = ("binary", "classes")
_UP = {"greater_is_better": True}
_DOWN = {"greater_is_better": False}
_AT = "netwright.losses.metrics:"

METRICS = Gallery(
    "metric",
    [
        Entry(
            "log-loss",
            "mean negative log probability of the true class",
            "Good (1952)",
            _AT + "log_loss",
            tasks=_CLASSES,
            options=_DOWN,
        ),
        Entry(
            "accuracy", "share of rows classified rightly", "Metz (1978)", _AT + "accuracy", tasks=_CLASSES, options=_UP
        ),
        Entry(
            "roc-auc",
            "area under the ROC curve",
            "Hanley and McNeil (1982)",
            _AT + "roc_auc",
            tasks=_CLASSES,
            options=_UP,
        ),
        Entry(
            "balanced-accuracy",
            "mean over classes of the share found",
            "Brodersen et al. (2010)",
            _AT + "balanced_accuracy",
            tasks=_CLASSES,
            options=_UP,
        ),
        Entry(
            "f1",
            "harmonic mean of precision and recall",
            "van Rijsbergen (1979)",
            _AT + "f1",
            tasks=_CLASSES,
            options=_UP,
        ),
        Entry(
            "brier",
            "mean squared distance of probabilities to the truth",
            "Brier (1950)",
            _AT + "brier",
            tasks=_CLASSES,
            options=_DOWN,
        ),
        Entry(
            "rmse",
            "root of the mean squared error in the target's unit",
            "Gauss (1809)",
            _AT + "rmse",
            tasks=("number",),
            options=_DOWN,
        ),
        Entry(
            "mae",
            "mean absolute error in the target's unit",
            "Laplace (1774)",
            _AT + "mae",
            tasks=("number",),
            options=_DOWN,
        ),
        Entry(
            "r2",
            "share of the target's variance that is explained",
            "Wright (1921)",
            _AT + "r2",
            tasks=("number",),
            options=_UP,
        ),
    ],
)
