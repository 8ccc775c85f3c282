"""Figures as data -> plotly: one look for all, safe for colour-blind eyes, readable on a phone and on paper."""

from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING, Any

from netwright.core.finding import Figure, Series
from netwright.report import diagram
from netwright.report.animation import animated, controls, names, picked
from netwright.report.diagram import svg
from netwright.report.heatmap import heatmap
from netwright.report.look import FONT, INK, MUTED, escaped
from netwright.report.pictures import in_words, sheet, shortened
from netwright.report.text import cell, is_number, visible
from netwright.report.traces import bars, points

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure

MAX_POINTS = 3000
PLOTTED = {"line": "Line chart", "scatter": "Scatter plot", "bar": "Bar chart", "heatmap": "Heat map"}
"""Kinds that plotly draws; the others are diagrams, and sheets of pictures and texts."""


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

    frames: list[dict[str, Any]] = []
    steps = [s for frame in figure.frames for s in frame]
    some = (
        any(any(s.z) for s in figure.series) if figure.kind == "heatmap" else any(s.y for s in (*figure.series, *steps))
    )
    if not some:
        traces: list[dict[str, Any]] = []
        layout: dict[str, Any] = {"height": 120, "xaxis": {"visible": False}, "yaxis": {"visible": False}}
        layout["annotations"] = [{"text": "There was nothing to draw.", "showarrow": False, "font": {"color": MUTED}}]
    else:
        draw = {"line": points, "scatter": points, "bar": bars, "heatmap": heatmap}[figure.kind]
        traces, layout, frames = animated(figure, draw) if figure.frames else (*draw(figure), frames)
    base = {
        "template": "none",
        "font": {"family": FONT, "size": 13, "color": INK},
        "title": {"text": escaped(figure.title), "x": 0, "xref": "paper", "font": {"size": 16}, "automargin": True},
        "margin": {"l": 8, "r": 16, "t": 12, "b": 8},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "hoverlabel": {
            "bgcolor": "#ffffff",
            "bordercolor": MUTED,
            "align": "left",
            "namelength": -1,
            "font": {"color": INK},
        },
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.02,
            "yanchor": "bottom",
        },
        "showlegend": figure.kind != "heatmap" and sum(bool(s.name) for s in figure.series) > 1,
    }
    return PlotlyFigure(data=traces, layout=base | layout, frames=frames)


def to_html(figure: Figure, id: str) -> str:
    """A div with the figure's data, drawn by the page's script when it comes near the screen; plotly.js is not in it. Pictures,
    texts and diagrams are plain HTML. Of a figure with frames there is a slider below; what it shows first is its `series`.

    The title is left to the page, which can wrap it.
    """
    if figure.kind == "diagram":
        return svg(figure, id)
    if figure.kind not in PLOTTED:
        return sheet(figure, id)
    from jinja2.utils import htmlsafe_json_dumps

    spec = json.loads(str(to_plotly(figure).to_json()))
    spec["layout"].pop("title", None)
    height = int(spec["layout"]["height"])
    return (
        f'<div class="figure" id="{html.escape(id)}" role="img" aria-label="{html.escape(describe(figure))}">'
        f'<script type="application/json">{htmlsafe_json_dumps(spec, separators=(",", ":"))}</script>'
        f'<div class="plot" style="height:{height}px"></div></div>'
        f"{controls(figure) if spec.get('frames') else ''}"
    )


def describe(figure: Figure) -> str:
    """The figure in words, for those who cannot see it.

    >>> from netwright.core.finding import Figure, Series
    >>> series = Series(name="train", x=(1, 2), y=(0.5, 0.2))
    >>> describe(Figure(title="Loss", kind="line", series=(series,), x_label="epoch"))
    'Line chart: Loss. Across: epoch. train from 0.5 to 0.2.'
    """
    if figure.kind == "diagram":
        return diagram.in_words(figure)
    if figure.kind not in PLOTTED:
        return in_words(figure)
    parts = [f"{PLOTTED[figure.kind]}: {visible(figure.title).rstrip('.')}."]
    parts += [
        f"{where}: {visible(name)}." for where, name in (("Across", figure.x_label), ("Up", figure.y_label)) if name
    ]
    for series in figure.series[:8]:
        known = [(x, y) for x, y in zip(series.x, series.y, strict=False) if is_number(y)]
        name = visible(series.name) or "values"
        if not known:
            continue
        if figure.kind == "bar":
            most = max(known, key=lambda point: float(point[1]))
            parts.append(f"{name}: highest {visible(cell(most[0]))} with {cell(most[1])}.")
        elif figure.kind == "line":
            parts.append(f"{name} from {cell(known[0][1])} to {cell(known[-1][1])}.")
        else:
            parts.append(f"{name}: {len(known)} points.")
    if figure.frames:
        steps = names(figure)
        parts.append(f"In {len(steps)} steps, from {visible(steps[0])} to {visible(steps[-1])}.")
    return " ".join(parts)


def drawable(figure: Figure) -> Figure:
    """The figure with no more than can be drawn: at most `MAX_POINTS` points a cloud, evenly picked, so many pictures, texts, nodes
    and steps; its caption says what is not drawn."""
    if figure.kind not in PLOTTED:
        figure, note = diagram.sound(figure) if figure.kind == "diagram" else shortened(figure)
        return figure.model_copy(update={"caption": f"{figure.caption} {note}".strip()})
    figure, note = picked(figure)
    notes = [note] if note else []
    kept = []
    for series in figure.series:
        thin, note = _thinned(figure, series)
        notes += [note] if note else []
        kept.append(thin)
    frames = tuple(tuple(_thinned(figure, series)[0] for series in frame) for frame in figure.frames)
    for axis, log in (("x", figure.log_x), ("y", figure.log_y)):
        lost = sum(is_number(v) and v <= 0 for s in figure.series for v in getattr(s, axis)) if log else 0
        if lost:
            notes.append(f"{lost} points at or below 0 have no place on the logarithmic {axis} axis.")
    caption = " ".join([figure.caption, *notes]).strip()
    return figure.model_copy(update={"series": tuple(kept), "frames": frames, "caption": caption})


def _thinned(figure: Figure, series: Series) -> tuple[Series, str]:
    """A cloud with at most `MAX_POINTS` points, and a sentence on what is left out."""
    n = min(len(series.x), len(series.y))
    if figure.kind != "scatter" or n <= MAX_POINTS or series.dashed:
        return series, ""
    pick = [i * n // MAX_POINTS for i in range(MAX_POINTS)]
    note = f"{MAX_POINTS:,} of the {n:,} points{f' of {series.name}' if series.name else ''} are drawn."
    columns = {f: getattr(series, f) for f in ("x", "y", "low", "high", "hover")}
    return series.model_copy(update={f: tuple(v[i] for i in pick if i < len(v)) for f, v in columns.items()}), note
