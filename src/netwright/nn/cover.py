"""Truth tables -> at most two layers of threshold units: counting where the table only counts, else an irredundant sum of products.

A table of n variables is a whole number: its bit r is the value in row r, whose binary digits are the variables, the first one highest.
"""

from __future__ import annotations

from dataclasses import dataclass

Term = tuple[int, int]
"""A product of literals: variables that must be 1, variables that must be 0, each as bits (variable i is bit i)."""


@dataclass(frozen=True)
class Sum:
    """A weighted sum and its threshold: `weights` maps a place to -1 or +1."""

    weights: tuple[tuple[int, int], ...]
    threshold: int


@dataclass(frozen=True)
class TwoLayers:
    """Hidden sums over variables, and an output over variables (place i) and hidden sums (place n + k)."""

    hidden: tuple[Sum, ...]
    output: Sum


def two_layers(table: int, n: int) -> TwoLayers:
    """The units of a table: one, where one suffices; counting units, where the table depends on a number of true literals only;
    else products and their sum, of the table or of its opposite, whichever has fewer.

    >>> xor = two_layers(0b0110, 2)  # at least one, but not two
    >>> [one.threshold for one in xor.hidden], xor.output
    ([1, 2], Sum(weights=((2, 1), (3, -1)), threshold=1))
    """
    signs = symmetric(table, n)
    return _counting(table, n, signs) if signs is not None else _products(table, n)


# --- tables that count ------------------------------------------------------------------------------------------------


def mask_of(i: int, n: int) -> int:
    """The table of variable i."""
    stride = 1 << (n - 1 - i)
    mask, width = ((1 << stride) - 1) << stride, 2 * stride
    while width < 1 << n:
        mask, width = mask | mask << width, 2 * width
    return mask


def symmetric(table: int, n: int) -> dict[int, int] | None:
    """Variable -> sign of a literal, where the table depends only on how many of these literals are true; else None.

    Two literals may be swapped where the table is the same whichever of them is true; with the first of them that holds for all
    literals or the table does not count.
    """
    masks = [mask_of(i, n) for i in range(n)]
    all_rows = (1 << (1 << n)) - 1
    strides = [1 << (n - 1 - i) for i in range(n)]
    used = [i for i in range(n) if (table & masks[i]) >> strides[i] != table & ~masks[i] & all_rows]
    signs = {used[0]: 1} if used else {}
    for j in used[1:]:
        i = used[0]
        up, across = strides[i] - strides[j], strides[i] + strides[j]
        neither, both = table & ~(masks[i] | masks[j]), table & masks[i] & masks[j]
        if (table & masks[j] & ~masks[i]) << up == table & masks[i] & ~masks[j]:
            signs[j] = 1
        elif neither << across == both:
            signs[j] = -1
        else:
            return None
    return signs


def _counting(table: int, n: int, signs: dict[int, int]) -> TwoLayers:
    row = sum(1 << (n - 1 - i) for i, sign in signs.items() if sign < 0)  # no literal is true
    values = [table >> row & 1]
    for i in signs:
        row ^= 1 << (n - 1 - i)
        values.append(table >> row & 1)
    falls = [(k, values[k - 1]) for k in range(1, len(values)) if values[k] != values[k - 1]]
    plus, negated = tuple(signs.items()), sum(sign < 0 for sign in signs.values())
    if len(falls) < 2:  # constant, or one threshold
        k, fall = falls[0] if falls else (0, 1 - values[0])
        rising = Sum(plus if falls else (), k - negated if falls else 0)
        return TwoLayers((), _opposite(rising) if fall else rising)
    hidden = tuple(Sum(plus, k - negated) for k, _ in falls)
    weights = tuple((n + j, -1 if fall else 1) for j, (_, fall) in enumerate(falls))
    return TwoLayers(hidden, Sum(weights, 1 - values[0]))


def _opposite(one: Sum) -> Sum:
    return Sum(tuple((place, -weight) for place, weight in one.weights), 1 - one.threshold)


# --- sums of products -------------------------------------------------------------------------------------------------


def _products(table: int, n: int) -> TwoLayers:
    opposite = table ^ ((1 << (1 << n)) - 1)
    plain, other = irredundant(table, n), irredundant(opposite, n)
    fewer = _price(other) < _price(plain)
    hidden: list[Sum] = []
    weights: list[tuple[int, int]] = []
    for ones, zeros in other if fewer else plain:
        literals = tuple((i, 1 if ones >> i & 1 else -1) for i in range(n) if (ones | zeros) >> i & 1)
        if len(literals) == 1:
            weights.append(literals[0])
        else:
            weights.append((n + len(hidden), 1))
            hidden.append(Sum(literals, ones.bit_count()))
    output = Sum(tuple(weights), 1 - sum(w < 0 for _, w in weights))
    return TwoLayers(tuple(hidden), _opposite(output) if fewer else output)


def _price(terms: list[Term]) -> tuple[int, int]:
    """Units, then links."""
    sizes = [(ones | zeros).bit_count() for ones, zeros in terms]
    return sum(size > 1 for size in sizes), sum(sizes)


def irredundant(table: int, n: int) -> list[Term]:
    """Products whose sum is the table, none of which and no literal of which can be left out.

    Variable by variable: the terms that must hold it, those that must hold its opposite, then those of what both have left. Not always
    the fewest terms that there are.

    Source: Minato (1992), "Fast generation of irredundant sum-of-products forms from binary decision diagrams", after Morreale (1970).

    >>> sorted(irredundant(0b11111000, 3))  # a | b & c, rows 3 to 7
    [(1, 0), (6, 0)]
    """
    terms: list[Term] = []
    _cover(table, table, n, 0, 0, 0, terms)
    return terms


def _cover(low: int, high: int, n: int, i: int, ones: int, zeros: int, terms: list[Term]) -> int:
    """Add terms that cover `low` and nothing outside of `high`, tables of the variables from i on; returns what they cover."""
    if not low:
        return 0
    rows = 1 << (n - i)
    if high == (1 << rows) - 1:
        terms.append((ones, zeros))
        return high
    half = rows >> 1
    part = (1 << half) - 1
    low0, low1, high0, high1 = low & part, low >> half, high & part, high >> half
    of0 = _cover(low0 & ~high1, high0, n, i + 1, ones, zeros | 1 << i, terms)
    of1 = _cover(low1 & ~high0, high1, n, i + 1, ones | 1 << i, zeros, terms)
    both = _cover((low0 & ~of0) | (low1 & ~of1), high0 & high1, n, i + 1, ones, zeros, terms)
    return (of0 | both) | (of1 | both) << half
