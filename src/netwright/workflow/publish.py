"""What a run leaves for its readers: `summary.json` for programs, `report.html` for people."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
from pathlib import Path
from typing import Any

from netwright.baselines.compare import Comparison
from netwright.baselines.intervals import Score, bootstrap
from netwright.core.files import read_json, write_text
from netwright.core.finding import Cell, Finding
from netwright.core.run import Run
from netwright.data.data import PARTS
from netwright.data.parquet import parquet_files
from netwright.losses.metrics import metrics_for
from netwright.report import page, summary
from netwright.report.page import Page, Section
from netwright.report.summary import DataSource, Summary
from netwright.workflow.job import Job
from netwright.workflow.members import ON_TEST_ROWS
from netwright.workflow.settings import Settings

LEADS = {
    "look": "What the data hold, what each column was taken for, and why.",
    "split": "Which rows train, validate and test, and whether the data can be trusted.",
    "baselines": "Classic methods, fitted on the same training rows and measured on the same test rows. "
    "A network has to beat them to be worth its while.",
    "design": "Which network was chosen, and why.",
    "check": "The untrained network was examined before time was spent on it: most mistakes show here.",
    "train": "First the network was made to learn its training rows by heart, without any restraint; "
    "then one means against overfitting after the other was added, and kept if it helped on validation rows. "
    "Where there was a choice of templates, or of random changes of images, short trainings made it beforehand.",
    "compare": "The network's probabilities (or intervals) were calibrated on validation rows; then all contenders met on the test rows, "
    "which nothing before had used.",
    "attack": "How small a change of the inputs suffices to change the answer, in the units of the data.",
    "explain": "What the network's answers rest on: columns, places of an image, words of a text.",
}
HEADS = {
    "look": "The data",
    "split": "The split, and checks of the data",
    "baselines": "Classic methods",
    "design": "The network's design",
    "check": "Checks before training",
    "train": "Training in two stages",
    "compare": "Comparison, calibration and errors",
    "attack": "Attacks",
    "explain": "Explanations",
}
ORDER = ("compare", "look", "split", "baselines", "design", "check", "train", "attack", "explain")
"""Chapters of the report: the outcome first."""
PACKAGES = ("netwright", "torch", "scikit-learn", "polars", "numpy")


def network_scores(job: Job) -> dict[str, Score]:
    """Test scores of the network with their intervals."""
    assert job.model is not None
    data = job.rows
    weight = data.block("test").weight
    prediction = job.model.predict_encoded(data.block("test").x)
    names = metrics_for(data.target.task)
    return bootstrap(
        names,
        data.y("test"),
        prediction,
        seed=job.settings.seed,
        weight=None if weight is None else weight.double().numpy(),
    )


def make_summary(job: Job, compared: Comparison | None) -> Summary:
    """The contract for programs, from the comparison (or the network's scores alone where there is no baseline)."""
    assert job.model is not None
    data = job.rows
    if compared is None:
        scores, recommended = {"network": network_scores(job)}, "network"
        sentence = "No baseline was fitted, so nothing says whether a network pays here; run again without --skip baselines to know."
    else:
        scores, recommended, sentence = dict(compared.scores), compared.recommended, compared.sentence
    stored = {who: {m: summary.Score(**s.model_dump()) for m, s in found.items()} for who, found in scores.items()}
    return Summary(
        task=data.target.task,
        metric=job.metric,
        network={"network": stored.pop("network"), **_member_scores(job.run)},
        baselines=stored,
        recommended=recommended,
        sentence=sentence,
        n_train=len(data.split["train"]),
        n_valid=len(data.split["valid"]),
        n_test=len(data.split["test"]),
        parameters=job.model.n_parameters,
        seconds=step_seconds(job.run),
        seed=job.settings.seed,
        versions={"python": platform.python_version(), **{p: importlib.metadata.version(p) for p in PACKAGES}},
        data=DataSource(name=data.name, fingerprint=str(job.run.plan["fingerprint"]), target=data.target.name),
    )


def _member_scores(run: Run) -> dict[str, dict[str, summary.Score]]:
    """A member alone: the mean of the members' scores, and between which ends 95 % of them lie; nothing where there was but one."""
    found = next((f.measured for f in run.findings.get("compare", []) if f.probe == ON_TEST_ROWS), {})
    metrics = [name.removeprefix("mean_") for name in found if name.startswith("mean_")]
    ends = {"value": "mean", "low": "low", "high": "high"}
    scores = {m: summary.Score.model_validate({e: found[f"{at}_{m}"] for e, at in ends.items()}) for m in metrics}
    return {"member": scores} if scores else {}


def step_seconds(run: Run) -> dict[str, float]:
    """Seconds of each step, summed over all attempts."""
    seconds: dict[str, float] = {}
    for event in run.events():
        if event.get("event") == "step_done":
            seconds[event["step"]] = round(seconds.get(event["step"], 0.0) + event["seconds"], 3)
    return seconds


def read_summary(folder: Path) -> Summary:
    """The summary of a finished run."""
    return summary.read(folder / "summary.json")


def write_comparison(job: Job, compared: Comparison) -> None:
    """Keep the comparison for a report that is written after an interruption."""
    write_text(job.run.folder / "checkpoints" / "comparison.json", compared.model_dump_json())


def read_comparison(job: Job) -> Comparison | None:
    """The comparison, where one was made."""
    path = job.run.folder / "checkpoints" / "comparison.json"
    return Comparison.model_validate(read_json(path)) if path.exists() else None


def write_report(job: Job) -> None:
    """`summary.json`, then `report.html`."""
    found = make_summary(job, read_comparison(job))
    summary.write(job.run.folder / "summary.json", found)
    write_page(job, found)


def write_page(job: Job, found: Summary | None = None) -> None:
    """`report.html` from what the run has found so far."""
    run, settings = job.run, job.settings
    findings = run.findings
    sections = [
        Section(
            id=s,
            title=HEADS[s],
            lead=LEADS[s],
            findings=tuple(_ordered(s, findings[s])),
            compact=s in ("split", "check"),
        )
        for s in ORDER
        if findings.get(s)
    ]
    stopped = [f for fs in findings.values() for f in fs if f.stops]
    verdict = found.sentence if found else "Stopped before training: " + "; ".join(f.title for f in stopped)
    raw: dict[str, Any] = {"settings": run.settings, "plan": run.plan}
    if (run.folder / "recipe.json").exists():
        raw["recipe"] = read_json(run.folder / "recipe.json")
    page.write(
        run.folder / "report.html",
        Page(
            title=f"{settings.target} from {Path(settings.given).name}",
            subtitle="A network, the classic methods beside it, and the evidence for both",
            verdict=verdict,
            facts=_facts(job, found),
            sections=tuple(sections),
            commands=commands(run.folder, settings, found),
            reproduce="The same data, the same plan and the same seed give the same network, bit for bit, on the same kind of processor.",
            raw=raw,
        ),
    )


def _ordered(step: str, findings: list[Finding]) -> list[Finding]:
    """Failures first among the checks; everything else as it came."""
    if step not in ("split", "check"):
        return findings
    rank = {"fail": 0, "warn": 1, "info": 2, "pass": 3}
    return sorted(findings, key=lambda f: rank[f.verdict])


def _facts(job: Job, found: Summary | None) -> dict[str, Cell]:
    facts: dict[str, Cell] = {}
    if job.data is not None:
        sizes = [f"{len(job.data.split[p]):,}" for p in PARTS]
        facts["rows"] = f"{sizes[0]} train, {sizes[1]} validate, {sizes[2]} test"
        what = "a number" if job.data.target.is_number else f"{len(job.data.target.classes)} classes"
        facts["task"] = f"{job.data.target.name}: {what}"
    facts["metric"] = job.metric
    if found is not None:
        value = found.network["network"].get(found.metric)
        if value is not None:
            facts["network"] = (
                f"{found.metric} {value.value:.4g} [{value.low:.4g}, {value.high:.4g}], {found.parameters:,} parameters"
            )
        facts["recommended"] = found.recommended
        facts["versions"] = ", ".join(f"{k} {v}" for k, v in found.versions.items())
    facts["seconds"] = round(sum(step_seconds(job.run).values()), 1)
    facts["seed"] = job.settings.seed
    return facts


def commands(folder: Path, settings: Settings, found: Summary | None) -> tuple[str, ...]:
    """Command lines that repeat the run, use its model, and follow its advice."""
    words = ["netwright", "run", settings.given, "--target", settings.target]
    asked = settings.model_dump(
        exclude_defaults=True, exclude={"data", "target", "kinds", "drop", "skip", "streamed", "track"}
    )
    if settings.streamed:
        asked |= {"stream": True, "split_column": settings.streamed.split_column}
    asked = {field: value for field, value in asked.items() if value is not None}
    for field, value in asked.items():
        name = field.replace("_", "-")
        words += [f"--{name}"] if value is True else [f"--no-{name}"] if value is False else [f"--{name}", str(value)]
    words += [w for k, v in settings.kinds.items() for w in ("--kind", f"{k}={v}")]
    words += [w for c in settings.drop for w in ("--drop", c)] + [w for s in settings.skip for w in ("--skip", s)]
    words += [w for t in settings.track for w in ("--track", t)]
    lines = [
        shlex.join([*words, "--plan", str(folder / "plan.json")]),
        shlex.join(["netwright", "predict", str(folder), new_rows(settings)]),
    ]
    if found is not None and found.recommended in found.baselines:
        words = ["python", str(folder / "baseline.py"), new_rows(settings), "-o", "predictions.csv"]
        lines.append(shlex.join(words))
    return tuple(lines)


def new_rows(settings: Settings) -> str:
    """What new rows might be called: a file of the same kind as the run's data, or a folder."""
    path = Path(settings.given)
    if parquet_files(path):
        return "new.parquet"
    return "new" + ("".join(path.suffixes[-2:]) if path.suffixes and not path.is_dir() else "/")
