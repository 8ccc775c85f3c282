"""Images -> arrays of pixels of one size and mode. Needs no torch.

A column of images is either an array a cell (polars Array: (height, width) or (height, width, channels)), or the path of a
picture file a cell (String).
"""

from __future__ import annotations

import base64
import io

import numpy as np
import polars as pl

from netwright.core.spec import ImageField


def is_images(column: pl.Series) -> bool:
    """Whether the cells are arrays of pixels."""
    return isinstance(column.dtype, pl.Array)


def fit_images(column: pl.Series) -> ImageField:
    """Size, mode, and mean and spread of each channel, from training rows only."""
    pixels = _arrays(column)
    whole = pixels.dtype == np.uint8
    some = pixels[:: max(1, len(pixels) // 10_000)].astype(np.float64)
    spread = some.std((0, 2, 3))
    low, high = (0.0, 255.0) if whole else (float(min(0.0, some.min())), float(max(1.0, some.max())))
    return ImageField(
        name=column.name,
        height=pixels.shape[2],
        width=pixels.shape[3],
        channels=pixels.shape[1],
        dtype="uint8" if whole else "float",
        low=low,
        high=high,
        center=tuple(some.mean((0, 2, 3)).tolist()),
        spread=tuple(np.where(spread > 0, spread, 1.0).tolist()),
        rule="all images have one size and mode",
    )


def encode_images(column: pl.Series, field: ImageField) -> np.ndarray:
    """Pixels (N, channels, height, width), uint8 or float32, unified as the field says."""
    return _arrays(column)


def _arrays(column: pl.Series) -> np.ndarray:
    pixels = column.to_numpy()
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
    return np.array(pixels, order="C")


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
