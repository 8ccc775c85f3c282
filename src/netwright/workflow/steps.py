"""The ten steps. Each returns its findings; what it made for later steps it leaves in the job and in the run's folder.

A step is called again after an interruption, with `done` true where its findings are stored already: it then only brings back
what later steps need.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from netwright.baselines import compare as compared
from netwright.baselines import tables
from netwright.baselines.calibrate import conformal_margin, fit_temperature
from netwright.baselines.entries import BASELINES, COMPARISONS
from netwright.baselines.script import write_script
from netwright.baselines.tables import fit_baseline
from netwright.checks.data import noise_floor
from netwright.core.entry import Entry
from netwright.core.errors import DataError, TrainingError
from netwright.core.files import read_json, write_json, write_text, writing
from netwright.core.finding import Finding
from netwright.data.data import PARTS, Data, Part
from netwright.losses.metrics import check_metric
from netwright.model import Model, Subject
from netwright.recipes.book import alternatives, asked_for
from netwright.recipes.book import design as choose
from netwright.recipes.recipe import Recipe
from netwright.workflow import publish
from netwright.workflow.bench import Trial, Workbench
from netwright.workflow.job import Job
from netwright.workflow.members import (
    average_members,
    best_start,
    cross_validate,
    members_on_test_rows,
    stored_members,
)
from netwright.workflow.plans import (
    StagePlan,
    StreamPlan,
    TryPlan,
    plan_memorising,
    plan_regularising,
    plan_streaming,
    plan_trials,
)
from netwright.workflow.prepare import look_at, look_finding, split_and_encode, split_finding
from netwright.workflow.probing import FAMILIES, ask, complete, fitting, probe
from netwright.workflow.stages import augmented, overparametrise, regularise
from netwright.workflow.streaming import open_stream, train_on_stream
from netwright.workflow.tryout import augmentations, choose_augmentation, choose_template

Step = Callable[[Job, bool], list[Finding]]

TITLES: Mapping[str, str] = {
    "look": "Look at the data",
    "split": "Split, and check the data",
    "baselines": "Classic methods first",
    "design": "Design the network",
    "check": "Check before training",
    "train": "Overparametrise, then regularise",
    "compare": "Calibrate and compare",
    "attack": "Attack",
    "explain": "Explain",
    "report": "Report",
}


def look(job: Job, done: bool) -> list[Finding]:
    """Read the file; guess kinds and task."""
    job.looked = job.looked or look_at(job.settings)
    if not done:
        for warning in job.looked.warnings:
            job.tell("warning", text=warning)
    return [look_finding(job.looked, job.settings)]


def split(job: Job, done: bool) -> list[Finding]:
    """Split the rows, fit the specs, check the data."""
    assert job.looked is not None
    path = job.run.folder / "split.json"
    if done:
        stored: dict[Part, np.ndarray] = {
            part: np.array(rows, dtype=np.int64) for part, rows in read_json(path).items()
        }
        job.data = split_and_encode(job.looked, job.settings, stored)
    elif job.data is None:
        job.data = split_and_encode(job.looked, job.settings)
    data = job.data
    if job.run.decide("fingerprint", lambda: data.fingerprint) != data.fingerprint:
        raise DataError(
            f"{job.settings.data} is not the data that the plan was made for (its fingerprint differs); start a new run"
        )
    job.metric = check_metric(job.settings.metric, data.target)
    if done:
        return []
    write_json(path, {part: data.split[part].tolist() for part in PARTS})
    subject = Subject(data=data, metric=job.metric)
    checks = probe("checks", subject, where=_is_about_data, seed=job.settings.seed, tell=job.tell)
    return [split_finding(data, job.settings), *checks]


def _is_about_data(entry: Entry) -> bool:
    return set(entry.needs) <= {"data", "split"}


def _is_about_network(entry: Entry) -> bool:
    return not _is_about_data(entry)


def baselines(job: Job, done: bool) -> list[Finding]:
    """Classic methods on the same rows; their predictions are kept for the comparison."""
    path, data = job.run.folder / "checkpoints" / "baselines.npz", job.rows
    entries = fitting(BASELINES, Subject(data=data))
    findings = []
    if not done:
        budget = job.run.decide("seconds_per_baseline", lambda: job.seconds("baselines") / len(entries))
        arrays: dict[str, np.ndarray] = {}
        for i, entry in enumerate(entries):
            job.tell("progress", step="baselines", done=i, total=len(entries), text=entry.name)
            began = time.monotonic()
            fitted = fit_baseline(entry.name, data, seed=job.settings.seed, budget_seconds=budget)
            arrays |= {f"{entry.name}/{part}": fitted.predict(part) for part in ("valid", "test")}
            found = tables.describe(fitted, job.metric)
            findings.append(complete(found, entry, "baselines", time.monotonic() - began, job.settings.seed))
        with writing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
    with np.load(path, allow_pickle=False) as stored:
        job.predictions = {e.name: stored[f"{e.name}/test"] for e in entries}
        job.valid_predictions = {e.name: stored[f"{e.name}/valid"] for e in entries}
    return findings


def design(job: Job, done: bool) -> list[Finding]:
    """A template by kind, task and size."""
    data = job.rows
    rows, template = (data.spec, data.target, len(data.split["train"])), job.settings.template
    recipe, job.reason = choose(*rows) if template is None else asked_for(template, *rows)
    job.recipe = recipe.with_training(device=job.settings.device)
    net = job.recipe.build(data.spec, data.target, job.settings.seed)
    parameters = sum(p.numel() for p in net.parameters())
    if not done:  # else it may be that of the trained network by now
        write_text(job.run.folder / "recipe.json", job.recipe.model_dump_json(indent=1))
    return [
        Finding(
            probe="design",
            family="design",
            verdict="info",
            title=job.reason,
            measured={
                "template": job.recipe.template,
                "loss": job.recipe.loss,
                "parameters": parameters,
                **job.recipe.options,
            },
            why="The first stage of training wants a network that is large enough to learn its rows by heart; the second one tames it.",
            reference="Gorishniy et al. (2021, 2022)",
        )
    ]


def check(job: Job, done: bool) -> list[Finding]:
    """The soundness of the untrained network."""
    if done:
        return []
    found = probe(
        "checks",
        job.subject,
        where=_is_about_network,
        budget_seconds=max(job.seconds("check"), 20.0),
        seed=job.settings.seed,
        tell=job.tell,
    )
    tested = [f for f in found if f.probe == "learning-rate-range"]
    if tested:
        job.run.decide("learning_rate", lambda: _rate(job, tested[0]))
    return found


def _rate(job: Job, finding: Finding) -> float:
    """The recipe's rate, or half of the highest stable one where the range test saw the training diverge above that."""
    assert job.recipe is not None
    highest, rate = finding.measured.get("highest_stable_learning_rate"), job.recipe.training.learning_rate
    return min(rate, highest / 2) if finding.measured.get("diverged") and isinstance(highest, float) else rate


