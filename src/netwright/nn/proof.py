"""Threshold units on all inputs at once: 64 rows a machine word, sums kept as binary counters of words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from netwright.core.errors import UsageError
from netwright.nn.circuit import Unit

MAX_PROVEN = 20
"""Variables of a proof and of a truth table."""
CHUNK_ROWS, CHUNK_BYTES = 1 << 18, 1 << 27
"""Rows that are evaluated at once, fewer where the values of all units would take more than so many bytes."""
_ONES = np.uint64(2**64 - 1)


@dataclass(frozen=True)
class Proof:
    """What came out of a comparison over all inputs; true where nothing differs.

    Args:
        rows: inputs that were compared. differences: inputs on which an output differs.
        first: the first of these inputs, by variable; None where there is none.
    """

    rows: int
    differences: int
    first: Mapping[str, int] | None = None

    def __bool__(self) -> bool:
        return self.differences == 0

    def __str__(self) -> str:
        if self:
            return f"equal on all {self.rows:,} inputs" if self.rows > 1 else "equal on the only input"
        shown = ", ".join(f"{name} = {value}" for name, value in (self.first or {}).items())
        return f"different on {self.differences:,} of {self.rows:,} inputs, first where {shown}"


def must_be_few(n: int, what: str, instead: str) -> None:
    """Refuse more variables than all rows of which are gone through.

    Raises:
        UsageError: there are more than 20.
    """
    if n > MAX_PROVEN:
        rows = f"2^{n}" if n < 10**6 else "too many"
        raise UsageError(
            f"{n} variables have {rows} inputs; {what} goes through all of them and takes up to {MAX_PROVEN} variables"
            f" (2^{MAX_PROVEN} = {1 << MAX_PROVEN:,}). {instead}"
        )


@dataclass(frozen=True)
class Rows:
    """A run of consecutive inputs as words: bit b of word w is row first + 64 w + b.

    Args:
        first: number of the first row. words: their number W. inputs: a variable's words each, (W,) uint64.
        real: bits that stand for rows; with fewer than six variables a word has more bits than there are rows.
    """

    first: int
    words: int
    inputs: tuple[np.ndarray, ...]
    real: np.uint64


def all_rows(n: int, waiting: int) -> Iterator[Rows]:
    """All inputs of n variables in order, so many at once that `waiting` half-done sums need little memory."""
    rows = 1 << n
    most = max(1 << 10, 1 << ((8 * CHUNK_BYTES // max(1, waiting)).bit_length() - 1))
    size = min(rows, CHUNK_ROWS, most)
    words = max(1, size // 64)
    real = np.uint64((1 << rows) - 1) if rows < 64 else _ONES
    for first in range(0, rows, size):
        numbers = np.arange(first // 64, first // 64 + words, dtype=np.uint64)
        yield Rows(first, words, tuple(_variable(n - 1 - i, numbers) for i in range(n)), real)


def _variable(digit: int, numbers: np.ndarray) -> np.ndarray:
    """Binary digit `digit` of the rows in words of these numbers."""
    if digit >= 6:
        return (numbers >> np.uint64(digit - 6) & np.uint64(1)) * _ONES
    word = sum(1 << row for row in range(64) if row >> digit & 1)
    return np.full(len(numbers), word, dtype=np.uint64)


class _Sum:
    """How many of a unit's literals are true, row by row: one word where all or any must be, else a binary counter."""

    def __init__(self, unit: Unit, words: int) -> None:
        self.least = unit.threshold + unit.weights.count(-1)  # -x is (1 - x) - 1
        self.n = len(unit.sources)
        self.all, self.any = self.least == self.n, self.least == 1
        self.word = np.full(words, _ONES if self.all else 0, dtype=np.uint64)
        self.digits: list[np.ndarray] = []

    def add(self, literal: np.ndarray) -> None:
        if self.all:
            np.bitwise_and(self.word, literal, out=self.word)
        elif self.any:
            np.bitwise_or(self.word, literal, out=self.word)
        elif 0 < self.least < self.n:
            carry = literal.copy()
            for digit in self.digits:
                both = digit & carry
                np.bitwise_xor(digit, carry, out=digit)
                carry = both
            if carry.any():
                self.digits.append(carry)

    def fires(self) -> np.ndarray:
        if self.all or self.any:
            return self.word
        if self.least <= 0 or self.least > self.n:
            return np.full_like(self.word, _ONES if self.least <= 0 else 0)
        more, equal = np.zeros_like(self.word), np.full_like(self.word, _ONES)
        for place in range(max(len(self.digits), self.least.bit_length()) - 1, -1, -1):
            digit = self.digits[place] if place < len(self.digits) else np.zeros_like(self.word)
            if self.least >> place & 1:
                equal &= digit
            else:
                more |= equal & digit
                equal &= ~digit
        return more | equal


