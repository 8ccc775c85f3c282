"""Sensitivity: how far the answer moves when an input does, in the input's own unit."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch

from netwright.core.finding import Cell, Figure, Finding, Series, Table
from netwright.core.seed import numpy_generator
from netwright.core.spec import CategoryField, NumberField
from netwright.data.batch import Inputs
from netwright.explain.columns import Column, among, answer, answer_words, columns_of, not_applicable, rows_for
from netwright.explain.slopes import Interval, averaged, gradients
from netwright.model import Model, Subject

SHOWN = 30
"""Columns in the figure, at most."""
MAX_SWAPS = 20
"""Categories of a column that are tried, the most frequent ones."""


@dataclass(frozen=True)
class Effect:
    """How the answer moves with one column, each mean with a 95 % interval over rows.

    Args:
        column: which.
        slope: change per unit by the gradient, with its sign; size: without (numbers only).
        step: change for one more, measured (whole numbers only).
        move: size of the change by a whole spread, or by a swap of the category, measured.
        strongest, weakest: category and mean change of the answer if all rows had it (categories only).
    """

    column: Column
    slope: Interval | None = None
    size: Interval | None = None
    step: float | None = None
    move: Interval | None = None
    strongest: tuple[str, float] | None = None
    weakest: tuple[str, float] | None = None

    @property
    def reach(self) -> Interval | None:
        """What columns are compared by: the measured change, or for whole tensors the gradient's for one spread each."""
        if self.move is None and self.size is not None and self.column.index is None:
            low, middle, high = sorted(v * self.column.scale for v in self.size)
            return middle, low, high
        return self.move


class _Rows:
    """Some rows, and what the network answers to them as they are and when a column is changed."""

    def __init__(self, model: Model, x: Inputs, seed: int, resamples: int) -> None:
        self.model, self.x = model, x
        plain = model.predict_encoded(x)
        self.chosen = plain.argmax(1) if plain.ndim == 2 else None
        self.before = answer(plain, self.chosen)
        self.weights = resampled(len(self.before), resamples, seed)

    def change(self, column: Column, values: torch.Tensor | float) -> np.ndarray:
        """By how much the answers (N,) change with other values in a column."""
        change: np.ndarray = answer(self.model.predict_encoded(column.put(self.x, values)), self.chosen) - self.before
        return change


def resampled(n: int, resamples: int, seed: int) -> np.ndarray:
    """How often each of `n` rows is drawn in each resample (resamples, n)."""
    rng = numpy_generator(seed, "sensitivity", "resamples")
    counts: np.ndarray = rng.multinomial(n, np.full(n, 1 / n), resamples).astype(np.float64)
    return counts