def train(job: Job, done: bool) -> list[Finding]:
    """Short trials where there is a choice, then both stages; the network with the best validation metric becomes the model."""
    assert job.recipe is not None
    recipe = job.recipe.with_training(
        learning_rate=job.run.plan.get("learning_rate", job.recipe.training.learning_rate)
    )
    plan = _planned(
        job, "memorise", lambda: plan_memorising(recipe, job.rows, job.seconds("memorise"), job.settings.way)
    )
    torch.set_num_threads(plan.threads)
    if done:
        job.model = Model.load(job.run.folder / "model")
        job.recipe = job.model.recipe
        return []
    recipe = recipe.with_training(precision=plan.precision, channels_last=plan.channels_last)
    bench = Workbench(
        job.rows, job.metric, job.settings.seed, job.run.folder / "checkpoints", job.tell, job.clock, job.late
    )
    recipe, chosen = _choose_template(job, bench, recipe, plan)
    job.tell(
        "note", text=f"stage 1: at most {plan.epochs} epochs of {plan.epoch_seconds:.2g} s; {plan.reason or _way(plan)}"
    )
    floor = noise_floor(job.rows)
    if job.rows.target.is_number:
        floor = (floor / job.rows.target.scale) ** 2  # as a share of the target's variance
    first, memorised = overparametrise(bench, recipe, plan, floor)
    recipe, changes = _choose_augmentation(job, bench, recipe, plan)
    then = _planned(job, "regularise", lambda: plan_regularising(plan, first, job.seconds("regularise")))
    job.tell("note", text=f"stage 2: at most {then.epochs} epochs of {then.epoch_seconds:.2g} s, all trials together")
    best, regularised = regularise(bench, recipe, then, first)
    best, averaged = _more_starts(job, bench, best, then)
    best, streamed = _train_on_all_rows(job, bench, best, then)
    if not np.isfinite(best.value):
        raise TrainingError(
            f"no epoch ended with a finite validation {job.metric}: out of time, or diverged; give it more time with --minutes"
        )
    job.model, job.recipe = best.model, best.recipe
    job.model.save(job.run.folder / "model")
    write_text(job.run.folder / "recipe.json", best.recipe.model_dump_json(indent=1))
    return [*chosen, memorised, *changes, regularised, *averaged, *streamed]


