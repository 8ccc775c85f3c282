"""Sensitivity: how far the answer moves when an input does, in the input's own unit."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from netwright.core.finding import Cell, Figure, Finding, Series, Table
from netwright.core.seed import numpy_generator
from netwright.core.spec import CategoryField, NumberField
from netwright.data.batch import Batch, Inputs
from netwright.explain.columns import Column, answer, answer_words, columns_of, not_applicable, test_rows
from netwright.model import Model, Subject

SHOWN = 30
"""Columns in the figure, at most."""
MAX_SWAPS = 20
"""Categories of a column that are tried, the most frequent ones."""
Interval = tuple[float, float, float]


@dataclass(frozen=True)
class Effect:
    """How the answer moves with one column, each with a 95 % interval over rows.

    Args:
        column: which. slope: mean change per unit, with its sign (numbers only).
        size: mean size of the change, per unit or per swap.
        step: mean change for one more, measured (whole numbers only).
        strongest, weakest: category and mean change of the answer if all rows had it (categories only).
    """

    column: Column
    size: Interval | None = None
    slope: Interval | None = None
    step: float | None = None
    strongest: tuple[str, float] | None = None
    weakest: tuple[str, float] | None = None

    @property
    def per_spread(self) -> float:
        """Size of the change for one spread of the column, or for a swap; NaN where it could not be asked."""
        return self.size[0] * self.column.scale if self.size else math.nan


def sensitivity(
    subject: Subject,
    *,
    budget_seconds: float = 20.0,
    seed: int = 0,
    rows: int = 2048,
    swap_rows: int = 512,
    resamples: int = 200,
) -> Finding:
    """How far the answer moves with each column, on average over test rows.

    The answer is the value, the probability of the second of two classes, or that of the class predicted. Numbers: its
    gradient, per unit (with its sign, and its size) and per spread of the column; for whole numbers also what one more does.
    Categories: the mean size of the change over all swaps for another category.

    Args:
        subject: model and data.
        budget_seconds: a guard; categories and whole numbers that it leaves out are said to be left out.
        seed: of rows and resamples.
        rows: test rows, at most; swap_rows: for each swap and step. resamples: of rows, for the intervals.

    Source: Zurada, Malinowski and Cloete (1994); Simonyan, Vedaldi and Zisserman (2014).
    """
    deadline = time.monotonic() + budget_seconds
    model: Model = subject.need("model")
    if finding := not_applicable(model, "sensitivity", seed):
        return finding
    columns = columns_of(model.spec)
    batch = test_rows(subject, rows, seed, "sensitivity")
    few = test_rows(subject, swap_rows, seed, "sensitivity")
    rng = numpy_generator(seed, "sensitivity", "resamples")
    weights = rng.multinomial(len(batch), np.full(len(batch), 1 / len(batch)), resamples).astype(float)
    slopes = gradients(model, batch.x, columns)
    plain = model.predict_encoded(few.x)
    effects, left_out = [], 0
    for column in columns:
        late = time.monotonic() >= deadline
        left_out += late and column.name not in slopes
        effects.append(_effect(model, column, slopes.get(column.name), weights, few, plain, late))
    effects.sort(key=lambda e: -np.nan_to_num(e.per_spread, nan=-1.0))
    return _finding(model, effects, slopes, columns, len(batch), left_out, seed)


def gradients(model: Model, x: Inputs, columns: list[Column], batch_size: int = 2048) -> dict[str, np.ndarray]:
    """Gradient of each row's answer with respect to each smooth column, in raw units: (N,), or (N, ...) for a whole tensor.

    Missing cells have NaN. Columns that the answer cannot be differentiated by have zeros. The rows must not depend on each
    other, which the check of it makes sure of.
    """
    net = copy.deepcopy(model.module).eval()
    names = sorted({c.tensor for c in columns if c.is_smooth})
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    n = len(next(iter(x.values())))
    for first in range(0, n, batch_size):
        piece = {k: v[first : first + batch_size] for k, v in x.items()}
        leaves = {name: piece[name].detach().clone().requires_grad_() for name in names}
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):
            outputs = model.objective.predict(net, {**piece, **leaves}).double()
            prediction = model.loss.predict(outputs if model.target.is_number else outputs / model.temperature)
            if prediction.dim() == 2:
                chosen = torch.ones(len(prediction), dtype=torch.int64)
                chosen = chosen if prediction.shape[1] == 2 else prediction.argmax(1)
                prediction = prediction.gather(1, chosen.unsqueeze(1)).squeeze(1)
            found: tuple[Tensor | None, ...] = (None,) * len(names)
            if prediction.requires_grad and names:
                found = torch.autograd.grad(prediction.sum(), [leaves[k] for k in names], allow_unused=True)
        for name, gradient in zip(names, found, strict=True):
            filled = torch.zeros_like(piece[name]) if gradient is None else gradient
            parts[name].append(torch.where(piece[name].isnan(), torch.nan, filled).double())
    whole = {name: torch.cat(found_parts).numpy() for name, found_parts in parts.items()}
    return {c.name: whole[c.tensor] if c.index is None else whole[c.tensor][:, c.index] for c in columns if c.is_smooth}


def averaged(values: np.ndarray, weights: np.ndarray) -> Interval:
    """Mean of the values that are there, and its 95 % interval over resamples of rows: values (N,), weights (B, N).

    Source: Efron (1979).
    """
    there = np.isfinite(values)
    if not there.any():
        return math.nan, math.nan, math.nan
    totals = weights[:, there].sum(1)
    means = (weights[:, there] @ values[there])[totals > 0] / totals[totals > 0]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(values[there].mean()), float(low), float(high)


def _effect(
    model: Model,
    column: Column,
    slope: np.ndarray | None,
    weights: np.ndarray,
    few: Batch,
    plain: np.ndarray,
    late: bool,
) -> Effect:
    if slope is None:
        return Effect(column) if late or not column.is_category else _swaps(model, column, few.x, plain)
    if slope.ndim > 1:
        size = np.abs(slope.reshape(len(slope), -1)).mean(1)
        return Effect(column, averaged(size, weights))
    whole = isinstance(column.field, NumberField) and column.field.kind == "integer"
    step = _one_more(model, column, few.x, plain) if whole and not late else None
    return Effect(column, averaged(np.abs(slope), weights), averaged(slope, weights), step)


def _one_more(model: Model, column: Column, x: Inputs, plain: np.ndarray) -> float:
    """Mean change of the answer if the column is larger by 1; rows where it is missing do not count."""
    chosen = plain.argmax(1) if plain.ndim == 2 else None
    moved = answer(model.predict_encoded(column.put(x, column.of(x) + 1)), chosen) - answer(plain, chosen)
    there = ~column.of(x).isnan().numpy()
    return float(moved[there].mean()) if there.any() else math.nan


def _swaps(model: Model, column: Column, x: Inputs, plain: np.ndarray) -> Effect:
    """Put each category into all rows: mean size of the change over rows and categories other than the row's own."""
    assert isinstance(column.field, CategoryField)
    names = column.field.categories[:MAX_SWAPS]
    chosen = plain.argmax(1) if plain.ndim == 2 else None
    before, own = answer(plain, chosen), column.of(x).numpy()
    moved = np.stack(
        [answer(model.predict_encoded(column.put(x, code)), chosen) - before for code in range(1, len(names) + 1)], 1
    )
    moved[own[:, None] == np.arange(1, len(names) + 1)] = np.nan
    if not np.isfinite(moved).any():
        return Effect(column, (0.0, 0.0, 0.0))
    rows = np.isfinite(moved).any(1)
    sizes = np.full(len(moved), np.nan)
    sizes[rows] = np.nanmean(np.abs(moved[rows]), 1)
    rng = numpy_generator(0, "sensitivity", "swaps", column.name)
    weights = rng.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), 200).astype(float)
    shift = np.nan_to_num(moved).mean(0)
    order = np.argsort(shift)
    first, last = order[0], order[-1]
    label = lambda i: names[i] or "(missing)"  # noqa: E731
    return Effect(
        column,
        averaged(sizes, weights),
        strongest=(label(last), float(shift[last])),
        weakest=(label(first), float(shift[first])),
    )


