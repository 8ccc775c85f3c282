"""How cells, names and foreign text are written, on the terminal as on the page."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from netwright.core.finding import Cell

NOTHING = "–"
VERDICT_WORDS = {"fail": "fail", "warn": "warning", "pass": "pass", "info": "note"}
MARKS = {"fail": "✗", "warn": "!", "pass": "✓", "info": "·"}


def number(value: int | float) -> str:
    """A number as people write it: four significant digits, thousands marked from 10,000 on, tiny ones as powers.

    >>> [number(v) for v in (1990, 16281, 0.857142, 245300.57, 3.0, 0.0000123, float("nan"))]
    ['1990', '16,281', '0.8571', '245,300.6', '3', '1.23e-05', 'not a number']
    """
    if isinstance(value, float) and not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite" if value > 0 else "-infinite"
    size = abs(value)
    if size >= 1e15 or 0 < size < 1e-4:
        return f"{value:.3g}"
    if value == int(value):
        return f"{int(value):,}" if size >= 10_000 else str(int(value))
    return f"{value:,.1f}" if size >= 10_000 else f"{value:.1f}" if size >= 1000 else f"{value:.4g}"


def cell(value: Cell) -> str:
    """A cell of a table as text; a missing one is a dash.

    >>> [cell(v) for v in (None, True, 0.25, "x")]
    ['–', 'yes', '0.25', 'x']
    """
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else number(value)


def is_number(value: Cell) -> TypeGuard[int | float]:
    """Whether a cell is set as a figure (to the right) and not as text."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def column_texts(cells: Sequence[Cell]) -> list[str]:
    """The cells of a column, figures under figures: one number of decimals where their sizes allow it.

    >>> column_texts((0.2921, 0.299, None)), column_texts((16281, 1500)), column_texts((0.86, 16281.0))
    (['0.2921', '0.2990', '–'], ['16,281', '1,500'], ['0.86', '16,281'])
    """
    alone = [cell(c) for c in cells]
    sizes = [abs(c) for c in cells if _is_finite(c) and c != 0]
    if not is_figures(cells) or not sizes or max(sizes) >= 1e15 or min(sizes) < 1e-4:
        return alone
    commas = "," if max(sizes) >= 10_000 else ""
    if all(size == int(size) for size in sizes):
        return [f"{int(c):{commas}}" if _is_finite(c) else text for c, text in zip(cells, alone, strict=True)]
    if max(sizes) > 1000 * min(sizes):
        return alone
    decimals = max(len(text.partition(".")[2]) for text in alone)
    decimals = min(decimals, max(0, 3 - math.floor(math.log10(max(sizes)))))
    return [f"{c:{commas}.{decimals}f}" if _is_finite(c) else text for c, text in zip(cells, alone, strict=True)]


def _is_finite(value: Cell) -> TypeGuard[int | float]:
    return is_number(value) and math.isfinite(value)


def is_figures(cells: Sequence[Cell]) -> bool:
    """Whether a column holds figures only (missing cells aside), and is set to the right.

    >>> is_figures((1, None)), is_figures(("a", 1)), is_figures((None,))
    (True, False, False)
    """
    known = [c for c in cells if c is not None]
    return bool(known) and all(is_number(c) for c in known)


def label(name: str) -> str:
    """The name of a measured value as words.

    >>> label("valid_loss_nats")
    'valid loss nats'
    """
    return name.replace("_", " ").strip()


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> [duration(s) for s in (0.004, 0.25, 12.34, 75.2, 3725)]
    ['0.00 s', '0.25 s', '12.3 s', '1 min 15 s', '1 h 02 min']
    """
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def visible(text: object) -> str:
    r"""Foreign text without control characters and without marks that turn the direction of writing; lines stay lines.

    >>> visible("\x1b[31mred\r\nblue")
    '\\x1b[31mred\nblue'
    """
    return "".join(_visible(c) for c in str(text).replace("\r\n", "\n"))


def plain(text: object) -> str:
    r"""The same on one line.

    >>> plain("a\tb\n\x1b[31mred")
    'a b \\x1b[31mred'
    """
    return visible(text).replace("\n", " ").replace("\t", " ")


def _visible(character: str) -> str:
    if character in "\t\n":
        return character
    category = unicodedata.category(character)
    if category in ("Cc", "Cs") or (category == "Cf" and character not in "\u200c\u200d"):
        return character.encode("unicode_escape", "surrogatepass").decode("ascii")
    return character
