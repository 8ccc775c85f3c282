"""Whether a network can learn a handful of rows by heart: the cheapest proof that all its parts work together."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from netwright.checks.fresh import (
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


@dataclass
class _Learned:
    """How far a training on one batch came."""

    rate: float = 0.0
    reached: bool = False
    losses: list[float] = field(default_factory=list)
    error: float = math.nan
    seconds_out: bool = False


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
    constant and every class right, or 99 % of the variance explained.

    Args:
        subject: recipe or model, and data.
        budget_seconds: a guard; a training that it cuts off is said to be cut off.
        seed: of the network and of the batch.
        rows: of the batch, all with different inputs. steps: at each rate, at most. rates: tried in turn until one succeeds.

    Source: Karpathy (2019); Adam: Kingma and Ba (2015).
    """
    deadline = time.monotonic() + budget_seconds
    with sealed(seed, "one-batch-overfits"):
        batch = distinct_rows(subject, rows, seed)
        assert batch.y is not None
        if len(batch) < 2 or len(set(batch.y.flatten().tolist())) < 2:
            return _one_batch_finding(
                "info", "there are not two different rows with different targets to learn", {}, seed
            )
        start = start_of(subject, seed)
        with torch.no_grad():
            outputs = objective_of(subject).predict(quiet(copy.deepcopy(start.net)), batch.x)
        best = best_constant(subject.loss, outputs, batch.y)
        floor = lowest_possible(subject.loss, outputs, batch.y)
        share = 0.01 if subject.loss.link == "identity" else 0.1
        goal = floor + share * (best - floor)
        tries = []
        for rate in rates:
            tries.append(_learn(subject, copy.deepcopy(start.net), batch, rate, steps, goal, deadline))
            if tries[-1].reached or tries[-1].seconds_out:
                break
    done = min(tries, key=lambda t: (not t.reached, min(t.losses, default=math.inf)))
    return _judge_one_batch(done, tries, len(batch), best, goal, subject.loss.link, start.note, seed)


def distinct_rows(subject: Subject, n: int, seed: int) -> Batch:
    """Training rows with pairwise different inputs, the classes in turn (or values as they come)."""
    pool = some_rows(subject, max(1024, 8 * n), seed, "one-batch")
    assert pool.y is not None
    flat = torch.cat([v.flatten(1).double() for _, v in sorted(pool.x.items())], 1).nan_to_num(nan=1e300)
    _, first = np.unique(flat.numpy(), axis=0, return_index=True)
    first.sort()
    y = pool.y[torch.from_numpy(first)]
    if not y.is_floating_point():
        turn = torch.stack([(y[: i + 1] == c).sum() for i, c in enumerate(y)])  # how many of its class have come
        first = first[torch.argsort(turn, stable=True).numpy()]
    chosen = torch.from_numpy(np.sort(first[:n]))
    return Batch({k: v[chosen] for k, v in pool.x.items()}, pool.y[chosen])


def _learn(
    subject: Subject, net: nn.Module, batch: Batch, rate: float, steps: int, goal: float, deadline: float
) -> _Learned:
    """Train on one batch until the goal, the last step, or the deadline."""
    assert batch.y is not None
    objective, done = objective_of(subject), _Learned(rate)
    parameters = [p for p in quiet(net).parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=rate) if parameters else None
    for _ in range(steps):
        outputs = objective.predict(net, batch.x)
        loss = subject.loss.values(outputs, batch.y).mean()
        done.losses.append(loss.item())
        done.error = _error(subject.loss, outputs, batch.y)
        done.reached = done.losses[-1] <= goal and not done.error > 0
        done.seconds_out = time.monotonic() >= deadline
        if done.reached or done.seconds_out or not math.isfinite(done.losses[-1]):
            break
        if optimizer is None or not loss.requires_grad:
            break
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        dense_gradients(net)
        optimizer.step()
    return done


def _error(loss: Loss, outputs: Tensor, y: Tensor) -> float:
    """Share of wrong classes; NaN where there are none."""
    if loss.link in ("unknown", "identity"):
        return math.nan
    return (loss.predict(outputs.detach()).argmax(-1) != y).double().mean().item()


def _judge_one_batch(
    done: _Learned, tries: list[_Learned], rows: int, best: float, goal: float, link: str, note: str, seed: int
) -> Finding:
    loss, steps = done.losses[-1], len(done.losses) - 1
    todo = (
        "Run the check of gradients; make sure that the loss, the target's coding and the outputs fit each other; standardise "
        "inputs and target; look for a layer that loses what distinguishes the rows."
    )
    verdict: Verdict
    if done.reached:
        verdict, title, todo = (
            "pass",
            f"{rows} rows are learned by heart in {steps} steps (loss {best:.3g} -> {loss:.2g})",
            "",
        )
    elif any(t.seconds_out for t in tries):
        verdict, title = "warn", f"out of time after {steps} steps on {rows} rows: loss {loss:.3g}, wanted {goal:.2g}"
        todo = "Give the check more seconds."
    elif done.error == 0:
        title = (
            f"all {rows} rows are right, but the loss stays at {loss:.3g} (wanted {goal:.2g}): the outputs are bounded"
        )
        verdict, todo = (
            "fail",
            "Remove the softmax, sigmoid or clamp at the end of the network: the loss applies its own.",
        )
    else:
        verdict, title = (
            "fail",
            f"{rows} rows cannot be learned by heart: loss {loss:.3g} after {steps} steps, wanted {goal:.2g}",
        )
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
