"""Details of an attack on columns: the most affected ones, and rows before and after."""

from __future__ import annotations

import numpy as np
import torch

from netwright.core.finding import Table
from netwright.data.batch import Inputs
from netwright.data.cells import counted
from netwright.robust.changes import Column, change_words, columns_figure, columns_of, columns_table
from netwright.robust.goal import judge
from netwright.robust.outcome import Details, clearest, examples_table
from netwright.robust.shell import AttackResult, pruned, put_back
from netwright.robust.threat import pick
from netwright.robust.trial import Trial

_MAX_ROWS = 300
"""Successful rows whose changes are looked at one by one."""
_MAX_EXAMPLES = 5

_WHY = (
    "errors of measurement, and whoever gains from a wrong answer, change rows a little; the curve says how far a small "
    "change can go at its worst, the dashed one how far it goes by chance"
)


def column_details(trial: Trial, judged: AttackResult, x: Inputs) -> Details:
    """What was changed in a table, or in plain tensors.

    Args:
        judged: the result that is judged. x: the rows as they were.
    """
    model, spec = trial.model, trial.model.spec
    hit = np.flatnonzero(judged.success)[:_MAX_ROWS]
    near, far, y = pick(x, _index(hit)), pick(judged.x, _index(hit)), trial.y[_index(hit)]
    is_table = bool(spec.numbers or spec.categories)
    if is_table and len(hit) and not trial.is_number:
        far = pruned(model, near, y, far)
    columns = columns_of(spec, near, far)
    heading, worth = _worth(trial, near, far, y, columns)
    after = "made worse" if trial.is_number else "turned wrong"
    size = f"{judged.threat.eps:g} spreads" if judged.threat.eps else counted(judged.threat.swaps, "swap")
    table = columns_table(columns, f"What was changed in {counted(len(hit), 'row')} {after} at {size}", worth, heading)
    best = _index(clearest(judged, hit, trial.is_number, _MAX_EXAMPLES))
    shown = columns_of(spec, pick(near, best), pick(far, best))
    says = model.predict_encoded(pick(far, best)) if len(best) else judged.after[:0]
    changes = [change_words(shown, i) for i in range(len(best))]
    rows = hit[best.numpy()]
    examples = examples_table(trial.rows[rows], trial.y.numpy()[rows], judged.before[rows], says, changes, model.target)
    putting_back = "A change that a row did not need to turn wrong was put back first."
    figure = columns_figure(table, putting_back if not trial.is_number and is_table else "")
    return Details(_WHY, _advice(trial, table), (table, examples), (figure,) * bool(table.rows))


def _advice(trial: Trial, columns: Table) -> str:
    names = ", ".join(str(row[0]) for row in columns.rows[:3])
    train = "" if trial.unit == "swaps" else ", or train with noise on the numbers and compare this curve"
    return (
        f"Where somebody who gains from it can choose them, verify {f'{names} first of all' if names else 'these inputs'} "
        f"before a prediction decides; leave out what is not needed{train}."
    )


def _index(rows: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(rows.astype(np.int64))


def _worth(
    trial: Trial, near: Inputs, far: Inputs, y: torch.Tensor, columns: list[Column]
) -> tuple[str, dict[str, float]]:
    """What the attack has of each column's change, and the name of that."""
    model, spec = trial.model, trial.model.spec
    if not len(y):
        return "share of rows", {}
    if not trial.is_number or not (spec.numbers or spec.categories):
        by_size = not (spec.numbers or spec.categories)
        heading = "mean change (spreads)" if by_size else "share of rows that need it"
        return heading, {
            c.name: float((c.spreads if by_size and c.spreads is not None else c.changed).mean()) for c in columns
        }
    error = judge(torch.from_numpy(model.predict_encoded(far)), y)[0]
    adds = {}
    for column in columns:
        tensor, place = spec.locate(column.name)
        if place is not None:
            back = judge(torch.from_numpy(model.predict_encoded(put_back(far, near, tensor, place))), y)[0]
            adds[column.name] = float((error - back).mean())
    unit = f" ({model.target.unit})" if model.target.unit else ""
    return f"mean absolute error it adds{unit}", adds
