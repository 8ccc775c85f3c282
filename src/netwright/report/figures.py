"""Figures as data -> plotly: one look for all, safe for colour-blind eyes, readable on a phone and on paper."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from netwright.core.finding import Cell, Figure, Series
from netwright.report.text import cell, is_number, visible

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure

COLOURS = ("#0b66a8", "#c8500a", "#00876c", "#b0468f", "#8a6d00", "#3a9bc8", "#5a5f6a")
"""Okabe and Ito's hues (2008), darkened until each stands out from white by 3 : 1."""
REFERENCE = "#4a5160"
INK, MUTED, GRID = "#1c2430", "#566070", "#e3e7ed"
SEQUENTIAL = ((0.0, "#f2f6fa"), (0.35, "#a9cbe6"), (0.7, "#3f87bd"), (1.0, "#0a4478"))
DIVERGING = ((0.0, "#0a5a9c"), (0.25, "#8dbbdd"), (0.5, "#f7f7f7"), (0.75, "#e8a878"), (1.0, "#a8480a"))
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

MAX_POINTS = 3000
LABEL_LENGTH = 24
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2})?)?")
_KINDS = {"line": "Line chart", "scatter": "Scatter plot", "bar": "Bar chart", "heatmap": "Heat map"}


def to_plotly(figure: Figure) -> PlotlyFigure:
    """The figure as plotly draws it.

    `low` and `high` become bands around lines, and error bars on bars and points. A dashed series is a dashed line; among
    points and bars it is a line of reference. The first bar and the first row of a heat map stand at the top.

    >>> from netwright.core.finding import Figure, Series
    >>> drawn = to_plotly(Figure(title="loss", kind="line", series=(Series(name="train", x=(1, 2), y=(0.5, 0.2)),)))
    >>> [trace.type for trace in drawn.data]
    ['scatter']
    """
    from plotly.graph_objects import Figure as PlotlyFigure

    if not any(s.y or s.z for s in figure.series):
        traces: list[dict[str, Any]] = []
        layout: dict[str, Any] = {"height": 120, "xaxis": {"visible": False}, "yaxis": {"visible": False}}
        layout["annotations"] = [{"text": "There was nothing to draw.", "showarrow": False, "font": {"color": MUTED}}]
    else:
        traces, layout = {"line": _points, "scatter": _points, "bar": _bars, "heatmap": _heatmap}[figure.kind](figure)
    base = {
        "template": "none",
        "font": {"family": FONT, "size": 13, "color": INK},
        "title": {"text": _text(figure.title), "x": 0, "xref": "paper", "font": {"size": 16}, "automargin": True},
        "margin": {"l": 8, "r": 16, "t": 12, "b": 8},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "hoverlabel": {"bgcolor": "#ffffff", "bordercolor": MUTED, "align": "left", "namelength": -1, "font": {"color": INK}},
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "itemsizing": "constant"},
        "showlegend": figure.kind != "heatmap" and sum(bool(s.name) for s in figure.series) > 1,
    }
    return PlotlyFigure(data=traces, layout=base | layout)


def to_html(figure: Figure, id: str) -> str:
    """A div with the figure's data, drawn by the page's script when it comes near the screen; plotly.js is not in it.

    The title is left to the page, which can wrap it.
    """
    from jinja2.utils import htmlsafe_json_dumps

    spec = json.loads(str(to_plotly(figure).to_json()))
    spec["layout"].pop("title", None)
    height = int(spec["layout"]["height"])
    return (
        f'<div class="figure" id="{html.escape(id)}" role="img" aria-label="{html.escape(describe(figure))}">'
        f'<script type="application/json">{htmlsafe_json_dumps(spec, separators=(",", ":"))}</script>'
        f'<div class="plot" style="height:{height}px"></div></div>'
    )


def describe(figure: Figure) -> str:
    """The figure in words, for those who cannot see it.

    >>> describe(Figure(title="Loss", kind="line", series=(Series(name="train", x=(1, 2), y=(0.5, 0.2)),), x_label="epoch"))
    'Line chart: Loss. Across: epoch. train from 0.5 to 0.2.'
    """
    parts = [f"{_KINDS[figure.kind]}: {visible(figure.title).rstrip('.')}."]
    parts += [f"{where}: {visible(name)}." for where, name in (("Across", figure.x_label), ("Up", figure.y_label)) if name]
    for series in figure.series[:8]:
        known = [(x, y) for x, y in zip(series.x, series.y, strict=False) if is_number(y)]
        name = visible(series.name) or "values"
        if not known:
            continue
        if figure.kind == "bar":
            most = max(known, key=lambda point: float(point[1] or 0))
            parts.append(f"{name}: highest {visible(cell(most[0]))} with {cell(most[1])}.")
        elif figure.kind == "line":
            parts.append(f"{name} from {cell(known[0][1])} to {cell(known[-1][1])}.")
        else:
            parts.append(f"{name}: {len(known)} points.")
    return " ".join(parts)


