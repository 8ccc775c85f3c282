"""Diagrams: every node and arrow is drawn, nothing covers a node or a label, nothing in them is trusted."""

from __future__ import annotations

import io
import itertools
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from netwright.core.finding import Figure, Finding, Link, Node
from netwright.report.diagram import MAX_LINKS, MAX_NODES, in_words, sound, svg
from netwright.report.figures import describe, drawable, to_html
from netwright.report.layout import WIDEST, Placed, at, place, sizes
from netwright.report.look import COLOURS
from netwright.report.outline import outline
from netwright.report.terminal import print_finding

HOSTILE = "</title></svg><script>window.hacked=1</script>\"' onload=x \x1b[31m\u202e"


def diagram(nodes, links=(), title="t") -> Figure:
    return Figure(title=title, kind="diagram", nodes=tuple(nodes), links=tuple(links))


def layers(*sizes_: int, labels: bool = False) -> Figure:
    """A net of full layers."""
    nodes = [
        Node(id=f"{level}.{i}", label=f"u{level}{i}", level=level) for level, n in enumerate(sizes_) for i in range(n)
    ]
    links = [
        Link(source=f"{level}.{i}", target=f"{level + 1}.{j}", label=f"{i - j:+d}" if labels else "")
        for level in range(len(sizes_) - 1)
        for i in range(sizes_[level])
        for j in range(sizes_[level + 1])
    ]
    return diagram(nodes, links)


def skipping() -> Figure:
    """Five levels of three nodes, a chain along each row, and arrows over one to three levels."""
    nodes = [
        Node(id=f"{level}.{i}", label=f"n{level}.{i}", note="1 × 2", level=level)
        for level in range(5)
        for i in range(3)
    ]
    links = [Link(source=f"{level}.{i}", target=f"{level + 1}.{i}") for level in range(4) for i in range(3)]
    links += [
        Link(source="0.1", target="3.1", label="far"),
        Link(source="1.0", target="4.2"),
        Link(source="0.2", target="2.0"),
    ]
    return diagram(nodes, links)


def chain(n: int) -> Figure:
    nodes = [Node(id=str(k), label=f"a rather long name {k}", level=k) for k in range(n)]
    return diagram(nodes, [Link(source=str(k), target=str(k + 1)) for k in range(n - 1)])


def placed(figure: Figure) -> Placed:
    return place(figure.nodes, figure.links)


def drawn(figure: Figure) -> ET.Element:
    """The SVG, parsed as strictly as XML is."""
    html = svg(figure, "f")
    return ET.fromstring(html[html.index("<svg") : html.index("</svg>") + 6])


def points(curve, n: int = 20):
    """Points along all pieces of a curve."""
    for k in range(0, len(curve) - 1, 3):
        yield from (at(curve[k : k + 4], i / n) for i in range(n + 1))


CASES = {"layers": layers(4, 3, 2), "labels": layers(4, 3, 2, labels=True), "skips": skipping(), "chain": chain(12)}


@pytest.mark.parametrize("case", CASES)
def test_every_node_and_arrow_is_drawn_once(case):
    figure = CASES[case]
    root = drawn(figure)
    texts = [e.text for e in root.iter("text")]
    assert len(list(root.iter("path"))) == len(list(root.iter("polygon"))) == len(figure.links)
    assert all(texts.count(node.label) == 1 for node in figure.nodes)
    assert sorted(t for t in texts if t in {x.label for x in figure.links}) == sorted(
        x.label for x in figure.links if x.label
    )


@pytest.mark.parametrize("case", CASES)
def test_no_node_covers_another_and_levels_follow_each_other(case):
    figure = CASES[case]
    found = placed(figure)
    assert all(a.overlap(b) == 0 for a, b in itertools.combinations(found.boxes.values(), 2))
    along = (lambda b: b.y) if found.turned else (lambda b: b.x)
    for a, b in itertools.combinations(figure.nodes, 2):
        if a.level < b.level:
            assert along(found.boxes[a.id]) < along(found.boxes[b.id])


@pytest.mark.parametrize("case", CASES)
def test_nodes_of_a_level_keep_their_order(case):
    figure = CASES[case]
    found = placed(figure)
    across = (lambda b: b.x) if found.turned else (lambda b: b.y)
    for level in {n.level for n in figure.nodes}:
        places = [across(found.boxes[n.id]) for n in figure.nodes if n.level == level]
        assert places == sorted(places)


def test_an_arrow_over_levels_passes_beside_the_nodes_between():
    figure = skipping()
    found = placed(figure)
    for link, curve in zip(figure.links, found.curves, strict=True):
        for id, box in found.boxes.items():
            if id not in (link.source, link.target):
                inside = [
                    p for p in points(curve) if abs(p[0] - box.x) < box.width / 2 and abs(p[1] - box.y) < box.height / 2
                ]
                assert not inside, (link, id)


@pytest.mark.parametrize("figure", [layers(4, 3, 2, labels=True), layers(8, 1, labels=True), skipping()])
def test_labels_lie_on_their_arrows_and_cover_nothing(figure):
    found = placed(figure)
    assert found.overlap == 0
    boxes = [*found.boxes.values(), *(b for b in found.labels if b)]
    assert all(a.overlap(b) == 0 for a, b in itertools.combinations(boxes, 2))
    for box, curve in zip(found.labels, found.curves, strict=True):
        assert box is None or min(abs(p[0] - box.x) + abs(p[1] - box.y) for p in points(curve, 200)) < 3


