"""Series and sounds: twelve sets of the UCR archive on their official splits, and spoken digits by speaker."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import polars as pl

from benchmarks.data import data_file
from benchmarks.results import Result, Row
from netwright.baselines.tables import fit_baseline
from netwright.core.spec import ColumnKind
from netwright.data.audio import column_of_sounds
from netwright.data.data import Data
from netwright.data.encode import fit_inputs, fit_target
from netwright.data.series import column_of_series
from netwright.estimators.classifier import Classifier

SEED = 0
WIDTH = 16
EPOCHS = 14


def _data(column: pl.Series, y: np.ndarray, test: np.ndarray, kind: ColumnKind, held: float = 0.0) -> Data:
    """Rows with a given test part; of the others a share validates."""
    frame = pl.DataFrame([column, pl.Series("y", y.astype(str))])
    order = np.random.default_rng(SEED).permutation(np.flatnonzero(~test))
    valid, train = np.split(order, [round(held * len(order))])
    split = {"train": np.sort(train), "valid": np.sort(valid), "test": np.flatnonzero(test)}
    rows = frame[split["train"]]
    return Data(frame, fit_inputs(rows, {column.name: kind}), fit_target(rows["y"], "classes"), split)  # type: ignore[arg-type]


def _baseline(name: str, data: Data) -> float:
    return float((fit_baseline(name, data, seed=SEED).predict("test").argmax(1) == data.y("test")).mean())


def ucr12() -> Result:
    """Residual network, random kernels with ridge, and the nearest neighbour; nothing is chosen on test rows."""
    rows, scores = [], list[tuple[float, float, float]]()
    began = time.perf_counter()
    with np.load(data_file("series/ucr12.npz"), allow_pickle=False) as z:
        for name in sorted({key.partition("__")[0] for key in z.files}):
            x, y, x_test, y_test = (z[f"{name}__{key}"] for key in ("X_train", "y_train", "X_test", "y_test"))
            net = Classifier(kind="series", options={"width": WIDTH}, random_state=SEED).fit(x, y)
            column = column_of_series([*x, *x_test])
            test = np.arange(len(x) + len(x_test)) >= len(x)
            data = _data(column, np.concatenate([y, y_test]), test, "series")
            found = (
                float(net.score(x_test, y_test)),
                *(_baseline(b, data) for b in ("random-kernels", "nearest-series")),
            )
            scores.append(found)
            rows.append(
                Row(f"{name}: network, random kernels + ridge, nearest neighbour", ", ".join(f"{s:.3f}" for s in found))
            )
    net_mean, kernel_mean, near_mean = np.mean(scores, 0)
    means = [
        Row("series-resnet: mean accuracy over the 12 sets", f"{net_mean:.4f}", ">= 0.957", bool(net_mean >= 0.957)),
        Row("random-kernels: mean accuracy", f"{kernel_mean:.4f}"),
        Row("nearest-series: mean accuracy", f"{near_mean:.4f}"),
    ]
    how = (
        f"Official splits; one training each, seed {SEED}, width {WIDTH}, epochs by rule; where fewer than 107 rows train, all of them "
        f"choose the epoch. {time.perf_counter() - began:.0f} s in all."
    )
    return Result("ucr12", "ucr12: series, twelve sets of the UCR archive", [*means, *rows], how)


def fsdd() -> Result:
    """Spoken digits: the official split, where speakers repeat, and each speaker left out in turn."""
    with np.load(data_file("fsdd.npz"), allow_pickle=False) as z:
        audio, at, y, speaker, rate = z["audio"], z["offset"], z["y"], z["speaker"], int(z["rate"])
        official, names = z["is_test"], z["speakers"]
    sounds = [(rate, audio[i:j]) for i, j in pairwise(at.tolist())]
    column = column_of_sounds(sounds)

    def both(test: np.ndarray) -> tuple[float, float]:
        net = Classifier(kind="audio", epochs=EPOCHS, random_state=SEED)
        net.fit([sounds[i] for i in np.flatnonzero(~test)], y[~test])
        score = float(net.score([sounds[i] for i in np.flatnonzero(test)], y[test]))
        return score, _baseline("mel-frames", _data(column, y, test, "audio", held=0.15))

    first, first_linear = both(official)
    each = [both(speaker == k) for k in range(len(names))]
    mean, mean_linear = np.mean(each, 0)
    rows = [
        Row("audio-conv: accuracy on the official split", f"{first:.4f}", ">= 0.985", first >= 0.985),
        Row("mel-frames: accuracy on the official split", f"{first_linear:.4f}"),
        Row("audio-conv: mean accuracy on a speaker left out", f"{mean:.4f}", ">= 0.75", bool(mean >= 0.75)),
        Row("mel-frames: mean accuracy on a speaker left out", f"{mean_linear:.4f}"),
        *(
            Row(f"speaker {n} left out: network, mel frames", f"{a:.3f}, {b:.3f}")
            for n, (a, b) in zip(names, each, strict=True)
        ),
    ]
    how = f"One training each, seed {SEED}, {EPOCHS} epochs, designed by rule; 15 % of the training sounds choose the epoch."
    return Result("fsdd", "fsdd: spoken digits", rows, how)


BENCHMARKS: dict[str, Callable[[], Result]] = {"ucr12": ucr12, "fsdd": fsdd}
