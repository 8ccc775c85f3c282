"""The loss of an untrained network, against what theory says."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from netwright.checks.fresh import (
    affordable,
    best_constant,
    objective_of,
    price,
    quiet,
    sealed,
    some_rows,
    start_of,
)
from netwright.core.finding import Finding, Verdict
from netwright.model import Subject

ELEMENTS = 400_000
"""Most pixels or tokens of the rows that are looked at."""


def loss_at_start(
    subject: Subject,
    *,
    budget_seconds: float = 10.0,
    seed: int = 0,
    rows: int = 2048,
    below: float = 0.1,
    above: float = 0.5,
) -> Finding:
    """The loss of an untrained network against two values that theory gives.

    Zero outputs cost ln C under a cross-entropy; the best constant costs the entropy of the class shares, or the variance of
    the target under a squared error. A fresh network that costs more is too sure of itself; one that costs less already
    knows the answer.

    Args:
        subject: recipe or model, and data.
        budget_seconds: not needed, it is one pass.
        seed: of the fresh network and of the rows.
        rows: training rows, at most; fewer of images and texts, whose elements are bounded too.
        below, above: tolerances, as shares of the larger of the two values; an ordinary initialisation costs a little more.

    Source: Karpathy (2019).
    """
    with sealed(seed, "loss-at-start"):
        start = start_of(subject, seed)
        batch = some_rows(subject, affordable(subject, rows, elements=ELEMENTS), seed, "loss-at-start")
        assert batch.y is not None
        with torch.no_grad():
            outputs = objective_of(subject).predict(quiet(start.net), batch.x)
        measured = price(subject.loss, outputs, batch.y)
        zero = price(subject.loss, torch.zeros_like(outputs), batch.y)
        best = best_constant(subject.loss, outputs, batch.y)
    low, high = best - below * max(best, zero), (1 + above) * max(best, zero)
    twice = subject.loss.link == "softmax" and _are_probabilities(outputs)
    verdict, title, todo = _judge_start(measured, zero, best, low, high, twice, start.trained)
    return Finding(
        probe="loss-at-start",
        family="checks",
        verdict=verdict,
        title=title,
        measured={"loss": measured, "loss_of_zero_outputs": zero, "loss_of_best_constant": best, "rows": len(batch)},
        expected=f"between {low:.3g} and {high:.3g}: the best constant costs {best:.3g}, zero outputs cost {zero:.3g}, "
        f"with tolerances of {below:.0%} below and {above:.0%} above" + (f"; {start.note}" if start.note else ""),
        why="An untrained network knows nothing, so it must cost what a constant costs. A higher loss means outputs that are "
        "too large at the start or a target in an unsuitable unit, and the first epochs go into undoing that; a lower one means "
        "weights that are not fresh, or a loss that does not measure what it should.",
        todo=todo,
        reference="Karpathy (2019)",
        seed=seed,
    )


def _are_probabilities(outputs: Tensor) -> bool:
    if outputs.dim() != 2 or outputs.shape[1] < 2:
        return False
    return bool((outputs >= 0).all() and ((outputs.sum(1) - 1).abs() < 1e-4).all())


def _judge_start(
    loss: float, zero: float, best: float, low: float, high: float, twice: bool, trained: bool
) -> tuple[Verdict, str, str]:
    if not math.isfinite(loss):
        return (
            "fail",
            f"the untrained network's loss is {loss}",
            "Look for infinite inputs, or for a layer that overflows.",
        )
    if trained:
        return (
            "info",
            f"the loss is {loss:.3g}, but a trained network whose layers cannot start afresh proves nothing by it",
            "",
        )
    if loss > 3 * max(zero, best):
        todo = "Make the last layer's weights smaller, standardise inputs and target, or normalise inside the network."
        return (
            "fail",
            f"the untrained network costs {loss:.3g}, more than three times what a constant costs ({best:.3g})",
            todo,
        )
    if twice:
        todo = "Hand the loss logits: remove the softmax at the end of the network, for the loss applies its own."
        return "warn", "the outputs are probabilities, but the loss expects logits: a softmax is applied twice", todo
    if loss > high:
        todo = "Make the last layer's weights smaller, or look at the scale of the inputs."
        return (
            "warn",
            f"the untrained network costs {loss:.3g}, more than a constant should ({best:.3g} to {zero:.3g})",
            todo,
        )
    if loss < low:
        todo = "See whether the weights are fresh, whether the target is among the inputs, and what the loss averages over."
        return "warn", f"the untrained network costs {loss:.3g}, less than the best constant ({best:.3g})", todo
    if loss > 2 * best and loss - best > 0.1 * zero:
        todo = "Start the last bias at the best constant (the logarithms of the class shares, or the target's mean)."
        return (
            "warn",
            f"the untrained network costs {loss:.3g}, twice what the best constant costs ({best:.3g}) or more",
            todo,
        )
    return "pass", f"the untrained network costs {loss:.3g}, as a constant does ({best:.3g} to {zero:.3g})", ""
