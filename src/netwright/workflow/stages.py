"""The heart of the main job: overparametrise until the training rows are learned by heart, then regularise.

Both stages return what they tried, so that the report can show it. How long each may take is part of the plan.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from netwright.core.finding import Figure, Finding, Series, Table
from netwright.core.frozen import Frozen
from netwright.data.data import Data
from netwright.losses.metrics import greater_is_better, score
from netwright.model import Model, fit
from netwright.nn.ensemble import Ensemble
from netwright.recipes.recipe import Recipe, member_seed
from netwright.train.hooks import Clock, Report
from netwright.train.loop import train
from netwright.train.state import History

Tell = Callable[..., None]
MAX_MEMBERS = 5
"""Of an ensemble; more gain little."""


class StagePlan(Frozen):
    """How much a stage may do: measured once, replayed ever after.

    Args:
        threads: of the processor.
        epoch_seconds: what a pass takes.
        epochs: passes, at most; in stage 2 of all its trials together.
    """

    threads: int
    epoch_seconds: float
    epochs: int


def plan_memorising(recipe: Recipe, data: Data, seconds: float) -> StagePlan:
    """Time some steps on one thread and on all, and see how many epochs fit into `seconds`.

    More threads must gain a quarter to be taken: on a busy machine they wait for each other.
    """
    source = data.block("train")
    batch_size = min(recipe.training.batch_size, len(source))
    steps_per_epoch = max(1, len(source) // batch_size)
    each = {n: _step_seconds(recipe, data, n) for n in sorted({1, torch.get_num_threads()})}
    threads = min(each, key=lambda n: each[n] * (1.0 if n == 1 else 1.25))
    epoch = each[threads] * steps_per_epoch * 1.15  # evaluation after each epoch
    return StagePlan(threads=threads, epoch_seconds=round(epoch, 4), epochs=int(np.clip(seconds / epoch, 2, 400)))


def plan_regularising(plan: StagePlan, first: Trial, seconds: float) -> StagePlan:
    """How many epochs fit into `seconds`, going by what the epochs of stage 1 took."""
    took = [float(row["seconds"]) for row in first.history.rows]
    epoch = float(np.median(took)) * 1.15 if took else plan.epoch_seconds
    return StagePlan(threads=plan.threads, epoch_seconds=round(epoch, 4), epochs=int(np.clip(seconds / epoch, 10, 600)))


def _step_seconds(recipe: Recipe, data: Data, threads: int, steps: int = 12) -> float:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        net = recipe.build(data.spec, data.target, 0)
        objective = recipe.make_objective(recipe.make_loss(data.target))
        stamps: list[float] = []
        stopwatch = _Stopwatch(stamps, steps)
        long = recipe.with_training(epochs=steps + 1, warmup=0).training
        train(net, objective, data.block("train"), long, seed=0, hooks=[stopwatch])
    finally:
        torch.set_num_threads(before)
    return float(np.median(np.diff(stamps)[2:]))


class _Stopwatch(Clock):
    """Notes the time after each step and stops after some."""

    def __init__(self, stamps: list[float], steps: int) -> None:
        super().__init__(math.inf)
        self.stamps, self.limit = stamps, steps

    def on_step(self, state: Any) -> None:
        """Note the time."""
        self.stamps.append(time.perf_counter())
        if len(self.stamps) >= self.limit:
            state.stop = "measured"


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
        report = Report(
            lambda row: self.tell("epoch", stage=name, **row),
            lambda done, total: self.tell("progress", step="train", done=done, total=total, text=f"{name}: {change}"),
        )
        model, state = fit(
            recipe,
            self.data,
            seed=self.seed if seed is None else seed,
            metric=self.metric,
            hooks=[report, self.clock(name, seconds)],
            checkpoint=self.folder / f"{name}.safetensors",
        )
        best = state.values.get("best")
        sign = -1.0 if greater_is_better(self.metric) else 1.0
        value, epoch = (sign * best[0], best[1]) if best else (math.nan, 0)
        return Trial(name, change, recipe, model, value, epoch, state.stop)


def overparametrise(bench: Workbench, recipe: Recipe, plan: StagePlan, floor: float) -> tuple[Trial, Finding]:
    """Stage 1: no regularisation at all, until the training error is at most 1 % or the noise floor.

    Args:
        floor: the training error that no function can go below (equal inputs with different targets).

    Source: Zhang et al. (2017), "Understanding deep learning requires rethinking generalization".
    """
    wanted = max(0.01, floor)
    plain = recipe.with_options(dropout=0.0, noise=0.0).with_training(
        epochs=plan.epochs, weight_decay=0.0, average=None, patience=None, stop_error=wanted
    )
    seconds = plan.epoch_seconds * plan.epochs
    trial = bench.train("stage1", "learn the training rows by heart", plain, seconds)
    rows = trial.history.rows
    error = float(rows[-1]["train_error"]) if rows else math.nan
    reached = bool(rows) and error <= wanted
    kind = "unexplained variance of training rows" if bench.data.target.is_number else "training error"
    key = f"valid_{bench.metric}"
    last = float(rows[-1][key]) if rows else math.nan
    title = (
        f"stage 1: {kind} {error:.2%} after {len(rows)} epochs"
        + ("" if reached else f" (wanted {wanted:.2%})")
        + f"; validation {bench.metric} {trial.value:.4g} at its best, {last:.4g} at the end"
    )
    finding = Finding(
        probe="overparametrise",
        family="train",
        verdict="pass" if reached else "warn",
        title=title,
        measured={
            "train_error": error,
            "epochs": len(rows),
            "parameters": trial.model.n_parameters,
            f"best_valid_{bench.metric}": trial.value,
            f"last_valid_{bench.metric}": last,
        },
        expected=f"{kind} at most {wanted:.2%} (the larger of 1 % and the noise floor {floor:.2%}), or a quarter of the time",
        why="A network that cannot learn its training rows by heart is too small, badly fed, or badly trained; "
        "only one that can is worth regularising.",
        todo=""
        if reached
        else "Give it more time (--minutes), or accept that the rows are hard to learn by heart; "
        "the second stage goes on from the same template either way.",
        figures=(learning_figure("Stage 1: learning by heart", trial.history, bench.metric),),
        reference="Zhang et al. (2017), Understanding deep learning requires rethinking generalization",
        seed=bench.seed,
    )
    return trial, finding


def regularise(bench: Workbench, recipe: Recipe, plan: StagePlan, first: Trial) -> tuple[Trial, Finding]:
    """Stage 2: the same network from the same start, with one means after the other until the validation metric stops gaining.

    Early stopping, then weight averaging, dropout, weight decay and noise are tried in turn, each kept if it gained;
    what was kept is then made stronger until nothing gains any more or the plan's epochs are used up. A trial may last half
    as long again as stage 1 took to its best epoch.

    Source: Belkin et al. (2019) for the order of the two stages; Srivastava et al. (2014), Krogh and Hertz (1992),
    Bishop (1995) and Polyak and Juditsky (1992) for the means.
    """
    sign = -1.0 if greater_is_better(bench.metric) else 1.0
    epochs = int(np.clip(math.ceil(1.5 * first.best_epoch) + 2, 5, max(5, plan.epochs // 3)))
    current = recipe.with_training(
        epochs=epochs, patience=max(4, epochs // 2), stop_error=None, average=None, weight_decay=0.0
    )
    tried: list[tuple[Trial, bool]] = [(first, True)]
    best, spent, queue = first, 0, list(_MEANS)
    kept_means: set[str] = set()
    while queue and spent + epochs <= plan.epochs:
        means = queue.pop(0)
        changed, change = _strengthen(current, means)
        name = f"stage2-{len(tried)}-{means.replace(' ', '-')}"
        if bench.late(name):
            break
        trial = bench.train(name, change, changed, plan.epoch_seconds * epochs)
        spent += len(trial.history.rows)
        gained = math.isfinite(trial.value) and not sign * trial.value >= sign * best.value
        tried.append((trial, gained))
        if gained:
            best, current = trial, changed
            kept_means.add(means)
            if means in _STRONGER:
                queue.append(means)
        elif means == "averaging":
            current = changed  # costs nothing, and later means are judged with it
    return best, _regularise_finding(bench, tried, best, kept_means)


_MEANS = ("averaging", "dropout", "weight decay", "noise")
_STRONGER = ("dropout", "weight decay", "noise")


def _strengthen(recipe: Recipe, means: str) -> tuple[Recipe, str]:
    """The recipe with one means added, or made stronger where it is there already; and what that is, in words."""
    if means == "averaging":
        return recipe.with_training(average=0.99), "early stopping and averaged weights"
    if means == "dropout":
        rate = min(0.5, 0.15 + float(recipe.options.get("dropout", 0.0)))
        return recipe.with_options(dropout=rate), f"dropout {rate:.2g}"
    if means == "weight decay":
        decay = 4 * recipe.training.weight_decay or 0.02
        return recipe.with_training(weight_decay=decay), f"weight decay {decay:.2g}"
    noise = 2 * float(recipe.options.get("noise", 0.0)) or 0.05
    return recipe.with_options(noise=noise), f"input noise {noise:.2g} of each column's spread"


def _regularise_finding(bench: Workbench, tried: list[tuple[Trial, bool]], best: Trial, kept: set[str]) -> Finding:
    sign = -1.0 if greater_is_better(bench.metric) else 1.0
    first = tried[0][0]
    key = f"valid_{bench.metric}"
    rows, lines, standing = [], [], first.value
    for trial, gained in tried:
        name = "early stopping alone (stage 1 at its best)" if trial is first else trial.change
        gain = 0.0 if trial is first else sign * (standing - trial.value)
        epochs = trial.history.column("epoch")
        rows.append((name, trial.value, gain, len(epochs), "kept" if gained else "dropped", trial.stop or "all epochs"))
        lines.append(Series(name=name, x=tuple(epochs), y=tuple(trial.history.column(key)), dashed=not gained))
        standing = trial.value if gained else standing
    at_end = first.history.column(key)
    gain = sign * (first.value - best.value)
    return Finding(
        probe="regularise",
        family="train",
        verdict="pass" if gain > 0 else "info",
        title=f"stage 2: validation {bench.metric} {first.value:.4g} -> {best.value:.4g}"
        + (f" with {', '.join(sorted(kept))}" if kept else "; nothing gained on early stopping alone"),
        measured={
            f"valid_{bench.metric}": best.value,
            "gain_over_early_stopping": gain,
            "gain_over_stage_1_at_its_end": sign * (at_end[-1] - best.value) if at_end else None,
            "trials": len(tried) - 1,
        },
        expected="a better validation metric than stage 1 stopped early",
        why="A network that can learn everything by heart also learns the noise; each means against that is kept only if it helps on rows "
        "that it was not trained on.",
        tables=(
            Table(
                title="What each means gained, in the order tried; each is added to those kept before it",
                columns=("means", f"validation {bench.metric}", "gain", "epochs", "decision", "ended by"),
                rows=tuple(rows),
            ),
        ),
        figures=(
            Figure(
                title=f"Stage 2: validation {bench.metric} of each trial",
                kind="line",
                series=tuple(lines),
                x_label="epoch",
                y_label=f"validation {bench.metric}",
                caption="Dashed: dropped.",
            ),
            learning_figure(f"The network that was kept: {best.change}", best.history, bench.metric),
        ),
        reference="Srivastava et al. (2014); Krogh and Hertz (1992); Bishop (1995); Polyak and Juditsky (1992); Prechelt (1998)",
        seed=bench.seed,
    )


def average_members(bench: Workbench, best: Trial, epochs: int, epoch_seconds: float) -> tuple[Trial, Finding]:
    """The best recipe from other starts and in other orders; the outputs of all are averaged if that helps on validation rows.

    Args:
        best: what stage 2 kept; the first member.
        epochs: of all further members together; at most four are trained.

    Source: Hansen and Salamon (1990); Lakshminarayanan et al. (2017).
    """
    members, each = [best], len(best.history.rows)
    while len(members) <= MAX_MEMBERS - 1 and best.name != "stage1" and each * len(members) <= epochs:
        k = len(members)
        if bench.late(f"member-{k}"):
            break
        what = f"member {k + 1} of the ensemble"
        members.append(bench.train(f"member-{k}", what, best.recipe, epoch_seconds * each, member_seed(bench.seed, k)))
    recipe = best.recipe.model_copy(update={"members": len(members)})
    module = Ensemble(m.model.module for m in members).eval()
    together = replace(best, change=f"{len(members)} networks averaged", recipe=recipe)
    together = replace(together, model=replace(best.model, module=module, recipe=recipe))
    data, valid = bench.data, bench.data.block("valid")
    weight = None if valid.weight is None else valid.weight.double().numpy()
    value = score(bench.metric, data.y("valid"), together.model.predict_encoded(valid.x), weight)
    sign = -1.0 if greater_is_better(bench.metric) else 1.0
    gain = sign * (best.value - value)
    kept = len(members) > 1 and gain > 0
    values = [m.value for m in members]
    finding = Finding(
        probe="average-members",
        family="train",
        verdict="pass" if kept else "info",
        title=f"{len(members)} networks averaged: validation {bench.metric} {value:.4g}, the best of them alone {best.value:.4g}"
        if len(members) > 1
        else "no time for more networks to average with",
        measured={f"valid_{bench.metric}": value, "gain": gain, "members": len(members), "kept": kept},
        expected="a better validation metric than one network has",
        why="Networks from different starts make different mistakes; their mean makes fewer. How much single ones differ also says "
        "how much of a score is luck.",
        tables=(
            Table(
                title="The members",
                columns=("member", f"validation {bench.metric}", "epochs"),
                rows=tuple(
                    (k + 1, v, len(m.history.rows)) for k, (m, v) in enumerate(zip(members, values, strict=True))
                ),
            ),
        ),
        reference="Hansen and Salamon (1990); Lakshminarayanan et al. (2017)",
        seed=bench.seed,
    )
    return (replace(together, value=value) if kept else best), finding


def learning_figure(title: str, history: History, metric: str) -> Figure:
    """Training and validation loss over the epochs, and the training error where it was measured."""
    names = {"train_loss": "training loss", "valid_loss": "validation loss", "train_error": "training error"}
    epochs = tuple(history.column("epoch"))
    series = [
        Series(name=label, x=epochs, y=tuple(values), dashed=name == "train_error")
        for name, label in names.items()
        if len(values := history.column(name)) == len(epochs)
    ]
    return Figure(title=title, kind="line", series=tuple(series), x_label="epoch", y_label="loss", log_y=True)