def _finding(
    model: Model,
    effects: list[Effect],
    slopes: dict[str, np.ndarray],
    columns: list[Column],
    rows: int,
    left_out: int,
    seed: int,
) -> Finding:
    words, asked = answer_words(model.target), [e for e in effects if e.size]
    title = f"{words} moves most with " + ", ".join(f"{e.column.name} ({_phrase(e)})" for e in asked[:3])
    if not asked:
        title = "no input is a number or a category, so there is nothing to move"
    title += f"; out of time before {left_out} columns" if left_out else ""
    measured: dict[str, Cell] = {"rows": rows, "columns": len(effects), "columns_asked": len(asked)}
    if asked:
        measured |= {"strongest": asked[0].column.name, "largest_change_per_spread": asked[0].per_spread}
    figures = [_figure(asked[:SHOWN], words, len(asked))] if asked else []
    figures += [heat for c in columns if c.index is None and (heat := _heat(c, slopes.get(c.name), words)) is not None]
    return Finding(
        probe="sensitivity",
        family="explain",
        verdict="info",
        title=title,
        measured=measured,
        expected="a direction and a size that somebody who knows the subject finds plausible",
        why="It is what the network would do if one input were a little different and the others were not, in units in which "
        "people think. It says nothing of what would happen in the world if that input were changed.",
        todo="Look for signs that contradict what is known, and for columns that should not matter at all.",
        tables=tuple(t for t in (_numbers(effects, words), _categories(effects, words)) if t.rows),
        figures=tuple(figures),
        reference="Zurada, Malinowski and Cloete (1994); Simonyan, Vedaldi and Zisserman (2014)",
        seed=seed,
    )


