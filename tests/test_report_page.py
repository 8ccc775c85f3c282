"""The page: one file without the network, in which foreign text stays text, and which can be read in order."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
from html.parser import HTMLParser

import pytest
from plotly.offline import get_plotlyjs

from netwright.core.errors import SetupError
from netwright.core.finding import Figure, Finding, Series, Table
from netwright.report.figures import to_plotly
from netwright.report.page import MAX_ROWS, Page, Section, render, write

BAD = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1>\"'><b>&amp;{{7*7}}"
VOID = {"meta", "br", "img", "input", "link", "hr"}


class Document(HTMLParser):
    """Elements in order as (tag, attributes, text); refuses tags that are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open: list[int] = []
        self.parents: list[list[str]] = []
        self.feed(html)
        self.close()
        assert not self.open, f"{self.elements[self.open[-1]][0]} is never closed"

    def handle_starttag(self, tag, attrs):
        self.parents.append([self.elements[i][0] for i in self.open])
        self.elements.append((tag, dict(attrs), []))
        if tag not in VOID:
            self.open.append(len(self.elements) - 1)

    def handle_endtag(self, tag):
        assert self.elements[self.open[-1]][0] == tag, f"{self.elements[self.open[-1]][:2]} is closed by {tag}"
        self.open.pop()

    def handle_data(self, data):
        for i in self.open:
            self.elements[i][2].append(data)

    def all(self, *tags):
        return [(tag, attrs, "".join(text)) for tag, attrs, text in self.elements if tag in tags]

    def text(self):
        return " ".join("".join(self.all("body")[0][2]).split())


def every_figure(text: str = "s") -> tuple[Figure, ...]:
    series = Series(name=text, x=(text, "b"), y=(1.0, 2.0), low=(0.5, 1.5), high=(1.5, 2.5), hover=(text, "b"))
    kinds = ("line", "scatter", "bar")
    words = {"title": text, "x_label": text, "y_label": text, "caption": text}
    found = [
        Figure(kind=kind, series=(series, series.model_copy(update={"dashed": True, "hover": ()})), **words)
        for kind in kinds
    ]
    found.append(
        Figure(
            kind="heatmap", series=(Series(name=text, x=(text, "b"), y=(text, "b"), z=((1, -2), (3, None))),), **words
        )
    )
    return tuple(found)


def a_finding(verdict: str = "warn", text: str = "f", figures: tuple[Figure, ...] = (), rows: int = 2) -> Finding:
    table = Table(title=text, columns=(text, "n"), rows=tuple((text, i) for i in range(rows)))
    words = dict.fromkeys(("probe", "family", "title", "expected", "why", "todo", "reference"), text)
    return Finding(
        verdict=verdict, measured={text: text, "n": 0.5}, tables=(table,), figures=figures, seconds=1.0, seed=0, **words
    )


def a_page(text: str = "words", **changes: object) -> Page:
    findings = tuple(
        a_finding(v, f"{text} {v}", every_figure(text) if v in ("warn", "pass") else ())
        for v in ("pass", "warn", "fail", "info")
    )
    page = Page(
        title=text,
        subtitle=text,
        verdict=text,
        facts={text: text, "rows": 48842},
        sections=(
            Section(id=text, title=text, lead=text, findings=findings),
            Section(id="second", title="Second", findings=(a_finding("pass"),), compact=True),
        ),
        commands=(text, f"netwright run {text}"),
        reproduce=text,
        raw={text: {text: [text, 1, None]}},
    )
    return page.model_copy(update=changes)


@pytest.fixture(scope="module")
def plain_page() -> str:
    return render(a_page())


@pytest.fixture(scope="module")
def hostile_page() -> str:
    return render(a_page(BAD))


def executed(document: Document) -> list[str]:
    return [text for _, attrs, text in document.all("script") if "type" not in attrs]


