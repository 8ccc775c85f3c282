"""NumPy archives: which arrays are read as what, and what is refused before it is allocated or unpickled."""

from __future__ import annotations

import io
import pickle
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netwright.core.errors import DataError
from netwright.data.archive import Archive
from netwright.data.encode import fit_target
from netwright.data.infer import infer_task
from netwright.data.npz import role_of
from netwright.data.read import Look, look

RNG = np.random.default_rng(0)


def images(n: int, *shape: int, dtype: Any = np.uint8) -> np.ndarray:
    return RNG.integers(0, 255, (n, *(shape or (8, 8)))).astype(dtype)


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path / "data.npz", **{name: np.asarray(array) for name, array in arrays.items()})
    return path / "data.npz"


def refused(path: Path, *words: str) -> None:
    with pytest.raises(DataError) as caught:
        look(path)
    for word in words:
        assert word in str(caught.value), f"{word!r} not in: {caught.value}"


def pixels(found: Look) -> np.ndarray:
    cells: np.ndarray = found.frame["image"].to_numpy()
    return cells


def test_parts_are_read_in_order_with_labels_and_split(tmp_path: Path) -> None:
    x, y = images(10), np.arange(10) % 2
    path = saved(tmp_path, x_test=x[8:], y_test=y[8:], X_train=x[:6], y_train=y[:6], x_val=x[6:8], y_val=y[6:8])
    found = look(path)
    assert (pixels(found) == x).all()
    assert found.frame["split"].to_list() == ["train"] * 6 + ["valid"] * 2 + ["test"] * 2
    assert found.frame["label"].to_list() == [str(v) for v in y]
    assert (found.target, found.split_column, found.kinds) == ("label", "split", {"image": "image"})
    assert found.warnings == ()


@pytest.mark.parametrize("names", [("x", "y"), ("images", "labels"), ("X", "target"), ("data", "label")])
def test_arrays_without_parts_have_no_split(tmp_path: Path, names: tuple[str, str]) -> None:
    found = look(saved(tmp_path, **{names[0]: images(4), names[1]: ["a", "b", "a", "b"], "mean": [1.0]}))
    assert found.split_column is None and found.frame.columns == ["image", "label"]
    assert found.frame["label"].to_list() == ["a", "b", "a", "b"]
    assert "not used: mean" in found.warnings[0]


@pytest.mark.parametrize("shape", [(9, 8, 1), (1, 9, 8), (9, 8)])
def test_grey_images_in_any_layout_become_cells_of_height_and_width(tmp_path: Path, shape: tuple[int, ...]) -> None:
    x = images(6, *shape)
    assert (pixels(look(saved(tmp_path, x=x, y=[0, 1] * 3))) == x.reshape(6, 9, 8)).all()


def test_colour_images_are_read_channels_first_and_last(tmp_path: Path) -> None:
    x = images(6, 8, 9, 3)
    assert (pixels(look(saved(tmp_path, x=x, y=[0, 1] * 3))) == x).all()
    assert (pixels(look(saved(tmp_path, x=x.transpose(0, 3, 1, 2), y=[0, 1] * 3))) == x).all()


def test_alpha_is_laid_on_white(tmp_path: Path) -> None:
    x = images(6, 8, 8, 4)
    x[0, ..., 3], x[1, ..., 3] = 0, 255
    found = look(saved(tmp_path, x=x, y=[0, 1] * 3))
    assert (pixels(found)[0] == 255).all() and (pixels(found)[1] == x[1, ..., :3]).all()
    assert "laid on white" in found.warnings[0]


def test_the_type_of_pixels_follows_their_values(tmp_path: Path) -> None:
    for x, dtype in (
        (images(6, dtype=np.int64), np.uint8),
        (images(6, dtype=np.float64) / 255, np.float32),
        (images(6, dtype=">f4"), np.float32),
        (images(6, dtype=np.uint16), np.uint8),
    ):
        cells = pixels(look(saved(tmp_path, x=x, y=[0, 1] * 3)))
        assert cells.dtype == dtype
        assert np.allclose(cells, x)
    found = look(saved(tmp_path, x=images(6, dtype=np.uint16) * 257, y=[0, 1] * 3))
    assert pixels(found).dtype == np.float32 and pixels(found).max() <= 255 and "divided by 257" in found.warnings[0]
    refused(saved(tmp_path, x=images(6, dtype=np.int64) - 500, y=[0, 1] * 3), "0 to 255")


def test_pixels_that_are_no_finite_number_are_refused(tmp_path: Path) -> None:
    x = images(6, dtype=np.float32)
    x[2, 3, 3] = np.nan
    refused(saved(tmp_path, x=x, y=[0, 1] * 3), "no finite number", "nan_to_num")


def test_rows_of_numbers_become_columns(tmp_path: Path) -> None:
    x = RNG.normal(size=(6, 3))
    found = look(saved(tmp_path, x_train=x[:4], y_train=[1.5, 2, 3, 4], x_test=x[4:], y_test=[5.0, 6]))
    assert found.frame.columns == ["x0", "x1", "x2", "label", "split"] and found.kinds == {}
    assert (found.frame[["x0", "x1", "x2"]].to_numpy() == x).all()


def test_labels_of_images_that_count_classes_are_names_and_others_are_numbers(tmp_path: Path) -> None:
    many = np.arange(120) % 60  # more classes than whole numbers in a table are taken for
    classes = look(saved(tmp_path, x=images(120), y=many)).frame["label"]
    assert infer_task(classes)[0] == "classes" and infer_task(classes, "number")[0] == "number"
    assert fit_target(classes, "classes").classes == tuple(map(str, range(60)))
    ages = RNG.integers(1, 900, 120)
    assert look(saved(tmp_path, x=images(120), y=ages)).frame["label"].dtype.is_integer()
    assert look(saved(tmp_path, x=images(4), y=np.array([b"\xc3\xa4", b"b", b"b", b"b"]))).frame["label"][0] == "ä"
    assert look(saved(tmp_path, x=images(4), y=np.array([[0], [1], [0], [1]]))).frame["label"][1] == "1"


