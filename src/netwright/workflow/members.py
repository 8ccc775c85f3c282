"""After both stages: the best recipe from other starts, whether averaging helps, and how it does on other rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import KFold, StratifiedKFold

from netwright.core.errors import TrainingError
from netwright.core.finding import Cell, Finding, Table
from netwright.data.batch import Block
from netwright.data.data import PARTS, Data
from netwright.losses.metrics import greater_is_better, metrics_for, score
from netwright.model import Model, ensemble_of
from netwright.nn.ensemble import Ensemble
from netwright.recipes.recipe import member_seed
from netwright.workflow.bench import Trial, Workbench

MAX_MEMBERS = 5
"""Of an ensemble; more gain little."""
ON_TEST_ROWS = "members-on-test-rows"
"""The finding that says how the members alone do on the test rows."""


def average_members(
    bench: Workbench, best: Trial, epochs: int, epoch_seconds: float, asked: int | None = None
) -> tuple[Trial, Finding]:
    """The best recipe from other starts and in other orders; the outputs of all are averaged if that helps on validation rows.

    Args:
        best: what stage 2 kept; the first member.
        epochs: of all further members together; at most four are trained. asked: members, whatever the epochs; None for those.

    Source: Hansen and Salamon (1990); Lakshminarayanan et al. (2017).
    """
    members, each, why = [best], max(len(best.history.rows), 1), ""
    further = min(MAX_MEMBERS - 1, epochs // each) if best.name != "stage1" else 0
    further = further if asked is None else asked - 1
    if further and not bench.late("members"):
        seeds = [member_seed(bench.seed, k) for k in range(1, further + 1)]
        trained, why = bench.train_all("members", "from another start", best.recipe, epoch_seconds * each, seeds)
        members += [trial for trial in trained if math.isfinite(trial.value)]
    model = ensemble_of([m.model for m in members])
    if len(members) > 1:
        model.save(bench.folder / "members")
    together = replace(
        best, change=f"{len(members)} networks averaged", recipe=model.recipe or best.recipe, model=model
    )
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
        measured={
            f"valid_{bench.metric}": value,
            "gain": gain,
            "members": len(members),
            "spread_over_starts": float(np.std(values)),
            "kept": kept,
        },
        expected="a better validation metric than one network has",
        why="Networks from different starts make different mistakes; their mean makes fewer. How much single ones differ also says "
        "how much of a score is luck." + (f" They were trained in turn, because {why}." if why else ""),
        tables=(_table(bench, "The members", "member", members),),
        reference="Hansen and Salamon (1990); Lakshminarayanan et al. (2017)",
        seed=bench.seed,
    )
    return (replace(together, value=value) if kept else best), finding


def stored_members(checkpoints: Path) -> list[Model]:
    """The members that `average_members` trained, each as a model of its own; none where there was but one."""
    if not (checkpoints / "members" / "model.json").exists():
        return []
    whole = Model.load(checkpoints / "members")
    recipe = whole.recipe and whole.recipe.single
    members = whole.module.members if isinstance(whole.module, Ensemble) else [whole.module]
    return [replace(whole, module=module.eval(), recipe=recipe) for module in members]


def members_on_test_rows(members: Sequence[Model], data: Data, metric: str, seed: int) -> Finding:
    """How the scores of single networks on the test rows spread over their seeds; nothing is chosen by it."""
    block, y = data.block("test"), data.y("test")
    weight = None if block.weight is None else block.weight.double().numpy()
    predictions = [member.predict_encoded(block.x) for member in members]
    scores = {name: [score(name, y, p, weight) for p in predictions] for name in metrics_for(data.target.task)}
    scores = {name: values for name, values in scores.items() if np.isfinite(values).all()}
    measured: dict[str, Cell] = {"members": len(members)}
    for name, values in scores.items():
        low, high = np.quantile(values, [0.025, 0.975])
        measured |= {f"mean_{name}": float(np.mean(values)), f"deviation_{name}": float(np.std(values, ddof=1))}
        measured |= {f"low_{name}": float(low), f"high_{name}": float(high)}
    shown = metric if metric in scores else next(iter(scores), "")
    told = f"{shown} {measured[f'mean_{shown}']:.4g} +- {measured[f'deviation_{shown}']:.2g}" if shown else "no score"
    return Finding(
        probe=ON_TEST_ROWS,
        family="train",
        verdict="info",
        title=f"{len(members)} networks from different starts, each alone on the test rows: {told}",
        measured=measured,
        why="The same recipe and the same rows, and only the start and the order of the rows differ: so much of a score is luck. A "
        "difference of two networks that is smaller than this says nothing. Nothing was chosen by these scores.",
        tables=(
            Table(
                title="The members on the test rows",
                columns=("member", *scores),
                rows=tuple((k, *(values[k - 1] for values in scores.values())) for k in range(1, len(members) + 1)),
            ),
        ),
        reference="Bouthillier et al. (2021), Accounting for variance in machine learning benchmarks",
        seed=seed,
    )


def best_start(bench: Workbench, best: Trial, starts: int, epoch_seconds: float) -> tuple[Trial, Finding]:
    """The best recipe from other starts and in other orders; the one with the best validation metric is kept.

    Args:
        best: what stage 2 kept; the first start. starts: of all.

    Source: Goodfellow, Bengio and Courville (2016), section 8.4, for how much the start decides.
    """
    each = epoch_seconds * max(len(best.history.rows), 1)
    seeds = [member_seed(bench.seed, k) for k in range(1, starts)]
    trained, why = (
        ([], "") if bench.late("restarts") else bench.train_all("restarts", "another start", best.recipe, each, seeds)
    )
    tried = [best, *(trial for trial in trained if math.isfinite(trial.value))]
    sign = -1.0 if greater_is_better(bench.metric) else 1.0
    kept = min(tried, key=lambda trial: sign * trial.value)
    values = [trial.value for trial in tried]
    return kept, Finding(
        probe="restarts",
        family="train",
        verdict="info",
        title=f"the best of {len(tried)} starts: validation {bench.metric} {kept.value:.4g}, the first one {best.value:.4g}",
        measured={
            f"valid_{bench.metric}": kept.value,
            "starts": len(tried),
            "spread_over_starts": float(np.std(values)),
            "kept": tried.index(kept) + 1,
        },
        why="Where a network starts decides a little of where it ends; the best on validation rows is also a little lucky there."
        + (f" They were trained in turn, because {why}." if why else ""),
        tables=(_table(bench, "The starts", "start", tried),),
        reference="Goodfellow, Bengio and Courville (2016), Deep Learning, section 8.4",
        seed=bench.seed,
    )


def cross_validate(bench: Workbench, best: Trial, folds: int, epoch_seconds: float) -> Finding:
    """The best recipe trained anew without one of `folds` parts of the training and validation rows at a time, and judged on it.

    Source: Stone (1974), "Cross-validatory choice and assessment of statistical predictions".
    """
    data = _train_and_valid(bench.data)
    y = data.y("train")
    kind = KFold if data.target.is_number else StratifiedKFold
    parts = list(kind(folds, shuffle=True, random_state=bench.seed % 2**32).split(y, y))
    rows = [(torch.from_numpy(learned), torch.from_numpy(held)) for learned, held in parts]
    each = epoch_seconds * max(len(best.history.rows), 1)
    trained, why = replace(bench, data=data).train_all(
        "folds", f"{folds} folds", best.recipe.single, each, [bench.seed] * folds, rows
    )
    values = [trial.value for trial in trained if math.isfinite(trial.value)]
    if len(values) < 2:
        raise TrainingError(f"fewer than two of {folds} folds ended an epoch: give the run more time with --minutes")
    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
    return Finding(
        probe="cross-validate",
        family="train",
        verdict="info",
        title=f"{folds}-fold cross-validation: {bench.metric} {mean:.4g} +- {deviation:.2g}; on the validation rows {best.value:.4g}",
        measured={f"mean_{bench.metric}": mean, f"deviation_{bench.metric}": deviation, "folds": folds},
        why="One part of held-out rows may be an easy one; over several parts every row is held out once. Each fold keeps its best "
        "epoch, so the mean is a little better than new rows will be."
        + (f" The folds were trained in turn, because {why}." if why else ""),
        tables=(_table(bench, "The folds", "fold", trained),),
        reference="Stone (1974)",
        seed=bench.seed,
    )


def _table(bench: Workbench, title: str, what: str, trials: Sequence[Trial]) -> Table:
    rows = tuple((k, trial.value, len(trial.history.rows)) for k, trial in enumerate(trials, 1))
    return Table(title=title, columns=(what, f"validation {bench.metric}", "epochs"), rows=rows)


def _train_and_valid(data: Data) -> Data:
    """The data with its validation rows among the training rows, behind them."""
    train, valid = data.block("train"), data.block("valid")
    x = {name: torch.cat([train.x[name], valid.x[name]]) for name in train.x}
    y = None if train.y is None or valid.y is None else torch.cat([train.y, valid.y])
    weight = None if train.weight is None or valid.weight is None else torch.cat([train.weight, valid.weight])
    blocks = {part: data.block(part) for part in PARTS} | {"train": Block(x, y, weight)}
    split = {**data.split, "train": np.concatenate([data.split["train"], data.split["valid"]])}
    return replace(data, split=split, _blocks=blocks)
