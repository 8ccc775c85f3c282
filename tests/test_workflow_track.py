"""Curves elsewhere: each number once, however often a run is resumed; nothing of the training changes; nothing is hidden."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import netwright as nw
from commandline import call
from conftest import TINY_PLAN, make_frame
from netwright.core.errors import SetupError, UsageError
from netwright.core.files import read_json, write_json
from netwright.core.run import Run
from netwright.workflow import track
from netwright.workflow.main import resume, run
from netwright.workflow.publish import commands
from netwright.workflow.settings import Settings
from netwright.workflow.track import Receiver, flat, require, scores_of, tracked
from netwright.workflow.writers import MLflow

SKIP = ("check", "attack", "explain")


class Interrupted(BaseException):
    """Stands in for a kill: nothing in the product may catch it."""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "colours.csv"
    make_frame(300).drop("z").write_csv(path)
    write_json(path.parent / "plan.json", TINY_PLAN)
    return path


def started(table: Path, out: Path, kill_at: int = 0, **settings: Any) -> None:
    """A run, ended before anybody but the file has heard of its epoch number `kill_at`."""
    seen = 0

    def kill(record: dict[str, Any]) -> None:
        nonlocal seen
        seen += record["event"] == "epoch"
        if seen == kill_at:
            seen += 1
            raise Interrupted

    run(
        table,
        target="y",
        out=out,
        plan=table.parent / "plan.json",
        skip=SKIP,
        listener=kill if kill_at else None,
        **settings,
    )


def told(folder: Path) -> dict[str, dict[int, dict[str, float]]]:
    """The numbers of each epoch of each stage, as they were told first."""
    found: dict[str, dict[int, dict[str, float]]] = {}
    for event in Run(folder).events():
        if event["event"] == "epoch":
            numbers = {k: v for k, v in event.items() if k not in ("time", "event", "stage", "epoch", "step")}
            found.setdefault(event["stage"], {}).setdefault(event["epoch"], numbers)
    return found


# --- what is not installed, and what is wrong -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_without_the_extra_nothing_is_begun_and_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None if module == name else real(module))
    missing = tmp_path / "not-there.csv"  # which would be the next thing to be noticed
    ended = call("run", missing, "--target", "y", "--track", name, "--out", tmp_path / "run")
    assert ended.code == 4 and ended.out == ""
    assert f"--track {name} needs {name}" in ended.err and "pip install 'netwright[track]'" in ended.err
    with pytest.raises(SetupError, match=rf"--track {name} needs {name}"):
        run(missing, target="y", out=tmp_path / "run", track=(name,))
    write_json(tmp_path / "settings.json", Settings(data="x.csv", target="y", track=(name,)).model_dump(mode="json"))  # type: ignore[arg-type]
    with pytest.raises(SetupError, match=rf"--track {name} needs {name}"):
        resume(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"settings.json"}
    require(())


def test_an_unknown_writer_is_refused(tmp_path: Path) -> None:
    ended = call("run", tmp_path / "not-there.csv", "--target", "y", "--track", "mlfow")
    assert ended.code == 2 and "did you mean 'mlflow'?" in ended.err
    with pytest.raises(UsageError, match="tensorboard"):
        nw.run(tmp_path / "not-there.csv", target="y", track=("mlfow",))


def test_the_command_that_repeats_a_run_tracks_it_too(tmp_path: Path) -> None:
    settings = Settings(data="d.csv", target="y", track=("tensorboard", "mlflow"))
    assert "--track tensorboard --track mlflow" in commands(tmp_path, settings, None)[0]


@pytest.mark.slow
def test_neither_library_is_imported_before_it_is_asked_for() -> None:
    code = "import sys, netwright.workflow.main; print({'tensorboard', 'mlflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- the contract -----------------------------------------------------------------------------------------------------


class Memory:
    """A writer that keeps what it is told; `stored` are numbers from before."""

    def __init__(self, stored: Mapping[str, set[tuple[str, int]]] | None = None) -> None:
        self.stored, self.calls = stored or {}, list[tuple[Any, ...]]()

    def there(self, stage: str) -> set[tuple[str, int]]:
        return set(self.stored.get(stage, set()))

    def training(self, *values: Any) -> None:
        self.calls.append(("training", *values))

    def epoch(self, *values: Any) -> None:
        self.calls.append(("epoch", *values))

    def result(self, *values: Any) -> None:
        self.calls.append(("result", *values))

    def close(self, status: str) -> None:
        self.calls.append(("close", status))


TRAINING = {
    "event": "training",
    "stage": "a",
    "change": "plain",
    "metric": "mae",
    "recipe": {"training": {"epochs": 3}},
}


def epoch(number: int, **values: float) -> dict[str, Any]:
    return {"event": "epoch", "stage": "a", "time": 10.0 + number, "epoch": number, "step": 5 * number, **values}


def test_a_number_that_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    writer = Memory({"a": {("loss", 1), ("speed", 1), ("loss", 2)}})
    receive = Receiver(tmp_path, writer)
    for event in [TRAINING, epoch(1, loss=5.0, speed=9.0), epoch(2, loss=4.0, speed=8.0), epoch(3, loss=3.0)]:
        receive(event)
    for event in [TRAINING, epoch(2, loss=4.0, speed=7.0), epoch(3, loss=3.0), epoch(4, loss=2.0)]:  # resumed
        receive(event)
    assert writer.calls == [
        ("training", "a", "plain", {"training.epochs": 3}, "mae"),
        ("epoch", "a", 2, 12.0, {"speed": 8.0}),
        ("epoch", "a", 3, 13.0, {"loss": 3.0}),
        ("epoch", "a", 4, 14.0, {"loss": 2.0}),
    ]


def a_run(folder: Path) -> Run:
    return Run.create(folder, {"data": "d.csv"})


def test_events_of_before_come_first_and_the_listener_stays_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, order, writer = a_run(tmp_path / "run"), list[str](), Memory()
    monkeypatch.setattr(track, "WRITERS", {"mlflow": lambda folder: writer})
    made.event(**TRAINING)  # type: ignore[arg-type]
    made.event("epoch", stage="a", epoch=1, loss=5.0)
    made.listener = listener = lambda event: order.append(f"{event['event']} before {len(writer.calls)}")
    with tracked(made, ("mlflow", "mlflow")):
        made.event("epoch", stage="a", epoch=2, loss=4.0)
    assert made.listener is listener and order == ["epoch before 2"]
    assert [c[0] for c in writer.calls] == ["training", "epoch", "epoch", "close"]
    assert [c[2] for c in writer.calls[1:3]] == [1, 2] and writer.calls[3] == ("close", "FINISHED")


@pytest.mark.parametrize(("raised", "status"), [(KeyboardInterrupt, "KILLED"), (UsageError, "FAILED")])
def test_how_a_run_ended_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: type[BaseException], status: str
) -> None:
    made, writer = a_run(tmp_path / "run"), Memory()
    monkeypatch.setattr(track, "WRITERS", {"mlflow": lambda folder: writer})
    with pytest.raises(raised), tracked(made, ("mlflow",)):
        raise raised
    assert writer.calls == [("close", status)]


@pytest.mark.parametrize("fails", ["epoch", "close"])
def test_a_writer_that_fails_is_left_out_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    made, good, bad = a_run(tmp_path / "run"), Memory(), Memory()

    def fail(*_: Any) -> None:
        raise RuntimeError("server\n  away")

    monkeypatch.setattr(bad, fails, fail)
    monkeypatch.setattr(track, "WRITERS", {"mlflow": lambda folder: bad, "tensorboard": lambda folder: good})
    with tracked(made, ("mlflow", "tensorboard")):
        made.event(**TRAINING)  # type: ignore[arg-type]
        made.event("epoch", stage="a", epoch=1, loss=5.0)
        made.event("epoch", stage="a", epoch=2, loss=4.0)
    warnings = [e["text"] for e in made.events() if e["event"] == "warning"]
    assert warnings == ["nothing more goes to mlflow: RuntimeError: server away; netwright resume fills it in"]
    assert [c[0] for c in good.calls] == ["training", "epoch", "epoch", "close"]


def test_a_writer_that_cannot_begin_ends_the_run_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> Memory:
        raise RuntimeError("no such server")

    monkeypatch.setattr(track, "WRITERS", {"mlflow": refuse})
    made = a_run(tmp_path / "run")
    words = "--track mlflow cannot begin: RuntimeError: no such server"
    with pytest.raises(SetupError, match=words), tracked(made, ("mlflow",)):
        raise AssertionError("it has begun")


# --- both libraries, a run that was killed ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run tracked by both, killed in its sixth epoch, when half of what it had written was lost; then resumed, twice."""
    pytest.importorskip("tensorboard")
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    folder = tmp_path_factory.mktemp("a folder") / "run 1"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
        with pytest.MonkeyPatch.context() as lost:
            lost.setattr(MLflow, "close", lambda self, status: None)
            with pytest.raises(Interrupted):
                started(table, folder, kill_at=6, track=("tensorboard", "mlflow"))
        for file in folder.rglob("events.out.tfevents.*"):
            file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
        resume(folder)
        resume(folder)
    return folder


