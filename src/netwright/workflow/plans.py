"""How much a training may do: a few steps are timed, and the choice becomes part of the plan."""

from __future__ import annotations

import math
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ConfigDict, ValidationError
from torch import nn

from netwright.core.errors import DataError
from netwright.core.frozen import Frozen
from netwright.data.batch import Source
from netwright.data.data import Data
from netwright.recipes.recipe import Recipe
from netwright.train.hooks import Quiet
from netwright.train.loop import train
from netwright.train.objectives import Objective
from netwright.train.precision import Precision, native_bfloat16
from netwright.train.settings import Training
from netwright.train.state import State
from netwright.workflow.bench import Trial

EPOCH_ROWS = 1_000_000
"""Rows of an epoch over rows on disk, at most: after each the network is evaluated."""
MIN_EPOCHS, MIN_ROWS = 4, 1000
"""Evaluations of such a training, and rows of an epoch, at least."""
LEAST_STEPS = 4
"""Steps that are timed even where there is no time."""


class StagePlan(Frozen):
    """How much a stage may do: measured once, replayed ever after.

    Args:
        threads: of the processor.
        epoch_seconds: what a pass takes.
        epochs: passes, at most; in stage 2 of all its trials together.
        precision: of the training; predictions are always in float32.
    """

    threads: int
    epoch_seconds: float
    epochs: int
    precision: Precision = "float32"


class TryPlan(Frozen):
    """How much a short trial may do, so that all of them fit their share of the time.

    Args:
        rows: training rows of each. epochs: passes of each. trials: how many there may be.
    """

    rows: int
    epochs: int
    trials: int


class StreamPlan(Frozen):
    """How the last training goes over rows on disk: an epoch is one of `shards` parts of a pass over all of them."""

    shards: int
    epochs: int
    epoch_seconds: float


