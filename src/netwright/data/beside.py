"""Tables that name picture files which lie beside them: those columns become columns of images."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import numpy as np
import polars as pl

from netwright.core.errors import DataError
from netwright.core.spec import ColumnKind
from netwright.data.folder import Progress, inspect, refuse_bad
from netwright.data.images import left_out
from netwright.data.look import Look
from netwright.data.picture import SUFFIXES

NAMED = 0.95
"""Share of cells that end as pictures do from which a column is looked at."""
_NAME = rf"(?i)\.({'|'.join(suffix[1:] for suffix in SUFFIXES)})$"
OUTSIDE = "outside of the table's folder"


def with_pictures(look: Look, table: Path, known: Collection[str] = (), progress: Progress | None = None) -> Look:
    """The same rows, in which names of picture files have become absolute paths; rows with a bad picture are left out.

    Files are opened below the table's folder only.

    Args:
        look: of the table.
        table: its path.
        known: columns that must be pictures.

    Raises:
        DataError: some names lead out of the folder; a known column names no pictures; too many pictures cannot be read.
    """
    columns: dict[str, list[str]] = {}
    warnings = list(look.warnings)
    for column in look.frame.iter_columns():
        if column.dtype != pl.String or not (column.name in known or _named(column)):
            continue
        cells = [cell or "" for cell in column.to_list()]
        paths = _resolved(cells, os.path.abspath(table.parent))
        there = [bool(path) and path != OUTSIDE and os.path.isfile(path) for path in paths]
        outside = [i for i, path in enumerate(paths) if path == OUTSIDE]
        if any(there) or column.name in known:
            if outside:
                raise DataError(
                    f"{table}, row {outside[0]}: column {column.name!r} names {cells[outside[0]][:80]!r}, which lies {OUTSIDE}; pictures "
                    f"are opened only below it: move the table to a folder above all pictures, and name them from there"
                )
            columns[column.name] = paths
        else:
            where = f"{OUTSIDE}, where none is opened" if outside else "that are not there"
            first = next(cell for cell in cells if cell)
            warnings.append(f"column {column.name!r} names picture files {where} (first: {first[:80]!r})")
    if not columns:
        return look if len(warnings) == len(look.warnings) else _changed(look, look.frame, warnings, {}, None)
    return _only_good(look, table, columns, warnings, progress)


def _named(column: pl.Series) -> bool:
    cells = column.drop_nulls()
    cells = cells.filter(cells.str.strip_chars() != "")
    return len(cells) > 0 and int(cells.str.contains(_NAME).sum()) >= NAMED * len(cells)


def _resolved(cells: list[str], folder: str) -> list[str]:
    """Absolute paths below a folder; `OUTSIDE` for those that lead out of it, "" for empty cells."""
    root, paths = os.path.realpath(folder), []
    for cell in cells:
        path = os.path.normpath(os.path.join(folder, cell.strip())) if cell.strip() and "\0" not in cell else ""
        real = os.path.realpath(path) if path else ""
        paths.append(path if not path or os.path.commonpath([real, root]) == root else OUTSIDE)
    return paths


def _only_good(
    look: Look, table: Path, columns: dict[str, list[str]], warnings: list[str], progress: Progress | None
) -> Look:
    every = sorted({path for paths in columns.values() for path in paths if path})
    reasons, notes = inspect(every, progress)
    why = dict(zip(every, reasons, strict=True)) | {"": "no name"}
    folder = os.path.abspath(table.parent)
    bad, keep = [], np.ones(look.frame.height, dtype=bool)
    for paths in columns.values():
        for row, path in enumerate(paths):
            if why[path]:
                bad.append((os.path.relpath(path, folder) if path else f"row {row}", why[path]))
                keep[row] = False
    kinds: dict[str, ColumnKind] = dict.fromkeys(columns, "image")
    frame = look.frame.with_columns(pl.Series(name, paths, dtype=pl.String) for name, paths in columns.items())
    if not bad:
        return _changed(look, frame, [*warnings, *notes], kinds, None)
    refuse_bad(str(table), bad, sum(map(len, columns.values())))
    warnings = [left_out(bad, sum(map(len, columns.values()))) + "; so are their rows", *warnings, *notes]
    return _changed(look, frame.filter(pl.Series(keep)), warnings, kinds, np.flatnonzero(keep))


def _changed(
    look: Look, frame: pl.DataFrame, warnings: list[str], kinds: dict[str, ColumnKind], kept: np.ndarray | None
) -> Look:
    return Look(frame, tuple(warnings), look.format, look.target, look.split_column, {**look.kinds, **kinds}, kept)
