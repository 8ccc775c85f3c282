"""From a trial to a Finding: the rule of the verdict, the curve, and what was changed, whatever rows are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from netwright.core.finding import Cell, Figure, Finding, Series, Table
from netwright.core.spec import TargetSpec
from netwright.data.cells import counted
from netwright.robust.result import Result
from netwright.robust.trial import Dot, Trial


@dataclass(frozen=True)
class Details:
    """What is said of one kind of rows.

    Args:
        why: why it matters, as a clause. advice: what to do where the model is easily misled, a sentence.
        tables, figures: what was changed.
    """

    why: str
    advice: str
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()


def finding(trial: Trial, details: Details) -> Finding:
    """The Finding of a trial.

    The verdict is a warning where, at the judged size, more than half is lost of what the model is better than always
    giving the most frequent class (numbers: the mean); else a note: no attack proves that there is no stronger one.
    What is not judged (`Allowed.not_judged`) is a note in any case.
    """
    dots, judged = trial.dots, trial.results[trial.judged]
    clean, dot = dots[0].score, dots[1 + trial.judged]
    lead = trial.trivial - clean if trial.is_number else clean - trial.trivial
    lost = abs(dot.score - clean)
    broken = lead > 0 and lost > lead / 2
    way = "stays at" if not lost else f"{'rises' if trial.is_number else 'falls'} from {clean:.4g} to"
    key = trial.score_name.lower()
    measured: dict[str, Cell] = {
        f"{key}_clean": clean,
        f"{key}_attacked": dot.score,
        f"{key}_noise": dot.noise,
        f"judged_size_{trial.unit.replace(' ', '_')}": dot.size,
        "share_made_worse" if trial.is_number else "share_turned_wrong": judged.success_rate,
        "rows": len(trial.rows),
    }
    return Finding(
        probe=trial.entry.name,
        family="robust",
        verdict="warn" if broken and not judged.threat.not_judged else "info",
        title=f"{trial.score_name} {way} {dot.score:.4g} when {judged.threat.words} "
        f"({'random ' * (trial.unit == 'edits')}{trial.control_name}: {dot.noise:.4g}; {counted(len(trial.rows), 'test row')})",
        measured=measured | trial.extra,
        expected=_expected(trial, judged, clean, lead),
        why=details.why,
        todo=_todo(trial, dots, details.advice if broken else ""),
        tables=(_curve_table(trial, dots), *details.tables),
        figures=(_curve_figure(trial, dots), *details.figures),
        reference=trial.entry.reference,
        seed=trial.seed,
    )


def _expected(trial: Trial, judged: Result, clean: float, lead: float) -> str:
    if judged.threat.not_judged:
        return f"not judged: {judged.threat.not_judged}"
    trivial = f"{'predicting the mean' if trial.is_number else 'the most frequent class'} ({trial.trivial:.4g})"
    if lead <= 0:
        return f"nothing: the model is no better than {trivial}, so there is no lead to lose"
    bound = (
        f"RMSE of at most {clean + lead / 2:.4g}" if trial.is_number else f"accuracy of at least {clean - lead / 2:.4g}"
    )
    return f"{bound} when {judged.threat.words}: half of the lead over {trivial} is kept"


def _todo(trial: Trial, dots: list[Dot], advice: str) -> str:
    sign, parts = 1 if trial.is_number else -1, [advice] if advice else []
    weaker = [f"{d.size:g}" for d in dots[1:] if sign * (d.noise - d.score) > 0]
    if weaker:
        what = "random edits do" if trial.unit == "edits" else "random noise does"
        parts.append(f"At {', '.join(weaker)} {trial.unit} {what} more harm than this attack, which thus understates.")
    return " ".join(parts + trial.notes)


def _curve_table(trial: Trial, dots: list[Dot]) -> Table:
    name = trial.score_name
    turned = "share of rows made worse" if trial.is_number else "share of right rows turned wrong"
    size = trial.unit if trial.unit in ("swaps", "edits") else f"change ({trial.unit})"
    under = f"{name} under {'random edits' if trial.unit == 'edits' else 'noise'}"
    heads = (size, name, "95 % from", "to", turned, f"mean change of those ({trial.unit})", under)
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
            Series(name=f"random {trial.control_name}", x=x, y=tuple(d.noise for d in dots), dashed=True),
            Series(name=baseline, x=(x[0], x[-1]), y=(trial.trivial, trial.trivial), dashed=True),
        ),
        x_label=trial.results[0].threat.axis,
        y_label=f"{trial.score_name} ({unit})" if trial.is_number and unit else trial.score_name,
        caption=f"{counted(len(trial.rows), 'test row')}; band: 95 % interval over rows.{stay}",
    )


def clearest(result: Result, hit: np.ndarray, is_number: bool, most: int) -> np.ndarray:
    """Of the rows `hit` the places of those to show: classes that were surest before, numbers that went farthest."""
    gain = result.price_after[hit] if is_number else -result.price_before[hit]
    best: np.ndarray = np.argsort(-gain, kind="stable")[:most]
    return best


def said(prediction: np.ndarray, target: TargetSpec) -> str:
    """A prediction, probabilities (C,) or a value, in words.

    >>> said(np.array([0.25, 0.75]), TargetSpec(name="y", task="binary", classes=("no", "yes")))
    'yes (75.0 %)'
    """
    if target.is_number:
        return f"{float(prediction):.4g}" + (f" {target.unit}" if target.unit else "")
    return f"{target.classes[int(prediction.argmax())]} ({float(prediction.max()):.1%})".replace("%", " %")


def truth(y: float, target: TargetSpec) -> str:
    """A target, class number or value, in words."""
    return f"{y:.4g}" + (f" {target.unit}" if target.unit else "") if target.is_number else target.classes[int(y)]


def examples_table(
    rows: np.ndarray,
    y: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    changes: Sequence[str],
    target: TargetSpec,
) -> Table:
    """Some rows with what was changed in them and what the model said before and after.

    Args:
        rows: (N,) where the rows stand in the test part. y, before, after: their targets and predictions.
        changes: what was changed in each, in words.
    """
    shown: list[tuple[Cell, ...]] = []
    for i, change in enumerate(changes):
        if target.is_number:
            shown.append((int(rows[i]), float(y[i]), float(before[i]), float(after[i]), change))
        else:
            was, now = int(before[i].argmax()), int(after[i].argmax())
            says = target.classes[was], float(before[i, was]), target.classes[now], float(after[i, now])
            shown.append((int(rows[i]), target.classes[int(y[i])], *says, change))
    if target.is_number:
        unit = f" ({target.unit})" if target.unit else ""
        heads: tuple[str, ...] = (f"true{unit}", f"predicted before{unit}", f"predicted after{unit}")
    else:
        heads = "true", "predicted before", "probability before", "predicted after", "probability after"
    return Table(title="Rows before and after", columns=("test row", *heads, "what was changed"), rows=tuple(shown))
