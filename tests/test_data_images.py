"""One picture file to pixels, and columns of pictures to tensors: what is refused, what is changed, and how sizes are unified."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from netwright.core.errors import DataError, SetupError, UsageError
from netwright.core.spec import ImageField, TargetSpec
from netwright.data import memory as memory_module
from netwright.data.data import Data
from netwright.data.encode import fit_inputs, fit_target
from netwright.data.images import encode_images, fit_images, read_files
from netwright.data.memory import memory, roomy, size_of
from netwright.data.picture import BadPicture, decode, fitted, for_each
from pictures import bomb, make_folder, odd, truncated


def paths_of(folder: Path) -> pl.Series:
    return pl.Series("image", sorted(str(p) for p in folder.rglob("*.png")))


# One file ------------------------------------------------------------------------------------------------------------


def test_a_picture_of_20000_by_20000_pixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = bomb(tmp_path / "bomb.png")
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BadPicture, match="megapixels"):
            for_each([str(path)], lambda _, p: decode(p))
    assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    tracemalloc.stop()


def test_a_picture_between_our_limit_and_pillows_is_refused_without_a_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = bomb(tmp_path / "large.png", side=10_000)  # Pillow only warns of this size
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BadPicture, match="10,000 x 10,000 pixels"):
            for_each([str(path)], lambda _, p: decode(p))
    assert capfd.readouterr().err == ""


def test_what_is_no_picture_is_refused_in_words(tmp_path: Path) -> None:
    text, empty = tmp_path / "text.png", tmp_path / "empty.png"
    text.write_text("not a picture")
    empty.touch()
    truncated(tmp_path / "half.jpg")
    (tmp_path / "script.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "half.png")
    data = (tmp_path / "half.png").read_bytes()
    (tmp_path / "half.png").write_bytes(data[:50])
    for name, words in (
        ("text.png", "no picture inside"),
        ("script.png", "no picture inside"),
        ("empty.png", "empty file"),
        ("half.jpg", "cut short"),
        ("half.png", "cut short|damaged"),
        ("absent.png", "no such file"),
    ):
        with pytest.raises(BadPicture, match=words):
            decode(str(tmp_path / name))


def test_a_truncated_jpeg_is_found_even_where_it_is_decoded_at_a_fraction_of_its_size(tmp_path: Path) -> None:
    with pytest.raises(BadPicture, match="cut short"):
        decode(str(truncated(tmp_path / "half.jpg")), near=8)


def test_unusual_pictures_are_treated_as_stated(tmp_path: Path) -> None:
    made = odd(tmp_path)
    seen = {name: decode(str(path)) for name, path in made.items()}
    pixels = {name: np.asarray(picture.image) for name, picture in seen.items()}
    assert (pixels["animated.gif"] == 10).all() and seen["animated.gif"].treated[0] == "animated, first frame taken"
    assert pixels["sixteen.png"].dtype == np.uint8 and (pixels["sixteen.png"] > 100).any()
    assert "scaled to 8" in seen["sixteen.png"].treated[0]
    assert np.abs(pixels["cmyk.jpg"].astype(int) - [200, 0, 0]).max() < 12 and "CMYK" in seen["cmyk.jpg"].treated[0]
    assert pixels["dot.png"].shape == (1, 1)
    assert np.abs(pixels["palette.png"].astype(int) - [200, 0, 0]).max() < 12
    assert (pixels["alpha.png"] == 255).all() and "laid on white" in seen["alpha.png"].treated[0]
    assert set(np.unique(pixels["bits.png"])) == {0, 255} and seen["bits.png"].image.mode == "L"
    turned = pixels["turned.jpg"].astype(int)  # darkest on top in the file; turned clockwise, darkest on the right
    assert turned.shape[:2] == (12, 24) == (seen["turned.jpg"].height, seen["turned.jpg"].width)
    assert turned[:, 0].mean() > turned[:, -1].mean() + 100


def test_grey_stored_as_colour_is_grey(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 255, (40, 40)).astype(np.uint8)
    Image.fromarray(np.dstack([grey] * 3)).save(tmp_path / "grey.jpg")
    Image.fromarray(np.dstack([grey, grey, grey // 2])).save(tmp_path / "colour.jpg")
    assert not decode(str(tmp_path / "grey.jpg")).is_colour
    assert decode(str(tmp_path / "colour.jpg")).is_colour


def test_a_picture_keeps_its_proportions_and_its_edges_fill_the_rest() -> None:
    image = Image.fromarray(np.repeat(np.array([[10, 10, 90, 90]], np.uint8), 2, 0))  # 2 high, 4 wide
    pixels = fitted(image, 8, 8, 1)[0]
    assert pixels.shape == (8, 8)
    assert (pixels == pixels[0]).all()  # rows above and below repeat the picture's edges
    assert pixels[0, 0] == 10 and pixels[0, -1] == 90
    same = np.arange(16, dtype=np.uint8).reshape(4, 4)
    assert (fitted(Image.fromarray(same), 4, 4, 1)[0] == same).all()
    assert fitted(Image.fromarray(same[:1, :1]), 8, 6, 3).shape == (3, 8, 6)


# Columns -------------------------------------------------------------------------------------------------------------


def test_pictures_of_one_small_size_are_taken_as_they_are(tmp_path: Path) -> None:
    column = paths_of(make_folder(tmp_path / "grey"))
    field = fit_images(column)
    assert field.shape == (1, 16, 16) and field.dtype == "uint8" and "as they are" in field.rule
    pixels = encode_images(column, field)
    for i in (0, len(column) - 1):
        assert (pixels[i, 0] == np.asarray(Image.open(column[i]))).all()
    assert field.center[0] == pytest.approx(pixels.mean(), abs=1e-6)
    assert field.spread[0] == pytest.approx(pixels.std(), abs=1e-6)


def test_size_is_the_median_brought_down_to_64_and_colour_is_kept_where_it_is_real(tmp_path: Path) -> None:
    for i, (height, width) in enumerate([(100, 200)] * 5 + [(50, 50), (400, 300)]):
        pixels = np.random.default_rng(i).integers(0, 255, (height, width, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    field = fit_images(paths_of(tmp_path))
    assert field.shape == (3, 32, 64)
    assert "median size" in field.rule and "100 x 200" in field.rule and "in colour" in field.rule
    assert encode_images(paths_of(tmp_path), field).shape == (7, 3, 32, 64)


def test_a_few_colour_pictures_among_grey_ones_do_not_make_all_colour(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "mixed", n=20)
    make_folder(tmp_path / "one", n=1, labels=("bar",), colour=True)
    shutil.copy(tmp_path / "one" / "bar" / "000.png", folder / "bar" / "red.png")
    assert fit_images(paths_of(folder)).channels == 1
    assert fit_images(paths_of(make_folder(tmp_path / "all", colour=True))).channels == 3


def test_pictures_of_one_pixel_alone_are_brought_up_to_a_size_that_a_network_bears(tmp_path: Path) -> None:
    Image.fromarray(np.full((1, 1), 7, np.uint8)).save(tmp_path / "dot.png")
    field = fit_images(paths_of(tmp_path))
    assert field.shape == (1, 8, 8) and "brought up" in field.rule
    assert (encode_images(paths_of(tmp_path), field) == 7).all()


def test_a_file_that_went_bad_after_the_look_is_named(tmp_path: Path) -> None:
    column = paths_of(make_folder(tmp_path / "grey", n=3))
    field = fit_images(column)
    Path(column[2]).write_text("gone")
    with pytest.raises(DataError, match=r"002\.png cannot be read \(no picture inside\)"):
        encode_images(column, field)
    pixels, reasons = read_files(column.to_list(), field)
    assert [bool(r) for r in reasons] == [False, False, True, False, False, False] and not pixels[2].any()


def test_names_that_are_no_absolute_paths_are_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "grey", n=1)
    monkeypatch.chdir(tmp_path / "grey" / "bar")
    with pytest.raises(DataError, match="beside the table"):
        fit_images(pl.Series("image", ["000.png"]))
    with pytest.raises(DataError, match="has nothing"):
        fit_images(pl.Series("image", [str(tmp_path / "grey" / "bar" / "000.png"), None]))


def test_arrays_of_another_size_are_unified_like_files_and_other_scales_are_refused() -> None:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (5, 16, 16)).astype(np.uint8)
    field = fit_images(pl.Series("image", small))
    assert encode_images(pl.Series("image", np.repeat(np.repeat(small, 2, 1), 2, 2)), field).shape == (5, 1, 16, 16)
    assert encode_images(pl.Series("image", rng.integers(0, 255, (5, 16, 16, 3)).astype(np.uint8)), field).shape[1] == 1
    assert encode_images(pl.Series("image", small.astype(np.float32)), field).dtype == np.uint8
    with pytest.raises(DataError, match="whole numbers from 0 to 255"):
        encode_images(pl.Series("image", (small / 255).astype(np.float32)), field)
    floats = fit_images(pl.Series("image", (small / 255).astype(np.float32)))
    with pytest.raises(DataError, match="divide them by 255"):
        encode_images(pl.Series("image", small), floats)
    with pytest.raises(DataError, match="trained on 1 x 16 x 16"):
        encode_images(pl.Series("image", np.zeros((2, 8, 8), np.float32)), floats)


def test_picture_files_in_a_model_of_floats_come_in_its_scale(tmp_path: Path) -> None:
    column = paths_of(make_folder(tmp_path / "grey", n=2))
    field = ImageField(height=16, width=16, dtype="float", low=0.0, high=1.0)
    pixels = encode_images(column, field)
    assert pixels.dtype == np.float32 and 0.5 < pixels.max() <= 1


# Memory --------------------------------------------------------------------------------------------------------------


def data_of(folder: Path) -> Data:
    column = paths_of(folder)
    frame = pl.DataFrame([column, pl.Series("label", [Path(p).parent.name for p in column])])
    split = {
        "train": np.arange(0, len(frame), 2),
        "valid": np.arange(1, len(frame), 4),
        "test": np.arange(3, len(frame), 4),
    }
    target: TargetSpec = fit_target(frame["label"], "binary")
    return Data(frame, fit_inputs(frame[split["train"]], {"image": "image"}), target, split)  # type: ignore[arg-type]


def test_pixels_beyond_the_memory_live_in_a_file_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, place = make_folder(tmp_path / "grey", n=40), tmp_path / "place"
    place.mkdir()
    plain = data_of(folder).block("train").x["image"].clone()
    monkeypatch.setenv("NETWRIGHT_MEMORY", "8KB")
    monkeypatch.setattr("tempfile.tempdir", str(place))
    monkeypatch.setattr(memory_module, "_in_memory", lambda _: False)
    block = data_of(folder).block("train")
    assert f"{place}/" in Path("/proc/self/maps").read_text()
    assert not list(place.iterdir())
    assert torch.equal(block.x["image"], plain)
    assert torch.equal(block.take(torch.tensor([3, 1])).x["image"], plain[[3, 1]])
    del block
    assert f"{place}/" not in Path("/proc/self/maps").read_text()


UNDER_A_LIMIT = """
import re, resource, sys
import numpy as np, polars as pl
from netwright.data.images import encode_images, fit_images
column = pl.Series("image", [f"{sys.argv[1]}/{i}.png" for i in range(3000)])
field = fit_images(column)
used = 1024 * int(re.search(r"VmData:\\s+(\\d+)", open("/proc/self/status").read())[1])
resource.setrlimit(resource.RLIMIT_DATA, (used + 32 * 2**20, resource.RLIM_INFINITY))
try:
    np.ones((3000, *field.shape), np.uint8)
    print("the limit does not bite")
