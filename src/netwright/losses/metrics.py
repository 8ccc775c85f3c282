"""Metrics by name, on probabilities or values: scikit-learn computes them, the networks and the classic methods share them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from netwright.core.errors import UsageError
from netwright.core.spec import TargetSpec, Task
from netwright.losses.entries import METRICS

Metric = Callable[[np.ndarray, np.ndarray, np.ndarray | None], float]


def score(name: str, y: np.ndarray, prediction: np.ndarray, weight: np.ndarray | None = None) -> float:
    """The metric `name` of predictions.

    Args:
        name: an entry of METRICS.
        y: (N,) class numbers or values.
        prediction: (N, C) probabilities or (N,) values.
        weight: (N,) weights of the rows, or None.

    >>> score("accuracy", np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]]))
    0.5
    """
    metric: Metric = METRICS[name].load()
    return float(metric(y, prediction, weight))


def greater_is_better(name: str) -> bool:
    """Whether a larger value of the metric is the better one."""
    return bool(METRICS[name].options["greater_is_better"])


def metrics_for(task: Task) -> list[str]:
    """Names of all metrics that fit a task, the default one first.

    >>> metrics_for("number")
    ['rmse', 'mae', 'r2']
    """
    return [name for name, entry in METRICS.items() if task in entry.tasks]


def check_metric(name: str | None, target: TargetSpec) -> str:
    """The metric that drives all choices: the one asked for if it fits the task, the default one for None.

    Raises:
        UsageError: it is unknown or does not fit the task.
    """
    fitting = metrics_for(target.task)
    if name is None:
        return fitting[0]
    if name not in fitting:
        known = METRICS[name].name
        raise UsageError(
            f"the metric {known!r} does not fit the task {target.task!r} of {target.name!r}; choose one of {', '.join(fitting)}"
        )
    return name


def log_loss(y: np.ndarray, p: np.ndarray, weight: np.ndarray | None) -> float:
    """Mean of -log p_y, natural logarithm, probabilities held to [1e-15, 1]."""
    losses = -np.log(np.clip(p[np.arange(len(y)), y], 1e-15, 1.0))
    return float(np.average(losses, weights=weight))


def accuracy(y: np.ndarray, p: np.ndarray, weight: np.ndarray | None) -> float:
    """Share of rows whose most probable class is the true one."""
    return float(np.average(p.argmax(1) == y, weights=weight))


def balanced_accuracy(y: np.ndarray, p: np.ndarray, weight: np.ndarray | None) -> float:
    """Mean over classes of the share of their rows that are found."""
    from sklearn.metrics import recall_score

    return float(
        recall_score(y, p.argmax(1), average="macro", sample_weight=weight, labels=np.unique(y), zero_division=0)
    )


def f1(y: np.ndarray, p: np.ndarray, weight: np.ndarray | None) -> float:
    """F1 of the second class where there are two, else the mean of the classes' F1."""
    from sklearn.metrics import f1_score

    average = "binary" if p.shape[1] == 2 else "macro"
    return float(f1_score(y, p.argmax(1), average=average, sample_weight=weight, zero_division=0))


def roc_auc(y: np.ndarray, p: np.ndarray, weight: np.ndarray | None) -> float:
    """Area under the ROC curve; more than two classes: one against the rest, mean over the classes that are there.

    NaN where only one class is there.
    """
    from sklearn.metrics import roc_auc_score

    if p.shape[1] == 2:
        return float(roc_auc_score(y, p[:, 1], sample_weight=weight)) if len(np.unique(y)) == 2 else float("nan")
    there = [c for c in range(p.shape[1]) if 0 < (y == c).sum() < len(y)]
    areas = [roc_auc_score(y == c, p[:, c], sample_weight=weight) for c in there]
    return float(np.mean(areas)) if areas else float("nan")


def brier(y: np.ndarray, p: np.ndarray, weight: np.ndarray | None) -> float:
    """Mean over rows of sum_c (p_c - [y = c])^2. Source: Brier (1950)."""
    wanted = np.eye(p.shape[1])[y]
    return float(np.average(((p - wanted) ** 2).sum(1), weights=weight))


def rmse(y: np.ndarray, values: np.ndarray, weight: np.ndarray | None) -> float:
    """Root of the mean squared error, in the target's unit."""
    return float(np.sqrt(np.average((y - values) ** 2, weights=weight)))


def mae(y: np.ndarray, values: np.ndarray, weight: np.ndarray | None) -> float:
    """Mean absolute error, in the target's unit."""
    return float(np.average(np.abs(y - values), weights=weight))


def r2(y: np.ndarray, values: np.ndarray, weight: np.ndarray | None) -> float:
    """Share of the target's variance that is explained; NaN for fewer than two rows."""
    from sklearn.metrics import r2_score

    return float(r2_score(y, values, sample_weight=weight)) if len(y) > 1 else float("nan")
