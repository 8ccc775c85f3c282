"""Classic methods on series and sounds: features and ridge regression agree with a reference; what can be learned is learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.linear_model import Ridge

from netwright.baselines.kernels import answers_of, fit_kernels, kernels
from netwright.baselines.ridge import fit_ridge
from netwright.baselines.series import even_series
from netwright.baselines.tables import Fitted, fit_baseline
from netwright.core.seed import numpy_generator
from netwright.data.audio import column_of_sounds
from netwright.data.data import Data
from netwright.data.encode import fit_inputs, fit_target
from netwright.data.series import column_of_series


def test_an_answer_of_a_kernel_is_the_sum_that_it_stands_for() -> None:
    rng = np.random.default_rng(0)
    x, dilation, k = rng.normal(size=(1, 2, 30)).astype(np.float32), 3, 17
    weights = np.repeat(kernels()[:, None], 2, 1)
    answers, there = answers_of(torch.from_numpy(x), torch.tensor([25]), torch.from_numpy(weights), dilation)
    padded = np.pad(x[0], ((0, 0), (12, 12)))
    wanted = [sum(kernels()[k][j] * padded[c, t + j * dilation] for c in range(2) for j in range(9)) for t in range(30)]
    assert answers[0, k].numpy() == pytest.approx(np.array(wanted), abs=1e-4)
    assert there[0, k].nonzero().flatten().tolist() == [12]  # an odd kernel counts where it lies wholly inside
    assert there[0, k - 1].nonzero().flatten().tolist() == list(range(25))


def test_features_are_the_shares_of_steps_above_the_thresholds_and_know_no_padding() -> None:
    rng = np.random.default_rng(0)
    values, lengths = rng.normal(size=(6, 1, 40)).astype(np.float32), np.array([40, 40, 33, 40, 40, 12])
    values *= np.arange(40) < lengths[:, None, None]
    center, spread = np.zeros(1, np.float32), np.ones(1, np.float32)
    fitted = fit_kernels(values, lengths, center, spread, seed=0, n=168)
    found = fitted(values, lengths)
    assert found.shape == (6, 168) and found.min() >= 0 and found.max() <= 1
    dilation, weights, thresholds = fitted.at[0]
    answers, there = answers_of(torch.from_numpy(values), torch.from_numpy(lengths), weights, dilation)
    for row in (0, 5):
        wanted = (answers[row, 3][there[row, 3]] > thresholds[3, 0]).float().mean()
        assert found[row, 3 * thresholds.shape[1]] == pytest.approx(float(wanted))
    longer = np.concatenate([values, np.zeros((6, 1, 9), np.float32)], 2)
    assert np.array_equal(fitted(longer, lengths), found)


def test_the_same_seed_gives_the_same_kernels_and_another_one_others() -> None:
    values, lengths = np.random.default_rng(0).normal(size=(5, 3, 30)).astype(np.float32), np.full(5, 30)
    center, spread = np.zeros(3, np.float32), np.ones(3, np.float32)
    one, two, other = (fit_kernels(values, lengths, center, spread, seed=s, n=84)(values, lengths) for s in (1, 1, 2))
    assert np.array_equal(one, two) and not np.array_equal(one, other)


@pytest.mark.parametrize("weighted", [False, True])
def test_ridge_by_rows_agrees_with_scikit_learn_and_leave_one_out_with_brute_force(weighted: bool) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 50)), rng.normal(size=30)
    weight = rng.uniform(0.5, 2, 30) if weighted else None
    penalties = (0.01, 1.0, 30.0, 1000.0)
    model = fit_ridge(x, y, n_classes=0, weight=weight, penalties=penalties)
    z = (x - model.center) / model.spread
    rows = np.ones(30) if weight is None else weight / weight.mean()
    other = Ridge(alpha=model.penalty).fit(z, y, sample_weight=rows)
    assert model.predict(x) == pytest.approx(other.predict(z), abs=1e-8)
    errors = {}
    for penalty in penalties:
        gone = []
        for i in range(30):
            keep = np.arange(30) != i
            gone.append(
                Ridge(alpha=penalty).fit(z[keep], y[keep], sample_weight=rows[keep]).predict(z[i : i + 1])[0] - y[i]
            )
        errors[penalty] = np.average(np.square(gone), weights=rows)
    assert model.penalty == min(errors, key=lambda p: errors[p])


def test_series_of_unequal_lengths_are_brought_to_one() -> None:
    values = np.array([[[0, 1, 2, 3, 4.0]], [[0, 2, 4, 0, 0]]], dtype=np.float32)
    assert np.allclose(*even_series(values, np.array([5, 3]), 5), atol=1e-6)


def series_data(n: int = 120, number: bool = False, seed: int = 0) -> Data:
    """Sines of two channels and unequal lengths, whose pitch is the class or the number."""
    rng = numpy_generator(seed, "series")
    pitch = rng.uniform(0.3, 0.9, n) if number else rng.choice([0.3, 0.6, 0.9], n)
    rows = []
    for p in pitch:
        t = np.arange(rng.integers(30, 50))
        rows.append(np.stack([np.sin(p * t + rng.uniform(0, 6)), rng.normal(size=len(t))], 1))
    y = pl.Series("y", pitch if number else [f"p{p}" for p in pitch])
    frame = pl.DataFrame([column_of_series(rows), y])
    parts = np.split(np.arange(n), [n // 2, 3 * n // 4])
    split = dict(zip(("train", "valid", "test"), parts, strict=True))
    train = frame[split["train"]]
    return Data(
        frame, fit_inputs(train, {"series": "series"}), fit_target(train["y"], "number" if number else "classes"), split
    )  # type: ignore[arg-type]


def accuracy(fitted: Fitted) -> float:
    return float((fitted.predict("test").argmax(1) == fitted.data.y("test")).mean())


def test_random_kernels_tell_series_apart_and_are_sure_of_it() -> None:
    fitted = fit_baseline("random-kernels", series_data(), budget_seconds=5)
    p, y = fitted.predict("test"), fitted.data.y("test")
    assert accuracy(fitted) > 0.95
    assert -np.log(p[np.arange(len(y)), y]).mean() < 0.3


def test_random_kernels_predict_numbers() -> None:
    fitted = fit_baseline("random-kernels", series_data(number=True), budget_seconds=5)
    y = fitted.data.y("test")
    assert np.mean((fitted.predict("test") - y) ** 2) < 0.1 * y.var()


def test_the_nearest_series_has_the_class() -> None:
    rows = [np.sin(0.2 * np.arange(40 + k % 5)) * (1 if k % 2 else -1) + 5 * k for k in range(40)]
    frame = pl.DataFrame([column_of_series(rows), pl.Series("y", ["up" if k % 2 else "down" for k in range(40)])])
    split = {"train": np.arange(20), "valid": np.arange(20, 30), "test": np.arange(30, 40)}
    spec, target = fit_inputs(frame[:20], {"series": "series"}), fit_target(frame["y"][:20], "binary")
    assert accuracy(fit_baseline("nearest-series", Data(frame, spec, target, split))) == 1.0  # type: ignore[arg-type]


def test_mel_frames_tell_tones_apart() -> None:
    rng = numpy_generator(0, "tones")
    pitch = rng.choice([300, 500, 900], 90)
    sounds = [
        (8000, 0.3 * np.sin(2 * np.pi * p * np.arange(rng.integers(800, 1600)) / 8000) + 0.05 * rng.normal())
        for p in pitch
    ]
    frame = pl.DataFrame([column_of_sounds(sounds), pl.Series("y", [f"p{p}" for p in pitch])])
    split = {"train": np.arange(50), "valid": np.arange(50, 70), "test": np.arange(70, 90)}
    spec, target = fit_inputs(frame[:50], {"audio": "audio"}), fit_target(frame["y"][:50], "classes")
    assert accuracy(fit_baseline("mel-frames", Data(frame, spec, target, split), budget_seconds=5)) > 0.9  # type: ignore[arg-type]


@pytest.mark.data
@pytest.mark.slow
def test_random_kernels_reach_what_the_published_transform_does_on_gunpoint(real_data: Path) -> None:
    """Dempster, Schmidt and Webb (2021) report 0.99 for this split."""
    with np.load(real_data / "series" / "ucr12.npz", allow_pickle=False) as z:
        x, y = (np.concatenate([z[f"GunPoint__{k}_{part}"] for part in ("train", "test")]) for k in "Xy")
    frame = pl.DataFrame([column_of_series(list(x)), pl.Series("y", y.astype(str))])
    split = {"train": np.arange(50), "valid": np.arange(0), "test": np.arange(50, 200)}
    spec, target = fit_inputs(frame[:50], {"series": "series"}), fit_target(frame["y"][:50], "binary")
    assert accuracy(fit_baseline("random-kernels", Data(frame, spec, target, split))) >= 0.97  # type: ignore[arg-type]