except MemoryError:
    pixels = encode_images(column, field)
    print(pixels.shape, pixels.nbytes > 32 * 2**20, all((image == pixels[0]).all() for image in pixels))
"""


@pytest.mark.slow
def test_a_folder_that_is_larger_than_the_memory_is_read(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "0.png", compress_level=0)
    for i in range(1, 3000):
        os.link(tmp_path / "0.png", tmp_path / f"{i}.png")
    ended = subprocess.run(
        [sys.executable, "-c", UNDER_A_LIMIT, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.stdout == "(3000, 3, 64, 64) True True\n", ended.stderr


def test_a_disk_without_room_is_said_before_pixels_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETWRIGHT_MEMORY", "1MB")
    with pytest.raises(SetupError, match="no folder for temporary files has the room"):
        roomy((2**20, 2**30), np.uint8)


def test_the_memory_to_count_on_is_a_size_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    assert size_of("2 GiB") == 2**31 and size_of("10k") == 10240
    monkeypatch.setenv("NETWRIGHT_MEMORY", "500MB")
    assert memory() <= 500 * 2**20
    for wrong in ("much", "0", "-3GB"):
        monkeypatch.setenv("NETWRIGHT_MEMORY", wrong)
        with pytest.raises(UsageError, match="such as 500MB"):
            memory()


# The fingerprint -----------------------------------------------------------------------------------------------------


def test_the_fingerprint_is_of_what_the_files_hold_and_not_of_where_they_lie(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "here")
    first = data_of(folder).fingerprint
    shutil.copytree(folder, tmp_path / "there")
    assert data_of(tmp_path / "there").fingerprint == first
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "there" / "bar" / "000.png")
    assert data_of(tmp_path / "there").fingerprint != first
