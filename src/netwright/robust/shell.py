"""The shell around every attack: it clips what the attack returns, predicts again, measures again, and counts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from netwright.core.seed import derive, generator
from netwright.data.batch import Inputs
from netwright.model import Model
from netwright.robust.attacks import Attack
from netwright.robust.goal import judge
from netwright.robust.threat import Threat, pick


@dataclass(frozen=True)
class AttackResult:
    """What an attack came to, as the shell measured it.

    Args:
        threat: what was allowed.
        x: the worst allowed rows that were found; a row stays as it was where nothing worse was found.
        before, after: predictions (N, C) or (N,) on the rows as they were, and on `x`.
        price_before, price_after: (N,) how wrong they are (see `goal.judge`); for numbers the absolute error.
        wrong: (N,) classes: wrong before the attack; such rows are not attacked.
        success: (N,) classes: right before and wrong after; numbers: the error grew.
        distance: (N,) largest change of a number in spreads. swaps: (N,) categories changed.
        n_clipped: rows in which the attack had left what was allowed.
    """

    threat: Threat
    x: Inputs
    before: np.ndarray
    after: np.ndarray
    price_before: np.ndarray
    price_after: np.ndarray
    wrong: np.ndarray
    success: np.ndarray
    distance: np.ndarray
    swaps: np.ndarray
    n_clipped: int = 0

    @property
    def accuracy(self) -> float:
        """Share of all rows that are right before and after."""
        return float((~self.wrong & ~self.success).mean())

    @property
    def rmse(self) -> float:
        """Root of the mean squared error after the attack, for numbers."""
        return float(np.sqrt(np.mean(self.price_after**2)))

    @property
    def success_rate(self) -> float:
        """Share of the rows that could be attacked whose prediction turned wrong (numbers: worse)."""
        return float(self.success.sum() / max(1, (~self.wrong).sum()))


@contextmanager
def held(module: nn.Module, seed: int = 0) -> Iterator[None]:
    """The module in evaluation mode and torch's generator at `seed`; afterwards both as they were."""
    modes = [(m, m.training) for m in module.modules()]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "module"))
        module.eval()
        try:
            yield
        finally:
            for part, mode in modes:
                if part.training != mode:
                    part.training = mode


def _judged(model: Model, x: Inputs, y: Tensor) -> tuple[np.ndarray, Tensor, Tensor]:
    prediction = model.predict_encoded(x)
    return prediction, *judge(torch.from_numpy(prediction), y)


def untouched(model: Model, x: Inputs, y: Tensor, threat: Threat) -> AttackResult:
    """The rows as they are, as the result of an attack that does nothing."""
    with held(model.module):
        prediction, price, wrong = _judged(model, x, y)
    n = len(y)
    none, prices, distance = np.zeros(n, dtype=bool), price.numpy(), np.zeros(n)
    swaps = np.zeros(n, dtype=np.int64)
    return AttackResult(
        threat, x, prediction, prediction, prices, prices, wrong.numpy(), none, distance, swaps, n_clipped=0
    )


