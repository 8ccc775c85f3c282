"""Tables in memory -> a polars frame with plain columns: pandas, polars, pyarrow, numpy arrays and dictionaries alike."""

from __future__ import annotations

import datetime
import decimal
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import polars as pl

from netwright.core.errors import DataError, UsageError
from netwright.data.arrays import column_of, holds_pixels
from netwright.data.cells import counted
from netwright.data.kinds import kind_of_cells
from netwright.data.series import as_series, column_of_series


def from_any(x: Any, y: Any = None) -> pl.DataFrame:
    """Rows as a polars frame, in their order; the target, where one is given, is the last column.

    NaN and NA become null, categories become strings, column names become strings; a pandas index is left out.

    Args:
        x: a frame of pandas, polars or pyarrow, a numpy array (N, P) whose columns are called x0, x1, ..., or a dictionary
            of columns; texts or images as `netwright.data.arrays.column_of` takes them give one column "text" or "image".
        y: N cells: a series, an array or a list. Its column has its name, or "target".

    Raises:
        UsageError: a kind of object that is not known, or an array that is not two-dimensional.
        DataError: no rows, lengths that differ, repeated names, nested or complex cells.

    >>> from_any(np.array([[1.0, np.nan]]), y=["a"]).to_dicts()
    [{'x0': 1.0, 'x1': None, 'target': 'a'}]
    """
    columns = _columns(x)
    names = [c.name for c in columns]
    repeated = sorted({n for n in names if names.count(n) > 1})
    if repeated:
        raise DataError(
            f"columns share a name: {', '.join(map(repr, repeated[:5]))}; rename them so that each name is there once"
        )
    if y is not None:
        target = _column(_name_of(y, names), y)
        if columns and len(target) != len(columns[0]):
            raise DataError(
                f"x has {counted(len(columns[0]), 'row')} but y has {len(target):,}; they must be equally many"
            )
        columns.append(target)
    if len({len(c) for c in columns}) > 1:
        raise DataError("columns differ in length: " + ", ".join(f"{c.name!r} has {len(c):,}" for c in columns[:8]))
    if not columns or not len(columns[0]):
        raise DataError("the table has no rows or no columns; at least one of each was expected")
    return settled(pl.DataFrame(columns))[0]


