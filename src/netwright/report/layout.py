"""Where the nodes, arrows and labels of a diagram stand: levels in order, arrows that skip levels beside the nodes they pass."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from netwright.core.finding import Link, Node

Point = tuple[float, float]
WIDEST = 960
"""Pixels across from which levels are laid downwards where that is narrower: as wide as the page."""
NODE, NOTE, LABEL = 13.0, 11.0, 11.5
"""Sizes of type: of a node's label, of its note, of an arrow's label."""
LINE = 15.0
_STRETCHES = (1.0, 1.35, 1.8, 2.4)
_ALONG = (0.5, 0.4, 0.6, 0.32, 0.68, 0.25, 0.75, 0.18, 0.82)
"""Places on an arrow where its label may stand, the best first."""


@dataclass(frozen=True)
class Box:
    """A rectangle by its middle and its sizes."""

    x: float
    y: float
    width: float
    height: float

    def overlap(self, other: Box) -> float:
        """Pixels that both cover."""
        across = min(self.x + self.width / 2, other.x + other.width / 2) - max(
            self.x - self.width / 2, other.x - other.width / 2
        )
        down = min(self.y + self.height / 2, other.y + other.height / 2) - max(
            self.y - self.height / 2, other.y - other.height / 2
        )
        return max(across, 0.0) * max(down, 0.0)


@dataclass
class Placed:
    """A diagram with a place for everything, in pixels from the upper left.

    Args:
        boxes: of the nodes, by id. curves: of the links in order: first point, then three points a cubic piece.
        labels: of the links in order; None without a label. turned: whether levels follow each other downwards.
        overlap: pixels of labels that lie on other labels or on nodes.
    """

    boxes: dict[str, Box] = field(default_factory=dict)
    curves: list[list[Point]] = field(default_factory=list)
    labels: list[Box | None] = field(default_factory=list)
    turned: bool = False
    width: float = 0.0
    height: float = 0.0
    overlap: float = 0.0


def text_width(text: str, size: float) -> float:
    """About how wide a text is set, in pixels; a little too wide rather than too narrow.

    >>> text_width("ill", 10.0) < text_width("www", 10.0)
    True
    """
    return size * sum(map(_width, text))


def _width(letter: str) -> float:
    if unicodedata.east_asian_width(letter) in "WF":
        return 1.05
    if letter in "iljtfr.,:;|!'()[] ":
        return 0.36
    if letter in "mwMW@%→":
        return 0.95
    return 0.7 if letter.isupper() else 0.6


def place(nodes: Sequence[Node], links: Sequence[Link]) -> Placed:
    """A place for all nodes (ids all different) and links (between those ids).

    Levels follow each other from the left, or downwards where that would be too wide. Within a level the order is as given. A
    link over several levels passes beside the nodes between. Rows move apart until labels are free.

    >>> found = place([Node(id="a", label="a"), Node(id="b", label="b", level=1)], [Link(source="a", target="b")])
    >>> found.boxes["a"].x < found.boxes["b"].x and found.boxes["a"].y == found.boxes["b"].y
    True
    """
    flat = _loose(nodes, links, turned=False)
    if flat.width <= WIDEST:
        return flat
    turned = _loose(nodes, links, turned=True)
    return turned if turned.width < flat.width else flat


def _loose(nodes: Sequence[Node], links: Sequence[Link], *, turned: bool) -> Placed:
    tries: list[Placed] = []
    for stretch in _STRETCHES:
        tries.append(_Layout(nodes, links, turned=turned, stretch=stretch).placed())
        if not tries[-1].overlap:
            break
    return min(tries, key=lambda found: found.overlap)


def sizes(node: Node) -> tuple[float, float]:
    """Width and height of a node's box."""
    width = max(text_width(node.label, NODE), text_width(node.note, NOTE)) + 20
    height = 22 + LINE * (1 + bool(node.note)) - 4
    return max(width, height), height


