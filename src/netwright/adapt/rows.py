"""What a foreign module eats, read off example rows: images, texts with their owner's tokeniser, or tensors as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
import torch
from torch import Tensor

from netwright.adapt.module import Pixels, as_inputs
from netwright.core.errors import DataError, UsageError, unknown
from netwright.core.spec import ImageField, InputSpec, VectorField
from netwright.data.arrays import column_of, layout_of
from netwright.data.batch import Inputs
from netwright.data.frames import from_any
from netwright.data.text import fit_text, texts_of

Kind = Literal["image", "text", "vector"]
Encode = Callable[[list[str]], Any]
"""A user's tokeniser: texts -> a tensor (N, T), a tuple of tensors, or a mapping of them by name."""
MIN_GUESSED_SIDE = 8
"""Tensors are guessed to be images from this height and width on."""
_SOME = 10_000
"""Images from which mean and spread of the channels are read."""


@dataclass(frozen=True)
class Eaten:
    """What was found out about example rows.

    Args:
        inputs: the rows (of texts the first ones) as named tensors.
        spec: what a row is made of.
        pixels: how the module takes images. encoder: raw texts -> named tensors. None where there are none.
    """

    inputs: Inputs
    spec: InputSpec
    pixels: Pixels | None = None
    encoder: Callable[[pl.DataFrame], Inputs] | None = None


class TextEncoder:
    """A user's tokeniser as the encoder of a Model: the column `name` of a frame -> named tensors.

    >>> encoder = TextEncoder(lambda texts: torch.tensor([[len(text)] for text in texts]), "text")
    >>> encoder(pl.DataFrame({"text": ["Rome", None]}))
    {'x': tensor([[4],
            [0]])}
    """

    def __init__(self, encode: Encode, name: str) -> None:
        self.encode = encode
        self.name = name

    def __call__(self, frame: pl.DataFrame) -> Inputs:
        """Named tensors of the texts.

        Raises:
            UsageError: the tokeniser gave no tensors, or not a row for each text.
        """
        texts = texts_of(frame[self.name])
        given = self.encode(texts)
        try:
            inputs = as_inputs(given)
        except (TypeError, ValueError, RuntimeError) as error:
            raise UsageError(
                f"encode(texts) gave a {type(given).__name__} that is no tensor ({error}); "
                "let it give ids of one length (N, T), padded, or a tuple or mapping of such tensors"
            ) from error
        shapes = {name: tuple(tensor.shape) for name, tensor in inputs.items()}
        if any(not shape or shape[0] != len(texts) for shape in shapes.values()):
            raise UsageError(f"for {len(texts)} texts encode gave tensors of shapes {shapes}; expected a row a text")
        return inputs


def eaten(
    x: Any, *, kind: Kind | None = None, encode: Encode | None = None, low: float | None, high: float | None
) -> Eaten:
    """The spec of example rows.

    Args:
        x: rows as they are given to the module (of texts: to `encode`).
        kind: None for a guess: texts where there is `encode`, images where an array has the shape of images
            (`looks_like_images`), else vectors.
        encode: the tokeniser of texts.
        low, high: bounds that inputs must keep.

    Raises:
        UsageError: kind, rows and tokeniser do not go together.
    """
    if kind is not None and kind not in get_args(Kind):
        raise UsageError(unknown("kind", str(kind), get_args(Kind)))
    x = list(x) if isinstance(x, tuple) and all(isinstance(cell, str) for cell in x) else x
    column = None if isinstance(x, Mapping | Tensor | tuple) or _is_numeric(x) else column_of(x)
    if kind == "text" or encode is not None or (kind is None and column is not None and column.name == "text"):
        return _texts(column, kind, encode)
    if kind == "vector":
        return _vectors(x, low, high)
    name, images = _images_of(x, column)
    if images is not None and (kind == "image" or looks_like_images(images)):
        return _images(name, images, low, high)
    if kind == "image":
        raise UsageError(
            'kind="image" needs one array or tensor of numbers, (N, C, H, W), (N, H, W, C) or (N, H, W)'
            + (f", not of shape {tuple(np.shape(x))}" if isinstance(x, Tensor | np.ndarray) else "")
        )
    return _vectors(x, low, high)


