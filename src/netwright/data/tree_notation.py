"""Trees in writing -> labels and parents: brackets, and the source of Python programs. Nothing is ever executed."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from netwright.core.errors import DataError

Tree = tuple[list[str], np.ndarray]
"""Labels of the nodes in depth-first order, children in order, and the place of each node's parent (M,) int32; -1 over the root."""
MAX_CHARS = 1_000_000
"""Most characters of one tree in writing."""
MAX_NODES = 200_000
"""Most nodes of one tree, before it is cut to what a network is given."""
_TOKEN = re.compile(r"[()]|[^\s()]+")
_SILENT = (ast.expr_context,)
"""Nodes of a syntax tree that say nothing which their parents do not."""


def from_brackets(text: str, where: str = "the text") -> Tree:
    """A tree in brackets: "(label child child ...)", a child being such a tree or a word, which is a leaf.

    Args:
        where: what to call it in an error.

    Raises:
        DataError: brackets that do not match, with the character (counted from 1); something before or behind the tree.

    Source: Marcus, Santorini and Marcinkiewicz (1993), the Penn Treebank.

    >>> labels, parents = from_brackets("(S (NP dogs) (VP bark))")
    >>> labels, parents.tolist()
    (['S', 'NP', 'dogs', 'VP', 'bark'], [-1, 0, 1, 0, 3])
    """
    _check_length(text, where)
    labels: list[str] = []
    parents: list[int] = []
    above: list[int] = []
    named, ended = True, False
    for match in _TOKEN.finditer(text):
        token, at = match.group(), match.start() + 1
        if ended:
            raise DataError(
                f"{where}, character {at:,}: {_short(token)!r} behind the end of the tree; expected one tree"
            )
        if not above and token != "(":
            raise DataError(
                f"{where}, character {at:,}: {_short(token)!r}; expected a tree such as (S (NP dogs) (VP bark))"
            )
        if token == ")":
            above.pop()
            ended, named = not above, True
        elif token == "(" or named:
            labels.append("" if token == "(" else token)
            parents.append(above[-1] if above else -1)
            if token == "(":
                above.append(len(labels) - 1)
            named = token != "("
        else:
            labels[above[-1]], named = token, True
    if not labels:
        raise DataError(f"{where} is empty; expected a tree such as (S (NP dogs) (VP bark))")
    if above:
        opened = "1 bracket is" if len(above) == 1 else f"{len(above):,} brackets are"
        raise DataError(
            f"{where}, character {len(text):,}: the text ends, but {opened} still open; close each ( with )"
        )
    return _checked(labels, parents, where)


def from_python(source: str, where: str = "the source") -> Tree:
    """The abstract syntax tree of a Python program: a node is called after its class ("If", "BinOp", "Add"), a constant also after
    its type ("Constant int"). Names and values are left out. The program is parsed, never executed.

    Raises:
        DataError: it is no Python, with line and column; it is nested too deeply, or too long.

    Source: Python's grammar (https://docs.python.org/3/library/ast.html); Mou et al. (2016), trees of programs as inputs.

    >>> labels, parents = from_python("x = 1 + y")
    >>> labels, parents.tolist()
    (['Module', 'Assign', 'Name', 'BinOp', 'Constant int', 'Add', 'Name'], [-1, 0, 1, 1, 3, 3, 3])
    """
    _check_length(source, where)
    try:
        with warnings.catch_warnings(action="ignore"):
            module = ast.parse(source)
    except SyntaxError as error:
        at = f", line {error.lineno}" if error.lineno else ""
        at += f", column {error.offset}" if error.offset else ""
        shown = f": {error.text.strip()[:60]!r}" if error.text and error.text.strip() else ""
        raise DataError(f"{where}{at} is no Python ({error.msg}){shown}; mend it, or take it out") from error
    except (RecursionError, MemoryError) as error:
        raise DataError(f"{where} is nested too deeply to be parsed; take it out") from error
    except ValueError as error:
        raise DataError(f"{where} is no Python ({error}); mend it, or take it out") from error
    labels: list[str] = []
    parents: list[int] = []
    waiting: list[tuple[ast.AST, int]] = [(module, -1)]
    while waiting:
        node, parent = waiting.pop()
        kind = type(node).__name__
        labels.append(f"{kind} {type(node.value).__name__}" if isinstance(node, ast.Constant) else kind)
        parents.append(parent)
        below = [child for child in ast.iter_child_nodes(node) if not isinstance(child, _SILENT)]
        here = len(labels) - 1
        waiting += [(child, here) for child in reversed(below)]
    return _checked(labels, parents, where)


NOTATIONS: Mapping[str, Callable[[str, str], Tree]] = {"brackets": from_brackets, "python": from_python}
"""How trees can be written -> what reads them."""


def notation_of(cells: Sequence[str]) -> str:
    """Which notation these cells are in: brackets where most of them begin with one.

    >>> notation_of(["(S (NP dogs))", "(S)"]), notation_of(["x = 1"])
    ('brackets', 'python')
    """
    opened = sum(cell.lstrip().startswith("(") for cell in cells)
    return "brackets" if opened > 0.5 * len(cells) else "python"


def to_brackets(labels: Sequence[str], parents: Sequence[int]) -> str:
    """A tree in brackets; blanks and brackets within a label become "_".

    >>> to_brackets(["S", "NP", "dogs", "VP"], [-1, 0, 1, 0])
    '(S (NP dogs) VP)'
    """
    inner = set(parents) | {0}
    parts: list[str] = []
    above: list[int] = []
    for place, (label, parent) in enumerate(zip(labels, parents, strict=True)):
        while above and above[-1] != parent:
            above.pop()
            parts.append(")")
        word = re.sub(r"[\s()]", "_", label) or "_"
        parts.append(" " * (place > 0) + ("(" if place in inner else "") + word)
        if place in inner:
            above.append(place)
    return "".join(parts) + ")" * len(above)


def _check_length(text: str, where: str) -> None:
    if len(text) > MAX_CHARS:
        raise DataError(f"{where} has {len(text):,} characters; at most {MAX_CHARS:,} are read of one tree")


def _checked(labels: list[str], parents: list[int], where: str) -> Tree:
    if len(labels) > MAX_NODES:
        raise DataError(f"{where} has {len(labels):,} nodes; at most {MAX_NODES:,} are read of one tree")
    return labels, np.array(parents, dtype=np.int32)


def _short(token: str) -> str:
    return token[:30]
