"""What the stages of a training share: one candidate trained, and how it came out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from netwright.data.data import Data
from netwright.losses.metrics import greater_is_better
from netwright.model import Model, fit, fit_all
from netwright.recipes.recipe import Recipe
from netwright.train.diverge import returns_of
from netwright.train.hooks import Clock, Quiet, Report
from netwright.train.measure import Throughput, operations_of_step
from netwright.train.stack import Stack
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
        model, state = fit(
            recipe,
            self.data,
            seed=self.seed if seed is None else seed,
            metric=self.metric,
            hooks=self._hooks(name, change, recipe, seconds),
            checkpoint=self.folder / f"{name}.safetensors",
        )
        if recipe.training.compiled:
            self.tell(
                "note", text=f"{name}: {state.values.get('compiled', 'not compiled, because an epoch is too short')}"
            )
        if returned := returns_of(state):
            self.tell("warning", text=f"{name}: {returned}")
        best = state.values.get("best")
        return self._trial(name, change, recipe, model, (best[0], best[1]) if best else None, state.stop)

    def train_all(
        self,
        name: str,
        change: str,
        recipe: Recipe,
        seconds: float,
        seeds: Sequence[int],
        folds: Sequence[tuple[Tensor, Tensor]] | None = None,
    ) -> tuple[list[Trial], str]:
        """One recipe from several seeds, as one computation where that works, else in turn and why; `seconds` of each.

        Args:
            folds: training rows that each learns from, and those that it is judged on; None for all, and the validation rows.
        """

        def hooks(k: int | None) -> list[Quiet]:
            alone = name if k is None else f"{name}-{k}"
            return self._hooks(alone, change, recipe, seconds * (len(seeds) if k is None else 1))

        trained, why = fit_all(
            [recipe] * len(seeds),
            self.data,
            seeds=seeds,
            metric=self.metric,
            folds=folds,
            hooks=hooks,
            checkpoint=self.folder / f"{name}.safetensors",
        )
        trials = [
            self._trial(f"{name}-{k}", change, recipe, model, one.best, one.stop)
            for k, (model, one) in enumerate(trained)
        ]
        return trials, why

    def _trial(
        self, name: str, change: str, recipe: Recipe, model: Model, best: tuple[float, int] | None, stop: str
    ) -> Trial:
        sign = -1.0 if greater_is_better(self.metric) else 1.0
        value, epoch = (sign * best[0], best[1]) if best else (math.nan, 0)
        return Trial(name, change, recipe, model, value, epoch, stop)

    def _hooks(self, name: str, change: str, recipe: Recipe, seconds: float) -> list[Quiet]:
        """What measures, reports and guards a training that begins."""
        self.tell(
            "training", stage=name, change=change, metric=self.metric, recipe=recipe.resolved().model_dump(mode="json")
        )
        speed = self._speed(recipe)
        report = Report(
            lambda row: self.tell("epoch", stage=name, **row, **speed.row),
            lambda done, total: self.tell("progress", step="train", done=done, total=total, text=f"{name}: {change}"),
        )
        return [speed, report, self.clock(name, seconds)]

    def _speed(self, recipe: Recipe) -> Throughput:
        """What measures a training by this recipe; the first batch is what its steps are counted on."""
        source = self.data.block("train")
        objective = recipe.make_objective(recipe.make_loss(self.data.target))

        def count(state: State) -> int | None:
            first = source.take(torch.arange(min(state.settings.batch_size, len(source))))
            if not isinstance(state.net, Stack):
                return operations_of_step(state.net, objective, first)
            one = operations_of_step(state.net.members[0].net, objective, first)
            return one and one * len(state.net)

        return Throughput(len(source), count)