@pytest.mark.slow
def test_tracking_changes_no_weight(both: Path, table: Path, tmp_path: Path) -> None:
    started(table, tmp_path / "plain")
    tracked_one, plain = (load_file(f / "model" / "weights.safetensors") for f in (both, tmp_path / "plain"))
    assert all(bool((tracked_one[name] == plain[name]).all()) for name in plain)
    assert told(both).keys() == told(tmp_path / "plain").keys()


@pytest.mark.slow
def test_a_finished_run_that_is_resumed_keeps_the_recipe_of_its_network(both: Path) -> None:
    assert read_json(both / "recipe.json") == read_json(both / "model" / "model.json")["recipe"]


@pytest.mark.slow
def test_tensorboard_reads_every_epoch_once_with_its_numbers_and_its_time(both: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    expected = told(both)
    assert len(expected) >= 2 and sum(map(len, expected.values())) >= 8
    assert {p.name for p in (both / "tensorboard").iterdir()} == {*expected, "result"}
    times = {(e["stage"], e["epoch"]): e["time"] for e in reversed(Run(both).events()) if e["event"] == "epoch"}
    for stage, epochs in expected.items():
        stored = EventAccumulator(str(both / "tensorboard" / stage)).Reload()
        assert set(stored.Tags()["scalars"]) == {name for numbers in epochs.values() for name in numbers}
        for name in stored.Tags()["scalars"]:
            points = stored.Scalars(name)
            assert [p.step for p in points] == sorted(epochs)
            assert [p.value for p in points] == pytest.approx([epochs[p.step][name] for p in points], rel=1e-6)
            assert all(p.wall_time == pytest.approx(times[stage, p.step]) for p in points)


@pytest.mark.slow
def test_tensorboard_knows_settings_and_scores(both: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    def settings(stage: str) -> dict[str, Any]:
        stored = EventAccumulator(str(both / "tensorboard" / stage)).Reload()
        content = stored.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        found = HParamsPluginData.FromString(content).session_start_info.hparams
        return {k: v.number_value if v.HasField("number_value") else v.string_value for k, v in found.items()}

    recipe = read_json(both / "recipe.json")
    assert settings("stage1")["training.epochs"] == TINY_PLAN["memorise"]["epochs"]  # type: ignore[index]
    assert settings("stage1")["template"] == recipe["template"]
    result = settings("result")
    assert result["recipe.training.learning_rate"] == recipe["training"]["learning_rate"] and result["target"] == "y"
    stored = EventAccumulator(str(both / "tensorboard" / "result")).Reload()
    scores = scores_of(read_json(both / "summary.json"))
    assert {name: [p.value for p in stored.Scalars(name)] for name in stored.Tags()["scalars"]} == {
        name: [pytest.approx(value, rel=1e-6)] for name, value in scores.items()
    }


@pytest.mark.slow
def test_mlflow_has_a_run_for_each_training_with_every_epoch_once(both: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{both / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("netwright")
    runs = client.search_runs([experiment.experiment_id])
    parent = read_json(both / "mlflow.json")["run_id"]
    assert {r.info.status for r in runs} == {"FINISHED"}
    below = {r.info.run_name: r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent}
    expected = told(both)
    assert len(runs) == len(below) + 1 and below.keys() == expected.keys()
    for stage, epochs in expected.items():
        assert below[stage].data.metrics.keys() == {name for numbers in epochs.values() for name in numbers}
        for name in below[stage].data.metrics:
            points = sorted(client.get_metric_history(below[stage].info.run_id, name), key=lambda m: m.step)
            assert [p.step for p in points] == sorted(epochs)
            assert [p.value for p in points] == pytest.approx([epochs[p.step][name] for p in points])
    first = below["stage1"].data.params
    assert first["training.epochs"] == str(TINY_PLAN["memorise"]["epochs"])  # type: ignore[index]


@pytest.mark.slow
def test_mlflow_has_the_recipe_the_scores_and_the_report(both: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{both / 'mlflow.db'}")
    found = client.get_run(read_json(both / "mlflow.json")["run_id"])
    recipe = {f"recipe.{k}": str(v) for k, v in flat(read_json(both / "recipe.json"))}
    assert recipe.items() <= found.data.params.items() and found.data.params["target"] == "y"
    assert found.data.metrics == pytest.approx(scores_of(read_json(both / "summary.json")))
    assert all(len(client.get_metric_history(found.info.run_id, name)) == 1 for name in found.data.metrics)
    report = client.download_artifacts(found.info.run_id, "report.html", str(tmp_path))
    assert Path(report).read_bytes() == (both / "report.html").read_bytes()


@pytest.mark.slow
def test_mlflow_goes_where_its_variables_say(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    uri = f"sqlite:///{tmp_path / 'shared.db'}"
    client = mlflow.MlflowClient(uri)
    client.create_experiment("mine", (tmp_path / "artifacts").as_uri())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        writer = MLflow(folder)
        writer.training("stage1", "plain", {f"option.{k}": k for k in range(150)}, "mae")
        writer.close("FINISHED")
        assert not (folder / "mlflow.db").exists()
    again = MLflow(tmp_path / "b")
    assert again.parent == writer.parent and again.runs == writer.runs
    (tmp_path / "b" / "mlflow.json").write_text(json.dumps({"run_id": "0" * 32}))  # the store has lost it
    assert MLflow(tmp_path / "b").parent not in ("0" * 32, writer.parent)
    runs = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert sorted(r.info.run_name for r in runs) == ["a", "b", "b", "stage1", "stage1"]
    assert {len(r.data.params) for r in runs if r.info.run_name == "stage1"} == {150}
