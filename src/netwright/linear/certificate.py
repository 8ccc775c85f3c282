"""Proof that no plane divides two classes: a point that both of them surround, checked in whole fractions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

MOST_EXACT = 24
"""Points whose weights are solved for in fractions, which grow with their number."""


@dataclass(frozen=True)
class Certificate:
    r"""Weights u_i > 0 of some rows under which both classes have the same weighted sum: \sum_+ u_i x_i = \sum_- u_i x_i.

    Any plane w x + b has the value \sum_+ u_i (w x_i + b) = \sum_- u_i (w x_i + b) there, so it cannot be positive on all rows of
    one class and negative on all of the other. With a bias the weights of each class sum up to 1: one point, surrounded by both.

    Args:
        rows: numbers of the rows. signs: +1 or -1, the side on which each should be. weights: u_i, fractions where `exact`.
        bias: whether planes need not go through the origin. exact: whether the sums are equal without any rounding.
    """

    rows: tuple[int, ...]
    signs: tuple[int, ...]
    weights: tuple[Fraction | float, ...]
    bias: bool
    exact: bool

    def sums(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The weighted sums (D,) of both classes over the rows of x (N, D); fractions where the weights are."""
        kind: Callable[[float], Any] = Fraction if self.exact else float
        both = []
        for sign in (1, -1):
            total = [kind(0)] * x.shape[1]
            for row, its, weight in zip(self.rows, self.signs, self.weights, strict=True):
                if its == sign:
                    total = [t + weight * kind(float(v)) for t, v in zip(total, x[row], strict=True)]
            both.append(np.array(total))
        return both[0], both[1]

    def gap(self, x: np.ndarray) -> float:
        """The largest difference between both sums, and between both sums of weights: 0 proves the claim."""
        plus, minus = self.sums(np.asarray(x, dtype=np.float64))
        found = [abs(a - b) for a, b in zip(plus, minus, strict=True)]
        if self.bias:
            found += [abs(sum(self._of(sign)) - 1) for sign in (1, -1)]
        return float(max(found, default=0))

    def holds(self, x: np.ndarray) -> bool:
        """Whether the weights are positive and the sums equal: exactly, or to 1e-6 of the largest number that enters them."""
        limit = 0.0 if self.exact else 1e-6 * max(1.0, float(np.abs(x[list(self.rows)]).max(initial=0)))
        return min(self.weights) > 0 and self.gap(x) <= limit

    def _of(self, sign: int) -> list[Fraction | float]:
        return [w for w, its in zip(self.weights, self.signs, strict=True) if its == sign]

    def __str__(self) -> str:
        sides = []
        for sign in (1, -1):
            rows = [row for row, its in zip(self.rows, self.signs, strict=True) if its == sign]
            terms = [f"{_written(weight)} of row {row}" for row, weight in zip(rows, self._of(sign), strict=True)]
            sides.append(" + ".join(terms[:6]) + (f" + {len(terms) - 6} more" if len(terms) > 6 else "") or "nothing")
        return f"{sides[0]} = {sides[1]}" + ("" if self.exact else " (to within rounding)")


def _written(weight: Fraction | float) -> str:
    short = isinstance(weight, Fraction) and weight.denominator < 1000
    return str(weight) if short else f"{float(weight):.4g}"


def exact_certificate(x: np.ndarray, signs: np.ndarray, rows: Sequence[int], *, bias: bool) -> Certificate | None:
    """The certificate with weights on these rows of x (N, D) in whole fractions; None where there is none, or too many rows.

    >>> x, signs = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.array([-1, 1, 1, -1])
    >>> print(exact_certificate(x, signs, range(4), bias=True))
    1/2 of row 1 + 1/2 of row 2 = 1/2 of row 0 + 1/2 of row 3
    """
    if not 0 < len(rows) <= MOST_EXACT:
        return None
    equations = [[int(signs[i]) * Fraction(float(x[i, j])) for i in rows] + [Fraction(0)] for j in range(x.shape[1])]
    if bias:
        equations += [[Fraction(int(signs[i] == sign)) for i in rows] + [Fraction(1)] for sign in (1, -1)]
    else:
        equations.append([Fraction(1)] * (len(rows) + 1))
    weights = _solved(equations)
    if weights is None or min(weights) < 0:
        return None
    kept = [int(i) for i, weight in zip(rows, weights, strict=True) if weight]
    return Certificate(tuple(kept), tuple(int(signs[i]) for i in kept), tuple(w for w in weights if w), bias, True)


def _solved(equations: list[list[Fraction]]) -> list[Fraction] | None:
    """A solution of linear equations, each with its right side last; 0 for what may be chosen; None where they contradict."""
    n = len(equations[0]) - 1
    left = [row for row in equations if any(row)]
    done: list[tuple[int, list[Fraction]]] = []
    for column in range(n):
        pivot = next((row for row in left if row[column]), None)
        if pivot is None:
            continue
        left.remove(pivot)
        pivot = [value / pivot[column] for value in pivot]
        left = [_without(row, pivot, column) for row in left]
        done = [(place, _without(row, pivot, column)) for place, row in done] + [(column, pivot)]
    if any(row[n] for row in left):
        return None
    solution = [Fraction(0)] * n
    for column, row in done:
        solution[column] = row[n]
    return solution


def _without(row: list[Fraction], pivot: list[Fraction], column: int) -> list[Fraction]:
    factor = row[column]
    return [a - factor * b for a, b in zip(row, pivot, strict=True)] if factor else row