def _more_starts(job: Job, bench: Workbench, best: Trial, plan: StagePlan) -> tuple[Trial, list[Finding]]:
    """What becomes of the kept recipe from other starts, and on other rows where that is asked for."""
    settings = job.settings
    findings = []
    if settings.folds:
        findings.append(cross_validate(bench, best, settings.folds, plan.epoch_seconds))
    if settings.restarts:
        best, finding = best_start(bench, best, settings.restarts, plan.epoch_seconds)
        return best, [*findings, finding]
    epochs = job.run.decide("average_epochs", lambda: int(job.seconds("average") / plan.epoch_seconds))
    best, finding = average_members(bench, best, epochs, plan.epoch_seconds, settings.members)
    return best, [*findings, finding]


def _trials(job: Job, plan: StagePlan, trials: int, **limits: int) -> TryPlan | None:
    """The plan of the short trials, or None where there is no time for them."""
    n_rows = len(job.rows.split["train"])

    def measure() -> Any:
        found = plan_trials(plan, n_rows, job.seconds("try"), trials, **limits)
        return None if found is None else found.model_dump()

    stored = job.run.decide("try", measure)
    return None if stored is None else TryPlan.model_validate(stored)


def _choose_template(job: Job, bench: Workbench, recipe: Recipe, plan: StagePlan) -> tuple[Recipe, list[Finding]]:
    """The template for texts by short trials; other kinds keep the designed one, and all keep one that was asked for."""
    others = alternatives(recipe, job.rows.spec) if job.settings.template is None else []
    short = _trials(job, plan, 1 + len(others), epochs=8) if others else None
    if short is None:
        return recipe, []
    chosen, finding = choose_template(bench, [recipe, *others], short, plan)
    return chosen, [finding]


def _choose_augmentation(job: Job, bench: Workbench, recipe: Recipe, plan: StagePlan) -> tuple[Recipe, list[Finding]]:
    """The random changes of images and sounds that help; other kinds have none, and a recipe that brings its own keeps them."""
    possible = augmentations(recipe)
    if not possible or augmented(recipe):
        return recipe, []
    short = _trials(job, plan, 1 + len(possible), epochs=20, most=5000)
    chosen, finding = choose_augmentation(bench, recipe, short, plan)
    return chosen, [finding]


def _planned(job: Job, stage: str, measure: Callable[[], StagePlan]) -> StagePlan:
    return StagePlan.model_validate(job.run.decide(stage, lambda: measure().model_dump()))


def _train_on_all_rows(job: Job, bench: Workbench, best: Trial, plan: StagePlan) -> tuple[Trial, list[Finding]]:
    """All rows of a table that stays on disk; other data have no more rows."""
    if job.settings.streamed is None or job.late("stream"):
        return best, []
    source, n_sample, epochs = (
        open_stream(job.settings, job.rows),
        len(job.rows.split["train"]),
        best.recipe.training.epochs,
    )

    def seconds() -> float:  # with a margin, as epochs from disk may be slower than those in memory
        return max(0.8 * min(job.seconds("stream"), job.left), 1.0)

    planned = job.run.decide(
        "stream", lambda: plan_streaming(len(source), plan, n_sample, epochs, seconds()).model_dump()
    )
    best, finding = train_on_stream(bench, source, best, StreamPlan.model_validate(planned))
    return best, [finding]


