"""`netwright export`, and `netwright predict` on what it wrote: without torch, and with all kinds of rows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from commandline import Ended, call, refused
from conftest import make_data
from netwright.core.seed import numpy_generator
from netwright.core.spec import TargetSpec
from netwright.data.encode import fit_inputs
from netwright.data.text import encode_text
from netwright.losses.standard import CrossEntropy
from netwright.model import Model
from netwright.recipes.recipe import Recipe

pytestmark = pytest.mark.slow

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from netwright.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def without_torch(*arguments: object) -> Ended:
    """A command in a process of its own where torch cannot be imported."""
    command = [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def saved(frame: pl.DataFrame, kinds: dict[str, str], template: str, folder: Path) -> Model:
    """An untrained model of these columns, saved."""
    spec = fit_inputs(frame, kinds)  # type: ignore[arg-type]
    target = TargetSpec(name="y", task="binary", classes=("no", "yes"), priors=(0.5, 0.5))
    recipe = Recipe(name="test", template=template, loss="cross-entropy")
    model = Model(recipe.build(spec, target, 0).eval(), spec, target, CrossEntropy(), recipe)
    with torch.no_grad():
        list(model.module.parameters())[-2].normal_()
    model.save(folder)
    return model


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run-like RUN/model, its rows, and its export."""
    folder = tmp_path_factory.mktemp("table")
    frame = make_data("binary").frame.drop("y")
    kinds = {"a": "number", "b": "integer", "noise": "number", "colour": "category"}
    saved(frame, kinds, "linear", folder / "run" / "model")
    frame.head(50).with_columns(further=1).write_csv(folder / "rows.csv")
    ended = call("export", folder / "run", "--onnx", folder / "m.onnx")
    assert ended.code == 0, ended.err
    assert "largest difference from the model" in ended.out
    assert "batches of 1, 7, 1,000" in ended.out
    assert "outputs: probabilities, label" in ended.out
    assert "loading the model" in ended.err and "comparing" in ended.err, "what takes long is said before it is done"
    return folder


def test_predictions_without_torch_are_those_with_it(table: Path) -> None:
    ended = without_torch("predict", table / "m.onnx", table / "rows.csv", "-o", table / "onnx.csv")
    assert ended.code == 0, ended.err
    assert "further" in ended.err, "what is strange in the rows is said as ever"
    assert call("predict", table / "run", table / "rows.csv", "-o", table / "torch.csv").code == 0
    found, expected = pl.read_csv(table / "onnx.csv"), pl.read_csv(table / "torch.csv")
    assert found["prediction"].to_list() == expected["prediction"].to_list()
    np.testing.assert_allclose(found.drop("prediction"), expected.drop("prediction"), atol=1e-6)


def test_without_torch_a_model_folder_needs_it(table: Path) -> None:
    refused(without_torch("predict", table / "run", table / "rows.csv"), 4, "torch")


def test_nothing_that_is_read_is_overwritten(table: Path) -> None:
    weights = table / "run" / "model" / "weights.safetensors"
    before = weights.read_bytes()
    (table / "same.onnx").unlink(missing_ok=True)
    os.link(weights, table / "same.onnx")
    refused(call("export", table / "run", "--onnx", table / "same.onnx"), 2, "the file that is read")
    refused(call("export", table / "run", "--onnx", table / "m.pt"), 2, ".onnx")
    refused(call("export", table / "none", "--onnx", table / "n.onnx"), 3, "no folder")
    refused(call("predict", table / "m.onnx", table / "rows.csv", "-o", table / "m.onnx"), 2)
    assert weights.read_bytes() == before


def test_rows_that_do_not_fit_and_files_that_are_none_end_in_a_sentence(table: Path, tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text("a,b\n1,2\n")
    refused(call("predict", table / "m.onnx", tmp_path / "few.csv"), 3, "colour")
    (tmp_path / "text.onnx").write_text("a,b\n1,2\n")
    refused(call("predict", tmp_path / "text.onnx", table / "rows.csv"), 3, "damaged")
    refused(call("predict", tmp_path / "none.onnx", table / "rows.csv"), 3, "there is no file")


def test_predict_on_no_rows_of_a_folder_says_what_was_expected(table: Path) -> None:
    (table / "pictures").mkdir(exist_ok=True)
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(table / "pictures" / "1.png")
    refused(call("predict", table / "m.onnx", table / "pictures"), 3, "images alone")


def test_images_of_a_folder_and_of_an_archive_are_predicted_without_torch(tmp_path: Path) -> None:
    pixels = numpy_generator(0, "pixels").integers(0, 256, (20, 9, 8)).astype(np.uint8)
    saved(pl.DataFrame({"image": pl.Series(pixels)}), {"image": "image"}, "residual-conv", tmp_path / "model")
    assert call("export", tmp_path / "model", "--onnx", tmp_path / "m.onnx").code == 0
    np.savez(tmp_path / "rows.npz", x_test=pixels)
    (tmp_path / "rows").mkdir()
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "rows" / f"{i:02d}.png")
    (tmp_path / "rows" / "20.png").write_text("no picture")
    for rows in (tmp_path / "rows.npz", tmp_path / "rows"):
        ended = without_torch("predict", tmp_path / "m.onnx", rows, "-o", tmp_path / "onnx.csv")
        assert ended.code == 0, ended.err
        assert call("predict", tmp_path / "model", rows, "-o", tmp_path / "torch.csv").code == 0
        found, expected = pl.read_csv(tmp_path / "onnx.csv"), pl.read_csv(tmp_path / "torch.csv")
        np.testing.assert_allclose(found["p_yes"], expected["p_yes"], atol=1e-6)
        assert found.drop("p_yes", "p_no").equals(expected.drop("p_yes", "p_no"))
        assert len(found) == 20


def test_texts_are_predicted_without_torch(tmp_path: Path) -> None:
    texts = ["a fine film", "no plot at all", "fine plot, bad film", "", "film " * 30] * 4
    model = saved(pl.DataFrame({"text": texts}), {"text": "text"}, "ngram-bag", tmp_path / "model")
    assert call("export", tmp_path / "model", "--onnx", tmp_path / "m.onnx").code == 0
    pl.DataFrame({"text": [*texts, "café 電影"]}).write_csv(tmp_path / "rows.csv")
    ended = without_torch("predict", tmp_path / "m.onnx", tmp_path / "rows.csv", "-o", tmp_path / "onnx.csv")
    assert ended.code == 0, ended.err
    assert call("predict", tmp_path / "model", tmp_path / "rows.csv", "-o", tmp_path / "torch.csv").code == 0
    found, expected = pl.read_csv(tmp_path / "onnx.csv"), pl.read_csv(tmp_path / "torch.csv")
    np.testing.assert_allclose(found.drop("prediction"), expected.drop("prediction"), atol=1e-6)
    from tokenizers import Tokenizer

    field = model.spec.texts[0]
    for kind, ids in zip(("words", "chars"), encode_text(pl.Series(texts), field).values(), strict=True):
        tool = Tokenizer.from_file(str(tmp_path / f"m.text.{kind}.json"))
        assert [encoding.ids for encoding in tool.encode_batch(texts)] == ids.tolist()
