"""Classic methods on images, alone and as a column of a table: pixels are shrunk as said, and what is in them is learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.neighbors import KNeighborsRegressor

from netwright.baselines.entries import BASELINES
from netwright.baselines.images import Neighbours, nearest_neighbours, pixel_features
from netwright.baselines.tables import describe, fit_baseline, rows_of
from netwright.baselines.task import Rows, Task, matrix
from netwright.core.errors import UsageError
from netwright.core.seed import numpy_generator
from netwright.data.data import PARTS, Data
from netwright.data.encode import fit_inputs, fit_target
from netwright.data.shrink import shrink, shrunk_size
from netwright.losses.metrics import score

IMAGES = [name for name, entry in BASELINES.items() if entry.fits(kind="image", task="classes")]


def images(n: int = 300, *, side: int = 12, channels: int = 0, seed: int = 0, **more: Any) -> Data:
    """Noise with a bright bar: across (class "across"), down ("down") or none ("none"); `more` columns go into the network too."""
    rng = numpy_generator(seed, "bars")
    y = rng.integers(0, 3, n)
    x = rng.integers(0, 120, (n, side, side, *([channels] if channels else [])))
    for i, at in enumerate(rng.integers(2, side - 3, n)):
        if y[i] < 2:
            x[(i, slice(at, at + 2)) if y[i] == 0 else (i, slice(None), slice(at, at + 2))] += 130
    frame = pl.DataFrame(
        {"picture": pl.Series("picture", x.astype(np.uint8)), **more, "y": np.array(["across", "down", "none"])[y]}
    )
    return split(frame, {"picture": "image", **dict.fromkeys(more, "number")}, "y", "classes")


def split(frame: pl.DataFrame, kinds: dict[str, Any], target: str, task: Any) -> Data:
    n = len(frame)
    rows = dict(zip(PARTS, np.split(np.arange(n), [n * 6 // 10, n * 8 // 10]), strict=True))
    train = frame[rows["train"]]
    return Data(frame, fit_inputs(train, kinds), fit_target(train[target], task), rows)


def test_images_alone_have_three_baselines() -> None:
    assert IMAGES == ["dummy", "linear", "nearest-neighbours"]


@pytest.mark.parametrize("channels", [0, 1, 3, 4])
@pytest.mark.parametrize("name", IMAGES)
def test_predictions_are_shares_of_the_classes_and_repeat_themselves(name: str, channels: int) -> None:
    data = images(150, channels=channels)
    fitted, again = (fit_baseline(name, data, seed=3, budget_seconds=5) for _ in range(2))
    p = fitted.predict("test")
    assert p.shape == (30, 3) and p.sum(1) == pytest.approx(np.ones(30)) and (p > 0).all()
    assert np.array_equal(p, again.predict("test"))
    assert fitted.predict_frame(data.part("test").drop("y")) == pytest.approx(p, rel=1e-6)
    assert fitted.predict_encoded(data.block("test").x) == pytest.approx(p, rel=1e-6)


@pytest.mark.parametrize("name", ["linear", "nearest-neighbours"])
def test_what_pixels_show_is_learned_and_its_finding_says_how_large_they_were(name: str) -> None:
    data = images(900, side=20)
    found = describe(fit_baseline(name, data, budget_seconds=5))
    assert found.verdict == "pass" and float(found.measured["accuracy"] or 0) > 0.6
    size = "20 x 20" if name == "linear" else "10 x 10"
    assert found.measured["pixels"] == size and f"{size} pixels" in found.why


@pytest.mark.parametrize("name", IMAGES)
def test_a_number_is_predicted_from_images(name: str) -> None:
    rng = numpy_generator(0, "level")
    level = rng.uniform(0, 200, 300)
    x = (level[:, None, None] + rng.uniform(0, 50, (300, 8, 8))).astype(np.uint8)
    frame = pl.DataFrame({"picture": pl.Series("picture", x), "y": level})
    p = fit_baseline(name, data := split(frame, {"picture": "image"}, "y", "number")).predict("test")
    assert p.shape == (60,) and (name == "dummy" or score("r2", data.y("test"), p) > 0.97)


def test_images_are_shrunk_by_the_least_whole_number_that_does_it() -> None:
    for channels, height, width, most in ((1, 28, 28, 256), (3, 224, 160, 1024), (1, 1, 5000, 256), (4, 3, 3, 1)):
        h, w = shrunk_size(channels, height, width, most)
        assert channels * h * w <= max(most, channels)
    x = torch.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6).to(torch.uint8)
    assert shrink(x, 18).reshape(2, 3, 2, 3) == pytest.approx(x.float().reshape(2, 3, 2, 2, 3, 2).mean((3, 5)).numpy())
    assert shrink(x, 72).reshape(2, 3, 4, 6) == pytest.approx(x.numpy())


def test_pixels_that_are_no_numbers_count_as_black() -> None:
    x = torch.tensor([[[[float("nan"), float("inf")], [1.0, 3.0]]]])
    assert shrink(x, 4).tolist() == [[0.0, 0.0, 1.0, 3.0]]


def test_pixels_become_float32_and_are_scaled_by_training_rows_only() -> None:
    data = images(200)
    train, test = rows_of(data, "train"), rows_of(data, "test")
    features = pixel_features(train, 1024)
    x = features(train)
    assert x.dtype == np.float32 and np.abs(x.mean(0)).max() < 1e-4 and x.std() == pytest.approx(1, abs=0.01)
    assert features(test) == pytest.approx(
        (shrink(test.pixels["picture"], 1024) - shrink(train.pixels["picture"], 1024).mean(0))
        / (shrink(train.pixels["picture"], 1024) - shrink(train.pixels["picture"], 1024).mean(0)).std(),
        abs=1e-4,
    )


def test_neighbours_are_scikit_learns() -> None:
    rng = numpy_generator(0, "near")
    x, y, new = rng.normal(size=(80, 3)), rng.normal(size=80), rng.normal(size=(20, 3))
    ours = Neighbours(x, y, None, 0, most=4).predict(new)
    assert ours == pytest.approx(KNeighborsRegressor(4).fit(x, y).predict(new))


def test_neighbours_with_weights_are_neighbours_that_come_several_times() -> None:
    rng = numpy_generator(0, "near")
    x, y, new = rng.normal(size=(40, 2)), rng.integers(0, 3, 40), rng.normal(size=(9, 2))
    none = Neighbours(x, y, np.r_[np.zeros(20), np.full(20, 7.0)], 3, most=5).predict_proba(new)
    assert none == pytest.approx(Neighbours(x[20:], y[20:], None, 3, most=5).predict_proba(new))


def test_a_short_budget_thins_the_training_rows_the_same_way_each_time_and_keeps_every_class() -> None:
    data = images(400, side=16)
    train, valid = rows_of(data, "train"), rows_of(data, "valid")
    y = train.y.copy()
    y[y == 2] = 0
    y[17] = 2
    task = Task(Rows(train.x, y, None, {}, train.pixels), valid, n_classes=3, budget_seconds=1e-4)
    first, second = nearest_neighbours(task), nearest_neighbours(task)
    assert first.chosen == second.chosen and int(first.chosen["training_rows"] or 0) < 60
    assert first.pipeline.classes_.tolist() == [0, 1, 2]
    fitted = fit_baseline("nearest-neighbours", data, budget_seconds=1e-3)
    assert "of the 240 training rows" in describe(fitted).why


@pytest.mark.parametrize("name", ["dummy", "linear", "gradient-boosting"])
def test_images_beside_numbers_go_through_the_methods_of_tables(name: str) -> None:
    rng = numpy_generator(0, "beside")
    a = rng.normal(size=600)
    level = rng.uniform(0, 200, 600)
    x = (level[:, None, None] + rng.uniform(0, 50, (600, 8, 8))).astype(np.uint8)
    y = a + level / 40
    both = split(
        pl.DataFrame({"a": a, "picture": pl.Series("picture", x), "y": y}),
        {"a": "number", "picture": "image"},
        "y",
        "number",
    )
    alone = split(pl.DataFrame({"a": a, "y": y}), {"a": "number"}, "y", "number")
    assert both.spec.kind == "table"
    r2 = [score("r2", d.y("test"), fit_baseline(name, d, budget_seconds=5).predict("test")) for d in (both, alone)]
    assert name == "dummy" or (r2[0] > 0.9 and r2[0] > r2[1] + 0.2)


def test_a_baseline_for_other_rows_is_refused_with_those_that_fit() -> None:
    with pytest.raises(UsageError, match="for table and vector and set, and these rows are of kind image"):
        fit_baseline("gradient-boosting", images(60))


def test_tensors_of_float32_are_copied_once_and_stay_float32() -> None:
    from netwright.core.spec import InputSpec, VectorField

    x = torch.tensor([[1.0, float("inf")], [1e35, float("nan")]])
    spec = InputSpec(kind="vector", fields=(VectorField(name="x", shape=(2,)),))
    found = matrix({"x": x}, spec)
    assert found.dtype == np.float32 and np.isnan(found).tolist() == [[False, True], [False, True]]
    assert x[0, 1] == float("inf") and found[1, 0] == np.float32(1e30)


@pytest.mark.parametrize("name", IMAGES)
def test_images_without_validation_rows_or_of_one_colour_are_no_error(name: str) -> None:
    frame = pl.DataFrame({"picture": pl.Series("picture", np.full((20, 5, 5), 7, np.uint8)), "y": ["n", "y"] * 10})
    kinds: Any = {"picture": "image"}
    rows = {"train": np.arange(10), "valid": np.arange(0), "test": np.arange(10, 20)}
    data = Data(frame, fit_inputs(frame[:10], kinds), fit_target(frame["y"][:10], "binary"), rows)
    assert fit_baseline(name, data).predict("test") == pytest.approx(np.full((10, 2), 0.5), abs=1e-3)


@pytest.mark.data
@pytest.mark.slow
def test_mnist_is_learned_as_well_as_these_methods_can(real_data: Any) -> None:
    with np.load(real_data / "mnist.npz", allow_pickle=False) as stored:
        x, y = (np.concatenate([stored[f"{k}_train"], stored[f"{k}_test"]]) for k in "xy")
    frame = pl.DataFrame({"image": pl.Series("image", x), "y": y.astype(str)})
    rows: Any = {"train": np.arange(48_000), "valid": np.arange(48_000, 60_000), "test": np.arange(60_000, 70_000)}
    train = frame[rows["train"]]
    data = Data(frame, fit_inputs(train, {"image": "image"}), fit_target(train["y"], "classes"), rows)
    for name, least in (("linear", 0.915), ("nearest-neighbours", 0.96)):
        fitted = fit_baseline(name, data, budget_seconds=24)
        assert score("accuracy", data.y("test"), fitted.predict("test")) > least, name
