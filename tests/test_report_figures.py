"""Figures keep the numbers they were given, show text letter by letter, and can be told apart by everybody."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.core.finding import Figure, Series
from netwright.report.figures import MAX_POINTS, describe, drawable, to_html, to_plotly
from netwright.report.look import COLOURS, log_ticks

KINDS = ("line", "scatter", "bar", "heatmap")


def figure(kind="line", *series, **options):
    return Figure(title="t", kind=kind, series=series, **options)


def spec_of(found: Figure) -> dict:
    """The figure's JSON as the page's script reads it."""
    text = re.search(r'<script type="application/json">(.*?)</script>', to_html(found, "f"), re.DOTALL)[1]
    assert "<" not in text, "text inside could end the script element"
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


cells = st.one_of(st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(), st.text(max_size=6))
bounds = st.lists(st.one_of(st.none(), st.floats()), max_size=5)
some_series = st.builds(
    Series,
    name=st.text(max_size=6),
    x=st.lists(cells, max_size=5),
    y=st.lists(cells, max_size=5),
    z=st.lists(bounds, max_size=4),
    low=bounds,
    high=bounds,
    hover=st.lists(st.text(max_size=6), max_size=5),
    dashed=st.booleans(),
)
any_figure = st.builds(
    Figure,
    title=st.text(max_size=9),
    kind=st.sampled_from(KINDS),
    series=st.lists(some_series, max_size=3),
    x_label=st.text(max_size=5),
    y_label=st.text(max_size=5),
    log_x=st.booleans(),
    log_y=st.booleans(),
)


@settings(deadline=None, max_examples=150)
@given(any_figure)
def test_every_figure_that_a_finding_may_hold_is_drawn_as_strict_json(found):
    assert spec_of(drawable(found))["layout"]["height"] > 0
    assert describe(found)


@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_drawn_are_the_numbers_given(kind):
    y = (0.5, None, 0.25, 1e-9)
    given_series = Series(x=(1, 2, 3, 4), y=y) if kind != "heatmap" else Series(z=(y, y))
    trace = spec_of(figure(kind, given_series))["data"][-1]
    assert (trace["z"] if kind == "heatmap" else [trace["y"]])[0] == list(y)


def test_numbers_that_are_none_become_gaps():
    trace = spec_of(figure("line", Series(x=(1, 2, 3), y=(math.nan, math.inf, 1.0))))["data"][0]
    assert trace["y"] == [None, None, 1.0]


@pytest.mark.parametrize("kind", ["bar", "scatter"])
def test_intervals_of_bars_and_points_are_error_bars(kind):
    series = Series(x=("a", "b"), y=(2.0, 3.0), low=(1.5, None), high=(4.0, 3.5))
    error = spec_of(figure(kind, series))["data"][0]["error_y"]
    assert (error["array"], error["arrayminus"], error["symmetric"]) == ([2.0, 0.5], [0.5, None], False)


def test_the_interval_of_a_line_is_a_closed_area_around_it():
    series = Series(x=(1, 2, 3), y=(2.0, 3.0, 4.0), low=(1.0, 2.0, 3.0), high=(5.0, 6.0, 7.0))
    band, line = spec_of(figure("line", series))["data"]
    assert list(zip(band["x"], band["y"], strict=True)) == [(1, 5), (2, 6), (3, 7), (3, 3), (2, 2), (1, 1)]
    assert band["fill"] == "toself" and line["y"] == [2, 3, 4]


def test_a_gap_in_an_interval_parts_the_area():
    series = Series(x=(1, 2, 3), y=(1, 1, 1), low=(0.0, None, 0.0), high=(2.0, 2.0, 2.0))
    band = spec_of(figure("line", series))["data"][0]
    assert band["x"] == [1, 1, None, 3, 3]


def test_an_interval_that_crosses_zero_stays_on_a_logarithmic_axis():
    series = Series(x=(1, 2), y=(0.1, 0.2), low=(-0.1, 0.1), high=(0.3, 0.3))
    band = spec_of(figure("line", series, log_y=True))["data"][0]
    assert min(band["y"]) > 0


def test_many_or_long_labels_lay_the_bars_on_their_side_with_the_first_on_top():
    spec = spec_of(
        figure(
            "bar", Series(x=tuple(f"c{i}" for i in range(20)), y=tuple(range(20)), low=(0.0,) * 20, high=(30.0,) * 20)
        )
    )
    trace = spec["data"][0]
    assert (trace["orientation"], trace["x"], trace["y"][0]) == ("h", list(range(20)), "c0")
    assert "error_x" in trace and spec["layout"]["yaxis"]["autorange"] == "reversed"
    assert spec_of(figure("bar", Series(x=("a", "b"), y=(1, 2))))["data"][0]["orientation"] == "v"


def test_digits_given_as_text_stay_names():
    spec = spec_of(figure("bar", Series(x=("10", "9", "2024"), y=(1, 2, 3))))
    assert spec["layout"]["xaxis"]["type"] == "category"
    assert spec["data"][0]["x"] == ["10", "9", "2024"]


@pytest.mark.parametrize("x,kind", [((1, 2), "linear"), (("2024-01-01", "2024-02-01"), "date"), ((1, "b"), "category")])
def test_an_axis_has_the_kind_of_its_values(x, kind):
    assert spec_of(figure("line", Series(x=x, y=(1, 2))))["layout"]["xaxis"]["type"] == kind


def test_logarithmic_axes_are_logarithmic():
    layout = spec_of(figure("line", Series(x=(1, 10), y=(1, 10)), log_x=True, log_y=True))["layout"]
    assert layout["xaxis"]["type"] == layout["yaxis"]["type"] == "log"


@given(st.lists(st.floats(1e-12, 1e12), min_size=1))
def test_ticks_of_a_logarithmic_axis_surround_the_values(values):
    ticks = log_ticks(values)
    assert ticks == sorted(set(ticks)) and len(ticks) <= 12
    assert ticks[0] <= min(values) * 1.0001 and ticks[-1] * 1.0001 >= max(values)


def test_dashed_series_are_lines_of_reference_among_points_and_bars():
    for kind in ("scatter", "bar"):
        trace = spec_of(figure(kind, Series(x=(0, 1), y=(0, 1)), Series(x=(0, 1), y=(0, 1), dashed=True)))["data"][1]
        assert (trace["type"], trace["mode"], trace["line"]["dash"]) == ("scatter", "lines", "dash")


def test_a_heat_map_with_both_signs_has_zero_in_the_middle_of_its_colours():
    axis = spec_of(figure("heatmap", Series(z=((-1.0, 3.0),))))["layout"]["coloraxis"]
    assert axis["cmin"] == -axis["cmax"] == -3


def test_a_confusion_matrix_carries_its_counts_and_its_first_class_on_top():
    series = Series(x=("a", "b"), y=("a", "b"), z=((11720.0, 715.0), (1580.0, 2266.0)))
    spec = spec_of(figure("heatmap", series))
    assert spec["data"][0]["text"] == [["11,720", "715"], ["1580", "2266"]]
    assert spec["layout"]["yaxis"]["autorange"] == "reversed"


def test_several_heat_maps_do_not_overlap():
    for named in (True, False):
        maps = (Series(name=str(i), x=("a",) if named else (), z=((1.0,),)) for i in range(3))
        layout = spec_of(figure("heatmap", *maps))["layout"]
        places = [(layout[f"xaxis{s}"]["domain"], layout[f"yaxis{s}"]["domain"]) for s in ("", "2", "3")]
        for (x1, y1), (x2, y2) in combinations(places, 2):
            assert max(x1[0], x2[0]) >= min(x1[1], x2[1]) or max(y1[0], y2[0]) >= min(y1[1], y2[1])
        assert all(0 <= low < high <= 1 for place in places for low, high in place)


HOSTILE = "<b>bold</b> <a href='https://x'>%{y} &amp;"


@pytest.mark.parametrize("kind", ["line", "scatter", "bar"])
def test_plotly_gets_text_that_it_shows_letter_by_letter(kind):
    series = Series(name=HOSTILE, x=(HOSTILE, "b"), y=(1, 2))
    hovered = Series(name="other", x=(HOSTILE, "b"), y=(1, 2), hover=(HOSTILE, "b"))
    drawn = to_plotly(Figure(title=HOSTILE, kind=kind, series=(series, hovered), x_label=HOSTILE, y_label=HOSTILE))
    text = json.dumps(json.loads(drawn.to_json()), ensure_ascii=False)
    assert "<b>" not in text and "<a " not in text
    assert "&amp;amp;" in text, "an entity would be decoded once more"


def test_plotly_does_not_fill_in_a_label_as_if_it_were_a_template():
    drawn = to_plotly(figure("scatter", Series(name="%{x}", x=(1,), y=(1,)), y_label="%{x}"))
    assert drawn.data[0].hovertemplate.count("%{x}") == 1, "only ours"


class _Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_hostile_text_does_not_leave_the_json_or_the_attributes():
    bad = "</script><script>alert(1)</script><!--\" onload='x'"
    html = to_html(
        Figure(title=bad, kind="bar", series=(Series(name=bad, x=(bad,), y=(1,), hover=(bad,)),), x_label=bad), bad
    )
    tags = _Tags(html).found
    assert [tag for tag, _ in tags] == ["div", "script", "div"]
    assert bad in tags[0][1]["aria-label"] and tags[0][1]["id"] == bad
    assert not any(name.startswith("on") for _, attrs in tags for name in attrs)


def test_a_large_cloud_is_thinned_evenly_and_says_so():
    n = 4 * MAX_POINTS
    found = drawable(
        figure("scatter", Series(name="rows", x=tuple(range(n)), y=tuple(range(n)), hover=tuple(map(str, range(n)))))
    )
    points = found.series[0]
    assert len(points.x) == len(points.hover) == MAX_POINTS
    assert points.x == points.y == tuple(range(0, n, 4)) == tuple(map(int, points.hover))
    assert f"{MAX_POINTS:,} of the {n:,} points of rows are drawn" in found.caption


def test_what_fits_is_not_thinned():
    given_figure = figure("scatter", Series(x=tuple(range(MAX_POINTS)), y=tuple(range(MAX_POINTS))), caption="c")
    assert drawable(given_figure) == given_figure


def test_points_that_a_logarithmic_axis_cannot_show_are_counted():
    found = drawable(figure("line", Series(x=(0, 0.1), y=(1, -1)), log_x=True, log_y=True))
    assert "1 points at or below 0 have no place on the logarithmic x axis" in found.caption
    assert "logarithmic y axis" in found.caption


def test_the_words_for_the_blind_name_title_axes_and_ends():
    found = Figure(
        title="Loss",
        kind="line",
        x_label="epoch",
        y_label="nats",
        series=(Series(name="train", x=(1, 2), y=(0.7, 0.2)),),
    )
    assert describe(found) == "Line chart: Loss. Across: epoch. Up: nats. train from 0.7 to 0.2."


def _linear(colour: str) -> np.ndarray:
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def _lab(rgb: np.ndarray) -> np.ndarray:
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ np.clip(rgb, 0, 1)
    f = np.cbrt(xyz / np.array([0.9505, 1.0, 1.089]))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


# Machado, Oliveira and Fernandes (2009), severity 1
SIGHT = {
    "full": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("n,least", [(4, 20), (7, 12)])
def test_the_colours_differ_for_every_eye(sight, n, least):
    labs = [_lab(SIGHT[sight] @ _linear(colour)) for colour in COLOURS[:n]]
    assert min(float(np.linalg.norm(a - b)) for a, b in combinations(labs, 2)) > least


@pytest.mark.parametrize("colour", COLOURS)
def test_every_colour_stands_out_from_white(colour):
    luminance = np.array([0.2126, 0.7152, 0.0722]) @ _linear(colour)
    assert 1.05 / (luminance + 0.05) >= 3
