"""Images and texts through the command line: what a user gets, and what is said about bad input."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from commandline import Ended, call, refused, unchanged
from netwright.core.spec import ColumnKind, InputSpec
from netwright.data.data import Data
from netwright.data.encode import fit_inputs, fit_target
from netwright.data.look import Look
from netwright.data.read import look
from netwright.model import Model
from netwright.recipes.book import design
from pictures import bomb, make_folder, odd, truncated


def untrained(frame: pl.DataFrame, kinds: dict[str, ColumnKind], target: str, folder: Path) -> Path:
    """The folder of a model with the weights it began with."""
    rows = np.arange(len(frame))
    data = Data(
        frame,
        fit_inputs(frame, kinds),
        fit_target(frame[target], "binary"),
        {"train": rows, "valid": rows, "test": rows},
    )
    recipe, _ = design(data.spec, data.target, len(rows))
    net = recipe.build(data.spec, data.target, 0).eval()
    Model(net, data.spec, data.target, recipe.make_loss(data.target), recipe).save(folder)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 2 x 12 pictures. Tests must leave it as it is."""
    return make_folder(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def model(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained(look(photos).frame, {"image": "image"}, "label", tmp_path_factory.mktemp("models") / "model")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, so that a run folder left behind is seen."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answers(ended: Ended) -> pl.DataFrame:
    assert ended.code == 0, ended.err
    return pl.read_csv(io.StringIO(ended.out))


def expected(model: Path, frame: pl.DataFrame) -> np.ndarray:
    probabilities: np.ndarray = Model.load(model).predict_proba(frame)
    return probabilities


# Predictions ---------------------------------------------------------------------------------------------------------


def test_a_folder_with_classes_is_predicted_file_by_file(model: Path, photos: Path) -> None:
    table = answers(call("predict", model, photos))
    assert table.columns == ["row", "file", "prediction", "p_bar", "p_post"]
    assert table["file"][0] == "bar/000.png" and table["row"].to_list() == list(range(24))
    wanted = expected(model, look(photos).frame)
    assert np.allclose(table[["p_bar", "p_post"]].to_numpy(), wanted, atol=1e-6)


def test_a_flat_folder_and_one_picture_are_predicted_alike(model: Path, photos: Path) -> None:
    flat = answers(call("predict", model, photos / "post"))
    one = answers(call("predict", model, photos / "post" / "003.png"))
    assert flat["file"].to_list() == [f"{i:03}.png" for i in range(12)]
    assert one["file"].to_list() == ["003.png"]
    assert one["p_bar"][0] == pytest.approx(flat["p_bar"][3], abs=1e-6)


@pytest.mark.parametrize("names", [["x_train", "x_test"], ["x"], ["arr_0"]])
def test_arrays_are_predicted_like_the_files_they_came_from(
    model: Path, photos: Path, tmp_path: Path, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netwright.cli.rows.PICTURES", 5)
    frame = look(photos).frame
    pixels = np.stack([np.asarray(Image.open(path)) for path in frame["image"]])
    np.savez_compressed(tmp_path / "new.npz", **{name: pixels if name == names[-1] else pixels[:3] for name in names})
    table = answers(call("predict", model, tmp_path / "new.npz"))
    assert table["row"].to_list() == list(range(24))
    assert np.allclose(table[["p_bar", "p_post"]].to_numpy(), expected(model, frame), atol=1e-6)


def test_rows_of_numbers_in_an_archive_are_predicted(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(40, 2))
    frame = pl.DataFrame({"x0": x[:, 0], "x1": x[:, 1], "label": ["a", "b"] * 20})
    folder = untrained(frame, {"x0": "number", "x1": "number"}, "label", tmp_path / "model")
    np.savez(tmp_path / "new.npz", x_test=x)
    table = answers(call("predict", folder, tmp_path / "new.npz"))
    assert np.allclose(table[["p_a", "p_b"]].to_numpy(), expected(folder, frame), atol=1e-6)


def test_a_table_that_names_pictures_is_predicted_and_its_row_numbers_are_kept(tmp_path: Path) -> None:
    make_folder(tmp_path / "sub", n=10)
    names = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.png"))
    frame = pl.DataFrame({"photo": names, "age": range(20), "y": ["a", "b"] * 10})
    frame.write_csv(tmp_path / "table.csv")
    folder = untrained(
        look(tmp_path / "table.csv").frame, {"photo": "image", "age": "integer"}, "y", tmp_path / "model"
    )
    (tmp_path / names[2]).write_text("no")
    ended = call("predict", folder, tmp_path / "table.csv")
    assert answers(ended)["row"].to_list() == [i for i in range(20) if i != 2]
    assert "1 of 20 pictures cannot be read" in ended.err
    refused(call("predict", folder, tmp_path / "sub"), 3, "photo, age", "give a table")
    frame.with_columns(photo=pl.lit("../x.png")).write_csv(tmp_path / "table.csv")
    refused(call("predict", folder, tmp_path / "table.csv"), 3, "outside of the table's folder")


def test_bad_pictures_have_no_row_and_are_named(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netwright.cli.rows.PICTURES", 5)
    folder = Path(shutil.copytree(photos / "bar", tmp_path / "new"))
    truncated(folder / "half.jpg")
    (folder / "text.png").write_text("not a picture")
    bomb(folder / "bomb.png")
    odd(folder)
    ended = call("predict", model, folder)
    table = answers(ended)
    assert len(table) == 20 and not {"half.jpg", "text.png", "bomb.png"} & set(table["file"])
    names = sorted(path.name for path in folder.iterdir())
    assert [names[row] for row in table["row"]] == table["file"].to_list()
    assert "3 of 23 pictures cannot be read and are left out" in ended.err
    for bad in ("half.jpg", "text.png", "bomb.png"):
        refused(call("predict", model, folder / bad), 3, bad, "cannot be read")


def test_what_cannot_be_predicted_is_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(call("predict", model, tmp_path / "empty"), 3, "holds no pictures")
    refused(call("predict", model, tmp_path / "absent.png"), 3, "there is no file")
    np.savez(tmp_path / "two.npz", a=np.zeros((2, 8, 8)), b=np.zeros((2, 8, 8)))
    refused(call("predict", model, tmp_path / "two.npz"), 3, "which array", "a (2, 8, 8)")
    np.savez(tmp_path / "objects.npz", x=np.array([[[None] * 8] * 8] * 2, dtype=object))
    refused(call("predict", model, tmp_path / "objects.npz"), 3, "never", "unpickled")
    np.savez(tmp_path / "floats.npz", x=np.random.default_rng(0).random((2, 16, 16)))
    refused(call("predict", model, tmp_path / "floats.npz"), 3, "whole numbers from 0 to 255")


@pytest.mark.slow
def test_predicting_pictures_imports_no_more_than_it_needs(model: Path, photos: Path) -> None:
    program = (
        "import sys; from netwright.cli.main import main; "
        f"code = main(['predict', {str(model)!r}, {str(photos)!r}]); "
        "print(sorted({'sklearn', 'scipy', 'captum', 'onnx', 'plotly', 'kornia', 'pandas'} & set(sys.modules)), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert ended.stderr.strip() == "[]"


# A run that is refused -----------------------------------------------------------------------------------------------


def test_folders_that_are_no_data_are_refused_before_a_run_folder_is_made(here: Path) -> None:
    (here / "empty").mkdir()
    make_folder(here / "one", labels=("bar",))
    make_folder(here / "bad", n=4)
    for i in range(3):
        (here / "bad" / "bar" / f"{i:03}.png").write_text("no")
    with unchanged(here):
        refused(call("run", here / "empty"), 3, "no pictures in folders of classes")
        refused(call("run", here / "one"), 3, "only 'bar'")
        refused(call("run", here / "bad"), 3, "3 of 8 pictures", "more than a fifth")


def test_arrays_that_are_no_data_are_refused_before_a_run_folder_is_made(here: Path) -> None:
    x, y = np.zeros((20, 8, 8), np.uint8), np.arange(20) % 2
    np.savez(here / "lengths.npz", x_train=x, y_train=y[:-1], x_test=x, y_test=y)
    np.savez(here / "shapes.npz", x_train=x, y_train=y, x_test=x[:, :4], y_test=y)
    np.savez(here / "objects.npz", x=x, y=np.array([{}] * 20))
    (here / "half.npz").write_bytes((here / "lengths.npz").read_bytes()[:500])
    with unchanged(here):
        refused(call("run", here / "lengths.npz"), 3, "20 rows", "19")
        refused(call("run", here / "shapes.npz"), 3, "must agree")
        refused(call("run", here / "objects.npz"), 3, "never", "unpickled")
        refused(call("run", here / "half.npz"), 3, "damaged")


# Texts ---------------------------------------------------------------------------------------------------------------

STRANGE = ["", "a\x00b", "שלום עולם", "e\u0301\u0302\u0303" * 50, "the film " * 100_000, "the film was fine"]


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frame = pl.DataFrame({"t": ["the film was fine", "the film was dull and long"] * 20, "y": ["a", "b"] * 20})
    return untrained(frame, {"t": "text"}, "y", tmp_path_factory.mktemp("models") / "model")


def test_strange_texts_are_predicted_and_named(text_model: Path, tmp_path: Path) -> None:
    pl.DataFrame({"t": STRANGE}).write_parquet(tmp_path / "rows.parquet")
    ended = call("predict", text_model, tmp_path / "rows.parquet")
    assert len(answers(ended)) == len(STRANGE)
    assert "1 empty text" in ended.err
    assert "1 text longer than 6 words" in ended.err
    assert "3 texts in which most words were not in the training rows" in ended.err
    assert "a language unlike the training text" in ended.err


def test_usual_texts_get_no_note(text_model: Path, tmp_path: Path) -> None:
    pl.DataFrame({"t": ["the film was long", "dull film"]}).write_csv(tmp_path / "rows.csv")
    assert call("predict", text_model, tmp_path / "rows.csv").err == ""


def test_notes_bear_fields_of_every_kind(model: Path, photos: Path) -> None:
    from netwright.cli.notes import notes

    found: Look = look(photos)
    spec: InputSpec = Model.load(model).spec
    assert notes(found, spec, Model.load(model).target) == []
