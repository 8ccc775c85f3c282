"""Columns of numbers, dates and categories -> their fields, fitted on training rows, and codes. Needs no torch."""

from __future__ import annotations

import numpy as np
import polars as pl

from netwright.core.spec import CategoryField, NumberField
from netwright.data.cells import numbers_of, to_labels

MAX_CATEGORIES = 10_000
"""The most frequent categories of a column that get a code of their own; the rest share "unknown"."""
MAX_KNOTS = 48


def fit_number(column: pl.Series, kind: str) -> NumberField:
    """The field of a column of kind "number", "integer" or "date"."""
    values = numbers_of(column, kind)
    seen = values[np.isfinite(values)]
    missing = len(seen) < len(values)
    if not len(seen):
        return NumberField(kind=kind, name=column.name, missing=missing)
    return NumberField(
        kind=kind,
        name=column.name,
        low=float(seen.min()),
        high=float(seen.max()),
        center=float(seen.mean()),
        scale=spread(seen),
        knots=_knots(seen),
        missing=missing,
    )


def spread(values: np.ndarray) -> float:
    """Standard deviation; 1 where there is none but rounding error, and for values too large to square their largest.

    >>> spread(np.array([1.0, 3.0])), spread(np.full(7, 0.1)), spread(np.array([1e300, -1e300]))
    (1.0, 1.0, 1e+300)
    """
    largest = float(np.abs(values).max())
    if largest < 1e-290:
        return 1.0
    relative = float((values / largest).std())
    return relative * largest if relative > 1e-12 else 1.0


def _knots(seen: np.ndarray) -> tuple[float, ...]:
    """Quantiles of the cells, and quantiles of the different values among them: where nine cells in ten are zero, the former
    alone would leave all the rest to a handful of knots."""
    levels = np.linspace(0, 1, MAX_KNOTS // 2 + 1)
    different = np.quantile(np.unique(seen), levels, method="nearest")
    return tuple(float(k) for k in np.unique(np.concatenate([np.quantile(seen, levels), different])))


def fit_category(column: pl.Series) -> CategoryField:
    """The field of a column of categories, the most frequent first."""
    labels = to_labels(column).rename("label")
    counts = labels.drop_nulls().value_counts(name="rows").sort(["rows", "label"], descending=[True, False])
    names = counts["label"].to_list()[:MAX_CATEGORIES]
    if labels.null_count():
        names.append("")
    return CategoryField(name=column.name, categories=tuple(names))


def codes_of(column: pl.Series, field: CategoryField) -> np.ndarray:
    """Codes (N,) int64 of the cells; 0 for a category that the field does not have."""
    labels = to_labels(column).fill_null("")
    codes = labels.replace_strict(list(field.categories), range(1, field.n_codes), default=0, return_dtype=pl.Int64)
    return codes.to_numpy().astype(np.int64)
