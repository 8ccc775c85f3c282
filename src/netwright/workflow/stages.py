"""The heart of the main job: overparametrise until the training rows are learned by heart, then regularise.

Both stages return what they tried, so that the report can show it. How long each may take is part of the plan.
"""

from __future__ import annotations

import math

import numpy as np

from netwright.core.finding import Figure, Finding, Series, Table
from netwright.losses.metrics import greater_is_better
from netwright.recipes.recipe import Recipe
from netwright.train.state import History
from netwright.workflow.bench import Trial, Workbench
from netwright.workflow.plans import StagePlan

AUGMENTING = ("shift", "rotate", "zoom", "shear", "flip", "warp", "speed", "mask")
"""Options by which images and sounds are changed at random."""
MAX_AUGMENTED = 60
"""Most epochs of a training on rows that are changed at random."""
RESTRAINTS = ("dropout", "noise", *AUGMENTING)
"""Options of templates that work against overfitting; each is off by default."""


def augmented(recipe: Recipe) -> bool:
    """Whether its rows are changed at random."""
    return any(recipe.options.get(name) for name in AUGMENTING)


def unrestrained(recipe: Recipe) -> Recipe:
    """The recipe without any means against overfitting that its template has as an option."""
    return recipe.with_options(**{name: recipe.defaults[name] for name in RESTRAINTS if name in recipe.defaults})


def overparametrise(bench: Workbench, recipe: Recipe, plan: StagePlan, floor: float) -> tuple[Trial, Finding]:
    """Stage 1: no regularisation at all, until the training error is at most 1 % or the noise floor.

    Args:
        floor: the training error that no function can go below (equal inputs with different targets).

    Source: Zhang et al. (2017), "Understanding deep learning requires rethinking generalization".
    """
    wanted = max(0.01, floor)
    plain = unrestrained(recipe).with_training(
        epochs=plan.epochs, weight_decay=0.0, average=None, patience=None, stop_error=wanted, compiled=plan.compiled
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
    as long again as stage 1 took to its best epoch; with augmented rows, which are never the same twice, two thirds of
    the plan.

    Source: Belkin et al. (2019) for the order of the two stages; Srivastava et al. (2014), Krogh and Hertz (1992),
    Bishop (1995) and Polyak and Juditsky (1992) for the means.
    """
    sign = -1.0 if greater_is_better(bench.metric) else 1.0
    epochs = int(np.clip(math.ceil(1.5 * first.best_epoch) + 2, 5, max(5, plan.epochs // 3)))
    if augmented(recipe):
        epochs = int(np.clip(2 * plan.epochs // 3, 4, MAX_AUGMENTED))
    current = recipe.with_training(
        epochs=epochs, patience=max(4, epochs // 2), stop_error=None, average=None, weight_decay=0.0
    )
    tried: list[tuple[Trial, bool]] = [(first, True)]
    best, spent, queue = first, 0, [m for m in _MEANS if m not in ("dropout", "noise") or m in recipe.defaults]
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
    if means == "averaging" and augmented(recipe):
        changed = recipe.with_training(average=0.995, weight_decay=0.02)
        return changed, "the augmentation that was chosen, averaged weights and weight decay 0.02"
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
