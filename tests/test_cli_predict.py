"""`netwright predict`: what it writes, what it notices, what it imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from commandline import Ended, call, refused, unchanged
from conftest import make_data
from netwright.data.data import Data
from netwright.model import Model, fit
from netwright.recipes.book import design


def trained(data: Data) -> Model:
    """A small network after one pass."""
    recipe, _ = design(data.spec, data.target, len(data.split["train"]))
    metric = "rmse" if data.target.is_number else "log-loss"
    model, _ = fit(recipe.with_training(epochs=1, warmup=0), data, seed=0, metric=metric)
    return model


@pytest.fixture(scope="module")
def data() -> Data:
    return make_data("binary")


@pytest.fixture(scope="module")
def model(data: Data) -> Model:
    return trained(data)


@pytest.fixture(scope="module")
def folder(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "model"
    model.save(folder)
    return folder


@pytest.fixture
def rows(data: Data, tmp_path: Path) -> Path:
    """The test rows without their target, as a file."""
    path = tmp_path / "rows.csv"
    data.part("test").drop("y").write_csv(path)
    return path


def predict(folder: Path, frame: pl.DataFrame, path: Path) -> tuple[pl.DataFrame, Ended]:
    """Predictions for a frame, through files."""
    given, made = path / "given.csv", path / "made.csv"
    frame.write_csv(given)
    ended = call("predict", folder, given, "-o", made)
    assert ended.code == 0, ended.err
    return pl.read_csv(made), ended


def test_classes_get_a_row_number_a_prediction_and_probabilities(
    folder: Path, model: Model, data: Data, rows: Path
) -> None:
    out = rows.with_name("out.csv")
    ended = call("predict", folder, rows, "-o", out)
    assert (ended.code, ended.out) == (0, "")
    table = pl.read_csv(out)
    assert table.columns == ["row", "prediction", "p_no", "p_yes"]
    assert table["row"].to_list() == list(range(len(data.split["test"])))
    expected = model.predict_proba(data.part("test"))
    np.testing.assert_allclose(table.select("p_no", "p_yes").to_numpy(), expected, rtol=1e-9)
    assert table["prediction"].to_list() == [("no", "yes")[i] for i in expected.argmax(1)]


def test_numbers_get_an_interval(tmp_path: Path) -> None:
    data = make_data("number")
    model = trained(data)
    model.margin = 12.5
    model.save(tmp_path / "model")
    table, _ = predict(tmp_path / "model", data.part("test").drop("z"), tmp_path)
    assert table.columns == ["row", "prediction", "lower", "upper"]
    np.testing.assert_allclose(table["prediction"], model.predict(data.part("test")), rtol=1e-9)
    np.testing.assert_allclose(table["upper"] - table["lower"], 25.0)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".CSV"])
def test_the_suffix_decides_the_format_and_the_content_is_the_same(folder: Path, rows: Path, suffix: str) -> None:
    readers = {
        ".csv": pl.read_csv,
        ".tsv": lambda p: pl.read_csv(p, separator="\t"),
        ".jsonl": pl.read_ndjson,
        ".ndjson": pl.read_ndjson,
        ".parquet": pl.read_parquet,
    }
    out = rows.with_name("out" + suffix)
    assert call("predict", folder, rows, "-o", out).code == 0
    printed = call("predict", folder, rows).out
    assert readers[suffix.lower()](out).equals(pl.read_csv(printed.encode()))


def test_the_run_folder_serves_as_well_as_the_model_in_it(folder: Path, rows: Path) -> None:
    assert call("predict", folder.parent, rows).out == call("predict", folder, rows).out


def test_an_existing_output_is_replaced(folder: Path, rows: Path) -> None:
    out = rows.with_name("out.csv")
    out.write_text("old")
    assert call("predict", folder, rows, "-o", out).code == 0
    assert out.read_text().startswith("row,prediction")


def test_the_order_of_columns_does_not_matter(folder: Path, data: Data, tmp_path: Path) -> None:
    frame = data.part("test").drop("y")
    straight, _ = predict(folder, frame, tmp_path)
    turned, ended = predict(folder, frame.select(reversed(frame.columns)), tmp_path)
    assert straight.equals(turned)
    assert "note" not in ended.err


def test_extra_columns_are_named_and_ignored_and_the_target_is_passed_over(
    folder: Path, data: Data, tmp_path: Path
) -> None:
    frame = data.part("test")
    straight, ended = predict(folder, frame, tmp_path)
    assert "note" not in ended.err
    wider, ended = predict(folder, frame.with_columns(extra=pl.lit(1), more=pl.lit("x")), tmp_path)
    assert straight.equals(wider)
    assert "'extra', 'more'" in ended.err and "2 columns" in ended.err


def test_a_missing_column_is_refused_with_the_nearest_name(folder: Path, data: Data, tmp_path: Path) -> None:
    given = tmp_path / "given.csv"
    data.part("test").drop("y").rename({"colour": "color"}).write_csv(given)
    with unchanged(tmp_path):
        refused(call("predict", folder, given, "-o", tmp_path / "out.csv"), 3, "'colour'", "'color'")


def test_categories_never_seen_are_counted_and_taken_as_unknown(folder: Path, data: Data, tmp_path: Path) -> None:
    frame = data.part("test").drop("y").head(10)
    strange = frame.with_columns(colour=pl.Series(["mauve"] * 2 + ["ochre"] + ["red"] * 7))
    table, ended = predict(folder, strange, tmp_path)
    assert len(table) == 10 and table.null_count().sum_horizontal()[0] == 0
    assert "column 'colour': 3 cells" in ended.err and "'mauve', 'ochre'" in ended.err


def test_fifty_thousand_new_categories_are_predicted(folder: Path, data: Data, tmp_path: Path) -> None:
    frame = pl.concat([data.part("test").drop("y")] * 625)
    assert len(frame) == 50_000
    table, ended = predict(folder, frame.with_columns(colour=pl.format("c{}", pl.int_range(50_000))), tmp_path)
    assert len(table) == 50_000
    assert "50,000 cells" in ended.err and len(ended.err) < 1000


def test_cells_that_are_no_numbers_are_counted_and_read_as_missing(folder: Path, data: Data, tmp_path: Path) -> None:
    frame = data.part("test").drop("y").head(6)
    cells = ["1,5", "n/a", "many", "inf", "7", ""]
    table, ended = predict(folder, frame.with_columns(a=pl.Series(cells)), tmp_path)
    plain, _ = predict(folder, frame.with_columns(a=pl.Series([1.5, None, None, None, 7.0, None])), tmp_path)
    assert table.equals(plain)
    assert "column 'a': 2 cells" in ended.err and "'many'" in ended.err


def test_missing_cells_where_training_had_none_are_noted(folder: Path, data: Data, tmp_path: Path) -> None:
    frame = data.part("test").drop("y").head(5)
    _, ended = predict(folder, frame.with_columns(b=pl.Series([1, None, 3, None, 5])), tmp_path)
    assert "column 'b': 2 missing cells, of which training rows had none" in ended.err
    _, ended = predict(folder, frame.with_columns(a=pl.Series([1.0, None, 3, None, 5])), tmp_path)
    assert "column 'a'" not in ended.err


@pytest.mark.parametrize(
    ("output", "code", "words"),
    [
        ("out.xlsx", 2, ["'.xlsx'", ".csv"]),
        ("out", 2, ["no suffix", ".csv"]),
        ("no/such/out.csv", 4, ["no folder", "mkdir"]),
        ("folder.csv", 2, ["is a folder"]),
        ("rows.csv", 2, ["is read", "another name"]),
        ("rows.csv/out.csv", 4, ["no folder"]),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_first(
    folder: Path, rows: Path, output: str, code: int, words: list[str]
) -> None:
    (rows.parent / "folder.csv").mkdir()
    with unchanged(rows.parent):
        refused(call("predict", folder, rows, "-o", rows.parent / output), code, *words)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_predictions_are_written_whole_or_not_at_all(
    folder: Path, rows: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = rows.with_name("out" + suffix)
    out.write_text("the old one")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with unchanged(rows.parent):
        refused(call("predict", folder, rows, "-o", out), 4, str(out), "room")


@pytest.mark.slow
def test_predict_imports_neither_sklearn_nor_plotly(folder: Path, rows: Path) -> None:
    code = (
        f"import sys\nfrom netwright.cli.main import main\nassert main(['predict', {str(folder)!r}, {str(rows)!r}]) == 0\n"
        "print(*[m for m in ('sklearn', 'scipy', 'plotly', 'jinja2', 'pandas', 'rich') if m in sys.modules], file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stderr.strip() == ""
