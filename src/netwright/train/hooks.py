"""Hooks: averaging, evaluation, early stopping, checkpoints, the clock, progress. Each does one thing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from netwright.core.seed import generator
from netwright.data.batch import Block
from netwright.losses.loss import Loss
from netwright.losses.metrics import greater_is_better, score
from netwright.train.checkpoint import save_checkpoint
from netwright.train.objectives import Objective
from netwright.train.stack import Stack
from netwright.train.state import State

AT_ONCE = 1 << 19
"""Pixels, tokens or numbers that a network is shown at once in evaluation: it holds each of them many times over."""

MEASURED = 10_000
"""Training rows whose error is measured after an epoch: their share of errors is known to half a percent."""


class Quiet:
    """A hook that does nothing: the base of those that act on a few occasions."""

    def on_start(self, state: State) -> None:
        """Nothing."""

    def on_step(self, state: State) -> None:
        """Nothing."""

    def on_epoch(self, state: State) -> None:
        """Nothing."""

    def on_end(self, state: State) -> None:
        """Nothing."""


class Average(Quiet):
    """Exponential moving average of the weights, a <- decay * a + (1 - decay) * w after each step.

    The decay starts small, min(decay, (1 + step) / (10 + step)), so that early weights are forgotten. Running means and
    variances of batch norms are averaged alike: those of the present weights would not fit averaged ones.

    Source: Polyak and Juditsky (1992); in this form Tarvainen and Valpola (2017).
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def on_start(self, state: State) -> None:
        """Begin at the present weights, unless a checkpoint brought an average along."""
        if not state.group("average"):
            state.tensors |= {f"average/{k}": v.clone() for k, v in averaged(state.net).items()}

    @torch.no_grad()
    def on_step(self, state: State) -> None:
        """Move the average."""
        decay = min(self.decay, (1 + state.step) / (10 + state.step))
        present = averaged(state.net)
        torch._foreach_lerp_([state.tensors[f"average/{k}"] for k in present], list(present.values()), 1 - decay)


class AverageEpochs(Quiet):
    """The mean of the weights at the end of each of the last quarter of the epochs, a <- a + (w - a) / n; of the running statistics
    of batch norms alike, where the original goes through the training rows once more.

    Source: Izmailov et al. (2018), "Averaging Weights Leads to Wider Optima and Better Generalization".
    """

    def __init__(self, epochs: int) -> None:
        self.first = epochs - epochs // 4

    def on_epoch(self, state: State) -> None:
        """Add the present weights; must come before the evaluation."""
        if state.epoch < self.first:
            return
        n = state.values["averaged"] = state.values.get("averaged", 0) + 1
        for name, value in averaged(state.net).items():
            mean = state.tensors.setdefault(f"average/{name}", value.clone())
            mean.lerp_(value, 1 / n)


