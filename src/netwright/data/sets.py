"""Sets: columns whose cells hold any number of elements without an order, each a row of numbers and categories. Needs no torch."""

from __future__ import annotations

import numpy as np
import polars as pl

from netwright.core.errors import DataError, nearest
from netwright.core.spec import CategoryField, NumberField, SetField
from netwright.data.cells import counted, numbers_of, span_of, to_numbers
from netwright.data.kind import Arrays, Kind
from netwright.data.plain import codes_of, fit_category, fit_number

MAX_ELEMENTS = 4096
"""Most elements that are kept of a set."""


def is_set(column: pl.Series) -> bool:
    """Whether the cells are lists of structs of plain cells."""
    inner = column.dtype.inner if isinstance(column.dtype, pl.List) else None
    return isinstance(inner, pl.Struct) and all(_is_plain(field.dtype) for field in inner.fields)


def _is_plain(kind: object) -> bool:
    plain = isinstance(kind, pl.DataType) and not kind.is_nested()
    return plain and kind not in (pl.Object, pl.Binary)


def column_of_sets(elements: pl.DataFrame, sizes: np.ndarray, name: str = "set") -> pl.Series:
    """A column of sets from the rows of all their elements, set after set.

    Args:
        elements: one row an element. sizes: (N,) how many of these rows each set has, 1 or more.

    >>> column_of_sets(pl.DataFrame({"price": [1.0, 2.0, 3.0]}), np.array([2, 1])).to_list()
    [[{'price': 1.0}, {'price': 2.0}], [{'price': 3.0}]]
    """
    row = pl.Series("row", np.repeat(np.arange(len(sizes)), sizes))
    cells = elements.to_struct(name)
    return pl.DataFrame([row, cells]).group_by("row", maintain_order=True).agg(name)[name]


def elements_of(column: pl.Series) -> tuple[pl.DataFrame, np.ndarray]:
    """The elements of all sets below each other, and how many each set has (N,).

    Raises:
        DataError: a missing set, or one without elements.
    """
    if column.null_count():
        row = int(column.is_null().arg_true()[0])
        raise DataError(
            f"column {column.name!r}, row {row}: {counted(column.null_count(), 'set')} missing; take those rows out"
        )
    sizes = column.list.len().to_numpy().astype(np.int64)
    if not sizes.all():
        row = int(np.flatnonzero(sizes == 0)[0])
        raise DataError(f"column {column.name!r}, row {row}: a set without elements; take it out, or give it one")
    return column.explode().struct.unnest(), sizes


def _kind(column: pl.Series) -> str:
    """What a column of elements is, by its type alone: "category", "date", "integer" or "number"."""
    if column.dtype.is_temporal():
        return "date"
    if not column.dtype.is_numeric():
        return "category"
    values = to_numbers(column).drop_nulls()
    return "integer" if bool((values == values.round(0)).all()) else "number"


def fit_set(column: pl.Series) -> SetField:
    """The fields of the elements' columns and the size of the largest set, from training rows only.

    Strings and booleans are categories; numbers are numbers.
    """
    if not is_set(column):
        raise DataError(
            f"column {column.name!r} holds cells of type {column.dtype}; expected lists of elements (structs)"
        )
    elements, sizes = elements_of(column)
    numbers: list[NumberField] = []
    categories: list[CategoryField] = []
    for cells in elements.iter_columns():
        kind = _kind(cells)
        if kind == "category":
            categories.append(fit_category(cells))
        else:
            numbers.append(fit_number(cells, kind))
    if not numbers and not categories:
        raise DataError(f"column {column.name!r}: its elements have no columns; give them at least one")
    most = int(min(sizes.max(), MAX_ELEMENTS))
    return SetField(
        name=column.name,
        numbers=tuple(numbers),
        categories=tuple(categories),
        n_elements=most,
        cut=float((sizes > most).mean()),
    )


