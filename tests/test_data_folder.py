"""Folders of pictures, and tables that name pictures: what is found, what is left out, what is refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from netwright.core.errors import DataError
from netwright.core.spec import ColumnKind
from netwright.data.folder import list_folder, pictures_below
from netwright.data.infer import infer_kinds, infer_task
from netwright.data.read import look
from pictures import bomb, make_folder, odd, truncated


def refused(path: Path, *words: str) -> None:
    with pytest.raises(DataError) as caught:
        look(path)
    for word in words:
        assert word in str(caught.value), f"{word!r} not in: {caught.value}"


# Layouts -------------------------------------------------------------------------------------------------------------


def test_a_folder_per_class_becomes_paths_and_labels(tmp_path: Path) -> None:
    found = look(make_folder(tmp_path / "photos", n=3))
    assert found.frame.columns == ["image", "label"]
    assert found.frame["label"].to_list() == ["bar"] * 3 + ["post"] * 3
    assert found.frame["image"][0] == str(tmp_path / "photos" / "bar" / "000.png")
    assert (found.target, found.split_column, found.kinds, found.warnings, found.kept) == (
        "label",
        None,
        {"image": "image"},
        (),
        None,
    )


@pytest.mark.parametrize(
    "words", [("train", "valid", "test"), ("Training", "dev", "TEST"), ("train", "val", "testing")]
)
def test_parts_are_known_by_their_usual_names(tmp_path: Path, words: tuple[str, str, str]) -> None:
    for word in words:
        make_folder(tmp_path / word, n=2)
    found = look(tmp_path)
    assert found.split_column == "split"
    assert found.frame["split"].to_list() == ["train"] * 4 + ["valid"] * 4 + ["test"] * 4
    assert set(found.frame["label"]) == {"bar", "post"}


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    found = look(make_folder(tmp_path, n=2, labels=("train", "tram", "bus")))
    assert found.split_column is None and set(found.frame["label"]) == {"train", "tram", "bus"}


def test_nested_pictures_belong_to_the_class_above_and_hidden_files_to_nobody(tmp_path: Path) -> None:
    make_folder(tmp_path, n=2)
    (tmp_path / "bar" / "2024" / "may").mkdir(parents=True)
    shutil.copy(tmp_path / "bar" / "000.png", tmp_path / "bar" / "2024" / "may" / "x.PNG")
    shutil.copy(tmp_path / "bar" / "000.png", tmp_path / "bar" / ".hidden.png")
    make_folder(tmp_path / ".git", n=1)
    make_folder(tmp_path / "__MACOSX", n=1)
    found = look(tmp_path)
    assert len(found.frame) == 5 and found.warnings == ()
    assert found.frame.filter(pl.col("label") == "bar")["image"][2].endswith("bar/2024/may/x.PNG")


def test_a_link_to_a_folder_above_is_not_followed_round_and_round(tmp_path: Path) -> None:
    make_folder(tmp_path, n=2)
    os.symlink(tmp_path, tmp_path / "bar" / "loop")
    os.symlink(tmp_path / "post" / "000.png", tmp_path / "bar" / "same.png")
    assert [p for p in list_folder(tmp_path).paths if p.startswith("bar")] == [
        "bar/000.png",
        "bar/001.png",
        "bar/same.png",
    ]


def test_other_files_and_empty_classes_are_told_and_left_out(tmp_path: Path) -> None:
    make_folder(tmp_path, n=2)
    (tmp_path / "bar" / "notes.txt").write_text("a")
    (tmp_path / "labels.csv").write_text("a")
    (tmp_path / "empty").mkdir()
    shutil.copy(tmp_path / "bar" / "000.png", tmp_path / "loose.png")
    os.mkfifo(tmp_path / "bar" / "pipe.png")  # would block whoever opens it
    text = " ".join(look(tmp_path).warnings)
    assert "3 files that are no picture by name" in text and "no picture in empty" in text
    assert "1 picture in no class folder" in text


def test_the_order_of_rows_is_that_of_names_on_every_machine(tmp_path: Path) -> None:
    make_folder(tmp_path, n=3)
    names = list_folder(tmp_path).paths
    assert names == sorted(names)


def test_folders_without_two_classes_are_refused_with_what_was_expected(tmp_path: Path) -> None:
    empty, flat, one, wrapped, only_test = (tmp_path / n for n in ("empty", "flat", "one", "wrapped", "only"))
    empty.mkdir()
    refused(empty, "no pictures in folders of classes", "expected one folder for each class")
    make_folder(flat, n=2)
    refused(flat / "bar", "2 pictures but no folders of classes")
    make_folder(one, n=2, labels=("bar",))
    refused(one, "only 'bar'", "nothing to tell apart")
    make_folder(wrapped / "photos", n=2)
    refused(wrapped, str(wrapped / "photos"))
    make_folder(only_test / "train", n=2)
    make_folder(only_test / "test", n=2, labels=("bar", "post", "arch"))
    refused(only_test, "arch", "no training pictures")
    make_folder(only_test / "training", n=2)
    refused(only_test, "train and training", "same part")


def test_classes_whose_names_are_numbers_are_classes(tmp_path: Path) -> None:
    found = look(make_folder(tmp_path, n=2, labels=tuple(map(str, range(30)))))
    assert infer_task(found.frame["label"])[0] == "classes"


# Bad pictures among good ones ----------------------------------------------------------------------------------------


def test_bad_pictures_are_left_out_counted_and_named(tmp_path: Path) -> None:
    make_folder(tmp_path, n=20)
    truncated(tmp_path / "bar" / "half.jpg")
    (tmp_path / "bar" / "text.png").write_text("not a picture")
    bomb(tmp_path / "post" / "bomb.png")
    odd(tmp_path / "post")
    found = look(tmp_path)
    assert len(found.frame) == 48 and found.kept is not None and len(found.kept) == 48
    first = found.warnings[0]
    assert first.startswith("3 of 51 pictures cannot be read and are left out: bar/half.jpg (cut short)")
    assert "bar/text.png (no picture inside)" in first and "post/bomb.png (more than 64 megapixels)" in first
    text = " ".join(found.warnings)
    for treatment in ("first frame", "scaled to 8", "CMYK", "palette", "laid on white", "one bit", "upright"):
        assert treatment in text
    assert not any("bomb" in path or "half" in path or "text" in path for path in found.frame["image"])


def test_too_many_bad_pictures_or_a_whole_bad_class_are_refused(tmp_path: Path) -> None:
    make_folder(tmp_path / "many", n=6)
    for i in range(3):
        (tmp_path / "many" / "bar" / f"{i:03}.png").write_text("no")
    refused(tmp_path / "many", "3 of 12 pictures", "more than a fifth")
    make_folder(tmp_path / "class", n=20)
    (tmp_path / "class" / "arch").mkdir()
    (tmp_path / "class" / "arch" / "a.png").write_text("no")
    refused(tmp_path / "class", "no training picture of arch", "arch/a.png (no picture inside)")


def test_progress_is_told_to_the_end(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    look(make_folder(tmp_path, n=40), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (80, 80) and told == sorted(told) and len(told) > 1


def test_pictures_to_be_predicted_need_no_classes(tmp_path: Path) -> None:
    make_folder(tmp_path, n=1)
    shutil.copy(tmp_path / "bar" / "000.png", tmp_path / "a.png")
    assert pictures_below(tmp_path) == ["a.png", "bar/000.png", "post/000.png"]
    assert pictures_below(tmp_path / "a.png") == ["a.png"]
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="holds no pictures"):
        pictures_below(tmp_path / "none")


# Tables that name pictures -------------------------------------------------------------------------------------------


def table(folder: Path, names: list[str], name: str = "table.csv") -> Path:
    pl.DataFrame({"photo": names, "age": range(len(names)), "y": ["a", "b"] * (len(names) // 2)}).write_csv(
        folder / name
    )
    return folder / name


@pytest.fixture
def photos(tmp_path: Path) -> tuple[Path, list[str]]:
    """A folder with pictures in sub/, and their names from there."""
    root = tmp_path / "data"
    make_folder(root / "sub", n=10)
    return root, sorted(p.relative_to(root).as_posix() for p in root.rglob("*.png"))


def test_a_column_of_names_of_pictures_beside_the_table_is_one_of_images(photos: tuple[Path, list[str]]) -> None:
    root, names = photos
    found = look(table(root, names))
    assert found.kinds == {"photo": "image"}
    assert found.frame["photo"].to_list() == [str(root / name) for name in names]
    guess = infer_kinds(found.frame, target="y")["photo"]
    assert guess.kind == "image" and "names of picture files" in guess.reason
    forced: dict[str, ColumnKind] = {"photo": "image"}
    assert "picture files" in infer_kinds(found.frame, forced, target="y")["photo"].reason


def test_pictures_outside_of_the_tables_folder_are_never_opened(photos: tuple[Path, list[str]], tmp_path: Path) -> None:
    root, names = photos
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "secret.png")
    os.symlink(tmp_path / "secret.png", root / "link.png")
    for escape in ("../secret.png", str(tmp_path / "secret.png"), "link.png", "sub/../../secret.png"):
        refused(table(root, [*names[1:], escape]), "row 19", "outside", "photo")
    found = look(table(root, ["../secret.png"] * 4))
    assert found.kinds == {} and found.frame["photo"][0] == "../secret.png" and "none is opened" in found.warnings[0]
    with pytest.raises(DataError, match="outside"):
        look(table(root, ["../secret.png"] * 4), images=["photo"])


def test_rows_with_a_bad_picture_are_left_out_and_the_others_keep_their_numbers(photos: tuple[Path, list[str]]) -> None:
    root, names = photos
    (root / names[3]).write_text("no")
    found = look(table(root, [*names[:-1], "sub/absent.png"]))
    assert "2 of 20 pictures cannot be read" in found.warnings[0] and "absent.png (no such file)" in found.warnings[0]
    assert found.kept is not None and found.kept.tolist() == [i for i in range(20) if i not in (3, 19)]
    assert found.frame["age"].to_list() == found.kept.tolist()
    refused(table(root, [*names[:10], *["sub/absent.png"] * 10]), "more than a fifth")


def test_names_of_pictures_that_are_not_there_stay_words(tmp_path: Path) -> None:
    found = look(table(tmp_path, ["a.png", "b.png"] * 5))
    assert found.kinds == {} and "not there (first: 'a.png')" in found.warnings[0]
    assert infer_kinds(found.frame, target="y")["photo"].kind == "category"


def test_arrays_of_pixels_are_guessed_as_images() -> None:
    frame = pl.DataFrame({"image": np.zeros((20, 8, 8), np.uint8), "y": ["a", "b"] * 10})
    assert infer_kinds(frame, target="y")["image"].kind == "image"
    assert infer_task(frame["y"])[0] == "binary"
