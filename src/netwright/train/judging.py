"""What a training is judged by after each epoch: outputs, errors and scores, the best weights, and stopping early."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from netwright.core.seed import generator
from netwright.data.batch import Block
from netwright.losses.loss import Loss
from netwright.losses.metrics import greater_is_better, score
from netwright.train.averaging import current_weights, handed_out
from netwright.train.hooks import Quiet
from netwright.train.objectives import Objective
from netwright.train.stack import Stack, of_each, slot
from netwright.train.state import State

AT_ONCE = 1 << 19
"""Pixels, tokens or numbers that a network is shown at once in evaluation: it holds each of them many times over."""

MEASURED = 10_000
"""Training rows whose error is measured after an epoch: their share of errors is known to half a percent."""


@torch.no_grad()
def outputs_of_each(
    net: torch.nn.Module,
    objective: Objective,
    blocks: Sequence[Block],
    weights: dict[str, Tensor] | None = None,
    batch_size: int | None = None,
) -> list[Tensor]:
    """Outputs in evaluation mode on a block of rows, of a network or of each member of a stack; with other weights than its own
    where given. In a stack there may be a block for each member.

    Without a batch size as many rows go at once as hold `AT_ONCE` pixels, tokens or numbers, at most 8,192.
    """
    members = len(net) if isinstance(net, Stack) else 1

    class _With(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            if isinstance(net, Stack) and len(blocks) == 1:
                x = {name: tensor.repeat(members, *[1] * (tensor.dim() - 1)) for name, tensor in x.items()}
            return functional_call(net, weights, (x,)) if weights is not None else net(x)

    was_training = net.training
    net.eval()
    called, longest = _With(), max(len(block) for block in blocks)
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    if batch_size is None:
        in_row = sum(tensor[:1].numel() for tensor in blocks[0].take(torch.arange(min(1, longest))).x.values())
        batch_size = max(1, min(8192, AT_ONCE // max(in_row * members, 1)))
    outputs: list[Tensor] = []
    for rows in torch.split(torch.arange(longest), batch_size):
        taken = [block.take(rows.clamp(max=len(block) - 1)).x for block in blocks]
        x = taken[0] if len(taken) == 1 else {k: torch.cat([one[k] for one in taken]) for k in taken[0]}
        x = {name: tensor.to(device) for name, tensor in x.items()}
        outputs.append(_by_member(objective.predict(called, x).cpu(), members))
    net.train(was_training)
    each = torch.cat(outputs, 1) if outputs else torch.zeros(members, 0)
    return [one[: len(block)] for one, block in zip(each, list(blocks) * (members // len(blocks)), strict=True)]


def _by_member(outputs: Tensor, members: int) -> Tensor:
    return outputs.view(members, -1, *outputs.shape[1:])


def outputs_of(
    net: torch.nn.Module,
    objective: Objective,
    block: Block,
    weights: dict[str, Tensor] | None = None,
    batch_size: int | None = None,
) -> Tensor:
    """`outputs_of_each` of a network alone: (N, ...)."""
    return outputs_of_each(net, objective, [block], weights, batch_size)[0]


def error_of(loss: Loss, outputs: Tensor, y: Tensor) -> float:
    """Training error in [0, 1]: share of wrong classes, or the share of the target's variance that is not explained."""
    prediction = loss.predict(outputs)
    if prediction.dim() == 2:
        return (prediction.argmax(1) != y).double().mean().item()
    y = y.double()
    return ((prediction.double() - y) ** 2).mean().item() / max(y.var(correction=0).item(), 1e-30)


def some_of(block: Block, n: int) -> Block:
    """The block, or `n` rows of it, always the same, where it has more.

    >>> len(some_of(Block({"x": torch.zeros(30, 2)}), 20))
    20
    """
    if len(block) <= n:
        return block
    some = block.take(torch.randperm(len(block), generator=generator(0, "rows to measure"))[:n].sort().values)
    return Block(some.x, some.y, some.weight)


