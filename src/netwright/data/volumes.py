"""Volumes and films: columns whose cells are arrays of voxels (depth, height, width, channels). Needs no torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from netwright.core.errors import DataError
from netwright.core.spec import VolumeField
from netwright.data.cells import counted
from netwright.data.kind import Arrays, Kind
from netwright.data.memory import roomy

MAX_CHANNELS = 4
"""An axis of an array of five dimensions that is no longer than this may be that of the channels."""
_SAMPLE = 2000
"""Most training volumes that are looked at for range and spread."""


def column_of_volumes(x: np.ndarray, name: str = "volume", *, channels_first: bool = False) -> pl.Series:
    """Volumes as a column of cells (D, H, W, C): whole numbers from 0 to 255 as uint8, all others as float32.

    Args:
        x: (N, D, H, W), or with channels last or behind the rows (then at most four; where both could be, last).
        channels_first: take them behind the rows where both could be, as torch's tensors have them.

    Raises:
        DataError: another number of dimensions, an empty axis, voxels that are no finite numbers.

    >>> column_of_volumes(np.zeros((2, 5, 6, 7), dtype=np.uint8)).dtype.shape
    (5, 6, 7, 1)
    >>> column_of_volumes(np.zeros((2, 3, 5, 6, 7))).dtype.shape
    (5, 6, 7, 3)
    """
    if x.ndim not in (4, 5) or not x.size:
        raise DataError(
            f"{name} has the shape {x.shape}; expected volumes (N, D, H, W) or (N, D, H, W, C), none of them empty"
        )
    if x.ndim == 4:
        x = x[..., None]
    elif x.shape[1] <= MAX_CHANNELS and (channels_first or x.shape[4] > MAX_CHANNELS):
        x = np.moveaxis(x, 1, -1)
    if x.dtype.kind in "iu":
        x = x.astype(np.uint8 if x.min() >= 0 and x.max() <= 255 else np.float32, copy=False)
    elif x.dtype.kind in "bf":
        x = x.astype(np.float32, copy=False)
        strange = int((~np.isfinite(x)).sum())
        if strange:
            raise DataError(
                f"{name} holds {counted(strange, 'voxel')} that are no finite number; replace them, say with numpy.nan_to_num(x)"
            )
    else:
        raise DataError(f"{name} holds {x.dtype}; expected numbers")
    return pl.Series(name, np.ascontiguousarray(x))


def is_volumes(column: pl.Series) -> bool:
    """Whether the cells are arrays of four dimensions of numbers."""
    inner: Any = column.dtype
    if not isinstance(inner, pl.Array) or len(inner.shape) != 4:
        return False
    while isinstance(inner, pl.Array):
        inner = inner.inner
    return bool(inner.is_numeric())


def voxels_of(column: pl.Series) -> np.ndarray:
    """The cells as (N, C, D, H, W) uint8 or float32, a view where that can be."""
    if not is_volumes(column):
        raise DataError(
            f"column {column.name!r} holds {column.dtype}; expected volumes, arrays (depth, height, width, channels)"
        )
    if column.null_count():
        raise DataError(
            f"column {column.name!r}: {counted(column.null_count(), 'volume')} missing; take those rows out"
        )
    voxels = np.moveaxis(column.to_numpy(), -1, 1)
    return voxels if voxels.dtype == np.uint8 else voxels.astype(np.float32, copy=False)


def fit_volumes(column: pl.Series) -> VolumeField:
    """Size, range, and mean and spread of each channel, from training rows only."""
    voxels = voxels_of(column)
    rows = np.unique(np.linspace(0, len(voxels) - 1, min(len(voxels), _SAMPLE)).round().astype(np.int64))
    total, squares, low, high = np.zeros(voxels.shape[1]), np.zeros(voxels.shape[1]), np.inf, -np.inf
    for row in rows:  # one at a time: as float64 all at once would take eight times their room
        one = voxels[row].astype(np.float64).reshape(voxels.shape[1], -1)
        total, squares = total + one.mean(1), squares + (one**2).mean(1)
        low, high = min(low, float(one.min())), max(high, float(one.max()))
    mean = total / len(rows)
    spread = np.sqrt((squares / len(rows) - mean**2).clip(0))
    whole = voxels.dtype == np.uint8
    _, channels, depth, height, width = voxels.shape
    return VolumeField(
        name=column.name,
        depth=depth,
        height=height,
        width=width,
        channels=channels,
        dtype="uint8" if whole else "float",
        low=0.0 if whole else min(0.0, low),
        high=255.0 if whole else max(1.0, high),
        center=tuple(mean.tolist()),
        spread=tuple(np.where(spread > 1e-6, spread, 1.0).tolist()),
    )


def encode_volumes(column: pl.Series, field: VolumeField) -> Arrays:
    """Voxels (N, C, D, H, W), uint8 or float32 as the field says.

    Raises:
        DataError: another size, or another scale than that of the training rows.
    """
    voxels = voxels_of(column)
    if voxels.shape[1:] != field.shape:
        came, wanted = (" x ".join(map(str, shape)) for shape in (voxels.shape[1:], field.shape))
        raise DataError(
            f"volumes {field.name!r} are {came} (channels x depth x height x width), but the model was trained on {wanted}; resize them"
        )
    if field.dtype == "uint8" and voxels.dtype != np.uint8:
        if len(voxels) and (voxels.min() < 0 or not 1 < voxels.max() <= 255 or (voxels != np.rint(voxels)).any()):
            raise DataError(
                f"volumes {field.name!r} hold values from {voxels.min():g} to {voxels.max():g}, but the model was trained on whole "
                "numbers from 0 to 255; scale them and save them as uint8"
            )
    elif field.dtype == "float" and voxels.dtype == np.uint8 and len(voxels) and field.high <= 1 < voxels.max():
        raise DataError(
            f"volumes {field.name!r} hold whole numbers up to {voxels.max()}, but the model was trained on values from "
            f"{field.low:g} to {field.high:g}; divide them by 255"
        )
    out = roomy((len(voxels), *field.shape), np.uint8 if field.dtype == "uint8" else np.float32)
    out[:] = voxels
    return {field.tensors[0]: out}


def _decode(arrays: Arrays, field: VolumeField) -> pl.Series:
    return pl.Series(field.name, np.ascontiguousarray(np.moveaxis(arrays[field.tensors[0]], 1, -1)))


def _two_rows(field: VolumeField) -> Arrays:
    rows = np.full((2, *field.shape), field.low, dtype=np.uint8 if field.dtype == "uint8" else np.float32)
    rows[1] = field.high
    return {field.tensors[0]: rows}


def _describe(column: pl.Series) -> str:
    depth, height, width, channels = column.dtype.shape  # type: ignore[attr-defined]
    return f"volumes of {depth} x {height} x {width} voxels (depth x height x width) in {counted(channels, 'channel')}"


VOLUMES = Kind("volume", VolumeField, is_volumes, fit_volumes, encode_volumes, _decode, _two_rows, _describe)
