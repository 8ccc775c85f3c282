"""The arrays of an .npz -> a frame of images, of volumes or of numbers, with labels and split."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from netwright.core.errors import DataError
from netwright.core.spec import ColumnKind
from netwright.data.archive import EXPECTED, Archive, Stored
from netwright.data.arrays import channels_first, column_of, layout_of
from netwright.data.cells import counted
from netwright.data.frames import from_any
from netwright.data.infer import SPLIT_NAMES
from netwright.data.look import Look
from netwright.data.npz_series import holds_series, prefixed, series_of_arrays, used_with
from netwright.data.volumes import column_of_volumes

Role = Literal["x", "y"]
VOLUME_WORDS = ("volume", "volumes", "voxels", "film", "films", "video", "videos")
ROLES: Mapping[str, Role] = {
    **dict.fromkeys(("x", "image", "images", "pixels", "data", "features", "inputs", *VOLUME_WORDS), "x"),
    **dict.fromkeys(("y", "label", "labels", "target", "targets"), "y"),
}
"""Words of an array's name that say what it holds."""


def role_of(name: str) -> tuple[Role, str] | None:
    """What an array holds, and of which part, by its name; None where the name says neither.

    >>> role_of("x_train"), role_of("val_labels"), role_of("Images"), role_of("mean")
    (('x', 'train'), ('y', 'valid'), ('x', ''), None)
    """
    words = name.rpartition("__")[2].lower().replace("-", "_").split("_")
    roles = {ROLES[w] for w in words if w in ROLES}
    parts = {SPLIT_NAMES[w] for w in words if w in SPLIT_NAMES}
    if len(roles) != 1 or len(parts) > 1 or not all(w in ROLES or w in SPLIT_NAMES for w in words):
        return None
    return roles.pop(), next(iter(parts), "")


def look_npz(path: Path, limit: int, series: Collection[str] = (), *, volumes: bool = False) -> Look:
    """Read images (arrays of three or four dimensions), volumes (four or five), rows of numbers (two) or series, with labels and split.

    Four dimensions are images where one axis is that of their channels, and volumes where none can be, or where `volumes` says so.

    Args:
        series: what the column of series is to be called where the arrays are series; else see `npz_series.holds_series`.
        volumes: whether four dimensions are those of volumes.

    Raises:
        DataError: arrays are missing, or their lengths, shapes or types do not go together.
    """
    with Archive(path) as archive:
        named = bool(prefixed(archive))
        parts, unused = _parts(archive)
        examples = [x for x, _ in parts.values()]
        if holds_series(archive, examples, bool(series) or named):
            return _series(archive, parts, unused, limit, next(iter(series), "series"))
        used = [array for pair in parts.values() for array in pair]
        archive.check(used, limit)
        _check_shapes(path, parts)
        first = next(iter(parts.values()))[0]
        n = sum(x.shape[0] for x, _ in parts.values())
        x, at = np.empty((n, *first.shape[1:]), first.dtype), 0
        for array, _ in parts.values():
            archive.read(array, x[at : at + array.shape[0]])
            at += array.shape[0]
        y = np.concatenate([_labels(path, array.name, archive.read(array)) for _, array in parts.values()])
    warnings = [f"arrays that are not used: {', '.join(unused[:8])}"] if unused else []
    kinds: dict[str, ColumnKind] = {}
    if first.dtype.kind in "US":
        raise DataError(f"{path}: {first.name} holds words; expected numbers. Save texts as a table (.tsv, .parquet)")
    if len(first.shape) == 2:
        columns = from_any(_native(x)).get_columns()
        labels = pl.Series("label", y)
    elif holds_volumes(x.shape, volumes):
        columns, labels, kinds = [column_of_volumes(_native(x))], _classes(y), {"volume": "volume"}
    else:
        image, notes = images_of(x, first.name)
        columns, labels = [image], _classes(y)
        warnings, kinds = [*warnings, *notes], {"image": "image"}
    columns.append(labels)
    if split := "" not in parts:
        columns.append(pl.Series("split", [part for part, (a, _) in parts.items() for _ in range(a.shape[0])]))
    return Look(pl.DataFrame(columns), tuple(warnings), "NumPy arrays", "label", "split" if split else None, kinds)