def _phrase(effect: Effect) -> str:
    return f"{effect.per_spread:.3g} per {'swap' if effect.column.is_category else 'spread'}"


def _numbers(effects: list[Effect], words: str) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for e in effects:
        if e.column.is_category:
            continue
        unit = e.column.field.unit if isinstance(e.column.field, NumberField) else ""
        unit = unit or ("day" if e.column.field.kind == "date" else "")
        nothing: tuple[None, ...] = (None, None, None)
        scale = e.column.scale
        sizes = nothing if e.size is None else tuple(_finite(v * scale) for v in e.size)
        slope = nothing if e.slope is None else tuple(_finite(v) for v in e.slope)
        size = None if e.size is None else _finite(e.size[0])
        rows.append((e.column.name, unit, scale, *slope, e.step, size, *sizes))
    columns = ("column", "unit", "spread", "change per unit", "low", "high", "change for +1, measured")
    columns += ("size per unit", "size per spread", "low of it", "high of it")
    return Table(title=f"Numbers: how {words} moves", columns=columns, rows=tuple(rows))


def _categories(effects: list[Effect], words: str) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for e in effects:
        if not isinstance(e.column.field, CategoryField):
            continue
        size: tuple[Cell, ...] = (None, None, None) if e.size is None else tuple(_finite(v) for v in e.size)
        ends = [end for pair in (e.strongest, e.weakest) for end in (pair or (None, None))]
        rows.append((e.column.name, len(e.column.field.categories), *size, *ends))
    columns = ("column", "categories", "size of the change by a swap", "low", "high")
    columns += ("highest if all rows had", "change then", "lowest if all rows had", "change there")
    return Table(title=f"Categories: how {words} moves", columns=columns, rows=tuple(rows))


def _figure(effects: list[Effect], words: str, total: int) -> Figure:
    bounds = [(e.size or (0.0, 0.0, 0.0), e.column.scale) for e in effects]
    series = Series(
        x=tuple(e.column.name for e in effects),
        y=tuple(_finite(e.per_spread) for e in effects),
        low=tuple(_finite(size[1] * scale) for size, scale in bounds),
        high=tuple(_finite(size[2] * scale) for size, scale in bounds),
    )
    return Figure(
        title="How far the answer moves with each column",
        kind="bar",
        series=(series,),
        x_label="column",
        y_label=f"mean change of {words}, per spread or swap",
        caption="Numbers: size of the gradient times the column's spread. Categories: size of the change by a swap. "
        "With 95 % intervals over rows." + (f" The first {len(effects)} of {total}." if total > len(effects) else ""),
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


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
