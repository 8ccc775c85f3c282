"""Short trials before the long training: which template, and which random changes of images or sounds, by the validation metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from netwright.core.finding import Finding, Table
from netwright.core.seed import generator
from netwright.data.batch import Block
from netwright.data.data import PARTS, Data
from netwright.losses.metrics import greater_is_better
from netwright.recipes.recipe import Option, Recipe
from netwright.workflow.bench import Trial, Workbench
from netwright.workflow.plans import StagePlan, TryPlan

AUGMENTATIONS: Mapping[str, Mapping[str, Option]] = {
    "shifts of up to 10 % of the side": {"shift": 0.1},
    "turns of up to 10 degrees and zooms of up to 10 %": {"rotate": 10.0, "zoom": 0.1},
    "mirroring left to right": {"flip": True},
    "other pitches of voice, up to 15 %": {"warp": 0.15},
    "other speeds, up to 15 %": {"speed": 0.15},
    "runs of up to 20 % of bands and frames at the mean": {"mask": 0.2},
}
"""Random changes of images and of sounds that may leave the target as it is; each is tried on top of those that were kept before
it, where the template has its options."""
AS_THEY_ARE = "as they are"

_WHY: Mapping[str, str] = {
    "text": "Which form of network suits a text depends on its length, on how much there is of it and on what decides: words, their "
    "order, or letters.",
    "tree": "With few trees a recursion that is random and fixed, of which only the read-out is trained, can be better than one that is "
    "learned.",
}
"""Why templates are tried, by kind of rows."""


def fewer(data: Data, n: int, seed: int) -> Data:
    """The data with only `n` of its training rows, drawn at random; validation and test rows as they are."""
    train = data.block("train")
    if n >= len(train):
        return data
    index = torch.randperm(len(train), generator=generator(seed, "fewer rows"))[:n].sort().values
    some = train.take(index)
    blocks = {part: data.block(part) for part in PARTS} | {"train": Block(some.x, some.y, some.weight)}
    return replace(data, split={**data.split, "train": data.split["train"][index.numpy()]}, _blocks=blocks)


def _try(bench: Workbench, name: str, what: str, recipe: Recipe, plan: TryPlan, stage: StagePlan) -> Trial:
    """One short training without early stopping, its weights averaged, so that two trials differ by little but their recipe."""
    short = recipe.with_training(epochs=plan.epochs, average=0.99, patience=None, stop_error=None)
    seconds = stage.epoch_seconds * plan.epochs * plan.rows / max(len(bench.data.block("train")), 1)
    return replace(bench, data=fewer(bench.data, plan.rows, bench.seed)).train(name, what, short, seconds)


def _better(bench: Workbench, value: float, than: float) -> bool:
    sign = -1.0 if greater_is_better(bench.metric) else 1.0
    return math.isfinite(value) and not sign * value >= sign * than


def choose_template(
    bench: Workbench, recipes: Sequence[Recipe], plan: TryPlan, stage: StagePlan
) -> tuple[Recipe, Finding]:
    """The recipe with the best validation metric after a short training each.

    Source: Caruana et al. (2004) for the choice on validation rows.
    """
    trials: list[Trial] = []
    for recipe in recipes:
        if trials and bench.late(f"try-{recipe.template}"):
            break
        trials.append(_try(bench, f"try-{recipe.template}", f"{recipe.template} for a few epochs", recipe, plan, stage))
    best = 0
    for k, trial in enumerate(trials):
        best = k if _better(bench, trial.value, trials[best].value) else best
    names = [r.template for r in recipes]
    finding = Finding(
        probe="choose-template",
        family="train",
        verdict="info",
        title=f"{names[best]} is trained further: validation {bench.metric} {trials[best].value:.4g} after {plan.epochs} epochs"
        + "".join(f", {t.recipe.template} {t.value:.4g}" for k, t in enumerate(trials) if k != best),
        measured={f"valid_{bench.metric}_{t.recipe.template}": t.value for t in trials},
        why=_WHY.get(bench.data.spec.kind, "Which form of network suits the rows is hard to know before it is tried."),
        tables=(
            Table(
                title=f"Short trainings on {plan.rows:,} rows",
                columns=("template", f"validation {bench.metric}", "parameters", "best epoch"),
                rows=tuple((t.recipe.template, t.value, t.model.n_parameters, t.best_epoch) for t in trials),
            ),
        ),
        reference="Caruana et al. (2004), Ensemble selection from libraries of models",
        seed=bench.seed,
    )
    return recipes[best], finding


def augmentations(recipe: Recipe) -> Mapping[str, Mapping[str, Option]]:
    """Those of `AUGMENTATIONS` for which its template has the options."""
    return {what: options for what, options in AUGMENTATIONS.items() if options.keys() <= recipe.defaults.keys()}


def choose_augmentation(
    bench: Workbench, recipe: Recipe, plan: TryPlan | None, stage: StagePlan
) -> tuple[Recipe, Finding]:
    """The recipe with those random changes that helped on validation rows, tried one after the other.

    Source: Cubuk et al. (2019) for choosing augmentation by validation; done greedily here.
    """
    if plan is None:
        return recipe, _no_time(bench)
    best = _try(bench, "try-plain", AS_THEY_ARE, recipe, plan, stage)
    tried = [(AS_THEY_ARE, best.value, True)]
    for k, (what, options) in enumerate(augmentations(recipe).items(), 1):
        if bench.late(f"try-augment-{k}"):
            break
        changed = recipe.with_options(**options)
        trial = _try(bench, f"try-augment-{k}", what, changed, plan, stage)
        kept = _better(bench, trial.value, best.value)
        tried.append((what, trial.value, kept))
        if kept:
            best, recipe = trial, changed
    return recipe, _augmentation_finding(bench, tried, plan)


def _augmentation_finding(bench: Workbench, tried: list[tuple[str, float, bool]], plan: TryPlan) -> Finding:
    def said(kept: bool) -> str:
        return "; ".join(f"{what} ({value:.4g})" for what, value, k in tried[1:] if k == kept)

    helped, hurt = said(True), said(False)
    return Finding(
        probe="choose-augmentation",
        family="train",
        verdict="info",
        title=f"augmentation by validation {bench.metric}, {tried[0][1]:.4g} without any: "
        + (f"kept {helped}" if helped else "nothing helped")
        + (f"; dropped {hurt}" if hurt else ""),
        measured={"kept": sum(kept for *_, kept in tried[1:]), "tried": len(tried) - 1},
        why="A change that leaves the class of a row as it is shows the network what does not matter; one that changes the class "
        "(a mirrored digit, a note at another pitch) teaches it wrongly. The data decide which is which.",
        tables=(
            Table(
                title=f"Short trainings: {plan.epochs} epochs on {plan.rows:,} rows; each change on top of those kept before it",
                columns=("rows", f"validation {bench.metric}", "decision"),
                rows=tuple((what, value, "kept" if kept else "dropped") for what, value, kept in tried),
            ),
        ),
        reference="Simard, Steinkraus and Platt (2003); Park et al. (2019), SpecAugment; Cubuk et al. (2019), AutoAugment",
        seed=bench.seed,
    )


def _no_time(bench: Workbench) -> Finding:
    return Finding(
        probe="choose-augmentation",
        family="train",
        verdict="info",
        title="no time to find out which random changes of the rows help: none is made",
        todo="Give it more time with --minutes.",
        seed=bench.seed,
    )
