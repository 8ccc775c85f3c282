"""Sequences as users hand them over: lists of arrays, or of lists of tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from netwright.core.errors import DataError, UsageError
from netwright.core.spec import FIRST_ID, PAD, UNKNOWN, SeriesField
from netwright.data.batch import Inputs
from netwright.data.sequences import SeriesFront, TokenFront
from netwright.data.series import column_of_series, encode_series, fit_series, series_of

TOKENS = "tokens"


def listed(x: Any) -> list[Any]:
    """The sequences one by one.

    Raises:
        UsageError: there is none, or x is no list of sequences. DataError: one has no step.
    """
    if isinstance(x, pl.Series):
        x = x.to_list()
    if isinstance(x, str) or not hasattr(x, "__len__") or not len(x):
        raise UsageError("X must be a list of sequences, at least one: arrays (T,) or (T, C), or lists of tokens")
    rows = list(x)
    for k, row in enumerate(rows):
        if isinstance(row, str) or not hasattr(row, "__len__"):
            raise UsageError(f"sequence {k} of X is {row!r:.40}; expected an array (T,) or (T, C), or a list of tokens")
        if not len(row):
            raise DataError(f"sequence {k} of X has length 0; take it out, or give it at least one step")
    return rows


@dataclass
class Reader:
    """What is known of the sequences that a network was trained on: how they become tensors.

    Args:
        series: the field of numbers; None for tokens. vocabulary: ids of tokens.
    """

    series: SeriesField | None = None
    vocabulary: dict[Any, int] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Sequence[Any]) -> Reader:
        """Fitted on training sequences. Tokens that occur once are taken for unknown ones, so that the network learns what to do
        with those, unless no token occurs twice."""
        if isinstance(rows[0][0], str):
            counts = Counter(str(token) for row in rows for token in row)
            least = min(2, max(counts.values()))
            tokens = sorted(token for token, n in counts.items() if n >= least)
            return cls(vocabulary={token: k + FIRST_ID for k, token in enumerate(tokens)})
        return cls(series=fit_series(column_of_series(rows)))

    def encode(self, rows: Sequence[Any]) -> Inputs:
        """Sequences as the tensors of `front`, as long as the longest.

        Raises:
            DataError: they are of another kind, or have another number of channels.
        """
        longest = max(len(row) for row in rows)
        if self.series is None:
            if not all(isinstance(row[0], str) for row in rows):
                raise DataError("X holds numbers, but tokens (strings) were fitted; give lists of strings again")
            ids = torch.full((len(rows), longest), PAD)
            for k, row in enumerate(rows):
                ids[k, : len(row)] = torch.tensor([self.vocabulary.get(token, UNKNOWN) for token in row])
            return {TOKENS: ids}
        if isinstance(rows[0][0], str):
            raise DataError("X holds tokens, but numbers were fitted; give arrays again")
        wide = self.series.model_copy(update={"n_steps": longest})
        return {
            name: torch.from_numpy(np.array(part)) for name, part in encode_series(column_of_series(rows), wide).items()
        }

    def front(self, dim: int) -> nn.Module:
        """The front of a network; tokens become vectors of size `dim`."""
        if self.series is None:
            return TokenFront(TOKENS, FIRST_ID + len(self.vocabulary), dim)
        return SeriesFront(self.series.model_copy(update={"shortest": 0}))


def numbers_of(x: Any) -> list[np.ndarray]:
    """One series, or a list of them, as arrays (T, C) float64.

    Raises:
        DataError: a series has a gap, or is empty. UsageError: none was given.
    """
    one = isinstance(x, np.ndarray) or (hasattr(x, "__len__") and len(x) and np.isscalar(x[0]))
    rows = series_of(column_of_series([np.asarray(x, float)] if one else [np.asarray(row, float) for row in listed(x)]))
    found = []
    for k, row in enumerate(rows):
        if not np.isfinite(row).all():
            step = int(np.argwhere(~np.isfinite(row))[0, 0])
            raise DataError(f"series {k} has a gap at step {step}; fill it, or cut the series there")
        found.append(row.astype(np.float64))
    return found


def padded(rows: Sequence[np.ndarray], fill: float) -> Tensor:
    """Rows of unequal lengths as one tensor (N, T), `fill` behind the ends."""
    whole = np.full((len(rows), max(len(row) for row in rows)), fill, dtype=np.result_type(rows[0].dtype, type(fill)))
    for line, row in zip(whole, rows, strict=True):
        line[: len(row)] = row
    return torch.from_numpy(whole)
