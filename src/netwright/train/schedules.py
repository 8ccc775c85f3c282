"""Schedules as pure functions of the step, so that a resume needs no state of theirs."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from functools import cache

from netwright.train.entries import SCHEDULES
from netwright.train.settings import Training

_ROUNDING = 1e-9
"""Added to an epoch, so that its first step is in it however progress was rounded."""


def constant(progress: float, settings: Training) -> float:
    """1 throughout."""
    return 1.0


def cosine(progress: float, settings: Training) -> float:
    """(1 + cos(pi * progress)) / 2. Source: Loshchilov and Hutter (2017).

    >>> [round(cosine(p, Training()), 3) for p in (0.0, 0.5, 1.0)]
    [1.0, 0.5, 0.0]
    """
    return _fall(min(progress, 1.0))


def one_cycle(progress: float, settings: Training) -> float:
    """Half a cosine up from 1/25 to 1 over the first 30 % of the steps, then one down to 1/250,000.

    Source: Smith and Topin (2019), "Super-Convergence"; annealed by cosines as in most implementations.

    >>> [round(one_cycle(p, Training()), 3) for p in (0.0, 0.3, 0.65, 1.0)]
    [0.04, 1.0, 0.5, 0.0]
    """
    rise, low, end = 0.3, 1 / 25, 1 / 250_000
    if progress < rise:
        return 1 + (low - 1) * _fall(progress / rise)
    return end + (1 - end) * _fall(min((progress - rise) / (1 - rise), 1.0))


def step(progress: float, settings: Training) -> float:
    """(1/2) ** floor(epoch / halve_every), epochs counted from 0. Source: He et al. (2016) divide by ten, by hand.

    >>> [step(p, Training(epochs=9, halve_every=3)) for p in (0.0, 0.3, 0.34, 0.67)]
    [1.0, 1.0, 0.5, 0.25]
    """
    epoch = progress * settings.epochs + _ROUNDING
    return float(0.5 ** math.floor(epoch / settings.halve_every))


def multi_cycle(progress: float, settings: Training) -> float:
    """`cycles` times half a cosine from 1 to 0, with a restart at 1 in between, each of whole epochs: see `cycle_ends`.

    Source: Loshchilov and Hutter (2017), "SGDR"; Huang et al. (2017) for a snapshot at the end of each.

    >>> [round(multi_cycle(p, Training(cycles=2)), 3) for p in (0.0, 0.25, 0.5, 0.75)]
    [1.0, 0.5, 1.0, 0.5]
    """
    epoch, ends = progress * settings.epochs, cycle_ends(settings.epochs, settings.cycles)
    number = min(bisect_right(ends, epoch + _ROUNDING), len(ends) - 1)
    begin = ends[number - 1] if number else 0
    return _fall(min(max(epoch - begin, 0.0) / (ends[number] - begin), 1.0))


@cache
def cycle_ends(epochs: int, cycles: int) -> tuple[int, ...]:
    """After which epochs the cycles of "multi-cycle" end: floor(epochs * i / cycles) for i = 1 ... cycles, at most one an epoch.

    >>> cycle_ends(7, 3), cycle_ends(2, 3)
    ((2, 4, 7), (1, 2))
    """
    cycles = min(epochs, cycles)
    return tuple(epochs * i // cycles for i in range(1, cycles + 1))


def _fall(part: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * part))


def rate_at(step: int, total: int, settings: Training) -> float:
    """The learning rate of step `step` (from 0) of `total`; one-cycle brings its own warm-up."""
    shape = _shape(settings.schedule)
    rise = 1.0 if settings.schedule == "one-cycle" else min(1.0, (step + 1) / (settings.warmup + 1))
    return settings.learning_rate * rise * shape(step / max(total, 1), settings)


@cache
def _shape(schedule: str) -> Callable[[float, Training], float]:
    shape: Callable[[float, Training], float] = SCHEDULES[schedule].load()
    return shape
