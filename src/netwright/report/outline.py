"""Diagrams as lines of text, for the terminal: a node a line, and where its arrows come from."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from netwright.core.finding import Figure, Link
from netwright.report.diagram import sound
from netwright.report.look import shortened

MAX_LINES = 60
MAX_SOURCES = 8
_SIGNS = {"": "", "good": "✓", "bad": "✗"}


@dataclass(frozen=True)
class Line:
    """One node: a sign before it, its name and note, and what points to it (empty where that is the line above alone)."""

    sign: str
    name: str
    note: str = ""
    sources: str = ""


def outline(figure: Figure) -> list[Line]:
    """The nodes of a diagram level by level; an arrow down stands for an arrow from the line above and no other.

    >>> from netwright.core.finding import Node
    >>> nodes = [Node(id=id, label=id, level=k) for k, id in enumerate("abc")]
    >>> links = [Link(source="a", target="b"), Link(source="b", target="c", label="0.5"), Link(source="a", target="c")]
    >>> for line in outline(Figure(title="t", kind="diagram", nodes=nodes, links=links)):
    ...     print((line.sign or "-") + f" {line.name} {line.sources}".rstrip())
    - a
    ↓ b
    - c b (0.5), a
    """
    figure, _ = sound(figure)
    names = {node.id: node.label for node in figure.nodes}
    coming: dict[str, list[Link]] = defaultdict(list)
    for link in figure.links:
        coming[link.target].append(link)
    lines: list[Line] = []
    above = ""
    nodes = sorted(figure.nodes, key=lambda node: node.level)
    for node in nodes[:MAX_LINES]:
        links = coming[node.id]
        alone = [(x.source, x.label, x.mark) for x in links] == [(above, "", "")]
        sign = _SIGNS[node.mark] or ("↓" if alone and not node.mark else "")
        lines.append(Line(sign, shortened(node.label, 34), node.note, "" if sign == "↓" else _sources(links, names)))
        above = node.id
    if len(nodes) > MAX_LINES:
        lines.append(Line("", f"and {len(nodes) - MAX_LINES} more"))
    return lines


def _sources(links: list[Link], names: dict[str, str]) -> str:
    parts = []
    for link in links[:MAX_SOURCES]:
        inside = ", ".join(filter(None, (link.label, link.mark)))
        parts.append(names[link.source] + (f" ({inside})" if inside else ""))
    if len(links) > MAX_SOURCES:
        parts.append(f"and {len(links) - MAX_SOURCES} more")
    return ", ".join(parts)
