"""Expressions as text -> graphs of single numbers. Nothing is evaluated by Python: a list of operations says what may occur."""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from netwright.core.errors import UsageError, nearest
from netwright.nn.computation import Builder, Graph, Node

MOST_CHARACTERS, MOST_NODES = 2_000, 200
Rule = Callable[..., tuple[float, Sequence[float]]]
"""Arguments -> the value, and its derivative with respect to each argument."""


def _sigmoid(x: float) -> tuple[float, Sequence[float]]:
    s = 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
    return s, [s * (1 - s)]


def _exp(x: float) -> tuple[float, Sequence[float]]:
    return math.exp(x), [math.exp(x)]


def _sqrt(x: float) -> tuple[float, Sequence[float]]:
    return math.sqrt(x), [0.5 / math.sqrt(x)]


def _power(a: float, b: float) -> tuple[float, Sequence[float]]:
    to_base = b * math.pow(a, b - 1) if b else 0.0
    to_exponent = math.pow(a, b) * math.log(a) if a > 0 else 0.0 if a == 0 else math.nan
    return math.pow(a, b), [to_base, to_exponent]


def _among(values: Sequence[float], chosen: float) -> tuple[float, Sequence[float]]:
    ties = values.count(chosen)
    return chosen, [(v == chosen) / ties for v in values]


FUNCTIONS: Mapping[str, Rule] = {
    "log": lambda x: (math.log(x), [1 / x]),
    "exp": _exp,
    "sin": lambda x: (math.sin(x), [math.cos(x)]),
    "cos": lambda x: (math.cos(x), [-math.sin(x)]),
    "tanh": lambda x: (math.tanh(x), [1 - math.tanh(x) ** 2]),
    "sigmoid": _sigmoid,
    "relu": lambda x: (max(x, 0.0), [float(x > 0)]),
    "sqrt": _sqrt,
    "abs": lambda x: (abs(x), [float((x > 0) - (x < 0))]),
    "max": lambda *xs: _among(xs, max(xs)),
    "min": lambda *xs: _among(xs, min(xs)),
}
"""At the kink of `relu` and of `abs` the derivative is 0; equal arguments of `max` and `min` share it: as in torch."""
SEVERAL = ("max", "min")
CONSTANTS: Mapping[str, float] = {"pi": math.pi, "e": math.e}
OPERATORS: Mapping[type[ast.operator], tuple[str, Rule]] = {
    ast.Add: ("+", lambda a, b: (a + b, [1.0, 1.0])),
    ast.Sub: ("-", lambda a, b: (a - b, [1.0, -1.0])),
    ast.Mult: ("*", lambda a, b: (a * b, [b, a])),
    ast.Div: ("/", lambda a, b: (a / b, [1 / b, -a / b / b])),
    ast.Pow: ("**", _power),
}


def expression_graph(text: str, values: Mapping[str, object]) -> Graph:
    """The graph of an expression at given values.

    Args:
        text: of numbers, names, + - * / **, the FUNCTIONS, and `pi` and `e`. Several lines, or parts between semicolons, may name what
            comes between: "z = u ** 2; log(z) * z". The last part is the output.
        values: of the variables.

    Raises:
        UsageError: the text does not parse, uses what is not known, or has no finite value or derivative there; with the position.
    """
    return _Reader(text, values).graph()


