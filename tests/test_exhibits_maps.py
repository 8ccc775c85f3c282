"""Pictures of an exhibit stand close together, each with its name over it."""

from __future__ import annotations

import pytest

from netwright.core.finding import Figure, Series
from netwright.report.heatmap import GAP, ROOM, heatmap


def pictures(n: int, rows: int, columns: int) -> Figure:
    z = tuple(tuple(float(i - j) for j in range(columns)) for i in range(rows))
    return Figure(title="t", kind="heatmap", series=tuple(Series(name=f"unit {k}", z=z) for k in range(n)))


@pytest.mark.parametrize(("n", "rows", "columns"), [(2, 25, 25), (3, 25, 25), (4, 25, 25), (8, 30, 40), (4, 40, 30)])
def test_a_row_of_pictures_is_as_high_as_they_are_when_each_has_its_part_of_the_width(
    n: int, rows: int, columns: int
) -> None:
    _, layout = heatmap(pictures(n, rows, columns))
    low, high = layout["yaxis"]["domain"]
    height = (high - low) * (layout["height"] - GAP)
    left, right = layout["xaxis"]["domain"]
    assert height == pytest.approx((right - left) * ROOM * rows / columns, rel=0.02)


def test_a_picture_that_is_smaller_than_its_place_stays_under_its_name() -> None:
    _, layout = heatmap(pictures(5, 20, 20))
    for k, name in enumerate(layout["annotations"]):
        suffix = str(k + 1) if k else ""
        across, down = layout[f"xaxis{suffix}"], layout[f"yaxis{suffix}"]
        assert (across["constraintoward"], down["constraintoward"]) == ("left", "top")
        assert (name["x"], name["y"]) == (across["domain"][0], down["domain"][1])


def test_the_bar_of_colours_is_not_cut_off_beside_low_pictures() -> None:
    _, layout = heatmap(pictures(4, 5, 40))
    assert layout["coloraxis"]["colorbar"]["len"] <= layout["height"] - GAP
