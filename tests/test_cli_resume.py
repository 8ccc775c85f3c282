"""Killed at any moment, a run is resumed and ends with the same weights as one that was never interrupted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commandline import call, spawn, tree
from conftest import make_frame
from netwright.core.files import write_json
from netwright.train.checkpoint import load_tensors

PLAN = {
    "learning_rate": 0.002,
    "memorise": {"threads": 1, "epoch_seconds": 2.0, "epochs": 30},
    "regularise": {"threads": 1, "epoch_seconds": 2.0, "epochs": 60},
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


OFTEN = """
import sys
from netwright.train.hooks import Checkpoint
Checkpoint.__init__.__defaults__ = (0.1,)
from netwright.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
"""The command, with a checkpoint ten times a second, so that a short run is killed and resumed in the midst of its stages."""


def start(arguments: list[object], log: Path) -> subprocess.Popen[bytes]:
    """A command in a process of its own, its output in a file."""
    with log.open("ab") as file:
        return subprocess.Popen([sys.executable, "-c", OFTEN, *map(str, arguments)], stdout=file, stderr=file)


def in_midst(folder: Path) -> bool:
    """Whether there is a checkpoint of a training that has not come to its end."""
    stored = [load_tensors(path)[1] for path in (folder / "checkpoints").glob("*.safetensors")]
    return any(not values["stop"] and 0 < values["step"] < total_steps(values) for values in stored)


def total_steps(values: dict[str, Any]) -> int:
    """How many steps the training of a checkpoint has at most."""
    return int(values["steps_per_epoch"]) * int(values["settings"]["epochs"])


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
    midst = []
    for _ in range(4):
        moment = epochs(out) + int(rng.integers(1, 14))
        wait_for(process, lambda moment=moment: epochs(out) >= moment)
        time.sleep(float(rng.uniform(0, 0.05)))
        if process.poll() is not None:
            break
        process.kill()
        assert process.wait() == -signal.SIGKILL
        midst.append(in_midst(out))
        process = start(["resume", out], log)
    assert process.wait(timeout=180) == 0, log.read_text()
    assert any(midst), "it was never killed in the midst of a training, so nothing was tested"
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
