"""Classic methods on trees: counts of labels and of pairs under a linear model, and neighbours by edit distance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from netwright.baselines.counts import pair_counts
from netwright.baselines.edit_distance import Forest, Nodes
from netwright.baselines.penalty import fit_linear
from netwright.baselines.task import Method, Rows, Task, mean_loss
from netwright.baselines.votes import Votes
from netwright.core.spec import FIRST_ID, PAD, TreeField

NEIGHBOURS = (1, 3, 5, 10)
MOST_NODES = 300
"""Most nodes of a tree whose edit distance is taken: the first in depth-first order."""
CELLS_PER_SECOND = 3e7
"""Cells of the recursion of the edit distance on one slow core: fixed, so that a plan never depends on the clock."""
_AT_ONCE = 20_000
"""Nodes of training trees that are compared at once, so that tables stay small."""
PENALTIES = (0.1, 1.0, 10.0, 100.0)


def _field(task: Task) -> TreeField:
    return next(f for f in task.spec.wholes if isinstance(f, TreeField))


def tree_counts(task: Task) -> Method:
    """How often each label, and each pair of parent and child, comes (damped to log(1 + count), each over its spread), and logistic or
    ridge regression.

    Source: Cox (1958); sub-trees as features: Collins and Duffy (2001).
    """
    features = _counts(task.train, _field(task))
    model, chosen = fit_linear(features(task.train), features(task.valid) if len(task.valid) else None, task, PENALTIES)
    return Method(model, {**chosen, "training_rows": len(task.train)}, features)


def _counts(train: Rows, field: TreeField) -> Callable[[Rows], Any]:
    """Damped counts of what comes in training trees, fitted on these."""
    from sklearn.preprocessing import StandardScaler

    n_ids = FIRST_ID + len(field.labels)

    def counted(rows: Rows) -> Any:
        return pair_counts(rows.whole(field.tensors[0]), rows.whole(field.tensors[1]), n_ids).log1p()

    seen = counted(train)
    kept = np.unique(seen.indices)
    scale = StandardScaler(with_mean=False).fit(seen[:, kept])
    return lambda rows: scale.transform(counted(rows)[:, kept])


class EditNeighbours(Votes):
    """The vote, or the mean, of the trees at the smallest edit distance d, as 2 d / (n + m + d) of trees of n and m nodes.

    Source: Zhang and Shasha (1989); the normalised distance, which is a metric: Li and Zhang (2011).
    """

    def __init__(self, trees: list[Nodes], y: np.ndarray, weight: np.ndarray | None, n_classes: int, most: int) -> None:
        super().__init__(y, weight, n_classes, most)
        kept = [tree for tree, there in zip(trees, self.there, strict=True) if there]
        self.sizes = np.array([len(labels) for labels, _ in kept])
        begins = np.flatnonzero(np.diff(np.cumsum(self.sizes) // _AT_ONCE, prepend=-1))
        self.forests = [Forest(kept[a:b]) for a, b in zip(begins, [*begins[1:], len(kept)], strict=True)]

    def distances(self, trees: list[Nodes]) -> np.ndarray:
        """Normalised distances (N, K) to all trees that vote."""
        raw = np.stack([np.concatenate([forest.distances(tree) for forest in self.forests]) for tree in trees])
        total = np.array([len(labels) for labels, _ in trees])[:, None] + self.sizes
        distances: np.ndarray = 2 * raw / (total + raw)
        return distances

    def nearest(self, trees: list[Nodes]) -> np.ndarray:
        """Places (N, k) of the nearest trees, the nearest first."""
        return np.argsort(self.distances(trees), axis=1, kind="stable")[:, : self.k]

    def predict_proba(self, trees: list[Nodes]) -> np.ndarray:
        """Probabilities (N, C) in the order of `classes_`."""
        return self.vote(self.nearest(trees))

    def predict(self, trees: list[Nodes]) -> np.ndarray:
        """Values (N,)."""
        return self.vote(self.nearest(trees))


def nodes_of(rows: Rows, field: TreeField) -> list[Nodes]:
    """The trees of rows, without what stands behind their last node; of large ones the first 300 nodes."""
    labels, parents = rows.whole(field.tensors[0]), rows.whole(field.tensors[1])
    sizes = np.minimum((labels != PAD).sum(1), MOST_NODES)
    return [(labels[k, :n], parents[k, :n]) for k, n in enumerate(sizes)]


def tree_edit_neighbours(task: Task) -> Method:
    """The vote of the training trees at the smallest edit distance, their number chosen on validation rows.

    Training and validation rows are thinned to what the budget affords.

    Source: Zhang and Shasha (1989); Cover and Hart (1967).
    """
    field = _field(task)
    sizes = np.minimum((task.train.whole(field.tensors[0]) != PAD).sum(1), MOST_NODES).astype(np.float64)
    of_a_pair = float((sizes**1.35).mean()) ** 2 + 1  # rows of the recursion times columns
    pairs = max(1_000, int(task.budget_seconds * CELLS_PER_SECOND / of_a_pair))
    task = task.thinned(max(20, int(pairs / max(2 * len(task.valid), 50))))
    trees = nodes_of(task.train, field)
    model = EditNeighbours(trees, task.train.y, task.train.weight, task.n_classes, max(NEIGHBOURS))
    tried = [k for k in NEIGHBOURS if k <= model.k]
    k = tried[-1]
    if len(task.valid):
        some = task.valid.take(np.arange(0, len(task.valid), -(-len(task.valid) * len(trees) // pairs)))
        near = model.nearest(nodes_of(some, field))
        losses = {k: mean_loss(model.vote(near[:, :k]), model.classes_, some) for k in tried}
        k = min(losses, key=lambda k: losses[k])
    model.k = k
    chosen = {"neighbours": k, "training_rows": len(task.train)}
    return Method(model, chosen, lambda rows: nodes_of(rows, field))
