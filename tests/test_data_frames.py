"""Tables in memory into frames: the same rows from every library."""

from __future__ import annotations

import datetime
import decimal
import sys
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.core.errors import DataError, UsageError
from netwright.data.cells import to_days, to_labels
from netwright.data.read import from_any

CELLS: dict[str, list[Any]] = {
    "number": [1.5, None, -2.0],
    "whole": [1, 2, 3],
    "word": ["b", None, "a"],
    "flag": [True, False, True],
    "when": [datetime.datetime(2024, 1, 2, 3), None, datetime.datetime(1969, 12, 31)],
}
EXPECTED = [
    (1.5, 1, "b", True, datetime.datetime(2024, 1, 2, 3)),
    (None, 2, None, False, None),
    (-2.0, 3, "a", True, datetime.datetime(1969, 12, 31)),
]


@pytest.mark.parametrize(
    "make",
    [
        pl.DataFrame,
        pd.DataFrame,
        pa.table,
        dict,
        lambda cells: pd.DataFrame(cells).convert_dtypes(),
        lambda cells: pd.DataFrame(cells, index=[7, 3, 3]),
        lambda cells: pd.DataFrame(cells).astype({"word": "category"}),
        lambda cells: pd.DataFrame(cells).astype(object),
        lambda cells: pl.DataFrame(cells).with_columns(pl.col("word").cast(pl.Categorical)),
        lambda cells: {k: pd.Series(v) for k, v in cells.items()},
        lambda cells: {k: np.array(v, dtype=object) for k, v in cells.items()},
        lambda cells: pa.table(cells).set_column(2, "word", pa.array(cells["word"]).dictionary_encode()),
    ],
)
def test_every_library_gives_the_same_rows_in_the_same_order(make: Any) -> None:
    frame = from_any(make(CELLS))
    assert frame.columns == list(CELLS) and frame.rows() == EXPECTED
    assert frame.schema["word"] == pl.String and frame.schema["flag"] == pl.Boolean


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.one_of(st.none(), st.floats(allow_infinity=False), st.integers(-(2**53), 2**53)), min_size=1, max_size=20
    )
)
def test_numbers_survive_every_library_and_nan_is_missing(cells: list[float | int | None]) -> None:
    expected = [None if c is None or c != c else float(c) for c in cells]
    values = [float("nan") if c is None else float(c) for c in cells]
    for table in (
        pd.DataFrame({"a": values}),
        pl.DataFrame({"a": values}),
        pa.table({"a": values}),
        {"a": np.array(values)},
        {"a": cells},
    ):
        assert from_any(table)["a"].cast(pl.Float64).to_list() == expected


def test_nullable_whole_numbers_keep_every_digit() -> None:
    cells = pd.Series([2**53 + 1, None], dtype="Int64")
    assert from_any(pd.DataFrame({"a": cells}))["a"].to_list() == [2**53 + 1, None]


def test_mixed_objects_become_strings_unless_they_agree() -> None:
    frame = from_any(
        {
            "mixed": [1, "a", None, True],
            "numbers": [1, 2.5, decimal.Decimal("3"), float("nan")],
            "flags": [True, None, False, pd.NA],
            "dates": [datetime.date(2024, 1, 31), None, pd.NaT, datetime.date(1970, 1, 2)],
        }
    )
    assert frame["mixed"].to_list() == ["1", "a", None, "true"]
    assert frame["numbers"].to_list() == [1.0, 2.5, 3.0, None]
    assert frame["flags"].to_list() == [True, None, False, None]
    assert to_days(frame["dates"]).to_list() == [19753.0, None, None, 1.0]


def test_times_with_a_zone_are_taken_in_utc_by_every_library() -> None:
    times = pd.Series(pd.to_datetime(["2024-01-01 00:30", "2024-07-01 12:00"])).dt.tz_localize("Europe/Berlin")
    days = [to_days(from_any(t)["t"]).to_list() for t in (pd.DataFrame({"t": times}), pa.table({"t": times}))]
    text = to_days(pl.Series(["2024-01-01T00:30:00+01:00", "2024-07-01 12:00+02:00"])).to_list()
    assert days[0] == days[1] == text and days[0][0] == pytest.approx(19722 + 23.5 / 24)


