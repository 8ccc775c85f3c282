"""`netwright gallery`: one page in the order of the course, whatever breaks; and `netwright show`, which draws what can be built."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.gallery import Shown, shown
from commandline import call, refused
from netwright.cli import browse
from netwright.cli import exhibits as cli_exhibits
from netwright.core.entry import Entry, Gallery
from netwright.core.finding import Figure
from netwright.exhibits import course
from netwright.exhibits.course import Broken, exhibited, in_order, page_of
from netwright.report.page import render

CODE = """
import time
from netwright.core.finding import Figure, Finding, Series

def finding(name, tiny, seed, verdict="info"):
    line = Series(x=(0, 1), y=(0.0, float(seed)))
    return Finding(probe="x", family="gallery", verdict=verdict, title=f"{name} is {'small' if tiny else 'full'}", why="See.",
                   figures=(Figure(title=f"figure of {name}", kind="line", series=(line,)),))

def first(*, tiny=False, seed=0):
    return finding("first", tiny, seed)

def second(*, tiny=False, seed=0):
    return finding("second", tiny, seed)

def fails(*, tiny=False, seed=0):
    return finding("fails", tiny, seed, "fail")

def breaks(*, tiny=False, seed=0):
    raise ValueError("no <b>water</b>")

def nothing(*, tiny=False, seed=0):
    return None

def stops(*, tiny=False, seed=0):
    raise KeyboardInterrupt

def sleeps(*, tiny=False, seed=0):
    print("asleep", flush=True)
    time.sleep(60)
