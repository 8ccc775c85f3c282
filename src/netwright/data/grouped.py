"""A table whose rows are elements of sets -> one row a set: columns that are the same within each key, and a column of sets."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from netwright.core.errors import DataError, UsageError, unknown
from netwright.core.spec import ColumnKind, InputSpec, SetField
from netwright.data.cells import counted, to_days, to_labels, to_numbers
from netwright.data.frames import from_any
from netwright.data.infer import guess_kind, pick_column
from netwright.data.look import Look
from netwright.data.sets import column_of_sets

NAME = "set"
"""What the column of sets is called."""
_OF_ELEMENTS = ("number", "integer", "date", "category")
_SHOWN = 8


@dataclass(frozen=True)
class Grouped:
    """Rows that were grouped.

    Args:
        frame: one row a key, in the order in which keys first come: the key, the columns that are the same within each, the sets.
        elements: kind of each column of the elements. name: of the column of sets.
        warnings: sentences on what was left out.
        single: how many sets have one element only.
    """

    frame: pl.DataFrame
    elements: Mapping[str, ColumnKind]
    name: str
    warnings: tuple[str, ...]
    single: int


def sets_of(
    x: Any, by: str, *, kinds: Mapping[str, ColumnKind] | None = None, rows: Collection[str] = (), name: str = NAME
) -> pl.DataFrame:
    """Rows grouped by a key: one row a key, with a column of sets for whatever differs within a key.

    Columns that are the same in all rows of each key stay columns of the row; of all others each row is an element. Estimators
    take the result: `nw.Classifier().fit(frame.drop("order", "y"), frame["y"])`.

    Args:
        x: a table as estimators take it. by: the column of keys.
        kinds: of columns of elements, where the guess (by `infer_kinds`) is not right.
        rows: columns that must be the same within each key, such as the target.
        name: of the column of sets.

    Raises:
        DataError: a missing key; a column of `rows` that differs within a key; nothing that could be an element.

    >>> items = {"order": [1, 1, 2], "price": [3.5, 2.0, 7.5], "late": ["no", "no", "yes"]}
    >>> sets_of(items, by="order", rows=["late"]).to_dicts()[0]
    {'order': 1, 'late': 'no', 'set': [{'price': 3.5}, {'price': 2.0}]}
    """
    return grouped(from_any(x), by, kinds=kinds or {}, rows=rows, name=name).frame


def grouped(
    frame: pl.DataFrame, by: str, *, kinds: Mapping[str, ColumnKind], rows: Collection[str] = (), name: str = NAME
) -> Grouped:
    """As `sets_of`, with what was decided."""
    pick_column(frame, by, "key column")
    _check_key(frame, by)
    for column in rows:
        pick_column(frame, column)
    differing = _differing(frame, by)
    _must_be_same(frame, by, [c for c in rows if c in differing])
    if not differing:
        raise DataError(
            f"no column differs within the keys of {by!r} ({frame[by].n_unique():,} keys in {frame.height:,} rows), so there are no "
            "elements; name another column, or do not group"
        )
    elements: dict[str, ColumnKind] = {}
    warnings: list[str] = []
    for column in differing:
        guess = guess_kind(frame[column])
        kind = kinds.get(column, guess.kind)
        if kind in _OF_ELEMENTS:
            elements[column] = kind
            warnings += guess.warnings if column not in kinds else ()
        elif column in kinds:
            raise UsageError(
                f"--kind {column}={kind}: {column!r} is a column of elements, which can be {', '.join(_OF_ELEMENTS)}"
            )
        else:
            warnings.append(f"left out of the elements: {column} ({kind}, {guess.reason})")
    if not elements:
        raise DataError(
            f"nothing is left of the elements of {by!r}: {'; '.join(warnings)}; use one with --kind NAME=category"
        )
    while name in frame.columns:
        name += "_"
    found = group_rows(
        frame.select(c for c in frame.columns if c not in differing or c in elements), by, elements, name
    )
    return Grouped(found, elements, name, tuple(warnings), int((found[name].list.len() == 1).sum()))


def group_rows(frame: pl.DataFrame, by: str, elements: Mapping[str, ColumnKind], name: str = NAME) -> pl.DataFrame:
    """Group rows whose columns of elements are known; all others are taken from the first row of each key.

    Raises:
        DataError: a column is not there, or a key is missing.
    """
    for column in (by, *elements):
        pick_column(frame, column, "column of elements" if column != by else "key column")
    _check_key(frame, by)
    frame = frame.with_columns(_typed(frame[column], kind) for column, kind in elements.items())
    keys = pl.DataFrame([frame[by].rank("dense").alias("key"), pl.Series("row", np.arange(frame.height))])
    groups = keys.group_by("key", maintain_order=True).agg("row")
    order, sizes = groups["row"].explode(), groups["row"].list.len().to_numpy().astype(np.int64)
    sets = column_of_sets(frame.select(*elements)[order], sizes, name)
    firsts = groups["row"].list.first()
    rest = frame.select(c for c in frame.columns if c not in elements)
    return rest[firsts].with_columns(sets)


def regrouped(frame: pl.DataFrame, spec: InputSpec) -> pl.DataFrame:
    """New rows grouped as those that a model was trained on; as they are where those were not grouped, or sets come as cells.

    Raises:
        DataError: the key or a column of the elements is not there; a column of the row differs within a key.
    """
    field = grouped_field(spec)
    if field is None or field.name in frame.columns:
        return frame
    elements = kinds_of(field)
    absent = [c for c in (field.key, *elements) if c not in frame.columns]
    if absent:
        raise DataError(
            f"the model was trained on rows grouped by {field.key!r}; these lack {', '.join(map(repr, absent[:_SHOWN]))}: "
            f"{unknown('column', absent[0], frame.columns)}"
        )
    _check_key(frame, field.key)
    others = [c for c in spec.names if c != field.name and c in frame.columns]
    _must_be_same(frame, field.key, sorted(set(others) & set(_differing(frame.select(field.key, *others), field.key))))
    return group_rows(frame, field.key, elements, field.name)


def grouped_field(spec: InputSpec) -> SetField | None:
    """The field of the sets that were made by grouping rows; None where there is none."""
    return next((f for f in spec.wholes if isinstance(f, SetField) and f.key), None)


def kinds_of(field: SetField) -> dict[str, ColumnKind]:
    """Kind of each column of a field's elements."""
    return {**{f.name: f.kind for f in field.numbers}, **{f.name: f.kind for f in field.categories}}