def evaluate(
    attack: Attack,
    model: Model,
    x: Inputs,
    y: Tensor,
    threat: Threat,
    *,
    seed: int = 0,
    batch_size: int = 1024,
    start: AttackResult | None = None,
) -> AttackResult:
    """Run an attack and measure what it really achieved.

    Whatever the attack returns is projected onto what the threat allows and predicted again with the whole model; it
    counts only if it is worse than what was known before. Rows that are wrong already are not attacked.

    Args:
        attack: called as attack(net_outputs, loss, x, y, threat, rng=...).
        x, y: encoded rows and their targets.
        seed: of the attack's generator.
        batch_size: rows that are attacked at once.
        start: the result of a smaller threat on the same rows; what it found remains valid, and rows that it turned
            wrong are not attacked again, so that a larger change never looks safer.
    """
    start = untouched(model, x, y, threat) if start is None else start
    objective, is_number = model.objective, y.is_floating_point()
    found, price = {n: t.clone() for n, t in start.x.items()}, torch.from_numpy(start.price_after.copy())
    after, success = start.after.copy(), torch.from_numpy(start.success.copy())
    wrong, clipped = torch.from_numpy(start.wrong), start.n_clipped
    rows = torch.arange(len(y)) if is_number else (~wrong & ~success).nonzero().squeeze(1)
    with held(model.module, seed):
        for i, part in enumerate(torch.split(rows, batch_size) if len(rows) else ()):
            near, target = pick(x, part), y[part]
            rng = generator(seed, "attack", repr(threat.eps), threat.swaps, i)
            returned = attack(
                lambda some: objective.predict(model.module, some), model.loss, pick(x, part), target, threat, rng=rng
            )
            point = threat.project(returned, near)
            clipped += int(_differs(returned, point).sum())
            prediction, now, broken = _judged(model, point, target)
            worse = broken | (now > price[part])
            for name in found:
                found[name][part[worse]] = point[name][worse]
            price[part[worse]], success[part[worse]] = now[worse], broken[worse] | is_number
            after[part[worse].numpy()] = prediction[worse.numpy()]
    return replace(
        start,
        threat=threat,
        x=found,
        after=after,
        price_after=price.numpy(),
        success=success.numpy(),
        distance=threat.distance(found, x).numpy(),
        swaps=threat.swapped(found, x).numpy(),
        n_clipped=clipped,
    )


def _differs(returned: Inputs, point: Inputs) -> Tensor:
    """(N,) whether a row of what an attack returned is not what the shell made of it, rounding of floats aside."""
    rows = torch.zeros(len(next(iter(point.values()))), dtype=torch.bool)
    for name, kept in point.items():
        if name in returned:
            same = torch.isclose(returned[name].detach().double(), kept.double(), rtol=1e-6, atol=1e-9, equal_nan=True)
            rows |= ~same.flatten(1).all(1)
    return rows


def curve(
    attack: Attack,
    model: Model,
    x: Inputs,
    y: Tensor,
    threats: Sequence[Threat],
    *,
    seed: int = 0,
    carry: bool = True,
    deadline: float | None = None,
) -> list[AttackResult]:
    """`evaluate` for threats that grow, each beginning with what the smaller one found.

    Args:
        carry: whether to begin with what the smaller threat found; a control of one random draw does not.
        deadline: on `time.monotonic()`'s clock; threats that would begin after it are left out.
    """
    clean = untouched(model, x, y, threats[0])
    results: list[AttackResult] = []
    for threat in threats:
        if results and deadline is not None and time.monotonic() > deadline:
            break
        start = results[-1] if results and carry else clean
        results.append(evaluate(attack, model, x, y, threat, seed=seed, start=start))
    return results


def put_back(point: Inputs, x: Inputs, tensor: str, column: int) -> dict[str, Tensor]:
    """`point` with one column of one tensor as it was in `x`."""
    whole = point[tensor].clone()
    whole[:, column] = x[tensor][:, column]
    return {**point, tensor: whole}


def pruned(model: Model, x: Inputs, y: Tensor, point: Inputs) -> dict[str, Tensor]:
    """Wrong rows of a table with every change put back that is not needed to keep them wrong, one column after another.

    The columns that most rows can spare go first. What is left is a small set, though not always the smallest.
    """
    columns = [(t, c) for t in ("numbers", "codes") if t in x for c in range(x[t].shape[1])]
    with held(model.module):
        spare = {at: _judged(model, put_back(point, x, *at), y)[2] for at in columns}
        left = dict(point)
        for at in sorted(columns, key=lambda at: -int(spare[at].sum())):
            trial = put_back(left, x, *at)
            still_wrong = _judged(model, trial, y)[2]
            left[at[0]] = torch.where(still_wrong.unsqueeze(1), trial[at[0]], left[at[0]])
    return left
