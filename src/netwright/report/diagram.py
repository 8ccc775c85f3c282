"""Diagrams as inline SVG: nodes by level, arrows with labels; no script draws them, and nothing in them is trusted."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable

from netwright.core.finding import Figure, Link, Mark, Node
from netwright.report.layout import LABEL, LINE, NODE, NOTE, Box, Placed, Point, place
from netwright.report.look import COLOURS, FONT, INK, MUTED, shortened
from netwright.report.text import visible

MAX_NODES, MAX_LINKS = 120, 600
"""How many are drawn; a caption says what is left out."""
_LENGTHS = {"label": 28, "note": 34, "link": 18}
_COLOUR: dict[Mark, str] = {"": MUTED, "good": COLOURS[2], "bad": COLOURS[1]}
_FILL: dict[Mark, str] = {"": "#f6f8fb", "good": "#dcf1e8", "bad": "#fbeadf"}
_HEAD = 8.0


def svg(figure: Figure, id: str) -> str:
    """The diagram as HTML: a picture in SVG, and a list of its arrows for those who cannot see it.

    Good and bad differ in more than colour: what is good is drawn thick, what is bad dashed.

    >>> node = Node(id="a", label="<b>", mark="good")
    >>> found = svg(Figure(title="t", kind="diagram", nodes=(node,)), "f")
    >>> "<b>" in found, "&lt;b&gt;" in found
    (False, True)
    """
    figure, _ = sound(figure)
    if not figure.nodes:
        return f'<p class="small" id="{html.escape(id)}">There was nothing to draw.</p>'
    nodes = [_short(node) for node in figure.nodes]
    links = [link.model_copy(update={"label": _cut(link.label, "link")}) for link in figure.links]
    found = place(nodes, links)
    faint = ' opacity="0.55"' if len(links) > 60 else ""
    arrows = "".join(_arrow(link, curve) for link, curve in zip(links, found.curves, strict=True))
    boxes = "".join(_box(node, given, found.boxes[node.id]) for node, given in zip(nodes, figure.nodes, strict=True))
    labels = "".join(_label(link, box) for link, box in zip(links, found.labels, strict=True) if box)
    wide, high = math.ceil(found.width), math.ceil(found.height)
    return (
        f'<div class="diagram" id="{html.escape(id)}" tabindex="0" role="img" aria-label="{html.escape(in_words(figure))}">'
        f'<svg aria-hidden="true" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" '
        f'style="min-width:{_least(found)}px" font-family="{html.escape(FONT)}" text-anchor="middle">'
        f"<g{faint}>{arrows}</g>{boxes}{labels}</svg></div>{_listed(figure)}"
    )


def in_words(figure: Figure) -> str:
    """What a diagram shows, for those who cannot see it.

    >>> nodes = (Node(id="a", label="a"), Node(id="b", label="b", level=1))
    >>> in_words(Figure(title="Sum", kind="diagram", nodes=nodes, links=(Link(source="a", target="b"),)))
    'Diagram: Sum. 2 nodes in 2 levels, 1 arrow.'
    """
    n, levels, arrows = len(figure.nodes), len({node.level for node in figure.nodes}), len(figure.links)
    counts = [_count(n, "node") + f" in {_count(levels, 'level')}", _count(arrows, "arrow")]
    return f"Diagram: {visible(figure.title).rstrip('.')}. {', '.join(counts)}."


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def sound(figure: Figure) -> tuple[Figure, str]:
    """The diagram with no more than can be drawn, and a sentence on what is left out: nodes that share an id, arrows from or to
    nowhere, and what is beyond `MAX_NODES` and `MAX_LINKS`."""
    unique = {node.id: node for node in reversed(figure.nodes)}
    nodes = [node for node in figure.nodes if unique[node.id] is node][:MAX_NODES]
    known = {node.id for node in nodes}
    links = [link for link in figure.links if {link.source, link.target} <= known][:MAX_LINKS]
    notes = []
    if len(nodes) < len(figure.nodes):
        notes.append(f"{len(nodes)} of {_count(len(figure.nodes), 'node')} are drawn.")
    if len(links) < len(figure.links):
        notes.append(f"{len(links)} of {_count(len(figure.links), 'arrow')} are drawn.")
    return figure.model_copy(update={"nodes": tuple(nodes), "links": tuple(links)}), " ".join(notes)


def _short(node: Node) -> Node:
    return node.model_copy(update={"label": _cut(node.label, "label"), "note": _cut(node.note, "note")})


def _cut(words: str, what: str) -> str:
    return shortened(" ".join(visible(words).split()), _LENGTHS[what])


def _least(found: Placed) -> int:
    """Pixels below which the picture is not shrunk but scrolled, or its words would be too small to read."""
    return min(math.ceil(found.width), max(280, math.floor(0.75 * found.width)))


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _points(points: Iterable[Point]) -> str:
    return " ".join(f"{_n(x)},{_n(y)}" for x, y in points)


def _arrow(link: Link, curve: list[Point]) -> str:
    """A line with a head; the line ends inside the head."""
    (x1, y1), (x2, y2) = curve[-2], curve[-1]
    away = math.hypot(x2 - x1, y2 - y1) or 1.0
    u, v = (x2 - x1) / away, (y2 - y1) / away
    base = (x2 - _HEAD * u, y2 - _HEAD * v)
    head = [
        (x2, y2),
        (base[0] - _HEAD * 0.45 * v, base[1] + _HEAD * 0.45 * u),
        (base[0] + _HEAD * 0.45 * v, base[1] - _HEAD * 0.45 * u),
    ]
    colour, width = _COLOUR[link.mark], {"": "1.3", "good": "2.4", "bad": "1.6"}[link.mark]
    dash = ' stroke-dasharray="5 4"' if link.mark == "bad" else ""
    inside = (x2 - _HEAD * 0.6 * u, y2 - _HEAD * 0.6 * v)
    path = f"M{_points(curve[:1])} C{_points([*curve[1:-1], inside])}"
    return (
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dash}/>'
        f'<polygon points="{_points(head)}" fill="{colour}"/>'
    )


def _box(node: Node, given: Node, box: Box) -> str:
    colour, width = _COLOUR[node.mark], {"": "1.2", "good": "2.6", "bad": "1.6"}[node.mark]
    dash = ' stroke-dasharray="5 4"' if node.mark == "bad" else ""
    round_ = box.height / 2 if not node.note and box.width <= 2 * box.height else 8
    top = box.y + 4.5 - (LINE / 2 if node.note else 0)
    whole = html.escape(" ".join(visible(f"{given.label}\n{given.note}").split()))
    note = (
        f'<text x="{_n(box.x)}" y="{_n(top + LINE)}" font-size="{NOTE}" fill="{MUTED}">{html.escape(node.note)}</text>'
        if node.note
        else ""
    )
    return (
        f"<g><title>{whole}</title>"
        f'<rect x="{_n(box.x - box.width / 2)}" y="{_n(box.y - box.height / 2)}" width="{_n(box.width)}" '
        f'height="{_n(box.height)}" rx="{_n(round_)}" fill="{_FILL[node.mark]}" stroke="{colour}" stroke-width="{width}"{dash}/>'
        f'<text x="{_n(box.x)}" y="{_n(top)}" font-size="{NODE}" fill="{INK}">{html.escape(node.label)}</text>{note}</g>'
    )


def _label(link: Link, box: Box) -> str:
    """A label on white, so that it can be read on arrows that cross it."""
    colour = INK if not link.mark else _COLOUR[link.mark]
    return (
        f'<rect x="{_n(box.x - box.width / 2 + 3)}" y="{_n(box.y - 7)}" width="{_n(box.width - 6)}" height="14" rx="3" '
        f'fill="#ffffff" fill-opacity="0.88"/>'
        f'<text x="{_n(box.x)}" y="{_n(box.y + 4)}" font-size="{LABEL}" fill="{colour}">{html.escape(link.label)}</text>'
    )


def _listed(figure: Figure) -> str:
    """The arrows as a list that only readers of screens meet."""
    names = {node.id: " ".join(filter(None, (node.label, node.note))) for node in figure.nodes}
    marks = {node.id: node.mark for node in figure.nodes if node.mark}
    items = [f"{visible(names[id])}: {mark}" for id, mark in marks.items()]
    for link in figure.links:
        label = f" with {visible(link.label)}" if link.label else ""
        mark = f", {link.mark}" if link.mark else ""
        items.append(f"{visible(names[link.source])} to {visible(names[link.target])}{label}{mark}")
    rows = "".join(f"<li>{html.escape(item)}</li>" for item in items)
    return f'<ul class="hidden" aria-label="Arrows">{rows}</ul>' if rows else ""
