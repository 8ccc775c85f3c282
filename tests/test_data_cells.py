"""How one cell is read, whatever column it stands in."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.data.cells import MISSING_WORDS, to_days, to_labels, to_numbers, two_marks, typed

CELL = st.one_of(
    st.none(),
    st.text(max_size=6),
    st.floats().map(str),
    st.integers().map(str),
    st.sampled_from(
        [*MISSING_WORDS, "1,5", "1,234", "1.234,5", "01", "2024-01-31", "31.01.2024", "True", "1.0", " 3 ", "20240131"]
    ),
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(CELL, min_size=1, max_size=8))
def test_a_cell_reads_the_same_alone_and_among_others(cells: list[str | None]) -> None:
    column = pl.Series("c", cells, dtype=pl.String)
    for read in (to_numbers, to_days, to_labels):
        alone = [read(column[i : i + 1])[0] for i in range(len(cells))]
        assert read(column).to_list() == alone


@settings(max_examples=60, deadline=None)
@given(st.lists(CELL, min_size=1, max_size=8))
def test_typing_a_column_changes_no_number_and_no_label(cells: list[str | None]) -> None:
    column = pl.Series("c", cells, dtype=pl.String)
    kept, _ = typed(column)
    assert to_numbers(kept).to_list() == to_numbers(column).to_list()
    if kept.dtype == pl.Int64 and not any(str(c).strip().lower() in MISSING_WORDS for c in cells if c):
        assert to_labels(kept).to_list() == to_labels(column).to_list()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(allow_infinity=False)), min_size=1, max_size=8))
def test_labels_of_numbers_are_those_of_their_text_and_of_themselves(values: list[float | None]) -> None:
    column = pl.Series("c", values, dtype=pl.Float64)
    labels = to_labels(column)
    assert to_labels(labels).to_list() == labels.to_list()
    read_back = labels.cast(pl.Float64).to_list()
    assert read_back == [None if v is None or v != v else v for v in values]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1,5", 1.5),
        ("-0,125", -0.125),
        ("1,234", 1234.0),
        ("1,234,567.8", 1234567.8),
        ("1.234,5", 1234.5),
        (".5", 0.5),
        ("+3", 3.0),
    ]
    + [
        (c, None)
        for c in ("inf", "-Infinity", "nan", "n/a", "?", "abc", "1,2,3", "12 %", "1_000", "0x10", "1,23,456.7")
    ],
)
def test_numbers_are_read_as_people_write_them(cell: str, value: float | None) -> None:
    assert to_numbers(pl.Series([cell])).to_list() == [value]


@pytest.mark.parametrize(
    ("cell", "day"),
    [
        ("2024-01-31", 19753.0),
        ("2024/01/31", 19753.0),
        ("31.01.2024", 19753.0),
        ("01/31/2024", 19753.0),
        ("2024-01-31 12:00", 19753.5),
        ("2024-01-31T18:00:00.000", 19753.75),
        ("2024-01-31T18:00:00Z", 19753.75),
        ("2024-01-31 00:00:00-06:00", 19753.25),
        ("1969-12-31", -1.0),
        ("2024-02-30", None),
        ("soon", None),
    ],
)
def test_dates_are_read_as_people_write_them(cell: str, day: float | None) -> None:
    assert to_days(pl.Series([cell])).to_list() == [day]


def test_typed_dates_and_whole_numbers_agree_with_written_ones() -> None:
    written = pl.Series(["2024-01-31", "1970-01-02"])
    dates = written.str.to_date()
    assert to_days(written).to_list() == to_days(dates).to_list() == to_days(pl.Series([20240131, 1])).to_list()
    assert to_days(dates.cast(pl.Datetime("ns"))).to_list() == [19753.0, 1.0]


def test_two_meanings_of_a_comma_are_noticed() -> None:
    assert two_marks(pl.Series(["1,234", "1,5"])) == ("1,234", "1,5")
    assert two_marks(pl.Series(["1.234", "1,5"])) == ("1.234", "1,5")
    assert two_marks(pl.Series(["1,234", "2,345,678"])) is None
    assert two_marks(pl.Series(["1.5", "1,5", None])) is None