def test_everything_is_inside_the_picture():
    for figure in CASES.values():
        found = placed(figure)
        for box in found.boxes.values():
            assert box.x - box.width / 2 >= 0 and box.x + box.width / 2 <= found.width
            assert box.y - box.height / 2 >= 0 and box.y + box.height / 2 <= found.height
        assert all(
            -1 <= x <= found.width + 1 and -1 <= y <= found.height + 1 for c in found.curves for x, y in points(c)
        )


def test_a_long_chain_runs_downwards_so_that_it_fits_a_page():
    assert placed(chain(12)).turned and placed(chain(12)).width < WIDEST / 3
    assert not placed(layers(4, 3, 2)).turned


def test_a_node_is_as_wide_as_its_words():
    assert sizes(Node(id="a", label="w" * 20))[0] > 20 * 10 > sizes(Node(id="a", label="x"))[0]


def test_good_and_bad_differ_in_more_than_colour():
    nodes = [Node(id=m or "plain", label=m or "plain", mark=m) for m in ("", "good", "bad")]
    rects = [e.attrib for e in drawn(diagram(nodes)).iter("rect")]
    assert len({r["stroke-width"] for r in rects}) == 3 and sum("stroke-dasharray" in r for r in rects) == 1
    assert [r["stroke"] in COLOURS for r in rects] == [False, True, True]


@pytest.mark.parametrize("link", [("a", "a"), ("b", "a"), ("a", "c"), ("c", "a")])
def test_loops_and_arrows_backwards_or_within_a_level_are_drawn_outside_their_nodes(link):
    figure = diagram(
        [Node(id="a", label="a"), Node(id="c", label="c"), Node(id="b", label="b", level=1)],
        [Link(source=link[0], target=link[1], label="w")],
    )
    found = placed(figure)
    x, y = at(found.curves[0], 0.5)
    assert not any(abs(x - b.x) < b.width / 2 and abs(y - b.y) < b.height / 2 for b in found.boxes.values())


def test_foreign_text_is_shown_and_nothing_else():
    node = Node(id=HOSTILE, label=HOSTILE, note=HOSTILE)
    figure = diagram(
        [node, Node(id="b", label="b", level=1)], [Link(source=HOSTILE, target="b", label=HOSTILE)], HOSTILE
    )
    html = to_html(drawable(figure), "f")
    assert "<script" not in html
    root = drawn(figure)
    assert {e.tag for e in root.iter()} == {"svg", "g", "path", "polygon", "rect", "text", "title"}
    assert all(not name.startswith("on") for e in root.iter() for name in e.attrib)
    assert "\x1b" not in html and "\u202e" not in html


def test_what_cannot_be_drawn_is_left_out_and_counted():
    nodes = [Node(id=str(i), label="n", level=i % 5) for i in range(MAX_NODES + 30)]
    links = [Link(source="0", target="1")] * (MAX_LINKS + 5) + [Link(source="0", target="nowhere")]
    figure = drawable(diagram([*nodes, Node(id="0", label="twice")], links))
    assert (len(figure.nodes), len(figure.links)) == (MAX_NODES, MAX_LINKS)
    assert f"{MAX_NODES} of {MAX_NODES + 31} nodes" in figure.caption and f"{MAX_LINKS} of 606 arrows" in figure.caption
    assert sound(layers(2, 1)) == (layers(2, 1), "")


def test_an_empty_diagram_says_so():
    assert "nothing to draw" in to_html(diagram([]), "f")


def test_the_words_for_the_blind_name_every_arrow():
    figure = diagram(
        [Node(id="x", label="x"), Node(id="y", label="y", note="0.5", level=1, mark="bad")],
        [Link(source="x", target="y", label="−2", mark="good")],
        "Net",
    )
    assert describe(figure) == in_words(figure) == "Diagram: Net. 2 nodes in 2 levels, 1 arrow."
    html = to_html(figure, "f")
    assert "<li>x to y 0.5 with −2, good</li>" in html and "<li>y 0.5: bad</li>" in html


def test_the_terminal_shows_nodes_with_where_their_arrows_come_from():
    console = Console(file=io.StringIO(), width=100)
    print_finding(Finding(probe="p", family="gallery", verdict="info", title="t", figures=(skipping(),)), console)
    text = console.file.getvalue()
    assert "n3.1  1 × 2  ← n2.1, n0.1 (far)" in text and "seen in a report" not in text


def test_a_chain_in_the_terminal_is_read_downwards():
    lines = outline(chain(4))
    assert [line.sign for line in lines] == ["", "↓", "↓", "↓"] and not any(line.sources for line in lines)


ids = st.sampled_from("abcdef")
words = st.text(max_size=9)
marks = st.sampled_from(["", "good", "bad"])
any_diagram = st.builds(
    Figure,
    title=words,
    kind=st.just("diagram"),
    nodes=st.lists(st.builds(Node, id=ids, label=words, note=words, level=st.integers(-3, 9), mark=marks), max_size=8),
    links=st.lists(st.builds(Link, source=ids, target=ids, label=words, mark=marks), max_size=12),
)


@settings(deadline=None, max_examples=100)
@given(any_diagram)
def test_every_diagram_that_a_finding_may_hold_is_drawn(figure):
    found = drawable(figure)
    if found.nodes:
        root = drawn(found)
        assert float(root.attrib["width"]) < 5000 and len(list(root.iter("path"))) == len(found.links)
    assert describe(found) and len(outline(found)) == len(found.nodes)
