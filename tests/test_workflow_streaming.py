"""A run on a table that stays on disk: a sample decides everything, all rows train the network at the end."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.torch import load_file

from netwright.core.errors import DataError, UsageError
from netwright.data.parquet import ParquetTable
from netwright.data.read import look
from netwright.data.sample import draw
from netwright.model import Model
from netwright.train.checkpoint import save_checkpoint
from netwright.workflow import streaming
from netwright.workflow.main import Result, resume, run
from netwright.workflow.plans import StagePlan, plan_streaming
from netwright.workflow.publish import commands, new_rows
from netwright.workflow.settings import Settings
from netwright.workflow.streaming import long_table

N = 12_000
PLAN = {
    "memorise": {"threads": 1, "epoch_seconds": 0.05, "epochs": 3},
    "regularise": {"threads": 1, "epoch_seconds": 0.05, "epochs": 10},
    "average_epochs": 0,
    "seconds_per_baseline": 2.0,
    "stream": {"shards": 2, "epochs": 4, "epoch_seconds": 5.0},
    "learning_rate": 0.002,
}
SKIP = ("check", "attack", "explain")


class Interrupted(BaseException):
    """Stands in for a kill."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two Parquet files whose target is decided by a product: a few hundred rows teach it badly."""
    folder = tmp_path_factory.mktemp("data") / "clicks"
    folder.mkdir()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, 5))
    score = x[:, 0] * x[:, 1] + 0.7 * np.sin(2 * x[:, 2]) + 0.1 * rng.standard_normal(N)
    frame = pl.DataFrame(x, schema=[f"x{k}" for k in range(5)]).with_columns(
        shop=pl.Series([f"s{k}" for k in rng.integers(0, 4, N)]), y=pl.Series(np.where(score > 0, "yes", "no").tolist())
    )
    frame[:7_000].write_parquet(folder / "a.parquet")
    frame[7_000:].write_parquet(folder / "b.parquet")
    return folder


@pytest.fixture(autouse=True)
def small_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "draw", partial(draw, rows=600, held_out=900))


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "plan.json"
    path.write_text(json.dumps(PLAN))
    return path


@pytest.fixture(scope="module")
def whole(folder: Path, plan: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "draw", partial(draw, rows=600, held_out=900))
        out = tmp_path_factory.mktemp("runs") / "whole"
        return run(folder, target="y", out=out, plan=plan, minutes=10, stream=True, skip=SKIP)


def finding(result: Result, probe: str) -> Any:
    return next(f for found in result.findings.values() for f in found if f.probe == probe)


