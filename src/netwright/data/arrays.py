"""Texts and images in memory -> one column: lists and arrays of strings, arrays of pixels in any usual layout. Needs no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import narwhals.stable.v2 as nw
import numpy as np
import polars as pl

from netwright.core.errors import DataError
from netwright.data.volumes import column_of_volumes

Layout = Literal["NCHW", "NHWC", "NHW"]
"""Where an array of images has its channels: behind the rows, last, or nowhere (grey)."""
Pixels = TypeVar("Pixels")
MIN_SIDE = 4
"""An array of three or four dimensions holds images where these are at least so high and wide."""


def layout_of(shape: Sequence[int], *, channels_first: bool = False) -> Layout | None:
    """The layout of an array of images, from its shape: the axis of 1 or 3 channels (else of 2 or 4) is that of the channels.

    Args:
        shape: of the whole array, rows included.
        channels_first: how to decide where both the second and the last axis could be that.

    >>> layout_of((60, 28, 28)), layout_of((60, 3, 32, 32)), layout_of((60, 32, 32, 3)), layout_of((60, 9, 9, 9))
    ('NHW', 'NCHW', 'NHWC', None)
    """
    if len(shape) == 3:
        return "NHW"
    if len(shape) != 4:
        return None
    for usual in ((1, 3), (2, 4)):
        first, last = shape[1] in usual, shape[3] in usual
        if first or last:
            return "NCHW" if first and (channels_first or not last) else "NHWC"
    return None


def channels_first(pixels: np.ndarray, layout: Layout) -> np.ndarray:
    """Images of a layout as (N, C, H, W), a view."""
    return {"NCHW": pixels, "NHWC": np.moveaxis(pixels, -1, 1), "NHW": pixels[:, None]}[layout]


def holds_pixels(kind: pl.DataType) -> bool:
    """Whether cells of this type are images: arrays (H, W) or (H, W, C) of numbers."""
    if not isinstance(kind, pl.Array) or len(kind.shape) not in (2, 3):
        return False
    inner: Any = kind
    while isinstance(inner, pl.Array):
        inner = inner.inner
    return bool(inner.is_numeric())


def column_of(x: Any) -> pl.Series | None:
    """Texts as a column "text" of strings, images as a column "image" of arrays (H, W) or (H, W, C), volumes as a column "volume" of
    arrays (D, H, W, C); None for anything else.

    Texts: a list, an array or a series of strings. Images: an array or a tensor (N, H, W), (N, H, W, C) or (N, C, H, W), at least
    4 x 4, or a list of such arrays, tensors or pillow images that have one size. Volumes: an array or a tensor of five dimensions,
    (N, D, H, W, C) or (N, C, D, H, W).

    Raises:
        DataError: images of several sizes, pixels that are no finite numbers, whole numbers beyond 0 to 255, objects.

    >>> column_of(["Rome", "Oslo"]).name, column_of(np.zeros((5, 3, 8, 8))).dtype.shape, column_of([[1, 2], [3, 4]])
    ('text', (8, 8, 3), None)
    """
    if isinstance(x, pl.Series):
        return x.alias("image") if holds_pixels(x.dtype) else x.alias("text") if x.dtype == pl.String else None
    if nw.dependencies.is_into_series(x):
        x = x.tolist() if hasattr(x, "tolist") else x.to_pylist()
        return _texts([None if isinstance(cell, float) and cell != cell else cell for cell in x])
    tensor = hasattr(x, "detach") and hasattr(x, "cpu")
    array = x.detach().cpu().numpy() if tensor else x
    if isinstance(array, np.ndarray):
        return _from_array(array, tensor)
    return _from_list(list(x)) if isinstance(x, list | tuple) else None


def _texts(cells: list[Any]) -> pl.Series | None:
    """A column, if these are strings (and missing cells)."""
    words = [None if cell is None or type(cell).__name__ == "NAType" else cell for cell in cells]
    if not any(isinstance(w, str) for w in words) or not all(w is None or isinstance(w, str) for w in words):
        return None
    return pl.Series("text", [None if w is None else str(w) for w in words], dtype=pl.String)


def _from_array(x: np.ndarray, tensor: bool) -> pl.Series | None:
    if x.ndim == 1 and x.dtype.kind in "UOT":
        cells = x.tolist()
        if x.dtype.kind == "O" and cells and all(_is_image(cell) for cell in cells):
            raise DataError(
                f"x is an array of {len(cells):,} objects, each an image of its own; pass list(x) where all have one size, "
                "else resize them to one"
            )
        return _texts(cells)
    if x.ndim == 5 and x.dtype.kind in "biuf" and len(x):
        return column_of_volumes(x, channels_first=tensor)
    layout = layout_of(x.shape, channels_first=tensor)
    if x.dtype.kind not in "biuf" or layout is None or not len(x):
        return None
    pixels = channels_first(x, layout)
    return _images(pixels) if min(pixels.shape[2:]) >= MIN_SIDE else None


def _is_image(cell: Any) -> bool:
    pillow = hasattr(cell, "convert") and hasattr(cell, "mode") and hasattr(cell, "getbands")
    return pillow or (hasattr(cell, "ndim") and hasattr(cell, "shape") and cell.ndim in (2, 3))


def _from_list(x: list[Any]) -> pl.Series | None:
    if not x or not all(_is_image(cell) for cell in x):
        return _texts(x)
    if any(hasattr(cell, "convert") for cell in x):
        mode = "L" if all(cell.mode in ("1", "L") for cell in x if hasattr(cell, "convert")) else "RGB"
        x = [_of_pillow(cell, mode) for cell in x]
    tensor = hasattr(x[0], "detach")
    arrays = [np.asarray(cell.detach().cpu() if hasattr(cell, "detach") else cell) for cell in x]
    shapes = Counter(array.shape for array in arrays)
    if len(shapes) > 1:
        shown = ", ".join(f"{n:,} of {' x '.join(map(str, shape))}" for shape, n in shapes.most_common(4))
        raise DataError(
            f"the images have {len(shapes)} different sizes: {shown}{', ...' if len(shapes) > 4 else ''}; "
            "resize them to one, or read them as picture files, which are resized for you"
        )
    return _from_array(np.stack(arrays), tensor)


def _of_pillow(cell: Any, mode: str) -> Any:
    """A pillow image of 8 bits as it is to be seen; one of more bits as its values, which are then judged like an array's."""
    if not hasattr(cell, "convert"):
        return cell
    return np.asarray(cell if cell.mode[0] in "IF" else cell.convert(mode))


def _images(pixels: np.ndarray) -> pl.Series:
    """Images (N, C, H, W) as a column of cells (H, W) or (H, W, C): whole numbers as uint8, all others as float32."""
    if pixels.dtype.kind in "iu" and pixels.dtype != np.uint8:
        low, high = int(pixels.min()), int(pixels.max())
        if low < 0 or high > 255:
            raise DataError(
                f"the images hold whole numbers from {low:,} to {high:,}; expected 0 to 255: scale them, "
                "or pass them as floats with x.astype('float32')"
            )
        pixels = pixels.astype(np.uint8)
    elif pixels.dtype.kind in "bf":
        pixels = pixels.astype(np.float32)
        strange = int((~np.isfinite(pixels)).sum())
        if strange:
            raise DataError(
                f"the images hold {strange:,} pixels that are no finite number; replace them, say with numpy.nan_to_num(x)"
            )
    cells = pixels[:, 0] if pixels.shape[1] == 1 else np.moveaxis(pixels, 1, -1)
    return pl.Series("image", np.ascontiguousarray(cells))
