"""The learning-rate range test: one short training with a rising rate shows which rates a network can take."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from netwright.checks.fresh import (
    affordable,
    objective_of,
    price,
    recipe_of,
    sealed,
    some_rows,
    start_of,
)
from netwright.core.finding import Cell, Figure, Finding, Series, Verdict
from netwright.core.seed import derive, generator
from netwright.data.batch import Batch, Block
from netwright.model import Subject
from netwright.train.settings import Training
from netwright.train.weights import Weights

_RULE = (
    "the highest stable rate is the last before the smoothed loss gives back half of what it had gained, "
    "the suggested one a tenth of it"
)


HELD_ELEMENTS = 100_000
"""Most pixels or tokens of the rows on which the loss is measured."""
_FEWEST = 32


@dataclass(frozen=True)
class RangeTest:
    """Rates that were tried, and the loss after a step at each.

    Args:
        rates: rising, those tried. losses: on the same rows after each step; may end in what is not finite.
        start: loss before the first step.
        late: whether the clock ended it. runs: how many it is the median of.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    start: float
    late: bool = False
    runs: int = 1

    @property
    def smooth(self) -> np.ndarray:
        """Running median over five steps; what is not finite counts as infinite."""
        losses = np.nan_to_num(np.array([self.start, self.start, *self.losses]), nan=np.inf, posinf=np.inf)
        padded = np.concatenate([losses, losses[-1:], losses[-1:]])
        return np.array([np.median(padded[i : i + 5]) for i in range(len(self.losses))])

    @property
    def gain(self) -> float:
        """By how much the smoothed loss fell, as a share of its start."""
        return float((self.start - self.smooth.min()) / max(abs(self.start), 1e-30))

    @property
    def diverged(self) -> int | None:
        """The step at which the smoothed loss has given back half of what it had gained; None if it never has."""
        smooth = self.smooth
        lowest = np.minimum.accumulate(np.minimum(smooth, self.start))
        gained = max(self.start - lowest.min(), 0.02 * abs(self.start))
        above = np.flatnonzero(smooth > lowest + 0.5 * gained)
        return int(above[0]) if len(above) else None

    @property
    def highest_stable(self) -> float:
        """The last rate before the divergence; the highest tried if there was none."""
        end = self.diverged
        return self.rates[-1] if end is None else self.rates[max(end - 1, 0)]


def learning_rate_range(
    subject: Subject,
    *,
    budget_seconds: float = 20.0,
    seed: int = 0,
    runs: int = 3,
    steps: int = 72,
    low: float = 1e-5,
    high: float = 10.0,
    rows: int = 256,
) -> Finding:
    """Which learning rates the network can take: the rate rises exponentially from step to step until the loss does too.

    The loss is measured after each step on the same training rows, in evaluation mode, and its median is taken over some runs,
    for single runs end far apart. The highest stable rate is the last before the loss, smoothed by a running median, gives
    back half of what it had gained; the suggested rate is a tenth of that.

    Args:
        subject: recipe or model, and data.
        budget_seconds: decides, with the time that one step takes, how many runs and steps there are; and a guard: a test that
            it cuts off judges the rates that it reached.
        seed: of networks and batches.
        runs: with other networks and batches, at most. steps: from `low` to `high`, at most.
        rows: of a batch, at most, and of the rows on which the loss is measured.

    Source: Smith (2017), "Cyclical Learning Rates for Training Neural Networks", section 3.3.
    """
    recipe = recipe_of(subject)
    settings = recipe.training if recipe else Training()
    deadline = time.monotonic() + budget_seconds
    tests: list[RangeTest] = []
    with sealed(seed, "learning-rate-range"):
        affords = budget_seconds / _seconds_per_step(subject, settings, rows, seed)
        runs = min(runs, max(1, int(affords / steps)))
        steps, low = (steps, low) if affords >= steps else (max(_FEWEST, int(affords)), 10 * low)
        rates = [float(r) for r in np.geomspace(low, high, steps)]
        for run in range(runs):
            start = start_of(subject, derive(seed, "range", run))
            tests.append(range_test(subject, start.net, settings, rates, rows, derive(seed, "range", run), deadline))
            if tests[-1].late:
                break
    found = median_of(tests[:-1] if len(tests) > 1 and tests[-1].late else tests)
    planned = settings.learning_rate if recipe else None
    verdict, title, todo = _judge(found, planned)
    suggested = found.highest_stable / 10
    measured: dict[str, Cell] = {
        "highest_stable_learning_rate": found.highest_stable,
        "suggested_learning_rate": suggested if verdict != "fail" and found.gain >= 0.02 else None,
        "planned_learning_rate": planned,
        "diverged": found.diverged is not None,
        "loss_at_start": found.start,
        "lowest_loss": float(found.smooth.min()),
        "runs": found.runs,
        "steps": len(found.losses),
    }
    return Finding(
        probe="learning-rate-range",
        family="checks",
        verdict=verdict,
        title=title,
        measured=measured,
        expected=f"a planned rate of at most the highest stable one; {_RULE}"
        + (f"; {start.note}" if start.note else ""),
        why="Of all settings the learning rate decides most. Above the highest stable rate a training jumps about or diverges, far "
        "below it nothing happens in the time that there is.",
        todo=todo,
        figures=(_figure(found, planned),),
        reference="Smith (2017)",
        seed=seed,
    )


