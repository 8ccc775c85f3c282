"""Where a network errs on the test rows: confusion or residuals, the worst rows, and the slices in which errors gather."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from netwright.baselines.links import unlinked
from netwright.baselines.resampled import row_losses
from netwright.baselines.slices import MIN_ROWS, Slice, properties, worst_slices
from netwright.baselines.worst import N_WORST, sheets, worst_table
from netwright.core.finding import Cell, Figure, Finding, Series, Table
from netwright.data.data import Data
from netwright.model import Model, Subject
from netwright.report.text import number

MAX_CLASSES = 30
MAX_POINTS = 2000
_WHY = "A mean hides where a network fails: on a group, on a class, or on rows whose label is wrong."


def errors(subject: Subject, *, budget_seconds: float, seed: int) -> Finding:
    """The errors on the test rows; `warn` where a class is never found, else `info`."""
    model, data = subject.need("model"), subject.need("data")
    return unlinked(model, "errors") or (
        _of_numbers(model, data, subject.predictions)
        if data.target.is_number
        else _of_classes(model, data, subject.predictions)
    )


def _of_classes(model: Model, data: Data, baselines: Mapping[str, np.ndarray]) -> Finding:
    x, y, classes = data.block("test").x, data.y("test"), data.target.classes
    p = model.predict_encoded(x)
    guess, of_true = p.argmax(1), p[np.arange(len(y)), y]
    wrong, losses = (guess != y).astype(float), row_losses("log-loss", y, p)
    counts = np.bincount(y * len(classes) + guess, minlength=len(classes) ** 2).reshape(len(classes), len(classes))
    never = [classes[c] for c in range(len(classes)) if counts[c].sum() >= 10 and not counts[c, c]]
    order = np.argsort(of_true, kind="stable")
    answers = [(classes[y[i]], classes[guess[i]], float(of_true[i])) for i in order[:N_WORST]]
    slices = worst_slices(x, data.spec, losses, more=properties(data))
    other, of_other = _best_of("log-loss", y, baselines)
    rows: list[tuple[Cell, ...]] = [
        (
            s.column,
            s.cells,
            len(s.rows),
            float(wrong[s.rows].mean()),
            s.loss,
            *(float(o[s.rows].mean()) for o in of_other),
        )
        for s in slices
    ]
    columns = ("column", "cells", "rows", "share wrong", "log loss", *other)
    title = f"{wrong.mean():.1%} of {len(y):,} test rows are wrong{_commonest(counts, classes)}"
    return Finding(
        probe="errors",
        family="baselines",
        verdict="warn" if never else "info",
        title=f"never found: {', '.join(map(repr, never[:5]))}; {title}" if never else title,
        measured={"share_wrong": float(wrong.mean()), "n_test": len(y), "log-loss": float(losses.mean())},
        expected="every class that has 10 test rows is found at least once",
        why=_WHY,
        todo=_advice(slices, data, f"{wrong.mean():.1%} wrong", lambda s: f"{wrong[s.rows].mean():.1%} wrong"),
        tables=(
            _class_table(counts, classes),
            worst_table(data, order[:N_WORST], ("true", "predicted", "probability of the true class"), answers),
            *_slice_table("log loss", float(losses.mean()), columns, rows),
        ),
        figures=(
            *((_confusion(counts, classes),) if len(classes) <= MAX_CLASSES else ()),
            *sheets(data, order[guess[order] != y[order]], p),
        ),
        reference="Chung et al. (2019), Slice Finder",
    )


def _best_of(metric: str, y: np.ndarray, baselines: Mapping[str, np.ndarray]) -> tuple[list[str], list[np.ndarray]]:
    """The best baseline's column title and its loss of each row; empty lists without one. Where it does well, so could a network."""
    losses = {name: row_losses(metric, y, p) for name, p in baselines.items()}
    best = min(losses, key=lambda name: float(losses[name].mean()), default=None)
    return ([], []) if best is None else ([f"the same of {best}"], [losses[best]])


def _commonest(counts: np.ndarray, classes: tuple[str, ...]) -> str:
    off = counts - np.diag(np.diag(counts))
    if not off.any():
        return ""
    true, guess = np.unravel_index(int(off.argmax()), off.shape)
    return f"; most often {classes[true]!r} is taken for {classes[guess]!r} ({off.max():,} times)"


def _class_table(counts: np.ndarray, classes: tuple[str, ...]) -> Table:
    """Rows, recall and precision of each class, the rarest found first where there are many."""
    true, guessed, right = counts.sum(1), counts.sum(0), np.diag(counts)
    rows: list[tuple[Cell, ...]] = [
        (
            name,
            int(true[c]),
            float(right[c] / true[c]) if true[c] else None,
            float(right[c] / guessed[c]) if guessed[c] else None,
        )
        for c, name in enumerate(classes)
    ]
    if len(rows) > MAX_CLASSES:
        rows = sorted(rows, key=lambda r: 2.0 if r[2] is None else float(r[2]))[:MAX_CLASSES]
    columns = ("class", "test rows", "share found (recall)", "share right where predicted (precision)")
    return Table(title="By class", columns=columns, rows=tuple(rows))


