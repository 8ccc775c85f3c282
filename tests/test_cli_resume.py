"""Killed at any moment, a run is resumed and ends with the same weights as one that was never interrupted."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commandline import call, command, spawn, tree
from conftest import make_frame
from netwright.core.files import write_json

PLAN = {
    "learning_rate": 0.002,
    "stages": {"threads": 1, "epoch_seconds": 2.0, "memorise_epochs": 30, "trial_epochs": 6, "trials": 3},
}
OPTIONS = ("--target", "y", "--skip", "check", "--skip", "baselines", "--skip", "attack", "--skip", "explain")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never interrupted; its plan is in it."""
    place = tmp_path_factory.mktemp("whole")
    make_frame(600).drop("z").write_csv(place / "data.csv")
    write_json(place / "plan.json", PLAN)
    ended = spawn("run", place / "data.csv", *OPTIONS, "--plan", place / "plan.json", "--out", place / "run")
    assert ended.code == 0, ended.err
    return place / "run"


def start(arguments: list[object], log: Path) -> subprocess.Popen[bytes]:
    """A command in a process of its own, its output in a file."""
    with log.open("ab") as file:
        return subprocess.Popen(command(*arguments), stdout=file, stderr=file)


def wait_for(process: subprocess.Popen[bytes], ready: Any, seconds: float = 90.0) -> None:
    """Wait until something is there (or the process has ended by itself)."""
    end = time.monotonic() + seconds
    while process.poll() is None and not ready():
        assert time.monotonic() < end, "what was waited for never came"
        time.sleep(0.005)


def epochs(folder: Path) -> int:
    """How many epochs the run has told of."""
    path = folder / "events.jsonl"
    return path.read_text().count('"event": "epoch"') if path.exists() else 0


def card(folder: Path) -> dict[str, Any]:
    """The model's description, without the times that its epochs took."""
    values: dict[str, Any] = json.loads((folder / "model" / "model.json").read_text())
    for row in values["history"]:
        row.pop("seconds")
    return values


def assert_same_end(folder: Path, whole: Path) -> None:
    """The same weights bit for bit, the same history and calibration, the same findings, nothing half-written."""
    weights = "model/weights.safetensors"
    assert (folder / weights).read_bytes() == (whole / weights).read_bytes()
    assert card(folder) == card(whole)
    found, expected = (json.loads((f / "findings.json").read_text()) for f in (folder, whole))
    assert list(found) == list(expected)
    for step in found:
        assert [(f["probe"], f["verdict"], f["title"]) for f in found[step]] == [
            (f["probe"], f["verdict"], f["title"]) for f in expected[step]
        ]
    assert not [p for p in tree(folder) if p.name.endswith(".tmp")]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_run_killed_at_random_moments_ends_with_the_same_weights(whole: Path, tmp_path: Path, seed: int) -> None:
    rng, out, log = np.random.default_rng(seed), tmp_path / "run", tmp_path / "log"
    data, plan = whole.parent / "data.csv", whole / "plan.json"
    process = start(["run", data, *OPTIONS, "--plan", plan, "--out", out], log)
    wait_for(process, lambda: (out / "settings.json").exists())
    kills = 0
    for _ in range(4):
        moment = epochs(out) + int(rng.integers(1, 14))
        wait_for(process, lambda moment=moment: epochs(out) >= moment)
        time.sleep(float(rng.uniform(0, 0.05)))
        if process.poll() is not None:
            break
        process.kill()
        assert process.wait() == -signal.SIGKILL
        kills += 1
        process = start(["resume", out], log)
    assert process.wait(timeout=180) == 0, log.read_text()
    assert kills, "the run was over before it could be killed"
    assert_same_end(out, whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "SIGTERM")]
)
def test_an_interrupted_run_says_how_to_go_on_and_does(
    whole: Path, tmp_path: Path, sent: signal.Signals, code: int, word: str
) -> None:
    out, log = tmp_path / "run", tmp_path / "log"
    process = start(["run", whole.parent / "data.csv", *OPTIONS, "--plan", whole / "plan.json", "--out", out], log)
    wait_for(process, lambda: epochs(out) >= 3)
    process.send_signal(sent)
    assert process.wait(timeout=60) == code, log.read_text()
    last = log.read_text().splitlines()[-1]
    assert word in last and last.endswith(f"netwright resume {out}")
    assert "Traceback" not in log.read_text()
    assert not [p for p in tree(out) if p.name.endswith(".tmp")]
    assert call("resume", out).code == 0
    assert_same_end(out, whole)


def test_ctrl_c_before_anything_was_written_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data.csv").write_text("a,y\n1,2\n")

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("netwright.workflow.main.run", interrupt)
    ended = call("run", tmp_path / "data.csv", "--target", "y", "--out", tmp_path / "run")
    assert (ended.code, ended.out, ended.err) == (130, "", "interrupted; nothing was written\n")