def _series(
    archive: Archive, parts: Mapping[str, tuple[Stored, Stored]], unused: list[str], limit: int, name: str
) -> Look:
    """Series of an archive as a frame of a column for them, label, and split where there are parts."""
    examples, labels = [x for x, _ in parts.values()], [y for _, y in parts.values()]
    beside = used_with(archive, examples)
    archive.check([*examples, *labels, *beside.values()], limit)
    column, counts, notes = series_of_arrays(archive, examples, name)
    y = [_labels(archive.path, array.name, archive.read(array)) for array in labels]
    for n, found, array in zip(counts, y, examples, strict=True):
        if n != len(found):
            raise DataError(
                f"{archive.path}: {array.name} has {n:,} series but {len(found):,} labels; they must be equally many"
            )
    columns = [column, _classes(np.concatenate(y))]
    if split := "" not in parts:
        columns.append(pl.Series("split", [part for part, n in zip(parts, counts, strict=True) for _ in range(n)]))
    if left := [n for n in unused if n not in beside]:
        notes.insert(0, f"arrays that are not used: {', '.join(left[:8])}")
    told: dict[str, ColumnKind] = {name: "series"}
    return Look(pl.DataFrame(columns), tuple(notes), "NumPy arrays", "label", "split" if split else None, told)


def holds_volumes(shape: tuple[int, ...], asked: bool) -> bool:
    """Whether an array holds volumes and not images.

    >>> holds_volumes((9, 8, 16, 16), False), holds_volumes((9, 3, 16, 16), False), holds_volumes((9, 3, 16, 16), True)
    (True, False, True)
    """
    return len(shape) == 5 or (len(shape) == 4 and (asked or layout_of(shape) is None))


def _parts(archive: Archive) -> tuple[dict[str, tuple[Stored, Stored]], list[str]]:
    """Images and labels of each part that the archive has, and the names of arrays that are not used."""
    found: dict[tuple[Role, str], Stored] = {}
    for array in archive.arrays.values():
        place = role_of(array.name)
        if place is not None:
            if place in found:
                two = f"{found[place].name!r} and {array.name!r}"
                raise DataError(f"{archive.path}: the arrays {two} have one meaning; expected {EXPECTED}")
            found[place] = array
    parts = [part for part in ("train", "valid", "test") if ("x", part) in found]
    parts = parts if "train" in parts else [""]
    there = ", ".join(map(str, list(archive.arrays.values())[:12]))
    for part in parts:
        if ("x", part) not in found:
            raise DataError(f"{archive.path} has no array of examples; expected {EXPECTED}; it holds: {there}")
        if ("y", part) not in found:
            named = found["x", part].name
            raise DataError(f"{archive.path} has {named} but no labels for it; expected {EXPECTED}; it holds: {there}")
    pairs = {part: (found["x", part], found["y", part]) for part in parts}
    used = {array.name for pair in pairs.values() for array in pair}
    return pairs, [name for name in archive.arrays if name not in used]


def _check_shapes(path: Path, parts: Mapping[str, tuple[Stored, Stored]]) -> None:
    first = next(iter(parts.values()))[0]
    for x, y in parts.values():
        if len(x.shape) not in (2, 3, 4, 5):
            raise DataError(
                f"{path}: {x.name} has the shape {x.shape}; expected images (N, H, W), (N, H, W, C) or (N, C, H, W), volumes "
                "(N, D, H, W) or (N, D, H, W, C), or rows of numbers (N, P)"
            )
        if not (len(y.shape) == 1 or (len(y.shape) == 2 and y.shape[1] == 1)):
            more = "; where each row marks its class, save y.argmax(1)" if len(y.shape) == 2 else ""
            raise DataError(f"{path}: {y.name} has the shape {y.shape}; expected one label for each row (N,){more}")
        if x.shape[0] != y.shape[0]:
            raise DataError(
                f"{path}: {x.name} has {counted(x.shape[0], 'row')} but {y.name} has {y.shape[0]:,}; they must be equally many"
            )
        if x.shape[1:] != first.shape[1:]:
            raise DataError(
                f"{path}: {first.name} has the shape {first.shape} but {x.name} {x.shape}; all but the first number must agree"
            )
        if x.dtype != first.dtype:
            raise DataError(
                f"{path}: {first.name} holds {first.dtype} but {x.name} {x.dtype}; save both with one type, in one scale"
            )
        if not x.size:
            raise DataError(
                f"{path}: {x.name} has the shape {x.shape}, so it holds nothing; at least one row was expected"
            )


