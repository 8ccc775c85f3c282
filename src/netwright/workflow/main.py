"""`run` and `resume`: all steps in order, with gates, events and a result."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from netwright.core.errors import DataError, GateError, UsageError
from netwright.core.files import read_json, sweep, write_json
from netwright.core.finding import Finding
from netwright.core.run import Listener, Run
from netwright.data.read import Look, from_any
from netwright.losses.metrics import check_metric
from netwright.model import Model
from netwright.recipes.book import asked_for
from netwright.report.summary import Summary
from netwright.train.machine import device_named
from netwright.workflow import publish, steps
from netwright.workflow.job import Job
from netwright.workflow.plans import check_plan, check_way
from netwright.workflow.prepare import completed, look_at, read, split_and_encode
from netwright.workflow.settings import STEPS, Settings
from netwright.workflow.streaming import long_table, sampled
from netwright.workflow.track import require, tracked


@dataclass(frozen=True)
class Result:
    """What a run gave.

    Args:
        folder: of the run.
        model: the network, calibrated.
        findings: by step.
        summary: what `summary.json` holds.
        new_rows: what a file of new rows might be called.
    """

    folder: Path
    model: Model
    findings: dict[str, list[Finding]]
    summary: Summary
    new_rows: str = "new.csv"

    @property
    def recommended(self) -> str:
        """Name of what to use: "network", or a baseline."""
        return self.summary.recommended

    @property
    def sentence(self) -> str:
        """The recommendation in one sentence."""
        return self.summary.sentence

    @property
    def failed(self) -> list[Finding]:
        """Findings whose verdict is `fail`."""
        return [f for found in self.findings.values() for f in found if f.verdict == "fail"]


def run(
    data: Any,
    *,
    target: str | None = None,
    out: str | Path | None = None,
    listener: Listener | None = None,
    plan: str | Path | None = None,
    **settings: Any,
) -> Result:
    """The main job: look, split, baselines, design, check, train in two stages, compare, attack, explain, report.

    Args:
        data: path of a table (CSV, TSV, Parquet, JSON lines; .gz and .zst too), of a folder of Parquet files or of images with one
            folder per class, or of an .npz of images; or a pandas, polars or pyarrow frame.
        target: the column to predict; None where the data say it, as images do.
        out: the run's folder; by default runs/<data>-<time>. An existing one is refused.
        listener: called with each event.
        plan: a `plan.json` of an earlier run of the same data, to be replayed instead of measuring anew.
        settings: see `netwright.workflow.settings.Settings` (minutes, metric, seed, kinds, drop, task, group, time, split_column,
            template, skip, quick, force, members, restarts, folds, lemmas, device, threads, precision, compile, track, stream).

    Raises:
        UsageError: settings that contradict each other, or an existing folder.
        DataError: the data is not what it must be.
        GateError: a gating check failed; the report is written all the same.
        TrainingError: the training diverged, or ran out of time with nothing usable.
        SetupError: what `track` or `lemmas` needs is not installed, or cannot be reached; or the device is not here.
    """
    began, is_path = time.monotonic(), isinstance(data, str | os.PathLike)
    given = _settings(data=str(Path(data).absolute()) if is_path else "data.parquet", target=target or "", **settings)
    require(given.track)
    device_named(given.device)
    frame = None if is_path else from_any(data)
    if is_path and (table := long_table(given)):
        given, seen = sampled(given, table)
        frame = seen.frame
    else:
        seen = read(given, listener) if frame is None else Look(frame, (), "frame")
    asked = completed(given, seen)
    looked = look_at(asked, seen)
    rows = split_and_encode(looked, asked)  # bad data, settings or plan are refused before a folder is made
    check_metric(asked.metric, rows.target)
    if asked.template is not None:
        recipe, _ = asked_for(asked.template, rows.spec, rows.target, len(rows.split["train"]))
        recipe.build(rows.spec, rows.target, asked.seed)
    replayed = None if plan is None else check_plan(read_json(plan), plan)
    if replayed and replayed.get("fingerprint", rows.fingerprint) != rows.fingerprint:
        raise DataError(
            f"the plan in {plan} was made for other data or another split; leave --plan out, or give the data it was made for"
        )
    if replayed:
        check_way(replayed, asked.way, str(plan))
    name = Path(data).name.split(".")[0] if is_path else "data"
    folder = Path(out) if out is not None else Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    created = Run.create(folder, asked.model_dump(mode="json"), listener)
    if frame is not None:
        path = (folder / "data.parquet").absolute()
        frame.write_parquet(path)
        asked = asked.model_copy(update={"data": str(path)})
        write_json(folder / "settings.json", asked.model_dump(mode="json"))
    if replayed is not None:
        created.plan = replayed
        write_json(folder / "plan.json", created.plan)
    return _execute(Job(created, asked, began + asked.seconds, looked=looked, data=rows))


def resume(folder: str | Path, *, listener: Listener | None = None) -> Result:
    """Go on with a run that was interrupted; it ends with the same weights as one that never was.

    Raises:
        DataError: the folder is no run, or its data has changed.
    """
    found = Run(folder, listener)
    check_plan(found.plan, found.folder / "plan.json")
    sweep(found.folder)
    try:
        settings = Settings.model_validate(found.settings)
    except ValidationError as error:
        raise DataError(f"{Path(folder) / 'settings.json'} is damaged: {error}") from error
    require(settings.track)
    return _execute(Job(found, settings, time.monotonic() + settings.seconds))


def _settings(**values: Any) -> Settings:
    try:
        return Settings(**values)
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}".removeprefix(": ").replace("Value error, ", "")
            for e in error.errors()
        ]
        raise UsageError("; ".join(lines)) from None


def _execute(job: Job) -> Result:
    """All steps that are to be done, in order; a failed gate ends them, with a report of what is there."""
    with job.run.locked(), tracked(job.run, job.settings.track):
        return _steps(job)


def _steps(job: Job) -> Result:
    run, settings = job.run, job.settings
    began = time.monotonic()
    run.event(
        "run_start", folder=str(run.folder), data=settings.data, target=settings.target, resumed=bool(run.findings)
    )
    for step in STEPS:
        if step in settings.skip:
            run.event("step_skipped", step=step)
            continue
        done, started = run.has(step), time.monotonic()
        run.event("step_start", step=step, title=steps.TITLES[step])
        findings = steps.ALL[step](job, done)
        if not done:
            run.add(step, findings)
        run.event("step_done", step=step, seconds=round(time.monotonic() - started, 3))
        stopping = [f for f in run.findings.get(step, []) if f.stops]
        if stopping and not settings.force:
            publish.write_page(job)
            raise GateError(
                "stopped: "
                + "; ".join(f"{f.title} ({f.todo})" if f.todo else f.title for f in stopping)
                + f". The evidence is in {run.folder / 'report.html'}; go on all the same with --force"
            )
    assert job.model is not None
    summary = publish.read_summary(run.folder)
    run.event(
        "run_done",
        folder=str(run.folder),
        sentence=summary.sentence,
        recommended=summary.recommended,
        seconds=round(time.monotonic() - began, 1),
    )
    return Result(run.folder, job.model, run.findings, summary, publish.new_rows(settings))
