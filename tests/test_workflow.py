"""The main job: what it leaves, what it refuses, and that an interruption changes nothing."""

from __future__ import annotations

import html
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.torch import load_file

import netwright as nw
from conftest import make_frame
from netwright.core.errors import DataError, GateError, SetupError, UsageError
from netwright.core.finding import Finding
from netwright.core.run import Run
from netwright.core.seed import numpy_generator
from netwright.losses.metrics import score
from netwright.model import Model
from netwright.recipes.book import design
from netwright.workflow import steps
from netwright.workflow.bench import Trial, Workbench
from netwright.workflow.main import Result, resume, run
from netwright.workflow.members import average_members, best_start, cross_validate
from netwright.workflow.plans import StagePlan
from netwright.workflow.prepare import look_at, split_and_encode
from netwright.workflow.settings import STEPS, Settings
from netwright.workflow.stages import _strengthen, overparametrise, regularise

PLAN = {
    "memorise": {"threads": 1, "epoch_seconds": 0.05, "epochs": 4},
    "regularise": {"threads": 1, "epoch_seconds": 0.05, "epochs": 21},
}


class Interrupted(BaseException):
    """Stands in for a kill: nothing in the product may catch it."""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "colours.csv"
    make_frame(300).drop("z").write_csv(path)
    return path


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory, table: Path) -> Path:
    settings = Settings(data=str(table), target="y")
    fingerprint = split_and_encode(look_at(settings), settings).fingerprint
    path = tmp_path_factory.mktemp("plan") / "plan.json"
    path.write_text(json.dumps({**PLAN, "learning_rate": 0.002, "fingerprint": fingerprint}))
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, table: Path, plan: Path) -> Result:
    return run(table, target="y", out=tmp_path_factory.mktemp("runs") / "whole", plan=plan, quick=True)


def weights(folder: Path) -> dict[str, Any]:
    return load_file(folder / "model" / "weights.safetensors")


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(bool((a[k] == b[k]).all()) for k in a)


def test_a_run_leaves_everything_that_it_promises(whole: Result) -> None:
    left = {p.name for p in whole.folder.iterdir()}
    assert {
        "settings.json",
        "recipe.json",
        "plan.json",
        "events.jsonl",
        "findings.json",
        "summary.json",
        "report.html",
        "model",
    } <= left
    assert {"baseline.py", "split.json", "checkpoints"} <= left
    assert not list(whole.folder.rglob("*.tmp"))
    assert set(whole.findings) == set(STEPS)


def test_the_summary_holds_the_scores_that_the_model_has_on_the_test_rows(whole: Result, table: Path) -> None:
    rows = pl.read_csv(table)[json.loads((whole.folder / "split.json").read_text())["test"]]
    model = Model.load(whole.folder)
    y = np.array([model.target.classes.index(v) for v in rows["y"]])
    for metric in ("log-loss", "accuracy", "roc-auc"):
        found = whole.summary.network["network"][metric]
        assert found.value == pytest.approx(score(metric, y, model.predict_proba(rows)), abs=1e-9)
        assert found.low <= found.value <= found.high


def test_the_recommended_one_is_a_contender(whole: Result) -> None:
    assert whole.recommended in {"network", *whole.summary.baselines}
    assert html.escape(whole.sentence).replace("&#x27;", "&#39;") in (whole.folder / "report.html").read_text()


def test_every_step_and_both_stages_stand_in_the_findings(whole: Result) -> None:
    probes = {f.probe for found in whole.findings.values() for f in found}
    assert {
        "columns",
        "split",
        "design",
        "overparametrise",
        "regularise",
        "comparison",
        "pgd",
        "permutation-importance",
    } <= probes


@pytest.mark.slow
@pytest.mark.parametrize(
    "event, count", [("step_start", 3), ("epoch", 2), ("epoch", 6), ("step_start", 7), ("step_start", 9)]
)
def test_an_interrupted_run_ends_with_the_same_weights(
    tmp_path: Path, table: Path, plan: Path, whole: Result, event: str, count: int
) -> None:
    seen = 0

    def kill(record: dict[str, Any]) -> None:
        nonlocal seen
        seen += record["event"] == event
        if seen == count:
            seen += 1
            raise Interrupted

    with pytest.raises(Interrupted):
        run(table, target="y", out=tmp_path / "run", plan=plan, quick=True, listener=kill)
    again = resume(tmp_path / "run")
    assert same(weights(again.folder), weights(whole.folder))
    assert again.model.temperature == whole.model.temperature
    assert again.summary.network == whole.summary.network


