"""Figures with steps: the same axes and traces in all of them, and without the slider what `series` holds."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from netwright.core.finding import Figure, Finding, Series
from netwright.report.animation import MAX_FRAMES, names, shown_first
from netwright.report.figures import MAX_POINTS, describe, drawable, to_html, to_plotly
from netwright.report.terminal import print_finding
from test_report_figures import some_series

KINDS = ("line", "scatter", "bar", "heatmap")


def moving(kind: str = "line", n: int = 4, **options) -> Figure:
    """A series whose values grow from step to step; the last is what is seen on paper."""

    def at(k: int) -> Series:
        if kind == "heatmap":
            return Series(name="m", z=((float(k), -1.0), (0.5, 2.0 * k)))
        return Series(name="m", x=(0, 1, 2), y=(0.0, float(k), 10.0 * k))

    frames = tuple((at(k),) for k in range(n))
    return Figure(title="t", kind=kind, series=frames[-1], frames=frames, **options)


def spec_of(figure: Figure) -> dict:
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', to_html(figure, "f"), re.DOTALL)[1])


class _Tags(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.found = {}
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.setdefault(tag, []).append(dict(attrs))


@pytest.mark.parametrize("kind", KINDS)
def test_each_step_holds_its_own_values(kind):
    key = "z" if kind == "heatmap" else "y"
    spec = spec_of(moving(kind))
    found = [frame["data"][0][key] for frame in spec["frames"]]
    wanted = [list(map(list, f[0].z)) if kind == "heatmap" else list(f[0].y) for f in moving(kind).frames]
    assert found == wanted
    assert spec["data"][0][key] == wanted[-1], "what is seen first and on paper is the series"


@pytest.mark.parametrize("kind", ["line", "scatter", "bar"])
def test_the_axes_show_every_step(kind):
    low, high = spec_of(moving(kind))["layout"]["yaxis"]["range"]
    assert low <= 0 and high >= 30
    assert spec_of(moving("line", log_y=True))["layout"]["yaxis"]["range"][1] > 1.47, "log10 of 30"


def test_bars_that_lie_keep_their_names_and_their_lengths():
    frames = tuple(
        (Series(x=tuple(f"name {i}" for i in range(12)), y=tuple(float(k * i) for i in range(12))),) for k in range(3)
    )
    layout = spec_of(Figure(title="t", kind="bar", series=frames[0], frames=frames))["layout"]
    assert layout["xaxis"]["range"][1] >= 22 and layout["yaxis"]["autorange"] == "reversed"


def test_colours_of_a_heat_map_are_those_of_all_steps():
    axis = spec_of(moving("heatmap"))["layout"]["coloraxis"]
    assert (axis["cmin"], axis["cmax"]) == (-6, 6)


def test_what_a_step_lacks_is_empty_there():
    band = Series(name="a", x=(1, 2), y=(1, 2), low=(0, 1), high=(2, 3))
    bare = Series(name="a", x=(1, 2), y=(1, 2))
    spec = spec_of(Figure(title="t", kind="line", series=(bare,), frames=((bare,), (band,))))
    assert len(spec["data"]) == len(spec["frames"][0]["data"]) == len(spec["frames"][1]["data"]) == 2
    assert spec["frames"][0]["data"][0]["x"] == [] and spec["frames"][1]["data"][0]["x"]


def test_axes_of_names_are_the_same_in_all_steps():
    frames = ((Series(x=("a", "b"), y=(1, 2)),), (Series(x=(1, 2), y=(1, 2)),))
    spec = spec_of(Figure(title="t", kind="line", series=frames[0], frames=frames))
    assert spec["layout"]["xaxis"]["type"] == "category" and spec["frames"][1]["data"][0]["x"] == ["1", "2"]


def test_the_slider_names_each_step_and_begins_where_the_series_are():
    figure = moving(steps=("start", "update 1", "<b>", ""))
    html = to_html(figure, "f")
    slider = _Tags(html).found["input"][0]
    assert (slider["min"], slider["max"], slider["value"]) == ("0", "3", "3")
    assert slider["aria-label"] == "Step of: t"
    assert re.findall("<li>(.*?)</li>", html) == ["start", "update 1", "&lt;b&gt;", "4"]
    first = figure.model_copy(update={"series": figure.frames[0]})
    assert (shown_first(figure), shown_first(first)) == (3, 0)


def test_without_a_script_there_is_no_slider():
    assert "hidden" in _Tags(to_html(moving(), "f")).found["div"][-1]


def test_a_figure_without_steps_has_no_slider():
    assert "<input" not in to_html(Figure(title="t", kind="line", series=moving().series), "f")


def test_many_steps_are_thinned_evenly_with_the_first_and_the_last():
    figure = moving(n=500)
    found = drawable(figure)
    assert len(found.frames) == MAX_FRAMES
    assert (found.frames[0], found.frames[-1]) == (figure.frames[0], figure.frames[-1])
    assert names(found)[-1] == "500" and f"{MAX_FRAMES} of the 500 steps" in found.caption
    assert drawable(moving()) == moving()


def test_a_large_cloud_is_thinned_in_every_step():
    cloud = (Series(x=tuple(range(2 * MAX_POINTS)), y=tuple(range(2 * MAX_POINTS))),)
    found = drawable(Figure(title="t", kind="scatter", series=cloud, frames=(cloud, cloud)))
    assert {len(s.x) for frame in found.frames for s in frame} == {MAX_POINTS}


def test_the_words_name_the_steps_and_the_terminal_says_where_they_are_seen():
    figure = moving(steps=("start", "1", "2", "end"))
    assert describe(figure).endswith("In 4 steps, from start to end.")
    console = Console(file=io.StringIO(), width=200)
    print_finding(Finding(probe="p", family="gallery", verdict="info", title="t", figures=(figure,)), console)
    assert "seen in a report" in console.file.getvalue() and "from start to end" in console.file.getvalue()


def test_plotly_itself_gets_the_steps():
    assert [frame.name for frame in to_plotly(moving()).frames] == ["0", "1", "2", "3"]


any_moving = st.builds(
    Figure,
    title=st.text(max_size=5),
    kind=st.sampled_from(KINDS),
    series=st.lists(some_series, max_size=2),
    frames=st.lists(st.lists(some_series, max_size=3), max_size=3),
    steps=st.lists(st.text(max_size=4), max_size=4),
    log_x=st.booleans(),
    log_y=st.booleans(),
)


@settings(deadline=None, max_examples=80)
@given(any_moving)
def test_every_figure_with_steps_is_drawn_with_the_same_traces_in_each(figure):
    spec = spec_of(drawable(figure))
    assert all(len(frame["data"]) == len(spec["data"]) for frame in spec.get("frames", ()))
    assert describe(figure)
