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
    ],
)