class _Literals:
    """Variables and their opposites, and products of them: one that begins like the one before goes on from there."""

    def __init__(self, rows: Rows) -> None:
        self.of = {(i, 1): words for i, words in enumerate(rows.inputs)}
        self.of |= {(i, -1): ~words for i, words in enumerate(rows.inputs)}
        self.begun: list[tuple[int, int]] = []
        self.words = [np.full(rows.words, _ONES, dtype=np.uint64)]

    def product(self, unit: Unit) -> np.ndarray:
        """Where all literals of a unit are true."""
        wanted = list(zip(unit.sources, unit.weights, strict=True))
        same = next((k for k, (a, b) in enumerate(zip(wanted, self.begun, strict=False)) if a != b), len(wanted))
        same = min(same, len(self.begun))
        del self.begun[same:], self.words[same + 1 :]
        for literal in wanted[same:]:
            self.begun.append(literal)
            self.words.append(self.words[-1] & self.of[literal])
        return self.words[-1]


def on_all_inputs(units: Sequence[Unit], outputs: Sequence[int], n: int) -> Iterator[tuple[Rows, list[np.ndarray]]]:
    """Run of rows by run of rows, the outputs (places among variables and units) of a net of n variables, (W,) words each."""
    needed = _needed(units, n)
    waiting = len({user for users in needed.values() for user, _ in users})
    for rows in all_rows(n, waiting):
        yield rows, _outputs(units, outputs, rows, needed)


def _outputs(
    units: Sequence[Unit], outputs: Sequence[int], rows: Rows, needed: Mapping[int, list[tuple[int, int]]]
) -> list[np.ndarray]:
    """A unit's value is handed to those that need it and forgotten, so that only half-done sums take memory."""
    n, words = len(rows.inputs), rows.words
    literals = _Literals(rows)
    sums: dict[int, _Sum] = {}
    kept: dict[int, np.ndarray] = {}
    wanted = set(outputs)
    for place, unit in enumerate(units, start=n):
        if place not in sums and unit.threshold == unit.weights.count(1):
            value = literals.product(unit)
        else:
            total = sums.pop(place, None) or _Sum(unit, words)
            for source, weight in zip(unit.sources, unit.weights, strict=True):
                if source < n:
                    total.add(literals.of[source, weight])
            value = total.fires()
        if place in wanted:
            kept[place] = value
        for user, weight in needed.get(place, ()):
            if user not in sums:
                sums[user] = _Sum(units[user - n], words)
            sums[user].add(value if weight > 0 else ~value)
    return [kept[place] for place in outputs]


def _needed(units: Sequence[Unit], n: int) -> dict[int, list[tuple[int, int]]]:
    """Place of a unit -> places and weights of the units that it goes to."""
    needed: dict[int, list[tuple[int, int]]] = {}
    for place, unit in enumerate(units, start=n):
        for source, weight in zip(unit.sources, unit.weights, strict=True):
            if source >= n:
                needed.setdefault(source, []).append((place, weight))
    return needed


def compare(names: Sequence[str], found: Iterator[tuple[Rows, list[np.ndarray], list[np.ndarray]]]) -> Proof:
    """Two sets of outputs, run of rows by run of rows."""
    n, differences, first = len(names), 0, None
    for rows, some, others in found:
        differs = np.zeros_like(some[0])
        for a, b in zip(some, others, strict=True):
            differs |= (a ^ b) & rows.real
        differences += int(np.bitwise_count(differs).sum())
        if first is None and differs.any():
            word = int((differs != 0).argmax())
            bits = int(differs[word])
            row = rows.first + 64 * word + (bits & -bits).bit_length() - 1
            first = {name: row >> (n - 1 - i) & 1 for i, name in enumerate(names)}
    return Proof(1 << n, differences, first)
