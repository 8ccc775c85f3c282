"""Short trials: they see fewer training rows but all validation rows, and choose what the data ask for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from netwright.core.seed import numpy_generator
from netwright.data.data import Data
from netwright.data.encode import fit_inputs, fit_target
from netwright.recipes.book import alternatives, design
from netwright.train.hooks import Clock
from netwright.workflow.bench import Workbench
from netwright.workflow.plans import StagePlan, TryPlan, plan_memorising, plan_trials
from netwright.workflow.prepare import read
from netwright.workflow.settings import Settings
from netwright.workflow.stages import unrestrained
from netwright.workflow.tryout import choose_augmentation, choose_template, fewer

STAGE = StagePlan(threads=1, epoch_seconds=0.1, epochs=10)


def parted(frame: pl.DataFrame, kind: str) -> Data:
    n = len(frame)
    split = {"train": np.arange(n * 6 // 10), "valid": np.arange(n * 6 // 10, n * 8 // 10)}
    split["test"] = np.arange(n * 8 // 10, n)
    train = frame[split["train"]]
    return Data(frame, fit_inputs(train, {"x": kind}), fit_target(train["y"], "binary"), split)  # type: ignore[arg-type, dict-item]


def sided(n: int = 400) -> Data:
    """Images whose class is the side on which a bright square stands: mirroring gives every one the wrong class."""
    rng = numpy_generator(0, "sided")
    x, y = rng.integers(0, 60, (n, 12, 12)), rng.integers(0, 2, n)
    for i in range(n):
        row, column = rng.integers(1, 8), (7 if y[i] else 1) + rng.integers(0, 2)
        x[i, row : row + 3, column : column + 3] = 255
    return parted(pl.DataFrame({"x": x.astype(np.uint8), "y": np.where(y == 1, "right", "left")}), "image")


def endings(n: int = 400) -> Data:
    """Texts in which every word is new, and only its last letters decide: nothing is to be learned from whole words."""
    rng, letters = numpy_generator(0, "endings"), list("bcdfghklmnprst")
    stem = ["".join(rng.choice(letters, 6)) for _ in range(n)]
    y = rng.integers(0, 2, n)
    texts = [s + ("oa" if k else "ie") for s, k in zip(stem, y, strict=True)]
    return parted(pl.DataFrame({"x": texts, "y": np.where(y == 1, "a", "b")}), "text")


def bench(data: Data, folder: Path, late: bool = False) -> Workbench:
    clock = lambda name, seconds: Clock(float("inf"))  # noqa: E731
    return Workbench(data, "log-loss", 0, folder, lambda event, **values: None, clock, lambda name: late)


def test_fewer_training_rows_leave_validation_and_test_rows_alone() -> None:
    data = sided()
    few = fewer(data, 50, seed=3)
    assert len(few.block("train")) == len(few.split["train"]) == 50
    assert set(few.split["train"]) < set(data.split["train"])
    for part in ("valid", "test"):
        assert few.split[part] is data.split[part] and few.block(part) is data.block(part)  # type: ignore[index, arg-type]
    at = np.searchsorted(data.split["train"], few.split["train"])
    assert torch.equal(few.block("train").x["x"], data.block("train").x["x"][at])
    assert np.array_equal(fewer(data, 50, seed=3).split["train"], few.split["train"])
    assert not np.array_equal(fewer(data, 50, seed=4).split["train"], few.split["train"])


@pytest.mark.slow
def test_mirroring_is_dropped_where_it_changes_the_class(tmp_path: Path) -> None:
    data = sided()
    recipe, _ = design(data.spec, data.target, len(data.split["train"]))
    recipe = recipe.with_options(width=8).with_training(batch_size=32)
    chosen, finding = choose_augmentation(bench(data, tmp_path), recipe, TryPlan(rows=200, epochs=6, trials=4), STAGE)
    decisions = {row[0]: row[2] for row in finding.tables[0].rows}
    assert decisions["mirroring left to right"] == "dropped" and "flip" not in chosen.options
    values = [float(row[1]) for row in finding.tables[0].rows]  # type: ignore[arg-type]
    kept = [v for v, row in zip(values, finding.tables[0].rows, strict=True) if row[2] == "kept"]
    assert kept == sorted(kept, reverse=True)
    assert "mirroring" in finding.title


@pytest.mark.slow
def test_letters_are_chosen_where_whole_words_say_nothing(tmp_path: Path) -> None:
    data = endings()
    recipe, _ = design(data.spec, data.target, 240)
    words = next(r for r in alternatives(recipe, data.spec) if r.template == "word-conv")
    letters = next(r for r in alternatives(recipe, data.spec) if r.template == "char-conv")
    plan = TryPlan(rows=240, epochs=8, trials=2)
    chosen, finding = choose_template(bench(data, tmp_path), [words, letters], plan, STAGE)
    assert chosen.template == "char-conv"
    assert finding.measured["valid_log-loss_char-conv"] < finding.measured["valid_log-loss_word-conv"]  # type: ignore[operator]


def test_no_trial_but_the_first_is_begun_when_it_is_late(tmp_path: Path) -> None:
    data = endings(100)
    recipe, _ = design(data.spec, data.target, 60)
    chosen, finding = choose_template(
        bench(data, tmp_path, late=True),
        [recipe, *alternatives(recipe, data.spec)],
        TryPlan(rows=60, epochs=1, trials=3),
        STAGE,
    )
    assert chosen is recipe and len(finding.tables[0].rows) == 1


def test_without_time_for_trials_images_stay_as_they_are(tmp_path: Path) -> None:
    data = sided(60)
    recipe, _ = design(data.spec, data.target, 36)
    chosen, finding = choose_augmentation(bench(data, tmp_path), recipe, None, STAGE)
    assert chosen is recipe and "no time" in finding.title


@pytest.mark.parametrize("n_rows, seconds, rows", [(48_000, 80.0, 3333), (48_000, 800.0, 5000), (500, 80.0, 500)])
def test_short_trials_fit_their_share_of_the_time(n_rows: int, seconds: float, rows: int) -> None:
    plan = plan_trials(replace_epoch(n_rows * 0.3e-3), n_rows, seconds, trials=4, epochs=20, most=5000)
    assert plan is not None and plan.rows == rows
    assert 4 * plan.epochs * plan.rows * 0.3e-3 <= seconds * 1.001


def test_there_are_no_short_trials_where_they_would_see_too_few_rows() -> None:
    assert plan_trials(replace_epoch(60.0), 100_000, 10.0, trials=4) is None


def replace_epoch(seconds: float) -> StagePlan:
    return STAGE.model_copy(update={"epoch_seconds": seconds})


def test_restraints_are_off_in_the_first_stage_for_every_kind() -> None:
    for data in (sided(60), endings(60)):
        recipe, _ = design(data.spec, data.target, 36)
        restrained = recipe.with_options(
            **{k: True if k == "flip" else 0.2 for k in ("dropout", "flip") if k in recipe.defaults}
        )
        assert not any(unrestrained(restrained).options[k] for k in ("dropout", "flip") if k in recipe.defaults)


def test_the_plan_of_a_table_never_leaves_float32(binary_data: Data) -> None:
    recipe, _ = design(binary_data.spec, binary_data.target, 100)
    assert plan_memorising(recipe, binary_data, 1.0).precision == "float32"


def test_data_of_fewer_rows_keep_their_name() -> None:
    assert fewer(replace(sided(60), name="mine"), 5, 0).name == "mine"


def test_reading_pictures_tells_how_many_were_looked_at(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / "shop" / label).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(np.full((8, 8), 20 * i, dtype=np.uint8)).save(tmp_path / "shop" / label / f"{i}.png")
    told: list[dict[str, Any]] = []
    seen = read(Settings(data=str(tmp_path / "shop")), told.append)
    assert len(seen.frame) == 12
    assert told[-1] == {"event": "progress", "step": "look", "done": 12, "total": 12, "text": "files"}
