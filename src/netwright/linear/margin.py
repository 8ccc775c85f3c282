"""The largest margin of a plane through the origin: the shortest weights that keep all rows at a distance."""

from __future__ import annotations

import numpy as np

from netwright.core.errors import UsageError

MOST_ROWS = 2000
"""Rows of one solution; of more those are added that it violates."""
CLOSE = 1e-9
"""Share of the distance that a row may fall short of it."""


def largest_margin(z: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    r"""max_w min_i w z_i / |w| and the w that has it, |w| = 1.

    min |w|^2 subject to Z w >= s is a least distance program: with E = (Z, s)^T, f = (0, ..., 0, 1) and the u >= 0 that minimises
    |E u - f|, the solution is w_j = -r_j / r_(D+1), r = E u - f. The hard-margin support vector machine has the same solution.
    What is returned is the margin that w really has, so it is never too large.

    Args:
        z: rows (N, D) times their signs. weights: any w with Z w > 0.

    Raises:
        UsageError: `weights` has no positive margin.

    Source: Lawson and Hanson (1974), "Solving least squares problems", chapter 23.

    >>> margin, w = largest_margin(np.array([[2.0, 0.0], [0.0, 2.0]]), np.array([1.0, 2.0]))
    >>> round(margin, 6), w.round(6).tolist()
    (1.414214, [0.707107, 0.707107])
    """
    best = weights / np.linalg.norm(weights)
    scale = float(np.linalg.norm(z, axis=1).max())
    z = z / scale
    margin = float((z @ best).min())
    if not margin > 0:
        raise UsageError("the weights given do not divide the rows: Z w > 0 was expected; see separable")
    start = min(len(z), MOST_ROWS)
    chosen = np.sort(np.argpartition(z @ best, start - 1)[:start])
    while True:
        found = _shortest(z[chosen], margin)
        if found is None:
            break
        reached = float((z @ found).min())
        if reached > margin:
            best, margin = found, reached
        scores = z @ found
        wanted = float(scores[chosen].min()) * (1 - CLOSE)
        scores[chosen] = np.inf
        worst = np.argsort(scores, kind="stable")[: MOST_ROWS // 4]
        worst = worst[scores[worst] < wanted]
        if not len(worst):
            break
        chosen = np.union1d(chosen, worst)
    return margin * scale, best


def _shortest(z: np.ndarray, distance: float) -> np.ndarray | None:
    """The shortest w with Z w >= distance, at length 1; None where rounding leaves nothing of it."""
    from scipy.optimize import nnls

    e = np.vstack([z.T, np.full(len(z), distance)])
    f = np.append(np.zeros(z.shape[1]), 1.0)
    u, _ = nnls(e, f)
    r = e @ u - f
    length = np.linalg.norm(r[:-1])
    return r[:-1] / length if length and r[-1] < 0 else None
