"""Several networks in a run, and how its trainings are computed: options of the command line, as a user gives them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commandline import Ended, call, refused
from conftest import make_frame
from netwright.losses.metrics import score
from netwright.model import Model
from netwright.workflow.main import run as run_job
from netwright.workflow.prepare import look_at, split_and_encode
from netwright.workflow.settings import Settings

STAGES = {"epochs": 4, "epoch_seconds": 0.05}
SKIP = [word for step in ("check", "attack", "explain") for word in ("--skip", step)]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "colours.csv"
    make_frame(240).drop("z").write_csv(path)
    return path


def a_plan(folder: Path, table: Path, **way: Any) -> Path:
    settings = Settings(data=str(table), target="y")
    stage = {"threads": 1, **STAGES, **way}
    plan = {"memorise": stage, "regularise": {**stage, "epochs": 21}, "learning_rate": 0.002, "average_epochs": 0}
    fingerprint = split_and_encode(look_at(settings), settings).fingerprint
    (folder / "plan.json").write_text(json.dumps({**plan, "fingerprint": fingerprint}))
    return folder / "plan.json"


def started(table: Path, out: Path, *options: Any) -> Ended:
    """A run of half a minute at most."""
    ended = call("run", table, "--target", "y", "--minutes", 0.5, "--out", out, *SKIP, *options)
    assert ended.code == 0, ended.err
    return ended


def finding(out: Path, step: str, probe: str) -> Any:
    found = json.loads((out / "findings.json").read_text())[step]
    return next((f for f in found if f["probe"] == probe), None)


# --- several networks -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_score_on_the_test_rows_has_its_spread_over_members(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    started(table, out, "--members", 3, "--plan", a_plan(tmp_path, table))
    found, summary = finding(out, "compare", "members-on-test-rows"), json.loads((out / "summary.json").read_text())
    assert found["measured"]["members"] == 3 and "log-loss" in found["title"]
    (spread,) = found["tables"]
    assert len(spread["rows"]) == 3 and set(spread["columns"]) == {"member", *summary["network"]["network"]}
    for k, metric in enumerate(spread["columns"][1:], 1):
        values = [row[k] for row in spread["rows"]]
        stored = summary["network"]["member"][metric]
        assert stored["value"] == pytest.approx(np.mean(values))
        assert found["measured"][f"deviation_{metric}"] == pytest.approx(np.std(values, ddof=1))
        assert min(values) <= stored["low"] <= stored["high"] <= max(values)
    assert "each alone on the test rows" in (out / "report.html").read_text()
    settings = Settings(data=str(table), target="y")
    data = split_and_encode(look_at(settings), settings)
    together = Model.load(out / "checkpoints" / "members")
    first = together.module.members[0]  # it is that of stage 2
    accuracy = score("accuracy", data.y("test"), first(data.block("test").x).softmax(1).detach().numpy())
    assert accuracy == pytest.approx(spread["rows"][0][spread["columns"].index("accuracy")])


@pytest.mark.slow
def test_one_network_has_no_spread(table: Path, tmp_path: Path) -> None:
    started(table, tmp_path / "run", "--members", 1, "--plan", a_plan(tmp_path, table))
    assert finding(tmp_path / "run", "compare", "members-on-test-rows") is None
    assert set(json.loads((tmp_path / "run" / "summary.json").read_text())["network"]) == {"network"}


@pytest.mark.slow
def test_the_best_of_the_restarts_is_the_model_and_folds_are_reported_beside_it(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    started(table, out, "--restarts", 3, "--folds", 3, "--plan", a_plan(tmp_path, table))
    starts = finding(out, "train", "restarts")
    values = [row[1] for row in starts["tables"][0]["rows"]]
    assert len(values) == 3 and starts["measured"]["valid_log-loss"] == min(values)
    folds = finding(out, "train", "cross-validate")
    assert len(folds["tables"][0]["rows"]) == 3 and np.isfinite(folds["measured"]["mean_log-loss"])
    assert finding(out, "train", "average-members") is None
    recipe = json.loads((out / "recipe.json").read_text())
    assert recipe["members"] == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--members", 3, "--restarts", 3], ["--members", "--restarts", "one of both"]),
        (["--folds", 3, "--group", "colour"], ["--folds", "--group"]),
        (["--folds", 3, "--time", "a"], ["--folds", "--time"]),
        (["--members", 0], ["--members", "greater than or equal to 1"]),
        (["--members", 2.5], ["--members", "integer"]),
        (["--restarts", 1], ["--restarts", "greater than or equal to 2"]),
        (["--folds", 21], ["--folds", "less than or equal to 20"]),
        (["--threads", 0], ["--threads", "greater than or equal to 1"]),
        (["--precision", "bflot16"], ["--precision bflot16", "'bfloat16'"]),
    ],
)
def test_numbers_and_ways_that_make_no_sense_are_refused(
    options: list[Any], words: list[str], table: Path, tmp_path: Path
) -> None:
    refused(call("run", table, "--target", "y", "--out", tmp_path / "run", *options), 2, *words)
    assert not (tmp_path / "run").exists()


# --- how it is computed -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "planned"),
    [
        (["--threads", 2, "--precision", "bfloat16", "--compile"], (2, "bfloat16", True)),
        (["--threads", 1, "--precision", "float32", "--no-compile"], (1, "float32", False)),
    ],
)
def test_the_plan_is_what_was_asked_for(
    options: list[Any], planned: tuple[Any, ...], table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    started(table, out, "--members", 1, *options)
    plan = json.loads((out / "plan.json").read_text())["memorise"]
    assert (plan["threads"], plan["precision"], plan["compiled"]) == planned
    assert plan["reason"].endswith("compiled, as asked for")
    recipe = json.loads((out / "recipe.json").read_text())
    assert recipe["training"]["precision"] == planned[1]
    repeated = (out / "report.html").read_text().replace("&#39;", "'")
    assert f"--threads {planned[0]} --precision {planned[1]} --{'' if planned[2] else 'no-'}compile" in repeated


@pytest.mark.parametrize("option", ["--threads 2", "--precision bfloat16", "--compile"])
def test_a_plan_that_computes_otherwise_is_refused(option: str, table: Path, tmp_path: Path) -> None:
    plan = a_plan(tmp_path, table)
    out = tmp_path / "run"
    ended = call("run", table, "--target", "y", "--out", out, "--plan", plan, *option.split())
    refused(ended, 2, option, "the plan in", "leave out one")
    assert not out.exists()
    assert Settings(data="x", compile=False).way == {"compiled": False} and Settings(data="x").way == {}


@pytest.mark.slow
def test_python_takes_the_same_settings(table: Path, tmp_path: Path) -> None:
    settings: Any = {"minutes": 0.5, "skip": ("check", "attack", "explain"), "members": 1}
    run_job(table, target="y", out=tmp_path / "run", threads=1, compile=False, **settings)
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())["memorise"]
    assert (plan["threads"], plan["compiled"]) == (1, False)
