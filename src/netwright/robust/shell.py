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
from netwright.robust.result import Result
from netwright.robust.threat import Threat, pick

_ROUNDING = 1e-9
"""A distance may exceed eps by this share, which is the rounding of measuring it."""
_VALUES = 2_000_000
"""Values of rows that go through a network at once, so that images of any size fit the memory."""
_ATTACKED = 200_000
"""Values of rows that are attacked at once: what a convolution makes of them is read again from the cache on the way back.
With 255 images of 28 x 28 at once an attack took a third less time than with 1,024."""


@dataclass(frozen=True, kw_only=True)
class AttackResult(Result):
    """What an attack on tensors came to.

    Args:
        x: the worst allowed rows that were found; a row stays as it was where nothing worse was found.
        distance: (N,) size of the change of the numbers or pixels, in units of the threat. swaps: (N,) categories changed.
    """

    threat: Threat
    x: Inputs
    distance: np.ndarray
    swaps: np.ndarray

    @property
    def change(self) -> np.ndarray:
        """(N,) the distance; the number of swaps where nothing else may change."""
        return self.distance if self.threat.eps else self.swaps


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
    return AttackResult(
        threat=threat,
        x=x,
        before=prediction,
        after=prediction,
        price_before=price.numpy(),
        price_after=price.numpy(),
        wrong=wrong.numpy(),
        success=np.zeros(len(y), dtype=bool),
        distance=np.zeros(len(y)),
        swaps=np.zeros(len(y), dtype=np.int64),
    )


def together(x: Inputs, most: int = 1024, values: int = _VALUES) -> int:
    """How many rows of `values` values in all go through a network at once with their gradients."""
    of_a_row = sum(t[:1].numel() for t in x.values())
    return min(most, max(16, values // max(1, of_a_row)))


def evaluate(
    attack: Attack,
    model: Model,
    x: Inputs,
    y: Tensor,
    threat: Threat,
    *,
    seed: int = 0,
    batch_size: int | None = None,
    start: AttackResult | None = None,
) -> AttackResult:
    """Run an attack and measure what it really achieved.

    Whatever the attack returns is projected onto what the threat allows, measured, and predicted again with the whole model;
    it counts only if it is no farther than eps and worse than what was known before. Rows that are wrong already are not
    attacked.

    Args:
        attack: called as attack(net_outputs, loss, x, y, threat, rng=...).
        x, y: encoded rows and their targets.
        seed: of the attack's generator.
        batch_size: rows that are attacked at once; None for what goes fastest.
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
        for i, part in enumerate(torch.split(rows, batch_size or together(x, values=_ATTACKED)) if len(rows) else ()):
            near, target = pick(x, part), y[part]
            rng = generator(seed, "attack", repr(threat.eps), threat.swaps, i)
            returned = attack(
                lambda some: objective.predict(model.module, some), model.loss, pick(x, part), target, threat, rng=rng
            )
            point = threat.project(returned, near)
            clipped += int(_differs(returned, point).sum())
            allowed = threat.distance(point, near) <= threat.eps * (1 + _ROUNDING)
            prediction, now, broken = _judged(model, point, target)
            worse = (broken | (now > price[part])) & allowed
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
            rows |= ~same.reshape(len(same), -1).all(1)
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
