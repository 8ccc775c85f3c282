"""Whether a plane divides two classes, decided by linear programming; the answer comes with a plane or with a proof that there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from netwright.core.errors import DataError, SetupError, UsageError
from netwright.linear.certificate import Certificate, exact_certificate

MOST_ROWS = 4000
"""Rows of one linear program; of more rows those are added that a plane gets wrong, until it gets all right or none can."""
LEAST = 1e-9
"""Distance, where all columns lie between -1 and 1, below which the program's own rounding decides."""


@dataclass(frozen=True)
class Verdict:
    """Whether a plane divides the classes.

    Args:
        separable: whether one does. weights: one that does (D,), the bias last where there is one; None else.
        certificate: what proves that none does; None else.
        exact: whether plane or certificate was checked without any rounding.
    """

    separable: bool
    weights: np.ndarray | None
    certificate: Certificate | None
    exact: bool


def separable(x: np.ndarray, signs: np.ndarray, *, bias: bool = True) -> Verdict:
    r"""Whether some w (and b) has sign(w x_i + b) = signs_i for all i, strictly.

    max t subject to signs_i (w x_i + b) >= t, |w_j| <= 1: t > 0 gives a plane; t = 0 gives, as its dual, weights with which both classes
    have the same sum (`Certificate`). Either is checked afterwards, in fractions where floats could err.

    Args:
        x: rows (N, D) of finite numbers. signs: (N,) of -1 and +1.
        bias: whether planes need not go through the origin.

    Raises:
        UsageError: shapes or signs are others. DataError: a number is not finite.

    Source: Charnes (1964), "Some fundamental theorems of perceptron theory and their geometry"; certificates after Farkas (1902).

    >>> x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> separable(x, np.array([-1, 1, 1, 1])).separable
    True
    >>> print(separable(x, np.array([-1, 1, 1, -1])).certificate)
    1/2 of row 1 + 1/2 of row 2 = 1/2 of row 0 + 1/2 of row 3
    """
    x, signs = _checked(x, signs)
    if bias and (twins := _twins(x, signs)):
        return Verdict(False, None, exact_certificate(x, signs, twins, bias=True), True)
    scaled, back = _scaled(x, signs, bias)
    weights, duals, chosen = _solve(scaled)
    plane = back(weights)
    z = signed(x, signs, bias=bias)
    if all_positive(z, plane):
        return Verdict(True, plane, None, True)
    rows = chosen[duals > LEAST]
    exact = exact_certificate(x, signs, rows.tolist(), bias=bias)
    if exact:
        return Verdict(False, None, exact, True)
    if (scaled @ weights).min() > LEAST:  # the plane is right where columns are scaled, and its rounded form is not
        return Verdict(True, plane, None, False)
    return Verdict(False, None, _rounded(signs, rows, duals[duals > LEAST], bias), False)


def signed(x: np.ndarray, signs: np.ndarray, *, bias: bool) -> np.ndarray:
    """Rows times their signs, the bias as a further input that is always 1: w divides the classes where all of their sums are positive."""
    z: np.ndarray = signs[:, None] * (np.column_stack([x, np.ones(len(x))]) if bias else x)
    return z


def _checked(x: np.ndarray, signs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, signs = np.asarray(x, dtype=np.float64), np.asarray(signs)
    if x.ndim != 2 or signs.shape != (len(x),) or not len(x):
        raise UsageError(f"expected rows (N, D) and signs (N,), N > 0; came {x.shape} and {signs.shape}")
    if not np.isin(signs, (-1, 1)).all():
        raise UsageError("signs are -1 and +1, one a row")
    if not np.isfinite(x).all():
        row, column = np.argwhere(~np.isfinite(x))[0]
        raise DataError(
            f"row {row}, column {column} holds {x[row, column]}; expected finite numbers: fill it in, or leave it out"
        )
    return x, signs.astype(np.int64)


def _twins(x: np.ndarray, signs: np.ndarray) -> tuple[int, int] | None:
    """Two equal rows of different classes."""
    kinds, which = np.unique(x + 0.0, axis=0, return_inverse=True)  # + 0.0 makes one zero of both
    first = np.full((2, len(kinds)), -1)
    for side, sign in enumerate((1, -1)):
        rows = np.flatnonzero(signs == sign)[::-1]
        first[side, which.reshape(-1)[rows]] = rows
    both = first[:, (first >= 0).all(0)]
    return (int(both[0, 0]), int(both[1, 0])) if both.size else None


def _scaled(x: np.ndarray, signs: np.ndarray, bias: bool) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Signed rows with columns between -1 and 1, and the way back from their weights; neither changes whether a plane exists."""
    middle = (x.max(0) / 2 + x.min(0) / 2) if bias else np.zeros(x.shape[1])
    size = np.abs(x - middle).max(0, initial=0)
    size = np.exp2(np.ceil(np.log2(np.where(size > 0, size, 1))))
    z = signed((x - middle) / size, signs, bias=bias)

    def back(weights: np.ndarray) -> np.ndarray:
        slopes = weights[: len(size)] / size
        if not bias:
            return slopes
        sums = x @ slopes
        low, high = sums[signs < 0], sums[signs > 0]
        if not len(low) or not len(high):
            return np.append(slopes, weights[-1] - slopes @ middle)
        return np.append(slopes, -(low.max() / 2 + high.min() / 2))  # halfway, whatever has been rounded on the way

    return z, back


def _solve(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights of the best plane, duals of the rows that decided, and which rows these are."""
    chosen = np.unique(np.linspace(0, len(z) - 1, min(len(z), MOST_ROWS)).astype(int))
    while True:
        distance, weights, duals = _program(z[chosen])
        scores = z @ weights
        scores[chosen] = np.inf
        if distance <= LEAST or scores.min() > LEAST:
            return weights, duals, chosen
        worst = np.argsort(scores, kind="stable")[: MOST_ROWS // 4]
        chosen = np.union1d(chosen, worst[scores[worst] <= LEAST])


def _program(z: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """max t, z w >= t, |w_j| <= 1: t, w and the duals of the rows, which sum up to 1."""
    from scipy.optimize import linprog

    n, d = z.shape
    done = linprog(
        np.append(np.zeros(d), -1.0),
        A_ub=np.column_stack([-z, np.ones(n)]),
        b_ub=np.zeros(n),
        bounds=[(-1, 1)] * d + [(None, None)],
        method="highs",
    )
    if done.status != 0:
        raise SetupError(f"the linear program did not end: {done.message}")
    return float(done.x[-1]), done.x[:-1], -done.ineqlin.marginals


def all_positive(z: np.ndarray, weights: np.ndarray) -> bool:
    """Whether z w > 0 in all rows (N, D), decided in fractions where floats could err."""
    scores = z @ weights
    error = (z.shape[1] + 2) * np.finfo(float).eps * (np.abs(z) @ np.abs(weights))
    if (scores < -error).any():
        return False
    exact = [Fraction(float(w)) for w in weights]
    return all(
        sum((Fraction(float(v)) * w for v, w in zip(row, exact, strict=True)), Fraction(0)) > 0
        for row in z[scores <= error]
    )


def _rounded(signs: np.ndarray, rows: np.ndarray, duals: np.ndarray, bias: bool) -> Certificate:
    """The program's duals as a certificate to within rounding."""
    weights = duals.astype(float).copy()
    if bias:
        for sign in (1, -1):
            weights[signs[rows] == sign] /= weights[signs[rows] == sign].sum() or 1.0
    return Certificate(tuple(rows.tolist()), tuple(signs[rows].tolist()), tuple(weights.tolist()), bias, False)
