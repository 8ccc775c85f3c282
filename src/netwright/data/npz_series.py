"""Series in an .npz: arrays (N, T), (N, T, C) or (N, C, T), or values one after the other beside their offsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from netwright.core.errors import DataError
from netwright.data.archive import Archive, Stored
from netwright.data.arrays import MIN_SIDE
from netwright.data.cells import counted
from netwright.data.series import column_of_series

_COMPANIONS = ("offsets", "offset", "lengths")


def companion(archive: Archive, name: str) -> Stored | None:
    """The array that tells where each series of an array begins, or how long it is: `NAME_offsets`, `NAME_offset`, `NAME_lengths`."""
    return next((a for word in _COMPANIONS if (a := archive.arrays.get(f"{name}_{word}")) is not None), None)


def holds_series(archive: Archive, arrays: Sequence[Stored], asked: bool) -> bool:
    """Whether arrays of examples are series: they have offsets, or their shape allows it and the user says so, or nothing else is left.

    Args:
        asked: whether the user says so. Then (N, T) is no table, and (N, T, C) no images.
    """
    if any(companion(archive, a.name) for a in arrays):
        return True
    shape = arrays[0].shape
    if arrays[0].dtype.kind not in "biuf":
        return False
    if len(shape) == 3 and min(shape[1:]) < MIN_SIDE and max(shape[1:]) >= MIN_SIDE:
        return True
    return asked and len(shape) in (2, 3)


def prefixed(archive: Archive) -> str:
    """The NAME of arrays called NAME__X_train, NAME__y_train ... where there are such; empty where there are none.

    Raises:
        DataError: several sets of data in one file.
    """
    names = sorted({name.partition("__")[0] for name in archive.arrays if "__" in name})
    if len(names) > 1:
        shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
        raise DataError(
            f"{archive.path} holds {len(names)} sets of data ({shown}); save the one that you want as a file of its own, with the arrays "
            "x_train, y_train, x_test and y_test"
        )
    return names[0] if names else ""


def series_of_arrays(archive: Archive, arrays: Sequence[Stored], name: str) -> tuple[pl.Series, list[int], list[str]]:
    """The series of some arrays as one column, how many each array has, and sentences on how they were read.

    Raises:
        DataError: offsets that do not fit, a series of length 0, other channels in one array than in another.
    """
    rows: list[np.ndarray] = []
    counts, notes = [], list[str]()
    for stored in arrays:
        values = archive.read(stored)
        values = values.astype(np.float32, copy=False)
        beside = companion(archive, stored.name)
        found = _cut(archive, values, beside) if beside is not None else _whole(values, stored.name, notes)
        rows += found
        counts.append(len(found))
    return column_of_series(rows, name), counts, notes


def _whole(values: np.ndarray, name: str, notes: list[str]) -> list[np.ndarray]:
    """Series of one length, time before channels; the longer axis is time."""
    if values.ndim == 2:
        return list(values[:, :, None])
    if values.ndim != 3:
        raise DataError(f"{name} has the shape {values.shape}; expected series (N, T), (N, T, C) or (N, C, T)")
    turned = values.shape[1] < values.shape[2]
    values = values.transpose(0, 2, 1) if turned else values
    what = f"{counted(values.shape[2], 'channel')} of {values.shape[1]:,} steps"
    notes.append(f"{name}: read as series of {what} (the longer axis is time)")
    return list(values)


def _cut(archive: Archive, values: np.ndarray, beside: Stored) -> list[np.ndarray]:
    places = archive.read(beside)
    if places.ndim != 1 or places.dtype.kind not in "iu" or values.ndim not in (1, 2):
        raise DataError(
            f"{archive.path}: {beside} must hold whole numbers (N + 1,) or (N,), and the values (M,) or (M, C); they are {values.shape}"
        )
    if beside.name.endswith("lengths"):
        places = np.concatenate([[0], np.cumsum(places.astype(np.int64))])
    steps = np.diff(places.astype(np.int64))
    if places[0] != 0 or places[-1] != len(values) or (steps < 0).any():
        raise DataError(
            f"{archive.path}: {beside.name} runs from {places[0]:,} to {places[-1]:,}, but there are {len(values):,} values; offsets must "
            "rise from 0 to that number"
        )
    if not steps.all():
        raise DataError(f"{archive.path}: series {int(np.argmin(steps))} of {beside.name} has length 0; take it out")
    return np.split(values, places[1:-1].astype(np.int64))


def used_with(archive: Archive, arrays: Sequence[Stored]) -> Mapping[str, Stored]:
    """The arrays of offsets among those of an archive that some arrays need, by name."""
    return {a.name: a for one in arrays if (a := companion(archive, one.name)) is not None}
