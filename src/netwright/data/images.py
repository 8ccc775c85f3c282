"""Images -> arrays of pixels of one size and mode. Needs no torch.

A column of images is either an array a cell (polars Array: (height, width) or (height, width, channels)), or the absolute path
of a picture file a cell (String). Pixels of files are read when they are asked for, and live in a file of their own where they
are larger than memory allows.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from netwright.core.errors import DataError
from netwright.core.spec import ImageField
from netwright.data.cells import counted
from netwright.data.memory import roomy
from netwright.data.picture import SMALL, BadPicture, Decoded, decode, fitted, for_each

COLOUR_SHARE = 0.05
"""Share of pictures that are really in colour from which all are taken in colour."""
MIN_SIDE = 8
"""No side of unified pictures is shorter, in pixels."""
_SAMPLE = 2000
"""Most training pictures that are read to choose size and mode."""
_HEAD = 1 << 16


def is_images(column: pl.Series) -> bool:
    """Whether the cells are arrays of pixels."""
    return isinstance(column.dtype, pl.Array)


def fit_images(column: pl.Series) -> ImageField:
    """Size, mode, and mean and spread of each channel, from training rows only.

    Raises:
        DataError: a cell is no path of a picture file, or a file gives no pixels.
    """
    if not is_images(column):
        return _fit_files(column.gather(_evenly(len(column), _SAMPLE)))
    pixels = _arrays(column)
    whole = pixels.dtype == np.uint8
    some = pixels[_evenly(len(pixels), 10_000)]
    low, high = (0.0, 255.0) if whole else (float(min(0.0, some.min())), float(max(1.0, some.max())))
    return ImageField(
        name=column.name,
        height=pixels.shape[2],
        width=pixels.shape[3],
        channels=pixels.shape[1],
        dtype="uint8" if whole else "float",
        low=low,
        high=high,
        rule="all images have one size and mode",
        **_moments(some),
    )


def _evenly(n: int, most: int) -> np.ndarray:
    """So many row numbers, evenly from the first to the last."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))


