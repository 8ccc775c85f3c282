"""Line charts as lines of text, for the terminal: one letter a series."""

from __future__ import annotations

import math

from netwright.core.finding import Figure
from netwright.report.text import number

LETTERS = "*o+x#%"


def plotted(figure: Figure, *, width: int = 61, height: int = 15) -> list[str]:
    """The series of a line chart over two axes, the earlier one on top, and a line that says which letter is which.

    Points without a value are left out; of more series than there are letters the first are drawn.

    >>> from netwright.core.finding import Series
    >>> line, flat = Series(name="x", x=(-1, 0, 1), y=(-1.0, 0.0, 1.0)), Series(name="1", x=(-1, 0, 1), y=(1.0, 1.0, 1.0))
    >>> print("\\n".join(plotted(Figure(title="", kind="line", series=(line, flat)), width=5, height=3)))
     1  o o *
     0  --*--
    -1  * |
       -1 to 1
       * x   o 1
    """
    drawn = list(zip(LETTERS, figure.series, strict=False))
    points = [
        (float(x), float(y), letter)
        for letter, series in reversed(drawn)
        for x, y in zip(series.x, series.y, strict=True)
        if x is not None and y is not None and math.isfinite(float(x)) and math.isfinite(float(y))
    ]
    if not points:
        return []
    left, right = min(x for x, _, _ in points), max(x for x, _, _ in points)
    low, high = min(y for _, y, _ in points), max(y for _, y, _ in points)

    def across(x: float) -> int:
        return round((x - left) / ((right - left) or 1.0) * (width - 1))

    def down(y: float) -> int:
        return round((high - y) / ((high - low) or 1.0) * (height - 1))

    cells = [[" "] * width for _ in range(height)]
    if left <= 0 <= right:
        for row in cells:
            row[across(0.0)] = "|"
    if low <= 0 <= high:
        cells[down(0.0)] = ["-"] * width
    for x, y, letter in points:
        cells[down(y)][across(x)] = letter
    ends = {0: number(high), height - 1: number(low)} | ({down(0.0): "0"} if low <= 0 <= high else {})
    margin = max(map(len, ends.values()))
    lines = [f"{ends.get(k, ''):>{margin}}  {''.join(row)}".rstrip() for k, row in enumerate(cells)]
    legend = "   ".join(f"{letter} {series.name}".rstrip() for letter, series in drawn)
    indent = " " * (margin + 1)
    axis = (
        f"{figure.x_label} from {number(left)} to {number(right)}"
        if figure.x_label
        else f"{number(left)} to {number(right)}"
    )
    return [*lines, indent + axis, indent + legend]
