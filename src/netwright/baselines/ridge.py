"""Ridge regression on many features and few rows: the penalty by leave-one-out, probabilities by a softmax of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PENALTIES = tuple(float(10.0**k) for k in np.linspace(-3, 5, 17))
"""Tried for standardised features."""


@dataclass
class RidgeByRows:
    """A fitted ridge regression: classes through a score each, or values.

    Args:
        center, spread: (F,) of the features. weights: (F, C). bias: (C,).
        penalty: with the least mean squared error of leave-one-out.
        classes_: (C,) class numbers; empty for values.
        sharpness: probabilities are softmax(sharpness * scores), of the least log loss on the scores of leave-one-out.
    """

    center: np.ndarray
    spread: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    penalty: float
    classes_: np.ndarray
    sharpness: float = 1.0

    def scores(self, x: np.ndarray) -> np.ndarray:
        """(N, C) about 1 for the class of a row and -1 for the others; or values."""
        found: np.ndarray = ((x - self.center) / self.spread) @ self.weights + self.bias
        return found

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """Probabilities (N, C) in the order of `classes_`."""
        return _softmax(self.sharpness * self.scores(x))

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Values (N,)."""
        return self.scores(x)[:, 0]


def fit_ridge(
    x: np.ndarray,
    y: np.ndarray,
    *,
    n_classes: int,
    weight: np.ndarray | None = None,
    penalties: Sequence[float] = PENALTIES,
) -> RidgeByRows:
    r"""Ridge regression in its dual form, c = (K + penalty I)^-1 (y - mean), K = X X^T of standardised features, every penalty
    from one decomposition of K.

    Leave-one-out costs nothing more: a row's error without it is its error with it over 1 - h, h the row's own share in its answer.

    Args:
        x: (N, F) features. y: (N,) class numbers, or values. n_classes: 0 for values.
        weight: (N,) of the rows, or None. penalties: to choose from.

    Source: Hoerl and Kennard (1970); leave-one-out: Allen (1974), PRESS; the dual form as in Dempster, Petitjean and Webb (2020).

    >>> x = np.arange(6.0)[:, None]
    >>> model = fit_ridge(x, 2 * x[:, 0] + 1, n_classes=0)
    >>> model.predict(np.array([[10.0]])).round(1).tolist()
    [21.0]
    """
    rows = np.ones(len(x)) if weight is None else weight / weight.mean()
    share = rows / rows.sum()
    center = share @ x
    spread = np.sqrt(share @ (x - center) ** 2)
    spread = np.where(spread > 1e-8 * (np.abs(center) + 1e-30), spread, 1.0).astype(x.dtype)
    classes = np.unique(y) if n_classes else np.zeros(0)
    wanted = np.where(y[:, None] == classes, 1.0, -1.0) if n_classes else y[:, None].astype(np.float64)
    bias = share @ wanted
    root = np.sqrt(rows)[:, None]
    z = ((x - center) / spread * root).astype(x.dtype)
    values, turn = np.linalg.eigh((z @ z.T).astype(np.float64))
    values = values.clip(0)
    turned = turn.T @ (root * (wanted - bias))
    best: tuple[float, float, np.ndarray] | None = None
    for penalty in penalties:
        residual = penalty * (turn @ (turned / (values + penalty)[:, None]))
        own = (turn**2) @ (values / (values + penalty)) + share
        left_out = wanted - residual / root / (1 - own).clip(1e-9)[:, None]
        error = float(np.average(((wanted - left_out) ** 2).mean(1), weights=rows))
        if best is None or error < best[0]:
            best = error, penalty, left_out
    assert best is not None
    _, penalty, left_out = best
    dual = turn @ (turned / (values + penalty)[:, None])
    model = RidgeByRows(center, spread, (z.T @ dual.astype(x.dtype)), bias, penalty, classes)
    if n_classes:
        model.sharpness = _sharpness(left_out, np.searchsorted(classes, y), rows)
    return model


def _sharpness(scores: np.ndarray, y: np.ndarray, weight: np.ndarray) -> float:
    """The factor of the scores (N, C) at which the log loss of their softmax is least."""
    from scipy.optimize import minimize_scalar

    def loss(log_factor: float) -> float:
        p = _softmax(np.exp(log_factor) * scores)[np.arange(len(y)), y]
        return float(np.average(-np.log(p.clip(1e-15)), weights=weight))

    return float(np.exp(minimize_scalar(loss, bounds=(-2.0, 3.0), method="bounded").x))


def _softmax(scores: np.ndarray) -> np.ndarray:
    found = np.exp(scores - scores.max(1, keepdims=True))
    shares: np.ndarray = found / found.sum(1, keepdims=True)
    return shares
