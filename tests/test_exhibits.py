"""Laws that every exhibit of the gallery keeps: its place in the course, what it returns, its page, and that it is a program."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from netwright.core.entry import Entry
from netwright.core.finding import Figure, Finding, Series
from netwright.core.seed import derive
from netwright.exhibits.entries import CHAPTERS, EXHIBITS
from netwright.exhibits.program import main
from netwright.exhibits.real import real_file
from netwright.report.figures import describe, drawable
from netwright.report.page import Page, Section, render

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "src" / "netwright" / "exhibits"
NO_EXHIBITS = {"__init__", "entries", "program", "course"}
FAST = {"computational-graph", "activations", "worked-convolution", "threshold-nets", "perceptron-line", "xor-net"}
"""Those whose small size takes about a second; all others are run with -m slow."""
MOST_FIGURES = 4


def over(entries: list[Entry], *, fast: Collection[str] = FAST) -> Any:
    """A parametrisation; all but the fast ones are marked slow."""
    marks = {True: [], False: [pytest.mark.slow]}
    found = [pytest.param(e, id=e.name, marks=marks[e.name in fast]) for e in entries]
    return pytest.mark.parametrize("entry", found)


ALL = list(EXHIBITS.values())
FILES = [p for p in sorted(FOLDER.glob("*.py")) if p.stem not in NO_EXHIBITS]


def file_of(entry: Entry) -> Path:
    """The program of an exhibit."""
    return FOLDER / (entry.target.partition(":")[0].rpartition(".")[2] + ".py")


@cache
def exhibited(name: str) -> Finding:
    """What an exhibit returns in its small size; run once for all tests."""
    found = EXHIBITS[name].load()(tiny=True, seed=0)
    assert isinstance(found, Finding)
    return found


def test_every_exhibit_stands_in_one_chapter() -> None:
    places = Counter(entry.name for _, entries in CHAPTERS.values() for entry in entries)
    assert set(places) == set(EXHIBITS) and set(places.values()) <= {1}


def test_every_chapter_has_a_lead() -> None:
    assert all(lead.endswith(".") and len(lead) > 20 for lead, _ in CHAPTERS.values())


def test_every_program_is_in_the_gallery() -> None:
    programs = {p for p in FILES if "\ndef exhibit(" in p.read_text(encoding="utf-8")}
    assert programs == {file_of(entry) for entry in ALL}


def test_the_folder_of_examples_is_that_of_the_exhibits() -> None:
    link = ROOT / "examples"
    if not link.exists():
        pytest.skip("a source archive has no link")
    assert link.resolve() == FOLDER


@over(ALL, fast=EXHIBITS)
def test_an_exhibit_has_a_file_that_is_a_program(entry: Entry) -> None:
    text = file_of(entry).read_text(encoding="utf-8")
    assert 'if __name__ == "__main__":\n    main(exhibit)' in text
    assert text.startswith('"""') and entry.target.endswith(":exhibit")


@over(ALL, fast=EXHIBITS)
def test_an_exhibit_takes_a_size_and_a_seed_by_name(entry: Entry) -> None:
    code = entry.load()
    parameters = inspect.signature(code).parameters
    assert {"tiny", "seed"} <= set(parameters) and (parameters["tiny"].default, parameters["seed"].default) == (
        False,
        0,
    )
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in parameters.values())
    assert (inspect.getdoc(code) or "").splitlines()[0].endswith(".")


def empty(figure: Figure) -> bool:
    """Whether there is nothing to see in a figure."""

    def blank(series: Series) -> bool:
        return not (any(map(len, series.z)) if figure.kind == "heatmap" else series.y)

    held = {"pictures": figure.pictures, "tokens": figure.texts, "diagram": figure.nodes}
    return not held[figure.kind] if figure.kind in held else all(map(blank, figure.series))


@over(ALL)
def test_an_exhibit_shows_what_it_should_and_says_in_a_paragraph_what_to_see(entry: Entry) -> None:
    found = exhibited(entry.name)
    assert (found.probe.replace("_", "-"), found.family) == (entry.name, "gallery")
    assert 1 <= len(found.figures) <= MOST_FIGURES
    assert not [figure.title for figure in found.figures if empty(figure)]
    assert (
        len(found.why.split()) >= 20 and "\n" not in found.why.strip() and found.why.strip().endswith((".", "?", ")"))
    )
    assert found.title and "\n" not in found.title and not found.title.endswith(".")
    assert found.measured and found.verdict in ("info", "pass"), f"{found.title}; expected: {found.expected}"


@over(ALL)
def test_an_exhibits_figures_are_drawn_whole(entry: Entry) -> None:
    for figure in exhibited(entry.name).figures:
        assert drawable(figure) == figure, "more than is drawn"
        assert all(len(frame) == len(figure.series) for frame in figure.frames)
        assert len(figure.steps) in (0, len(figure.frames))
        assert describe(figure)


@over(ALL)
def test_an_exhibits_page_is_of_a_size_that_opens_at_once(entry: Entry) -> None:
    found = exhibited(entry.name)
    page = render(Page(title="t", sections=(Section(id="e", title="Exhibit", findings=(found,)),)))
    assert "What to see" in page and len(page) < 12_000_000  # five of them are plotly


@over(ALL)
def test_the_same_seed_gives_the_same_figures(entry: Entry) -> None:
    again = EXHIBITS[entry.name].load()(tiny=True, seed=0)
    timed = re.compile("seconds|microseconds|per_second")
    first = {k: v for k, v in exhibited(entry.name).measured.items() if not timed.search(k)}
    assert {k: v for k, v in again.measured.items() if not timed.search(k)} == first


@over(ALL, fast={"computational-graph"})
def test_an_exhibit_runs_as_a_program(entry: Entry, tmp_path: Path) -> None:
    link = ROOT / "examples" / file_of(entry).name
    program = link if link.exists() else file_of(entry)  # a source archive has no link
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, program, "--tiny", "--seed", str(derive(0, entry.name) % 100), "--out", "page.html"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "page: page.html" in done.stdout and "Traceback" not in done.stderr
    assert (tmp_path / "page.html").stat().st_size > 10_000


def fails(*, tiny: bool = False, seed: int = 0) -> Finding:
    """A planted exhibit that does not show what it should."""
    lines = (Figure(title="a line", kind="line", series=(Series(x=(0, 1), y=(0.0, 1.0)),)),)
    return Finding(
        probe="fails",
        family="gallery",
        verdict="fail",
        title="only 3 of 4",
        expected="4 of 4",
        why="See.",
        figures=lines,
    )


def test_the_program_of_an_exhibit_that_fails_says_so_in_one_line_after_its_page_is_written(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    with pytest.raises(SystemExit, match=r"^failed: only 3 of 4; expected: 4 of 4$"):  # which Python ends with code 1
        main(fails, ["--tiny", "--out", str(page)])
    assert "only 3 of 4" in page.read_text(encoding="utf-8")


def test_real_data_is_taken_in_full_size_where_its_file_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mnist.npz").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NETWRIGHT_DATA", raising=False)
    assert real_file("mnist.npz", tiny=False) is None, "the current folder is not asked"
    monkeypatch.setenv("NETWRIGHT_DATA", str(tmp_path))
    assert real_file("mnist.npz", tiny=False) == tmp_path / "mnist.npz"
    assert real_file("mnist.npz", tiny=True) is None and real_file("fsdd.npz", tiny=False) is None
