"""Gaps in time are told of once, with the series and the largest of them; missing values are told of with what is done to them."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from netwright.cli.rows import answer
from netwright.data.series import series_of
from netwright.data.series_rows import Gathered, Steps, gather, gathered_again, gathered_and_told, told
from netwright.model import Model
from netwright.recipes.entries import RECIPES
from netwright.recipes.sample_specs import sample_spec, sample_target
from netwright.workflow.prepare import look_at
from netwright.workflow.settings import Settings

GAPPY = (0, 1, 2, 3, 4, 50, 51, 52, 53, 900)


def gathered(times: dict[str, list[object]], **more: object) -> Gathered:
    """Series by name at these times, their values the numbers of their rows."""
    names = [name for name, rows in times.items() for _ in rows]
    column = pl.Series("t", [t for rows in times.values() for t in rows])
    frame = pl.DataFrame({"id": names, "v": np.arange(len(names)) * 1.0}).with_columns(column)
    return gather(frame, Steps("id", "t", labels=("v",)))


def uneven(found: Gathered) -> list[str]:
    return [w for w in found.warnings if "uneven" in w]


def test_a_gap_in_time_is_told_with_the_series_and_the_largest_gap_and_what_is_done() -> None:
    found = gathered({"even": [*range(10)], "u7": [*GAPPY], "u8": [0, 1, 7]})
    (said,) = uneven(found)
    assert said.startswith(
        "steps in t are uneven in 2 series: the largest gap is 847 in series 'u7', from 53 to 900, where 1 is usual"
    )
    assert "steps are taken as they follow each other" in said
    assert [len(row) for row in series_of(found.frame["series"])] == [10, 10, 3]


@pytest.mark.parametrize(
    "times",
    [
        [*range(20)],
        [3 * k for k in range(20)],
        [k + 0.1 * (k % 3) for k in range(20)],
        [date(2023, 1 + k, 1) for k in range(12)],
        [f"2024-01-{k:02d}" for k in range(1, 32)],
        [5],
    ],
    ids=["whole", "every third", "jitter", "months", "days as text", "one step"],
)
def test_steps_that_are_about_even_are_passed_over(times: list[object]) -> None:
    assert uneven(gathered({"a": times, "b": times})) == []


def test_the_time_between_two_series_and_two_rows_of_one_time_are_no_gaps() -> None:
    assert uneven(gathered({"a": [0, 1, 2], "b": [900, 901, 902]})) == []
    found = gathered({"a": [0, 1, 1, 1, 1, 2, 3]})
    assert uneven(found) == [] and any("of another row of the same series" in w for w in found.warnings)


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (
            ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-09"],
            "6 days in series 'a', from 2024-01-03 to 2024-01-09, where 1 day",
        ),
        ([date(2024, 1, k) for k in (1, 2, 3, 9)], "6 days in series 'a', from 2024-01-03 to 2024-01-09, where 1 day"),
        ([datetime(2024, 1, 1) + timedelta(hours=k) for k in (0, 1, 2, 3, 13)], "10 h in series 'a'"),
        ([datetime(2024, 1, 1) + timedelta(seconds=k) for k in (0, 1, 2, 3, 13)], "10 s in series 'a'"),
        ([9.0, 1.0, 2.0, 3.0], "6 in series 'a', from 3.0 to 9.0, where 1 is usual"),
    ],
    ids=["text", "dates", "hours", "seconds", "backwards"],
)
def test_gaps_are_told_in_the_units_of_their_time(times: list[object], words: str) -> None:
    (said,) = uneven(gathered({"a": times}))
    assert f"the largest gap is {words}" in said


def test_without_a_column_of_order_nothing_is_known_of_gaps() -> None:
    assert uneven(gather(pl.DataFrame({"id": ["a"] * 3, "v": [1.0, 2.0, 3.0]}), Steps("id"))) == []


def test_a_run_says_what_is_done_with_gaps_in_time_and_with_missing_values(tmp_path: Path) -> None:
    rows = [(f"u{k}", t, None if (k, t) == (3, 2) else float(k + t), "ab"[k % 2]) for k in range(12) for t in GAPPY]
    frame = pl.DataFrame(rows, schema=["id", "t", "v", "y"], orient="row")
    path = f"{tmp_path}/long.csv"
    frame.write_csv(path)
    looked = look_at(Settings(data=path, target="y", series_by="id", series_order="t"))
    assert len([w for w in looked.warnings if "uneven" in w and "847" in w]) == 1
    (missing,) = (w for w in looked.warnings if "missing" in w)
    assert "in 1 of 12 series, are missing; they are filled linearly in time, level at the ends" in missing
    assert looked.steps is not None


def test_new_rows_with_gaps_are_told_of_too() -> None:
    frame = pl.DataFrame({"id": ["a"] * 10 + ["b"] * 10, "t": [*GAPPY, *GAPPY], "v": [1.0, None, *range(18)]})
    spec = sample_spec("series")
    (field,) = spec.fields
    known = spec.model_copy(update={"fields": (field.model_copy(update={"channels": 1}),)})
    known = told(known, Steps("id", "t", labels=("v",)))
    again, notes = gathered_and_told(frame, known)
    assert again.equals(gathered_again(frame, known)) and len(again) == 2
    assert [("uneven in 2 series" in n, "filled linearly" in n) for n in notes] == [(True, False), (False, True)]
    assert gathered_and_told(again, known) == (again, [])


@pytest.mark.parametrize("form", ["long", "folder", "npz"])
def test_missing_values_of_new_rows_are_told_of_in_every_form_of_series(form: str, tmp_path: Path) -> None:
    spec = sample_spec("series")
    (field,) = spec.fields
    one = field.model_copy(update={"channels": 1, "center": (0.0,), "spread": (1.0,)})
    known = spec.model_copy(update={"fields": (one,)})
    values = [1.0, None, 3.0, 4.0]
    if form == "long":
        known = told(known, Steps("id", "t", labels=("v",)))
        path = tmp_path / "new.csv"
        pl.DataFrame({"id": ["a"] * 4, "t": range(4), "v": values}).write_csv(path)
    elif form == "folder":
        known = told(known, Steps("", labels=("v",)))
        path = tmp_path / "new"
        path.mkdir()
        pl.DataFrame({"v": values}).write_csv(path / "a.csv")
    else:
        path = tmp_path / "new.npz"
        np.savez(path, x=np.array([1.0, np.nan, 3.0, 4.0], dtype=np.float32), x_lengths=np.array([4]))
    target = sample_target("series", "classes")
    recipe = RECIPES["gru-classifier"].load()(width=4)
    model = Model(recipe.build(known, target, 0).eval(), known, target, recipe.make_loss(target), recipe)
    (note,) = answer(model, path).notes
    assert "25.00% of the values, in 1 of 1 series, are missing; they are filled linearly in time" in note