def _way(plan: StagePlan) -> str:
    """How it is computed, in words."""
    threads = "one thread" if plan.threads == 1 else f"{plan.threads} threads"
    return threads + (" in bfloat16" if plan.precision == "bfloat16" else "")


def compare(job: Job, done: bool) -> list[Finding]:
    """Calibrate on validation rows, then compare with the baselines on the test rows."""
    assert job.model is not None and job.looked is not None
    if done:
        return []
    _calibrate(job.model, job.rows)
    job.model.save(job.run.folder / "model")
    findings, entries = [], fitting(COMPARISONS, job.subject)
    for i, entry in enumerate(entries):
        job.tell("progress", step="compare", done=i, total=len(entries), text=entry.name)
        if entry.name == "comparison":
            findings.append(_comparison(job, entry))
        else:
            findings.append(ask(entry, "baselines", job.subject, budget_seconds=30, seed=job.settings.seed))
    members = stored_members(job.run.folder / "checkpoints")
    if not members or job.settings.streamed:  # of a table that streams the network was trained once more, on all rows
        return findings
    for member in members:
        _calibrate(member, job.rows)
    return [*findings, members_on_test_rows(members, job.rows, job.metric, job.settings.seed)]


def _calibrate(model: Model, data: Data) -> None:
    """Temperature, or half the width of intervals, from the validation rows."""
    valid, y = data.block("valid"), data.y("valid")
    if model.target.is_number:
        model.margin = conformal_margin(y - model.predict_encoded(valid.x))
    else:
        model.temperature = fit_temperature(model.outputs(valid.x), torch.from_numpy(y), model.loss)


def _comparison(job: Job, entry: Entry) -> Finding:
    """Network and baselines on the test rows; kept for the summary, and the winning baseline as a script."""
    assert job.model is not None
    began, best = time.monotonic(), best_baseline(job)
    found = compared.compare(job.model, job.rows, job.predictions, metric=job.metric, best=best, seed=job.settings.seed)
    publish.write_comparison(job, found)
    write_script(
        found.best,
        job.rows,
        job.run.folder / "baseline.py",
        data_path=job.settings.data,
        seed=job.settings.seed,
        budget_seconds=job.run.plan["seconds_per_baseline"],
        metric=job.metric,
        reported=found.scores[found.best][job.metric].value,
    )
    return complete(
        compared.describe(found, job.settings.seed), entry, "baselines", time.monotonic() - began, job.settings.seed
    )


def best_baseline(job: Job) -> str | None:
    """The baseline with the best metric on the validation rows (never on the test rows)."""
    if not job.valid_predictions:
        return None
    return compared.best_of(job.metric, job.rows.y("valid"), job.valid_predictions)


def attack(job: Job, done: bool) -> list[Finding]:
    """How small a change of the inputs changes the answer."""
    return [] if done else _late_probe(job, "robust", "attack")


def explain(job: Job, done: bool) -> list[Finding]:
    """What the network uses, and how its answer moves."""
    return [] if done else _late_probe(job, "explain", "explain")


def _late_probe(job: Job, family: str, step: str) -> list[Finding]:
    if time.monotonic() > job.deadline:
        job.tell(
            "warning",
            text=f"out of time: the step {step!r} is left out; ask later with: netwright {step} {job.run.folder}",
        )
        return []
    if not fitting(FAMILIES[family], job.subject):
        job.tell(
            "note", text=f"the step {step!r} has nothing yet for rows of kind {job.rows.spec.kind}: it is left out"
        )
        return []
    return probe(
        family, job.subject, budget_seconds=job.seconds(step), seed=job.settings.seed, tell=job.tell, survive=True
    )


def report(job: Job, done: bool) -> list[Finding]:
    """The page and the summary, from what is stored."""
    publish.write_report(job)
    return []


ALL: Mapping[str, Step] = {
    "look": look,
    "split": split,
    "baselines": baselines,
    "design": design,
    "check": check,
    "train": train,
    "compare": compare,
    "attack": attack,
    "explain": explain,
    "report": report,
}
