"""The vote of neighbours, however they are found."""

from __future__ import annotations

import numpy as np


class Votes:
    """The vote, or the mean, of some rows.

    Beside the k votes of neighbours the class shares of all rows have one together, so that no class is held impossible.

    Args:
        y: (N,) class numbers or values. weight: (N,) or None. n_classes: 0 for a regression. most: neighbours at most.

    Source: Cover and Hart (1967).
    """

    def __init__(self, y: np.ndarray, weight: np.ndarray | None, n_classes: int, most: int) -> None:
        self.there = np.ones(len(y), bool) if weight is None else weight > 0
        self.y, self.n_classes = y[self.there], n_classes
        self.weight = np.ones(len(self.y)) if weight is None else weight[self.there] / weight[self.there].mean()
        self.k = min(most, len(self.y))
        self.classes_ = np.unique(self.y) if n_classes else np.zeros(0)
        self.shares = np.array([self.weight[self.y == c].sum() for c in self.classes_]) / self.weight.sum()

    def vote(self, near: np.ndarray) -> np.ndarray:
        """Probabilities (N, C) of `classes_`, or values (N,), from the places of neighbours (N, k)."""
        weight, y = self.weight[near], self.y[near]
        if not self.n_classes:
            values: np.ndarray = np.average(y, axis=1, weights=weight)
            return values
        votes = np.stack([(weight * (y == c)).sum(1) for c in self.classes_], 1) + self.shares
        shares: np.ndarray = votes / votes.sum(1, keepdims=True)
        return shares
