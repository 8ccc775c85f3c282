"""`netwright check`, `attack` and `explain` on a finished run, and what the run itself leaves and says."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from pydantic import TypeAdapter

from commandline import call, unchanged
from conftest import TinyRun
from netwright.cli.galleries import PROBES, galleries
from netwright.cli.run import _gate
from netwright.core.finding import Finding
from netwright.workflow.settings import STEPS

FINDINGS = TypeAdapter(list[Finding])
ONE = {"check": "gradients-flow", "attack": "fgsm", "explain": "permutation-importance"}
"""A quick member of each family."""


def test_a_run_ends_with_the_recommendation_and_where_the_report_is(tiny_run: TinyRun) -> None:
    ended, folder = tiny_run.ended, tiny_run.folder
    assert ended.code == 0 and ended.out == ""
    assert json.loads((folder / "summary.json").read_text())["sentence"] in " ".join(ended.err.split())
    assert str(folder / "report.html") in ended.err
    assert f"{folder / 'baseline.py'} new.csv" in ended.err or f"predict {folder / 'model'} new.csv" in ended.err
    for name in (
        "settings.json",
        "plan.json",
        "recipe.json",
        "events.jsonl",
        "findings.json",
        "report.html",
        "baseline.py",
    ):
        assert (folder / name).stat().st_size > 0, name


def test_a_run_does_every_step_in_order(tiny_run: TinyRun) -> None:
    events = [json.loads(line) for line in (tiny_run.folder / "events.jsonl").read_text().splitlines()]
    done = [e["step"] for e in events if e["event"] in ("step_done", "step_skipped")]
    assert done == list(STEPS)
    assert [e["step"] for e in events if e["event"] == "step_skipped"] == ["check"]


def test_every_probe_that_a_run_asks_can_be_named_with_fail_on(tiny_run: TinyRun) -> None:
    found = json.loads((tiny_run.folder / "findings.json").read_text())
    asked = {f["probe"] for findings in found.values() for f in findings}
    assert _gate(sorted(asked)).wanted == asked


@pytest.mark.slow
def test_resume_of_a_finished_run_changes_no_weight(tiny_run: TinyRun) -> None:
    with unchanged(tiny_run.folder / "model"):
        assert call("resume", tiny_run.folder).code == 0
        assert call("resume", tiny_run.folder / "model").code == 0


@pytest.mark.slow
def test_fail_on_is_heard_by_resume(tiny_run: TinyRun) -> None:
    found = json.loads((tiny_run.folder / "findings.json").read_text())
    warned = [f["probe"] for findings in found.values() for f in findings if f["verdict"] in ("warn", "fail")]
    assert warned, "the tiny run is too short to memorise its rows, so its first stage must warn"
    assert call("resume", tiny_run.folder, "--fail-on", "warn").code == 1
    assert call("resume", tiny_run.folder, "--fail-on", warned[0]).code == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PROBES))
def test_a_probe_answers_on_the_rows_of_the_run_and_on_others(tiny_run: TinyRun, tmp_path: Path, name: str) -> None:
    asked = ("--only", ONE[name], "--budget", "5")
    own = call(name, tiny_run.folder, *asked, "--json", tmp_path / "own.json")
    assert own.code == 0, own.err
    pl.read_csv(tiny_run.data).head(50).write_csv(tmp_path / "rows.csv")
    other = call(name, tiny_run.folder / "model", tmp_path / "rows.csv", *asked, "--json", tmp_path / "other.json")
    assert other.code == 0, other.err
    found = []
    for ended, path in ((own, "own.json"), (other, "other.json")):
        (finding,) = FINDINGS.validate_python(json.loads((tmp_path / path).read_text()))
        assert finding.probe == ONE[name]
        assert finding.title.split()[0] in ended.out
        found.append(finding.model_copy(update={"seconds": 0.0}))
    assert found[0] != found[1], "other rows, other figures"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PROBES))
def test_a_whole_family_answers_and_writes_its_page(tiny_run: TinyRun, tmp_path: Path, name: str) -> None:
    page, found = tmp_path / "page.html", tmp_path / "found.json"
    with unchanged(tiny_run.folder):
        ended = call(name, tiny_run.folder, "--budget", "20", "--report", page, "--json", found)
    findings = FINDINGS.validate_python(json.loads(found.read_text()))
    stops = any(f.gate and f.verdict == "fail" for f in findings)
    assert ended.code == int(stops), ended.err
    assert len(findings) > 1 and {f.probe for f in findings} <= set(galleries()[PROBES[name]])
    text = page.read_text()
    assert all(f.probe in text for f in findings)
    assert "Traceback" not in ended.err


@pytest.mark.slow
def test_the_same_seed_gives_the_same_findings(tiny_run: TinyRun, tmp_path: Path) -> None:
    found = []
    for name in ("a.json", "b.json"):
        path = tmp_path / name
        call("attack", tiny_run.folder, "--only", "fgsm", "--seed", "3", "--json", path)
        found.append(
            [f.model_copy(update={"seconds": 0.0}) for f in FINDINGS.validate_python(json.loads(path.read_text()))]
        )
    assert found[0] == found[1]
    assert found[0][0].seed == 3


def test_numbers_that_are_not_finite_are_written_as_json(
    tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = Finding(probe="fgsm", family="x", verdict="info", title="t", measured={"a": float("inf"), "b": float("nan")})
    monkeypatch.setattr("netwright.workflow.probing.attack", lambda *_, **__: [odd])
    assert call("attack", tiny_run.folder, "--json", tmp_path / "a.json").code == 0
    (written,) = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert written["measured"] == {"a": "Infinity", "b": "NaN"}
