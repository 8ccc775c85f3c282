"""What came of attacked rows, whatever they are made of, and the intervals that go with it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from netwright.core.seed import numpy_generator

_Z = 1.959963984540054
_DRAWS = 400


class Allowed(Protocol):
    """What an attacker may do."""

    @property
    def words(self) -> str:
        """It in words."""

    @property
    def axis(self) -> str:
        """What a curve over its size has below."""

    @property
    def not_judged(self) -> str:
        """Why the outcome is not judged; empty where it is."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What an attack came to, as the shell around it measured it.

    Args:
        threat: what was allowed.
        before, after: predictions (N, C) or (N,) on the rows as they were, and on the worst that was found.
        price_before, price_after: (N,) how wrong they are (see `goal.judge`); for numbers the absolute error.
        wrong: (N,) classes: wrong before the attack; such rows are not attacked.
        success: (N,) classes: right before and wrong after; numbers: the error grew.
        n_clipped: rows in which the attack had left what was allowed.
    """

    threat: Allowed
    before: np.ndarray
    after: np.ndarray
    price_before: np.ndarray
    price_after: np.ndarray
    wrong: np.ndarray
    success: np.ndarray
    n_clipped: int = 0

    @property
    def change(self) -> np.ndarray:
        """(N,) how far each row was changed, in what varies over a curve."""
        raise NotImplementedError

    @property
    def accuracy(self) -> float:
        """Share of all rows that are right before and after."""
        return float((~self.wrong & ~self.success).mean())

    @property
    def rmse(self) -> float:
        """Root of the mean squared error after the attack, for numbers."""
        return float(np.sqrt(np.mean(self.price_after**2)))

    @property
    def success_rate(self) -> float:
        """Share of the rows that could be attacked whose prediction turned wrong (numbers: worse)."""
        return float(self.success.sum() / max(1, (~self.wrong).sum()))


def wilson(share: float, n: int) -> tuple[float, float]:
    """95 % interval of a share of n rows. Source: Wilson (1927).

    >>> [round(v, 3) for v in wilson(0.9, 100)]
    [0.826, 0.945]
    """
    middle, wide = share + _Z**2 / (2 * n), _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n * n))
    low, high = (middle - wide) / (1 + _Z**2 / n), (middle + wide) / (1 + _Z**2 / n)
    return max(0.0, low) if share > 0 else 0.0, min(1.0, high) if share < 1 else 1.0


def rmse_interval(errors: np.ndarray, seed: int) -> tuple[float, float]:
    """95 % bootstrap interval of the root mean square of errors (N,). Source: Efron (1979)."""
    rng, squares = numpy_generator(seed, "attack interval"), errors**2
    means = [squares[rng.integers(0, len(squares), len(squares))].mean() for _ in range(_DRAWS)]
    low, high = np.sqrt(np.sort(means)[[int(0.025 * _DRAWS), int(0.975 * _DRAWS)]])
    return float(low), float(high)
