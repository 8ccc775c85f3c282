"""Simple properties of images and texts, an array (N,) each: what tells rows apart at a glance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from torch import Tensor

from netwright.data.shrink import pieces


def of_images(pixels: Tensor) -> dict[str, np.ndarray]:
    """Mean and standard deviation of the pixels of each image (N, C, H, W)."""
    mean, spread = np.empty(len(pixels)), np.empty(len(pixels))
    for piece in pieces(len(pixels), pixels[:1].numel()):
        flat = pixels[piece].flatten(1).double()
        mean[piece] = flat.mean(1)
        spread[piece] = flat.std(1, correction=0)
    return {"brightness": mean, "contrast": spread}


def of_texts(texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Characters and words of each text, and its shares of capitals, digits and signs.

    >>> {name: values.tolist() for name, values in of_texts(["Rome 64!", ""]).items()}["capitals"]
    [0.125, 0.0]
    """
    cells = pl.Series(texts, dtype=pl.String)
    length = cells.str.len_chars().to_numpy().astype(np.float64)
    counted = {
        name: cells.str.count_matches(pattern).to_numpy().astype(np.float64)
        for name, pattern in (("words", r"\w+"), ("capitals", r"\p{Lu}"), ("digits", r"\d"), ("signs", r"[^\w\s]"))
    }
    words = counted.pop("words")
    shares = {name: counts / np.maximum(length, 1) for name, counts in counted.items()}
    return {"characters": length, "words": words, **shares}
