"""Permutation importance: what a column is worth to a network that is left as it is."""

from __future__ import annotations

import math
import time

import numpy as np
import torch

from netwright.core.finding import Cell, Figure, Finding, Series, Table, Verdict
from netwright.core.seed import numpy_generator
from netwright.data.batch import Batch
from netwright.explain.columns import Column, columns_of, not_applicable, rows_for
from netwright.losses.metrics import check_metric, greater_is_better, score
from netwright.model import Model, Subject

SHOWN = 30
"""Columns in the figure, at most."""


def permutation_importance(
    subject: Subject,
    *,
    budget_seconds: float = 20.0,
    seed: int = 0,
    repeats: int = 6,
    rows: int = 4096,
    predictions: int = 400_000,
) -> Finding:
    """By how much the metric becomes worse on test rows when one column is shuffled among them, the others left alone.

    Each repeat draws the rows anew with replacement and shuffles anew, so that the interval, mean -+ t * deviation over the
    repeats, covers the choice of rows and that of the permutation. A column whose interval holds 0 has no measurable use.

    Args:
        subject: model and data.
        budget_seconds: a guard that ends the repeats early.
        seed: of rows and permutations.
        repeats: how often everything is done. rows: test rows, at most. predictions: rows are cut so that about so many do.

    Source: Breiman (2001); model reliance: Fisher, Rudin and Dominici (2019).
    """
    deadline = time.monotonic() + budget_seconds
    model: Model = subject.need("model")
    if finding := not_applicable(model, "permutation-importance", seed):
        return finding
    metric = check_metric(subject.metric or None, model.target)
    columns = columns_of(model.spec)
    n = max(256, min(rows, predictions // (repeats * (len(columns) + 1))))
    batch = rows_for(subject, n, seed, "permutation-importance")
    base, found = measure(model, batch, columns, metric, repeats, seed, deadline)
    return _finding(columns, found, base, metric, len(batch), repeats, seed)


def measure(
    model: Model, batch: Batch, columns: list[Column], metric: str, repeats: int, seed: int, deadline: float = math.inf
) -> tuple[float, np.ndarray]:
    """The metric on the rows as they are, and its worsening (repeats done, columns); at least one repeat is done."""
    assert batch.y is not None
    y, weight = batch.y.numpy(), None if batch.weight is None else batch.weight.numpy()
    plain = model.predict_encoded(batch.x)
    sign = -1.0 if greater_is_better(metric) else 1.0
    found: list[list[float]] = []
    for repeat in range(repeats):
        rng = numpy_generator(seed, "permutation-importance", repeat)
        drawn = rng.integers(0, len(batch), len(batch))
        x = {k: v[torch.from_numpy(drawn)] for k, v in batch.x.items()}
        w = None if weight is None else weight[drawn]
        base = score(metric, y[drawn], plain[drawn], w)
        row = []
        for column in columns:
            order = torch.from_numpy(rng.permutation(len(batch)))
            shuffled = model.predict_encoded(column.shuffled(x, order))
            row.append(sign * (score(metric, y[drawn], shuffled, w) - base))
        found.append(row)
        if time.monotonic() >= deadline:
            break
    return score(metric, y, plain, weight), np.array(found)


def interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over the first axis, and mean -+ t * deviation at 95 %; infinitely wide for a single value.

    >>> [round(float(v), 2) for v in interval(np.array([1.0, 2.0, 3.0]))]
    [2.0, -2.3, 6.3]
    """
    from scipy.special import stdtrit

    mean = values.mean(0)
    if len(values) < 2:
        return mean, mean - np.inf, mean + np.inf
    half = stdtrit(len(values) - 1, 0.975) * values.std(0, ddof=1)
    return mean, mean - half, mean + half


def _finding(
    columns: list[Column], found: np.ndarray, base: float, metric: str, rows: int, repeats: int, seed: int
) -> Finding:
    mean, low, high = interval(found)
    order = sorted(range(len(columns)), key=lambda i: (-np.nan_to_num(mean[i], nan=-np.inf), i))
    known = len(found) > 1
    useful = [i for i in order if low[i] > 0]
    unused = len(columns) - len(useful)
    cells = tuple(
        (columns[i].name, *(_finite(v[i]) for v in (mean, low, high)), _judgement(low[i], high[i], known))
        for i in order
    )
    verdict: Verdict = "info" if useful or not known else "warn"
    title = f"no column has a measurable use for {metric}"
    if useful or not known:
        title = f"{metric} suffers most without " + ", ".join(f"{columns[i].name} ({mean[i]:+.3g})" for i in order[:3])
    title += f"; {unused} of {len(columns)} columns show no measurable use" if useful and unused else ""
    title += f" (out of time after {len(found)} of {repeats} repeats)" if len(found) < repeats else ""
    measured: dict[str, Cell] = {metric: _finite(base), "columns": len(columns), "columns_used": len(useful)}
    measured |= {"rows": rows, "repeats": len(found)}
    label = f"{'decrease' if greater_is_better(metric) else 'increase'} of {metric}"
    return Finding(
        probe="permutation-importance",
        family="explain",
        verdict=verdict,
        title=title,
        measured=measured,
        expected="an interval above 0 for a column that the network makes use of",
        why="It says what the network draws on, in the units of the metric. Columns that tell the same story stand in for each "
        "other: shuffling one of them costs little although the story matters, so look at related columns together. And a "
        "shuffled column gives rows that could not occur, such as a pregnant man, on which the network has never been tested.",
        todo="Columns without measurable use may be left out; try it, all at once, and compare."
        if useful and unused
        else ("Compare with a constant prediction; the network may have learned nothing." if verdict == "warn" else ""),
        tables=(
            Table(title="Permutation importance", columns=("column", label, "low", "high", "judgement"), rows=cells),
        ),
        figures=(_figure(columns, order[:SHOWN], mean, low, high, label, len(columns)),),
        reference="Breiman (2001); Fisher, Rudin and Dominici (2019)",
        seed=seed,
    )


def _judgement(low: float, high: float, known: bool) -> str:
    if not known:
        return "no interval from one repeat"
    return "used" if low > 0 else "better without it" if high < 0 else "no measurable use"


def _figure(
    columns: list[Column],
    order: list[int],
    mean: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    label: str,
    total: int,
) -> Figure:
    y, lows, highs = (tuple(_finite(values[i]) for i in order) for values in (mean, low, high))
    series = Series(x=tuple(columns[i].name for i in order), y=y, low=lows, high=highs)
    caption = "With 95 % intervals over rows and permutations." + (
        f" The first {len(order)} of {total}." if total > len(order) else ""
    )
    return Figure(
        title="What the network draws on",
        kind="bar",
        series=(series,),
        x_label="column",
        y_label=label,
        caption=caption,
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
