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
        ),
        Entry(
            "sensitivity",
            "how far the answer moves with each number, by its gradient in raw units, and with each swap of a category",
            "Zurada, Malinowski and Cloete (1994), Sensitivity analysis; Simonyan, Vedaldi and Zisserman (2014)",
            "netwright.explain.sensitivity:sensitivity",
            needs=("model", "data"),
        ),
        Entry(
            "partial-dependence",
            "the mean answer over the range of the inputs that move it most",
            "Friedman (2001), Greedy function approximation; Goldstein et al. (2015), Peeking inside the black box",
            "netwright.explain.dependence:partial_dependence",
            needs=("model", "data"),
        ),
    ],
)
