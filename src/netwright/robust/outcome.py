"""From a trial to a Finding: the rule of the verdict, the curve, the columns that matter, rows before and after."""

from __future__ import annotations

import numpy as np
import torch

from netwright.core.finding import Cell, Figure, Finding, Series, Table
from netwright.data.batch import Inputs
from netwright.data.cells import counted
from netwright.robust.changes import Column, columns_of, columns_table, examples_table
from netwright.robust.goal import judge
from netwright.robust.shell import AttackResult, pruned, put_back
from netwright.robust.threat import pick
from netwright.robust.trial import Dot, Trial, allowed_words

_MAX_ROWS = 300
"""Successful rows whose changes are looked at one by one."""
_MAX_EXAMPLES = 5

_WHY = (
    "errors of measurement, and whoever gains from a wrong answer, change rows a little; the curve says how far a small "
    "change can go at its worst, the dashed one how far it goes by chance"
)


def finding(trial: Trial) -> Finding:
    """The Finding of a trial.

    The verdict is a warning where, at the judged size, more than half is lost of what the model is better than always
    giving the most frequent class (numbers: the mean); else a note: no attack proves that there is no stronger one.
    Swaps are not judged, since another category can rightly mean another answer.
    """
    dots, judged = trial.dots, trial.results[trial.judged]
    clean, dot = dots[0].score, dots[1 + trial.judged]
    lead = trial.trivial - clean if trial.is_number else clean - trial.trivial
    lost = abs(dot.score - clean)
    broken = lead > 0 and lost > lead / 2
    warn = broken and not judged.threat.swaps
    way = "stays at" if not lost else f"{'rises' if trial.is_number else 'falls'} from {clean:.4g} to"
    columns, examples, figure = _affected(trial, judged)
    key = trial.score_name.lower()
    measured: dict[str, Cell] = {
        f"{key}_clean": clean,
        f"{key}_attacked": dot.score,
        f"{key}_noise": dot.noise,
        f"judged_size_{trial.unit}": dot.size,
        "share_made_worse" if trial.is_number else "share_turned_wrong": judged.success_rate,
        "rows": len(trial.rows),
    }
    return Finding(
        probe=trial.entry.name,
        family="robust",
        verdict="warn" if warn else "info",
        title=f"{trial.score_name} {way} {dot.score:.4g} when {allowed_words(judged.threat)} "
        f"(noise of the same size: {dot.noise:.4g}; {counted(len(trial.rows), 'test row')})",
        measured=measured | trial.extra,
        expected=_expected(trial, judged, clean, lead),
        why=_WHY,
        todo=_todo(trial, dots, broken, [str(row[0]) for row in columns.rows]),
        tables=(_curve_table(trial, dots), columns, examples),
        figures=(_curve_figure(trial, dots), *([figure] if columns.rows else [])),
        reference=trial.entry.reference,
        seed=trial.seed,
    )


def _expected(trial: Trial, judged: AttackResult, clean: float, lead: float) -> str:
    if judged.threat.swaps:
        return "not judged: another category can rightly mean another answer"
    trivial = f"{'predicting the mean' if trial.is_number else 'the most frequent class'} ({trial.trivial:.4g})"
    if lead <= 0:
        return f"nothing: the model is no better than {trivial}, so there is no lead to lose"
    bound = (
        f"RMSE of at most {clean + lead / 2:.4g}" if trial.is_number else f"accuracy of at least {clean - lead / 2:.4g}"
    )
    return f"{bound} when {allowed_words(judged.threat)}: half of the lead over {trivial} is kept"


def _todo(trial: Trial, dots: list[Dot], broken: bool, names: list[str]) -> str:
    advice = []
    if broken:
        which = f"{', '.join(names[:3])} first of all" if names else "these inputs"
        train = "" if trial.unit == "swaps" else ", or train with noise on the numbers and compare this curve"
        advice.append(
            f"Where somebody who gains from it can choose them, verify {which} before a prediction decides; "
            f"leave out what is not needed{train}."
        )
    sign = 1 if trial.is_number else -1
    weaker = [f"{d.size:g}" for d in dots[1:] if sign * (d.noise - d.score) > 0]
    if weaker:
        sizes = ", ".join(weaker)
        advice.append(f"At {sizes} {trial.unit} random noise does more harm than this attack, which thus understates.")
    return " ".join(advice + trial.notes)