class _Reader:
    """One expression. Each part becomes a number where it has no variable in it, else the name of a node."""

    def __init__(self, text: str, values: Mapping[str, object]) -> None:
        self.text, self.builder = text, Builder(MOST_NODES)
        self.known: dict[str, float | str] = dict(CONSTANTS)
        body = self._parsed()
        self.given = {name: _as_number(name, value) for name, value in values.items()}
        names = {n.id for part in body for n in ast.walk(part) if isinstance(n, ast.Name)} - FUNCTIONS.keys()
        for name, value in self.given.items():
            if name not in names:
                raise UsageError(
                    f"the expression has no variable {name!r}; it has: {', '.join(sorted(names)) or 'none'}"
                )
            self.known[name] = self.builder.add(Node(name, "", np.array(value)))
        self.names, self.body = names, body

    def graph(self) -> Graph:
        """All parts in order; the last one is the output."""
        last: float | str = 0.0
        for k, part in enumerate(self.body):
            is_last = k == len(self.body) - 1
            if isinstance(part, ast.Expr) and is_last:
                names = ("v", *(f"out{k}" for k in range(len(self.names) + 1)))
                last = self._named(part.value, next(n for n in names if n not in self.names))
            elif isinstance(part, ast.Assign) and len(part.targets) == 1 and isinstance(part.targets[0], ast.Name):
                last = self._assigned(part.targets[0], part.value)
            else:
                raise self._error(part, "expected 'name = expression', and an expression at the end")
        if isinstance(last, float):
            raise UsageError(
                f"{self.text.strip()!r} has no variable in it, so there is nothing to draw; give it one, such as u"
            )
        shown = "; ".join(line.strip() for line in self.text.strip().splitlines())
        return self.builder.graph(shown if isinstance(self.body[-1], ast.Assign) else _titled(shown, last), last)

    # --- reading ------------------------------------------------------------------------------------------------------

    def _parsed(self) -> list[ast.stmt]:
        if len(self.text) > MOST_CHARACTERS:
            raise UsageError(f"the expression has {len(self.text):,} characters; at most {MOST_CHARACTERS:,} are read")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)
                body = ast.parse("\n".join(line.strip() for line in self.text.split("\n"))).body
        except SyntaxError as error:
            raise self._error_at(error.lineno or 1, error.offset or 1, str(error.msg)) from None
        except (ValueError, RecursionError, MemoryError) as error:
            raise UsageError(f"the expression does not parse: {error or 'it is nested too deeply'}") from None
        if not body:
            raise UsageError("the expression is empty; expected something like 'log(u**2) * 4*u'")
        return body

    def _assigned(self, target: ast.Name, value: ast.expr) -> float | str:
        if target.id in self.known or target.id in FUNCTIONS:
            raise self._error(target, f"{target.id!r} has a meaning already; choose another name")
        self.known[target.id] = self._named(value, target.id)
        return self.known[target.id]

    def _named(self, part: ast.expr, name: str) -> float | str:
        """A part whose node, where it becomes a new one, has this name."""
        try:
            return self._read(part, name)
        except RecursionError:
            raise UsageError("the expression is nested too deeply; name parts of it: 'z = ...; ...'") from None

    def _read(self, part: ast.expr, name: str = "") -> float | str:
        if isinstance(part, ast.Constant) and isinstance(part.value, int | float) and not isinstance(part.value, bool):
            return self._number(part, part.value)
        if isinstance(part, ast.Name):
            return self._variable(part)
        if isinstance(part, ast.UnaryOp) and isinstance(part.op, ast.USub | ast.UAdd):
            inner = self._read(part.operand)
            is_minus = isinstance(part.op, ast.USub)
            return self._computed(part, name, "-{}", lambda x: (-x, [-1.0]), [inner]) if is_minus else inner
        if isinstance(part, ast.BinOp) and type(part.op) in OPERATORS:
            sign, rule = OPERATORS[type(part.op)]
            return self._computed(
                part, name, f"{{}} {sign} {{}}", rule, [self._read(part.left), self._read(part.right)]
            )
        if isinstance(part, ast.BinOp) and isinstance(part.op, ast.BitXor):
            raise self._error(part.right, "'^' is not known; a power is written '**'")
        if isinstance(part, ast.Call):
            return self._call(part, name)
        raise self._error(
            part, f"this is not known here; known are numbers, names, + - * / ** and {', '.join(FUNCTIONS)}"
        )

    def _call(self, part: ast.Call, name: str) -> float | str:
        called = part.func.id if isinstance(part.func, ast.Name) else ""
        if called not in FUNCTIONS:
            close = nearest(called, FUNCTIONS)
            hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"known are: {', '.join(FUNCTIONS)}"
            raise self._error(
                part.func,
                f"there is no function {called!r}; {hint}" if called else "this cannot be called; is a '*' missing?",
            )
        if part.keywords or any(isinstance(a, ast.Starred) for a in part.args):
            raise self._error(part, f"{called} takes plain arguments only")
        if (len(part.args) < 2) if called in SEVERAL else (len(part.args) != 1):
            wanted = "two or more arguments" if called in SEVERAL else "one argument"
            raise self._error(part, f"{called} takes {wanted}, and {len(part.args)} came")
        pattern = f"{called}({', '.join(['{}'] * len(part.args))})"
        return self._computed(part, name, pattern, FUNCTIONS[called], [self._read(a) for a in part.args])

    def _variable(self, part: ast.Name) -> float | str:
        if part.id in self.known:
            return self.known[part.id]
        if part.id in FUNCTIONS:
            raise self._error(part, f"{part.id!r} is a function; write {part.id}(...)")
        raise self._error(part, f"{part.id!r} has no value; give it one: graph(..., {part.id}=1.0)")

    def _number(self, part: ast.expr, value: float) -> float:
        try:
            found = float(value)
        except OverflowError:
            found = math.inf
        if not math.isfinite(found):
            raise self._error(part, "this number is too large")
        return found

    # --- computing ----------------------------------------------------------------------------------------------------

    def _computed(
        self, part: ast.expr, name: str, pattern: str, rule: Rule, arguments: Sequence[float | str]
    ) -> float | str:
        values = [float(self.builder.nodes[a].value) if isinstance(a, str) else a for a in arguments]
        words = pattern.format(*(a if isinstance(a, str) else f"{a:g}" for a in arguments))
        at = pattern.format(*(f"{v:g}" for v in values))
        try:
            value, partials = rule(*values)
        except (ValueError, ZeroDivisionError, OverflowError):
            raise self._error(part, f"{at} has no finite value or no finite derivative") from None
        moving = [(a, d) for a, d in zip(arguments, partials, strict=True) if isinstance(a, str)]
        if not math.isfinite(value) or not all(math.isfinite(d) for _, d in moving):
            raise self._error(part, f"{at} has no finite value or no finite derivative")
        if not moving:
            return value
        node = Node(name or self._next(), words, np.array(value))
        return self.builder.add(node, [(a, np.array([[d]])) for a, d in moving])

    def _next(self) -> str:
        """A name for a part that has none."""
        names = (f"n{k}" for k in range(1, 10**6))
        return next(name for name in names if name not in self.builder.nodes and name not in self.names)

    # --- complaining --------------------------------------------------------------------------------------------------

    def _error(self, part: ast.AST, why: str) -> UsageError:
        line, column = getattr(part, "lineno", 1), getattr(part, "col_offset", 0)
        stripped = self.text.split("\n")[line - 1].strip()
        return self._error_at(line, len(stripped.encode()[:column].decode(errors="ignore")) + 1, why)

    def _error_at(self, line: int, column: int, why: str) -> UsageError:
        lines = self.text.split("\n")
        shown = lines[min(line, len(lines)) - 1]
        column += len(shown) - len(shown.lstrip())
        where = f"position {column}" if len(lines) == 1 else f"line {line}, position {column}"
        return UsageError(f"{why} (at {where})\n  {shown}\n  {' ' * (column - 1)}^")


def _titled(text: str, output: str) -> str:
    """The text with the output named where it is not."""
    *before, last = text.split(";")
    return text if last.strip() == output else ";".join([*before, f"{' ' * bool(before)}{output} = {last.strip()}"])


def _as_number(name: str, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise UsageError(f"{name} is {value!r}; expected a number") from None
    if not math.isfinite(number):
        raise UsageError(f"{name} is {value!r}; expected a finite number")
    return number
