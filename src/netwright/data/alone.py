"""Series and sounds in memory that come alone, not in a table -> one column. Needs no torch."""

from __future__ import annotations

import numbers
import os
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import polars as pl

from netwright.core.errors import DataError, UsageError, unknown
from netwright.data.audio import column_of_sounds
from netwright.data.kinds import kind_of_cells
from netwright.data.series import column_of_series
from netwright.data.sound import is_sound

Alone = Literal["series", "audio"]
"""What an estimator must be told of its X, for the shape does not say it."""


def column_of_kind(x: Any, kind: Alone | None) -> pl.Series:
    """Series as a column "series", sounds as a column "audio".

    Args:
        x: series: a list of arrays (T,) or (T, C), or one array (N, T) or (N, T, C); sounds: a list of paths of files, or of pairs of a
            rate and samples. kind: which of both; None for series.

    Raises:
        UsageError: another kind, or something that holds no such things.
        DataError: a series of length 0, or a sound of 0 s; channels that differ.

    >>> column_of_kind(np.zeros((2, 5, 3)), "series").dtype
    List(Array(Float32, shape=(3,)))
    """
    if kind not in (None, *get_args(Alone)):
        raise UsageError(unknown("kind", str(kind), get_args(Alone)))
    if isinstance(x, pl.Series):
        found = kind_of_cells(x)
        if found is not None and found.name == (kind or "series"):
            return x.alias(found.name)
        x = x.to_list()
    cells = _cells(x)
    return _sounds(cells) if kind == "audio" else _series(cells)


def unequal(x: Any) -> bool:
    """Whether these are arrays (T,) of numbers of unequal lengths, which can be nothing but series.

    >>> unequal([np.zeros(3), np.zeros(4)]), unequal([np.zeros(3), np.zeros(3)])
    (True, False)
    """
    if not isinstance(x, list | tuple) or len(x) < 2:
        return False
    plain = all(isinstance(cell, np.ndarray) and cell.ndim == 1 and cell.dtype.kind in "biuf" for cell in x)
    return plain and len({len(cell) for cell in x}) > 1


def _cells(x: Any) -> list[Any]:
    x = x.detach().cpu().numpy() if hasattr(x, "detach") else x
    if not isinstance(x, Sequence | np.ndarray) or isinstance(x, str):
        raise UsageError(f"X is a {type(x).__name__}; expected a list of series or of sounds, or an array")
    if not len(x):
        raise DataError("X is empty; at least one row was expected")
    return list(x)


def _series(cells: list[Any]) -> pl.Series:
    arrays = [np.asarray(cell.detach().cpu() if hasattr(cell, "detach") else cell) for cell in cells]
    for k, array in enumerate(arrays):
        if array.ndim not in (1, 2) or array.dtype.kind not in "biuf":
            raise UsageError(
                f"row {k} of X has the shape {array.shape} and the type {array.dtype}; expected a series of numbers, (T,) or (T, C)"
            )
    return column_of_series(arrays)


def _sounds(cells: list[Any]) -> pl.Series:
    if all(isinstance(cell, str) or hasattr(cell, "__fspath__") for cell in cells):
        paths = [str(cell) for cell in cells]
        return pl.Series("audio", [_absolute(path) for path in paths], dtype=pl.String)
    for k, cell in enumerate(cells):
        if not isinstance(cell, tuple | list) or len(cell) != 2 or not isinstance(cell[0], numbers.Real):
            raise UsageError(
                f"row {k} of X is a {type(cell).__name__}; expected the path of a sound file, or a pair of a rate and samples: "
                "(8000, samples)"
            )
    return column_of_sounds([(int(rate), np.asarray(samples)) for rate, samples in cells])


def _absolute(path: str) -> str:
    if not is_sound(path):
        raise UsageError(f"{path!r} is no sound file by its name; expected one that ends in .wav, .flac or .ogg")
    return os.path.abspath(path)