@pytest.mark.slow
def test_the_same_seed_and_plan_give_the_same_weights_and_another_seed_others(
    tmp_path: Path, table: Path, plan: Path, whole: Result
) -> None:
    twin = run(table, target="y", out=tmp_path / "twin", plan=plan, quick=True, skip=("attack", "explain"))
    assert same(weights(twin.folder), weights(whole.folder))
    settings = Settings(data=str(table), target="y", seed=1)
    other_plan = tmp_path / "plan.json"
    other_plan.write_text(
        json.dumps({**PLAN, "fingerprint": split_and_encode(look_at(settings), settings).fingerprint})
    )
    other = run(
        table,
        target="y",
        out=tmp_path / "other",
        plan=other_plan,
        seed=1,
        quick=True,
        skip=("attack", "explain", "check"),
    )
    assert not same(weights(other.folder), weights(whole.folder))


@pytest.mark.slow
def test_a_run_does_not_import_the_compiler_for_which_it_has_no_use(tmp_path: Path, table: Path, plan: Path) -> None:
    code = (
        "import sys; from netwright.workflow.main import run; "
        "run(sys.argv[1], target='y', out=sys.argv[2], plan=sys.argv[3], quick=True); print('torch._dynamo' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(table), str(tmp_path / "run"), str(plan)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_plan_of_other_data_is_refused(tmp_path: Path, plan: Path) -> None:
    path = tmp_path / "other.csv"
    make_frame(200, seed=5).drop("z").write_csv(path)
    with pytest.raises(DataError, match="made for other data"):
        run(path, target="y", out=tmp_path / "run", plan=plan, quick=True)


def test_changed_data_is_noticed_by_resume(tmp_path: Path, plan: Path, table: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text(table.read_text())

    def kill(record: dict[str, Any]) -> None:
        if record["event"] == "step_start" and record["step"] == "design":
            raise Interrupted

    with pytest.raises(Interrupted):
        run(path, target="y", out=tmp_path / "run", plan=plan, quick=True, listener=kill)
    path.write_text(table.read_text().replace("red", "rot"))
    with pytest.raises(DataError, match="fingerprint"):
        resume(tmp_path / "run")


@pytest.mark.slow
def test_a_failed_gate_stops_the_run_with_a_report_and_force_goes_on(
    tmp_path: Path, table: Path, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = steps.ALL["design"]

    def failing(job: Any, done: bool) -> list[Finding]:
        bad = Finding(
            probe="planted", family="design", verdict="fail", title="planted failure", todo="mend it", gate=True
        )
        return [*real(job, done), bad]

    monkeypatch.setattr(steps, "ALL", {**steps.ALL, "design": failing})
    with pytest.raises(GateError, match=r"planted failure \(mend it\).*--force"):
        run(table, target="y", out=tmp_path / "stopped", plan=plan, quick=True)
    assert "planted failure" in (tmp_path / "stopped" / "report.html").read_text()
    assert not (tmp_path / "stopped" / "model").exists()
    forced = run(
        table, target="y", out=tmp_path / "forced", plan=plan, quick=True, force=True, skip=("attack", "explain")
    )
    assert [f.probe for f in forced.failed] == ["planted"]


def test_bad_data_leaves_no_folder(tmp_path: Path, table: Path) -> None:
    with pytest.raises(DataError, match="did you mean 'y'"):
        run(table, target="Y", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_existing_folder_is_refused(tmp_path: Path, table: Path) -> None:
    (tmp_path / "mine.txt").write_text("do not touch")
    with pytest.raises(UsageError, match="exists already"):
        run(table, target="y", out=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"minutes": 0}, "greater than 0"),
        ({"skip": ("trian",)}, "no step"),
        ({"skip": ("train",)}, "cannot be left out"),
        ({"drop": ("y",)}, "cannot be dropped"),
        ({"split_column": "a", "group": "b"}, "one of them"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_settings_that_make_no_sense_are_refused(table: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        run(table, target="y", **settings)


@pytest.mark.slow
def test_a_frame_can_be_run_and_resumed(tmp_path: Path, plan: Path) -> None:
    frame = make_frame(300).drop("z").to_pandas()
    result = run(frame, target="y", out=tmp_path / "run", quick=True, minutes=0.3, skip=("attack", "explain", "check"))
    assert resume(tmp_path / "run").summary.network == result.summary.network


@pytest.mark.slow
def test_a_probe_that_breaks_does_not_cost_the_report(
    tmp_path: Path, table: Path, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import netwright.explain.entries as entries

    first = next(iter(entries.EXPLANATIONS.values()))

    def broken(self: Any) -> Any:
        if self.name == first.name:
            raise ZeroDivisionError("planted")
        return real(self)

    real = type(first).load
    monkeypatch.setattr(type(first), "load", broken)
    result = run(table, target="y", out=tmp_path / "run", plan=plan, quick=True, skip=("attack", "check"))
    found = next(f for f in result.findings["explain"] if f.probe == first.name)
    assert found.verdict == "warn" and "ZeroDivisionError: planted" in found.title


def bench_for(data: Any, folder: Path, late: Any = lambda name: False) -> Workbench:
    from netwright.train.hooks import Clock

    metric = "rmse" if data.target.is_number else "log-loss"
    return Workbench(
        data, metric, 0, folder, lambda event, **values: None, lambda name, seconds: Clock(float("inf")), late
    )


def test_stage_one_learns_random_labels_by_heart(tmp_path: Path) -> None:
    rng = numpy_generator(0, "random-labels")
    frame = pl.DataFrame({"a": rng.normal(size=120), "b": rng.normal(size=120), "y": rng.choice(["no", "yes"], 120)})
    settings = Settings(data="none", target="y")
    path = tmp_path / "random.csv"
    frame.write_csv(path)
    settings = Settings(data=str(path), target="y")
    data = split_and_encode(look_at(settings), settings)
    recipe, _ = design(data.spec, data.target, len(data.split["train"]))
    stage_plan = StagePlan(threads=1, epoch_seconds=0.1, epochs=300)
    trial, finding = overparametrise(bench_for(data, tmp_path), recipe, stage_plan, floor=0.0)
    assert finding.verdict == "pass" and float(finding.measured["train_error"]) <= 0.01  # type: ignore[arg-type]
    assert len(trial.history.rows) < 300


@pytest.mark.slow
def test_stage_two_never_ends_worse_than_stage_one_stopped_early(tmp_path: Path, binary_data: Any) -> None:
    recipe, _ = design(binary_data.spec, binary_data.target, len(binary_data.split["train"]))
    stage_plan = StagePlan(threads=1, epoch_seconds=0.1, epochs=12)
    bench = bench_for(binary_data, tmp_path)
    first, _ = overparametrise(bench, recipe, stage_plan, floor=0.0)
    best, finding = regularise(bench, recipe, stage_plan, first)
    assert best.value <= first.value
    decisions = [row[4] for row in finding.tables[0].rows]
    values = [row[1] for row in finding.tables[0].rows]
    kept = [v for v, d in zip(values, decisions, strict=True) if d == "kept"]
    assert kept == sorted(kept, reverse=True) and kept[-1] == best.value
    assert score(
        "log-loss", binary_data.y("valid"), best.model.predict_encoded(binary_data.block("valid").x)
    ) == pytest.approx(best.value)


@pytest.mark.slow
def test_an_ensemble_is_kept_only_where_it_is_better_on_validation_rows(tmp_path: Path, binary_data: Any) -> None:
    recipe, _ = design(binary_data.spec, binary_data.target, len(binary_data.split["train"]))
    stage_plan = StagePlan(threads=1, epoch_seconds=0.1, epochs=12)
    bench = bench_for(binary_data, tmp_path)
    first, _ = overparametrise(bench, recipe, stage_plan, floor=0.0)
    best, _ = regularise(bench, recipe, StagePlan(threads=1, epoch_seconds=0.1, epochs=40), first)
    together, finding = average_members(bench, best, epochs=1000, epoch_seconds=0.1)
    assert finding.measured["members"] == (1 if best.name == "stage1" else 5)
    assert (together is not best) == finding.measured["kept"] and together.value <= best.value
    valid = together.model.predict_encoded(binary_data.block("valid").x)
    assert score("log-loss", binary_data.y("valid"), valid) == pytest.approx(together.value)
    alone, none = average_members(bench, best, epochs=0, epoch_seconds=0.1)
    assert alone is best and none.measured["members"] == 1


def a_trial(bench: Workbench, data: Any) -> Trial:
    recipe, _ = design(data.spec, data.target, len(data.split["train"]))
    short = recipe.with_training(epochs=4).with_options(width=16, depth=1)
    return bench.train("first", "a short training", short, 60.0)


def test_the_best_of_several_starts_is_kept(tmp_path: Path, binary_data: Any) -> None:
    bench = bench_for(binary_data, tmp_path)
    first = a_trial(bench, binary_data)
    kept, finding = best_start(bench, first, 4, 1.0)
    values = [row[1] for row in finding.tables[0].rows]
    assert len(values) == 4 and values[0] == first.value and kept.value == min(values)
    assert finding.measured["kept"] == values.index(min(values)) + 1
    valid = kept.model.predict_encoded(binary_data.block("valid").x)
    assert score("log-loss", binary_data.y("valid"), valid) == pytest.approx(kept.value, rel=1e-4)


def test_cross_validation_goes_over_training_and_validation_rows_and_leaves_the_test_rows_out(
    tmp_path: Path, binary_data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}
    bench = bench_for(binary_data, tmp_path)
    first = a_trial(bench, binary_data)
    inner = Workbench.train_all

    def train_all(self: Workbench, *given: Any) -> Any:
        seen.update(data=self.data, folds=given[-1])
        return inner(self, *given)

    monkeypatch.setattr(Workbench, "train_all", train_all)
    finding = cross_validate(bench, first, 3, 1.0)
    rows = set(seen["data"].split["train"].tolist())
    assert rows == set(binary_data.split["train"]) | set(binary_data.split["valid"])
    assert not rows & set(binary_data.split["test"])
    held = [set(fold.tolist()) for _, fold in seen["folds"]]
    assert sorted(k for fold in held for k in fold) == list(range(len(rows)))
    values = [row[1] for row in finding.tables[0].rows]
    assert finding.measured["mean_log-loss"] == pytest.approx(np.mean(values))
    assert abs(finding.measured["mean_log-loss"] - first.value) < 0.2


def test_no_trial_is_begun_when_it_is_late(tmp_path: Path, binary_data: Any) -> None:
    recipe, _ = design(binary_data.spec, binary_data.target, 100)
    stage_plan = StagePlan(threads=1, epoch_seconds=0.1, epochs=2)
    bench = bench_for(binary_data, tmp_path, late=lambda name: True)
    first, _ = overparametrise(bench, recipe, stage_plan, floor=0.0)
    best, finding = regularise(bench, recipe, stage_plan, first)
    assert best is first and finding.measured["trials"] == 0


def test_a_means_that_is_there_already_is_made_stronger() -> None:
    from netwright.recipes.book import table_classifier

    recipe = table_classifier()
    once, _ = _strengthen(recipe, "weight decay")
    twice, _ = _strengthen(once, "weight decay")
    assert 0 < once.training.weight_decay < twice.training.weight_decay
    rates = [recipe := _strengthen(recipe, "dropout")[0] for _ in range(6)]
    assert [r.options["dropout"] for r in rates][-1] == 0.5


def test_public_names_are_there() -> None:
    assert all(getattr(nw, name) is not None for name in nw.__all__)


@pytest.mark.parametrize("plan_of", [{"memorise": 3}, {"learning_rate": "fast"}, {"try": {"rows": "all"}}])
def test_a_plan_of_the_wrong_shape_is_refused_before_anything_is_done(
    tmp_path: Path, table: Path, plan_of: Any
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan_of))
    with pytest.raises(DataError, match="no plan of a run"):
        run(table, target="y", out=tmp_path / "run", plan=path, quick=True)
    assert not (tmp_path / "run").exists()


def test_two_processes_cannot_work_in_one_run_folder(tmp_path: Path) -> None:
    first = Run.create(tmp_path / "run", {"data": "x"})
    with first.locked(), pytest.raises(SetupError, match="another process"), Run(tmp_path / "run").locked():
        pass
    with Run(tmp_path / "run").locked():
        assert (tmp_path / "run" / ".lock").exists()
