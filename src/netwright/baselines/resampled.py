"""Metrics of many resamples at once: from how often each row was drawn to the metric, without touching the rows again.

Most metrics are a function of sums over rows, so that one matrix product gives them for all resamples. The area under the
ROC curve needs the rows in the order of their scores, once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from netwright.core.errors import UsageError

Replicate = Callable[[np.ndarray], np.ndarray]
"""How often each row was drawn (B, N) -> the metric of each resample (B,), NaN where it is not defined."""
Rowwise = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""y, prediction -> the loss of each row (N,)."""


@dataclass(frozen=True)
class Statistic:
    """How one metric is resampled.

    Args:
        prepare: y, prediction, weight -> Replicate.
        losses: the loss of each row whose mean decides the metric; None where there is none.
        by_class: whether a resample costs a pass per class.
    """

    prepare: Callable[[np.ndarray, np.ndarray, np.ndarray], Replicate]
    losses: Rowwise | None = None
    by_class: bool = False

    def price(self, prediction: np.ndarray) -> int:
        """Passes over the rows that a resample costs."""
        return prediction.shape[1] if self.by_class and prediction.ndim == 2 and prediction.shape[1] > 2 else 1


def _log_losses(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    losses: np.ndarray = -np.log(np.clip(p[np.arange(len(y)), y], 1e-15, 1.0))
    return losses


def _right(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    right: np.ndarray = (p.argmax(1) == y).astype(np.float64)
    return right


def _distances(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    distances: np.ndarray = ((p - np.eye(p.shape[1])[y]) ** 2).sum(1)
    return distances


def _squares(y: np.ndarray, values: np.ndarray) -> np.ndarray:
    squares: np.ndarray = (y - values) ** 2
    return squares


def _amounts(y: np.ndarray, values: np.ndarray) -> np.ndarray:
    amounts: np.ndarray = np.abs(y - values)
    return amounts


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, NaN where nothing is below."""
    shares: np.ndarray = np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)
    return shares


def _mean(losses: Rowwise, root: bool = False) -> Statistic:
    """A metric that is the weighted mean of the rows' losses, or its root."""

    def prepare(y: np.ndarray, prediction: np.ndarray, weight: np.ndarray) -> Replicate:
        columns = np.stack([weight * losses(y, prediction), weight], 1)

        def replicate(counts: np.ndarray) -> np.ndarray:
            sums = counts @ columns
            means = _ratio(sums[:, 0], sums[:, 1])
            return np.sqrt(means) if root else means

        return replicate

    return Statistic(prepare, losses)


def _explained(y: np.ndarray, values: np.ndarray, weight: np.ndarray) -> Replicate:
    """1 - sum w (y - v)^2 / sum w (y - mean)^2, the mean of the resample."""
    centred = y - np.average(y, weights=weight)
    columns = np.stack([weight, weight * centred, weight * centred**2, weight * _squares(y, values)], 1)

    def replicate(counts: np.ndarray) -> np.ndarray:
        total, first, second, errors = (counts @ columns).T
        return 1 - _ratio(errors, second - _ratio(first**2, total))

    return replicate


def _by_class(combine: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> Statistic:
    """A metric of each class's weights (B, C): found, true, predicted."""

    def prepare(y: np.ndarray, p: np.ndarray, weight: np.ndarray) -> Replicate:
        from scipy.sparse import csr_array

        n, n_classes = p.shape
        guess, rows = p.argmax(1), np.arange(n)
        cells = [np.where(guess == y, weight, 0.0), weight, weight]
        columns = [y, n_classes + y, 2 * n_classes + guess]
        where = (np.concatenate(columns), np.tile(rows, 3))
        sums_of = csr_array((np.concatenate(cells), where), shape=(3 * n_classes, n))

        def replicate(counts: np.ndarray) -> np.ndarray:
            found, true, guessed = np.split((sums_of @ counts.T).T, 3, axis=1)
            return combine(found, true, guessed)

        return replicate

    return Statistic(prepare)


def _mean_recall(found: np.ndarray, true: np.ndarray, guessed: np.ndarray) -> np.ndarray:
    means: np.ndarray = np.nanmean(_ratio(found, true), axis=1)
    return means


def _f1(found: np.ndarray, true: np.ndarray, guessed: np.ndarray) -> np.ndarray:
    each = _ratio(2 * found, true + guessed)
    scores: np.ndarray = np.nan_to_num(each[:, 1]) if each.shape[1] == 2 else np.nanmean(each, axis=1)
    return scores


def _areas(y: np.ndarray, p: np.ndarray, weight: np.ndarray) -> Replicate:
    """Area under the ROC curve; more than two classes: the mean of each against the rest."""
    one = [_area(y == 1, p[:, 1], weight)] if p.shape[1] == 2 else []
    each = one or [_area(y == c, p[:, c], weight) for c in range(p.shape[1]) if (y == c).any()]

    def replicate(counts: np.ndarray) -> np.ndarray:
        areas = np.stack([area(counts) for area in each])
        known = np.isfinite(areas)
        return _ratio(np.where(known, areas, 0.0).sum(0), known.sum(0).astype(np.float64))

    return replicate


def _area(positive: np.ndarray, scores: np.ndarray, weight: np.ndarray) -> Replicate:
    """Weight of the pairs (positive, negative) in the right order, ties half, over the weight of all pairs.

    Source: Hanley and McNeil (1982).
    """
    few, many = (positive, ~positive) if positive.sum() <= (~positive).sum() else (~positive, positive)
    few, many = np.flatnonzero(few), np.flatnonzero(many)
    many = many[np.argsort(scores[many], kind="stable")]
    before, upto = (np.searchsorted(scores[many], scores[few], side=s) for s in ("left", "right"))

    def replicate(counts: np.ndarray) -> np.ndarray:
        drawn = counts[:, few] * weight[few]
        below = np.zeros((len(counts), len(many) + 1))
        np.cumsum(counts[:, many] * weight[many], axis=1, out=below[:, 1:])
        over = np.einsum("bi,bi->b", drawn, below[:, before] + below[:, upto]) / 2
        share = _ratio(over, drawn.sum(1) * below[:, -1])
        return share if positive[few].all() else 1 - share

    return replicate


STATISTICS = {
    "log-loss": _mean(_log_losses),
    "accuracy": _mean(_right),
    "brier": _mean(_distances),
    "balanced-accuracy": _by_class(_mean_recall),
    "f1": _by_class(_f1),
    "roc-auc": Statistic(_areas, by_class=True),
    "rmse": _mean(_squares, root=True),
    "mae": _mean(_amounts),
    "r2": Statistic(_explained, _squares),
}
"""How each metric of METRICS is resampled."""


def row_losses(metric: str, y: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """The loss of each row (N,) whose mean decides the metric.

    >>> row_losses("mae", np.array([1.0, 2.0]), np.array([1.0, 4.0])).tolist()
    [0.0, 2.0]

    Raises:
        UsageError: the metric has no losses of rows (roc-auc, f1, balanced-accuracy).
    """
    losses = STATISTICS[metric].losses
    if losses is None:
        raise UsageError(
            f"{metric} is not a mean over rows; choose one of {', '.join(k for k, s in STATISTICS.items() if s.losses)}"
        )
    found: np.ndarray = losses(y, prediction)
    return found
