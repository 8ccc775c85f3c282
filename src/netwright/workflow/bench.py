"""What the stages of a training share: one candidate trained, and how it came out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from netwright.data.data import Data
from netwright.losses.metrics import greater_is_better
from netwright.model import Model, fit
from netwright.recipes.recipe import Recipe
from netwright.train.hooks import Clock, Report
from netwright.train.measure import Throughput, operations_of_step
from netwright.train.state import History, State

Tell = Callable[..., None]


@dataclass(frozen=True)
class Trial:
    """One training of a stage: what it changed, and what came of it."""

    name: str
    change: str
    recipe: Recipe
    model: Model
    value: float
    best_epoch: int
    stop: str

    @property
    def history(self) -> History:
        """One row an epoch."""
        return self.model.history


@dataclass(frozen=True)
class Workbench:
    """What both stages need: data, metric, seed, where checkpoints go, whom to tell, and when the clock strikes.

    Args:
        clock: stage name and planned seconds -> the hook that guards it.
        late: stage name -> whether there is no time to begin it.
    """

    data: Data
    metric: str
    seed: int
    folder: Path
    tell: Tell
    clock: Callable[[str, float], Clock]
    late: Callable[[str], bool]

    def train(self, name: str, change: str, recipe: Recipe, seconds: float, seed: int | None = None) -> Trial:
        """Train one candidate, stored under its name, so that it is never trained twice; `seed` where it is not the job's."""
        self.tell(
            "training", stage=name, change=change, metric=self.metric, recipe=recipe.resolved().model_dump(mode="json")
        )
        speed = self._speed(recipe)
        report = Report(
            lambda row: self.tell("epoch", stage=name, **row, **speed.row),
            lambda done, total: self.tell("progress", step="train", done=done, total=total, text=f"{name}: {change}"),
        )
        model, state = fit(
            recipe,
            self.data,
            seed=self.seed if seed is None else seed,
            metric=self.metric,
            hooks=[speed, report, self.clock(name, seconds)],
            checkpoint=self.folder / f"{name}.safetensors",
        )
        best = state.values.get("best")
        sign = -1.0 if greater_is_better(self.metric) else 1.0
        value, epoch = (sign * best[0], best[1]) if best else (math.nan, 0)
        return Trial(name, change, recipe, model, value, epoch, state.stop)

    def _speed(self, recipe: Recipe) -> Throughput:
        """What measures a training by this recipe; the first batch is what its steps are counted on."""
        source = self.data.block("train")
        objective = recipe.make_objective(recipe.make_loss(self.data.target))

        def count(state: State) -> int | None:
            first = source.take(torch.arange(min(state.settings.batch_size, len(source))))
            return operations_of_step(state.net, objective, first)

        return Throughput(len(source), count)
