"""Volumes and films: read from archives and arrays, encoded, fitted, and refused where they are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import netwright as nw
from netwright.baselines.task import Rows, Task
from netwright.baselines.volumes import voxel_features, voxel_size, voxel_values
from netwright.core.errors import DataError, UsageError
from netwright.core.seed import numpy_generator
from netwright.core.spec import InputSpec, TargetSpec, VolumeField
from netwright.data.batch import Inputs
from netwright.data.data import Data
from netwright.data.encode import decode_inputs, encode_inputs, fit_inputs
from netwright.data.fronts import VoxelFront
from netwright.data.infer import infer_kinds
from netwright.data.read import look
from netwright.data.volumes import VOLUMES, column_of_volumes, encode_volumes, fit_volumes
from netwright.export.write import export
from netwright.recipes.book import design
from netwright.recipes.custom import two_rows

FILMS = TargetSpec(name="label", task="classes", classes=("0", "1"), priors=(0.5, 0.5))


def voxels(n: int, *shape: int, dtype: Any = np.uint8) -> np.ndarray:
    return numpy_generator(0, "voxels", n, *shape).integers(0, 256, (n, *shape)).astype(dtype)


def saved(folder: Path, **arrays: Any) -> Path:
    path = folder / "data.npz"
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("shape", "kind", "cells"),
    [
        ((4, 6, 7, 8), "volume", (6, 7, 8, 1)),
        ((4, 6, 7, 8, 1), "volume", (6, 7, 8, 1)),
        ((4, 6, 7, 8, 3), "volume", (6, 7, 8, 3)),
        ((4, 3, 6, 7, 8), "volume", (6, 7, 8, 3)),
        ((4, 6, 7, 8, 9), "volume", (6, 7, 8, 9)),
        ((4, 7, 8, 3), "image", (7, 8, 3)),
        ((4, 3, 7, 8), "image", (7, 8, 3)),
    ],
)
def test_an_archive_of_four_or_five_dimensions_holds_volumes_unless_an_axis_is_that_of_channels(
    tmp_path: Path, shape: tuple[int, ...], kind: str, cells: tuple[int, ...]
) -> None:
    found = look(saved(tmp_path, x=voxels(*shape), y=[0, 1, 0, 1]))
    assert found.kinds == {kind: kind} and found.frame[kind].dtype.shape == cells  # type: ignore[attr-defined]


def test_films_of_three_frames_are_volumes_where_one_says_so(tmp_path: Path) -> None:
    path, x = saved(tmp_path, x=voxels(4, 3, 7, 8), y=[0, 1, 0, 1]), voxels(4, 3, 7, 8)
    found = look(path, volumes=True)
    assert found.kinds == {"volume": "volume"}
    assert np.array_equal(found.frame["volume"].to_numpy()[..., 0], x)


def test_parts_and_labels_are_read_as_those_of_images(tmp_path: Path) -> None:
    x = voxels(6, 5, 6, 7)
    found = look(
        saved(tmp_path, volumes_train=x[:4], labels_train=list("abab"), volumes_test=x[4:], labels_test=["a", "b"])
    )
    assert found.target == "label" and found.split_column == "split"
    assert found.frame["split"].to_list() == ["train"] * 4 + ["test"] * 2
    assert np.array_equal(found.frame["volume"].to_numpy()[..., 0], x)


def test_tensors_have_their_channels_behind_the_rows_and_arrays_have_them_last() -> None:
    x = voxels(2, 3, 5, 6, 4)
    assert column_of_volumes(x).dtype.shape == (3, 5, 6, 4)  # type: ignore[attr-defined]
    assert column_of_volumes(x, channels_first=True).dtype.shape == (5, 6, 4, 3)  # type: ignore[attr-defined]


def test_whole_numbers_beyond_a_byte_become_fractions_and_keep_their_values() -> None:
    x = np.array([-1000, 3000], dtype=np.int16).reshape(2, 1, 1, 1).repeat(4, 3)
    field = fit_volumes(column_of_volumes(x))
    assert (field.dtype, field.low, field.high) == ("float", -1000.0, 3000.0)
    assert encode_volumes(column_of_volumes(x), field)["volume"][1, 0, 0, 0].tolist() == [3000.0] * 4


def test_center_and_spread_are_those_of_each_channel() -> None:
    x = voxels(9, 5, 6, 7, 2)
    field = fit_volumes(column_of_volumes(x))
    assert field.shape == (2, 5, 6, 7)
    np.testing.assert_allclose(field.center, x.mean((0, 1, 2, 3)))
    np.testing.assert_allclose(field.spread, x.std((0, 1, 2, 3)))
    flat = fit_volumes(column_of_volumes(np.full((3, 2, 2, 2), 7, dtype=np.uint8)))
    assert flat.spread == (1.0,)


def test_encoding_puts_channels_first_and_decoding_turns_it_back() -> None:
    column = column_of_volumes(voxels(3, 5, 6, 7, 2), "scan")
    frame = column.to_frame()
    spec = fit_inputs(frame, {"scan": "volume"})
    x = encode_inputs(frame, spec)
    assert x["scan"].shape == (3, 2, 5, 6, 7) and x["scan"].dtype == torch.uint8
    assert decode_inputs(x, spec)["scan"].equals(column)


def test_a_column_of_volumes_is_known_by_its_cells() -> None:
    frame = pl.DataFrame({"scan": column_of_volumes(voxels(4, 5, 6, 7), "scan"), "age": [1, 2, 4, 9]})
    guesses = infer_kinds(frame)
    assert guesses["scan"].kind == "volume" and guesses["scan"].reason == (
        "volumes of 5 x 6 x 7 voxels (depth x height x width) in 1 channel"
    )


def test_two_made_up_rows_are_the_darkest_and_the_brightest() -> None:
    field = VolumeField(depth=2, height=3, width=4, channels=2)
    rows = two_rows(InputSpec(kind="volume", fields=(field,)))["volume"]
    assert rows.shape == (2, 2, 2, 3, 4) and rows.amax((1, 2, 3, 4)).tolist() == [0, 255]
    assert VOLUMES.two_rows(field)["volume"].dtype == np.uint8


def test_the_front_standardises_each_channel() -> None:
    field = VolumeField(depth=1, height=1, width=2, channels=2, center=(10.0, 20.0), spread=(2.0, 5.0))
    x: Inputs = {"volume": torch.tensor([12, 12, 25, 30], dtype=torch.uint8).view(1, 2, 1, 1, 2)}
    assert VoxelFront(field)(x).flatten().tolist() == [1.0, 1.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, 4, 4)), "expected volumes"),
        (np.zeros((0, 4, 4, 4)), "none of them empty"),
        (np.full((3, 4, 4, 4), np.nan), "192 voxels that are no finite number"),
        (np.zeros((3, 4, 4, 4), dtype=complex), "expected numbers"),
    ],
)
def test_what_is_no_volume_is_refused(array: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        column_of_volumes(array)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (voxels(2, 5, 6, 8), "1 x 5 x 6 x 8 .*trained on 1 x 5 x 6 x 7; resize"),
        (voxels(2, 5, 6, 7) / 255, "scale them and save them as uint8"),
    ],
)
def test_volumes_of_another_size_or_scale_are_refused(array: np.ndarray, words: str) -> None:
    field = fit_volumes(column_of_volumes(voxels(4, 5, 6, 7)))
    with pytest.raises(DataError, match=words):
        encode_volumes(column_of_volumes(array), field)


def test_whole_numbers_are_refused_where_fractions_were_learned() -> None:
    field = fit_volumes(column_of_volumes(voxels(4, 5, 6, 7) / 255))
    with pytest.raises(DataError, match="divide them by 255"):
        encode_volumes(column_of_volumes(voxels(2, 5, 6, 7)), field)


def test_a_missing_volume_is_refused() -> None:
    column = column_of_volumes(voxels(3, 2, 2, 2))
    with pytest.raises(DataError, match="1 volume missing"):
        fit_volumes(column.set(pl.Series([False, True, False]), None))


def test_the_design_for_volumes_is_a_residual_net_in_three_dimensions() -> None:
    spec = InputSpec(kind="volume", fields=(VolumeField(depth=5, height=6, width=7),))
    recipe, reason = design(spec, FILMS, 500)
    assert recipe.template == "residual-conv-3d" and "volumes of 5 x 6 x 7" in reason
    assert recipe.build(spec, FILMS, 0)(two_rows(spec)).shape == (2, 2)
    number = TargetSpec(name="y", task="number", center=1.0, scale=2.0)
    assert design(spec, number, 500)[0].loss == "squared-error"


def test_the_linear_method_sees_averages_over_blocks() -> None:
    field = VolumeField(depth=4, height=16, width=16)
    x = voxels(6, 1, 4, 16, 16)
    rows = Rows(np.zeros((6, 0)), np.arange(6) % 2, wholes={"volume": torch.from_numpy(x)})
    size = voxel_size(field, 128)
    assert size == (2, 8, 8) and voxel_values(Task(rows, rows, spec=InputSpec(fields=(field,))), 128) == 128
    found = voxel_features([field], rows, 128)(rows)
    blocks = x.reshape(6, 2, 2, 8, 2, 8, 2).mean((2, 4, 6)).reshape(6, -1)
    blocks = blocks - blocks.mean(0)
    np.testing.assert_allclose(found, blocks / blocks.std(), rtol=1e-4, atol=1e-4)


def test_equal_volumes_have_equal_fingerprints() -> None:
    frame = pl.DataFrame({"volume": column_of_volumes(voxels(4, 5, 6, 7)), "label": ["0", "1", "0", "1"]})
    spec = fit_inputs(frame, {"volume": "volume"})
    split = {part: np.arange(4) for part in ("train", "valid", "test")}
    other = frame.with_columns(column_of_volumes(voxels(4, 5, 6, 7) // 2))
    prints = [Data(f, spec, FILMS, split).fingerprint for f in (frame, frame.clone(), other)]  # type: ignore[arg-type]
    assert prints[0] == prints[1] != prints[2]


def test_an_estimator_takes_arrays_of_five_dimensions_and_refuses_other_rows_afterwards(tmp_path: Path) -> None:
    x, y = voxels(60, 4, 6, 6, 1) // 4, np.arange(60) % 2
    x[y == 1, :2] += 100
    net = nw.Classifier(options={"width": 4, "depth": 1}, epochs=6, batch_size=8, random_state=0).fit(x, y)
    assert net.score(x, y) > 0.9 and net.predict_proba(x[:3]).shape == (3, 2)
    assert net.model_.predict(x[:3]).shape == (3,)
    with pytest.raises(UsageError, match="fitted on volumes"):
        net.predict(x[:, 0])
    with pytest.raises(DataError, match="resize them"):
        net.predict(x[:, :3])
    with pytest.raises(UsageError, match="'volume' \\(volume\\) have no form in an ONNX file"):
        export(net.model_, tmp_path / "net.onnx")