def test_arrays_get_numbered_names_and_y_comes_last() -> None:
    frame = from_any(np.array([[1, 2], [3, 4]]), y=np.array(["u", "v"]))
    assert frame.columns == ["x0", "x1", "target"] and frame.rows() == [(1, 2, "u"), (3, 4, "v")]
    named = from_any(pd.DataFrame({0: [1.0, 2.0]}), y=pd.Series([5, 6], name="price", index=[9, 8]))
    assert named.columns == ["0", "price"] and named["price"].to_list() == [5, 6]
    assert from_any(pl.DataFrame({"target": [1]}), y=[2]).columns == ["target", "target_"]
    assert from_any(np.ones((2, 1)), y=np.array([[1], [2]]))["target"].to_list() == [1, 2]
    assert from_any(np.ones((2, 1)), y=pd.DataFrame({"q": [1, 2]}))["target"].to_list() == [1, 2]


def test_a_read_only_or_strided_array_is_read() -> None:
    x = np.arange(12.0, dtype=np.float32).reshape(3, 4)[:, ::2]
    x.flags.writeable = False
    assert from_any(x).rows() == [(0.0, 2.0), (4.0, 6.0), (8.0, 10.0)]


def test_a_structured_array_gives_its_fields() -> None:
    x = np.array([(1, 2.5), (3, 4.5)], dtype=[("a", "i4"), ("b", "f8")])
    assert from_any(x).rows(named=True) == [{"a": 1, "b": 2.5}, {"a": 3, "b": 4.5}]


def test_the_same_cells_from_file_and_frame_have_the_same_labels() -> None:
    frame = from_any(
        pd.DataFrame({"a": [1.0, 2.5, None], "b": [True, False, True], "c": pd.Categorical(["x", " y", None])})
    )
    assert to_labels(frame["a"]).to_list() == to_labels(pl.Series(["1", "2.50", ""])).to_list()
    assert to_labels(frame["b"]).to_list() == to_labels(pl.Series(["True", "FALSE", "true"])).to_list()
    assert to_labels(frame["c"]).to_list() == ["x", "y", None]


@pytest.mark.parametrize(
    ("x", "y", "error", "words"),
    [
        (pl.LazyFrame({"a": [1]}), None, UsageError, "collect()"),
        (np.arange(3), None, UsageError, "reshape"),
        (np.zeros((2, 2, 2)), None, UsageError, "(2, 2, 2)"),
        (np.ones((2, 2), dtype=complex), None, DataError, "complex"),
        ("adult.csv", None, UsageError, "read_table"),
        (3, None, UsageError, "int"),
        ([[1, 2]], None, UsageError, "numpy.asarray"),
        (np.ones((2, 1)), [1, 2, 3], DataError, "3"),
        ({"a": [1, 2], "b": [1]}, None, DataError, "differ in length"),
        ({"a": [[1], [2]]}, None, DataError, "'a' holds list"),
        ({}, None, DataError, "no rows or no columns"),
        (pd.DataFrame({"a": []}), None, DataError, "no rows"),
        (np.zeros((0, 3)), None, DataError, "no rows"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), None, DataError, "a"),
        (pd.DataFrame([[1, 2]], columns=[1, "1"]), None, DataError, "'1'"),
        (pa.table({"a": [{"b": 1}]}), None, DataError, "'a' holds objects"),
        (pl.DataFrame({"a": [b"x"]}), None, DataError, "bytes"),
    ],
)
def test_what_is_no_table_is_refused_with_advice(x: Any, y: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        from_any(x, y)
    assert words in str(caught.value)


def test_a_sparse_matrix_is_refused_with_advice() -> None:
    import scipy.sparse

    with pytest.raises(UsageError, match="toarray"):
        from_any(scipy.sparse.eye(3))


def test_pandas_is_read_without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    x = pd.DataFrame(CELLS).astype({"word": "category"})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert from_any(x).rows() == EXPECTED