def drawable(figure: Figure) -> Figure:
    """The figure with at most `MAX_POINTS` points a cloud, evenly picked; its caption says what is not drawn."""
    notes, kept = [], []
    for series in figure.series:
        n = min(len(series.x), len(series.y))
        if figure.kind == "scatter" and n > MAX_POINTS and not series.dashed:
            pick = [i * n // MAX_POINTS for i in range(MAX_POINTS)]
            notes.append(f"{MAX_POINTS:,} of {n:,} points are drawn{f' of {series.name}' if series.name else ''}.")
            fields = ("x", "y", "low", "high", "hover")
            series = series.model_copy(update={f: tuple(getattr(series, f)[i] for i in pick if i < len(getattr(series, f))) for f in fields})
        kept.append(series)
    for axis, log in (("x", figure.log_x), ("y", figure.log_y)):
        lost = sum(is_number(v) and float(v or 0) <= 0 for s in figure.series for v in getattr(s, axis)) if log else 0
        if lost:
            notes.append(f"{lost} points at or below 0 have no place on the logarithmic {axis} axis.")
    caption = " ".join([figure.caption, *notes]).strip()
    return figure.model_copy(update={"series": tuple(kept), "caption": caption})


# -- parts ---------------------------------------------------------------------------------------------------------


def _text(text: object) -> str:
    """Text for plotly, which reads a little HTML: escaped, so that it is shown letter by letter."""
    return html.escape(visible(text), quote=False).replace("\n", "<br>")


def _short(text: str, length: int = LABEL_LENGTH) -> str:
    return text if len(text) <= length else f"{text[: length - 9]}…{text[-8:]}"


def _value(value: Cell) -> float | None:
    """A number to draw: finite, or a gap."""
    if not is_number(value) or not abs(number := float(value or 0)) < float("inf"):
        return None
    return float(f"{number:.8g}")


def _category(value: Cell) -> str:
    return _text(cell(value)) or "(empty)"


def _axis_kind(values: Iterable[Cell], *, log: bool, dates: bool = True) -> str:
    found = [v for v in values if v is not None]
    if all(is_number(v) for v in found):
        return "log" if log else "linear"
    if dates and all(isinstance(v, str) and _DATE.fullmatch(v) for v in found):
        return "date"
    return "category"


def _coordinates(values: Sequence[Cell], kind: str) -> list[Any]:
    if kind == "category":
        return [_category(v) for v in values]
    return [v if kind == "date" else _value(v) for v in values]


def _axis(title: str, kind: str, values: Iterable[Cell] = (), *, grid: bool = True) -> dict[str, Any]:
    axis: dict[str, Any] = {
        "type": kind,
        "title": {"text": _text(title), "standoff": 12, "font": {"size": 13, "color": MUTED}},
        "automargin": True,
        "showgrid": grid,
        "gridcolor": GRID,
        "zeroline": False,
        "showline": True,
        "linecolor": "#9aa3b0",
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": "#9aa3b0",
        "tickfont": {"size": 12, "color": MUTED},
        "separatethousands": True,
        "exponentformat": "power",
        "minexponent": 5,
    }
    if kind == "log":
        numbers = [float(v) for v in values if is_number(v) and v is not None and float(v) > 0]
        if numbers and max(numbers) >= 100 * min(numbers):
            axis["dtick"] = 1
    if kind == "category":
        shown = {_category(v): _text(_short(visible(cell(v)))) for v in values}
        axis["labelalias"] = {name: short for name, short in shown.items() if name != short}
    return axis


def _errors(series: Series) -> dict[str, Any] | None:
    if not (series.low and series.high):
        return None
    up, down = [], []
    for y, low, high in zip(series.y, series.low, series.high, strict=False):
        middle, bottom, top = _value(y), _value(low), _value(high)
        up.append(None if middle is None or top is None else max(0.0, top - middle))
        down.append(None if middle is None or bottom is None else max(0.0, middle - bottom))
    return {"type": "data", "array": up, "arrayminus": down, "symmetric": False, "thickness": 1.5, "width": 4, "color": INK}


def _hover(series: Series, figure: Figure, *, x: str = "x", y: str = "y", unified: bool = False) -> dict[str, Any]:
    """Hover text: the series' own where it has one, else the axes' values with the interval."""
    name = f"<extra>{_template_text(series.name)}</extra>"
    if series.hover:
        return {"hovertext": [_text(h) for h in series.hover], "hovertemplate": f"%{{hovertext}}{name}"}
    interval = [
        f" ({cell(low)} to {cell(high)})" if low is not None and high is not None else ""
        for low, high in zip(series.low, series.high, strict=False)
    ]
    interval += [""] * (len(series.y) - len(interval))
    texts = [cell(v) + between for v, between in zip(series.y, interval, strict=False)]
    up = _template_text(figure.y_label or "value")
    body = "%{hovertext}" if unified else f"{up}: %{{hovertext}}"
    if not unified:
        body = f"{_template_text(figure.x_label) + ': ' if figure.x_label else ''}%{{{x}}}<br>{body}"
    return {"hovertext": texts, "hovertemplate": f"{body}{name}"}


def _template_text(text: str) -> str:
    return _text(text).replace("%", "&#37;")


def _line_style(index: int, series: Series, *, reference: bool) -> dict[str, Any]:
    if reference:
        return {"color": REFERENCE, "width": 1.5, "dash": "dash"}
    dash = "dash" if series.dashed else ("solid", "dot", "dashdot")[index // len(COLOURS) % 3]
    return {"color": COLOURS[index % len(COLOURS)], "width": 2, "dash": dash}


def _points(figure: Figure) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Traces and layout of lines and of clouds of points."""
    all_x = [v for s in figure.series for v in s.x]
    all_y = [v for s in figure.series for v in s.y]
    kind_x, kind_y = _axis_kind(all_x, log=figure.log_x), _axis_kind(all_y, log=figure.log_y, dates=False)
    unified = figure.kind == "line" and len(figure.series) <= 6
    traces: list[dict[str, Any]] = []
    for i, series in enumerate(figure.series):
        reference = figure.kind == "scatter" and series.dashed
        style = _line_style(i, series, reference=reference)
        trace = {
            "type": "scatter",
            "x": _coordinates(series.x, kind_x),
            "y": _coordinates(series.y, kind_y),
            "name": _text(_short(series.name, 48)),
            "legendgroup": str(i),
        } | _hover(series, figure, unified=unified)
        if figure.kind == "line" or reference:
            few = not reference and len(series.x) <= 30
            trace |= {"mode": "lines+markers" if few else "lines", "line": style, "marker": {"size": 6, "color": style["color"]}}
            if not reference and (band := _band(series, trace, log=figure.log_y)):
                traces.append(band)
        else:
            many = len(series.x) > 200
            marker = {"size": 5 if many else 7, "opacity": 0.45 if many else 0.8, "color": style["color"]}
            trace |= {"mode": "markers", "marker": marker | {"symbol": SYMBOLS[i % len(SYMBOLS)]}}
            trace |= {"error_y": e | {"color": style["color"]}} if (e := _errors(series)) else {}
        traces.append(trace)
    layout = {
        "height": 360,
        "xaxis": _axis(figure.x_label, kind_x, all_x, grid=figure.kind == "scatter"),
        "yaxis": _axis(figure.y_label, kind_y, all_y),
        "hovermode": "x unified" if unified else "closest",
    }
    return traces, layout


def _band(series: Series, trace: dict[str, Any], *, log: bool) -> dict[str, Any] | None:
    """The interval around a line as closed areas, one for each stretch without gaps."""
    points = list(zip(trace["x"], map(_value, series.low), map(_value, series.high), strict=False))
    floor = min((v for s in (series.low, series.y, series.high) for v in map(_value, s) if v is not None and v > 0), default=None)
    xs: list[Any] = []
    ys: list[float | None] = []
    stretch: list[tuple[Any, float, float]] = []
    for x, low, high in [*points, (None, None, None)]:
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
    }


def _bars(figure: Figure) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Traces and layout of bars; many or long labels lay the bars on their side."""
    names = [v for s in figure.series for v in s.x]
    values = [v for s in figure.series for bounds in (s.y, s.low, s.high) for v in bounds]
    kind, value_kind = _axis_kind(names, log=figure.log_x), _axis_kind(values, log=figure.log_y)
    labels = {cell(v) for v in names}
    lying = kind == "category" and (len(labels) > 8 or max(map(len, labels), default=0) > 12)
    along, up = ("y", "x") if lying else ("x", "y")
    traces = []
    for i, series in enumerate(figure.series):
        trace: dict[str, Any] = {along: _coordinates(series.x, kind), up: _coordinates(series.y, value_kind)}
        trace |= {"name": _text(_short(series.name, 48))} | _hover(series, figure, x=along, y=up)
        if series.dashed:
            trace |= {"type": "scatter", "mode": "lines", "line": _line_style(i, series, reference=True)}
        else:
            trace |= {"type": "bar", "orientation": "h" if lying else "v", "marker": {"color": COLOURS[i % len(COLOURS)]}}
            trace |= {f"error_{up}": e} if (e := _errors(series)) else {}
        traces.append(trace)
    bars = max(1, sum(not s.dashed for s in figure.series))
    name_axis, value_axis = _axis(figure.x_label, kind, names, grid=False), _axis(figure.y_label, value_kind, values)
    if lying:
        name_axis |= {"autorange": "reversed", "ticks": ""}
    return traces, {
        "height": min(1400, 90 + len(labels) * max(24, 13 * bars)) if lying else 340,
        "xaxis": value_axis if lying else name_axis,
        "yaxis": name_axis if lying else value_axis,
        "barmode": "group",
        "bargap": 0.05 if kind == "linear" and bars == 1 else 0.3,
        "hovermode": "closest",
    }


def _heatmap(figure: Figure) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Traces and layout of heat maps, one below the other; small ones carry their figures, signed ones two colours."""
    series = [s for s in figure.series if s.z]
    values = [v for s in series for row in s.z for v in map(_value, row) if v is not None]
    signed = any(v < 0 for v in values)
    reach = max(map(abs, values), default=1.0) or 1.0
    colours: dict[str, Any] = {"colorscale": DIVERGING if signed else SEQUENTIAL, "colorbar": {"thickness": 12, "outlinewidth": 0}}
    colours |= {"cmin": -reach if signed else min(0.0, *values, 0.0), "cmax": reach} if values else {}
    traces: list[dict[str, Any]] = []
    layout: dict[str, Any] = {"coloraxis": colours, "height": 24, "hovermode": "closest", "annotations": []}
    heights = [_heatmap_height(s) for s in series]
    room, top = sum(heights) + 64 * len(heights), 1.0
    for i, (s, height) in enumerate(zip(series, heights, strict=True)):
        suffix = "" if i == 0 else str(i + 1)
        trace, across, down = _heatmap_trace(s, figure)
        domain = [max(0.0, top - height / room), top]
        trace |= {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}", "coloraxis": "coloraxis"}
        layout[f"xaxis{suffix}"] = across | {"anchor": f"y{suffix}"}
        layout[f"yaxis{suffix}"] = down | {"anchor": f"x{suffix}", "domain": domain}
        if len(series) > 1:
            place = {"xref": "paper", "yref": "paper", "x": 0, "y": domain[1], "xanchor": "left", "yanchor": "bottom"}
            layout["annotations"].append({"text": f"<b>{_text(s.name)}</b>", "showarrow": False, **place})
        top -= (height + 64) / room
        traces.append(trace)
    return traces, layout | {"height": 24 + room + (20 if len(series) > 1 else 0)}


def _heatmap_height(series: Series) -> int:
    return min(520, max(150, 38 * len(series.z))) if len(series.z) <= 14 else min(620, 26 * len(series.z))


def _heatmap_trace(series: Series, figure: Figure) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """One heat map with its two axes."""
    n_rows, n_columns = len(series.z), max(len(row) for row in series.z)
    z = [[_value(v) for v in row] for row in series.z]
    x, y = series.x or tuple(range(n_columns)), series.y or tuple(range(n_rows))
    kind_x, kind_y = (
        "category" if given and (len(given) <= 12 or kind == "category") else kind
        for given, kind in (
            (series.x, _axis_kind(x, log=figure.log_x, dates=False)),
            (series.y, _axis_kind(y, log=figure.log_y, dates=False)),
        )
    )
    trace: dict[str, Any] = {"type": "heatmap", "z": z, "x": _coordinates(x, kind_x), "y": _coordinates(y, kind_y)}
    trace |= {"name": _text(series.name), "hoverongaps": False, "xgap": 1, "ygap": 1}
    if n_columns <= 12 and n_rows <= 24:
        trace |= {"text": [[cell(v) for v in row] for row in z], "texttemplate": "%{text}", "textfont": {"size": 12}}
    else:
        trace |= {"xgap": 0, "ygap": 0}
    labels = [f"{_template_text(label or word)}: %{{{axis}}}" for label, word, axis in
              ((figure.y_label, "row", "y"), (figure.x_label, "column", "x"))]  # fmt: skip
    trace["hovertemplate"] = "<br>".join([*labels, "<b>%{z:,.4~g}</b><extra></extra>"])
    across, down = _axis(figure.x_label, kind_x, x, grid=False), _axis(figure.y_label, kind_y, y, grid=False)
    if kind_y == "category" or not series.y:
        down["autorange"] = "reversed"
    if not series.x and not series.y:
        pixels = {"showticklabels": False, "ticks": "", "showline": False, "constrain": "domain"}
        across, down = across | pixels, down | pixels | {"scaleanchor": "x"}
    return trace, across, down