def settled(frame: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Plain columns only: NaN becomes null, decimals become floats, categories become strings; and warnings.

    Raises:
        DataError: a column of structs or bytes, or of lists that are no series of numbers.
    """
    columns, warnings = [], []
    for column in frame.iter_columns():
        kind = column.dtype
        if holds_pixels(kind) or kind_of_cells(column):
            columns.append(column)
            continue
        if (series := as_series(column)) is not None:
            columns.append(series)
            continue
        if kind.is_nested() or kind == pl.Binary:
            what = {pl.List: "lists", pl.Array: "arrays", pl.Struct: "objects"}.get(type(kind), "bytes")
            raise DataError(
                f"column {column.name!r} holds {what} ({kind}); expected one number, word or date a cell: unpack it or drop it"
            )
        if kind == pl.Object:
            column = _mixed(column.name, column.to_list())
        elif isinstance(kind, pl.Categorical | pl.Enum) or kind == pl.Null:
            column = column.cast(pl.String)
        elif kind.is_decimal() or (kind.is_integer() and kind in (pl.Int128, pl.UInt64)):
            column = column.cast(pl.Float64)
        elif not (kind.is_numeric() or kind.is_temporal() or kind in (pl.String, pl.Boolean)):
            raise DataError(
                f"column {column.name!r} has the type {kind}, which is not known here; turn it into numbers, words or dates"
            )
        if column.dtype.is_float():
            column = column.fill_nan(None)
            infinite = int(column.is_infinite().sum())
            if infinite:
                column = column.set(column.is_infinite().fill_null(False), None)
                warnings.append(f"column {column.name!r}: {counted(infinite, 'infinite cell')} treated as missing")
        columns.append(column)
    return pl.DataFrame(columns), warnings


def _columns(x: Any) -> list[pl.Series]:
    if isinstance(x, pl.DataFrame):
        return x.get_columns()
    if isinstance(x, pl.LazyFrame):
        raise UsageError("x is a polars LazyFrame, whose rows are not there yet; pass x.collect()")
    if (single := column_of(x)) is not None:
        return [single]
    if isinstance(x, np.ndarray):
        return _from_array(x)
    if isinstance(x, Mapping):
        return [_column(str(name), cells) for name, cells in x.items()]
    if hasattr(x, "toarray") and hasattr(x, "nnz"):
        raise UsageError("x is a sparse matrix; pass x.toarray() where it fits in memory")
    try:
        frame = nw.from_native(x, eager_only=True)
    except TypeError:
        raise UsageError(_not_a_table(x)) from None
    except ValueError as error:  # narwhals refuses repeated names
        raise DataError(
            f"the table cannot be read: {error}; rename its columns so that each name is there once"
        ) from error
    if frame.implementation.is_pyarrow():
        arrow = pl.from_arrow(x)
        assert isinstance(arrow, pl.DataFrame)
        return arrow.get_columns()
    return [_from_narwhals(frame[:, i], str(name)) for i, name in enumerate(frame.columns)]


def _not_a_table(x: Any) -> str:
    kind = f"{type(x).__module__.partition('.')[0]} {type(x).__name__}"
    advice = (
        "for a file use netwright.data.read.read_table(path)"
        if isinstance(x, str)
        else "pass numpy.asarray(x), or a frame"
    )
    return f"x is a {kind}; expected a pandas, polars or pyarrow table, a numpy array (N, P) or a dictionary of columns; {advice}"


def _from_array(x: np.ndarray) -> list[pl.Series]:
    if x.dtype.names:
        return [_column(name, x[name]) for name in x.dtype.names]
    if x.ndim != 2:
        raise UsageError(
            f"x has the shape {x.shape}; expected rows and columns (N, P)"
            + ("; for one column pass x.reshape(-1, 1)" if x.ndim == 1 else "")
        )
    return [_column(f"x{i}", x[:, i]) for i in range(x.shape[1])]


def _name_of(y: Any, taken: list[str]) -> str:
    name = getattr(y, "name", None)
    if isinstance(y, pl.DataFrame):
        name = y.columns[0] if y.width else None
    name = "target" if name in (None, "") else str(name)
    while name in taken:
        name += "_"
    return name


def _column(name: str, cells: Any) -> pl.Series:
    """One column of anything that has cells."""
    if isinstance(cells, pl.Series):
        return cells.alias(name)
    if isinstance(cells, np.ndarray):
        return _from_numpy(name, cells)
    if isinstance(cells, list | tuple | range):
        return _mixed(name, list(cells))
    try:
        return _from_narwhals(nw.from_native(cells, series_only=True, allow_series=True), name)
    except TypeError:
        kind = type(cells).__name__
        if hasattr(cells, "columns") and len(cells.columns) == 1:
            return _columns(cells)[0].alias(name)
        if hasattr(cells, "__array__"):
            return _from_numpy(name, np.asarray(cells))
        raise UsageError(f"column {name!r} is a {kind}; expected a series, an array (N,) or a list") from None


def _from_numpy(name: str, cells: np.ndarray) -> pl.Series:
    if cells.ndim == 2 and cells.shape[1] == 1:
        cells = cells[:, 0]
    if cells.ndim != 1:
        raise DataError(f"column {name!r} has the shape {cells.shape}; expected one cell a row (N,)")
    if cells.dtype.kind == "c":
        raise DataError(f"column {name!r} holds complex numbers; pass real and imaginary part as two columns")
    if cells.dtype.kind == "V":
        raise DataError(f"column {name!r} holds records ({cells.dtype}); pass each field as a column")
    if cells.dtype.kind in "OS":
        return _mixed(name, [c.decode(errors="replace") if isinstance(c, bytes) else c for c in cells.tolist()])
    if cells.dtype.kind in "mM":
        cells = cells.astype(f"{cells.dtype.kind}8[us]")
    if cells.dtype.kind == "f" and cells.dtype.itemsize not in (4, 8):
        cells = cells.astype(np.float64)
    return pl.Series(name, np.ascontiguousarray(cells))


def _from_narwhals(series: Any, name: str) -> pl.Series:
    """A pandas-like (or pyarrow) series without pyarrow: through numpy where that loses nothing, else cell by cell."""
    kind = series.dtype
    missing = series.is_null().to_numpy().astype(bool)
    if isinstance(kind, nw.Categorical | nw.Enum):
        series = series.cast(nw.String)
    if kind.is_float():
        return pl.Series(name, np.array(series.to_numpy(), dtype=np.float64)).fill_nan(None)
    if (kind.is_integer() or kind == nw.Boolean) and not missing.any():
        return pl.Series(name, np.ascontiguousarray(series.to_numpy()))
    if isinstance(kind, nw.Datetime) and kind.time_zone is None:
        times = series.to_numpy().astype("M8[us]")
        return pl.Series(name, times).set(pl.Series(missing), None)
    cells = [None if gone else c for c, gone in zip(series.to_list(), missing.tolist(), strict=True)]
    if kind.is_integer():
        return pl.Series(name, cells, dtype=pl.Int64 if kind != nw.UInt64 else pl.UInt64)
    if kind == nw.String:
        return pl.Series(name, [c if c is None else str(c) for c in cells], dtype=pl.String)
    return _mixed(name, cells)


def _mixed(name: str, cells: list[Any]) -> pl.Series:
    """A column of Python objects: one type where all cells agree, else strings."""
    if cells and all(isinstance(c, np.ndarray) and c.ndim in (1, 2) and c.dtype.kind in "biuf" for c in cells):
        return column_of_series(cells, name)
    cells = [None if _is_missing(c) else c.item() if isinstance(c, np.generic) else c for c in cells]
    kinds = {type(c) for c in cells if c is not None}
    for nested in kinds & {list, dict, tuple, set, np.ndarray, pl.Series}:
        raise DataError(
            f"column {name!r} holds {nested.__name__} objects; expected one number, word or date a cell: unpack it or drop it"
        )
    if complex in kinds:
        raise DataError(f"column {name!r} holds complex numbers; pass real and imaginary part as two columns")
    if kinds <= {bool}:
        return pl.Series(name, cells, dtype=pl.Boolean if kinds else pl.String)
    if kinds <= {int} and all(abs(c) < 2**63 for c in cells if c is not None):
        return pl.Series(name, cells, dtype=pl.Int64)
    if bool not in kinds and all(issubclass(k, numbers.Real | decimal.Decimal) for k in kinds):
        return pl.Series(name, [None if c is None else float(c) for c in cells], dtype=pl.Float64)
    for family, kind, change in _TIMES:
        if all(issubclass(k, family) for k in kinds):
            return pl.Series(name, [None if c is None else change(c) for c in cells], dtype=kind)
    return pl.Series(name, [None if c is None else _word(c) for c in cells], dtype=pl.String)


def _is_missing(cell: Any) -> bool:
    return (
        cell is None
        or type(cell).__name__ in ("NAType", "NaTType")
        or (isinstance(cell, float | np.floating | decimal.Decimal) and cell != cell)
    )


def _word(cell: Any) -> str:
    return str(cell).lower() if isinstance(cell, bool) else str(cell)


def _utc(cell: datetime.datetime) -> datetime.datetime:
    return cell.astimezone(datetime.UTC).replace(tzinfo=None) if cell.tzinfo else cell


def _midnight(cell: datetime.date) -> datetime.datetime:
    return _utc(cell) if isinstance(cell, datetime.datetime) else datetime.datetime(cell.year, cell.month, cell.day)


_TIMES: tuple[tuple[type, Any, Callable[[Any], Any]], ...] = (
    (datetime.datetime, pl.Datetime("us"), _utc),
    (datetime.date, pl.Datetime("us"), _midnight),
    (datetime.timedelta, pl.Duration("us"), lambda c: c),
    (datetime.time, pl.Time, lambda c: c),
)