def encode_set(column: pl.Series, field: SetField) -> Arrays:
    """Numbers (N, n_elements, P) float64, codes (N, n_elements, Q) int64 and lengths (N,) int64.

    Raises:
        DataError: the elements lack a column that was fitted.
    """
    if not is_set(column):
        raise DataError(f"column {field.name!r} holds cells of type {column.dtype}, but sets were fitted; give those")
    elements, sizes = elements_of(column)
    _require(elements, field)
    n, most = len(sizes), field.n_elements
    row = np.repeat(np.arange(n), sizes)
    place = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    kept = place < most
    arrays: dict[str, np.ndarray] = {}
    if field.numbers:
        values = np.stack([numbers_of(elements[f.name], f.kind) for f in field.numbers], 1)
        arrays[f"{field.name}:numbers"] = np.full((n, most, len(field.numbers)), np.nan)
        arrays[f"{field.name}:numbers"][row[kept], place[kept]] = values[kept]
    if field.categories:
        codes = np.stack([codes_of(elements[f.name], f) for f in field.categories], 1)
        arrays[f"{field.name}:codes"] = np.zeros((n, most, len(field.categories)), dtype=np.int64)
        arrays[f"{field.name}:codes"][row[kept], place[kept]] = codes[kept]
    arrays[f"{field.name}:length"] = np.minimum(sizes, most)
    return arrays


def _require(elements: pl.DataFrame, field: SetField) -> None:
    names = [f.name for f in field.numbers] + [f.name for f in field.categories]
    absent = [name for name in names if name not in elements.columns]
    if absent:
        near = nearest(absent[0], elements.columns, 1)
        hint = f" (is it {near[0]!r}?)" if near else ""
        raise DataError(
            f"the elements of {field.name!r} lack {counted(len(absent), 'column')} that the model was trained on: "
            f"{', '.join(map(repr, absent))}{hint}"
        )


def _decode(arrays: Arrays, field: SetField) -> pl.Series:
    sizes = arrays[f"{field.name}:length"]
    most = next(a for name, a in arrays.items() if not name.endswith(":length")).shape[1]
    there = np.arange(most) < sizes[:, None]
    columns = [
        pl.Series(f.name, arrays[f"{field.name}:numbers"][there][:, i]).fill_nan(None)
        for i, f in enumerate(field.numbers)
    ]
    for i, f in enumerate(field.categories):
        labels = np.array(["(unknown)", *f.categories], dtype=object)
        codes = arrays[f"{field.name}:codes"][there][:, i]
        columns.append(pl.Series(f.name, labels[codes].tolist(), dtype=pl.String))
    return column_of_sets(pl.DataFrame(columns), sizes, field.name)


def _two_rows(field: SetField) -> Arrays:
    """A set of all elements at their means, and one of a single element."""
    arrays: dict[str, np.ndarray] = {}
    if field.numbers:
        values = np.full((2, field.n_elements, len(field.numbers)), np.nan)
        values[0] = [f.center for f in field.numbers]
        values[1, 0] = [f.center + f.scale for f in field.numbers]
        arrays[f"{field.name}:numbers"] = values
    if field.categories:
        codes = np.zeros((2, field.n_elements, len(field.categories)), dtype=np.int64)
        codes[1, 0] = [f.n_codes - 1 for f in field.categories]
        arrays[f"{field.name}:codes"] = codes
    arrays[f"{field.name}:length"] = np.array([field.n_elements, 1])
    return arrays


def _describe(column: pl.Series) -> str:
    sizes = column.list.len().drop_nulls()
    if not len(sizes):
        return "sets"
    span = span_of(sizes)
    names = [field.name for field in column.dtype.inner.fields]  # type: ignore[attr-defined]
    shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    return f"sets of {span} element{'s' * (span != '1')}, each of {shown}"


SETS = Kind("set", SetField, is_set, fit_set, encode_set, _decode, _two_rows, _describe)