class _Layout:
    """One attempt. `a` runs along the levels, `b` across them; turning swaps what they mean on the page."""

    def __init__(self, nodes: Sequence[Node], links: Sequence[Link], *, turned: bool, stretch: float) -> None:
        self.links, self.turned = links, turned
        ranks = {level: k for k, level in enumerate(sorted({n.level for n in nodes}))}
        self.column = {n.id: ranks[n.level] for n in nodes}
        self.columns: list[list[str]] = [[n.id for n in nodes if ranks[n.level] == k] for k in range(len(ranks))]
        size = {n.id: sizes(n) for n in nodes}
        self.size_a = {id: s[1 if turned else 0] for id, s in size.items()}
        self.size_b = {id: s[0 if turned else 1] for id, s in size.items()}
        self.gap_b = (24.0 if turned else 16.0) * stretch + (stretch - 1) * 16
        self.stretch = stretch
        self.bent = [link for link in links if self.column[link.source] >= self.column[link.target]]
        self.b: dict[str, float] = {}
        self.passes: dict[tuple[str, int], float] = {}
        """(source, column) -> where arrows from that source pass the column."""
        self._across()
        self._along()

    def _across(self) -> None:
        targets = defaultdict(list)
        for link in self.links:
            for k in range(self.column[link.source] + 1, self.column[link.target]):
                targets[link.source, k].append(link.target)
        for members in self.columns:
            self._spread([(id, self.size_b[id]) for id in members], set(members))
        for _ in range(2 if targets else 0):
            for k, members in enumerate(self.columns):
                order = [(id, self.b[id]) for id in members]
                wanted = sorted((self._wished(s, k, ends), s) for (s, at), ends in targets.items() if at == k)
                items: list[tuple[str | tuple[str, int], float]] = []
                for id, b in order:
                    while wanted and wanted[0][0] < b:
                        items.append(((wanted.pop(0)[1], k), 8.0))
                    items.append((id, self.size_b[id]))
                items += [((s, k), 8.0) for _, s in wanted]
                self._spread(items, set(members))

    def _wished(self, source: str, column: int, ends: Iterable[str]) -> float:
        """Where an arrow would pass a column on a straight way."""
        found = [
            self.b[source]
            + (self.b[end] - self.b[source]) * (column - self.column[source]) / (self.column[end] - self.column[source])
            for end in ends
        ]
        return sum(found) / len(found)

    def _spread(self, items: Sequence[tuple[str | tuple[str, int], float]], nodes: set[str]) -> None:
        """Stand items under each other; the nodes among them stay in the middle."""
        at, places = 0.0, []
        for item, size in items:
            places.append((item, at + size / 2))
            at += size + self.gap_b
        own = [b for item, b in places if item in nodes]
        middle = (own[0] + own[-1]) / 2
        for item, b in places:
            if isinstance(item, str):
                self.b[item] = b - middle
            else:
                self.passes[item] = b - middle

    def _along(self) -> None:
        """Where each column begins and ends: gaps hold the labels of the arrows that end behind them."""
        self.begin: list[float] = []
        self.end: list[float] = []
        at = 0.0
        for k, members in enumerate(self.columns):
            widest = max(self.size_a[id] for id in members)
            self.begin.append(at)
            self.end.append(at + widest)
            words = [link.label for link in self.links if self.column[link.target] == k + 1 and link.label]
            if self.turned:
                gap = (34.0 + 12.0 * bool(words)) * self.stretch
            else:
                # the wider a fan of arrows, the longer it must be for its arrows to part
                ends = [x for x in self.links if self.column[x.target] == k + 1]
                fan = max((abs(self.b[x.source] - self.b[x.target]) for x in ends), default=0.0)
                gap = max(50.0 + min(fan / 4, 70.0), max((text_width(w, LABEL) for w in words), default=0.0) + 40)
                gap *= self.stretch if words else 1.0
            gap += 34 * any(self._beside(link, k) or self._beside(link, k + 1) for link in self.bent)
            at += widest + gap

    def _beside(self, link: Link, column: int) -> bool:
        """Whether a link stays in a column."""
        return self.column[link.source] == self.column[link.target] == column and link.source != link.target

    def _middle(self, id: str) -> Point:
        k = self.column[id]
        return (self.begin[k] + self.end[k]) / 2, self.b[id]

    def _curve(self, link: Link, lane: float) -> list[Point]:
        """The arrow of a link: a first point, then three a piece."""
        (a0, b0), (a1, b1) = self._middle(link.source), self._middle(link.target)
        half0, half1 = self.size_a[link.source] / 2, self.size_a[link.target] / 2
        if link.source == link.target:
            top, reach = b0 - self.size_b[link.source] / 2, min(half0 * 0.6, 16.0)
            return [(a0 + reach, top), (a0 + reach + 12, top - 34), (a0 - reach - 12, top - 34), (a0 - reach, top)]
        if self.column[link.source] == self.column[link.target]:
            side = 1 if b1 > b0 else -1  # one way on the one side, the other way on the other
            out = a0 + side * (max(half0, half1) + 26 + min(abs(b1 - b0) / 6, 30))
            return [(a0 + side * half0, b0), (out, b0), (out, b1), (a1 + side * half1, b1)]
        if self.column[link.source] > self.column[link.target]:
            start, end = b0 + self.size_b[link.source] / 2, b1 + self.size_b[link.target] / 2
            return [(a0, start), (a0, lane), (a1, lane), (a1, end)]
        points = [(a0 + half0, b0)]
        for k in range(self.column[link.source] + 1, self.column[link.target]):
            b = self.passes[link.source, k]
            points += _piece(points[-1], (self.begin[k], b)) + _piece((self.begin[k], b), (self.end[k], b))
        return points + _piece(points[-1], (a1 - half1, b1))

    def placed(self) -> Placed:
        """Everything on the page: turned, and moved so that the upper left is (0, 0)."""
        lowest = max([self.b[id] + self.size_b[id] / 2 for id in self.b] + list(self.passes.values()))
        curves, lane = [], lowest
        for link in self.links:
            lane += 16.0 * (self.column[link.source] > self.column[link.target])
            curves.append([self._page(p) for p in self._curve(link, lane * 1.33 + 12)])
        boxes = {}
        for id in self.column:
            x, y = self._page(self._middle(id))
            wide, high = (self.size_b[id], self.size_a[id]) if self.turned else (self.size_a[id], self.size_b[id])
            boxes[id] = Box(x, y, wide, high)
        labels, overlap = _labels(self.links, curves, list(boxes.values()))
        found = Placed(boxes, curves, labels, self.turned, overlap=overlap)
        return _moved(found)

    def _page(self, point: Point) -> Point:
        return (point[1], point[0]) if self.turned else point


