"""The gallery of attacks. Each is a probe: (Subject, *, budget_seconds, seed, **options) -> Finding."""

from netwright.core.entry import Entry, Gallery

ATTACKS = Gallery(
    "attack",
    [
        Entry(
            "fgsm",
            "one signed gradient step on all numbers at once",
            "Goodfellow, Shlens and Szegedy (2015), Explaining and Harnessing Adversarial Examples",
            "netwright.robust.probes:fgsm",
            needs=("model", "data"),
        ),
        Entry(
            "pgd",
            "projected gradient steps with restarts on all numbers at once",
            "Madry et al. (2018), Towards Deep Learning Models Resistant to Adversarial Attacks",
            "netwright.robust.probes:pgd",
            needs=("model", "data"),
        ),
        Entry(
            "category-swap",
            "greedy search over swaps of a row's categories",
            "Yang et al. (2020), Greedy Attack and Gumbel Attack",
            "netwright.robust.probes:category_swap",
            needs=("model", "data"),
        ),
        Entry(
            "table-attack",
            "one category swapped, then projected gradient steps on the numbers",
            "Yang et al. (2020) with Madry et al. (2018)",
            "netwright.robust.probes:table_attack",
            needs=("model", "data"),
        ),
    ],
)
