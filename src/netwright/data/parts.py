"""Which part of a split a row of a long table belongs to: a rule that looks at that row alone, so that no list is kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from netwright.core.errors import DataError
from netwright.core.seed import derive
from netwright.data.cells import counted, to_text
from netwright.data.data import PARTS
from netwright.data.infer import SPLIT_NAMES

NO_PART, TRAIN, VALID, TEST = range(-1, 3)
"""Codes of the parts; a row without a target is in none."""


def uniform(rows: np.ndarray, seed: int, *names: str) -> np.ndarray:
    """A number in [0, 1) for each row number (N,) int64, that depends on it, the seed and the names alone.

    Source: Steele, Lea and Flood (2014), the finaliser of SplitMix64.

    >>> uniform(np.arange(3), 0).round(3).tolist() == uniform(np.arange(2, -1, -1), 0).round(3).tolist()[::-1]
    True
    """
    with np.errstate(over="ignore"):
        z = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(derive(seed, "uniform", *names))
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    shares: np.ndarray = (z >> np.uint64(11)).astype(np.float64) / 2.0**53
    return shares


@dataclass(frozen=True)
class PartRule:
    """Says of each row whether it trains, validates, tests, or has no target.

    Args:
        target: a row without it is in no part.
        valid, test: shares of the rows, drawn by a hash of row number and seed. Where a column names the parts, they are
            shares of its training rows, for a part that it does not name.
        split_column: the column that names them.
    """

    target: str
    seed: int
    valid: float
    test: float
    split_column: str | None = None

    @property
    def columns(self) -> list[str]:
        """What it looks at."""
        return [self.target, *([self.split_column] if self.split_column else [])]

    def __call__(self, frame: pl.DataFrame, start: int) -> np.ndarray:
        """The code of each row (N,) int8.

        Args:
            frame: rows with the columns it looks at, as `frames.settled` leaves them. start: number of the first one.

        Raises:
            DataError: a word that names no part.
        """
        drawn = uniform(np.arange(start, start + frame.height), self.seed, "part")
        codes = np.where(drawn < self.test, TEST, np.where(drawn < self.test + self.valid, VALID, TRAIN)).astype(
            np.int8
        )
        if self.split_column:
            named = _named(frame[self.split_column])
            codes = np.where(named == TRAIN, codes, named)
        codes[_missing(frame[self.target])] = NO_PART
        return codes


def _missing(target: pl.Series) -> np.ndarray:
    cells = to_text(target) if target.dtype == pl.String else target
    missing: np.ndarray = cells.is_null().to_numpy()
    return missing


def _named(column: pl.Series) -> np.ndarray:
    words = to_text(column.cast(pl.String)).str.to_lowercase()
    codes = words.replace_strict(
        list(SPLIT_NAMES), [PARTS.index(part) for part in SPLIT_NAMES.values()], default=None, return_dtype=pl.Int8
    )
    if codes.null_count():
        strange = words.filter(codes.is_null())
        raise DataError(
            f"--split-column {column.name} holds {strange[0]!r} ({counted(len(strange), 'such cell')}); "
            f"recognised are {', '.join(SPLIT_NAMES)} (in any case)"
        )
    return codes.to_numpy().astype(np.int8)