class Evaluate(Quiet):
    """Adds to each epoch's row: `valid_loss`, the metric as `valid_<metric>`, and, if asked, `train_error`; for each member of a
    stack.

    Args:
        valid: validation rows; in a stack one block for all members, or one for each. loss: their price.
        metric: the metric that drives choices.
        train: training rows, where their error is to be measured in evaluation mode, for all members or for each: of 10,000 of them
            where there are more, the same ones each time.
    """

    def __init__(
        self,
        objective: Objective,
        valid: Block | Sequence[Block],
        loss: Loss,
        metric: str,
        train: Block | Sequence[Block] = (),
    ) -> None:
        self.objective, self.loss, self.metric = objective, loss, metric
        self.valid = [valid] if isinstance(valid, Block) else list(valid)
        self.train = [some_of(block, MEASURED) for block in ([train] if isinstance(train, Block) else train)]

    def on_epoch(self, state: State) -> None:
        """Measure."""
        weights = current_weights(state)
        seen = self._each(state, self.valid, weights)
        key = f"valid_{self.metric}"
        state.row["valid_loss"] = _listed(state, [self._price(*one) for one in seen])
        state.row[key] = _listed(state, [self._score(*one) for one in seen])
        if self.train:
            errors = [error_of(self.loss, outputs, _target(b)) for outputs, b in self._each(state, self.train, weights)]
            state.row["train_error"] = _listed(state, errors)

    def _each(self, state: State, blocks: Sequence[Block], weights: dict[str, Tensor]) -> list[tuple[Tensor, Block]]:
        """Outputs and block of each member."""
        outputs = outputs_of_each(state.net, self.objective, blocks, weights)
        return list(zip(outputs, list(blocks) * (len(outputs) // len(blocks)), strict=True))

    def _price(self, outputs: Tensor, block: Block) -> float:
        return float(np.average(self.loss.values(outputs, _target(block)).double().numpy(), weights=_weight(block)))

    def _score(self, outputs: Tensor, block: Block) -> float:
        return score_of(outputs, block, self.loss, self.metric)


def score_of(outputs: Tensor, block: Block, loss: Loss, metric: str) -> float:
    """The metric of outputs for the rows of a block, by their weights."""
    prediction = loss.predict(outputs.double()).numpy()
    return score(metric, _target(block).numpy(), prediction, _weight(block))


def _target(block: Block) -> Tensor:
    assert block.y is not None
    return block.y


def _weight(block: Block) -> np.ndarray | None:
    return None if block.weight is None else block.weight.numpy()


def _listed(state: State, values: list[float]) -> list[float] | float:
    """The values of all members; the value where there is but a network."""
    return values if isinstance(state.net, Stack) else values[0]


def _of_members(state: State, key: str) -> list[tuple[int, float]]:
    """A quantity of the epoch's row for each member that has not stopped; a network alone is number 0."""
    values = state.row[key] if isinstance(state.net, Stack) else [state.row[key]]
    return [(k, float(v)) for k, v in enumerate(values) if str(k) not in state.stopped]


class KeepBest(Quiet):
    """Remembers the weights of the epoch with the best validation metric; stops after `patience` epochs without a better one.
    Of a stack each member on its own.

    Source: Prechelt (1998), "Early Stopping - But When?".
    """

    def __init__(self, metric: str, patience: int | None) -> None:
        self.key, self.patience = f"valid_{metric}", patience
        self.sign = -1.0 if greater_is_better(metric) else 1.0

    def on_epoch(self, state: State) -> None:
        """Compare."""
        each = of_each(state.net, handed_out(state))
        for k, value in _of_members(state, self.key):
            name, value = slot(state.net, "best", k), self.sign * value
            best = state.values.get(name)
            if math.isfinite(value) and (best is None or value < best[0]):
                state.values[name] = [value, state.epoch]
                state.tensors |= {f"{name}/{n}": tensor.clone() for n, tensor in each[k].items()}
            elif self.patience is not None and state.epoch - (best[1] if best else 0) >= self.patience:
                state.stop_member(k, f"no better {self.key.replace('_', ' ')} for {self.patience} epochs")


class StopAtError(Quiet):
    """Stops when the training error, as `Evaluate` measured it, is small enough; of a stack each member on its own."""

    def __init__(self, error: float) -> None:
        self.error = error

    def on_epoch(self, state: State) -> None:
        """Compare."""
        for k, error in _of_members(state, "train_error"):
            if error <= self.error:
                state.stop_member(k, f"training error {error:.2%} reached {self.error:.2%}")
