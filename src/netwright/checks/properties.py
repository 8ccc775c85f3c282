"""Simple properties of images and texts, a number each: what a lazy classifier could go by, and how parts differ."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl

from netwright.checks.data import Column
from netwright.data.data import Data, Part
from netwright.data.properties import of_images, of_texts


def properties(data: Data, part: Part) -> list[Column]:
    """Columns (N,) of one part: mean brightness and contrast of each image and the size of its file, length and shares of
    capitals, digits and signs of each text. Of several fields of a kind each is named."""
    found: list[Column] = []
    x = data.block(part).x
    for image in data.spec.images:
        of = f" of {image.name!r}" if len(data.spec.fields) > 1 else ""
        if image.name in x:
            found += [Column(f"{name}{of}", values) for name, values in of_images(x[image.name]).items()]
        if data.frame is not None and (sizes := _file_sizes(data.frame[image.name][data.split[part]])) is not None:
            found.append(Column(f"bytes of the file{of}", sizes))
    for name, texts in data.texts(part).items():
        of = f" of {name!r}" if len(data.spec.fields) > 1 else ""
        found += [Column(f"{what}{of}", values) for what, values in of_texts(texts).items()]
    return found


def _file_sizes(column: pl.Series) -> np.ndarray | None:
    """Bytes of each file where the cells are paths of files that are there, else None."""
    if column.dtype != pl.String:
        return None
    sizes = _sizes(column.to_list())
    return np.array(sizes, dtype=np.float64) if sizes else None


def _sizes(paths: Iterable[str | None]) -> list[int]:
    try:
        return [Path(path or "").stat().st_size for path in paths]
    except OSError:
        return []