"""


def an_entry(name: str) -> Entry:
    return Entry(name, f"what {name} shows", "A (1990)", f"planted_exhibits:{name}")


Use = dict[str, tuple[str, list[Entry]]]


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Use]:
    """A gallery of made-up exhibits in two chapters, in the place of ours."""
    module = ModuleType("planted_exhibits")
    exec(CODE, vars(module))
    monkeypatch.setitem(sys.modules, "planted_exhibits", module)
    chapters: Use = {"The neuron": ("A lead.", [an_entry("first")]), "Layers": ("Another.", [an_entry("second")])}
    use(monkeypatch, chapters)
    yield chapters


def use(monkeypatch: pytest.MonkeyPatch, chapters: Use) -> None:
    gallery = Gallery("exhibit", [entry for _, entries in chapters.values() for entry in entries])
    monkeypatch.setattr(cli_exhibits, "EXHIBITS", gallery)
    monkeypatch.setattr(course, "CHAPTERS", chapters)


def test_the_page_is_a_course_by_chapter(planted: Use, tmp_path: Path) -> None:
    ended = call("gallery", "--tiny", "--seed", 3, "--out", tmp_path / "g.html")
    assert (ended.code, ended.out) == (0, f"2 exhibits: {tmp_path / 'g.html'}\n")
    page = (tmp_path / "g.html").read_text()
    order = ["A lead.", "first is small", "figure of first", "Another.", "second is small"]
    body = page[page.index("<main>") :]
    places = [body.index(words) for words in order]
    assert places == sorted(places)
    assert "What to see" in page and "netwright gallery --tiny --seed 3" in page and "A (1990)" in page
    assert re.findall(r'<a href="#(.*?)">', page)[:4] == ["the-neuron", "the-neuron.1", "layers", "layers.1"]


def test_one_exhibit_alone_in_full_size_in_a_folder_that_is_made(planted: Use, tmp_path: Path) -> None:
    ended = call("gallery", "second", "--out", tmp_path / "a" / "b")
    assert (ended.code, ended.out) == (0, f"1 exhibit: {tmp_path / 'a' / 'b' / 'gallery.html'}\n")
    page = (tmp_path / "a" / "b" / "gallery.html").read_text()
    assert "second is full" in page and "figure of first" not in page


def test_progress_is_told(planted: Use, tmp_path: Path) -> None:
    err = call("gallery", "--out", tmp_path).err
    assert "first: first is full" in err and "50 %" in err and "100 %" in err


@pytest.mark.parametrize(
    ("name", "reason"), [("breaks", "ValueError: no &lt;b&gt;water&lt;/b&gt;"), ("nothing", "returned a NoneType")]
)
def test_one_that_breaks_is_on_the_page_and_the_others_go_on(
    planted: Use, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, reason: str
) -> None:
    planted["The neuron"][1].insert(0, an_entry(name))
    use(monkeypatch, planted)
    ended = call("gallery", "--out", tmp_path)
    assert ended.code == 1 and f"broken: {name}" in ended.out and "Traceback" not in ended.err
    page = (tmp_path / "gallery.html").read_text()
    assert reason in page and "1 of the exhibits broke" in page
    assert "figure of first" in page and "figure of second" in page


@pytest.mark.parametrize("names", [[], ["fails"]])
def test_one_that_does_not_show_what_it_should_is_named_and_the_page_is_written(
    planted: Use, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, names: list[str]
) -> None:
    planted["The neuron"][1].insert(0, an_entry("fails"))
    use(monkeypatch, planted)
    ended = call("gallery", "--tiny", *names, "--out", tmp_path)
    assert ended.code == 1 and "failed: fails; the page says" in ended.out and "broken" not in ended.out
    page = (tmp_path / "gallery.html").read_text()
    assert "figure of fails" in page and "1 of the exhibits did not show what was expected" in page
    assert ("figure of second" in page) == (not names)


def test_what_broke_and_what_failed_are_told_apart(
    planted: Use, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    planted["The neuron"][1].extend([an_entry("fails"), an_entry("breaks")])
    use(monkeypatch, planted)
    ended = call("gallery", "--out", tmp_path)
    assert ended.code == 1 and ended.out.splitlines()[1:] == [
        "broken: breaks; see where with --debug",
        "failed: fails; the page says what was expected and what was measured",
    ]


def test_with_debug_one_sees_where_it_broke(planted: Use, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    planted["Layers"][1].append(an_entry("breaks"))
    use(monkeypatch, planted)
    assert "Traceback" in call("gallery", "breaks", "--out", tmp_path, "--debug").err


def test_figures_that_cannot_be_drawn_do_not_take_the_page_with_them(
    planted: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(figure: Figure, id: str) -> str:
        raise ZeroDivisionError("in the drawing")

    monkeypatch.setattr(course, "to_html", fails)
    found = list(exhibited(in_order(["first"], planted), tiny=True, seed=0, tell=lambda event: None))
    assert [type(f) for f in found] == [Broken] and "in the drawing" in found[0].title


def test_ctrl_c_leaves_a_page_of_what_is_done(planted: Use, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    planted["Layers"][1].insert(0, an_entry("stops"))
    use(monkeypatch, planted)
    ended = call("gallery", "--out", tmp_path / "g.html")
    assert ended.code == 130 and "1 of 3 exhibits are on the page" in ended.err
    page = (tmp_path / "g.html").read_text()
    assert "figure of first" in page and "1 of 3 exhibits were run" in page and "figure of second" not in page


def test_ctrl_c_before_the_first_says_that_there_is_no_page(
    planted: Use, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    planted["The neuron"][1].insert(0, an_entry("stops"))
    use(monkeypatch, planted)
    ended = call("gallery", "--out", tmp_path / "g.html")
    assert ended.code == 130 and "no page was written" in ended.err and not (tmp_path / "g.html").exists()


STOPPED = """
import sys
from types import ModuleType
module = ModuleType("planted_exhibits")
exec({code!r}, vars(module))
sys.modules["planted_exhibits"] = module
from netwright.core.entry import Entry, Gallery
from netwright.cli import exhibits
from netwright.exhibits import course
entries = [Entry(n, n, "A (1990)", "planted_exhibits:" + n) for n in ("first", "sleeps")]
exhibits.EXHIBITS = Gallery("exhibit", entries)
course.CHAPTERS = {{"One": ("A lead.", entries)}}
from netwright.cli.main import main
sys.exit(main(["gallery", "--out", {out!r}]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_from_outside_ends_it_with_a_page(tmp_path: Path, sent: signal.Signals, code: int) -> None:
    out = str(tmp_path / "g.html")
    script = STOPPED.format(code=CODE, out=out)
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "asleep\n"
    assert os.path.exists(out), "what is done is there before the next begins"
    process.send_signal(sent)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code and "1 of 2 exhibits" in err and "Traceback" not in err
    assert "figure of first" in Path(out).read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["frist"], ["exhibit", "'frist'", "'first'"]),
        (["--out", "page.txt"], ["page.txt", ".html"]),
        (["--sed", "1"], ["'--sed'", "'--seed'"]),
        (["--seed", "-1"], ["--seed"]),
    ],
)
def test_wrong_use_is_refused_before_anything_runs(
    planted: Use, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(call("gallery", *arguments), 2, *words)
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_place_of_the_folder_is_refused(planted: Use, tmp_path: Path) -> None:
    (tmp_path / "g").write_text("mine")
    refused(call("gallery", "--out", tmp_path / "g"), 2, "that is a file")
    assert (tmp_path / "g").read_text() == "mine"


def test_chapters_without_an_exhibit_are_left_out(planted: Use) -> None:
    findings = list(exhibited(in_order(["second"], planted), tiny=True, seed=0, tell=lambda event: None))
    page = page_of(findings, wanted=1, tiny=True, seed=0, command="c", chapters=planted)
    assert [section.title for section in page.sections] == ["Layers"] and page.verdict == ""
    assert findings[0].probe == "second" and findings[0].reference == "A (1990)" and render(page)


def test_the_benchmark_reads_every_exhibit_its_verdict_and_its_seconds_off_the_page(
    planted: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted["Layers"][1].extend([an_entry("fails"), an_entry("breaks")])
    use(monkeypatch, planted)
    findings = list(exhibited(in_order([], planted), tiny=True, seed=0, tell=lambda event: None))
    times = {"first": 0.25, "second": 75.0, "fails": 0.0, "breaks": 12.3}
    timed = [finding.model_copy(update={"seconds": times[finding.probe]}) for finding in findings]
    page = render(page_of(timed, wanted=4, tiny=True, seed=0, command="c", chapters=planted))
    verdicts = {"first": "info", "second": "info", "fails": "fail", "breaks": "fail"}
    assert shown(page) == [Shown(name, verdicts[name], seconds) for name, seconds in times.items()]


def test_a_page_is_not_written_anew_after_every_exhibit_where_that_takes_long(
    planted: Use, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    planted["Layers"][1].extend(Entry(f"x{k}", "s", "A (1990)", "planted_exhibits:first") for k in range(20))
    use(monkeypatch, planted)
    written = []
    slow = cli_exhibits.time.monotonic

    def fake() -> float:  # every look at the clock takes a second
        written.append(1)
        return slow() + len(written)

    monkeypatch.setattr(cli_exhibits.time, "monotonic", fake)
    pages: list[int] = []
    monkeypatch.setattr("netwright.report.page.write", lambda place, page: pages.append(1))
    assert call("gallery", "--out", tmp_path / "g.html").code == 0
    assert 2 <= len(pages) < 22


def test_show_draws_a_layer_a_template_and_a_recipe(tmp_path: Path) -> None:
    for name, part in (("residual-block", "branch.1"), ("linear", "body"), ("text-classifier", "body.1")):
        ended = call("show", name, "--out", tmp_path / f"{name}.html")
        assert ended.code == 0 and ended.err == ""
        assert part in ended.out and "multiply adds per row" in ended.out and "microseconds per row" in ended.out
        page = (tmp_path / f"{name}.html").read_text()
        assert "<svg" in page and part in page and len(page) < 200_000, "plotly is not needed"


def test_show_of_an_entry_without_an_example_says_so_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = Entry("bare", "a layer", "A (1990)", "netwright.nn.residual:ResidualMLP")
    monkeypatch.setattr(browse, "find", lambda name: [("layers", bare)])
    ended = call("show", "bare")
    assert (
        ended.code == 0 and "not drawn: the entry of 'bare' states no example" in ended.out and "a layer" in ended.out
    )


def test_show_of_what_cannot_be_built_says_why_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Entry("wrong", "a template", "A (1990)", "netwright.recipes.templates:linear", kinds=("smell",))
    monkeypatch.setattr(browse, "find", lambda name: [("templates", wrong)])
    ended = call("show", "wrong")
    assert ended.code == 0 and "not drawn: there are no made-up inputs of kind 'smell'" in ended.out


def test_show_draws_no_loss(tmp_path: Path) -> None:
    refused(
        call("show", "log-loss", "--out", tmp_path / "x.html"), 2, "log-loss", "layers, templates, recipes, exhibits"
    )
    assert "mult-adds" not in call("show", "log-loss").out


def test_show_of_an_exhibit_names_its_command_and_writes_what_it_shows(
    planted: Use, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(browse, "find", lambda name: [("exhibits", an_entry("first"))])
    ended = call("show", "first")
    assert "netwright gallery first --tiny" in ended.out and "is small" not in ended.out
    call("show", "first", "--out", tmp_path / "x.html")
    assert "first is small" in (tmp_path / "x.html").read_text()


def test_the_arguments_of_a_layers_example_are_told() -> None:
    assert "n_in=5, n_out=3, width=16" in call("show", "residual-mlp").out
