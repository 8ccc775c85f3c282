"""Partial dependence: the mean answer over the range of one input, and how much rows differ in it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from netwright.core.finding import Cell, Figure, Finding, Series, Table
from netwright.core.spec import CategoryField, NumberField
from netwright.data.batch import Inputs
from netwright.explain.columns import Column, among, answer_words, columns_of, not_applicable, rows_for
from netwright.model import Model, Subject

MAX_CATEGORIES = 12
MAX_CLASSES = 6


@dataclass(frozen=True)
class Curves:
    """Answers of each row at each point of a grid.

    Args:
        column: which. points: values, or category codes. answers: (rows, points, answers), one answer or one per class.
    """

    column: Column
    points: np.ndarray
    answers: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Partial dependence (points, answers)."""
        found: np.ndarray = self.answers.mean(0)
        return found

    @property
    def spread(self) -> float:
        """Deviation of the mean over the points, that of the class where it is largest. Source: Greenwell et al. (2018)."""
        return float(self.mean.std(0).max()) if len(self.points) > 1 else 0.0


def partial_dependence(
    subject: Subject,
    *,
    budget_seconds: float = 20.0,
    seed: int = 0,
    fields: int = 6,
    points: int = 24,
    rows: int = 256,
) -> Finding:
    """The mean answer if all test rows had one value in a column, over that column's values, for the columns that move it most.

    All columns are ranked on a few rows and points by how much that mean varies; the first ones are drawn.

    Args:
        subject: model and data.
        budget_seconds: a guard; columns and curves that it leaves out are said to be left out.
        seed: of the rows.
        fields: curves to draw. points: of a curve, at most. rows: test rows, at most.

    Source: Friedman (2001); bands of single rows: Goldstein et al. (2015); ranking: Greenwell et al. (2018).
    """
    deadline = time.monotonic() + budget_seconds
    model: Model = subject.need("model")
    if finding := not_applicable(model, "partial-dependence", seed):
        return finding
    batch = rows_for(subject, rows, seed, "partial-dependence")
    seen = rows_for(subject, 4096, seed, "partial-dependence").x
    columns = [c for c in columns_of(model.spec) if c.is_category or (c.is_smooth and c.index is not None)]
    few = {k: v[:48] for k, v in batch.x.items()}
    ranked: list[tuple[float, int]] = []
    for i, column in enumerate(columns):
        if ranked and time.monotonic() >= deadline:
            break
        ranked.append((curves(model, column, few, grid(column, seen, 8)).spread, i))
    ranked.sort(key=lambda pair: (-pair[0], pair[1]))
    drawn: list[Curves] = []
    for _, i in ranked[:fields]:
        if drawn and time.monotonic() >= deadline:
            break
        drawn.append(curves(model, columns[i], batch.x, grid(columns[i], seen, points)))
    late = ""
    if len(ranked) < len(columns):
        late = f" (out of time after ranking {len(ranked)} of {len(columns)} columns)"
    elif len(drawn) < (wanted := min(fields, len(columns))):
        late = f" (out of time after {len(drawn)} of {wanted} curves)"
    return _finding(model, drawn, [(columns[i], spread) for spread, i in ranked], late, len(batch), seed)