@pytest.mark.slow
def test_all_rows_train_the_network_where_that_is_better_on_validation_rows(whole: Result) -> None:
    found = finding(whole, "train-on-all-rows")
    n_train = found.measured["train_rows"]
    assert 9_900 < n_train < 10_500 and found.measured["kept"] and found.measured["gain"] > 0.02
    assert found.measured["rows_seen"] == 4 * (n_train // 2)
    recipe = json.loads((whole.folder / "recipe.json").read_text())
    steps = 4 * (n_train // 2 // recipe["training"]["batch_size"])
    assert whole.model.history.rows[-1]["step"] == steps


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_the_user_is_told_of_the_sample(whole: Result) -> None:
    told = [e["text"] for e in events(whole.folder) if e["event"] == "warning"]
    assert any(t.startswith("12,000 rows") and "stay on disk" in t and "training rows" in t for t in told)
    assert finding(whole, "columns").measured["format"] == "Parquet, sampled"
    sizes = finding(whole, "split").measured
    assert sizes["train"] < 700 and sizes["valid"] < 1_000 and sizes["test"] < 1_000


@pytest.mark.slow
def test_a_streamed_run_that_was_interrupted_in_mid_epoch_ends_with_the_same_weights(
    folder: Path, whole: Result, plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def kill(event: dict[str, Any]) -> None:
        if event["event"] == "epoch" and event["stage"] == "stream":
            seen.append(event)
            if len(seen) == 2:
                raise Interrupted

    monkeypatch.setattr("netwright.train.hooks.Checkpoint.on_step", _store_often)
    with pytest.raises(Interrupted):
        run(folder, target="y", out=tmp_path / "run", plan=plan, minutes=10, stream=True, skip=SKIP, listener=kill)
    result = resume(tmp_path / "run")
    one, other = (load_file(r.folder / "model" / "weights.safetensors") for r in (result, whole))
    assert all((one[k] == other[k]).all() for k in other)


def _store_often(self: Any, state: Any) -> None:
    if state.step % 7 == 3 and state.step % state.steps_per_epoch:
        save_checkpoint(self.path, state)


@pytest.mark.slow
def test_the_model_of_a_streamed_run_predicts_rows_of_the_table(folder: Path, whole: Result) -> None:
    frame = ParquetTable(folder).read(0, 500)
    model = Model.load(whole.folder / "model")
    right = (model.predict(frame) == frame["y"].to_numpy()).mean()
    assert right > 0.85


@pytest.mark.slow
def test_commands_repeat_a_streamed_run_on_the_table_itself(folder: Path, whole: Result) -> None:
    settings = Settings.model_validate(json.loads((whole.folder / "settings.json").read_text()))
    line = commands(whole.folder, settings, None)[0]
    assert line.startswith(f"netwright run {folder} --target y") and "--stream" in line and "split-column" not in line
    assert settings.data == str(whole.folder.absolute() / "data.parquet") and new_rows(settings) == "new.parquet"


def test_a_table_streams_by_itself_where_it_takes_more_than_a_quarter_of_the_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Settings(data=str(folder), target="y")
    size = ParquetTable(folder).n_bytes
    monkeypatch.setattr(streaming, "memory", lambda: 4 * size)
    assert long_table(asked) is None
    monkeypatch.setattr(streaming, "memory", lambda: 4 * size - 4)
    assert long_table(asked) is not None
    assert long_table(asked.model_copy(update={"stream": False})) is None
    assert long_table(asked.model_copy(update={"group": "shop"})) is None


def test_what_cannot_stream_is_refused_before_a_folder_is_made(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,y\n" + "1,a\n2,b\n" * 20)
    with pytest.raises(UsageError, match="save the table as Parquet"):
        run(tmp_path / "t.csv", target="y", out=tmp_path / "run", stream=True)
    with pytest.raises(UsageError, match="--split-column"):
        run(folder, target="y", group="shop", out=tmp_path / "run", stream=True)
    with pytest.raises(UsageError, match="--target"):
        run(folder, out=tmp_path / "run", stream=True)
    with pytest.raises(DataError, match="'z'"):
        run(folder, target="z", out=tmp_path / "run", stream=True)
    assert not (tmp_path / "run").exists()


def test_a_small_folder_of_parquet_files_is_read_into_memory(folder: Path) -> None:
    seen = look(folder)
    assert seen.frame.height == N and seen.format == "Parquet"
    assert (
        seen.frame["x0"].to_list()
        == ParquetTable(folder).read(0, 7_000)["x0"].to_list() + ParquetTable(folder).read(7_000, N)["x0"].to_list()
    )


def test_a_plan_of_streaming_fills_its_time_and_evaluates_at_least_four_times() -> None:
    stage = StagePlan(threads=1, epoch_seconds=2.0, epochs=9)  # 100,000 rows a second
    short = plan_streaming(20_000_000, stage, 200_000, 50, 8.0)
    assert short.epochs == 4 and short.epochs * short.epoch_seconds <= 8.001 and 99 < short.shards <= 101
    long = plan_streaming(20_000_000, stage, 200_000, 2, 10_000.0)
    assert long.shards == 20 and long.epochs == 40  # two passes are enough
    small = plan_streaming(300_000, stage, 200_000, 50, 30.0)
    assert small.shards == 1 and small.epochs == 10