def _piece(start: Point, end: Point) -> list[Point]:
    """A cubic piece that leaves and arrives along the levels."""
    bend = (end[0] - start[0]) / 2
    return [(start[0] + bend, start[1]), (end[0] - bend, end[1]), end]


def at(curve: Sequence[Point], t: float) -> Point:
    """The point of the last cubic piece at t in [0, 1]."""
    p0, p1, p2, p3 = curve[-4:]
    s = 1 - t
    w = (s**3, 3 * s * s * t, 3 * s * t * t, t**3)
    x, y = (sum(k * p[i] for k, p in zip(w, (p0, p1, p2, p3), strict=True)) for i in (0, 1))
    return x, y


def _labels(
    links: Sequence[Link], curves: Sequence[Sequence[Point]], taken: list[Box]
) -> tuple[list[Box | None], float]:
    """A place for each label on its arrow's last piece, where it covers least; and what is covered all the same."""
    found: list[Box | None] = []
    total = 0.0
    for link, curve in zip(links, curves, strict=True):
        if not link.label:
            found.append(None)
            continue
        wide = text_width(link.label, LABEL) + 10
        choices = [Box(*at(curve, t), wide, LINE) for t in _ALONG]
        costs = [sum(choice.overlap(other) for other in taken) for choice in choices]
        best = min(range(len(choices)), key=costs.__getitem__)
        total += costs[best]
        taken.append(choices[best])
        found.append(choices[best])
    return found, total


def _moved(found: Placed) -> Placed:
    """The diagram in its upper left corner, with a margin."""
    solid = [*found.boxes.values(), *(b for b in found.labels if b)]
    xs = [b.x + s * b.width / 2 for b in solid for s in (-1, 1)] + [at(c, 0.5)[0] for c in found.curves]
    ys = [b.y + s * b.height / 2 for b in solid for s in (-1, 1)] + [at(c, 0.5)[1] for c in found.curves]
    for curve in found.curves:
        xs += [p[0] for p in curve[::3]]
        ys += [p[1] for p in curve[::3]]
    margin = 6.0
    dx, dy = margin - min(xs), margin - min(ys)
    found.boxes = {id: Box(b.x + dx, b.y + dy, b.width, b.height) for id, b in found.boxes.items()}
    found.curves = [[(x + dx, y + dy) for x, y in curve] for curve in found.curves]
    found.labels = [b and Box(b.x + dx, b.y + dy, b.width, b.height) for b in found.labels]
    found.width, found.height = max(xs) + dx + margin, max(ys) + dy + margin
    return found