def keyed(spec: InputSpec, by: str, name: str) -> InputSpec:
    """The spec of rows that were grouped by a key: it knows that key."""
    fields = tuple(f.model_copy(update={"key": by}) if f.name == name else f for f in spec.fields)
    return spec.model_copy(update={"fields": fields})


def look_grouped(
    look: Look, by: str, *, kinds: Mapping[str, ColumnKind], rows: Collection[str]
) -> tuple[Look, Grouped]:
    """What reading gave, with its rows grouped by a key; the key goes, for it is no input."""
    found = grouped(look.frame, by, kinds=kinds, rows=rows)
    same = [c for c in found.frame.columns if c not in (by, found.name)]
    one = f"; {counted(found.single, 'set')} of one element only, which is a set like others" if found.single else ""
    note = (
        f"{look.frame.height:,} rows grouped by {by} to {counted(found.frame.height, 'set')}: "
        f"{_listed(found.elements)} of the elements, {_listed(same)} of the row (the same within each key){one}"
    )
    warnings = (*look.warnings, note, *found.warnings)
    return replace(look, frame=found.frame.drop(by), warnings=warnings, kept=None), found


def _listed(names: Collection[str]) -> str:
    some = list(names)
    return ", ".join(some[:_SHOWN]) + (f" and {len(some) - _SHOWN} more" if len(some) > _SHOWN else "") or "nothing"


def _check_key(frame: pl.DataFrame, by: str) -> None:
    if frame[by].null_count():
        row = int(frame[by].is_null().arg_true()[0])
        raise DataError(
            f"the key {by!r} is missing in {counted(frame[by].null_count(), 'row')} (first: row {row}); fill it in, or remove those rows"
        )


def _differing(frame: pl.DataFrame, by: str) -> list[str]:
    """Columns that have several values within a key."""
    plain = [c for c in frame.columns if c != by]
    if not plain:
        return []
    numbers = frame.select(by, *(_cells(frame[c]) for c in plain))
    counts = numbers.group_by(by).agg(pl.col(c).n_unique() for c in plain)
    return [c for c in plain if int(counts[c].max()) > 1]  # type: ignore[arg-type]


def _cells(column: pl.Series) -> pl.Series:
    """Cells that can be counted: nested ones by their place among all."""
    if not column.dtype.is_nested():
        return column
    raise DataError(f"column {column.name!r} holds {column.dtype}; rows that are grouped can hold plain cells only")


def _must_be_same(frame: pl.DataFrame, by: str, columns: Collection[str]) -> None:
    for column in columns:
        per_key = frame.group_by(by, maintain_order=True).agg(pl.col(column).unique(maintain_order=True))
        bad = per_key.filter(pl.col(column).list.len() > 1)
        values = ", ".join(repr(v) for v in bad[column][0].to_list()[:3])
        raise DataError(
            f"column {column!r} must be the same in all rows of a key, but differs in {counted(bad.height, 'key')} of {by!r}, such as "
            f"{bad[by][0]!r} ({values}); mend it, or group by another column"
        )


def _typed(column: pl.Series, kind: str) -> pl.Series:
    """Cells of a column of elements in the type that tells its kind."""
    if kind == "category":
        return to_labels(column)
    if kind == "date":
        return (to_days(column) * 86_400e6).cast(pl.Int64).cast(pl.Datetime("us"))
    return to_numbers(column)
