"""How every attack probe goes: is it applicable, which rows fit the time, attack and control, a Finding."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from netwright.core.entry import Entry
from netwright.core.errors import UsageError
from netwright.core.finding import Cell, Finding
from netwright.core.seed import numpy_generator
from netwright.data.batch import Batch, Block, Inputs
from netwright.data.cells import counted
from netwright.data.data import Data
from netwright.model import Model, Subject
from netwright.robust import attacks
from netwright.robust.attacks import Attack
from netwright.robust.columns import column_details
from netwright.robust.goal import ascent, measured
from netwright.robust.outcome import finding
from netwright.robust.pictures import picture_details
from netwright.robust.sequences import sequence_details
from netwright.robust.shell import curve, held, together
from netwright.robust.threat import Threat, pick
from netwright.robust.trial import Trial

ROWS = (2000, 1000, 500, 200, 100, 50)
"""Numbers of rows to choose from by the time there is: few of them, so that a rerun mostly chooses alike."""
_TIMED_ROWS = (32, 512)


@dataclass(frozen=True)
class Plan:
    """What a probe wants to do.

    Args:
        entry: of the probe. core: its attack.
        threats: what is allowed, rising. sizes: what varies over them. unit: of `Threat.unit`, or "swaps".
        reference: the size that is judged.
        gradients, forwards: passes through the network that a row costs at each size.
    """

    entry: Entry
    core: Attack
    threats: Sequence[Threat]
    sizes: tuple[float, ...]
    unit: str
    reference: float
    gradients: int = 0
    forwards: int = 0
    notes: tuple[str, ...] = ()
    """What a reader must know, each a sentence."""


def study(plan: Plan, subject: Subject, *, budget_seconds: float, seed: int, rows: int | None) -> Finding:
    """Attack test rows as planned.

    Args:
        budget_seconds: decides how many rows; the curve is cut short where twice that is exceeded.
        rows: how many test rows, whatever the budget; None to choose.
    """
    model: Model = subject.need("model")
    data: Data = subject.need("data")
    if rows is not None and rows < 1:
        raise UsageError(f"rows must be at least 1, not {rows!r}")
    begin, test = time.monotonic(), data.block("test")
    reason = _obstacle(model, test, plan.threats[-1])
    if reason:
        return not_applicable(plan.entry, reason, seed)
    order = numpy_generator(seed, "attack rows").permutation(len(test))
    n = min(rows or _affordable(plan, model, test, order, budget_seconds), len(test))
    index, x, y, notes = predictable(model, test, np.sort(order[:n]))
    if not len(index):
        return not_applicable(plan.entry, "no row has a finite prediction", seed)
    notes = [*plan.notes, *notes]
    deadline = begin + 2 * budget_seconds
    results = curve(plan.core, model, x, y, plan.threats, seed=seed, deadline=deadline)
    if len(results) < len(plan.threats):
        notes.append(f"The time was up after {counted(len(results), 'size')} of {len(plan.threats)}.")
    control = curve(attacks.noise, model, x, y, plan.threats[: len(results)], seed=seed, carry=False)
    sizes, extra = plan.sizes[: len(results)], dict[str, Cell]()
    trial = Trial(plan.entry, model, y, index, sizes, plan.unit, plan.reference, results, control, seed, extra, notes)
    judged = results[trial.judged]
    if plan.gradients:
        _about_gradients(trial, judged.threat, x)
    details = column_details
    if judged.threat.eps > 0 and judged.threat.moved == "pixels":
        details = picture_details
    elif judged.threat.eps > 0 and model.spec.kind in ("series", "audio"):
        details = sequence_details
    return finding(trial, details(trial, judged, x))


def predictable(model: Model, test: Block, index: np.ndarray) -> tuple[np.ndarray, Inputs, Tensor, list[str]]:
    """Of the rows `index` those that can be attacked: their numbers, inputs and targets, and notes on those left out."""
    batch = test.take(torch.from_numpy(index))
    x, y = batch.x, batch.y
    assert y is not None
    finite = np.isfinite(model.predict_encoded(x).reshape(len(index), -1)).all(1)
    if not y.is_floating_point() or finite.all():
        return index, x, y, []
    keep = torch.from_numpy(np.flatnonzero(finite))
    notes = [f"{counted(int((~finite).sum()), 'row')} without a finite prediction left out."]
    return index[finite], pick(x, keep), y[keep], notes


def not_applicable(entry: Entry, reason: str, seed: int) -> Finding:
    """The Finding of an attack for which there is nothing to attack."""
    title = f"not applicable: {reason}"
    return Finding(probe=entry.name, family="robust", verdict="info", title=title, reference=entry.reference, seed=seed)


def unfit(model: Model, test: Block) -> str:
    """Why no attack can be judged on these rows; empty where it can."""
    if model.loss.link == "unknown":
        return "what an output means is not known for this loss; say it with link="
    if not len(test):
        return "there are no test rows"
    if test.y is None or test.y.dim() != 1:
        return "the target is not one class or one value a row"
    return ""


def _obstacle(model: Model, test: Block, threat: Threat) -> str:
    """Why there is nothing to attack; empty where there is."""
    if reason := unfit(model, test):
        return reason
    if threat.eps and not threat.boxes(test.take(torch.arange(1)).x):
        what = {"numbers": "number", "pixels": "image", "samples": "sound"}[threat.moved]
        return f"no {what} may change"
    if threat.swaps and not any(len(codes) > 1 for codes in threat.choices):
        return "no category may change"
    return ""


def _affordable(plan: Plan, model: Model, test: Block, order: np.ndarray, budget_seconds: float) -> int:
    """The greatest of `ROWS` that fits the budget even if no row ever turned wrong."""
    forward = gradient = 0.0
    for n in _TIMED_ROWS:  # a few first, in case they are dear
        some = test.take(torch.from_numpy(order[: together(test.x, n)].copy()))
        forward, gradient = _seconds_per_row(model, some, list(plan.threats[-1].boxes(some.x)))
        if 4 * gradient * _TIMED_ROWS[-1] > 0.05 * budget_seconds:
            break
    per_row = len(plan.threats) * (plan.gradients * gradient + (plan.forwards + 3) * forward)
    return next((n for n in ROWS if min(n, len(test)) * per_row <= budget_seconds), ROWS[-1])


def _seconds_per_row(model: Model, some: Batch, names: list[str]) -> tuple[float, float]:
    """What a row costs: forward alone, and forward with the gradient of its inputs."""
    assert some.y is not None
    x, y, seconds = some.x, some.y, list[float]()
    net_outputs = lambda x: model.objective.predict(model.module, x)  # noqa: E731
    with held(model.module):
        for leaves in ([], names):
            for _ in range(2):  # the first pass pays for what is only paid once
                start = time.monotonic()
                if leaves:
                    ascent(net_outputs, model.loss, x, y, leaves)
                else:
                    measured(net_outputs, model.loss, x, y)
                last = time.monotonic() - start
            seconds.append(last / len(y))
    return seconds[0], seconds[1]


def _about_gradients(trial: Trial, threat: Threat, x: Inputs) -> None:
    """Notes how many values can move at the judged size, and on how many rows there is no gradient to follow."""
    rows = torch.from_numpy(np.flatnonzero(~trial.results[0].wrong)[: together(x)])
    some = pick(x, rows if len(rows) else torch.arange(min(len(trial.rows), together(x))))
    boxes = threat.boxes(some)
    trial.extra["values_that_can_move"] = sum(int(b.moves.flatten(1).any(0).sum()) for b in boxes.values())
    if threat.norm != "linf":
        trial.extra["norm"] = threat.norm
    if not len(rows):
        return
    model, zero = trial.model, torch.ones(len(rows), dtype=torch.bool)
    with held(model.module):
        net_outputs = lambda x: model.objective.predict(model.module, x)  # noqa: E731
        gradients, _, _ = ascent(net_outputs, model.loss, some, trial.y[rows], list(boxes))
    for name, box in boxes.items():
        zero &= ~((gradients[name] != 0) & (box.spread > 0)).flatten(1).any(1)
    share = float(zero.double().mean())
    trial.extra["share_of_rows_without_gradient"] = share
    if share > 0.01:
        trial.notes.append(
            f"Gradients are zero on {share:.0%} of the rows: this attack may understate what a change can do."
        )
