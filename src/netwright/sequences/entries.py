"""The gallery of estimators that answer at every step of a sequence, or beyond its end."""

from netwright.core.entry import Entry, Gallery

SEQUENCES = Gallery(
    "estimator of sequences",
    [
        Entry(
            "tagger",
            "recurrent network that answers at each step of a sequence: labels or numbers",
            "Elman (1990); Schuster and Paliwal (1997)",
            "netwright.sequences.tagger:Tagger",
            kinds=("series", "text"),
        ),
        Entry(
            "forecaster",
            "recurrent network that forecasts a series by what it adds to the naive forecast",
            "Elman (1990); Hochreiter and Schmidhuber (1997); Hyndman and Koehler (2006)",
            "netwright.sequences.forecaster:Forecaster",
            kinds=("series",),
            tasks=("number",),
        ),
    ],
)
