"""The look that all figures share: colours, axes, and how cells become coordinates and text."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from netwright.core.finding import Cell
from netwright.report.text import cell, is_number, visible

COLOURS = ("#0e3f95", "#b84a0a", "#08845a", "#b465a1", "#a1930c", "#3098df", "#33393e")
"""Hues near those of Okabe and Ito (2008), searched so that all differ for eyes without red, green or blue cones (by 12 in
CIELAB, the first four by 20) and stand out from white by 3 : 1."""
REFERENCE_LINE = {"color": "#4a5160", "width": 1.5, "dash": "dash"}
INK, MUTED, GRID, TICKS = "#1c2430", "#566070", "#e3e7ed", "#9aa3b0"
SEQUENTIAL = ((0.0, "#f2f6fa"), (0.35, "#a9cbe6"), (0.7, "#3f87bd"), (1.0, "#0a4478"))
DIVERGING = ((0.0, "#0a5a9c"), (0.25, "#8dbbdd"), (0.5, "#f7f7f7"), (0.75, "#e8a878"), (1.0, "#a8480a"))
PLAIN_NUMBERS = {"separatethousands": True, "exponentformat": "power", "minexponent": 5}
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

LABEL_LENGTH, TITLE_LENGTH = 24, 44
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2})?)?")


def escaped(words: object) -> str:
    """Text for plotly, which reads a little HTML: escaped, so that it is shown letter by letter."""
    return html.escape(visible(words), quote=False).replace("\n", "<br>")


def shortened(words: str, length: int = LABEL_LENGTH) -> str:
    """Beginning and end of a long label.

    >>> shortened("occupation = Machine-op-inspct (unknown)")
    'occupation = Ma…unknown)'
    """
    return words if len(words) <= length else f"{words[: length - 9]}…{words[-8:]}"


def finite(value: Cell) -> float | None:
    """A number to draw, to eight digits; whatever is none is a gap."""
    if not is_number(value) or not math.isfinite(number := float(value)):
        return None
    return float(f"{number:.8g}")


def category(value: Cell) -> str:
    """A cell as the name of a place on an axis; plotly would drop an empty one."""
    return escaped(cell(value)) or "(empty)"


def axis_kind(values: Iterable[Cell], *, log: bool, dates: bool = True) -> str:
    """linear, log, date or category: said outright, because plotly would guess numbers and dates out of text.

    >>> axis_kind((1, 2), log=True), axis_kind(("1", "2"), log=True), axis_kind(("2024-01-31",), log=False)
    ('log', 'category', 'date')
    """
    found = [v for v in values if v is not None]
    if all(is_number(v) for v in found):
        return "log" if log else "linear"
    if dates and all(isinstance(v, str) and _DATE.fullmatch(v) for v in found):
        return "date"
    return "category"


def coordinates(values: Sequence[Cell], kind: str) -> list[Any]:
    """Cells as plotly takes them on an axis of this kind."""
    if kind == "category":
        return [category(v) for v in values]
    return [v if kind == "date" else finite(v) for v in values]


def axis(title: str, kind: str, values: Iterable[Cell] = (), *, grid: bool = True) -> dict[str, Any]:
    """An axis of the shared look; `values` are what it must be able to show."""
    found: dict[str, Any] = {
        "type": kind,
        "title": {
            "text": escaped(shortened(title, TITLE_LENGTH)),
            "standoff": 12,
            "font": {"size": 13, "color": MUTED},
        },
        "automargin": True,
        "showgrid": grid,
        "gridcolor": GRID,
        "zeroline": False,
        "showline": True,
        "linecolor": TICKS,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": TICKS,
        "tickfont": {"size": 12, "color": MUTED},
    } | PLAIN_NUMBERS
    if kind == "log":
        ticks = log_ticks([number for v in values if (number := finite(v)) is not None and number > 0])
        found |= {"tickvals": ticks, "ticktext": [power(t) for t in ticks]}
    if kind == "category":
        aliases = {category(v): escaped(shortened(visible(cell(v)))) for v in values}
        found["labelalias"] = {name: alias for name, alias in aliases.items() if alias and name != alias}
    return found


def log_ticks(positive: Sequence[float]) -> list[float]:
    """Places for the ticks of a logarithmic axis: powers of ten, with 2 and 5 between them where there are few.

    >>> log_ticks([0.03, 0.4]), log_ticks([1e-6, 20.0])
    ([0.02, 0.05, 0.1, 0.2, 0.5], [1e-06, 1e-05, 0.0001, 0.001, 0.01, 0.1, 1.0, 10.0, 100.0])
    """
    if not positive:
        return [1.0]
    low, high = math.log10(min(positive)), math.log10(max(positive))
    steps = (1, 2, 5) if high - low < 3 else (1,)
    stride = max(1, math.ceil((high - low) / 9))
    powers = range(math.floor(low), math.ceil(high) + stride, stride)
    ticks = [float(f"{step}e{p}") for p in powers for step in steps]
    first = max([t for t in ticks if t <= min(positive)], default=ticks[0])
    last = min([t for t in ticks if t >= max(positive)], default=ticks[-1])
    return [t for t in ticks if first <= t <= last]


def power(value: float) -> str:
    """A tick of a logarithmic axis: plain in the middle, a power of ten outside.

    >>> [power(v) for v in (0.01, 2e-5, 1000.0, 1e7)]
    ['0.01', '2 × 10<sup>−5</sup>', '1,000', '10<sup>7</sup>']
    """
    if 1e-4 <= value < 1e6:
        return f"{value:,.0f}" if value >= 1 else f"{value:g}"
    mantissa, _, exponent = f"{value:e}".partition("e")
    lead = "" if float(mantissa) == 1 else f"{float(mantissa):g} × "
    return f"{lead}10<sup>{int(exponent)}</sup>".replace("-", "−")


def for_template(words: str) -> str:
    """Text inside a hover template, where % has a meaning."""
    return escaped(words).replace("%", "&#37;")


def line_style(index: int, *, dashed: bool) -> dict[str, Any]:
    """The line of the series `index`: colours first, then dots, so that twenty-one lines differ."""
    dash = "dash" if dashed else ("solid", "dot", "dashdot")[index // len(COLOURS) % 3]
    return {"color": COLOURS[index % len(COLOURS)], "width": 2, "dash": dash}
