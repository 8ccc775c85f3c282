"""Curves of time against size: measured points, and the line t = a + b n through them with its slope on logarithmic axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from netwright.core.frozen import Frozen
from netwright.recipes.recipe import Recipe


class Slope(Frozen):
    """d log t / d log n, by least squares, with its 95 % interval by Student's t. 1: twice the size takes twice the time."""

    value: float
    low: float
    high: float


class Line(Frozen):
    """What was fitted to times t of sizes n.

    Args:
        constant: a of t = a + b n, in seconds: what a size of nothing would take. each: b, in seconds for one.
        r2: 1 - sum (log t - log(a + b n))^2 / sum (log t - mean log t)^2.
        slope: over all sizes. upper: over the upper two decades, where the constant weighs least.
        decades: of size, from the smallest to the largest.
    """

    constant: float
    each: float
    r2: float
    slope: Slope
    upper: Slope | None
    decades: float

    def at(self, sizes: Sequence[float]) -> list[float]:
        """Seconds of the line at these sizes."""
        return [self.constant + self.each * n for n in sizes]


class Point(Frozen):
    """The time of one size.

    Args:
        size: rows, weights or members. option: of the template that gave so many weights.
        seconds, low, high: median and quartiles of the repetitions.
        steps: that were timed, a member each. epoch_steps: of a whole epoch.
        repeats: repetitions: whole epochs where these were timed, else equal parts of the steps.
    """

    size: int
    option: int | None = None
    seconds: float
    low: float
    high: float
    steps: int
    epoch_steps: int
    repeats: int


class Curve(Frozen):
    """Seconds against one quantity.

    Args:
        against: "rows", "weights" or "members". of: "an epoch" or "a step".
        points: by size. line: through them; None where they are fewer than three. notes: what was left out, and why.
    """

    against: str
    of: str
    points: tuple[Point, ...]
    line: Line | None
    notes: tuple[str, ...] = ()


class Cost(Frozen):
    """All that was measured: `cost.json`.

    Args:
        recipe: that was measured. weights: of its network. threads: of the processor. seconds: that it took.
        data: name of the rows, of which there are `rows` to train with. sized: the option that was varied for the weights.
    """

    recipe: Recipe
    data: str
    rows: int
    weights: int
    threads: int
    sized: str | None
    seed: int
    seconds: float
    curves: tuple[Curve, ...]


LEAST = 3
"""Points without which there is no line."""


def fit_line(sizes: Sequence[float], seconds: Sequence[float]) -> Line | None:
    """The line through measured times, all of the same relative weight: relative errors are what clocks and machines make.

    a and b, neither below 0, minimise sum (log t - log(a + b n))^2. None for fewer than three points.

    Source: Gauss (1809) for least squares, Student (1908) for the interval of a slope.

    >>> line = fit_line([1, 10, 100, 1000], [3.0, 12.0, 102.0, 1002.0])
    >>> round(line.constant, 6), round(line.each, 6), round(line.r2, 6)
    (2.0, 1.0, 1.0)
    """
    if len(sizes) < LEAST:
        return None
    n, t = np.asarray(sizes, dtype=float), np.asarray(seconds, dtype=float)
    from scipy.optimize import least_squares

    units = np.array([t[n.argmin()], t[n.argmax()] / n.max()])  # both parameters are near 1 in these

    def errors(p: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.log(p[0] * units[0] + p[1] * units[1] * n) - np.log(t)
        return found

    starts = [np.array(s) for s in ((0.5, 1.0), (1.0, 1e-3), (1e-6, 1.0))]
    fits = [least_squares(errors, s, bounds=(0.0, np.inf), xtol=1e-12, ftol=1e-12, gtol=1e-12) for s in starts]
    best = min(fits, key=lambda f: float(f.cost))
    total = float(np.square(np.log(t) - np.log(t).mean()).sum())
    many = n >= n.max() / 125  # two decades, and a little, since sizes are rounded
    return Line(
        constant=float(best.x[0] * units[0]) if best.x[0] > 1e-6 else 0.0,
        each=float(best.x[1] * units[1]),
        r2=1 - 2 * float(best.cost) / total if total else 0.0,
        slope=_slope(n, t),
        upper=_slope(n[many], t[many]) if many.sum() >= LEAST else None,
        decades=float(np.log10(n.max() / n.min())),
    )


def _slope(n: np.ndarray, t: np.ndarray) -> Slope:
    from scipy.special import stdtrit

    x, y = np.log(n) - np.log(n).mean(), np.log(t) - np.log(t).mean()
    value = float((x * y).sum() / (x * x).sum())
    error = np.sqrt(np.square(y - value * x).sum() / (len(x) - 2) / (x * x).sum())
    half = float(stdtrit(len(x) - 2, 0.975) * error)
    return Slope(value=value, low=value - half, high=value + half)
