"""Making probabilities and intervals honest: temperature scaling and split conformal intervals, fitted on validation rows."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from netwright.losses.loss import Loss

_LOWEST, _HIGHEST = 0.02, 50.0


def fit_temperature(outputs: Tensor, y: Tensor, loss: Loss, weight: Tensor | None = None) -> float:
    """The temperature T that minimises mean -log p_y with p = loss.predict(outputs / T); never worse than T = 1 here.

    T = 1 where every row is classified rightly: the likelihood then only grows with sureness and has no maximum.

    Args:
        outputs: (N, n_out) of rows that were not trained on (validation rows).
        y: (N,) class numbers.
        loss: owns the link to probabilities.
        weight: (N,) weights of the rows, or None.

    >>> from netwright.losses.standard import CrossEntropy
    >>> outputs = torch.tensor([[4.0, 0.0]] * 4)                  # says 98 %, and is right three times out of four
    >>> round(fit_temperature(outputs, torch.tensor([0, 0, 0, 1]), CrossEntropy()), 2)     # 4 / log(3)
    3.64

    Source: Guo et al. (2017).
    """
    from scipy.optimize import minimize_scalar

    outputs, rows = outputs.double(), torch.arange(len(y))
    if not len(y) or bool((loss.predict(outputs).argmax(1) == y).all()):
        return 1.0
    weights = torch.ones(len(y), dtype=torch.float64) if weight is None else weight.double()

    def nll(log_temperature: float) -> float:
        p = loss.predict(outputs / math.exp(log_temperature))[rows, y]
        return float(-(weights * p.clamp(min=1e-300).log()).sum() / weights.sum())

    found = minimize_scalar(
        nll, bounds=(math.log(_LOWEST), math.log(_HIGHEST)), method="bounded", options={"xatol": 1e-7}
    )
    return math.exp(float(found.x)) if np.isfinite(found.fun) and found.fun < nll(0.0) else 1.0


def conformal_margin(residuals: np.ndarray, coverage: float = 0.9) -> float | None:
    """Half the width of an interval that holds a new value with at least this probability, if rows are exchangeable.

    It is the ceil((n + 1) * coverage)-th smallest |residual| of n rows that were not trained on; None where n is too small
    to promise the coverage (below 9 rows for 0.9).

    >>> conformal_margin(np.arange(1.0, 20.0)), conformal_margin(np.ones(8)) is None
    (18.0, True)

    Source: split conformal prediction, Papadopoulos et al. (2002); Lei et al. (2018).
    """
    distances = np.sort(np.abs(np.asarray(residuals, dtype=np.float64)))
    rank = math.ceil((len(distances) + 1) * coverage - 1e-9)
    return float(distances[rank - 1]) if 0 < rank <= len(distances) else None


def equal_mass_bins(confidence: np.ndarray, n_bins: int = 15) -> np.ndarray:
    """The bin (N,) of each row: bins of as equal numbers of rows as ties allow, lowest confidence first.

    >>> equal_mass_bins(np.array([0.1, 0.9, 0.2, 0.9]), 2).tolist()
    [0, 1, 0, 1]
    """
    if not len(confidence):
        return np.zeros(0, dtype=np.int64)
    edges = np.unique(np.quantile(confidence, np.linspace(0, 1, n_bins + 1)[1:-1], method="higher"))
    return np.unique(np.searchsorted(edges, confidence, side="right"), return_inverse=True)[1].astype(np.int64)


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: np.ndarray) -> float:
    """Expected calibration error: sum_b n_b / N |mean confidence - share right| over bins b.

    Args:
        confidence: (N,) probabilities. right: (N,) whether it came true. bins: (N,) bin of each row.

    >>> calibration_error(np.array([0.8, 0.8]), np.array([1, 0]), np.array([0, 0])).__round__(3)
    0.3

    Source: Naeini et al. (2015).
    """
    gaps = np.bincount(bins, weights=confidence - right)
    return float(np.abs(gaps).sum() / len(confidence)) if len(confidence) else math.nan