def _curve_table(trial: Trial, dots: list[Dot]) -> Table:
    name = trial.score_name
    turned = "share of rows made worse" if trial.is_number else "share of right rows turned wrong"
    size = "swaps" if trial.unit == "swaps" else "change (spreads)"
    heads = (size, name, "95 % from", "to", turned, f"mean change of those ({trial.unit})", f"{name} under noise")
    rows = tuple((d.size, d.score, d.low, d.high, d.rate, d.change, d.noise) for d in dots)
    return Table(title=f"{name[0].upper()}{name[1:]} against size of change", columns=heads, rows=rows)


def _curve_figure(trial: Trial, dots: list[Dot]) -> Figure:
    x, unit = tuple(d.size for d in dots), trial.model.target.unit
    score, low, high = (tuple(getattr(d, name) for d in dots) for name in ("score", "low", "high"))
    baseline = "always the mean" if trial.is_number else "always the most frequent class"
    stay = "" if trial.is_number else " Rows that are wrong without any change count as wrong on both curves."
    return Figure(
        title=f"{trial.score_name[0].upper()}{trial.score_name[1:]} under {trial.entry.name}",
        kind="line",
        series=(
            Series(name=trial.entry.name, x=x, y=score, low=low, high=high),
            Series(name="random noise of the same size", x=x, y=tuple(d.noise for d in dots), dashed=True),
            Series(name=baseline, x=(x[0], x[-1]), y=(trial.trivial, trial.trivial), dashed=True),
        ),
        x_label="categories swapped per row" if trial.unit == "swaps" else "largest change, in spreads of each column",
        y_label=f"{trial.score_name} ({unit})" if trial.is_number and unit else trial.score_name,
        caption=f"{counted(len(trial.rows), 'test row')}; band: 95 % interval over rows.{stay}",
    )


def _affected(trial: Trial, judged: AttackResult) -> tuple[Table, Table, Figure]:
    """At the judged size: the most affected columns, example rows, and the columns as bars."""
    model, spec = trial.model, trial.model.spec
    hit = np.flatnonzero(judged.success)[:_MAX_ROWS]
    near, far, y = pick(trial.x, _index(hit)), pick(judged.x, _index(hit)), trial.y[_index(hit)]
    is_table = bool(spec.numbers or spec.categories)
    if is_table and len(hit) and not trial.is_number:
        far = pruned(model, near, y, far)
    columns = columns_of(spec, near, far)
    heading, worth = _worth(trial, near, far, y, columns)
    after = "made worse" if trial.is_number else "turned wrong"
    size = f"{judged.threat.eps:g} spreads" if trial.unit == "spreads" else counted(judged.threat.swaps, "swap")
    table = columns_table(columns, f"What was changed in {counted(len(hit), 'row')} {after} at {size}", worth, heading)
    gain = judged.price_after[hit] if trial.is_number else -judged.price_before[hit]
    best = np.argsort(-gain, kind="stable")[:_MAX_EXAMPLES]
    rows = columns_of(spec, pick(near, _index(best)), pick(far, _index(best)))
    said = model.predict_encoded(pick(far, _index(best))) if len(best) else judged.after[:0]
    examples = examples_table(
        rows, trial.rows[hit[best]], y.numpy()[best], judged.before[hit[best]], said, model.target
    )
    note = (
        "A change that a row did not need to turn wrong was put back first." if not trial.is_number and is_table else ""
    )
    bars = Series(x=tuple(r[0] for r in table.rows), y=tuple(r[1] for r in table.rows))
    return table, examples, Figure(title=table.title, kind="bar", series=(bars,), y_label=heading, caption=note)


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
