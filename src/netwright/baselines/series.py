"""Classic methods on series: random convolution kernels with ridge regression, and the nearest training series."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from netwright.baselines.images import Neighbours
from netwright.baselines.kernels import N_FEATURES, fit_kernels
from netwright.baselines.ridge import fit_ridge
from netwright.baselines.task import Method, Rows, Task
from netwright.core.spec import SeriesField

PRODUCTS_PER_SECOND = 5e9
"""What a slow core does: fixed, so that a plan never depends on the clock."""
MAX_ROWS = 6_000
"""Most training rows of the ridge regression, whose matrix has as many rows and columns."""
NEAR_STEPS = 128
MAX_PAIRS = 50_000_000


def series_fields(task: Task) -> list[SeriesField]:
    """The series among the inputs."""
    return [f for f in task.spec.wholes if isinstance(f, SeriesField)]


def random_kernels(task: Task) -> Method:
    """84 fixed convolution kernels at many dilations, the shares of steps where they exceed thresholds (about 10,000), ridge
    regression with the penalty of the least leave-one-out error.

    Probabilities are a softmax of the scores, as sharp as suits their leave-one-out values. Training rows are thinned to what the
    budget affords.

    Source: Dempster, Schmidt and Webb (2021), "MiniRocket: A Very Fast (Almost) Deterministic Transform for Time Series
    Classification"; Dempster, Petitjean and Webb (2020), "ROCKET".
    """
    fields = series_fields(task)
    values = sum(f.n_steps for f in fields) * N_FEATURES
    task = task.thinned(int(np.clip(task.budget_seconds * PRODUCTS_PER_SECOND / values, 200, MAX_ROWS)))
    features = kernel_features(task, fields)
    x = features(task.train)
    model = fit_ridge(x, task.train.y, n_classes=task.n_classes, weight=task.train.weight)
    chosen = {"penalty_alpha": model.penalty, "features": x.shape[1], "training_rows": len(task.train)}
    return Method(model, chosen, features)


def kernel_features(task: Task, fields: list[SeriesField]) -> Callable[[Rows], np.ndarray]:
    """Random-kernel features of all series of a row, fitted on training rows."""
    share = max(84, N_FEATURES // len(fields))
    fitted = []
    for f in fields:
        values, lengths = (task.train.whole(name) for name in f.tensors)
        center, spread = np.array(f.center, dtype=np.float32), np.array(f.spread, dtype=np.float32)
        fitted.append((f, fit_kernels(values, lengths, center, spread, seed=task.seed, n=share)))

    def features(rows: Rows) -> np.ndarray:
        return np.concatenate([some(*(rows.whole(name) for name in f.tensors)) for f, some in fitted], 1)

    return features


def nearest_series(task: Task) -> Method:
    """The answer of the nearest training series: each resampled to one length, every channel standardised by itself, by
    Euclidean distance.

    Source: Cover and Hart (1967); for series Keogh and Kasetty (2003).
    """
    fields = series_fields(task)
    task = task.thinned(MAX_PAIRS // max(2 * len(task.valid), 1000))

    def features(rows: Rows) -> np.ndarray:
        parts = []
        for f in fields:
            values, lengths = (rows.whole(name) for name in f.tensors)
            parts.append(even_series(values, lengths, min(NEAR_STEPS, f.n_steps)))
        return np.concatenate(parts, 1)

    model = Neighbours(features(task.train), task.train.y, task.train.weight, task.n_classes, 1)
    return Method(model, {"neighbours": 1, "training_rows": len(task.train)}, features)


def even_series(values: np.ndarray, lengths: np.ndarray, n_steps: int) -> np.ndarray:
    """Series (N, C, T) of unequal lengths as rows (N, C * n_steps): resampled linearly, then each channel with mean 0 and spread 1.

    >>> even_series(np.array([[[0.0, 2.0, 0.0]]]), np.array([2]), 3).astype(float).round(3).tolist()
    [[-1.225, 0.0, 1.225]]
    """
    at = np.linspace(0, 1, n_steps) * (lengths[:, None] - 1)
    low = at.astype(np.int64)
    high, share = np.minimum(low + 1, lengths[:, None] - 1), (at - low)[:, None].astype(np.float32)
    before = np.take_along_axis(values, np.broadcast_to(low[:, None], (*values.shape[:2], n_steps)), 2)
    after = np.take_along_axis(values, np.broadcast_to(high[:, None], (*values.shape[:2], n_steps)), 2)
    found = before * (1 - share) + after * share
    spread = found.std(2, keepdims=True)
    found = (found - found.mean(2, keepdims=True)) / np.where(spread > 1e-8, spread, 1.0)
    rows: np.ndarray = found.reshape(len(found), -1).astype(np.float32)
    return rows
