"""Figures that change step by step: every step has the same traces on the same axes, so that only what changes moves."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from typing import Any

from netwright.core.finding import Cell, Figure, Series
from netwright.report.look import finite
from netwright.report.text import visible

Draw = Callable[..., tuple[list[dict[str, Any]], dict[str, Any]]]
MAX_FRAMES = 120
"""How many steps are shown, evenly picked."""
_CHANGES = ("type", "x", "y", "z", "text", "hovertext", "name", "mode", "marker", "error_x", "error_y")
"""What a step may change of a trace; its place, colours and words of reference stay."""


def animated(figure: Figure, draw: Draw) -> tuple[list[dict[str, Any]], dict[str, Any], list[dict[str, Any]]]:
    """Traces, layout, and plotly's frames of a figure with `frames`.

    Args:
        figure: with at least one frame. draw: (figure, among) -> (traces, layout), as `points`, `bars` and `heatmap` are.
    """
    among = (*figure.series, *(s for frame in figure.frames for s in frame))
    traces, layout = draw(figure, among)
    base = {trace["uid"]: trace for trace in traces}
    steps = []
    for frame in figure.frames:
        drawn, _ = draw(figure.model_copy(update={"series": frame}), among)
        steps.append({trace["uid"]: trace for trace in drawn})
    if figure.kind != "heatmap":
        for step in steps:
            base |= {uid: trace | _EMPTY for uid, trace in step.items() if uid not in base}
        _hold(layout, figure, among)
    order = sorted(base, key=lambda uid: (int(uid.partition("-")[0]), "-" not in uid))
    frames = [
        {
            "name": str(k),
            "data": [_change(step.get(uid, {"type": base[uid]["type"], **_EMPTY})) for uid in order],
        }
        for k, step in enumerate(steps)
    ]
    return [base[uid] for uid in order], layout, frames


_EMPTY: dict[str, Any] = {"x": [], "y": []}


def _change(trace: dict[str, Any]) -> dict[str, Any]:
    return {key: trace[key] for key in _CHANGES if key in trace}


def _hold(layout: dict[str, Any], figure: Figure, among: Sequence[Series]) -> None:
    """Axes that show all steps, or each step would have its own."""
    across = [v for s in among for v in s.x]
    up = [v for s in among for bounds in (s.y, s.low, s.high) for v in bounds]
    lying = figure.kind == "bar" and layout["yaxis"].get("autorange") == "reversed"
    for axis, values, sizes in (
        ("xaxis", up if lying else across, lying),
        ("yaxis", across if lying else up, not lying),
    ):
        reach = _reach(values, layout[axis]["type"], zero=sizes and figure.kind == "bar")
        if reach and "autorange" not in layout[axis]:
            layout[axis]["range"] = reach


def _reach(values: Sequence[Cell], kind: str, *, zero: bool) -> list[float] | None:
    """The range of an axis with a little room at both ends."""
    known = [v for value in values if (v := finite(value)) is not None]
    if kind == "log":
        known = [math.log10(v) for v in known if v > 0]
    elif kind != "linear":
        return None
    if not known:
        return None
    low, high = min(known), max(known)
    if zero and kind == "linear":
        low, high = min(low, 0.0), max(high, 0.0)
    room = 0.05 * (high - low) or 0.5
    return [low - room * (low != 0 or not zero), high + room * (high != 0 or not zero)]


def controls(figure: Figure) -> str:
    """A button and a slider for the steps; hidden until the page's script shows them."""
    steps = [visible(name) for name in names(figure)]
    words = html.escape(visible(figure.title).rstrip("."))
    where = shown_first(figure)
    items = "".join(f"<li>{html.escape(step)}</li>" for step in steps)
    return (
        f'<div class="steps" hidden><button type="button">Play</button>'
        f'<input type="range" min="0" max="{len(steps) - 1}" step="1" value="{where}" aria-label="Step of: {words}">'
        f"<output>{html.escape(steps[where])}</output><ol hidden>{items}</ol></div>"
    )


def names(figure: Figure) -> list[str]:
    """A name for every frame: its number where it was given none.

    >>> names(Figure(title="t", kind="line", frames=((), ()), steps=("start",)))
    ['start', '2']
    """
    given = [*figure.steps, *([""] * len(figure.frames))][: len(figure.frames)]
    return [name or str(k + 1) for k, name in enumerate(given)]


def shown_first(figure: Figure) -> int:
    """The frame that is what `series` shows; the last where it is none."""
    return next((k for k, frame in enumerate(figure.frames) if frame == figure.series), len(figure.frames) - 1)


def picked(figure: Figure) -> tuple[Figure, str]:
    """The figure with at most `MAX_FRAMES` steps, the first and the last among them, and a sentence on what is left out."""
    n = len(figure.frames)
    if n <= MAX_FRAMES:
        return figure, ""
    kept = [round(i * (n - 1) / (MAX_FRAMES - 1)) for i in range(MAX_FRAMES)]
    every = names(figure)
    update = {"frames": tuple(figure.frames[i] for i in kept), "steps": tuple(every[i] for i in kept)}
    return figure.model_copy(update=update), f"{MAX_FRAMES} of the {n:,} steps are shown."
