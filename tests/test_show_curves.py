"""`netwright show` draws each activation and its derivative, on the terminal and on a page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from commandline import call
from netwright.core.errors import UsageError
from netwright.core.finding import Figure, Series
from netwright.nn.curves import curve
from netwright.nn.entries import ACTIVATIONS
from netwright.report.figures import to_plotly
from netwright.report.textplot import plotted


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_curve_is_that_of_the_activation_and_the_other_is_its_slope(name: str) -> None:
    f, slope = curve(name).figures[0].series
    assert (f.name, slope.name, f.dashed, slope.dashed) == ("f(x)", "f'(x)", False, True)
    x, y, wanted = (np.array(v, dtype=float) for v in (f.x, f.y, slope.y))
    middle = (y[2:] - y[:-2]) / (x[2:] - x[:-2])
    seen = np.isfinite(middle) & np.isfinite(wanted[1:-1])
    kinks = ACTIVATIONS[name].load().kinks
    seen &= np.array([all(abs(v - k) > 0.1 for k in kinks) for v in x[1:-1]])
    assert seen.sum() > 50 and np.abs(middle - wanted[1:-1])[seen].max() < 0.06  # half a step beside a bend
    assert np.nanmax(np.abs(y)) <= x[-1] + 1e-2
    assert all(x[0] < kink < x[-1] for kink in kinks)


@pytest.mark.slow
def test_show_draws_an_activation_with_its_derivative_on_the_terminal_and_on_a_page(tmp_path: Path) -> None:
    ended = call("show", "tanh", "--out", tmp_path / "tanh.html")
    assert ended.code == 0 and ended.err == ""
    assert "tanh: from -1 to 1, its derivative at most 1" in ended.out
    assert "tanh and its derivative" in ended.out and "* f(x)   o f'(x)" in ended.out and "x from -5 to 5" in ended.out
    rows = [line for line in ended.out.splitlines() if line.strip("* -|o01.9") == "" and "*" in line]
    assert len(rows) >= 9 and rows[0].rstrip().endswith("***") and "***" in rows[-1][:30]
    page = (tmp_path / "tanh.html").read_text()
    assert "tanh and its derivative" in page and "plotly" in page.lower()


def test_the_figure_of_an_activation_is_one_that_reports_draw() -> None:
    (figure,) = curve("relu").figures
    assert [trace.name for trace in to_plotly(figure).data if trace.name] == ["f(x)", "f'(x)"]


def test_there_is_no_curve_of_what_is_no_activation() -> None:
    with pytest.raises(UsageError, match=r"'tanhh'.*'tanh'"):
        curve("tanhh")


def test_letters_of_a_chart_stand_where_its_points_are_and_gaps_stay_empty() -> None:
    line = Series(name="up", x=(0, 1, 2, 3), y=(1.0, None, 3.0, 4.0))
    lines = plotted(Figure(title="t", kind="line", series=(line,), x_label="step"), width=7, height=4)
    assert lines == ["4  |     *", "   |   *", "   |", "1  *", "  step from 0 to 3", "  * up"]
    level = plotted(Figure(title="t", kind="line", series=(Series(x=(1,), y=(0.0,)),)), width=3, height=2)
    assert level[0] == "0  *--" and plotted(Figure(title="t", kind="line")) == []
