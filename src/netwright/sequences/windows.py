"""Windows of series, what came after them, and what one would have guessed without a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MOST = 20_000
"""Windows that are taken of all series together; of longer ones every second, third, ... is."""


@dataclass(frozen=True)
class Windows:
    """Some windows.

    Args:
        x: (N, C, window), from the front, 0 behind the length. lengths: (N,).
        changes: the same of what each value differs by from the one a season (or a step) before, 0 where that is not known.
        base: the naive forecast (N, horizon, C). y: what came (N, horizon, C); 0 where it is not known yet.
        origins: (N,) the step of its series at which each forecast begins.
    """

    x: np.ndarray
    changes: np.ndarray
    lengths: np.ndarray
    base: np.ndarray
    y: np.ndarray
    origins: np.ndarray

    def __len__(self) -> int:
        return len(self.origins)

    @property
    def distances(self) -> np.ndarray:
        """Of the values in all windows to the last one, (number of values, C)."""
        ends = np.take_along_axis(self.x, (self.lengths - 1)[:, None, None], 2)
        there = np.arange(self.x.shape[2]) < self.lengths[:, None]
        found: np.ndarray = (self.x - ends).transpose(0, 2, 1)[there]
        return found


def naive(known: np.ndarray, horizon: int, season: int | None) -> np.ndarray:
    """The last value of a series (T, C), or its last season, once more and again: (horizon, C).

    >>> naive(np.array([[1.0], [2.0], [3.0]]), 4, 2).ravel().tolist(), naive(np.array([[1.0], [2.0]]), 2, None).ravel().tolist()
    ([2.0, 3.0, 2.0, 3.0], [2.0, 2.0])
    """
    period = min(season or 1, len(known))
    last: np.ndarray = known[len(known) - period + np.arange(horizon) % period]
    return last


def windows_of(
    rows: Sequence[np.ndarray],
    window: int,
    horizon: int,
    season: int | None,
    *,
    since: Sequence[int] | None = None,
    until: Sequence[int] | None = None,
    last: bool = False,
) -> Windows:
    """Windows of series (T, C), by what they forecast.

    Args:
        since: for each series the first step that may be forecast; else the first behind a full window, or behind a season where
            the series are short.
        until: for each series the step before which all that is forecast must lie.
        last: one window a series instead, its end, with what is not known.
    """
    places: list[tuple[int, int]] = []
    for k, row in enumerate(rows):
        if last:
            places.append((k, len(row)))
            continue
        end = len(row) if until is None else until[k]
        first = min(max(window, season or 1), max((season or 1) + 1, end // 2)) if since is None else max(since[k], 1)
        places += [(k, t) for t in range(first, end - horizon + 1)]
    places = places[:: -(-len(places) // MOST)] if len(places) > MOST else places
    channels = rows[0].shape[1]
    x, changes = np.zeros((2, len(places), channels, window))
    turns = [_changes(row, season or 1) for row in rows]
    lengths = np.array([min(window, t) for _, t in places], dtype=np.int64)
    base, y = np.zeros((2, len(places), horizon, channels))
    for n, (k, t) in enumerate(places):
        x[n, :, : lengths[n]] = rows[k][t - lengths[n] : t].T
        changes[n, :, : lengths[n]] = turns[k][t - lengths[n] : t].T
        base[n] = naive(rows[k][:t], horizon, season)
        if not last:
            y[n] = rows[k][t : t + horizon]
    return Windows(x, changes, lengths, base, y, np.array([t for _, t in places], dtype=np.int64))


def _changes(row: np.ndarray, period: int) -> np.ndarray:
    changes = np.zeros_like(row)
    changes[period:] = row[period:] - row[:-period]
    return changes
