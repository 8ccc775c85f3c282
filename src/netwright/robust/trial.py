"""All that an attack probe measured, with the intervals that go with it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from netwright.core.entry import Entry
from netwright.core.finding import Cell
from netwright.core.seed import numpy_generator
from netwright.data.batch import Inputs
from netwright.model import Model
from netwright.robust.shell import AttackResult
from netwright.robust.threat import Threat

_Z = 1.959963984540054
_DRAWS = 400


def wilson(share: float, n: int) -> tuple[float, float]:
    """95 % interval of a share of n rows. Source: Wilson (1927).

    >>> [round(v, 3) for v in wilson(0.9, 100)]
    [0.826, 0.945]
    """
    middle, wide = share + _Z**2 / (2 * n), _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n * n))
    return max(0.0, (middle - wide) / (1 + _Z**2 / n)), min(1.0, (middle + wide) / (1 + _Z**2 / n))


def rmse_interval(errors: np.ndarray, seed: int) -> tuple[float, float]:
    """95 % bootstrap interval of the root mean square of errors (N,). Source: Efron (1979)."""
    rng, squares = numpy_generator(seed, "attack interval"), errors**2
    means = [squares[rng.integers(0, len(squares), len(squares))].mean() for _ in range(_DRAWS)]
    low, high = np.sqrt(np.sort(means)[[int(0.025 * _DRAWS), int(0.975 * _DRAWS)]])
    return float(low), float(high)


@dataclass(frozen=True)
class Dot:
    """One size of change: score and interval under attack, what it took, and the score under noise of the same size.

    Args:
        size: in spreads, or swaps.
        score: accuracy or RMSE under attack. low, high: its 95 % interval.
        rate: share of the attacked rows that turned wrong (numbers: were made worse).
        change: mean change of those rows, in spreads or swaps; None without such rows.
        noise: accuracy or RMSE under noise.
    """

    size: float
    score: float
    low: float
    high: float
    rate: float | None
    change: float | None
    noise: float


@dataclass(frozen=True)
class Trial:
    """All that an attack probe measured.

    Args:
        entry: the probe. model: what was attacked.
        x, y: the rows. rows: (N,) where they stand in the test part.
        sizes: what varies over the results, rising, in `unit` "spreads" or "swaps".
        reference: the size that is judged (the nearest there is).
        results, control: of the attack, and of noise of the same size.
        extra: further measured values. notes: what a reader must know, each a sentence.
    """

    entry: Entry
    model: Model
    x: Inputs
    y: Tensor
    rows: np.ndarray
    sizes: tuple[float, ...]
    unit: str
    reference: float
    results: list[AttackResult]
    control: list[AttackResult]
    seed: int
    extra: dict[str, Cell] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def is_number(self) -> bool:
        """Whether the target is a number."""
        return self.y.is_floating_point()

    @property
    def score_name(self) -> str:
        """What the curve shows."""
        return "RMSE" if self.is_number else "accuracy"

    @property
    def judged(self) -> int:
        """Number of the result that is judged."""
        return int(np.argmin([abs(size - self.reference) for size in self.sizes]))

    @property
    def trivial(self) -> float:
        """Score of always giving the most frequent class, or the mean, of these rows."""
        y = self.y.numpy()
        return float(y.std()) if self.is_number else float(np.bincount(y).max() / len(y))

    @property
    def dots(self) -> list[Dot]:
        """The curve, the rows as they are first."""
        first = self.results[0]
        clean = first.price_before if self.is_number else ~first.wrong
        score, low, high = self._score(clean)
        dots = [Dot(0.0, score, low, high, None, None, score)]
        for size, result, control in zip(self.sizes, self.results, self.control, strict=True):
            score, low, high = self._score(result.price_after if self.is_number else ~result.wrong & ~result.success)
            change = (result.swaps if self.unit == "swaps" else result.distance)[result.success]
            mean = float(change.mean()) if len(change) else None
            noise = control.rmse if self.is_number else control.accuracy
            dots.append(Dot(size, score, low, high, result.success_rate, mean, noise))
        return dots

    def _score(self, rows: np.ndarray) -> tuple[float, float, float]:
        if self.is_number:
            return float(np.sqrt(np.mean(rows**2))), *rmse_interval(rows, self.seed)
        return float(rows.mean()), *wilson(float(rows.mean()), len(rows))


def allowed_words(threat: Threat) -> str:
    """What an attacker may do, in words.

    >>> from netwright.core.spec import CategoryField, InputSpec
    >>> allowed_words(Threat(InputSpec(fields=(CategoryField(name="sex", categories=("f", "m")),)), swaps=2))
    'any 2 categories of a row may be swapped'
    """
    parts = []
    if threat.swaps:
        which = "any one category" if threat.swaps == 1 else f"any {threat.swaps} categories"
        parts.append(f"{which} of a row may be swapped")
    if threat.eps:
        parts.append(f"every number may move by {threat.eps:g} of its spread")
    return " and ".join(parts)