def plan_memorising(recipe: Recipe, data: Data, seconds: float) -> StagePlan:
    """Time some steps on one thread and on all, of images in both precisions, and see how many epochs fit into `seconds`.

    More threads must gain a quarter to be taken: on a busy machine they wait for each other. So must bfloat16.
    """
    source = data.block("train")
    batch_size = min(recipe.training.batch_size, len(source))
    steps_per_epoch = max(1, len(source) // batch_size)
    precisions: list[Precision] = ["float32"]
    if data.spec.images and native_bfloat16():
        precisions.append("bfloat16")
    ways = list(product(sorted({1, torch.get_num_threads()}), precisions))
    each = {way: _step_seconds(recipe.with_training(precision=way[1]), data, way[0]) for way in ways}
    best = min(ways, key=lambda way: each[way] * 1.25 ** ((way[0] > 1) + (way[1] != "float32")))
    epoch = each[best] * steps_per_epoch * 1.15  # evaluation after each epoch
    epochs = int(np.clip(seconds / epoch, 2, 400))
    return StagePlan(threads=best[0], epoch_seconds=round(epoch, 4), epochs=epochs, precision=best[1])


def plan_trials(
    plan: StagePlan, n_rows: int, seconds: float, trials: int, *, epochs: int = 6, most: int | None = None
) -> TryPlan | None:
    """Short trials on as many training rows as the time allows; None where there would have to be fewer than 1,000 of many.

    Args:
        seconds: of all trials together. trials: how many there may be.
        epochs: passes of each over its rows.
        most: rows of each, at most: few rows and many passes show best what a change of images does.
    """
    passes = seconds * n_rows / (trials * max(plan.epoch_seconds, 1e-6))  # rows times epochs of one trial
    rows = min(n_rows, most or n_rows, int(passes / epochs))
    return TryPlan(rows=rows, epochs=epochs, trials=trials) if rows >= min(1000, n_rows) else None


def plan_regularising(plan: StagePlan, first: Trial, seconds: float) -> StagePlan:
    """How many epochs fit into `seconds`, going by what the epochs of stage 1 took."""
    took = [float(row["seconds"]) for row in first.history.rows]
    epoch = float(np.median(took)) * 1.15 if took else plan.epoch_seconds
    epochs = int(np.clip(seconds / epoch, 10 if epoch < 1 else 3, 600))
    return plan.model_copy(update={"epoch_seconds": round(epoch, 4), "epochs": epochs})


def plan_streaming(n_rows: int, plan: StagePlan, n_sample: int, epochs: int, seconds: float) -> StreamPlan:
    """As many passes over all rows as fit into `seconds`, at most `epochs`, going by the speed of the sample's epochs.

    Args:
        n_rows: training rows in all. plan: of the epochs over the `n_sample` of them that are in memory.

    >>> stage = StagePlan(threads=1, epoch_seconds=2.0, epochs=9)
    >>> plan_streaming(10_000_000, stage, 200_000, 50, 100.0)
    StreamPlan(shards=10, epochs=10, epoch_seconds=10.0)
    """
    rate = n_sample / max(plan.epoch_seconds, 1e-6)
    rows = min(n_rows, EPOCH_ROWS, max(int(rate * seconds / MIN_EPOCHS), MIN_ROWS))
    shards = math.ceil(n_rows / rows)
    each = n_rows / shards / rate
    most = int(np.clip(seconds / each, 1, epochs * shards))
    return StreamPlan(shards=shards, epochs=most, epoch_seconds=round(each, 4))


def _step_seconds(recipe: Recipe, data: Data, threads: int, steps: int = 12) -> float:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        net = recipe.build(data.spec, data.target, 0)
        objective = recipe.make_objective(recipe.make_loss(data.target))
        times, _ = step_times(net, objective, data.block("train"), recipe.training, steps=steps)
    finally:
        torch.set_num_threads(before)
    return float(np.median(times[2:]))


def step_times(
    net: nn.Module, objective: Objective, source: Source, settings: Training, *, steps: int, seconds: float = math.inf
) -> tuple[np.ndarray, int]:
    """Seconds of each optimiser step but the first, and how many steps an epoch has. The network is trained by it.

    Args:
        steps: after which to stop. seconds: after which to stop, too, once there are `LEAST_STEPS`.
    """
    stopwatch = _Stopwatch(steps, seconds)
    long = settings.model_copy(update={"epochs": steps + 1, "warmup": 0})
    state = train(net, objective, source, long, seed=0, hooks=[stopwatch])
    return np.diff(stopwatch.stamps), state.steps_per_epoch


class _Stopwatch(Quiet):
    """Notes the time after each step and stops after some."""

    def __init__(self, steps: int, seconds: float) -> None:
        self.steps, self.seconds = steps, seconds
        self.stamps: list[float] = []

    def on_step(self, state: State) -> None:
        """Note the time."""
        self.stamps.append(time.perf_counter())
        n, passed = len(self.stamps), self.stamps[-1] - self.stamps[0]
        if n >= self.steps or (n > LEAST_STEPS and passed >= self.seconds):
            state.stop = "measured"


class PlanFile(Frozen):
    """What a plan.json may hold, so that a wrong one is refused before anything is done; further keys are decisions of the clock."""

    model_config = ConfigDict(extra="allow", frozen=True)

    fingerprint: str | None = None
    seconds_per_baseline: float | None = None
    learning_rate: float | None = None
    memorise: StagePlan | None = None
    regularise: StagePlan | None = None
    average_epochs: int | None = None
    stream: StreamPlan | None = None


def check_plan(plan: Any, path: str | Path) -> dict[str, Any]:
    """A plan as read from a file.

    Raises:
        DataError: it is no plan, or one of its choices has the wrong shape.
    """
    try:
        PlanFile.model_validate(plan)
        if isinstance(plan.get("try"), dict):
            TryPlan.model_validate(plan["try"])
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'all of it'}: {e['msg']}" for e in error.errors()[:3])
        raise DataError(f"{path} is no plan of a run ({wrong}); give the plan.json of an earlier run") from error
    checked: dict[str, Any] = plan
    return checked
