"""After both stages: the best recipe from other starts, and whether averaging helps."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from netwright.core.finding import Finding, Table
from netwright.losses.metrics import greater_is_better, score
from netwright.model import ensemble_of
from netwright.recipes.recipe import member_seed
from netwright.workflow.bench import Trial, Workbench

MAX_MEMBERS = 5
"""Of an ensemble; more gain little."""


def average_members(bench: Workbench, best: Trial, epochs: int, epoch_seconds: float) -> tuple[Trial, Finding]:
    """The best recipe from other starts and in other orders; the outputs of all are averaged if that helps on validation rows.

    Args:
        best: what stage 2 kept; the first member.
        epochs: of all further members together; at most four are trained.

    Source: Hansen and Salamon (1990); Lakshminarayanan et al. (2017).
    """
    members, each, why = [best], max(len(best.history.rows), 1), ""
    further = min(MAX_MEMBERS - 1, epochs // each) if best.name != "stage1" else 0
    if further and not bench.late("members"):
        seeds = [member_seed(bench.seed, k) for k in range(1, further + 1)]
        trained, why = bench.train_all("members", "from another start", best.recipe, epoch_seconds * each, seeds)
        members += [trial for trial in trained if math.isfinite(trial.value)]
    model = ensemble_of([m.model for m in members])
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
