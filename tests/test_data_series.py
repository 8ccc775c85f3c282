"""Series: how they are read from every form, what is done about gaps and lengths, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import netwright as nw
from netwright.core.errors import DataError, UsageError
from netwright.core.spec import SeriesField
from netwright.data.encode import decode_inputs, encode_inputs, fit_inputs
from netwright.data.read import look
from netwright.data.sequence_folders import read_series
from netwright.data.series import as_series, column_of_series, filled, series_of
from netwright.data.series_rows import Steps, gather, gathered_again, told
from netwright.workflow.prepare import completed, look_at, read, split_and_encode
from netwright.workflow.settings import Settings

ROWS = [np.arange(n, dtype=np.float32).reshape(-1, 1) * [1, -1] for n in (5, 3, 7)]


def same(column: pl.Series, rows: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(series_of(column), rows, strict=True))


def npz(folder: Path, **arrays: Any) -> Path:
    path = folder / "data.npz"
    np.savez(path, **arrays)
    return path


def test_series_of_unequal_lengths_go_in_and_come_back() -> None:
    frame = column_of_series(ROWS).to_frame()
    spec = fit_inputs(frame, {"series": "series"})
    x = encode_inputs(frame, spec)
    assert spec.kind == "series"
    assert x["series"].shape == (3, 2, 7)
    assert x["series:length"].tolist() == [5, 3, 7]
    assert x["series"][1, :, 3:].abs().sum() == 0
    assert same(decode_inputs(x, spec)["series"], ROWS)


def test_a_gap_is_filled_linearly_and_level_at_the_ends() -> None:
    row = np.array([[np.nan, 1], [2, np.nan], [np.nan, 3], [4, np.nan]])
    assert filled(row, [0, 0]).tolist() == [[2, 1], [2, 2], [3, 3], [4, 3]]
    assert filled(np.full((2, 1), np.nan), [7.0]).tolist() == [[7], [7]]


def test_gaps_are_told_in_the_first_look(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(40, 20, 2))
    x[3, 4:6, 0] = np.nan
    settings = Settings(data=str(npz(tmp_path, x=x, y=np.arange(40) % 2)))
    looked = look_at(completed(settings, read(settings)), read(settings))
    assert any("0.12% of the values, in 1 of 40 series, are missing" in w and "linearly" in w for w in looked.warnings)


@pytest.mark.parametrize("rows", [[np.zeros((0, 1))], [np.zeros((3, 2)), np.zeros((0, 2))]])
def test_a_series_of_length_0_is_refused(rows: list[np.ndarray]) -> None:
    with pytest.raises(DataError, match=r"series \d of 'series' has length 0"):
        column_of_series(rows)


def test_an_empty_cell_of_a_frame_is_refused_with_its_row() -> None:
    column = pl.Series("v", [[[1.0]], []], dtype=pl.List(pl.Array(pl.Float32, 1)))
    with pytest.raises(DataError, match="row 1: a series of length 0"):
        series_of(column)


def test_other_channels_than_those_of_training_are_refused() -> None:
    spec = fit_inputs(column_of_series(ROWS).to_frame(), {"series": "series"})
    with pytest.raises(DataError, match="1 channel, but 2 were fitted"):
        encode_inputs(column_of_series([np.zeros(4)]).to_frame(), spec)


def test_an_npz_of_values_and_offsets_holds_ragged_series(tmp_path: Path) -> None:
    offsets = np.concatenate([[0], np.cumsum([len(r) for r in ROWS])])
    found = look(npz(tmp_path, x=np.concatenate(ROWS), x_offsets=offsets, y=np.array(["a", "b", "a"])))
    assert same(found.frame["series"], ROWS)
    assert (found.target, found.kinds) == ("label", {"series": "series"})
    lengths = np.diff(offsets)
    assert same(look(npz(tmp_path, x=np.concatenate(ROWS), x_lengths=lengths, y=np.arange(3))).frame["series"], ROWS)


@pytest.mark.parametrize(
    ("offsets", "says"),
    [
        ([0, 5, 5, 15], "series 1 of x_offsets has length 0"),
        ([0, 5, 8, 99], "runs from 0 to 99"),
        ([0, 8, 5, 15], "rise"),
    ],
)
def test_offsets_that_do_not_fit_are_refused(tmp_path: Path, offsets: list[int], says: str) -> None:
    with pytest.raises(DataError, match=says):
        look(npz(tmp_path, x=np.concatenate(ROWS), x_offsets=np.array(offsets), y=np.arange(3)))


def test_labels_that_are_not_as_many_as_the_series_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="3 series but 2 labels"):
        look(npz(tmp_path, x=np.concatenate(ROWS), x_offsets=np.array([0, 5, 8, 15]), y=np.arange(2)))


def test_a_table_and_images_stay_what_they_were_unless_the_user_says_series(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).normal(size=(20, 9)), np.arange(20) % 2
    assert "x0" in look(npz(tmp_path, x=x, y=y)).frame.columns
    assert look(npz(tmp_path, x=x, y=y), series=["x"]).frame["x"].dtype == pl.List(pl.Array(pl.Float32, 1))
    pictures = npz(tmp_path, x=np.zeros((20, 9, 12)), y=y)
    assert look(pictures).kinds == {"image": "image"}
    assert series_of(look(pictures, series=["x"]).frame["x"])[0].shape == (12, 9)


def test_the_longer_axis_is_time(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(6, 3, 25)).astype(np.float32)
    one, two = (look(npz(tmp_path, x=a, y=np.arange(6) % 2)) for a in (x, x.transpose(0, 2, 1)))
    assert same(one.frame["series"], series_of(two.frame["series"]))
    assert "3 channels of 25 steps" in one.warnings[0]


def test_names_of_the_ucr_archive_are_read_where_there_is_one_set(tmp_path: Path) -> None:
    x, y = np.zeros((4, 9)) + np.arange(4)[:, None], np.array([1, 2, 1, 2])
    arrays = {"A__X_train": x, "A__y_train": y, "A__X_test": x, "A__y_test": y}
    found = look(npz(tmp_path, **arrays))
    assert (found.split_column, len(found.frame)) == ("split", 8)
    with pytest.raises(DataError, match=r"2 sets of data \(A, B\)"):
        look(npz(tmp_path, **arrays, B__X_train=x))


LONG = pl.DataFrame(
    {
        "id": ["b", "a", "b", "a", "b"],
        "t": [3, 1, 1, 2, 2],
        "v": [3.0, 10.0, 1.0, 20.0, None],
        "w": [0, 1, 0, 2, 0],
        "note": ["x", "y", "z", "q", "p"],
        "site": [7, 8, 7, 8, 7],
        "label": ["yes", "no", "yes", "no", "yes"],
    }
)


def test_rows_with_one_key_become_a_series_in_the_order_of_time() -> None:
    found = gather(LONG, Steps("id", "t", constant=("label",)))
    assert found.steps.labels == ("v", "w")
    assert found.frame["id"].to_list() == ["b", "a"]
    assert found.frame.select("site", "label").rows() == [(7, "yes"), (8, "no")]
    assert same(found.frame["series"], [np.array([[1, 0], [np.nan, 0], [3, 0]]), np.array([[10, 1], [20, 2]])])
    assert any("were not in the order of t, and were sorted" in w for w in found.warnings)
    assert any("left out" in w and "note" in w for w in found.warnings)


def test_without_a_time_the_order_of_the_rows_counts() -> None:
    found = gather(LONG.select("id", "v", "label"), Steps("id", constant=("label",)))
    assert same(found.frame["series"], [np.array([[3], [1], [np.nan]]), np.array([[10], [20]])])


def test_two_rows_of_one_time_become_their_mean() -> None:
    found = gather(pl.concat([LONG, LONG[1:2].with_columns(v=pl.lit(30.0))]), Steps("id", "t", constant=("label",)))
    assert series_of(found.frame["series"])[1].tolist() == [[20, 1], [20, 2]]
    assert any("1 row had the t of another row" in w for w in found.warnings)


def test_times_may_be_dates() -> None:
    days = LONG.with_columns(t=pl.format("2024-01-0{}", "t"))
    assert same(
        gather(days, Steps("id", "t", constant=("label",))).frame["series"],
        series_of(gather(LONG, Steps("id", "t", constant=("label",))).frame["series"]),
    )


@pytest.mark.parametrize(
    ("frame", "steps", "says"),
    [
        (
            LONG.with_columns(label=pl.Series(["yes", "no", "no", "no", "no"])),
            Steps("id", "t", constant=("label",)),
            "must be the same",
        ),
        (
            LONG.with_columns(id=pl.Series(["a", None, "a", "b", "b"])),
            Steps("id", "t"),
            "the key 'id' is missing in 1 row",
        ),
        (LONG.with_columns(t=pl.Series([1, 2, None, 3, 4])), Steps("id", "t"), "the order 't' is missing in 1 row"),
        (LONG, Steps("idd", "t"), "did you mean 'id'"),
        (LONG.select("id", "t", "note"), Steps("id", "t"), "no column of numbers changes"),
    ],
)
def test_rows_that_make_no_series_are_refused(frame: pl.DataFrame, steps: Steps, says: str) -> None:
    with pytest.raises(DataError, match=says):
        gather(frame, steps)


def test_key_order_and_target_are_different_columns() -> None:
    with pytest.raises(UsageError, match="different columns"):
        gather(LONG, Steps("id", "id"))


def test_new_rows_are_gathered_as_those_of_training() -> None:
    found = gather(LONG, Steps("id", "t", constant=("label",)))
    spec = told(fit_inputs(found.frame, {"series": "series"}), found.steps)
    field = spec.fields[0]
    assert isinstance(field, SeriesField) and (field.by, field.order, field.labels) == ("id", "t", ("v", "w"))
    again = gathered_again(LONG.drop("label", "note"), spec)
    assert same(again["series"], series_of(found.frame["series"]))
    assert gathered_again(found.frame, spec) is found.frame


def test_a_run_gathers_rows_and_drops_the_key(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = pl.DataFrame(
        {"id": np.repeat(np.arange(40), 6), "v": rng.normal(size=240), "y": np.repeat(np.arange(40) % 2, 6)}
    )
    rows.write_csv(tmp_path / "long.csv")
    settings = Settings(data=str(tmp_path / "long.csv"), target="y", series_by="id")
    looked = look_at(settings)
    data = split_and_encode(looked, settings)
    assert looked.frame.columns == ["y", "series"]
    assert data.spec.kind == "series" and len(looked.frame) == 40


@pytest.mark.parametrize(
    "given", [{"series_order": "t"}, {"series_by": "y", "target": "y"}, {"series_by": "a", "series_order": "a"}]
)
def test_settings_that_contradict_each_other_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="--series-"):
        Settings(data="x.csv", **{"target": "z", **given})


def folder_of_tables(folder: Path, n: int = 6) -> Path:
    for i in range(n):
        inside = folder / ("up" if i % 2 else "down")
        inside.mkdir(parents=True, exist_ok=True)
        t = np.arange(4 + i)
        pl.DataFrame({"time": t[::-1], "v": (t * (1 if i % 2 else -1))[::-1]}).write_csv(inside / f"{i}.csv")
    return folder


def test_a_folder_of_tables_is_a_series_a_file(tmp_path: Path) -> None:
    found = look(folder_of_tables(tmp_path / "x"))
    assert (found.format, found.kinds, found.labels) == ("folder of series", {"series": "series"}, ("v",))
    assert series_of(found.frame["series"])[0].ravel().tolist() == [0, -1, -2, -3]
    assert found.frame["label"].cast(pl.String).to_list() == ["down"] * 3 + ["up"] * 3


def test_a_file_without_names_of_columns_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,2\n3,4\n")
    rows, reasons, labels = read_series([str(tmp_path / "a.csv")])
    assert labels == ["channel_1", "channel_2"] and reasons == [""]
    assert rows[0] is not None and rows[0].tolist() == [[1, 2], [3, 4]]


def test_a_file_that_is_no_series_is_left_out_with_the_reason(tmp_path: Path) -> None:
    folder = folder_of_tables(tmp_path / "x", 12)
    (folder / "up" / "bad.csv").write_text("name\nRome\n")
    (folder / "up" / "empty.csv").write_text("")
    found = look(folder)
    assert len(found.frame) == 12
    assert (
        "2 of 14 series cannot be read and are left out: up/bad.csv (no column of numbers), up/empty.csv"
        in found.warnings[0]
    )


def test_a_column_of_lists_is_a_column_of_series() -> None:
    found = as_series(pl.Series("v", [[1, 2], [3]]))
    assert found is not None and same(found, [np.array([[1], [2]]), np.array([[3]])])
    nested = as_series(pl.Series("v", [[[1, 2], [3, 4]], [[5, 6]]]))
    assert nested is not None and same(nested, [np.array([[1, 2], [3, 4]]), np.array([[5, 6]])])
    assert as_series(pl.Series("v", [["a"], ["b"]])) is None


def problem(n: int = 60) -> tuple[list[np.ndarray], np.ndarray]:
    rng, y = np.random.default_rng(0), np.arange(n) % 2
    return [(np.sin(np.arange(rng.integers(15, 30)) * (0.4 + 0.6 * k)) + 0.1).astype(np.float32) for k in y], y


OPTIONS = {"options": {"width": 8, "depth": 1}, "epochs": 20, "learning_rate": 0.02, "random_state": 0}


def test_an_estimator_takes_a_list_of_unequal_series_as_it_is() -> None:
    x, y = problem()
    net = nw.Classifier(**OPTIONS).fit(x, y)
    assert net.score(x, y) > 0.9
    assert net.model_.spec.kind == "series"
    with pytest.raises(UsageError, match="fitted on series"):
        net.predict(["a text", "another"])


def test_an_estimator_takes_arrays_where_it_is_told_that_they_are_series() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 12, 5)), np.arange(40) % 2
    net = nw.Classifier(kind="series", **OPTIONS).fit(x, y)
    field = net.model_.spec.fields[0]
    assert isinstance(field, SeriesField) and (field.channels, field.n_steps) == (5, 12)
    assert net.predict_proba(list(x[:3])).shape == (3, 2)
    with pytest.raises(UsageError, match="there is no kind 'serie'"):
        nw.Classifier(kind="serie").fit(x, y)  # type: ignore[arg-type]


def test_an_estimator_takes_a_frame_with_series_and_numbers() -> None:
    x, y = problem()
    frame = pl.DataFrame({"size": np.arange(60) % 7, "v": [row.tolist() for row in x]})
    net = nw.Regressor(epochs=2, random_state=0).fit(frame, y.astype(float))
    assert [f.kind for f in net.model_.spec.fields] == ["integer", "series"]
    assert net.predict(frame[:4]).shape == (4,)