def _is_numeric(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind in "biufc"


def _texts(column: pl.Series | None, kind: Kind | None, encode: Encode | None) -> Eaten:
    if kind not in (None, "text"):
        raise UsageError(f'encode= turns texts into tensors, and kind is "{kind}"; leave one of them out')
    if column is None or column.name != "text":
        raise UsageError(
            "for texts x must be the texts themselves, a list of strings, and encode= the function that turns them into token "
            "ids: ids alone cannot be edited or shown as text. To wrap ids as they are, leave kind and encode out: checks run, "
            "but no change of characters and no explanation by words"
        )
    if encode is None:
        raise UsageError(
            "x holds texts; say how they become tensors: encode=lambda texts: ..., which gives token ids (N, T), "
            "or a tuple or mapping of tensors"
        )
    encoder = TextEncoder(encode, column.name)
    inputs = encoder(column.head(2).to_frame())
    return Eaten(inputs, InputSpec(kind="text", fields=(fit_text(column),)), encoder=encoder)


def _vectors(x: Any, low: float | None, high: float | None) -> Eaten:
    inputs = as_inputs(x)
    fields = tuple(_vector_field(name, tensor, low, high) for name, tensor in inputs.items())
    return Eaten(inputs, InputSpec(kind="vector", fields=fields))


def _vector_field(name: str, x: Tensor, low: float | None, high: float | None) -> VectorField:
    if not x.is_floating_point():
        return VectorField(name=name, shape=tuple(x.shape[1:]), dtype="int", low=float(x.min()), high=float(x.max()))
    scale = float(x.std()) if x.numel() > 1 else 1.0
    return VectorField(name=name, shape=tuple(x.shape[1:]), low=low, high=high, scale=scale if scale > 0 else 1.0)


def _images_of(x: Any, column: pl.Series | None) -> tuple[str, Tensor | None]:
    """A name, and the one tensor of three or four dimensions that these rows are; None where they are something else."""
    name = "image"
    if isinstance(x, Mapping):
        if len(x) != 1:
            return name, None
        name, x = next(iter(x.items()))
    if column is not None and column.name == "image":
        tensors = isinstance(x, list) and all(isinstance(image, Tensor | np.ndarray) for image in x)
        x = torch.stack([torch.as_tensor(image) for image in x]) if tensors else column.to_numpy()
    if not isinstance(x, Tensor | np.ndarray):
        return name, None
    images = x.detach() if isinstance(x, Tensor) else torch.tensor(x) if x.dtype.kind in "biuf" else None
    return name, images if images is not None and images.dim() in (3, 4) and not images.is_complex() else None


def looks_like_images(x: Tensor) -> bool:
    """Whether a tensor has the shape of images: one or three channels, or whole bytes (N, H, W), of at least 8 x 8 pixels.

    >>> looks_like_images(torch.zeros(5, 3, 8, 8)), looks_like_images(torch.zeros(5, 8, 8)), looks_like_images(torch.zeros(5, 9, 8, 8))
    (True, False, False)
    """
    layout = layout_of(x.shape, channels_first=True)
    if layout is None or not (x.is_floating_point() or x.dtype == torch.uint8) or not len(x):
        return False
    channels, *sides = Pixels(layout=layout).inwards(x[:1]).shape[1:]
    usual = channels in (1, 3) and (x.dim() == 4 or x.dtype == torch.uint8)
    return usual and min(sides) >= MIN_GUESSED_SIDE and bool(x.isfinite().all())


def _images(name: str, x: Tensor, low: float | None, high: float | None) -> Eaten:
    layout = layout_of(x.shape, channels_first=True) or "NCHW"
    whole = not x.is_floating_point() and x.dtype != torch.bool
    if not bool(x.isfinite().all()):
        raise DataError("the images hold pixels that are no finite number; replace them, say with x.nan_to_num()")
    if whole and not (int(x.min()) >= 0 and int(x.max()) <= 255):
        raise DataError(
            f"the images hold whole numbers from {int(x.min()):,} to {int(x.max()):,}; expected 0 to 255: pass them as floats"
        )
    pixels = Pixels(layout=layout, dtype=str(x.dtype).removeprefix("torch.") if whole else "float")
    images = pixels.inwards(x)
    low, high, why = _bounds(images, low, high)
    some = images[:: max(1, len(images) // _SOME)].double()
    spread = some.std((0, 2, 3), correction=0)
    _, channels, height, width = images.shape
    field = ImageField(
        name=name,
        height=height,
        width=width,
        channels=channels,
        dtype="uint8" if whole else "float",
        low=low,
        high=high,
        center=tuple(some.mean((0, 2, 3)).tolist()),
        spread=tuple(torch.where(spread > 0, spread, 1.0).tolist()),
        rule=f"images as the module takes them, ({', '.join(layout)}); pixels from {low:g} to {high:g} ({why})",
    )
    return Eaten({name: images}, InputSpec(kind="image", fields=(field,)), pixels)


def _bounds(x: Tensor, low: float | None, high: float | None) -> tuple[float, float, str]:
    """What a pixel can be, and how that is known."""
    least, most = float(x.min()), float(x.max())
    if x.dtype == torch.uint8:
        guess = (0.0, 255.0)
    elif least >= 0 and (most <= 1 or 127 < most <= 255):
        guess = (0.0, 1.0 if most <= 1 else 255.0)
    elif -1 <= least < 0 and most <= 1:
        guess = (-1.0, 1.0)
    else:
        guess = (min(least, 0.0), most)
    bottom, top = guess[0] if low is None else low, guess[1] if high is None else high
    if not bottom < top:
        raise UsageError(
            f"pixels from low={bottom:g} to high={top:g} leave no room; give low and high, low the smaller"
        )
    given = low is not None and high is not None
    if given or x.dtype == torch.uint8:
        return bottom, top, "as given" if given else "whole bytes"
    return bottom, top, f"guessed: those given lie between {least:.4g} and {most:.4g}"


def frame_of(rows: Any, spec: InputSpec) -> pl.DataFrame:
    """Raw rows as a frame; texts or images alone become the one column that the spec has.

    Raises:
        UsageError, DataError: they are none.
    """
    if isinstance(rows, pl.DataFrame):
        return rows
    frame = from_any(rows)
    if spec.kind in ("image", "text", "volume") and len(spec.fields) == 1 and frame.columns == [spec.kind]:
        frame.columns = spec.names
    return frame