def _moments(pixels: np.ndarray) -> dict[str, tuple[float, ...]]:
    """Mean and spread of each channel, summed piece by piece: as float64 all pixels at once would take eight times their room."""
    total, squares = np.zeros(pixels.shape[1]), np.zeros(pixels.shape[1])
    for first in range(0, len(pixels), 256):
        piece = pixels[first : first + 256].astype(np.float64)
        total += piece.sum((0, 2, 3))
        squares += (piece**2).sum((0, 2, 3))
    count = max(1, pixels.size // pixels.shape[1])
    mean = total / count
    spread = np.sqrt((squares / count - mean**2).clip(0))
    return {"center": tuple(mean.tolist()), "spread": tuple(np.where(spread > 1e-6, spread, 1.0).tolist())}


@dataclass(frozen=True)
class _Seen:
    height: int
    width: int
    colour: bool


def _fit_files(column: pl.Series) -> ImageField:
    def see(_: int, path: str) -> _Seen:
        picture = _decoded(path, SMALL)
        return _Seen(picture.height, picture.width, picture.is_colour)

    seen = for_each(_paths(column), see)
    height, width = (int(np.median([getattr(s, side) for s in seen])) for side in ("height", "width"))
    colour = sum(s.colour for s in seen) / len(seen)
    shrink = min(1.0, SMALL / max(height, width))
    size = [max(MIN_SIDE, round(side * shrink)) for side in (height, width)]
    same = all((s.height, s.width) == (size[0], size[1]) for s in seen)
    field = ImageField(
        name=column.name,
        height=size[0],
        width=size[1],
        channels=3 if colour >= COLOUR_SHARE else 1,
        rule=_rule((height, width), (size[0], size[1]), same, colour),
    )
    return field.model_copy(update=_moments(encode_images(column, field)))


def _rule(median: tuple[int, int], size: tuple[int, int], same: bool, colour: float) -> str:
    """How sizes and modes were unified, in one sentence.

    >>> _rule((28, 28), (28, 28), True, 0.0)
    'pictures are taken as they are, 28 x 28 pixels (height x width), in grey, as 0 % of the training pictures are in colour'
    """
    shown = f"{size[0]} x {size[1]} pixels (height x width)"
    how = (
        f"pictures are taken as they are, {shown}"
        if same
        else f"each picture is scaled in proportion until it fits into {shown}, its edges repeated to fill the rest"
    )
    if size != median:
        how += f"; that is the median size of the training pictures, {median[0]} x {median[1]}, "
        how += f"brought down to {SMALL}" if max(median) > SMALL else f"brought up to {MIN_SIDE}"
    mode = "in colour" if colour >= COLOUR_SHARE else "in grey"
    return f"{how}, {mode}, as {100 * colour:.0f} % of the training pictures are in colour"


def encode_images(column: pl.Series, field: ImageField) -> np.ndarray:
    """Pixels (N, channels, height, width), uint8 or float32, unified as the field says.

    Of files one is open at a time in each of a few threads. Pixels that are larger than their share of the memory live in a
    temporary file (`memory.roomy`), which is gone when they are.

    Raises:
        DataError: a file gives no pixels, or arrays have another scale than those that the field was fitted on.
    """
    return _as_field(_arrays(column), field) if is_images(column) else _files(_paths(column), field)[0]


def read_files(paths: Sequence[str], field: ImageField) -> tuple[np.ndarray, list[str]]:
    """Pixels (N, channels, height, width) of picture files, and for each why it gave none; empty where it did."""
    return _files(paths, field, strict=False)


def _files(paths: Sequence[str], field: ImageField, strict: bool = True) -> tuple[np.ndarray, list[str]]:
    whole = field.dtype == "uint8"
    out = roomy((len(paths), *field.shape), np.uint8 if whole else np.float32)
    level = (
        field.scale if not whole and field.high <= 1.5 else 1.0
    )  # arrays from 0 to 1, say; else grey levels as they are
    zero, near = 0.0 if level == 1 else field.low, max(field.height, field.width)

    def read(i: int, path: str) -> str:
        try:
            picture = _decoded(path, near) if strict else decode(path, near)
        except BadPicture as error:
            out[i] = 0
            return str(error)
        pixels = fitted(picture.image, field.height, field.width, field.channels)
        out[i] = pixels if whole else zero + level * pixels.astype(np.float32)
        return ""

    return out, for_each(paths, read)


def _decoded(path: str, near: int) -> Decoded:
    try:
        return decode(path, near)
    except BadPicture as error:
        raise DataError(f"the picture {path} cannot be read ({error}); get it again, or remove it") from error


def _paths(column: pl.Series) -> list[str]:
    """Cells as paths of files.

    Raises:
        DataError: a cell is missing, or no absolute path: the names of other folders are not searched.
    """
    if column.dtype != pl.String:
        raise DataError(
            f"column {column.name!r} holds {column.dtype}; expected images: arrays of pixels, or picture files"
        )
    paths: list[str | None] = column.to_list()
    for row, path in enumerate(paths):
        if not path or not os.path.isabs(path):
            what = "nothing" if not path else repr(path[:60])
            raise DataError(
                f"column {column.name!r} is to hold picture files, but its row {row} has {what}; expected names of files that lie "
                "beside the table or below its folder"
            )
    return [path for path in paths if path]


def _arrays(column: pl.Series) -> np.ndarray:
    pixels = column.to_numpy()
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
    return np.array(pixels, order="C")


def _as_field(pixels: np.ndarray, field: ImageField) -> np.ndarray:
    """Arrays (N, C, H, W) in type, size and mode of a field."""
    name, whole = field.name, pixels.dtype == np.uint8
    if field.dtype == "uint8" and not whole:
        if len(pixels) and (pixels.min() < 0 or not 1 < pixels.max() <= 255 or (pixels != np.rint(pixels)).any()):
            raise DataError(
                f"images {name!r} hold fractions from {pixels.min():g} to {pixels.max():g}, but the model was trained on whole "
                "numbers from 0 to 255; scale them and save them as uint8"
            )
        pixels, whole = pixels.astype(np.uint8), True
    elif field.dtype == "float" and whole:
        if len(pixels) and field.high <= 1 < pixels.max():
            raise DataError(
                f"images {name!r} hold whole numbers up to {pixels.max()}, but the model was trained on pixels from "
                f"{field.low:g} to {field.high:g}; divide them by 255"
            )
        pixels = pixels.astype(np.float32)
    if pixels.shape[1:] == field.shape:
        return pixels
    if not whole or field.dtype != "uint8" or pixels.shape[1] not in (1, 3) or field.channels not in (1, 3):
        came, wanted = (" x ".join(map(str, shape)) for shape in (pixels.shape[1:], field.shape))
        raise DataError(
            f"images {name!r} are {came} (channels x height x width), but the model was trained on {wanted}; resize them"
        )
    return _resized(pixels, field)


def _resized(pixels: np.ndarray, field: ImageField) -> np.ndarray:
    from PIL import Image

    out = roomy((len(pixels), *field.shape), np.uint8)
    for i, image in enumerate(pixels):
        picture = Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
        out[i] = fitted(picture, field.height, field.width, field.channels)
    return out


def hash_files(column: pl.Series, digest: hashlib.blake2b) -> None:
    """Feed a digest with size and first 64 KiB of each picture file: equal pictures, equal digest, wherever they lie."""

    def head(_: int, path: str) -> bytes:
        try:
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                return size.to_bytes(8, "little") + hashlib.blake2b(file.read(_HEAD), digest_size=16).digest()
        except OSError as error:
            raise DataError(
                f"the picture {path} cannot be read ({error.strerror}); get it again, or remove it"
            ) from error

    for piece in for_each(_paths(column), head):
        digest.update(piece)


def left_out(bad: Sequence[tuple[str, str]], total: int, one: str = "picture") -> str:
    """The sentence on pictures, or what `one` calls them, that cannot be read.

    Args:
        bad: name and reason of each. total: pictures, these included.

    >>> left_out([("a/1.png", "cut short")], 20)
    '1 of 20 pictures cannot be read and is left out: a/1.png (cut short)'
    """
    shown = ", ".join(f"{name} ({reason})" for name, reason in bad[:4])
    more = f", and {len(bad) - 4:,} more" if len(bad) > 4 else ""
    return f"{len(bad):,} of {counted(total, one)} cannot be read and {'is' if len(bad) == 1 else 'are'} left out: {shown}{more}"


def to_png(pixels: np.ndarray, low: float = 0.0, high: float = 255.0) -> str:
    """An image (channels, height, width) of values in [low, high] as a PNG file in base64; of other than 1 or 3 channels the mean.

    >>> to_png(np.zeros((1, 2, 2)))[:8]
    'iVBORw0K'
    """
    from PIL import Image

    grey = np.clip(np.nan_to_num((np.asarray(pixels, dtype=np.float64) - low) * (255 / (high - low))), 0, 255)
    grey = grey if len(grey) in (1, 3) else grey.mean(0, keepdims=True)
    shown = np.rint(grey).astype(np.uint8).transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(shown[:, :, 0] if shown.shape[2] == 1 else shown).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
