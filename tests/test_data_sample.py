"""A sample of a long table: drawn evenly over all of it, its parts those that the stream of all rows leaves out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from netwright.core.errors import DataError
from netwright.data import sample as module
from netwright.data.encode import fit_inputs, fit_target
from netwright.data.parquet import ParquetTable
from netwright.data.parts import TEST, VALID
from netwright.data.sample import draw
from netwright.data.stream import ParquetStream

N = 40_000


def table(rare: int = 12) -> pl.DataFrame:
    """Rows that know their number; a class of `rare` rows in all, and a target that is missing in every 100th row."""
    rng = np.random.default_rng(0)
    y = np.where(rng.random(N) < 0.3, "yes", "no").astype(object)
    y[rng.choice(N, rare, replace=False)] = "rare"
    y[::100] = None
    parts = np.array(["train", "test"])[(rng.random(N) < 0.3).astype(int)]
    return pl.DataFrame(
        {
            "number": np.arange(N),
            "word": [f"w{k}" for k in rng.integers(0, 9, N)],
            "y": y.tolist(),
            "given": parts.tolist(),
        }
    )


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "_SCAN_ROWS", 3_000)
    table().write_parquet(tmp_path / "t.parquet", row_group_size=5_000)
    return tmp_path / "t.parquet"


def test_a_sample_has_the_wanted_size_and_is_drawn_evenly_over_the_table(path: Path) -> None:
    drawn = draw(ParquetTable(path), "y", seed=0, rows=8_000, held_out=1_000)
    sizes = dict(drawn.frame["part"].value_counts().iter_rows())
    assert 7_700 < sizes["train"] < 8_300 and 900 < sizes["valid"] < 1_100 and 900 < sizes["test"] < 1_100
    numbers = drawn.frame.filter(pl.col("part") == "train")["number"].to_numpy()
    assert np.abs(np.histogram(numbers, 10, (0, N))[0] / len(numbers) - 0.1).max() < 0.012
    assert np.array_equal(drawn.frame["number"], np.sort(drawn.frame["number"]))
    assert drawn.frame["y"].null_count() == 0
    assert drawn.warnings == ("400 rows without the target 'y' left out",)


def test_cells_of_a_sample_are_those_of_the_table(path: Path) -> None:
    drawn = draw(ParquetTable(path), "y", seed=0, rows=500, held_out=100)
    assert drawn.frame.drop("part").equals(table()[drawn.frame["number"].to_list()])


def test_the_same_seed_draws_the_same_rows_and_another_seed_others(path: Path) -> None:
    one, same, other = (draw(ParquetTable(path), "y", seed=s, rows=500, held_out=100).frame for s in (0, 0, 1))
    assert one.equals(same)
    assert len(set(one["number"]) & set(other["number"])) < 0.1 * len(one)


@pytest.mark.parametrize("split_column", [None, "given"])
def test_rows_that_validate_and_test_are_none_of_the_stream(path: Path, split_column: str | None) -> None:
    drawn = draw(ParquetTable(path), "y", seed=3, split_column=split_column, rows=2_000, held_out=1_500)
    train = drawn.frame.filter(pl.col("part") == "train")
    spec, target = fit_inputs(train, {"number": "number"}), fit_target(train["y"], "classes")
    stream = ParquetStream(ParquetTable(path), drawn.rule, spec, target)
    streamed = set(stream.take(torch.arange(len(stream))).x["numbers"][:, 0].long().tolist())
    assert len(stream) == len(streamed)
    assert abs(len(streamed) - drawn.n_train) < 150
    held_out = set(drawn.frame.filter(pl.col("part") != "train")["number"])
    assert len(held_out) > 2_000 and not held_out & streamed
    assert set(train["number"]) <= streamed


def test_a_column_that_names_the_parts_is_believed_and_left_out(path: Path) -> None:
    drawn = draw(ParquetTable(path), "y", seed=0, split_column="given", rows=2_000, held_out=1_000)
    assert "given" not in drawn.frame.columns
    named = table()["given"].to_numpy()
    rows, parts = drawn.frame["number"].to_numpy(), drawn.frame["part"].to_numpy()
    assert set(named[rows[parts == "test"]]) == {"test"} and set(named[rows[parts != "test"]]) == {"train"}
    assert 900 < (parts == "valid").sum() < 1_100  # of the training rows, which name none
    assert drawn.rule.test == 0.0 and (drawn.rule(table(), 0) == TEST).sum() > 10_000


def test_every_class_comes_into_the_sample_however_rare(path: Path) -> None:
    drawn = draw(ParquetTable(path), "y", seed=0, rows=400, held_out=100)
    whole = table()
    codes = drawn.rule(whole, 0)
    training = int(((whole["y"] == "rare").fill_null(False).to_numpy() & (codes != VALID) & (codes != TEST)).sum())
    assert (drawn.frame.filter(pl.col("part") == "train")["y"] == "rare").sum() == training >= 10


def test_a_small_table_is_a_sample_of_itself(path: Path) -> None:
    drawn = draw(ParquetTable(path), "y", seed=0)
    assert len(drawn.frame) == N - 400
    shares = drawn.frame["part"].value_counts().sort("part")["count"].to_numpy() / (N - 400)
    assert np.allclose(shares, [0.20, 0.64, 0.16], atol=0.01)


def test_a_column_named_part_keeps_its_name(path: Path, tmp_path: Path) -> None:
    table().rename({"word": "part"}).write_parquet(tmp_path / "u.parquet")
    drawn = draw(ParquetTable(tmp_path / "u.parquet"), "y", seed=0, rows=500, held_out=100)
    assert drawn.part == "part of the split" and drawn.frame["part"][0].startswith("w")


def test_a_target_that_is_not_there_or_everywhere_missing_is_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no target column 'z'"):
        draw(ParquetTable(path), "z", seed=0)
    table().with_columns(y=pl.lit(None, pl.String)).write_parquet(tmp_path / "v.parquet")
    with pytest.raises(DataError, match="0 training rows with a target"):
        draw(ParquetTable(tmp_path / "v.parquet"), "y", seed=0)
