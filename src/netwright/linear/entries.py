"""The gallery of linear methods: those that divide classes by a line or a plane."""

from netwright.core.entry import Entry, Gallery

LINEAR = Gallery(
    "linear method",
    [
        Entry(
            "perceptron",
            "one neuron that learns from its mistakes, with the bound on their number",
            "Rosenblatt (1958); Novikoff (1962)",
            "netwright.linear.perceptron:Perceptron",
            tasks=("binary", "classes"),
        ),
        Entry(
            "separable",
            "whether a plane divides two classes, with the plane or a proof that there is none",
            "Charnes (1964); Farkas (1902)",
            "netwright.linear.separate:separable",
            tasks=("binary",),
        ),
        Entry(
            "largest-margin",
            "the plane through the origin that keeps the largest distance from all rows",
            "Lawson and Hanson (1974)",
            "netwright.linear.margin:largest_margin",
        ),
    ],
)
