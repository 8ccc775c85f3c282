"""Folders of sounds, and of series (a table a file), with one folder per class -> a frame; new files without a class too."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from netwright.core.errors import DataError, NetwrightError
from netwright.data.cells import counted, to_days, to_numbers
from netwright.data.delimited import read_delimited
from netwright.data.folder import PICTURES, Files, Progress, kept, list_folder, look_folder
from netwright.data.look import Look
from netwright.data.picture import for_each
from netwright.data.raw import FORMATS, read_text
from netwright.data.series import column_of_series
from netwright.data.sound import BadSound, hear, is_sound, soundfile

TIMES = {"t", "time", "timestamp", "date", "datetime", "step", "steps", "index", "seconds", "ms"}
"""Names of a column that orders the rows of a file, where its values rise."""
_LOOKED = 2_000
MAX_BYTES = 1 << 30


def is_table(name: str) -> bool:
    """Whether a file's name is that of a delimited table.

    >>> is_table("a.csv"), is_table("a.csv.gz"), is_table("a.png")
    (True, True, False)
    """
    name = name.lower().removesuffix(".gz").removesuffix(".zst")
    return FORMATS.get(os.path.splitext(name)[1]) == "delimited"


SOUNDS = Files("sound", is_sound)
TABLES = Files("series", is_table)


def files_in(folder: Path) -> Files:
    """What the folders of a folder hold most: sounds, series, or else pictures."""
    counts: Counter[str] = Counter()
    for where, folders, names in os.walk(folder):
        folders.sort()
        if where == str(folder) and folders:
            continue  # a list of labels beside the folders of classes is no example
        for name in names:
            counts.update(files.one for files in (PICTURES, SOUNDS, TABLES) if files.holds(name))
        if counts.total() >= _LOOKED:
            break
    order = {files.one: files for files in (PICTURES, SOUNDS, TABLES)}
    return order[max(order, key=lambda one: counts[one])]


def look_files(folder: Path, progress: Progress | None = None) -> Look:
    """A folder of pictures, of sounds or of series as a frame of a column for them, label, and split where there are parts.

    Raises:
        DataError: no files in folders of classes, or too many that cannot be read.
    """
    files = files_in(folder)
    if files is PICTURES:
        return look_folder(folder, progress)
    return look_sounds(folder, progress) if files is SOUNDS else look_tables(folder, progress)


def look_sounds(folder: Path, progress: Progress | None = None) -> Look:
    """Sounds of a folder; each is decoded once, and what cannot be read is left out with a warning."""
    listing = list_folder(folder, SOUNDS)
    soundfile()

    def listen(_: int, path: str) -> tuple[str, int, tuple[str, ...]]:
        try:
            sound = hear(path)
        except BadSound as error:
            return str(error), 0, ()
        return "", sound.rate, sound.treated

    heard = for_each([f"{listing.root}/{path}" for path in listing.paths], listen, progress)
    treated = Counter(what for _, _, treatments in heard for what in treatments)
    notes = [f"{counted(n, 'sound')}: {what}" for what, n in sorted(treated.items())]
    rates = Counter(rate for reason, rate, _ in heard if not reason)
    if len(rates) > 1:
        most = min(rates, key=lambda r: (-rates[r], r))
        others = ", ".join(f"{n:,} of {rate:,}" for rate, n in sorted(rates.items()) if rate != most)
        notes.append(f"most sounds have {most:,} samples a second; the others are resampled to that ({others})")
    return kept(folder, listing, [reason for reason, _, _ in heard], notes, "audio", SOUNDS)


def look_tables(folder: Path, progress: Progress | None = None) -> Look:
    """Series of a folder: each file a table of numbers, a row a step, a column a channel; the first readable file says which."""
    listing = list_folder(folder, TABLES)
    rows, reasons, labels = read_series([f"{listing.root}/{path}" for path in listing.paths], progress=progress)
    notes = [f"channels: {', '.join(labels[:8])}{', ...' if len(labels) > 8 else ''}"] if len(labels) > 1 else []
    good = [row for row in rows if row is not None]
    if not good:
        raise DataError(f"{folder}: no file holds a series ({listing.paths[0]}: {reasons[0]})")
    return replace(
        kept(folder, listing, reasons, notes, "series", TABLES, column_of_series(good)), labels=tuple(labels)
    )


def read_series(
    paths: Sequence[str], labels: Sequence[str] = (), progress: Progress | None = None
) -> tuple[list[np.ndarray | None], list[str], list[str]]:
    """Series (T, C) of files, why a file gave none (empty where it did), and the names of the channels.

    Args:
        labels: the channels that are wanted; those of the first readable file where there are none.
    """

    def read(_: int, path: str) -> tuple[pl.DataFrame | None, str]:
        try:
            return _numbers_of(Path(path)), ""
        except NetwrightError as error:
            return None, str(error).removeprefix(path).lstrip(" :")[:160]

    found = for_each(paths, read, progress)
    first = next((frame for frame, _ in found if frame is not None), None)
    wanted = list(labels) or (first.columns if first is not None else [])
    rows: list[np.ndarray | None] = []
    reasons = []
    for frame, reason in found:
        if frame is not None and (absent := [c for c in wanted if c not in frame.columns]):
            frame, reason = None, f"no column {absent[0]!r}"
        rows.append(None if frame is None else frame.select(wanted).to_numpy().astype(np.float32))
        reasons.append(reason)
    return rows, reasons, wanted


def _numbers_of(path: Path) -> pl.DataFrame:
    """The columns of numbers of one file, in the order of its time; a file without names of columns gets channel_1, ..."""
    data = read_text(path, MAX_BYTES)
    first = data[: data.find(b"\n")] if b"\n" in data else data
    cells = first.decode(errors="replace").replace(";", ",").replace("\t", ",").split(",")
    if to_numbers(pl.Series([c.strip() for c in cells], dtype=pl.String)).null_count() == 0:
        data = b",".join(b"channel_%d" % k for k in range(1, len(cells) + 1)).replace(b",", _mark(first)) + b"\n" + data
    frame, _, _ = read_delimited(data, path.name, None)
    time = next((c for c in frame.columns if c.lower() in TIMES and frame.width > 1), None)
    if time is not None:
        at = to_numbers(frame[time])
        at = to_days(frame[time]) if at.null_count() else at
        if not at.null_count():
            frame = frame.with_columns(at.alias("_time")).sort("_time", maintain_order=True).drop(time, "_time")
    numbers = [to_numbers(frame[c]).cast(pl.Float64).alias(c) for c in frame.columns]
    usable = [c for c in numbers if c.null_count() < len(c)]
    if not usable:
        raise DataError("no column of numbers")
    return pl.DataFrame(usable)


def _mark(line: bytes) -> bytes:
    """What stands between the cells of a line."""
    return max((b",", b";", b"\t"), key=line.count)
