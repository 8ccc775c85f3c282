"""Heat maps: matrices of numbers -> plotly's traces, and the layout that goes with them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from netwright.core.finding import Figure, Series
from netwright.report.look import (
    DIVERGING,
    PLAIN_NUMBERS,
    SEQUENTIAL,
    axis,
    axis_kind,
    coordinates,
    escaped,
    finite,
    for_template,
)
from netwright.report.text import NOTHING, cell

GAP = 70
"""Pixels between two heat maps, for the ticks and the labels."""
IN_A_ROW, ROOM = 4, 440
"""The most pictures beside each other, and the pixels across that they are given height for: half of a page."""


def heatmap(figure: Figure, among: Sequence[Series] = ()) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Traces and layout of heat maps: small ones carry their figures, signed ones two colours.

    Maps with named rows or columns stand one below the other; those without are pictures, up to four in a row. `among` are all
    series that the colours must be able to show.
    """
    uids = [str(i) for i, s in enumerate(figure.series) if any(s.z)]
    series = [s for s in figure.series if any(s.z)]
    values = [v for s in among or series for row in s.z for v in map(finite, row) if v is not None]
    signed, reach = any(v < 0 for v in values), max(map(abs, values), default=1.0) or 1.0
    least = min(values, default=0.0)
    with_text = all(_is_small(s) for s in series)
    bar = {
        "thickness": 12,
        "outlinewidth": 0,
        "lenmode": "pixels",
        "y": 1,
        "yanchor": "top",
    } | PLAIN_NUMBERS
    colours: dict[str, Any] = {
        "colorscale": DIVERGING if signed else SEQUENTIAL,
        "showscale": not with_text,
        "colorbar": bar,
    }
    colours |= {"cmin": -reach if signed else least if least > reach / 2 else 0.0, "cmax": reach}
    pictures = not any(s.x or s.y for s in series)
    if not series:
        return [], {}
    per_row = min(IN_A_ROW, len(series)) if pictures else 1
    places, height = _places([_height(s, per_row if pictures else 0) for s in series], per_row)
    bar["len"] = min(180, height - GAP)
    traces: list[dict[str, Any]] = []
    layout: dict[str, Any] = {"coloraxis": colours, "height": height, "hovermode": "closest", "annotations": []}
    for i, (s, place) in enumerate(zip(series, places, strict=True)):
        suffix = "" if i == 0 else str(i + 1)
        trace, across, down = _map(s, figure, picture=pictures, reach=reach if with_text else None)
        trace |= {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}", "coloraxis": "coloraxis", "uid": uids[i]}
        traces.append(trace)
        layout[f"xaxis{suffix}"] = across | {"anchor": f"y{suffix}", "domain": place[0]}
        layout[f"yaxis{suffix}"] = down | {"anchor": f"x{suffix}", "domain": place[1]}
        if pictures:
            layout[f"yaxis{suffix}"] |= {"scaleanchor": f"x{suffix}"}
        if s.name and len(series) > 1:
            where = {"xref": "paper", "yref": "paper", "x": place[0][0], "y": place[1][1], "xanchor": "left"}
            layout["annotations"].append({"text": escaped(s.name), "showarrow": False, "yanchor": "bottom"} | where)
    if layout["annotations"]:
        layout["margin"] = {"l": 8, "r": 16, "t": 30, "b": 8}
    return traces, layout


def _is_small(series: Series) -> bool:
    return len(series.z) <= 24 and max(map(len, series.z)) <= 12


def _height(series: Series, pictures: int) -> int:
    """Pixels for the rows of one map; `pictures` is how many stand beside each other, 0 where it is no picture."""
    n = len(series.z)
    if pictures:
        return round(min(340, max(60, 0.9 * ROOM / pictures * n / max(map(len, series.z)))))
    return min(520, max(130, 38 * n)) if n <= 14 else min(620, 26 * n)


def _places(heights: list[int], per_row: int) -> tuple[list[tuple[list[float], list[float]]], int]:
    """Where each map stands (x and y as shares of the plot), and how high the figure is."""
    rows = [max(heights[i : i + per_row]) for i in range(0, len(heights), per_row)]
    gap = GAP if per_row == 1 else 34
    room, top, places = sum(rows) + gap * (len(rows) - 1), 1.0, []
    for row, height in enumerate(rows):
        bottom = max(0.0, top - height / room)
        for column in range(min(per_row, len(heights) - row * per_row)):
            places.append(([column / per_row, (column + 0.9) / per_row if per_row > 1 else 1.0], [bottom, top]))
        top = max(0.0, bottom - gap / room)
    return places, room + GAP


def _map(
    series: Series, figure: Figure, *, picture: bool, reach: float | None
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """One heat map with its two axes; `reach`, the largest size of a value, is given where the cells carry figures."""
    z = [[finite(v) for v in row] for row in series.z]
    x, y = series.x or tuple(range(max(map(len, z)))), series.y or tuple(range(len(z)))
    kind_x, kind_y = axis_kind(x, log=figure.log_x, dates=False), axis_kind(y, log=figure.log_y, dates=False)
    kind_x = "category" if series.x and len(x) <= 12 else kind_x
    kind_y = "category" if series.y and len(y) <= 12 else kind_y
    trace: dict[str, Any] = {"type": "heatmap", "z": z, "x": coordinates(x, kind_x), "y": coordinates(y, kind_y)}
    trace |= {"name": escaped(series.name), "hoverongaps": False}
    if reach is not None:
        texts = [[_figure(v, reach) for v in row] for row in z]
        trace |= {"text": texts, "texttemplate": "%{text}", "textfont": {"size": 12}, "xgap": 1, "ygap": 1}
    down_name, across_name = for_template(figure.y_label or "row"), for_template(figure.x_label or "column")
    trace["hovertext"] = [[cell(v) for v in row] for row in z]
    trace["hovertemplate"] = f"{down_name}: %{{y}}<br>{across_name}: %{{x}}<br><b>%{{hovertext}}</b><extra></extra>"
    across, down = axis(figure.x_label, kind_x, x, grid=False), axis(figure.y_label, kind_y, y, grid=False)
    if kind_y == "category" or not series.y:
        down["autorange"] = "reversed"
    if picture:
        bare = {"showticklabels": False, "ticks": "", "showline": False, "constrain": "domain"}
        across = across | bare | {"constraintoward": "left"}  # so that the name stands over it
        down = down | bare | {"constraintoward": "top"}
    return trace, across, down


def _figure(value: float | None, reach: float) -> str:
    """A value as it stands in its cell: counts in full, else as many decimals as the largest value needs for two digits."""
    if value is None:
        return NOTHING
    if value == int(value) or reach >= 100:
        return cell(round(value))
    decimals = max(0, 1 - math.floor(math.log10(reach)))
    return f"{value:.{decimals}f}" if decimals <= 4 else f"{value:.1e}"