def _confusion(counts: np.ndarray, classes: tuple[str, ...]) -> Figure:
    z = tuple(tuple(float(v) for v in row) for row in counts)
    return Figure(
        title="Confusion matrix",
        kind="heatmap",
        series=(Series(x=classes, y=classes, z=z),),
        x_label="predicted",
        y_label="true",
        caption="Numbers of test rows; what is not on the diagonal is wrong.",
    )


def _of_numbers(model: Model, data: Data, baselines: Mapping[str, np.ndarray]) -> Finding:
    x, y = data.block("test").x, data.y("test")
    value = model.predict_encoded(x)
    residual = y - value
    distance = np.abs(residual)
    order = np.argsort(-distance, kind="stable")
    answers = [(float(y[i]), float(value[i]), float(residual[i])) for i in order[:N_WORST]]
    slices = worst_slices(x, data.spec, distance, more=properties(data))
    other, of_other = _best_of("mae", y, baselines)
    rows: list[tuple[Cell, ...]] = [
        (
            s.column,
            s.cells,
            len(s.rows),
            float(residual[s.rows].mean()),
            s.loss,
            *(float(o[s.rows].mean()) for o in of_other),
        )
        for s in slices
    ]
    columns = ("column", "cells", "rows", "mean residual", "mean absolute error", *other)
    half, most = np.quantile(distance, [0.5, 0.95]) if len(y) else (0.0, 0.0)
    unit = f" {data.target.unit}" if data.target.unit else ""
    mean = float(distance.mean()) if len(y) else 0.0
    return Finding(
        probe="errors",
        family="baselines",
        verdict="info",
        title=f"half of {len(y):,} test rows are within {number(float(half))}{unit}, 95 % within {number(float(most))}{unit}",
        measured={
            "median_absolute_error": float(half),
            "mean_absolute_error": mean,
            "absolute_error_95_percent": float(most),
            "largest_absolute_error": float(distance.max()) if len(y) else 0.0,
            "n_test": len(y),
        },
        why=_WHY,
        todo=_advice(
            slices, data, f"mean absolute error {number(mean)}", lambda s: f"mean absolute error {number(s.loss)}"
        ),
        tables=(
            worst_table(data, order[:N_WORST], ("true", "predicted", "residual"), answers),
            *_slice_table("mean absolute error", mean, columns, rows),
        ),
        figures=(_against_truth(y, value), _histogram(residual), *sheets(data, order, value)),
        reference="Chung et al. (2019), Slice Finder",
    )


def _slice_table(
    what: str, overall: float, columns: tuple[str, ...], rows: list[tuple[Cell, ...]]
) -> tuple[Table, ...]:
    """The slices, where there are any."""
    title = f"Slices of at least {MIN_ROWS} rows where the {what} is clearly above that of all rows ({number(overall)})"
    return (Table(title=title, columns=columns, rows=tuple(rows)),) if rows else ()


def _advice(slices: list[Slice], data: Data, overall: str, words: Any) -> str:
    """What the worst slice suggests; `overall` and `words` say how bad all rows are, and those of a slice."""
    if not slices:
        return ""
    worst = slices[0]
    column = "" if data.spec.kind in ("image", "text") else " or a further column"
    return (
        f"Errors gather where {worst.column} is {worst.cells} ({len(worst.rows):,} rows, {words(worst)}, {overall} of all rows). "
        f"Where a baseline does better there, the network can too; else more such rows{column} may help. "
        "Read the worst rows: some may be labelled wrongly."
    )


def _against_truth(y: np.ndarray, value: np.ndarray) -> Figure:
    pick = np.linspace(0, len(y) - 1, min(MAX_POINTS, len(y))).astype(int)
    ends = (float(y.min()), float(y.max())) if len(y) else (0.0, 1.0)
    return Figure(
        title="Predicted against true values",
        kind="scatter",
        series=(
            Series(name="test rows", x=tuple(y[pick].tolist()), y=tuple(value[pick].tolist())),
            Series(name="perfect", x=ends, y=ends, dashed=True),
        ),
        x_label="true",
        y_label="predicted",
        caption=f"{len(pick):,} of {len(y):,} test rows." if len(pick) < len(y) else "",
    )


def _histogram(residual: np.ndarray) -> Figure:
    low, high = np.quantile(residual, [0.005, 0.995]) if len(residual) else (0.0, 1.0)
    counts, edges = (
        np.histogram(np.clip(residual, low, high), bins=41) if high > low else (np.array([len(residual)]), [low, low])
    )
    middles = tuple(float((a + b) / 2) for a, b in pairwise(edges))
    return Figure(
        title="Residuals",
        kind="bar",
        series=(Series(name="test rows", x=middles, y=tuple(int(c) for c in counts)),),
        x_label="true - predicted",
        y_label="rows",
        caption="The outermost bars hold everything beyond.",
    )
