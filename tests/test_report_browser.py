"""The page in a real browser: offline, without an error, every figure drawn, nothing wider than the window."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from netwright.core.finding import Figure, Finding, Link, Node, Picture, Series, Table, Tokens
from netwright.core.seed import numpy_generator
from netwright.data.images import to_png
from netwright.report.page import Page, Section, write
from test_report_animation import moving
from test_report_diagram import CASES, layers
from test_report_page import BAD, a_page, every_figure

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="there is no chromium; install it: apt-get install chromium"),
]
WIDTHS = (400, 1200)


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, headless=True, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


def wide_page() -> Page:
    """Long words, wide tables, many columns, large heat maps, and 25 figures, some of them folded."""
    word = "a_very_long_name_without_any_place_to_break_it_" * 3
    table = Table(
        title=word, columns=tuple(f"{word}{j}" for j in range(20)), rows=tuple((word,) * 20 for _ in range(60))
    )
    lines = tuple(
        Series(name=f"{word}{i}", x=tuple(range(40)), y=tuple(float(i + j % 7) for j in range(40))) for i in range(9)
    )
    figures = (
        Figure(title=word, kind="line", series=lines, x_label=word, y_label=word, caption=word),
        Figure(
            title="many",
            kind="heatmap",
            series=(Series(x=tuple("abcdefghijkl"), y=tuple("abcdefghijkl"), z=((-0.123,) * 12,) * 12),),
        ),
        Figure(
            title="pictures",
            kind="heatmap",
            series=tuple(Series(name=str(i), z=((0.0, 1.0), (1.0, 0.5))) for i in range(5)),
        ),
        Figure(title="cloud", kind="scatter", series=(Series(x=tuple(range(9000)), y=tuple(range(9000))),)),
        Figure(
            title="bars", kind="bar", series=(Series(x=tuple(f"{word}{i}" for i in range(30)), y=tuple(range(30))),)
        ),
    )
    findings = tuple(
        Finding(
            probe=word,
            family="f",
            verdict=v,
            title=word,
            measured={word: word},
            expected=word,
            figures=figures,
            tables=(table,),
        )
        for v in ("pass", "warn", "fail", "info", "pass")
    )
    sections = (Section(id="one", title=word, lead=word, findings=findings, compact=True),)
    return Page(
        title=word,
        subtitle=word,
        verdict=word,
        facts={word: word},
        sections=sections,
        commands=(word * 3,),
        raw={word: {word: word * 3}},
    )


def sheets_page(words: str = BAD) -> Page:
    """Sheets of pictures (one that is none, one of odd shape) and of texts, in whose words nothing may be trusted."""
    rng = numpy_generator(0, "sheets")
    heat = tuple(tuple(row) for row in rng.normal(size=(7, 7)).tolist())
    images = [rng.integers(0, 256, shape).astype(float) for shape in ((1, 28, 28), (3, 20, 300), (3, 400, 30))]
    shown = tuple(
        Picture(png=to_png(image), caption=f"{words} {i}", heat=heat if i % 2 else (), mark=mark)
        for i, (image, mark) in enumerate((image, mark) for image in images * 4 for mark in ("good", "bad", ""))
    )
    broken = Picture(png='"><script>window.hacked=1</script>', caption=words, mark="bad")
    said = ("the film is good ", words, "שלום עולם ", "no" * 300, "\u202e<b>", "\n\n  ", "最初", "\x00")
    weights = (1.0, -1.0, 0.5, -0.3, 0.2, 0.9, -0.7, 0.1)
    texts = tuple(Tokens(pieces=said, weights=weights, caption=words, mark=mark) for mark in ("good", "bad", ""))
    line = Series(x=(1, 2), y=(1.0, 2.0))
    figures = (
        Figure(title=words, kind="line", series=(line,)),
        Figure(title=words, kind="pictures", pictures=(broken, *shown), caption=words),
        Figure(title=words, kind="tokens", texts=texts, caption=words),
        Figure(title="empty", kind="pictures"),
    )
    finding = Finding(probe="p", family="f", verdict="pass", title="t", figures=figures)
    return Page(title="t", sections=(Section(id="s", title="s", findings=(finding,), compact=True),))


def moving_page(words: str = BAD) -> Page:
    """Diagrams, and figures with steps, of every kind."""
    kinds = ("line", "scatter", "bar", "heatmap")
    steps = tuple(f"{words} {k}" if k == 2 else f"update {k}" for k in range(5))
    diagrams = tuple(figure.model_copy(update={"caption": words}) for figure in CASES.values())
    hostile = Node(id=words, label=words, note=words)
    arrow = Link(source=words, target=words, label=words)
    odd = Figure(title=words, kind="diagram", nodes=(hostile,), links=(arrow,))
    figures = (*(moving(kind, 5, steps=steps) for kind in kinds), *diagrams, odd)
    finding = Finding(probe="p-q", family="gallery", verdict="info", title=words, why=words, figures=figures)
    return Page(title="t", sections=(Section(id="s", title="s", findings=(finding,), listed=True),))


class Opened:
    """A page in the browser, with what went wrong there."""

    def __init__(self, browser, path: Path, width: int) -> None:
        self.problems: list[str] = []
        self.requests: list[str] = []
        context = browser.new_context(viewport={"width": width, "height": 800}, offline=True)
        self.tab = context.new_page()
        self.tab.on("console", lambda m: self.problems.append(m.text) if m.type in ("error", "warning") else None)
        self.tab.on("pageerror", lambda e: self.problems.append(str(e)))
        self.tab.on("request", lambda r: self.requests.append(r.url))
        self.tab.goto(path.as_uri())

    def read_through(self) -> None:
        """Unfold everything and scroll to the end, as a reader would."""
        self.tab.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
        for figure in self.tab.locator(".figure").all():
            figure.scroll_into_view_if_needed()
            figure.locator(".main-svg").first.wait_for(state="attached")
        self.tab.wait_for_timeout(300)


@pytest.fixture(scope="module", params=["ordinary", "hostile", "wide", "sheets", "moving"])
def path(request, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / f"{request.param}.html"
    pages = {"ordinary": a_page, "wide": wide_page, "sheets": sheets_page, "moving": moving_page}
    write(path, a_page(BAD) if request.param == "hostile" else pages[request.param]())
    return path


@pytest.fixture(scope="module", params=WIDTHS)
def opened(request, browser, path) -> Opened:
    found = Opened(browser, path, request.param)
    found.read_through()
    return found


def test_nothing_goes_wrong_in_the_browser(opened):
    assert opened.problems == []


def test_nothing_but_the_file_itself_is_asked_for(opened, path):
    assert [url for url in opened.requests if not url.startswith(("data:", "blob:"))] == [path.as_uri()]


def test_every_figure_is_drawn(opened, path):
    empty = opened.tab.evaluate("""[...document.querySelectorAll('.figure')].filter((f) =>
        !f.querySelector('.scatterlayer .trace, .barlayer .trace, .heatmaplayer image')).length""")
    assert opened.tab.locator(".figure").count() >= {"sheets": 1, "moving": 4}.get(path.stem, 8)
    assert empty == 0


def test_pictures_are_shown_in_their_proportions_and_pixel_by_pixel(opened, path):
    if path.stem != "sheets":
        pytest.skip("only the page of sheets has pictures")
    shown = opened.tab.evaluate("""[...document.images].map((i) => [i.complete && i.naturalWidth > 0,
        getComputedStyle(i).imageRendering, getComputedStyle(i).objectFit, i.offsetHeight])""")
    assert len(shown) == 36
    assert all(loaded and how == ["pixelated", "contain"] and height <= 252 for loaded, *how, height in shown)
    assert (
        opened.tab.locator(".missing").count() == 1 and opened.tab.get_by_text("There was nothing to draw").count() == 1
    )


def test_texts_keep_their_white_space_and_their_direction(opened, path):
    if path.stem != "sheets":
        pytest.skip("only the page of sheets has texts")
    style, text = opened.tab.evaluate("""(() => { const e = document.querySelector('.tokens div');
        return [getComputedStyle(e).whiteSpace, e.textContent]; })()""")
    assert style == "pre-wrap"
    assert text.startswith("the film is good ") and "שלום עולם " in text and "\\u202e<b>" in text and "\\x00" in text


def test_nothing_is_wider_than_the_window(opened):
    width, window = opened.tab.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= window
    over = opened.tab.evaluate("""[...document.querySelectorAll('.plot .main-svg')].filter((e) =>
        e.getBoundingClientRect().right > window.innerWidth + 1).length""")
    assert over == 0


def test_foreign_text_runs_nothing(opened):
    assert opened.tab.evaluate("window.hacked") is None
    sources = opened.tab.evaluate("[...document.images].map((i) => i.src.slice(0, 22))")
    assert set(sources) <= {"data:image/png;base64,"}


def test_no_button_sends_the_data_away(opened):
    titles = opened.tab.evaluate("[...document.querySelectorAll('.modebar-btn')].map((b) => b.dataset.title)")
    assert set(titles) == {"Download plot as a PNG", "Zoom", "Pan", "Reset axes"}


def test_figures_in_cells_give_way_where_there_is_no_room(opened, path):
    if path.stem != "wide":
        pytest.skip("only the wide page has such a heat map")
    narrow = opened.tab.viewport_size["width"] == 400
    texts = opened.tab.locator("[id='one.2.figure-2'] .heatmap-label text").count()
    scale = opened.tab.locator("[id='one.2.figure-2'] .colorbar").count()
    assert (texts > 0, scale > 0) == (not narrow, narrow)


CONTRAST = """() => {
  const parse = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const weak = new Set();
  for (const e of document.querySelectorAll('body *:not(svg *):not(script):not(style)')) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))];
    if ((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5) weak.add(e.tagName + '.' + e.className);
  }
  return [...weak];
}"""


def test_all_text_stands_out_from_what_is_behind_it(opened):
    assert opened.tab.evaluate(CONTRAST) == []


def test_figures_wait_until_the_reader_comes_near(browser, tmp_path):
    findings = tuple(
        Finding(probe="p", family="f", verdict="info", title=str(i), figures=every_figure()) for i in range(8)
    )
    write(tmp_path / "p.html", Page(title="t", sections=(Section(id="s", title="s", findings=findings),)))
    tab = Opened(browser, tmp_path / "p.html", 1200).tab
    tab.locator(".figure .main-svg").first.wait_for(state="attached")
    drawn = tab.locator(".figure[data-drawn]").count()
    assert 0 < drawn < 32


def test_a_link_to_a_folded_finding_unfolds_it(browser, tmp_path):
    write(tmp_path / "p.html", a_page())
    tab = Opened(browser, tmp_path / "p.html", 1200).tab
    assert not tab.evaluate("document.getElementById('second.1').open")
    tab.evaluate("location.hash = 'second.1'")
    tab.locator("[id='second.1'][open]").wait_for(state="attached")


def test_on_paper_everything_is_unfolded_and_drawn_and_afterwards_as_before(browser, tmp_path):
    write(tmp_path / "p.html", a_page())
    found = Opened(browser, tmp_path / "p.html", 1200)
    assert len(found.tab.pdf(format="A4")) > 20_000
    assert found.tab.locator(".figure .main-svg").count() > 0
    assert found.tab.evaluate("document.querySelectorAll('.figure:not([data-drawn])').length") == 0
    assert found.tab.evaluate("document.querySelectorAll('details[open]').length") == 0
    found.tab.wait_for_timeout(300)
    widths = found.tab.evaluate("[...document.querySelectorAll('article .plot')].map((p) => p.offsetWidth)")
    svgs = found.tab.evaluate(
        "[...document.querySelectorAll('article .plot')].map((p) => p.querySelector('.main-svg').clientWidth)"
    )
    assert svgs == widths
    assert found.problems == []


def first_y(tab) -> list[float]:
    return tab.evaluate("Array.from(document.querySelector('.plot').data[0].y)")


@pytest.fixture
def moving_tab(browser, tmp_path):
    """A page with one figure that has steps (its last is what is seen first), drawn."""
    finding = Finding(probe="p", family="gallery", verdict="info", title="t", figures=(moving(n=5), layers(3, 2)))
    write(tmp_path / "p.html", Page(title="t", sections=(Section(id="s", title="s", findings=(finding,)),)))
    found = Opened(browser, tmp_path / "p.html", 1200)
    found.read_through()
    yield found.tab
    assert found.problems == []


def test_the_slider_shows_the_step_that_it_names(moving_tab):
    slider = moving_tab.get_by_label("Step of: t")
    assert first_y(moving_tab) == [0, 4, 40]
    slider.fill("1")
    assert first_y(moving_tab) == [0, 1, 10]
    assert moving_tab.locator(".steps output").inner_text() == "2"
    slider.press("ArrowRight")
    assert first_y(moving_tab) == [0, 2, 20] and slider.get_attribute("aria-valuetext") == "3"


def test_the_button_plays_all_steps_once_and_can_be_stopped(moving_tab):
    moving_tab.get_by_role("button", name="Play").click()
    assert first_y(moving_tab) == [0, 0, 0], "from the beginning"
    moving_tab.get_by_role("button", name="Pause").click()
    held = moving_tab.locator(".steps input").input_value()
    moving_tab.wait_for_timeout(1500)
    assert moving_tab.locator(".steps input").input_value() == held
    moving_tab.get_by_role("button", name="Play").click()
    moving_tab.get_by_role("button", name="Pause").wait_for()
    moving_tab.get_by_role("button", name="Play").wait_for()
    assert moving_tab.locator(".steps input").input_value() == "4"
    assert first_y(moving_tab) == [0, 4, 40]


def test_axes_do_not_move_from_step_to_step(moving_tab):
    ranges = "document.querySelector('.plot')._fullLayout.yaxis.range.join()"
    before = moving_tab.evaluate(ranges)
    moving_tab.get_by_label("Step of: t").fill("0")
    assert moving_tab.evaluate(ranges) == before


def test_paper_shows_the_series_without_a_slider_and_the_screen_its_step_again(moving_tab):
    moving_tab.get_by_label("Step of: t").fill("1")
    moving_tab.emulate_media(media="print")
    moving_tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert first_y(moving_tab) == [0, 4, 40]
    assert not moving_tab.locator(".steps").is_visible() and moving_tab.locator(".diagram svg").is_visible()
    moving_tab.emulate_media(media="screen")
    moving_tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert first_y(moving_tab) == [0, 1, 10] and moving_tab.locator(".steps").is_visible()


def test_a_diagram_scrolls_on_a_phone_so_that_its_words_stay_readable(opened, path):
    if path.stem != "moving":
        pytest.skip("only this page has diagrams")
    shown = opened.tab.evaluate("""[...document.querySelectorAll('.diagram text')].map((t) =>
        t.getBoundingClientRect().height)""")
    assert len(shown) > 50 and min(shown) > 8
