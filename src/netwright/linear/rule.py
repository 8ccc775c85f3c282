"""Rosenblatt's rule: one sample after the other, and a step only where the answer is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

FIRST_BLOCK, LARGEST_BLOCK = 32, 4096
"""Rows that are looked at together; up to the first mistake all of them see the same weights."""


@dataclass(frozen=True)
class Learned:
    """What came out of a training.

    Args:
        weights: (D,). n_mistakes: updates. n_passes: passes over the rows, the last one included.
        converged: whether the last pass was without a mistake.
        path: weights before the first update and after each, (n_mistakes + 1, D), or the first of them where there are too many.
        path_rows: which row each update was for.
    """

    weights: np.ndarray
    n_mistakes: int
    n_passes: int
    converged: bool
    path: np.ndarray
    path_rows: np.ndarray


def learn(
    z: np.ndarray,
    *,
    rate: float = 1.0,
    order: Callable[[int], np.ndarray] | None = None,
    max_updates: int = 1_000_000,
    max_passes: int | None = None,
    keep: int = 10_000,
    pocket: bool = False,
) -> Learned:
    """From w = 0: w <- w + rate z_i for each row with w z_i <= 0, pass after pass, until a pass needs no update.

    Args:
        z: rows (N, D) times their signs; a bias is a column of signs.
        order: pass -> the order of the rows; None for the order in which they stand.
        keep: updates whose weights are kept in the path.
        pocket: return the weights with the fewest errors on all rows among those that went longest without one, rather than the last.

    Source: Rosenblatt (1958), "The perceptron"; the pocket with ratchet: Gallant (1990), "Perceptron-based learning algorithms".

    >>> learn(np.array([[1.0, 2.0], [1.0, -1.0]])).path.tolist()
    [[0.0, 0.0], [1.0, 2.0], [2.0, 1.0]]
    """
    w, mistakes, passes = np.zeros(z.shape[1]), 0, 0
    path, rows = [w.copy()], []
    best, longest, run, errors = w.copy(), 0, 0, len(z) + 1
    clean = False
    while not clean and mistakes < max_updates and (max_passes is None or passes < max_passes):
        which = np.arange(len(z)) if order is None else order(passes)
        clean, at, block, passes = True, 0, FIRST_BLOCK, passes + 1
        while at < len(z) and mistakes < max_updates:
            ahead = which[at : at + block]
            wrong = z[ahead] @ w <= 0
            first = int(wrong.argmax()) if wrong.any() else len(ahead)
            at, run = at + first, run + first
            if first == len(ahead):
                block = min(2 * block, LARGEST_BLOCK)
                continue
            if pocket and run > longest:
                best, longest, errors = _ratchet(z, w, best, run, longest, errors)
            row = ahead[first]
            w = w + rate * z[row]
            mistakes, at, run, clean, block = mistakes + 1, at + 1, 0, False, max(FIRST_BLOCK, block // 2)
            if mistakes <= keep:
                path.append(w)
                rows.append(int(row))
    if pocket and not clean:
        w = _ratchet(z, w, best, longest + 1, longest, errors)[0]
    return Learned(w, mistakes, passes, clean, np.array(path), np.array(rows, dtype=np.int64))


def _ratchet(
    z: np.ndarray, w: np.ndarray, best: np.ndarray, run: int, longest: int, errors: int
) -> tuple[np.ndarray, int, int]:
    found = int((z @ w <= 0).sum())
    return (w.copy(), run, found) if found < errors else (best, longest, errors)


def perceptron_loss(z: np.ndarray, weights: np.ndarray) -> float:
    """sum_i max(0, -w z_i), whose gradient the rule follows one sample at a time; 0 where all rows are right, or on the plane.

    Args:
        z: rows (N, D) times their signs. weights: (D,).
    """
    return float(np.maximum(0, -(z @ weights)).sum())