def test_arrays_in_fortran_order_are_read_right(tmp_path: Path) -> None:
    x = images(6, 8, 9)
    np.savez(tmp_path / "data.npz", x=np.asfortranarray(x), y=[0, 1] * 3)
    assert (pixels(look(tmp_path / "data.npz")) == x).all()
    with Archive(tmp_path / "data.npz") as archive:
        assert (np.concatenate(list(archive.pieces(archive.arrays["x"], 4))) == x).all()


def test_an_array_is_read_in_pieces(tmp_path: Path) -> None:
    x = images(10)
    with Archive(saved(tmp_path, x=x)) as archive:
        read = list(archive.pieces(archive.arrays["x"], 4))
    assert [len(piece) for piece in read] == [4, 4, 2] and (np.concatenate(read) == x).all()


# What is refused -----------------------------------------------------------------------------------------------------


class Bomb:
    """Says so when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('unpickled')",)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    path = saved(tmp_path, x=np.array([Bomb(), Bomb()], dtype=object), y=[0, 1])
    with pytest.raises(SystemExit, match="unpickled"):
        np.load(path, allow_pickle=True)["x"]
    refused(path, "'x'", "never", "unpickled")
    refused(saved(tmp_path, x=images(2), y=np.array([Bomb(), 1], dtype=object)), "'y'", "never")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x_train": images(6), "y_train": [0] * 5}, ["x_train has 6 rows but y_train has 5"]),
        ({"x_train": images(6)}, ["no labels", "x_train (6, 8, 8)"]),
        ({"y_train": [0, 1]}, ["no array of examples", "expected x_train"]),
        ({"arr_0": images(6), "arr_1": [0] * 6}, ["expected x_train", "arr_0 (6, 8, 8)"]),
        (
            {"x_train": images(6), "y_train": [0] * 6, "x_test": images(6, 9, 9), "y_test": [0] * 6},
            ["(6, 8, 8)", "(6, 9, 9)", "must agree"],
        ),
        (
            {"x_train": images(6), "y_train": [0] * 6, "x_test": images(6) / 255, "y_test": [0] * 6},
            ["uint8", "float64", "one scale"],
        ),
        ({"x_train": images(6), "y_train": [0] * 6, "x_test": images(6)}, ["x_test but no labels"]),
        ({"x": images(6, 2, 3, 4, 5, 6), "y": [0] * 6}, ["(6, 2, 3, 4, 5, 6)", "expected images"]),
        ({"x": images(6, 2, 2), "y": [0] * 6}, ["2 x 2", "at least 4 x 4"]),
        ({"x": [1.0, 2.0], "y": [0, 1]}, ["(2,)", "(N, P)"]),
        ({"x": images(6), "y": np.eye(6)}, ["(6, 6)", "argmax"]),
        ({"x": images(0), "y": np.zeros(0)}, ["holds nothing"]),
        ({"x": [["a", "b"]], "y": [0]}, ["words"]),
        ({"x": np.array([[1j]]), "y": [0]}, ["complex128"]),
        ({"x": images(6), "images": images(6), "y": [0] * 6}, ["one meaning"]),
    ],
)
def test_arrays_that_do_not_go_together_are_refused_with_what_was_expected(
    tmp_path: Path, arrays: dict[str, Any], words: list[str]
) -> None:
    refused(saved(tmp_path, **arrays), *words)


def lying(path: Path, shape: tuple[int, ...], body: bytes = b"") -> Path:
    """An archive whose array x says it has a shape that its bytes do not fill."""
    with zipfile.ZipFile(path / "data.npz", "w") as archive:
        for name, said, cells in (("x", shape, body), ("y", (2,), bytes(2))):
            head = io.BytesIO()
            np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": said})
            archive.writestr(f"{name}.npy", head.getvalue() + cells)
    return path / "data.npz"


def test_an_array_that_says_it_is_larger_than_it_is_allocates_nothing(tmp_path: Path) -> None:
    path = lying(tmp_path, (2, 1 << 20, 1 << 20))
    tracemalloc.start()
    refused(path, "not as large as it says")
    assert tracemalloc.get_traced_memory()[1] < 5 * 2**20
    tracemalloc.stop()
    refused(lying(tmp_path, (-2, 8)), "damaged")


def test_an_archive_that_unpacks_to_more_than_the_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "data.npz", x=np.zeros((300, 64, 64), np.uint8), y=np.zeros(300))
    monkeypatch.setenv("NETWRIGHT_MEMORY", "1MB")
    refused(tmp_path / "data.npz", "unpacks to 1.2 MB", "folder of pictures")


def test_damaged_archives_are_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez_compressed(path, x=images(200), y=[0, 1] * 100)
    whole = path.read_bytes()
    for data in (whole[: len(whole) // 2], b"PK\x03\x04", b"text", pickle.dumps({"x": 1})):
        path.write_bytes(data)
        refused(path, "damaged, cut short or no .npz archive")
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes(b ^ 0xFF for b in whole[middle : middle + 50]) + whole[middle + 50 :])
    refused(path, "damaged")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no arrays")
    refused(path, "holds no arrays")
    path.write_bytes(b"")
    refused(path, "empty")


def test_names_say_role_and_part() -> None:
    assert role_of("train_images") == ("x", "train") and role_of("Y_VAL") == ("y", "valid")
    assert role_of("x_extra") is None and role_of("x_y") is None and role_of("x_train_test") is None