def _seconds_per_step(subject: Subject, settings: Training, rows: int, seed: int) -> float:
    """What a step and its measurement take, with some air: the second of two, for the first one warms up."""
    start = start_of(subject, derive(seed, "range", "clock"))
    range_test(subject, start.net, settings, [0.0], rows, seed)
    began = time.monotonic()
    range_test(subject, start.net, settings, [0.0], rows, seed)
    return 0.7 * (time.monotonic() - began)  # two measurements in one step, where a long test has one


def range_test(
    subject: Subject,
    net: nn.Module,
    settings: Training,
    rates: list[float],
    rows: int,
    seed: int,
    deadline: float = math.inf,
) -> RangeTest:
    """Train `net` in place, one step at each rate, until the loss is clearly above its start, or not finite."""
    block: Block = subject.need("data").block("train")
    size = min(settings.batch_size, rows, len(block))
    draws = generator(seed, "range-batches")
    held = some_rows(subject, affordable(subject, rows, elements=HELD_ELEMENTS, least=64), seed, "range-held")
    objective, weights = objective_of(subject), Weights(net, settings)
    start, losses = _loss(subject, net, held), []
    for rate in rates:
        batch = block.take(torch.randperm(len(block), generator=draws)[:size])
        net.train()
        prices = objective.step(net, batch, draws)
        total = torch.stack([v.mean() for v in prices.values()]).sum()
        if total.isfinite() and total.requires_grad:
            weights.zero()
            total.backward()  # type: ignore[no-untyped-call]
            weights.step(rate, weights.norms())
        losses.append(_loss(subject, net, held))
        late = time.monotonic() >= deadline
        if (
            late
            or not math.isfinite(losses[-1])
            or (len(losses) > 5 and np.median(losses[-5:]) > start + max(abs(start), 1e-9))
        ):
            break
    return RangeTest(tuple(rates[: len(losses)]), tuple(losses), start, late)


def median_of(tests: list[RangeTest]) -> RangeTest:
    """The median over runs at each rate; a run that ended earlier counts as infinite from there on, and all end with the last."""
    longest = max(tests, key=lambda t: len(t.rates))
    losses = np.full((len(tests), len(longest.rates)), np.inf)
    for row, test in zip(losses, tests, strict=True):
        row[: len(test.losses)] = np.nan_to_num(np.array(test.losses), nan=np.inf)
    middle = tuple(float(v) for v in np.median(losses, 0))
    start = float(np.median([t.start for t in tests]))
    return RangeTest(longest.rates, middle, start, any(t.late for t in tests), len(tests))


def _loss(subject: Subject, net: nn.Module, held: Batch) -> float:
    assert held.y is not None
    net.eval()
    with torch.no_grad():
        return price(subject.loss, objective_of(subject).predict(net, held.x), held.y)


def _judge(found: RangeTest, planned: float | None) -> tuple[Verdict, str, str]:
    highest, end = found.highest_stable, found.diverged
    reach = f"stable up to {highest:.2g}" + ("" if end is not None else ", the highest tried")
    if not math.isfinite(found.start):
        return "warn", f"the loss is {found.start} before the first step", "See the check of the loss at the start."
    if found.late and found.gain < 0.02:
        return (
            "info",
            f"out of time at rate {found.rates[-1]:.2g}, before the loss fell",
            "Give the check more seconds.",
        )
    if found.gain < 0.02:
        todo = "Run the other checks first; if they pass, try more steps or another optimiser."
        return "warn", f"no learning rate from {found.rates[0]:.1g} to {found.rates[-1]:.2g} makes the loss fall", todo
    if planned is None:
        return "info", f"{reach}; {highest / 10:.2g} is suggested", ""
    if end is not None and planned > highest:
        todo = f"Lower the learning rate to about {highest / 10:.2g}."
        return "warn", f"the planned rate {planned:.2g} is above the highest stable one, {highest:.2g}", todo
    if found.late and planned > highest:
        return (
            "info",
            f"out of time at rate {highest:.2g}, below the planned {planned:.2g}",
            "Give the check more seconds.",
        )
    return "pass", f"{reach}; {highest / 10:.2g} is suggested, {planned:.2g} is planned", ""


def _figure(found: RangeTest, planned: float | None) -> Figure:
    smooth = tuple(float(v) if math.isfinite(v) else None for v in found.smooth)
    top = found.start + 0.5 * max(abs(found.start), 1e-9)
    lows = [v for v in smooth if v is not None] or [found.start]
    marks = {"highest stable": found.highest_stable} | ({"planned": planned} if planned else {})
    return Figure(
        title="Learning-rate range test",
        kind="line",
        series=(
            Series(name="loss", x=found.rates, y=tuple(v if v <= top else None for v in found.losses)),
            Series(
                name="running median", x=found.rates, y=tuple(v if v is not None and v <= top else None for v in smooth)
            ),
            *(
                Series(name=f"{k} ({v:.2g})", x=(v, v), y=(min(lows), found.start), dashed=True)
                for k, v in marks.items()
            ),
        ),
        x_label="learning rate",
        y_label="loss",
        log_x=True,
        caption=f"One step at each rate, median of {found.runs} runs; {_RULE}.",
    )
