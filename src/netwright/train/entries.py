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
            "adam",
            "steps scaled by running means of the gradient and of its square; decay is added to the gradient",
            "Kingma and Ba (2015)",
            "torch.optim:Adam",
            options={"fused": True},
        ),
        Entry(
            "sgd",
            "stochastic gradient descent with momentum 0.9",
            "Polyak (1964)",
            "torch.optim:SGD",
            options={"momentum": 0.9},
        ),
        Entry(
            "nesterov",
            "momentum 0.9 whose gradient is taken one step ahead",
            "Nesterov (1983); Sutskever et al. (2013)",
            "torch.optim:SGD",
            options={"momentum": 0.9, "nesterov": True},
        ),
        Entry(
            "plain-sgd", "stochastic gradient descent without momentum", "Robbins and Monro (1951)", "torch.optim:SGD"
        ),
        Entry(
            "rmsprop",
            "steps divided by the root of a running mean of squared gradients",
            "Tieleman and Hinton (2012)",
            "torch.optim:RMSprop",
        ),
        Entry(
            "adagrad",
            "steps divided by the root of the sum of squared gradients so far",
            "Duchi, Hazan and Singer (2011)",
            "torch.optim:Adagrad",
        ),
        Entry(
            "adadelta",
            "steps in the unit of the weights, from running means of squares of both",
            "Zeiler (2012)",
            "torch.optim:Adadelta",
        ),
        Entry(
            "adamax",
            "Adam with the largest gradient in place of the mean square",
            "Kingma and Ba (2015)",
            "torch.optim:Adamax",
        ),
        Entry(
            "nadam",
            "Adam with Nesterov's momentum and decoupled weight decay",
            "Dozat (2016)",
            "torch.optim:NAdam",
            options={"decoupled_weight_decay": True},
        ),
        Entry(
            "radam",
            "Adam that waits until its second moment is well estimated, with decoupled weight decay",
            "Liu et al. (2020)",
            "torch.optim:RAdam",
            options={"decoupled_weight_decay": True},
        ),
        Entry(
            "adafactor",
            "second moments of a matrix kept by row and column alone",
            "Shazeer and Stern (2018)",
            "torch.optim:Adafactor",
        ),
        Entry(
            "asgd",
            "stochastic gradient descent that keeps the mean of its weights",
            "Polyak and Juditsky (1992)",
            "torch.optim:ASGD",
        ),
    ],
)
"""What torch has for dense gradients and one step a batch; left out are L-BFGS (several evaluations a step), SparseAdam, Muon
(matrices alone) and Rprop (needs all rows in a batch)."""

SCHEDULES = Gallery(
    "schedule",
    [
        Entry("constant", "the same rate throughout", "Robbins and Monro (1951)", "netwright.train.schedules:constant"),
        Entry(
            "cosine",
            "half a cosine from the peak to zero",
            "Loshchilov and Hutter (2017)",
            "netwright.train.schedules:cosine",
        ),
        Entry(
            "one-cycle",
            "up to the peak over three tenths of the steps, then down to nearly zero",
            "Smith and Topin (2019)",
            "netwright.train.schedules:one_cycle",
        ),
        Entry(
            "step",
            "a half of the rate every few epochs (`halve_every`)",
            "He et al. (2016)",
            "netwright.train.schedules:step",
        ),
        Entry(
            "multi-cycle",
            "several half cosines, each from the peak to zero (`cycles`)",
            "Loshchilov and Hutter (2017); Huang et al. (2017)",
            "netwright.train.schedules:multi_cycle",
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