@pytest.mark.parametrize("which", ["plain_page", "hostile_page"])
def test_nothing_is_fetched(which, request):
    document = Document(request.getfixturevalue(which))
    used = {tag for tag, _, _ in document.all(*{e[0] for e in document.elements})}
    assert not used & {"link", "img", "iframe", "object", "embed", "base", "form", "video", "audio", "source", "use"}
    for tag, attrs, _ in document.elements:
        for name, value in attrs.items():
            assert name not in ("src", "srcset", "data", "action", "formaction", "poster", "ping", "xlink:href"), (
                tag,
                name,
            )
            assert name != "href" or str(value).startswith("#"), (tag, value)
            assert not name.startswith("on"), (tag, name)
    for _, _, style in document.all("style"):
        assert "url(" not in style and "@import" not in style
    ours = executed(document)[-1]
    assert not re.search(r"https?:|fetch|XMLHttpRequest|WebSocket|sendBeacon|import\(", ours)


@pytest.mark.parametrize("which", ["plain_page", "hostile_page"])
def test_plotly_is_in_the_page_exactly_once(which, request):
    html = request.getfixturevalue(which)
    assert html.count(get_plotlyjs()[:400]) == 1
    assert html.count("<script>") == 2 and len(executed(Document(html))) == 2


def test_a_page_without_figures_does_without_plotly():
    html = render(Page(title="t", sections=(Section(id="s", title="S", findings=(a_finding(),)),)))
    assert len(html) < 100_000 and len(executed(Document(html))) == 1


@pytest.mark.parametrize("which", ["plain_page", "hostile_page"])
def test_the_policy_allows_just_the_scripts_of_the_page(which, request):
    document = Document(request.getfixturevalue(which))
    policy = next(a["content"] for _, a, _ in document.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in executed(document)]
    assert re.findall(r"sha256-([^']+)", policy) == digests
    assert "default-src 'none'" in policy and "http" not in policy
    assert "unsafe" not in re.search(r"script-src[^;]*", policy)[0]


def test_hostile_text_adds_no_element_and_stays_readable(hostile_page, plain_page):
    tags = [e[0] for e in Document(hostile_page).elements]
    assert tags == [e[0] for e in Document(plain_page).elements]
    text = Document(hostile_page).text()
    assert text.count(BAD) > 25
    assert "49" not in re.sub(r"\d{3,}", "", Document(hostile_page).all("h1")[0][2]), "a template ran in foreign text"


def test_each_figure_is_in_the_page_as_it_is_drawn(hostile_page):
    stored = [
        json.loads(text)
        for _, attrs, text in Document(hostile_page).all("script")
        if attrs.get("type") == "application/json"
    ]
    expected = [json.loads(to_plotly(f).to_json()) for f in every_figure(BAD)]
    for spec in expected:
        del spec["layout"]["title"]
    assert stored == expected * 2


