"""Logistic and ridge regression, the penalty chosen on validation rows."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from netwright.baselines.task import Task, mean_loss
from netwright.core.finding import Cell
from netwright.core.seed import derive

PENALTIES = (0.01, 0.1, 1.0, 10.0)
"""Inverse penalties C of logistic regression; ridge takes 1 / C."""
MIN_STEPS, MAX_STEPS = 10, 300
_SMALL_TABLE = 50_000_000
MULTIPLICATIONS_PER_SECOND = 1e8
DENSE_MULTIPLICATIONS_PER_SECOND = 2e9
"""What a step costs on a slow machine, the latter where all features are float32: fixed, so that a plan never depends on the clock."""


def fit_linear(x: Any, x_valid: Any, task: Task, penalties: Sequence[float] = PENALTIES) -> tuple[Any, dict[str, Cell]]:
    """Logistic regression, or ridge regression, with the penalty of least validation loss, and what was chosen.

    Args:
        x: features (N, F) of the training rows, dense or sparse. x_valid: those of the validation rows.
        task: the rows' targets and weights, and how many seconds there are.
        penalties: inverse ones, tried from the first to the last, each from where the one before ended.

    Source: Cox (1958); Hoerl and Kennard (1970).
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, Ridge
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # scikit-learn needs it

    penalties, steps = _affordable(x, task, penalties)
    if task.n_classes:
        model = LogisticRegression(max_iter=steps, warm_start=True)
    else:
        model = Ridge(random_state=derive(task.seed, "ridge") % 2**32)
    best, least, chosen = None, np.inf, penalties[0]
    for c in penalties:
        model.set_params(**({"C": c} if task.n_classes else {"alpha": 1 / c}))
        # On two threads the products of MNIST are a third faster; on a busy machine they take three times as long.
        with warnings.catch_warnings(), threadpool_limits(1 if hasattr(x, "nnz") or x.size < _SMALL_TABLE else None):
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x, task.train.y, sample_weight=task.train.weight)
        loss = _loss(model, x_valid, task) if len(task.valid) else 0.0
        if best is None or loss < least:
            best, least, chosen = copy.deepcopy(model), loss, c
    name, value = ("inverse_penalty_C", chosen) if task.n_classes else ("penalty_alpha", 1 / chosen)
    return best, {name: value, "features": int(x.shape[1])}


def _affordable(x: Any, task: Task, penalties: Sequence[float]) -> tuple[Sequence[float], int]:
    """The penalties to try (the middle one where there is no time for all), and the most steps for each."""
    sparse = hasattr(x, "nnz")
    work = (x.nnz if sparse else x.size) * max(1, task.n_classes if task.n_classes > 2 else 1)
    price = DENSE_MULTIPLICATIONS_PER_SECOND if x.dtype == np.float32 and not sparse else MULTIPLICATIONS_PER_SECOND
    steps = int(task.budget_seconds * price / max(1, work))
    if not len(task.valid) or steps < 25 * len(penalties):
        penalties = (penalties[len(penalties) // 2],)
    return penalties, int(np.clip(steps // len(penalties), MIN_STEPS, MAX_STEPS))


def _loss(model: Any, x: Any, task: Task) -> float:
    if task.n_classes:
        return mean_loss(model.predict_proba(x), model.classes_, task.valid)
    return mean_loss(model.predict(x), np.zeros(0), task.valid)
