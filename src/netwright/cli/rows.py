"""What is to be predicted, whatever it came in: a table, arrays, a folder of pictures or one picture; a piece at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from netwright.core.errors import DataError
from netwright.core.spec import AudioField, InputSpec, SeriesField, TreeField
from netwright.data.archive import Archive, Stored
from netwright.data.arrays import layout_of
from netwright.data.folder import PICTURES as PICTURE_FILES
from netwright.data.folder import files_below, pictures_below, refuse_bad
from netwright.data.grouped import grouped_field, regrouped
from netwright.data.images import left_out, read_files
from netwright.data.npz import images_of, role_of
from netwright.data.npz_series import companion, series_of_arrays, used_with
from netwright.data.picture import is_picture
from netwright.data.raw import MAX_BYTES, check_path, format_of
from netwright.data.read import look
from netwright.data.sequence_folders import SOUNDS, TABLES, files_in, is_table, read_series
from netwright.data.series import column_of_series, gaps_in
from netwright.data.series_rows import gathered_and_told
from netwright.data.sound import BadSound, hear, is_sound
from netwright.data.tree_tables import SOURCES, files_of, holds_sources, one_notation, read_source
from netwright.data.volumes import column_of_volumes

if TYPE_CHECKING:
    from netwright.data.look import Look
    from netwright.export.runtime import Exported
    from netwright.model import Model

PIECE, PICTURES = 8192, 256
"""Rows that are predicted at a time; fewer where there are images, whose features then stay in the cache of a core."""


@dataclass
class Answered:
    """Predictions for all rows, and what was strange.

    Args:
        table: as `Model.predict_table`, with a column "file" where the rows were files of pictures or of programs, and with
            the key where they were grouped.
        notes: sentences on the rows. looked: the rows, where they came from a table.
    """

    table: pl.DataFrame
    notes: list[str]
    looked: Look | None = None


def check_rows(path: Path) -> None:
    """Refuse rows that cannot be any, before torch is imported.

    Raises:
        DataError, SetupError: as `netwright.data.raw.check_path`.
    """
    if os.path.isdir(path):
        if holds_sources(path):
            return
        files = files_in(path)
        files_below(path, files, "cat.jpg" if files is PICTURE_FILES else "one.wav" if files is SOUNDS else "one.csv")
        return
    if path.suffix.lower() in SOURCES:
        return
    if not is_picture(path.name) and not is_sound(path.name) and (path.suffix or path.is_file()):
        format_of(path)
    check_path(path)


def answer(model: Model | Exported, path: Path) -> Answered:
    """Predict everything in a file or a folder.

    Raises:
        DataError: it holds nothing that the model can predict.
    """
    alone = next((f for f in model.spec.wholes if len(model.spec.fields) == 1), None)
    if isinstance(alone, AudioField) and (os.path.isdir(path) or is_sound(path.name)):
        return _sounds(model, path, alone)
    if isinstance(alone, SeriesField) and (os.path.isdir(path) or (is_table(path.name) and not alone.by)):
        return _series_files(model, path, alone)
    if path.suffix.lower() in SOURCES or (os.path.isdir(path) and holds_sources(path)):
        return _sources(model, path)
    if os.path.isdir(path) or is_picture(path.name):
        return _pictures(model, path)
    if format_of(path) == "npz":
        return _arrays(model, path)
    names = [f.name for f in model.spec.images]
    looked = look(path, images=names)
    gathered, told = gathered_and_told(looked.frame, model.spec)
    if gathered is not looked.frame:
        key = next(f.by for f in model.spec.wholes if isinstance(f, SeriesField) and f.by)
        return Answered(pl.concat(_tables(model, gathered)).insert_column(1, gathered[key]), told)
    if grouped_field(model.spec):
        return _sets(model, looked)
    table = pl.concat(_tables(model, looked.frame))
    if looked.kept is not None:
        table = table.with_columns(pl.Series("row", looked.kept, dtype=pl.Int64))
    return Answered(table, [], looked)


def _sets(model: Model | Exported, looked: Look) -> Answered:
    """Of rows that are grouped as those of the training were: one answer a set, beside its key."""
    frame = regrouped(looked.frame, model.spec)
    table = pl.concat(_tables(model, frame))
    field = grouped_field(model.spec)
    if field and field.key in frame.columns:
        table = table.insert_column(1, frame[field.key])
        frame = frame.drop(field.key)
    return Answered(table, [], replace(looked, frame=frame))


def _sources(model: Model | Exported, path: Path) -> Answered:
    """Of files that hold a tree each, such as programs."""
    trees = [f for f in model.spec.wholes if isinstance(f, TreeField)]
    files = files_of(path)
    if len(model.spec.fields) != 1 or not trees or trees[0].notation != one_notation(files):
        raise DataError(f"{path} holds programs or trees in files, but the model was trained on {_columns(model.spec)}")
    sources = pl.Series(trees[0].name, [read_source(file) for file in files], dtype=pl.String)
    names = pl.Series("file", [os.path.relpath(f, path) if path.is_dir() else f.name for f in files], dtype=pl.String)
    return Answered(pl.concat(_tables(model, sources.to_frame())).insert_column(1, names), [])


def _columns(spec: InputSpec) -> str:
    return "the columns " + ", ".join(spec.names[:8]) + (", ..." if len(spec.names) > 8 else "")


def _tables(model: Model | Exported, frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    step = PICTURES if model.spec.images or model.spec.wholes else PIECE
    for first in range(0, frame.height, step):
        yield _numbered(model.predict_table(frame[first : first + step]), first)


def _numbered(table: pl.DataFrame, first: int) -> pl.DataFrame:
    return table.with_columns(pl.col("row") + first)


def _only_image(spec: InputSpec, path: Path) -> str:
    """Name of the one column of the model, which must be images, or volumes where an array holds them."""
    is_array = path.suffix.lower() == ".npz"
    if spec.kind == "image" or (spec.kind == "volume" and is_array):
        return spec.names[0]
    raise DataError(
        f"{path} holds {'arrays' if is_array else 'images'} alone, but the model was trained on {_columns(spec)}; give a table with these"
    )


def _pictures(model: Model | Exported, path: Path) -> Answered:
    """Of picture files, read and predicted a piece at a time; those that cannot be read have no row."""
    field = model.spec[_only_image(model.spec, path)]
    assert field.kind == "image"
    names, tables = pictures_below(path), []
    folder, bad = os.path.abspath(path if path.is_dir() else path.parent), list[tuple[str, str]]()
    for first in range(0, len(names), PICTURES):
        some = names[first : first + PICTURES]
        pixels, reasons = read_files([f"{folder}/{name}" for name in some], field)
        good = np.array([i for i, reason in enumerate(reasons) if not reason], dtype=np.int64)
        bad += [(name, reason) for name, reason in zip(some, reasons, strict=True) if reason]
        if len(good):
            images = pl.Series(field.name, np.ascontiguousarray(pixels[good].transpose(0, 2, 3, 1)))
            table = model.predict_table(images.to_frame())
            files = pl.Series("file", [some[i] for i in good])
            tables.append(table.with_columns(row=pl.Series(good + first)).insert_column(1, files))
    if not tables:
        refuse_bad(str(path), bad, len(names))
    return Answered(pl.concat(tables), [left_out(bad, len(names))] if bad else [])


def _sounds(model: Model | Exported, path: Path, field: AudioField) -> Answered:
    """Of sound files; those that cannot be read have no row."""
    names = files_below(path, SOUNDS, "one.wav")
    folder, bad, good = os.path.abspath(path if path.is_dir() else path.parent), list[tuple[str, str]](), list[int]()
    for i, name in enumerate(names):
        try:
            hear(f"{folder}/{name}", 1.0)
            good.append(i)
        except BadSound as error:
            bad.append((name, str(error)))
    if not good:
        refuse_bad(str(path), bad, len(names), "sound")
    cells = pl.Series(field.name, [f"{folder}/{names[i]}" for i in good], dtype=pl.String)
    return _of_files(model, cells, names, good, bad, "sound")


def _series_files(model: Model | Exported, path: Path, field: SeriesField) -> Answered:
    """Of tables that hold a series each; those that cannot be read have no row."""
    names = files_below(path, TABLES, "one.csv")
    folder = os.path.abspath(path if path.is_dir() else path.parent)
    rows, reasons, _ = read_series([f"{folder}/{name}" for name in names], field.labels)
    good = [i for i, row in enumerate(rows) if row is not None]
    bad = [(name, reason) for name, reason in zip(names, reasons, strict=True) if reason]
    if not good:
        refuse_bad(str(path), bad, len(names), "series")
    cells = column_of_series([row for row in rows if row is not None], field.name)
    answered = _of_files(model, cells, names, good, bad, "series")
    return replace(answered, notes=[*answered.notes, *gaps_in(cells)])


def _of_files(
    model: Model | Exported, cells: pl.Series, names: list[str], good: list[int], bad: list[tuple[str, str]], one: str
) -> Answered:
    """Predictions for the files that could be read, with their names."""
    table = pl.concat(_tables(model, cells.to_frame()))
    table = table.with_columns(row=pl.Series(good, dtype=pl.Int64))
    table = table.insert_column(1, pl.Series("file", [names[i] for i in good]))
    return Answered(table, [left_out(bad, len(names), one)] if bad else [])


def _arrays(model: Model | Exported, path: Path) -> Answered:
    check_path(path)
    with Archive(path) as archive:
        stored = _chosen(archive)
        alone = next((f for f in model.spec.wholes if isinstance(f, SeriesField)), None)
        if alone is not None and len(model.spec.fields) == 1:
            archive.check([stored, *used_with(archive, [stored]).values()], MAX_BYTES)
            series, _, notes = series_of_arrays(archive, [stored], alone.name)
            return Answered(pl.concat(_tables(model, series.to_frame())), [*notes, *gaps_in(series)])
        if len(stored.shape) == 2:
            archive.check([stored], MAX_BYTES)
            frame = pl.DataFrame(archive.read(stored), schema=[f"x{i}" for i in range(stored.shape[1])], orient="row")
            return Answered(pl.concat(_tables(model, frame)), [])
        name, notes, tables, first = _only_image(model.spec, path), list[str](), [], 0
        volumes = model.spec.kind == "volume"
        streams = stored.dtype in (np.uint8, np.float32) and (volumes or layout_of(stored.shape) is not None)
        archive.check([Stored(stored.name, stored.shape[1:], False, stored.dtype) if streams else stored], MAX_BYTES)
        for piece in archive.pieces(stored, PICTURES) if streams else [archive.read(stored)]:
            column, notes = (column_of_volumes(piece), []) if volumes else images_of(piece, stored.name)
            for table in _tables(model, column.alias(name).to_frame()):
                tables.append(_numbered(table, first))
            first += len(piece)
    return Answered(pl.concat(tables), notes)


def _chosen(archive: Archive) -> Stored:
    """The array to predict: the test part, or the one without a part, or the only one that could be."""
    could = [a for a in archive.arrays.values() if 1 <= len(a.shape) <= 5 and a.shape[0] and a.dtype.kind != "U"]
    could = [a for a in could if len(a.shape) > 1 or companion(archive, a.name)]
    by_part = {role[1]: a for a in could if (role := role_of(a.name)) and role[0] == "x"}
    named = by_part.get("test") or by_part.get("")
    if named is None and len(could) != 1:
        there = ", ".join(map(str, list(archive.arrays.values())[:12]))
        raise DataError(
            f"{archive.path}: which array is to be predicted? expected x_test, x, or one array alone; it holds: {there}"
        )
    return named or could[0]
