"""How much a training may do: a few steps are timed, and the choice becomes part of the plan."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict, ValidationError

from netwright.core.errors import DataError, UsageError
from netwright.core.frozen import Frozen
from netwright.data.data import Data
from netwright.recipes.recipe import Recipe
from netwright.train.precision import Precision
from netwright.train.way import choose_way
from netwright.workflow.bench import Trial

COMPILING = 30.0
"""Seconds that compiling takes, or more."""
MOST_EPOCHS = 400
"""Of a training by heart."""
EPOCH_ROWS = 1_000_000
"""Rows of an epoch over rows on disk, at most: after each the network is evaluated."""
MIN_EPOCHS, MIN_ROWS = 4, 1000
"""Evaluations of such a training, and rows of an epoch, at least."""


class StagePlan(Frozen):
    """How much a stage may do: measured once, replayed ever after.

    Args:
        threads: of the processor.
        epoch_seconds: what a pass takes.
        epochs: passes, at most; in stage 2 of all its trials together.
        precision: of the training; predictions are always in float32.
        channels_last: the layout of images. compiled: whether steps are compiled; in stage 1.
        reason: why this way, for people.
    """

    threads: int
    epoch_seconds: float
    epochs: int
    precision: Precision = "float32"
    channels_last: bool = False
    compiled: bool = False
    reason: str = ""


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


def plan_memorising(recipe: Recipe, data: Data, seconds: float, fixed: Mapping[str, Any] | None = None) -> StagePlan:
    """The fastest way to compute a step, and how many epochs fit into `seconds` then; see `train.way.choose_way`."""
    source, loss = data.block("train"), recipe.make_loss(data.target)
    steps_per_epoch = max(1, len(source) // min(recipe.training.batch_size, len(source)))
    way = choose_way(
        lambda: recipe.build(data.spec, data.target, 0),
        recipe.make_objective(loss),
        loss,
        source,
        data.block("valid"),
        recipe.training,
        steps=MOST_EPOCHS * steps_per_epoch,
        seconds=seconds,
        fixed=fixed,
    )
    epoch = way.step_seconds * steps_per_epoch * 1.15  # evaluation after each epoch
    left = seconds - (COMPILING if way.compiled else 0.0)
    epochs = int(np.clip(left / epoch, 2, MOST_EPOCHS))
    return StagePlan(
        threads=way.threads,
        epoch_seconds=round(epoch, 4),
        epochs=epochs,
        precision=way.precision,
        channels_last=way.channels_last,
        compiled=way.compiled,
        reason=way.reason,
    )


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


def check_way(plan: Mapping[str, Any], asked: Mapping[str, Any], path: str | Path) -> None:
    """Refuse a plan that computes otherwise than was asked for.

    Raises:
        UsageError: it does.
    """
    if plan.get("memorise") is None:
        return
    planned = StagePlan.model_validate(plan["memorise"])
    for name, value in asked.items():
        if (other := getattr(planned, name)) != value:
            option = f"--{'no-' * (value is False)}compile" if name == "compiled" else f"--{name} {value}"
            raise UsageError(f"{option}: the plan in {path} says {name}: {other}; leave out one of both")


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
