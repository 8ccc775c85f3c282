"""The gallery of checks: of the data, of an untrained network, and of a trained one."""

from netwright.core.entry import Entry, Gallery

_CLASSES = ("binary", "classes")

CHECKS = Gallery(
    "check",
    [
        # The data.
        Entry(
            "target-copy",
            "whether a column is the target in other words: each determines the other",
            "Kaufman et al. (2012), Leakage in data mining",
            "netwright.checks.leak:target_copy",
            needs=("data",),
            kinds=("table",),
            gate=True,
        ),
        Entry(
            "leak",
            "whether one column alone predicts the target almost perfectly on validation rows",
            "Kaufman et al. (2012), Leakage in data mining",
            "netwright.checks.leak:leak",
            needs=("data", "split"),
            kinds=("table",),
        ),
        Entry(
            "duplicates",
            "whether validation and test rows are copies of training rows",
            "Barz and Denzler (2020), Do we train on test data?",
            "netwright.checks.data:duplicates",
            needs=("data", "split"),
            gate=True,
        ),
        Entry(
            "contradictions",
            "rows with the same inputs but different targets, and the training error that no function of these columns can undercut",
            "Devroye, Gyoerfi and Lugosi (1996), A probabilistic theory of pattern recognition, chapter 2",
            "netwright.checks.data:contradictions",
            needs=("data",),
        ),
        Entry(
            "constant-columns",
            "columns with one value, or nearly so, on training rows",
            "Kuhn and Johnson (2013), Applied predictive modeling, section 3.5",
            "netwright.checks.columns:constant_columns",
            needs=("data",),
            kinds=("table",),
        ),
        Entry(
            "identifier-columns",
            "columns that name the row instead of describing it",
            "Kaufman et al. (2012), Leakage in data mining",
            "netwright.checks.columns:identifier_columns",
            needs=("data",),
            kinds=("table",),
        ),
        Entry(
            "missing-cells",
            "shares of missing cells by column and part, and whether they differ between parts",
            "Rubin (1976), Inference and missing data",
            "netwright.checks.columns:missing_cells",
            needs=("data",),
            kinds=("table",),
        ),
        Entry(
            "imbalance",
            "how unequal the classes are",
            "He and Garcia (2009), Learning from imbalanced data",
            "netwright.checks.columns:imbalance",
            needs=("data",),
            tasks=_CLASSES,
        ),
        Entry(
            "target-shape",
            "heaps, caps and long tails of a numeric target",
            "Tobin (1958), Estimation of relationships for limited dependent variables",
            "netwright.checks.columns:target_shape",
            needs=("data",),
            tasks=("number",),
        ),
        Entry(
            "few-rows",
            "whether there are enough rows for each class and for the number of columns",
            "Peduzzi et al. (1996), Events per variable",
            "netwright.checks.columns:few_rows",
            needs=("data",),
        ),
        Entry(
            "shift",
            "whether a classifier can tell test rows from training rows, and by which columns",
            "Lopez-Paz and Oquab (2017), Revisiting classifier two-sample tests; Rabanser et al. (2019), Failing loudly",
            "netwright.checks.shift:shift",
            needs=("data", "split"),
            kinds=("table",),
        ),
        # End of the data.
        # An untrained network.
        Entry(
            "loss-at-start",
            "whether an untrained network costs what a constant prediction costs",
            "Karpathy (2019), A recipe for training neural networks",
            "netwright.checks.start:loss_at_start",
            needs=("network", "data"),
            gate=True,
        ),
        Entry(
            "one-batch-overfits",
            "whether a fresh network can learn a handful of rows by heart",
            "Karpathy (2019), A recipe for training neural networks",
            "netwright.checks.overfit:one_batch_overfits",
            needs=("network", "data"),
            gate=True,
        ),
        Entry(
            "gradients-flow",
            "whether every parameter receives a gradient, and how gradients compare from layer to layer",
            "Glorot and Bengio (2010), Understanding the difficulty of training deep feedforward neural networks",
            "netwright.checks.gradients:gradients_flow",
            needs=("network", "data"),
            gate=True,
        ),
        Entry(
            "rows-independent",
            "whether the output of a row depends on the rows that share its batch",
            "Karpathy (2019), A recipe for training neural networks; Ioffe and Szegedy (2015), Batch normalization",
            "netwright.checks.independence:rows_independent",
            needs=("network", "data"),
            gate=True,
        ),
        Entry(
            "predictions-finite",
            "whether outputs are finite on all training rows and at the edges of what each input can be",
            "Goodfellow, Bengio and Courville (2016), Deep learning, section 4.1",
            "netwright.checks.finite:predictions_finite",
            needs=("network", "data"),
            gate=True,
        ),
        Entry(
            "learning-rate-range",
            "which learning rates the network can take, by one short training with a rising rate",
            "Smith (2017), Cyclical learning rates for training neural networks",
            "netwright.checks.rate:learning_rate_range",
            needs=("network", "data"),
        ),
        # End of an untrained network.
    ],
)
