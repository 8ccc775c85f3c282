"""The gallery of optimisers, schedules and objectives."""

from netwright.core.entry import Entry, Gallery

OPTIMIZERS = Gallery(
    "optimizer",
    [
        Entry(
            "adamw",
            "Adam with decoupled weight decay",
            "Loshchilov and Hutter (2019)",
            "torch.optim:AdamW",
            options={"fused": True},
        ),
        Entry(
            "sgd",
            "stochastic gradient descent with momentum 0.9",
            "Polyak (1964)",
            "torch.optim:SGD",
            options={"momentum": 0.9},
        ),
    ],
)

SCHEDULES = Gallery(
    "schedule",
    [
        Entry("constant", "the same rate throughout", "Robbins and Monro (1951)", "netwright.train.optim:constant"),
        Entry(
            "cosine",
            "half a cosine from the peak to zero",
            "Loshchilov and Hutter (2017)",
            "netwright.train.optim:cosine",
        ),
    ],
)

OBJECTIVES = Gallery(
    "objective",
    [
        Entry(
            "supervised",
            "price the network's output against the target",
            "Widrow and Hoff (1960)",
            "netwright.train.objectives:Supervised",
        ),
    ],
)
