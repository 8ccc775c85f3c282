"""What columns are taken for, and which task a target asks for."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from netwright.core.errors import DataError, UsageError
from netwright.core.seed import numpy_generator
from netwright.data.cells import to_numbers
from netwright.data.infer import infer_kinds, infer_task, pick_column
from netwright.data.read import read_table

RNG = numpy_generator(0, "infer")
N = 400
FLOATS = RNG.normal(size=N)
COLUMNS: dict[str, tuple[list[object], str]] = {
    "unique_floats": (FLOATS.tolist(), "number"),
    "whole_floats": (np.round(FLOATS * 10).tolist(), "integer"),
    "counts": (RNG.integers(0, 9, N).tolist(), "integer"),
    "price": (RNG.choice(10**7, N, replace=False).tolist(), "integer"),
    "customerId": (RNG.choice(10**7, N, replace=False).tolist(), "identifier"),
    "row_number": (list(range(1, N + 1)), "identifier"),
    "shuffled": (RNG.permutation(N).tolist(), "identifier"),
    "float id": ([float(i) for i in RNG.choice(10**7, N, replace=False)], "identifier"),
    "store_id": (RNG.integers(1, 6, N).tolist(), "category"),
    "uuid": ([f"{i:08x}-{i * 7919:08x}" for i in range(N)], "identifier"),
    "zip": ([f"0{i % 50:04d}" for i in range(N)], "category"),
    "card": ([f"{10**17 + i * 10**6}" for i in range(N)], "identifier"),
    "colour": (["red", "green"] * (N // 2), "category"),
    "flag": ([True, False] * (N // 2), "category"),
    "always": (["x"] * N, "constant"),
    "never": ([None] * N, "constant"),
    "only_or_missing": (["x", None] * (N // 2), "category"),
    "day": ([f"2024-{1 + i % 12:02d}-{1 + i % 28:02d}" for i in range(N)], "date"),
    "stamp": ([f"2024-01-{1 + i % 28:02d}T10:00:{i % 60:02d}Z" for i in range(N)], "date"),
    "date": ([20240101 + i % 28 for i in range(N)], "date"),
    "german": ([f"{1 + i % 28:02d}.01.2024" for i in range(N)], "date"),
    "typed": ([datetime.date(2024, 1, 1 + i % 28) for i in range(N)], "date"),
    "review": ([f"this is review {i} of a film" for i in range(N)], "text"),
    "name": ([f"Smith, Mr. John {i}" for i in range(N)], "text"),
    "rare": ([f"w{i % 250}" for i in range(N)], "category"),
    "grade": (["1", "2", "3+", "4"] * (N // 4), "category"),
    "text_numbers": ([str(v) for v in FLOATS], "number"),
    "commas": ([f"{v:.1f}".replace(".", ",") for v in FLOATS * 10], "number"),
    "mostly": ([*[str(v) for v in FLOATS[2:]], "abc", "n/a"], "number"),
    "year": (list(range(1600, 1600 + N)), "integer"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_is_taken_for_what_it_is(name: str) -> None:
    cells, kind = COLUMNS[name]
    frame = pl.DataFrame({name: cells, "other": FLOATS})
    guess = infer_kinds(frame, {})[name]
    assert guess.kind == kind, guess
    assert guess.reason


def test_a_column_with_fractions_is_never_an_identifier() -> None:
    frame = pl.DataFrame({"id": RNG.normal(size=1000), "b": np.arange(1000) + 0.5})
    assert {g.kind for g in infer_kinds(frame, {}).values()} == {"number"}


def test_few_rows_make_no_identifier() -> None:
    guesses = infer_kinds(pl.DataFrame({"id": range(10), "name": list("abcdefghij"), "x": FLOATS[:10]}), {})
    assert [g.kind for g in guesses.values()] == ["integer", "category", "number"]


def test_row_numbers_are_used_where_nothing_else_is_left() -> None:
    guesses = infer_kinds(pl.DataFrame({"x": range(100), "y": FLOATS[:100]}), {}, target="y")
    assert list(guesses) == ["x"] and guesses["x"].kind == "integer" and guesses["x"].warnings


def test_fifty_thousand_labels_are_categories_and_unique_ones_identifiers() -> None:
    labels = [f"label{i % 50_000}" for i in range(100_000)]
    frame = pl.DataFrame({"often": labels, "once": [f"key{i}" for i in range(100_000)]})
    guesses = infer_kinds(frame, {})
    assert guesses["often"].kind == "category" and "50,000" in guesses["often"].reason
    assert guesses["once"].kind == "identifier"


@pytest.mark.parametrize(
    ("strays", "words"),
    [
        (["abc", "n/a", "inf"], ["2 cells are no finite number", "'abc'", "'inf'"]),
        (["1,5", "2.5", ""], ["1 cell with a comma", "'1,5'", "1.5"]),
        (["?", "-", "NA"], []),
    ],
)
def test_stray_cells_of_a_number_column_are_counted_and_shown(strays: list[str], words: list[str]) -> None:
    frame = pl.DataFrame({"a": [*(str(v) for v in FLOATS), *strays]})
    guess = infer_kinds(frame, {})["a"]
    assert guess.kind == "number" and bool(guess.warnings) == bool(words)
    for word in words:
        assert word in " ".join(guess.warnings)


def test_a_mark_with_two_meanings_is_refused() -> None:
    frame = pl.DataFrame({"a": [*(f"{i},5" for i in range(50)), "1,234"]})
    with pytest.raises(DataError, match=r"'1,234' and '0,5'.*decimal mark"):
        infer_kinds(frame, {})


def test_the_user_overrules_and_is_told_what_cannot_be() -> None:
    frame = pl.DataFrame({"age": ["1", "2", "x"], "id": [1, 2, 3], "word": list("abc")})
    guesses = infer_kinds(frame, {"age": "number", "id": "category"})
    assert guesses["age"].kind == "number" and "--kind age=number" in guesses["age"].reason
    assert "'x'" in guesses["age"].warnings[0] and guesses["id"].kind == "category"
    with pytest.raises(DataError, match=r"--kind word=number.*'a'"):
        infer_kinds(frame, {"word": "number"})
    with pytest.raises(UsageError, match="did you mean 'age'"):
        infer_kinds(frame, {"agee": "number"})
    with pytest.raises(UsageError, match="did you mean 'number'"):
        infer_kinds(frame, {"age": "numbr"})  # type: ignore[dict-item]


def test_all_columns_constant_is_refused() -> None:
    frame = pl.DataFrame({"a": [1, 1], "b": ["x", "x"], "y": [0, 1]})
    with pytest.raises(DataError, match="all 2 columns but the target are constant"):
        infer_kinds(frame, {}, target="y")


def test_a_column_named_by_the_parts_of_a_split_is_warned_about() -> None:
    frame = pl.DataFrame(
        {"part": ["Train", "test", "dev"] * 20, "mood": ["test", "rest", "best"] * 20, "x": FLOATS[:60]}
    )
    guesses = infer_kinds(frame, {})
    assert "--split-column part" in guesses["part"].warnings[0]
    assert not guesses["mood"].warnings


def test_dates_in_a_form_that_is_not_read_are_mentioned() -> None:
    guess = infer_kinds(pl.DataFrame({"d": [f"{i % 28 + 1}/{i % 12 + 1}/2024" for i in range(100)]}), {})["d"]
    assert guess.kind == "category" and "2024-01-31" in guess.warnings[0]


@pytest.mark.parametrize(
    ("cells", "task", "words"),
    [
        (["a", "b"] * 20, "binary", "a, b"),
        ([True, False] * 20, "binary", "false, true"),
        ([0, 1] * 20, "binary", "two whole numbers"),
        ([0.0, 1.0] * 20, "binary", "two whole numbers"),
        ([0.5, 1.5] * 20, "number", "fractions"),
        (["a", "b", "c"] * 20, "classes", "3 classes"),
        ([3, 4, 5, 6, 7, 8, 9] * 100, "classes", "--task number"),
        ([1, 2, 3, 4, 5] * 4, "number", "--task classes"),
        (list(range(21)) * 100, "number", "--task classes"),
        (FLOATS.tolist(), "number", "fractions"),
        ([f"{v:.3f}" for v in FLOATS], "number", "fractions"),
        (["1,5", "2,5", "3,0"] * 9, "number", "fractions"),
        ([datetime.date(2024, 1, d) for d in range(1, 29)], "number", "days"),
        (["NA", "yes"] * 20, "binary", "'NA' counts as a class"),
    ],
)
def test_the_task_follows_from_the_target(cells: list[object], task: str, words: str) -> None:
    found, reason = infer_task(pl.Series("y", cells))
    assert found == task and words in reason


@pytest.mark.parametrize(
    ("cells", "override", "words"),
    [
        ([1], None, ["1 row", "at least two"]),
        ([], None, ["0 rows"]),
        (["a", None, "b", ""] * 2, None, ["missing in 4 of 8 rows", "rows 2, 4, 6", "remove"]),
        ([1.5, float("nan"), 2.0], None, ["missing in 1 of 3 rows"]),
        (["a"] * 30, None, ["one class only ('a')"]),
        ([1.5] * 30, None, ["always '1.5'"]),
        ([7] * 30, "number", ["always '7'"]),
        (["a", "b"] * 9 + ["c"], None, ["a class with one row ('c')", "merge"]),
        ([1] * 50 + [2] * 50 + [9], "classes", ["('9')", "--task number"]),
        ([f"name{i}" for i in range(50)], None, ["50 classes with one row each"]),
        ([*map(str, FLOATS), "oops"], None, ["is a number, but 1 cell is none: 'oops'"]),
        (["a", "b"] * 20, "number", ["--task number", "40 cells are no number: 'a', 'b'"]),
        ([*["1"] * 20, "inf"], "number", ["'inf'"]),
        (["a", "b", "c"] * 5, "binary", ["3 classes, expected two"]),
        (["1,234", "1,5", "2,5"] * 9, None, ["'1,234' and '1,5'"]),
    ],
)
def test_a_target_that_cannot_be_learnt_is_refused(cells: list[object], override: str | None, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        infer_task(pl.Series("y", cells), override)
    for word in words:
        assert word in str(caught.value)


def test_an_override_of_the_task_is_obeyed_and_checked() -> None:
    assert infer_task(pl.Series("y", [3, 4, 5] * 50), "number") == ("number", "set by --task number")
    assert infer_task(pl.Series("y", [3, 4] * 50), "classes")[0] == "binary"
    assert infer_task(pl.Series("y", range(30)).append(pl.Series(range(30))), "classes")[0] == "classes"
    with pytest.raises(UsageError, match="did you mean 'number'"):
        infer_task(pl.Series("y", [1, 2]), "numbr")


def test_a_misspelt_column_offers_the_nearest_names() -> None:
    with pytest.raises(DataError, match="there is no target column 'incom'; did you mean 'income'"):
        pick_column(pl.DataFrame({"income": [1], "age": [2]}), "incom", "target column")


@pytest.mark.data
def test_shared_tables_are_taken_for_what_they_are(real_data: Path) -> None:
    kinds = {}
    for name, target in (("adult", "income"), ("titanic", "Survived"), ("california_housing", "median_house_value")):
        frame = read_table(real_data / f"tables/{name}.csv.gz")
        kinds[name] = {k: g.kind for k, g in infer_kinds(frame, {}, target=target).items()}
    whole = {"age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week"}
    assert {k for k, kind in kinds["adult"].items() if kind == "integer"} == whole
    assert {kind for k, kind in kinds["adult"].items() if k not in whole} == {"category"}
    assert kinds["titanic"]["PassengerId"] == "identifier" and kinds["titanic"]["Name"] == "text"
    assert kinds["titanic"]["Pclass"] == "integer" and kinds["titanic"]["Sex"] == "category"
    assert kinds["california_housing"].pop("ocean_proximity") == "category"
    assert set(kinds["california_housing"].values()) == {"number", "integer"}
    wine = read_table(real_data / "tables/wine_quality.csv.gz")["quality"]
    task, reason = infer_task(wine)
    assert task == "classes" and "7 different whole numbers" in reason and "--task number" in reason
    assert to_numbers(wine).null_count() == 0
