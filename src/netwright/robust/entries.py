"""The gallery of attacks. Each is a probe: (Subject, *, budget_seconds, seed, **options) -> Finding."""

from netwright.core.entry import Entry, Gallery

ATTACKS = Gallery(
    "attack",
    [
        Entry(
            "fgsm",
            "one signed gradient step on all numbers, pixels or samples at once",
            "Goodfellow, Shlens and Szegedy (2015), Explaining and Harnessing Adversarial Examples",
            "netwright.robust.probes:fgsm",
            needs=("model", "data"),
            kinds=("table", "vector", "image", "series", "audio"),
        ),
        Entry(
            "pgd",
            "projected gradient steps with restarts on all numbers, pixels or samples at once",
            "Madry et al. (2018), Towards Deep Learning Models Resistant to Adversarial Attacks",
            "netwright.robust.probes:pgd",
            needs=("model", "data"),
            kinds=("table", "vector", "image", "series", "audio"),
        ),
        Entry(
            "fgsm-l2",
            "one gradient step on all pixels of a given Euclidean length",
            "Miyato, Dai and Goodfellow (2016), Adversarial Training Methods for Semi-Supervised Text Classification",
            "netwright.robust.probes:fgsm",
            needs=("model", "data", "images"),
            kinds=("image", "table"),
            options={"norm": "l2", "on": "pixels"},
        ),
        Entry(
            "pgd-l2",
            "projected gradient steps with restarts on all pixels within a given Euclidean distance",
            "Madry et al. (2018), Towards Deep Learning Models Resistant to Adversarial Attacks",
            "netwright.robust.probes:pgd",
            needs=("model", "data", "images"),
            kinds=("image", "table"),
            options={"norm": "l2", "on": "pixels"},
        ),
        Entry(
            "category-swap",
            "greedy search over swaps of a row's categories",
            "Yang et al. (2020), Greedy Attack and Gumbel Attack",
            "netwright.robust.probes:category_swap",
            needs=("model", "data"),
            kinds=("table",),
        ),
        Entry(
            "table-attack",
            "one category swapped, then projected gradient steps on the numbers",
            "Yang et al. (2020) with Madry et al. (2018)",
            "netwright.robust.probes:table_attack",
            needs=("model", "data"),
            kinds=("table",),
        ),
        Entry(
            "character-edits",
            "greedy search over misspellings of the words that matter most",
            "Pruthi, Dhingra and Lipton (2019), Combating Adversarial Misspellings with Robust Word Recognition; "
            "Gao et al. (2018), Black-box Generation of Adversarial Text Sequences",
            "netwright.robust.spelling:character_edits",
            needs=("model", "data", "texts"),
            kinds=("text", "table"),
        ),
    ],
)
