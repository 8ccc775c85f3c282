"""What many tests share: small problems with a known answer, and the folder of real data where there is one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from commandline import Ended, call
from netwright.core.files import write_json
from netwright.core.seed import numpy_generator
from netwright.data.data import Data
from netwright.data.encode import fit_inputs, fit_target

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets, or a skip that says what is missing."""
    folder = os.environ.get("NETWRIGHT_DATA")
    if not folder:
        pytest.skip("NETWRIGHT_DATA is not set")
    return Path(folder)


def make_frame(n: int = 400, seed: int = 0) -> pl.DataFrame:
    """Two numbers that matter, one that does not, a category that matters, missing cells; target `y` "no"/"yes", `z` a number."""
    rng = numpy_generator(seed, "frame")
    a, b, noise = rng.normal(10, 3, n), rng.integers(0, 20, n), rng.normal(size=n)
    colour = rng.choice(["red", "green", "blue"], n)
    strength = (a - 10) / 3 + 0.1 * (b - 10) + np.where(colour == "red", 1.5, -0.5)
    a_cells = [None if missing else float(v) for v, missing in zip(a, rng.random(n) < 0.05, strict=True)]
    return pl.DataFrame(
        {
            "a": a_cells,
            "b": b,
            "noise": noise,
            "colour": colour,
            "y": np.where(strength + 0.3 * rng.normal(size=n) > 0, "yes", "no"),
            "z": 100 + 20 * strength + rng.normal(size=n),
        }
    )


def make_data(task: str = "binary", n: int = 400, seed: int = 0) -> Data:
    """`make_frame` split 60/20/20, with `y` (task "binary") or `z` (task "number") as target."""
    frame, target = make_frame(n, seed), "z" if task == "number" else "y"
    frame = frame.drop("y" if task == "number" else "z")
    order = numpy_generator(seed, "split").permutation(n)
    split = {
        "train": np.sort(order[: n * 6 // 10]),
        "valid": np.sort(order[n * 6 // 10 : n * 8 // 10]),
        "test": np.sort(order[n * 8 // 10 :]),
    }
    train = frame[split["train"]]
    spec = fit_inputs(train, {"a": "number", "b": "integer", "noise": "number", "colour": "category"})
    return Data(frame, spec, fit_target(train[target], task), split)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def binary_data() -> Data:
    """A small binary problem."""
    return make_data("binary")


@pytest.fixture(scope="session")
def number_data() -> Data:
    """A small regression."""
    return make_data("number")


@dataclass(frozen=True)
class TinyRun:
    """A finished `netwright run` and how it ended."""

    folder: Path
    data: Path
    ended: Ended


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """A whole run on a small table, its training planned to be short. Its column "odd" has cells that are no plain numbers.

    Tests must leave it as it is.
    """
    path = tmp_path_factory.mktemp("tiny")
    cells = [f"{v:.2f}" for v in numpy_generator(0, "odd").normal(size=300)]
    frame = make_frame(300).drop("z").with_columns(odd=pl.Series(["n/a", "1,5", "inf", *cells[3:]]))
    frame.write_csv(path / "tiny.csv")
    write_json(path / "plan.json", TINY_PLAN)
    arguments = ("--target", "y", "--plan", path / "plan.json", "--skip", "check", "--out", path / "run")
    return TinyRun(path / "run", path / "tiny.csv", call("run", path / "tiny.csv", *arguments))


TINY_PLAN = {
    "learning_rate": 0.002,
    "memorise": {"threads": 1, "epoch_seconds": 0.5, "epochs": 4},
    "regularise": {"threads": 1, "epoch_seconds": 0.5, "epochs": 5},
}
"""Choices that are otherwise measured, so that a run is short and the same on every machine."""
