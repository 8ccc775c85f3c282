"""Whether a network can learn a handful of rows by heart: the cheapest proof that all its parts work together."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from netwright.checks.data import row_keys
from netwright.checks.fresh import (
    affordable,
    best_constant,
    dense_gradients,
    lowest_possible,
    objective_of,
    quiet,
    sealed,
    some_rows,
    start_of,
)
from netwright.core.finding import Cell, Figure, Finding, Series, Verdict
from netwright.data.batch import Batch
from netwright.losses.loss import Loss
from netwright.model import Subject
from netwright.train.light import step, without_compiler

FEW = 4
"""Rows that even a small or a linear network can learn by heart."""
ELEMENTS = 1_500_000
"""Most pixels or tokens of the batch."""


@dataclass
class _Learned:
    """How far a training on one batch came.

    Args:
        rows: of the batch. best: loss of the best constant. goal: loss to reach. rate: of Adam.
        losses: before each step. error: share of wrong classes in the end; NaN where there are none.
        reached: the goal. late: whether the clock ended it.
    """

    rows: int
    best: float
    goal: float
    rate: float = 0.0
    losses: list[float] = field(default_factory=list)
    error: float = math.nan
    reached: bool = False
    late: bool = False


def one_batch_overfits(
    subject: Subject,
    *,
    budget_seconds: float = 10.0,
    seed: int = 0,
    rows: int = 32,
    steps: int = 400,
    rates: tuple[float, ...] = (3e-3, 3e-4, 3e-2),
) -> Finding:
    """Whether a fresh network can learn one small batch by heart, without regularisation, by plain Adam.

    The batch's loss must fall nearly to the lowest that any outputs could have: nine tenths of the way down from the best
    constant and every class right, or 99 % of the variance explained. A network that learns only four rows in this way is
    small, or linear, and gets a warning.

    Args:
        subject: recipe or model, and data.
        budget_seconds: a guard; a training that it cuts off is said to be cut off.
        seed: of the network and of the batch.
        rows: of the batch, all with different inputs; fewer of large images.
        steps: at each rate, at most. rates: tried in turn until one succeeds.

    Source: Karpathy (2019); Adam: Kingma and Ba (2015).
    """
    deadline = time.monotonic() + budget_seconds
    with sealed(seed, "one-batch-overfits"):
        batch = distinct_rows(subject, affordable(subject, rows, elements=ELEMENTS, least=2 * FEW), seed)
        assert batch.y is not None
        if len(batch) < 2 or len(set(batch.y.flatten().tolist())) < 2:
            title = "there are not two different rows with different targets to learn"
            return _one_batch_finding("info", title, {}, seed)
        start = start_of(subject, seed)
        done, few = _by_heart(subject, start.net, batch, rates, steps, deadline), None
        if not done.reached and not done.late and done.error != 0 and len(batch) > FEW:
            few = _by_heart(subject, start.net, distinct_rows(subject, FEW, seed), rates, steps, deadline)
    return _judge_one_batch(done, few, subject.loss.link, start.note, seed)


def _by_heart(
    subject: Subject, net: nn.Module, batch: Batch, rates: tuple[float, ...], steps: int, deadline: float
) -> _Learned:
    """Try to learn a batch at one rate after the other; the one that reached the goal, or else came closest."""
    assert batch.y is not None
    with torch.no_grad():
        outputs = objective_of(subject).predict(quiet(copy.deepcopy(net)), batch.x)
    best, floor = best_constant(subject.loss, outputs, batch.y), lowest_possible(subject.loss, outputs, batch.y)
    share = 0.01 if subject.loss.link == "identity" else 0.1
    tries: list[_Learned] = []
    for rate in rates:
        tries.append(_Learned(len(batch), best, floor + share * (best - floor), rate))
        _learn(subject, copy.deepcopy(net), batch, tries[-1], steps, deadline)
        if tries[-1].reached or tries[-1].late:
            break
    closest = min(tries, key=lambda t: (not t.reached, t.error > 0, min(t.losses, default=math.inf)))
    closest.late = not closest.reached and any(t.late for t in tries)
    return closest


def distinct_rows(subject: Subject, n: int, seed: int) -> Batch:
    """Training rows with pairwise different inputs, the classes in turn (or values as they come)."""
    pool = some_rows(subject, max(1024, 8 * n), seed, "one-batch")
    assert pool.y is not None
    _, first = np.unique(row_keys(pool), return_index=True)
    first.sort()
    y = pool.y[torch.from_numpy(first)]
    if not y.is_floating_point():
        turn = torch.stack([(y[: i + 1] == c).sum() for i, c in enumerate(y)])  # how many of its class have come
        first = first[torch.argsort(turn, stable=True).numpy()]
    chosen = torch.from_numpy(np.sort(first[:n]))
    return Batch({k: v[chosen] for k, v in pool.x.items()}, pool.y[chosen])


def _learn(subject: Subject, net: nn.Module, batch: Batch, done: _Learned, steps: int, deadline: float) -> None:
    """Train on one batch until the goal, the last step, or the deadline."""
    assert batch.y is not None
    objective = objective_of(subject)
    parameters = [p for p in quiet(net).parameters() if p.requires_grad]
    with without_compiler():
        optimizer = torch.optim.Adam(parameters, lr=done.rate, fused=True) if parameters else None
    for _ in range(steps):
        outputs = objective.predict(net, batch.x)
        loss = subject.loss.values(outputs, batch.y).mean()
        done.losses.append(loss.item())
        done.error = _error(subject.loss, outputs, batch.y)
        done.reached = done.losses[-1] <= done.goal and not done.error > 0
        done.late = not done.reached and time.monotonic() >= deadline
        if done.reached or done.late or not math.isfinite(done.losses[-1]):
            break
        if optimizer is None or not loss.requires_grad:
            break
        for parameter in parameters:
            parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        dense_gradients(net)
        step(optimizer)


def _error(loss: Loss, outputs: Tensor, y: Tensor) -> float:
    """Share of wrong classes; NaN where there are none."""
    if loss.link in ("unknown", "identity"):
        return math.nan
    return (loss.predict(outputs.detach()).argmax(-1) != y).double().mean().item()


def _judge_one_batch(done: _Learned, few: _Learned | None, link: str, note: str, seed: int) -> Finding:
    rows, best, goal, loss, steps = done.rows, done.best, done.goal, done.losses[-1], len(done.losses) - 1
    todo = (
        "Run the check of gradients; make sure that the loss, the target's coding and the outputs fit each other; standardise "
        "inputs and target; look for a layer that loses what distinguishes the rows."
    )
    verdict: Verdict = "fail"
    title = f"{rows} rows cannot be learned by heart: loss {loss:.3g} after {steps} steps, wanted {goal:.2g}"
    if done.reached:
        verdict, todo = "pass", ""
        title = f"{rows} rows are learned by heart in {steps} steps (loss {best:.3g} -> {loss:.2g})"
    elif done.late or (few and few.late):
        verdict, todo = "warn", "Give the check more seconds."
        title = f"out of time after {steps} steps on {rows} rows: loss {loss:.3g}, wanted {goal:.2g}"
    elif done.error == 0 and loss < 0.98 * done.losses[-1 - steps // 10]:
        verdict, todo = "warn", "Learning is slow: standardise the inputs, or give the check more steps."
        title = (
            f"all {rows} rows are right, and the loss still falls: {loss:.3g} after {steps} steps, wanted {goal:.2g}"
        )
    elif done.error == 0:
        title = (
            f"all {rows} rows are right, but the loss stays at {loss:.3g} (wanted {goal:.2g}): the outputs are bounded"
        )
        todo = "Remove the softmax, sigmoid or clamp at the end of the network: the loss applies its own."
    elif few and few.reached:
        verdict, todo = "warn", "If the network is meant to be linear or very small, leave it; else make it wider."
        title = f"{few.rows} rows are learned by heart, but {rows} are not: loss {loss:.3g}, wanted {goal:.2g}"
    figure = Figure(
        title="Learning one batch by heart",
        kind="line",
        series=(
            Series(name=f"loss at rate {done.rate:g}", x=tuple(range(len(done.losses))), y=tuple(done.losses)),
            Series(name="wanted", x=(0, max(steps, 1)), y=(goal, goal), dashed=True),
            Series(name="best constant", x=(0, max(steps, 1)), y=(best, best), dashed=True),
        ),
        x_label="step",
        y_label="loss",
        log_y=min(done.losses) > 0 and goal > 0,
        caption=f"{rows} rows, Adam, no regularisation.",
    )
    measured: dict[str, Cell] = {
        "loss": loss,
        "loss_of_best_constant": best,
        "steps": steps,
        "learning_rate": done.rate,
    }
    if link == "identity":
        measured["r2"] = 1 - loss / best if best > 0 else None
    elif link != "unknown":
        measured["accuracy"] = 1 - done.error
    words = {"identity": " (99 % of the variance explained)", "unknown": ""}.get(link, " and every class right")
    return _one_batch_finding(
        verdict, title, measured, seed, todo=todo, figures=(figure,), goal=goal, goal_words=words, note=note
    )


def _one_batch_finding(
    verdict: Verdict,
    title: str,
    measured: dict[str, Cell],
    seed: int,
    *,
    todo: str = "",
    figures: tuple[Figure, ...] = (),
    goal: float | None = None,
    goal_words: str = "",
    note: str = "",
) -> Finding:
    wanted = "" if goal is None else f"a loss of at most {goal:.3g}{goal_words}" + (f"; {note}" if note else "")
    return Finding(
        probe="one-batch-overfits",
        family="checks",
        verdict=verdict,
        title=title,
        measured=measured,
        expected=wanted,
        why="A network that cannot learn a handful of rows by heart will not learn from all of them: a gradient does not arrive, "
        "the loss measures something else, or the outputs cannot take the values that are wanted.",
        todo=todo,
        figures=figures,
        reference="Karpathy (2019)",
        seed=seed,
    )
