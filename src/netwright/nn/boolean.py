"""Boolean expressions: text -> a program in postfix order, with the position of whatever does not parse. Nothing is ever executed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, NoReturn, TypeVar

from netwright.core.errors import UsageError

Bits = TypeVar("Bits", bound=Any)
"""Anything with & | ^: whole numbers, arrays of words, truth values."""

MAX_LENGTH, MAX_NESTING = 100_000, 100
"""Letters of an expression, and parentheses within each other."""
WINDOW = 60
"""Letters of a long expression that an error shows."""

_SIGNS = {
    "not": ("~", "!", "¬"),
    "and": ("&&", "&", "∧"),
    "xor": ("^", "!=", "⊕"),
    "or": ("||", "|", "∨"),
    "implies": ("->", "=>", "→"),
    "iff": ("<->", "<=>", "==", "↔"),
}
_BINDING = {"iff": 1, "implies": 2, "or": 3, "xor": 4, "and": 5}
"""The higher, the tighter; `not` is tightest of all."""
_OF_SIGN = {sign: what for what, signs in _SIGNS.items() for sign in signs}
_CONSTANTS = {"0": False, "1": True, "false": False, "true": True}
_TOKEN = re.compile(
    r"(?P<space>\s+)|(?P<word>[^\W\d]\w*)|(?P<number>\d[\w.]*)|(?P<round>[()])|(?P<sign>"
    + "|".join(re.escape(sign) for sign in sorted(_OF_SIGN, key=len, reverse=True))
    + ")"
)


@dataclass(frozen=True)
class Formula:
    """A boolean expression that was read.

    Args:
        text: as it was written.
        names: its variables in the order in which they first appear.
        program: in postfix order: ("name", a), ("constant", False), ("not", 1), or an operator and the number of its operands.
    """

    text: str
    names: tuple[str, ...]
    program: tuple[tuple[str, Any], ...]

    def evaluate(self, values: Mapping[str, Bits], one: Bits) -> Bits:
        """Its value where each variable has `values[name]`; `one` is what is true everywhere.

        >>> parse("a -> b").evaluate({"a": 0b0011, "b": 0b0101}, 0b1111) == 0b1101
        True
        """
        stack: list[Any] = []
        for what, argument in self.program:
            if what == "name":
                stack.append(values[argument])
            elif what == "constant":
                stack.append(one if argument else one ^ one)
            else:
                operands = stack[-argument:]
                del stack[-argument:]
                stack.append(_MEANING[what](operands, one))
        value: Bits = stack.pop()
        return value


def _implied(operands: list[Any], one: Any) -> Any:
    *conditions, value = operands
    for condition in reversed(conditions):
        value = (condition ^ one) | value
    return value


_MEANING: dict[str, Callable[[list[Any], Any], Any]] = {
    "not": lambda operands, one: operands[0] ^ one,
    "and": lambda operands, one: reduce(lambda a, b: a & b, operands),
    "or": lambda operands, one: reduce(lambda a, b: a | b, operands),
    "xor": lambda operands, one: reduce(lambda a, b: a ^ b, operands),
    "iff": lambda operands, one: reduce(lambda a, b: a ^ b ^ one, operands),
    "implies": _implied,
}


def parse(text: str) -> Formula:
    """Read a boolean expression.

    Operators from the tightest to the loosest: ~ ! not; & and; ^ xor !=; | or; -> implies, read from the right; == iff. Words
    and signs bind alike, so `not a & b` is `(not a) & b`. Constants are 0, 1, false and true; words of operators and constants
    may be written in capitals. Everything else that is a word is a variable.

    Raises:
        UsageError: it does not parse; the message shows the position.

    >>> parse("(a & ~b) | c").names
    ('a', 'b', 'c')
    >>> parse("a & | b")
    Traceback (most recent call last):
    netwright.core.errors.UsageError: the expression does not parse at position 5: expected a variable, 0, 1, ~ or (, found '|'
      a & | b
          ^
    """
    if not isinstance(text, str):
        raise UsageError(f'an expression is a string such as "(a & ~b) | c"; this is {type(text).__name__}')
    if len(text) > MAX_LENGTH:
        raise UsageError(f"the expression has {len(text):,} letters; at most {MAX_LENGTH:,} are read")
    return _Reader(text).formula()


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    position: int


class _Reader:
    """Recursive descent by binding strength; recursion is as deep as the parentheses."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = self._split()
        self.place = 0
        self.open: list[int] = []
        self.names: dict[str, None] = {}
        self.program: list[tuple[str, Any]] = []

    def _split(self) -> list[_Token]:
        tokens, position = [], 0
        while position < len(self.text):
            found = _TOKEN.match(self.text, position)
            if not found:
                self._refuse(position, f"{self.text[position]!r} has no meaning here" + self._hint(position))
            kind, word = str(found.lastgroup), found.group()
            if kind == "sign":
                kind = _OF_SIGN[word]
            elif kind == "word" and word.lower() in _SIGNS:
                kind = word.lower()
            elif word.lower() in _CONSTANTS:
                kind = "constant"
            if kind != "space":
                tokens.append(_Token(kind, word, position))
            position = found.end()
        return [*tokens, _Token("end", "", len(self.text.rstrip()))]

    def _hint(self, position: int) -> str:
        hints = {"=": "; equality is written ==", "<": "; equivalence is written <->", "-": "; negation is written ~"}
        return hints.get(self.text[position], "; operators are ~ & ^ | -> == and the words not and xor or implies iff")

    def formula(self) -> Formula:
        if self.tokens[0].kind == "end":
            raise UsageError('the expression is empty; expected one such as "(a & ~b) | c"')
        self._expression(1)
        if self._token.kind != "end":
            self._refuse(self._token.position, f"expected an operator or the end, found {self._token.text!r}")
        return Formula(self.text, tuple(self.names), tuple(self.program))

    @property
    def _token(self) -> _Token:
        return self.tokens[self.place]

    def _expression(self, least: int) -> None:
        """Operands joined by operators that bind at least as tightly as `least`."""
        self._operand()
        while _BINDING.get(self._token.kind, 0) >= least:
            operator, n = self._token.kind, 1
            while self._token.kind == operator:  # a chain is one operator of many operands, however long it is
                self.place += 1
                self._expression(_BINDING[operator] + 1)
                n += 1
            self.program.append((operator, n))

    def _operand(self) -> None:
        negations = 0
        while self._token.kind == "not":
            self.place, negations = self.place + 1, negations + 1
        token = self._token
        if token.kind == "word":
            self.names.setdefault(token.text)
            self.program.append(("name", token.text))
        elif token.kind == "constant":
            self.program.append(("constant", _CONSTANTS[token.text.lower()]))
        elif token.text == "(":
            self._within_parentheses(token)
        elif token.kind == "number":
            self._refuse(token.position, f"the only numbers are 0 and 1, found {token.text!r}")
        else:
            found = repr(token.text) if token.text else "the end"
            self._refuse(token.position, f"expected a variable, 0, 1, ~ or (, found {found}")
        self.place += 1
        if negations % 2:
            self.program.append(("not", 1))

    def _within_parentheses(self, token: _Token) -> None:
        self.open.append(token.position)
        if len(self.open) > MAX_NESTING:
            self._refuse(token.position, f"more than {MAX_NESTING} parentheses are open")
        self.place += 1
        self._expression(1)
        if self._token.text != ")":
            found = repr(self._token.text) if self._token.text else "the end"
            self._refuse(
                self._token.position, f"expected an operator or the ) of position {self.open[-1] + 1}, found {found}"
            )
        self.open.pop()

    def _refuse(self, position: int, why: str) -> NoReturn:
        first = max(0, position - WINDOW // 2)
        shown = re.sub(r"\s", " ", self.text[first : first + WINDOW])
        before, after = "..." if first else "", "..." if first + WINDOW < len(self.text) else ""
        raise UsageError(
            f"the expression does not parse at position {position + 1}: {why}\n"
            f"  {before}{shown}{after}\n  {' ' * (len(before) + position - first)}^"
        )