class Snapshots(Quiet):
    """Remembers the weights at the end of each cycle of the schedule "multi-cycle"; their outputs are averaged later.

    Source: Huang et al. (2017), "Snapshot Ensembles: Train 1, Get M for Free".
    """

    def __init__(self, epochs: int, cycles: int) -> None:
        self.ends = [-(-epochs * (i + 1) // cycles) for i in range(cycles)]

    def on_epoch(self, state: State) -> None:
        """Remember, if a cycle ends."""
        if state.epoch in self.ends:
            number = self.ends.index(state.epoch)
            for k, own in enumerate(of_each(state, handed_out(state))):
                name = slot(state, f"snapshot-{number}", k)
                state.tensors |= {f"{name}/{n}": tensor.clone() for n, tensor in own.items()}


def averaged(net: torch.nn.Module) -> dict[str, Tensor]:
    """What an average is kept of, as it is now: parameters, and the running statistics of batch norms."""
    statistics = {
        f"{name}.{kind}".removeprefix("."): value
        for name, layer in net.named_modules()
        if isinstance(layer, torch.nn.modules.batchnorm._NormBase)
        for kind, value in (("running_mean", layer.running_mean), ("running_var", layer.running_var))
        if value is not None
    }
    return {**{k: p.detach() for k, p in net.named_parameters()}, **statistics}


def current_weights(state: State) -> dict[str, Tensor]:
    """The weights that would be handed out now: the average where one is kept (with its running statistics), else the
    network's."""
    return state.group("average") or {k: p.detach() for k, p in state.net.named_parameters()}


def handed_out(state: State) -> dict[str, Tensor]:
    """`current_weights`, and the buffers that belong to them."""
    return {**dict(state.net.named_buffers()), **current_weights(state)}


@torch.no_grad()
def set_weights(net: torch.nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy named parameters and buffers into a network (unlike `load_state_dict`, also shared and unsaved ones)."""
    own = {**dict(net.named_buffers()), **dict(net.named_parameters())}
    for name, tensor in weights.items():
        own[name].copy_(tensor)


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
    if batch_size is None:
        in_row = sum(tensor[:1].numel() for tensor in blocks[0].take(torch.arange(min(1, longest))).x.values())
        batch_size = max(1, min(8192, AT_ONCE // max(in_row * members, 1)))
    outputs: list[Tensor] = []
    for rows in torch.split(torch.arange(longest), batch_size):
        taken = [block.take(rows.clamp(max=len(block) - 1)).x for block in blocks]
        x = taken[0] if len(taken) == 1 else {k: torch.cat([one[k] for one in taken]) for k in taken[0]}
        outputs.append(_by_member(objective.predict(called, x), members))
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
        train: training rows, where their error is to be measured in evaluation mode: of 10,000 of them where there are more,
            the same ones each time.
    """

    def __init__(
        self,
        objective: Objective,
        valid: Block | Sequence[Block],
        loss: Loss,
        metric: str,
        train: Block | None = None,
    ) -> None:
        self.objective, self.loss, self.metric = objective, loss, metric
        self.valid = [valid] if isinstance(valid, Block) else list(valid)
        self.train = None if train is None else some_of(train, MEASURED)

    def on_epoch(self, state: State) -> None:
        """Measure."""
        weights = current_weights(state)
        seen = self._each(state, self.valid, weights)
        key = f"valid_{self.metric}"
        state.row["valid_loss"] = _listed(state, [self._price(*one) for one in seen])
        state.row[key] = _listed(state, [self._score(*one) for one in seen])
        if self.train is not None:
            errors = [
                error_of(self.loss, outputs, _target(b)) for outputs, b in self._each(state, [self.train], weights)
            ]
            state.row["train_error"] = _listed(state, errors)

    def _each(self, state: State, blocks: Sequence[Block], weights: dict[str, Tensor]) -> list[tuple[Tensor, Block]]:
        """Outputs and block of each member."""
        outputs = outputs_of_each(state.net, self.objective, blocks, weights)
        return list(zip(outputs, list(blocks) * (len(outputs) // len(blocks)), strict=True))

    def _price(self, outputs: Tensor, block: Block) -> float:
        return float(np.average(self.loss.values(outputs, _target(block)).double().numpy(), weights=_weight(block)))

    def _score(self, outputs: Tensor, block: Block) -> float:
        prediction = self.loss.predict(outputs.double()).numpy()
        return score(self.metric, _target(block).numpy(), prediction, _weight(block))


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


def of_each(state: State, tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Named parameters and buffers of each member; of a network alone they are its own."""
    net = state.net
    return [net.part(tensors, k) for k in range(len(net))] if isinstance(net, Stack) else [tensors]


def slot(state: State, name: str, k: int) -> str:
    """Under which name a hook remembers something of member k."""
    return f"{name}/{k}" if isinstance(state.net, Stack) else name


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
        for k, value in _of_members(state, self.key):
            name, value = slot(state, "best", k), self.sign * value
            best = state.values.get(name)
            if math.isfinite(value) and (best is None or value < best[0]):
                state.values[name] = [value, state.epoch]
                own = of_each(state, handed_out(state))[k]
                state.tensors |= {f"{name}/{n}": tensor.clone() for n, tensor in own.items()}
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


class Checkpoint(Quiet):
    """Stores the state every few seconds and at the end. When it is stored has no influence on what is computed."""

    def __init__(self, path: Path, every_seconds: float = 5.0) -> None:
        self.path, self.every = path, every_seconds
        self.last = time.monotonic()

    def on_step(self, state: State) -> None:
        """Store, if it is time."""
        if time.monotonic() - self.last >= self.every and state.step % state.steps_per_epoch:
            save_checkpoint(self.path, state)
            self.last = time.monotonic()

    def on_epoch(self, state: State) -> None:
        """Store, if it is time; must come last among the hooks."""
        if time.monotonic() - self.last >= self.every:
            save_checkpoint(self.path, state)
            self.last = time.monotonic()

    def on_end(self, state: State) -> None:
        """Store the end, so that a finished training is not done again."""
        save_checkpoint(self.path, state)


class Clock(Quiet):
    """A guard: ends a training at a deadline and says so. Plans are made to need it never.

    Args:
        deadline: on `time.monotonic()`'s clock.
        steps: a step at which an earlier attempt was ended by the clock; a replay ends there too.
    """

    def __init__(self, deadline: float, steps: int | None = None) -> None:
        self.deadline, self.steps = deadline, steps

    def on_step(self, state: State) -> None:
        """Look at the clock."""
        late = time.monotonic() >= self.deadline if self.steps is None else state.step >= self.steps
        if late and not state.stop:
            state.stop = f"out of time at step {state.step} of {state.total_steps}"
            state.values["stopped_by_clock"] = state.step


def _mean(value: Any) -> Any:
    return float(np.mean(value)) if isinstance(value, list) else value


class Report(Quiet):
    """Passes each epoch's row (of a stack the means over its members), and now and then the step, to a function."""

    def __init__(
        self, on_row: Callable[[dict[str, Any]], None], on_progress: Callable[[int, int], None] | None = None
    ) -> None:
        self.on_row, self.on_progress = on_row, on_progress
        self.last = 0.0

    def on_step(self, state: State) -> None:
        """At most five times a second."""
        if self.on_progress is not None and time.monotonic() - self.last > 0.2:
            self.last = time.monotonic()
            self.on_progress(state.step, state.total_steps)

    def on_epoch(self, state: State) -> None:
        """Every row."""
        self.on_row({name: _mean(value) for name, value in state.row.items()})
