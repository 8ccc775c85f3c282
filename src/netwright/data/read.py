"""A data file, or a folder of pictures -> a polars frame, with what was noticed on the way. All else is refused with advice."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path

import polars as pl

from netwright.core.errors import DataError
from netwright.data.beside import with_pictures
from netwright.data.cells import counted, typed
from netwright.data.delimited import DELIMITERS, read_delimited
from netwright.data.folder import Progress
from netwright.data.frames import from_any, settled
from netwright.data.look import Look
from netwright.data.npz import look_npz
from netwright.data.parquet import ParquetTable, parquet_files
from netwright.data.raw import MAX_BYTES, check_path, format_of, read_text
from netwright.data.sequence_folders import look_files
from netwright.data.tree_tables import holds_sources, look_sources, with_trees

__all__ = ["Look", "from_any", "look", "read_table"]


def look(
    path: str | Path,
    *,
    limit: int = MAX_BYTES,
    images: Collection[str] = (),
    series: Collection[str] = (),
    volumes: bool = False,
    progress: Progress | None = None,
) -> Look:
    """Read CSV, TSV, JSON lines (each also .gz or .zst), Parquet (a file, or a folder of them), NumPy arrays (.npz), or a folder
    of pictures, of sounds, of series (a table a file), or of programs.

    Files are told apart by suffix. In delimited text a column becomes a number where every cell is one or is missing
    (`cells.typed`); a column with leading zeros stays text. Parquet and JSON lines keep the types that they state. A column that
    names picture files beside the table holds their absolute paths afterwards.

    Args:
        path: the file or folder.
        limit: the most bytes, decompressed, that are read.
        images: columns of a table that must name picture files. series: names that are given to arrays of an .npz which are series,
            though their shape could be that of a table or of images.
        volumes: take an array of four dimensions for volumes, even where one axis could be that of channels.
        progress: told how many files were looked at.

    Raises:
        DataError: it is missing, not a table, damaged, not UTF-8, ragged, without rows, nested, or too large; or its pictures are
            not as they must be.
        SetupError: it may not be read.
    """
    path = Path(path)
    if os.path.isdir(path) and not parquet_files(path):
        return look_sources(path) if holds_sources(path) else look_files(path, progress)
    form = "parquet" if os.path.isdir(path) else format_of(path) if path.suffix or path.is_file() else ""
    if form != "parquet":
        check_path(path, limit)
    if form == "npz":
        return look_npz(path, limit, series, volumes=volumes)
    return with_pictures(_table(path, form, limit), path, images, progress)


def _table(path: Path, form: str, limit: int) -> Look:
    warnings: list[str] = []
    if form == "parquet":
        frame, what = _parquet(path, limit), "Parquet"
    elif form == "jsonl":
        frame, what = _jsonl(path, read_text(path, limit)), "JSON lines"
    else:
        frame, warnings, what = _delimited(path, limit)
    if not frame.height:
        raise DataError(f"{path} has no rows; at least one was expected")
    if not frame.width:
        raise DataError(f"{path} has no columns; at least one was expected")
    frame, trees = with_trees(frame) if form != "delimited" else (frame, [])
    frame, notes = settled(frame)
    return Look(frame, (*warnings, *trees, *notes), what)


def read_table(path: str | Path, *, limit: int = MAX_BYTES) -> pl.DataFrame:
    """The frame of `look`."""
    return look(path, limit=limit).frame


def _delimited(path: Path, limit: int) -> tuple[pl.DataFrame, list[str], str]:
    is_tsv = any(s.lower() in (".tsv", ".tab") for s in path.suffixes[-2:])
    frame, delimiter, warnings = read_delimited(read_text(path, limit), str(path), "\t" if is_tsv else None)
    columns = []
    for column in frame.iter_columns():
        values, notes = typed(column, decimal_comma=delimiter == ";")
        columns.append(values)
        warnings += notes
    return pl.DataFrame(columns), warnings, "TSV" if is_tsv else f"CSV ({DELIMITERS[delimiter]})"


def _parquet(path: Path, limit: int) -> pl.DataFrame:
    table = ParquetTable(path)
    if table.n_bytes > limit:
        what = f"{len(table):,} rows of {counted(len(table.schema), 'column')}, more than the {limit:,} bytes that are read"
        raise DataError(f"{path} unpacks to {what}; take a sample of its rows, or drop columns")
    return pl.concat([table.read(start, stop) for start, stop in table.slices(len(table))])


def _jsonl(path: Path, data: bytes) -> pl.DataFrame:
    if data[:_SHOWN].lstrip().startswith(b"["):
        raise DataError(
            f"{path} is one JSON array; expected JSON lines: one object a line, without brackets and commas around"
        )
    try:
        return pl.read_ndjson(data, infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path}: {_broken_line(data) or error}") from error


_SHOWN = 60


def _broken_line(data: bytes) -> str:
    """Which line of JSON lines is broken and why; empty where none is."""
    types: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        shown = line.decode(errors="replace").strip()[:_SHOWN]
        try:
            row = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            return f'line {number:,} is not valid JSON ({error}): {shown!r}; expected one object such as {{"age": 39}} a line'
        if not isinstance(row, dict):
            return f'line {number:,} holds {shown!r}; expected one object such as {{"age": 39}} a line'
        for key, value in row.items():
            kind = (
                "nothing"
                if value is None
                else "true or false"
                if isinstance(value, bool)
                else _JSON.get(type(value), "text")
            )
            first = types.setdefault(key, (kind, number)) if value is not None else (kind, number)
            if first[0] != kind:
                return f"column {key!r} holds {first[0]} on line {first[1]:,} but {kind} on line {number:,}; write one kind of cell"
    return ""


_JSON = {int: "a number", float: "a number", list: "a list", dict: "an object"}


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number; write null")