def sensitivity(
    subject: Subject,
    *,
    budget_seconds: float = 20.0,
    seed: int = 0,
    rows: int = 2048,
    moved_rows: int = 512,
    resamples: int = 200,
) -> Finding:
    """How far the answer moves with each column, on average over test rows.

    The answer is the value, the probability of the second of two classes, or that of the class predicted. Numbers: the
    gradient per unit, with its sign and its size, and what a whole spread of the column does (up from the lower half of its
    range, down from the upper one), for a gradient can be steep and reach nowhere; for whole numbers also what one more
    does. Categories: the size of the change over all swaps for another category.

    Args:
        subject: model and data.
        budget_seconds: a guard; what it leaves out is said to be left out.
        seed: of rows and resamples.
        rows: test rows for gradients, at most; moved_rows: for measured changes. resamples: of rows, for the intervals.

    Source: Zurada, Malinowski and Cloete (1994); Simonyan, Vedaldi and Zisserman (2014).
    """
    deadline = time.monotonic() + budget_seconds
    model: Model = subject.need("model")
    if finding := not_applicable(model, "sensitivity", seed):
        return finding
    columns = columns_of(model.spec)
    x = rows_for(subject, rows, seed, "sensitivity").x
    slopes = gradients(model, x, columns)
    n = len(next(iter(x.values())))
    weights = resampled(n, resamples, seed)
    moved = _Rows(model, {k: v[:: max(1, n // moved_rows)][:moved_rows] for k, v in x.items()}, seed, resamples)
    effects, left_out = [], 0
    for column in columns:
        late = time.monotonic() >= deadline
        left_out += late and (column.is_category or column.index is not None)
        effects.append(_effect(column, slopes.get(column.name), weights, None if late else moved))
    effects.sort(key=lambda e: -e.reach[0] if e.reach else math.inf)
    return _finding(model, effects, slopes, n, left_out, seed)


def _effect(column: Column, slope: np.ndarray | None, weights: np.ndarray, moved: _Rows | None) -> Effect:
    if slope is None:
        return _swaps(moved, column) if moved and column.is_category else Effect(column)
    if column.index is None:
        return Effect(column, size=averaged(np.abs(slope.reshape(len(slope), -1)).mean(1), weights))
    whole = isinstance(column.field, NumberField) and column.field.kind == "integer"
    return Effect(
        column,
        slope=averaged(slope, weights),
        size=averaged(np.abs(slope), weights),
        step=averaged(moved.change(column, column.of(moved.x) + 1), moved.weights)[0] if moved and whole else None,
        move=_by_a_spread(moved, column) if moved else None,
    )


def _by_a_spread(moved: _Rows, column: Column) -> Interval:
    """Size of the change when the column moves by one spread, towards the other half of its range."""
    values = column.of(moved.x)
    seen = values[values.isfinite()]
    low, high = (seen.min().item(), seen.max().item()) if len(seen) else (0.0, 0.0)
    if isinstance(column.field, NumberField):
        low, high = column.field.low, column.field.high
    direction = torch.where(values <= (low + high) / 2, 1.0, -1.0)
    change = moved.change(column, values + direction * column.scale)
    return averaged(np.where(values.isfinite().numpy(), np.abs(change), np.nan), moved.weights)


def _swaps(moved: _Rows, column: Column) -> Effect:
    """Put each category into all rows: size of the change over the categories other than the row's own."""
    assert isinstance(column.field, CategoryField)
    names = [name or "(missing)" for name in column.field.categories[:MAX_SWAPS]]
    own = column.of(moved.x).numpy()
    change = np.stack([moved.change(column, code) for code in range(1, len(names) + 1)], 1)
    other = own[:, None] != np.arange(1, len(names) + 1)
    if not other.any():
        return Effect(column, move=(0.0, 0.0, 0.0))
    sizes = np.where(other.any(1), np.abs(change * other).sum(1) / other.sum(1).clip(min=1), np.nan)
    shift = change.mean(0)
    last, first = int(shift.argmax()), int(shift.argmin())
    return Effect(
        column,
        move=averaged(sizes, moved.weights),
        strongest=(names[last], float(shift[last])),
        weakest=(names[first], float(shift[first])),
    )


def _finding(
    model: Model, effects: list[Effect], slopes: dict[str, np.ndarray], rows: int, left_out: int, seed: int
) -> Finding:
    words, asked = answer_words(model.target), [e for e in effects if e.reach]
    title = f"{among(model.spec)}{words} moves most with {', '.join(_phrase(e) for e in asked[:3])}"
    if not asked:
        title = "no input is a number or a category that could be moved"
    title += f"; out of time before {left_out} columns were measured" if left_out else ""
    measured: dict[str, Cell] = {"rows": rows, "columns": len(effects), "columns_asked": len(asked)}
    if asked and asked[0].reach:
        measured |= {"strongest": asked[0].column.name, "largest_change": asked[0].reach[0]}
    figures = [_figure(asked[:SHOWN], words, len(asked))] if asked else []
    heats = (_heat(e.column, slopes.get(e.column.name), words) for e in effects if e.column.index is None)
    return Finding(
        probe="sensitivity",
        family="explain",
        verdict="info",
        title=title,
        measured=measured,
        expected="a direction and a size that somebody who knows the subject finds plausible",
        why="It is what the network would answer if one input were different and the others were not, in units in which people "
        "think. It says nothing of what would happen in the world if that input were changed.",
        todo="Look for signs that contradict what is known, and for columns that should not matter at all. Where the gradient "
        "times a spread is far from the measured change, the answer is not a line: see its partial dependence.",
        tables=tuple(t for t in (_numbers(effects, words), _categories(effects, words)) if t.rows),
        figures=(*figures, *(heat for heat in heats if heat is not None)),
        reference="Zurada, Malinowski and Cloete (1994); Simonyan, Vedaldi and Zisserman (2014)",
        seed=seed,
    )


def _phrase(effect: Effect) -> str:
    size = effect.reach[0] if effect.reach else math.nan
    return f"{effect.column.name} ({size:.3g} per {'swap' if effect.column.is_category else 'spread'})"


def _cells(found: Interval | None) -> tuple[float | None, float | None, float | None]:
    if found is None:
        return None, None, None
    mean, low, high = (v if math.isfinite(v) else None for v in found)
    return mean, low, high


def _numbers(effects: list[Effect], words: str) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for e in effects:
        if e.column.is_category:
            continue
        unit = getattr(e.column.field, "unit", "") or ("day" if e.column.field.kind == "date" else "")
        size, step = _cells(e.size)[0], e.step if e.step is not None and math.isfinite(e.step) else None
        rows.append((e.column.name, unit, *_cells(e.slope), size, step, e.column.scale, *_cells(e.reach)))
    columns = (
        "column",
        "unit",
        "change per unit, by the gradient",
        "low",
        "high",
        "size of it",
        "change for +1, measured",
    )
    more = ("one spread", "size of the change by a spread, measured", "low of it", "high of it")
    return Table(title=f"Numbers: how {words} moves", columns=(*columns, *more), rows=tuple(rows))


def _categories(effects: list[Effect], words: str) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for e in effects:
        if isinstance(e.column.field, CategoryField):
            ends = [end for pair in (e.strongest, e.weakest) for end in (pair or (None, None))]
            rows.append((e.column.name, len(e.column.field.categories), *_cells(e.move), *ends))
    columns = ("column", "categories", "size of the change by a swap", "low", "high")
    more = ("highest if all rows had", "change then", "lowest if all rows had", "change there")
    return Table(title=f"Categories: how {words} moves", columns=(*columns, *more), rows=tuple(rows))


def _figure(effects: list[Effect], words: str, total: int) -> Figure:
    means, lows, highs = zip(*(_cells(e.reach) for e in effects), strict=True)
    return Figure(
        title=f"How far {words} moves with each column",
        kind="bar",
        series=(Series(x=tuple(e.column.name for e in effects), y=means, low=lows, high=highs),),
        x_label="column",
        y_label="mean size of the change",
        caption="Numbers: by one spread of the column. Categories: by a swap for another one. With 95 % intervals over rows."
        + (f" The first {len(effects)} of {total}." if total > len(effects) else ""),
    )


def _heat(column: Column, slope: np.ndarray | None, words: str) -> Figure | None:
    """The mean size of the gradient over an image's pixels, channels averaged; None for other shapes."""
    if slope is None or slope.ndim not in (3, 4) or max(slope.shape[-2:]) > 64:
        return None
    mean = np.abs(slope).mean(0)
    mean = mean.mean(0) if mean.ndim == 3 else mean
    series = Series(
        x=tuple(range(mean.shape[1])), y=tuple(range(mean.shape[0])), z=tuple(tuple(map(float, row)) for row in mean)
    )
    caption = "Mean size of the gradient over test rows."
    return Figure(title=f"Where {column.name} moves {words}", kind="heatmap", series=(series,), caption=caption)