def _native(x: np.ndarray) -> np.ndarray:
    return x.astype(x.dtype.newbyteorder("="), copy=False)


def _labels(path: Path, name: str, y: np.ndarray) -> np.ndarray:
    y = _native(y.reshape(-1))
    if y.dtype.kind == "S":
        try:
            return np.char.decode(y, "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: {name} holds bytes that are no UTF-8 text ({error}); save it as str") from error
    return y.astype(np.float64) if y.dtype == np.float16 else y


def _classes(y: np.ndarray) -> pl.Series:
    """Labels of images: words, and whole numbers that count without a gap, are names of classes, however many there are."""
    labels = pl.Series("label", y)
    if labels.dtype.is_integer():
        low, high = int(y.min()), int(y.max())
        if low in (0, 1) and 2 * (high - low + 1) <= len(y) and len(np.unique(y)) == high - low + 1:
            labels = labels.cast(pl.String)
    return labels.cast(pl.Categorical) if labels.dtype == pl.String else labels


def images_of(x: np.ndarray, name: str) -> tuple[pl.Series, list[str]]:
    """Images of any usual layout and type as a column of cells (H, W) or (H, W, C) of 1 or 3 channels, and what was changed.

    Alpha is laid on white, 16 bits are scaled to 0 to 255.

    Raises:
        DataError: no images, or pixels that are none.

    >>> images_of(np.zeros((5, 3, 8, 8), dtype=np.uint8), "x")[0].dtype.shape
    (8, 8, 3)
    """
    layout, notes, x = layout_of(x.shape), [], _native(x)
    if layout is None:
        raise DataError(
            f"{name} has the shape {x.shape}; expected images (N, H, W), (N, H, W, C) or (N, C, H, W) with 1, 3 or 4 channels"
        )
    pixels = channels_first(x, layout)
    if pixels.dtype == np.uint16 and int(pixels.max()) > 255:
        notes.append(f"{name}: 16 bits a pixel, divided by 257 so that they run from 0 to 255")
        pixels = pixels.astype(np.float32) / 257
    if pixels.shape[1] in (2, 4):
        notes.append(
            f"{name}: {pixels.shape[1]} channels, of which the last is read as alpha; the images are laid on white"
        )
        pixels = _on_white(pixels)
    column = column_of(np.moveaxis(pixels, 1, -1) if pixels.shape[1] == 3 else pixels[:, 0])
    if column is None:
        raise DataError(
            f"{name} holds images of {pixels.shape[2]} x {pixels.shape[3]} pixels; at least 4 x 4 were expected"
        )
    return column, notes


def _on_white(pixels: np.ndarray) -> np.ndarray:
    """Images (N, C + 1, H, W), the last channel alpha, laid on white: (N, C, H, W) in the same type."""
    top = 255.0 if pixels.dtype.kind in "iu" or float(pixels.max()) > 1 else 1.0
    out = np.empty((len(pixels), pixels.shape[1] - 1, *pixels.shape[2:]), pixels.dtype)
    for first in range(0, len(pixels), 1024):
        some = pixels[first : first + 1024].astype(np.float32)
        laid = top + (some[:, :-1] - top) * (some[:, -1:] / top)
        out[first : first + 1024] = np.rint(laid) if pixels.dtype.kind in "iu" else laid
    return out
