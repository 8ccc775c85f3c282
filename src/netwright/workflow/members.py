"""After both stages: the best recipe from other starts, and whether averaging helps."""

from __future__ import annotations

from dataclasses import replace

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
    members, each = [best], len(best.history.rows)
    while len(members) <= MAX_MEMBERS - 1 and best.name != "stage1" and each * len(members) <= epochs:
        k = len(members)
        if bench.late(f"member-{k}"):
            break
        what = f"member {k + 1} of the ensemble"
        members.append(bench.train(f"member-{k}", what, best.recipe, epoch_seconds * each, member_seed(bench.seed, k)))
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