def grid(column: Column, seen: Inputs, points: int) -> np.ndarray:
    """Values at which to ask: from 1 % to 99 % of those seen, half of them quantiles and half of them evenly apart; or the
    codes of the most frequent categories."""
    if isinstance(column.field, CategoryField):
        return np.arange(1, min(len(column.field.categories), MAX_CATEGORIES, points) + 1)
    values = column.of(seen).double().numpy()
    values = values[np.isfinite(values)]
    if not len(values):
        return np.array([])
    quantiles = np.quantile(values, np.linspace(0.01, 0.99, points - points // 2))
    found = np.concatenate([quantiles, np.linspace(quantiles[0], quantiles[-1], points // 2 + 2)[1:-1]])
    whole = isinstance(column.field, NumberField) and column.field.kind == "integer"
    return np.unique(np.round(found) if whole else found)


def curves(model: Model, column: Column, x: Inputs, points: np.ndarray) -> Curves:
    """Ask for all rows at all points."""
    n = len(next(iter(x.values())))
    if not len(points):
        return Curves(column, points, np.zeros((n, 0, 1)))
    index = torch.arange(n).repeat_interleave(len(points))
    repeated = {k: v[index] for k, v in x.items()}
    values = torch.from_numpy(points).repeat(n).to(repeated[column.tensor].dtype)
    prediction = model.predict_encoded(column.put(repeated, values))
    if prediction.ndim == 2 and prediction.shape[1] == 2:
        prediction = prediction[:, 1]
    return Curves(column, points, prediction.reshape(n, len(points), -1))


def _finding(
    model: Model, drawn: list[Curves], ranked: list[tuple[Column, float]], late: str, rows: int, seed: int
) -> Finding:
    words = answer_words(model.target)
    if len(model.target.classes) > 2:
        words = "the probability of each class"
    moving = [c for c in drawn if c.spread > 0]
    title = (
        f"{among(model.spec)}{words} varies most over {', '.join(c.column.name for c in moving[:3])}"
        if moving
        else f"no input moves {words}"
    )
    if not ranked:
        title = "no input is a column of numbers or categories to draw a curve over"
    title += late
    measured: dict[str, Cell] = {"rows": rows, "curves": len(drawn)}
    if moving:
        measured |= {"strongest": moving[0].column.name, "largest_spread": moving[0].spread}
    ranking = tuple((c.name, spread) for c, spread in ranked)
    return Finding(
        probe="partial-dependence",
        family="explain",
        verdict="info",
        title=title,
        measured=measured,
        expected="shapes that somebody who knows the subject finds plausible",
        why="A slope is one number; a curve shows where the network has learned steps, plateaus and turning points. Where the band "
        "is wide, the effect depends on the other columns. Values are put together that may never occur together.",
        todo="Distrust a curve where there are few rows, and where it bends against what is known.",
        tables=(
            Table(
                title="How much the mean answer varies over each column",
                columns=("column", "deviation of the mean answer"),
                rows=ranking,
            ),
        ),
        figures=tuple(_figure(c, model, words, rows) for c in drawn if len(c.points)),
        reference="Friedman (2001); Goldstein et al. (2015); Greenwell, Boehmke and McCarthy (2018)",
        seed=seed,
    )


def _figure(found: Curves, model: Model, words: str, rows: int) -> Figure:
    field, mean = found.column.field, found.mean
    labels: tuple[Cell, ...] = tuple(float(p) for p in found.points)
    if isinstance(field, CategoryField):
        labels = tuple(field.categories[int(p) - 1] or "(missing)" for p in found.points)
    elif field.kind == "date":
        labels = tuple(str(np.datetime64("1970-01-01") + int(p)) for p in found.points)
    several = mean.shape[1] > 1
    series = []
    for k in np.argsort(-mean.mean(0), kind="stable")[:MAX_CLASSES]:
        low, high = np.quantile(found.answers[:, :, k], [0.1, 0.9], axis=0)
        band = {} if several else {"low": tuple(map(float, low)), "high": tuple(map(float, high))}
        name = model.target.classes[k] if several else "mean"
        series.append(Series(name=name, x=labels, y=tuple(map(float, mean[:, k])), **band))
    caption = (
        f"Mean over {rows:,} test rows."
        if several
        else f"Mean over {rows:,} test rows, and the band of eight in ten of them."
    )
    return Figure(
        title=f"{found.column.name}: {words}",
        kind="bar" if found.column.is_category else "line",
        series=tuple(series),
        x_label=found.column.name,
        y_label=words,
        caption=caption,
    )
