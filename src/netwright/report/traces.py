"""Lines, points and bars: series -> plotly's traces, and the layout that goes with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from netwright.core.finding import Figure, Series
from netwright.report.look import (
    COLOURS,
    INK,
    REFERENCE_LINE,
    SYMBOLS,
    axis,
    axis_kind,
    coordinates,
    escaped,
    finite,
    for_template,
    line_style,
    shortened,
)
from netwright.report.text import cell

Drawn = tuple[list[dict[str, Any]], dict[str, Any]]


def _errors(series: Series, colour: str = INK) -> dict[str, Any]:
    """The interval as error bars; empty without one."""
    if not (series.low and series.high):
        return {}
    up, down = [], []
    for y, low, high in zip(series.y, series.low, series.high, strict=False):
        middle, bottom, top = finite(y), finite(low), finite(high)
        up.append(None if middle is None or top is None else max(0.0, top - middle))
        down.append(None if middle is None or bottom is None else max(0.0, middle - bottom))
    look = {"symmetric": False, "thickness": 1.5, "width": 4, "color": colour}
    return {"type": "data", "array": up, "arrayminus": down} | look


def _hover(series: Series, figure: Figure, *, x: str = "x", y: str = "y", unified: bool = False) -> dict[str, Any]:
    """Hover text: the series' own where it has one, else the axes' values with the interval."""
    name = f"<extra>{for_template(series.name)}</extra>"
    if series.hover:
        return {"hovertext": [escaped(h) for h in series.hover], "hovertemplate": f"%{{hovertext}}{name}"}
    interval = [
        f" ({cell(low)} to {cell(high)})" if low is not None and high is not None else ""
        for low, high in zip(series.low, series.high, strict=False)
    ]
    interval += [""] * (len(series.y) - len(interval))
    texts = [cell(v) + between for v, between in zip(series.y, interval, strict=False)]
    up = for_template(figure.y_label or "value")
    body = "%{hovertext}" if unified else f"{up}: %{{hovertext}}"
    if not unified:
        body = f"{for_template(figure.x_label) + ': ' if figure.x_label else ''}%{{{x}}}<br>{body}"
    return {"hovertext": texts, "hovertemplate": f"{body}{name}"}


def points(figure: Figure, among: Sequence[Series] = ()) -> Drawn:
    """Traces and layout of lines and of clouds of points; `among` are all series that the axes must be able to show."""
    all_x = [v for s in among or figure.series for v in s.x]
    all_y = [v for s in among or figure.series for v in s.y]
    kind_x, kind_y = axis_kind(all_x, log=figure.log_x), axis_kind(all_y, log=figure.log_y, dates=False)
    unified = figure.kind == "line" and len(figure.series) <= 6
    traces: list[dict[str, Any]] = []
    for i, series in enumerate(figure.series):
        reference = figure.kind == "scatter" and series.dashed
        style: dict[str, Any] = REFERENCE_LINE if reference else line_style(i, dashed=series.dashed)
        trace = {
            "type": "scatter",
            "x": coordinates(series.x, kind_x),
            "y": coordinates(series.y, kind_y),
            "name": escaped(shortened(series.name, 34)),
            "legendgroup": str(i),
            "uid": str(i),
        } | _hover(series, figure, unified=unified)
        if figure.kind == "line" or reference:
            few = not reference and len(series.x) <= 30
            trace |= {
                "mode": "lines+markers" if few else "lines",
                "line": style,
                "marker": {"size": 6, "color": style["color"]},
            }
            if not reference and (band := _band(series, trace, log=figure.log_y)):
                traces.append(band)
        else:
            many = len(series.x) > 200
            marker = {"size": 5 if many else 7, "opacity": 0.45 if many else 0.8, "color": style["color"]}
            trace |= {"mode": "markers", "marker": marker | {"symbol": SYMBOLS[i % len(SYMBOLS)]}}
            trace["error_y"] = _errors(series, style["color"])
        traces.append(trace)
    across = axis(figure.x_label, kind_x, all_x, grid=figure.kind == "scatter")
    if unified and figure.x_label:
        across["unifiedhovertitle"] = {"text": f"{for_template(figure.x_label)}: %{{x}}"}
    layout = {
        "height": 360,
        "xaxis": across,
        "yaxis": axis(figure.y_label, kind_y, all_y),
        "hovermode": "x unified" if unified else "closest",
    }
    return traces, layout


def _band(series: Series, trace: dict[str, Any], *, log: bool) -> dict[str, Any] | None:
    """The interval around a line as closed areas, one for each stretch without gaps."""
    bounds = list(zip(trace["x"], map(finite, series.low), map(finite, series.high), strict=False))
    floor = min(
        (v for s in (series.low, series.y, series.high) for v in map(finite, s) if v is not None and v > 0),
        default=None,
    )
    xs: list[Any] = []
    ys: list[float | None] = []
    stretch: list[tuple[Any, float, float]] = []
    for x, low, high in [*bounds, (None, None, None)]:
        if x is not None and low is not None and high is not None and not (log and (high <= 0 or floor is None)):
            stretch.append((x, max(low, floor or 0.0) if log else low, high))
        elif stretch:
            xs += [p[0] for p in stretch] + [p[0] for p in reversed(stretch)] + [None]
            ys += [p[2] for p in stretch] + [p[1] for p in reversed(stretch)] + [None]
            stretch = []
    if not xs:
        return None
    red, green, blue = (int(trace["line"]["color"][k : k + 2], 16) for k in (1, 3, 5))
    return {
        "type": "scatter",
        "x": xs[:-1],
        "y": ys[:-1],
        "mode": "lines",
        "line": {"width": 0},
        "fill": "toself",
        "fillcolor": f"rgba({red},{green},{blue},0.16)",
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": trace["legendgroup"],
        "uid": f"{trace['uid']}-band",
    }


def bars(figure: Figure, among: Sequence[Series] = ()) -> Drawn:
    """Traces and layout of bars; many or long labels lay the bars on their side. `among` as of `points`."""
    shown = among or figure.series
    names = [v for s in shown for v in s.x]
    values = [v for s in shown for bounds in (s.y, s.low, s.high) for v in bounds]
    kind, value_kind = axis_kind(names, log=figure.log_x), axis_kind(values, log=figure.log_y)
    labels = {cell(v) for v in names}
    lying = kind == "category" and (len(labels) > 8 or max(map(len, labels), default=0) > 12)
    along, up = ("y", "x") if lying else ("x", "y")
    traces = []
    for i, series in enumerate(figure.series):
        trace: dict[str, Any] = {along: coordinates(series.x, kind), up: coordinates(series.y, value_kind)}
        trace |= {"name": escaped(shortened(series.name, 34)), "uid": str(i)} | _hover(series, figure, x=along, y=up)
        if series.dashed:
            trace |= {"type": "scatter", "mode": "lines", "line": REFERENCE_LINE}
        else:
            trace |= {
                "type": "bar",
                "orientation": "h" if lying else "v",
                "marker": {"color": COLOURS[i % len(COLOURS)], "opacity": 0.65},
            }
            trace[f"error_{up}"] = _errors(series)
        traces.append(trace)
    n_bars = max(1, sum(not s.dashed for s in figure.series))
    name_axis, value_axis = axis(figure.x_label, kind, names, grid=False), axis(figure.y_label, value_kind, values)
    if lying:
        name_axis |= {"autorange": "reversed", "ticks": ""}
    return traces, {
        "height": min(1400, 90 + len(labels) * max(24, 13 * n_bars)) if lying else 340,
        "xaxis": value_axis if lying else name_axis,
        "yaxis": name_axis if lying else value_axis,
        "barmode": "group",
        "bargap": 0.05 if kind == "linear" and n_bars == 1 else 0.3,
        "hovermode": "closest",
    }
