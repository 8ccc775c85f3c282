"""Series: columns whose cells are values in time, of one or several channels, of unequal lengths. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from netwright.core.errors import DataError
from netwright.core.spec import SeriesField
from netwright.data.cells import counted, span_of
from netwright.data.kind import Arrays, Kind

MAX_STEPS = 1 << 16
"""Most values in time that are kept of a series."""


def column_of_series(rows: Iterable[np.ndarray], name: str = "series") -> pl.Series:
    """Series as a column: each (T,) or (T, C), with one C for all; NaN where a value is missing.

    Raises:
        DataError: a series without values, or with another number of channels than the first.

    >>> column_of_series([np.zeros(3), np.ones(5)]).dtype
    List(Array(Float32, shape=(1,)))
    """
    cells = [np.asarray(row, dtype=np.float32) for row in rows]
    cells = [cell[:, None] if cell.ndim == 1 else cell for cell in cells]
    for k, cell in enumerate(cells):
        if cell.ndim != 2 or cell.shape[1] != cells[0].shape[1]:
            raise DataError(
                f"series {k} of {name!r} has the shape {cell.shape}; expected (steps,) or (steps, {cells[0].shape[-1]}), as the first has"
            )
        if not len(cell):
            raise DataError(f"series {k} of {name!r} has length 0; take it out, or give it at least one value")
    if not cells:
        raise DataError(f"there are no series in {name!r}; at least one was expected")
    values = pl.Series(name, np.concatenate(cells), dtype=pl.Array(pl.Float32, cells[0].shape[1]))
    number = pl.Series("row", np.repeat(np.arange(len(cells)), [len(cell) for cell in cells]))
    return pl.DataFrame([number, values]).group_by("row", maintain_order=True).agg(name)[name]


def series_of(column: pl.Series) -> list[np.ndarray]:
    """The cells as arrays (T, C) float32, NaN where a value is missing."""
    if column.null_count():
        raise DataError(
            f"column {column.name!r}: {counted(column.null_count(), 'series')} missing; take those rows out"
        )
    lengths = column.list.len().to_numpy()
    if not lengths.all():
        row = int(np.flatnonzero(lengths == 0)[0])
        raise DataError(f"column {column.name!r}, row {row}: a series of length 0; take it out, or give it a value")
    values = column.explode().to_numpy().astype(np.float32, copy=False)
    return np.split(values, np.cumsum(lengths)[:-1])


def is_series(column: pl.Series) -> bool:
    """Whether the cells are lists of vectors of numbers."""
    inner = column.dtype.inner if isinstance(column.dtype, pl.List) else None
    return isinstance(inner, pl.Array) and len(inner.shape) == 1 and inner.inner.is_numeric()


def gaps_in(column: pl.Series) -> list[str]:
    """The sentence on missing values of a column of series; none where there are none."""
    rows = series_of(column)
    gaps = np.array([int((~np.isfinite(row)).sum()) for row in rows])
    if not gaps.any():
        return []
    share = gaps.sum() / sum(row.size for row in rows)
    return [
        f"column {column.name!r}: {share:.2%} of the values, in {int((gaps > 0).sum()):,} of {counted(len(rows), 'series')}, are missing; "
        "they are filled linearly in time, level at the ends"
    ]


def as_series(column: pl.Series) -> pl.Series | None:
    """A column of lists of numbers as series of one channel, of lists of lists of numbers as series of several; None for others.

    >>> as_series(pl.Series("v", [[1, 2], [3]])).dtype
    List(Array(Float32, shape=(1,)))
    """
    inner = column.dtype.inner if isinstance(column.dtype, pl.List) else None
    if inner is None or column.null_count():
        return None
    if inner.is_numeric():
        return column_of_series([cell.cast(pl.Float32).to_numpy() for cell in column], column.name)
    if isinstance(inner, pl.List) and inner.inner.is_numeric():
        sizes = column.explode().list.len().unique()
        if len(sizes) == 1 and sizes[0]:
            return column_of_series([np.array(cell.to_list(), dtype=np.float32) for cell in column], column.name)
    return None


def fit_series(column: pl.Series) -> SeriesField:
    """Lengths, range and spread of a column, from training rows only."""
    rows = series_of(column)
    lengths = np.array([len(row) for row in rows])
    n_steps = int(min(lengths.max(), MAX_STEPS))
    values = np.concatenate([row[:n_steps] for row in rows]).astype(np.float64)
    seen = np.isfinite(values)
    if not seen.any(0).all():
        raise DataError(
            f"column {column.name!r}: channel {int(np.argmin(seen.any(0)))} holds no number at all; leave it out"
        )
    there = np.where(seen, values, np.nan)
    center, spread = np.nanmean(there, 0), np.nanstd(there, 0)
    return SeriesField(
        name=column.name,
        channels=values.shape[1],
        n_steps=n_steps,
        shortest=int(min(lengths.min(), n_steps)),
        low=float(np.nanmin(there)),
        high=float(np.nanmax(there)),
        center=tuple(map(float, center)),
        spread=tuple(float(s) if s > 1e-12 * max(1.0, abs(c)) else 1.0 for s, c in zip(spread, center, strict=True)),
        cut=float((lengths > n_steps).mean()),
        gaps=float(1 - seen.mean()),
    )


def filled(row: np.ndarray, otherwise: Sequence[float]) -> np.ndarray:
    """A series (T, C) whose gaps are filled linearly in time, level at the ends; a channel of gaps only with `otherwise`.

    >>> filled(np.array([[np.nan], [1.0], [np.nan], [3.0]]), [0.0]).ravel().tolist()
    [1.0, 1.0, 2.0, 3.0]
    """
    gaps = ~np.isfinite(row)
    if not gaps.any():
        return row
    row = row.copy()
    for c in np.flatnonzero(gaps.any(0)):
        known = np.flatnonzero(~gaps[:, c])
        row[:, c] = np.interp(np.arange(len(row)), known, row[known, c]) if len(known) else otherwise[int(c)]
    return row


def encode_series(column: pl.Series, field: SeriesField) -> Arrays:
    """Values (N, C, n_steps) float32 and lengths (N,) int64."""
    rows = series_of(column)
    if rows and rows[0].shape[1] != field.channels:
        raise DataError(
            f"column {field.name!r} has {counted(rows[0].shape[1], 'channel')}, but {field.channels} were fitted; give those again"
        )
    lengths = np.array([min(len(row), field.n_steps) for row in rows], dtype=np.int64)
    values = np.zeros((len(rows), field.channels, field.n_steps), dtype=np.float32)
    for k, (row, n) in enumerate(zip(rows, lengths, strict=True)):
        values[k, :, :n] = filled(row[:n], field.center).T
    return {field.tensors[0]: values, field.tensors[1]: lengths}


def _decode(arrays: Arrays, field: SeriesField) -> pl.Series:
    values, lengths = (arrays[name] for name in field.tensors)
    return column_of_series((row[:, :n].T for row, n in zip(values, lengths, strict=True)), field.name)


def _two_rows(field: SeriesField) -> Arrays:
    values = np.zeros((2, field.channels, field.n_steps), dtype=np.float32)
    values[0] = np.array(field.center, dtype=np.float32)[:, None]
    values[1, :, 0] = np.array(field.center) + np.array(field.spread)
    return {field.tensors[0]: values, field.tensors[1]: np.array([field.n_steps, 1])}


def _describe(column: pl.Series) -> str:
    lengths, channels = column.list.len(), column.dtype.inner.shape[0]  # type: ignore[attr-defined]
    return f"series of {span_of(lengths)} steps in {counted(channels, 'channel')}"


SERIES = Kind("series", SeriesField, is_series, fit_series, encode_series, _decode, _two_rows, _describe)