def test_headings_follow_one_another_without_a_gap(plain_page):
    levels = [int(tag[1]) for tag, _, _ in Document(plain_page).all("h1", "h2", "h3", "h4", "h5")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


SECTIONS = ("a b", "a-b", "a-b-2", "", "!", "attention", "page.attention", "how-to-reproduce")


def test_identifiers_are_unique_and_every_link_has_its_target():
    sections = tuple(Section(id=id, title=id, findings=(a_finding("fail"), a_finding("pass"))) for id in SECTIONS)
    document = Document(render(a_page(sections=sections)))
    ids = [attrs["id"] for _, attrs, _ in document.elements if "id" in attrs]
    assert len(set(ids)) == len(ids)
    links = [attrs["href"][1:] for _, attrs, _ in document.all("a")]
    assert len(links) >= 9 and set(links) <= set(ids)
    labelled = {attrs["aria-labelledby"] for _, attrs, _ in document.elements if "aria-labelledby" in attrs}
    assert labelled <= set(ids)


def test_figures_and_tables_can_be_read_without_eyes(plain_page):
    document = Document(plain_page)
    figures = [attrs for _, attrs, _ in document.all("div") if attrs.get("class") == "figure"]
    assert len(figures) == 8
    assert all(f["role"] == "img" and len(f["aria-label"]) > 20 for f in figures)
    assert all(attrs.get("scope") in ("row", "col") for _, attrs, _ in document.all("th"))


def test_all_that_a_page_says_is_shown():
    marked = Page(
        title="TITLE", subtitle="SUBTITLE", verdict="VERDICT", facts={"LABEL": 48842}, reproduce="AGAIN",
        commands=("COMMAND",), raw={"RAW": {"KEY": "CONTENT"}},
        sections=(Section(id="i", title="HEADING", lead="LEAD", findings=(a_finding(text="FOUND"),)),),
    )  # fmt: skip
    text = Document(render(marked)).text()
    for word in (
        "TITLE",
        "SUBTITLE",
        "VERDICT",
        "LABEL",
        "48,842",
        "AGAIN",
        "COMMAND",
        "RAW",
        "KEY",
        "CONTENT",
        "HEADING",
        "LEAD",
    ):
        assert word in text, word
    assert text.count("FOUND") >= 10


def test_every_field_of_a_finding_is_shown():
    words = {k: f"<{k.upper()}>" for k in ("probe", "title", "expected", "why", "todo", "reference")}
    table = Table(title="<TABLE>", columns=("<COLUMN>",), rows=(("<CELL>",),))
    finding = Finding(
        family="checks", verdict="fail", measured={"<NAME>": "<VALUE>"}, tables=(table,), seconds=75.2, seed=41, **words
    )
    text = Document(render(Page(title="t", sections=(Section(id="s", title="s", findings=(finding,)),)))).text()
    for word in [
        *words.values(),
        "<TABLE>",
        "<COLUMN>",
        "<CELL>",
        "<NAME>",
        "<VALUE>",
        "1 min 15 s",
        "seed 41",
        "fail",
    ]:
        assert word in text, word


def test_only_what_passed_is_folded():
    verdicts = ("pass", "warn", "fail", "info")
    findings = tuple(a_finding(v, figures=f) for v in verdicts for f in ((), every_figure()))
    for compact, folded in ((False, 1), (True, 2)):
        document = Document(
            render(Page(title="t", sections=(Section(id="s", title="s", findings=findings, compact=compact),)))
        )
        classes = [attrs["class"] for _, attrs, _ in document.all("details")]
        assert classes == ["finding pass"] * folded


def test_verdicts_are_counted_and_what_failed_comes_first(plain_page):
    document = Document(plain_page)
    strip = [
        " ".join(text.split())
        for _, attrs, text in document.all("li")
        if attrs.get("class") in ("pass", "warn", "fail", "info")
    ]
    assert strip[:4] == ["✗ 1 fail", "! 1 warning", "✓ 2 pass", "· 1 note"]
    assert [s.split()[1] for s in strip[4:]] == ["fail", "warning"]


def test_a_long_table_shows_its_first_rows_and_says_so():
    finding = a_finding(rows=MAX_ROWS + 7)
    document = Document(render(Page(title="t", sections=(Section(id="s", title="s", findings=(finding,)),))))
    shown = [text for tag, attrs, text in document.all("td") if attrs.get("class") == "number"]
    assert shown == [str(i) for i in range(MAX_ROWS)]
    assert f"The first {MAX_ROWS} of {MAX_ROWS + 7} rows" in document.text()


def test_rows_that_are_shorter_or_longer_than_the_head_break_nothing():
    table = Table(title="t", columns=("a", "b"), rows=((1,), (1, 2), (1, 2, 3)))
    finding = Finding(probe="p", family="f", verdict="info", title="t", tables=(table,))
    document = Document(render(Page(title="t", sections=(Section(id="s", title="s", findings=(finding,)),))))
    assert [text for _, _, text in document.all("td")] == ["1", "–", "1", "2", "1", "2"]


def test_an_empty_page_is_a_page():
    assert Document(render(Page(title=""))).all("h1")


def test_marks_that_hide_or_turn_text_are_made_visible(tmp_path):
    html = render(Page(title="a\u202eb\x1b\ud800c"))
    assert "a\\u202eb\\x1b\\ud800c" in html
    write(tmp_path / "p.html", Page(title="\ud800"))


def test_a_page_survives_json():
    page = a_page(BAD)
    assert Page.model_validate_json(page.model_dump_json()) == page


def test_what_is_written_is_what_is_rendered(tmp_path):
    page = a_page()
    write(tmp_path / "report.html", page)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render(page)


def test_a_page_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    with pytest.raises(SetupError, match=r"report\.html"):
        write(tmp_path / "none" / "report.html", Page(title="t"))
    assert not list(tmp_path.iterdir())
