"""All that an attack probe measured, and the curve that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from netwright.core.entry import Entry
from netwright.core.finding import Cell
from netwright.model import Model
from netwright.robust.result import Result, rmse_interval, wilson


@dataclass(frozen=True)
class Dot:
    """One size of change: score and interval under attack, what it took, and the score under noise of the same size.

    Args:
        size: in the unit of the trial.
        score: accuracy or RMSE under attack. low, high: its 95 % interval.
        rate: share of the attacked rows that turned wrong (numbers: were made worse).
        change: mean change of those rows, in the unit of the trial; None without such rows.
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
        y: (N,) targets of the rows. rows: (N,) where they stand in the test part.
        sizes: what varies over the results, rising, in `unit` ("spreads", "grey levels", "swaps" or "edits").
        reference: the size that is judged (the nearest there is).
        results, control: of the attack, and of noise of the same size.
        extra: further measured values. notes: what a reader must know, each a sentence.
    """

    entry: Entry
    model: Model
    y: Tensor
    rows: np.ndarray
    sizes: tuple[float, ...]
    unit: str
    reference: float
    results: Sequence[Result]
    control: Sequence[Result]
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
    def control_name(self) -> str:
        """What the attack is held against."""
        return "edits, as many" if self.unit == "edits" else "noise of the same size"

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
            change = result.change[result.success]
            mean = float(change.mean()) if len(change) else None
            noise = control.rmse if self.is_number else control.accuracy
            dots.append(Dot(size, score, low, high, result.success_rate, mean, noise))
        return dots

    def _score(self, rows: np.ndarray) -> tuple[float, float, float]:
        if self.is_number:
            return float(np.sqrt(np.mean(rows**2))), *rmse_interval(rows, self.seed)
        return float(rows.mean()), *wilson(float(rows.mean()), len(rows))
