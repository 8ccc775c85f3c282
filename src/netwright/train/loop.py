"""The loop. The objective says what one step minimises; hooks watch; everything else is here, top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import nn

from netwright.core.errors import TrainingError
from netwright.core.seed import derive, generator
from netwright.data.batch import Batch, Source, Streaming
from netwright.train import optim
from netwright.train.checkpoint import load_checkpoint
from netwright.train.objectives import Objective
from netwright.train.precision import computing
from netwright.train.settings import Training
from netwright.train.state import Hook, State


def train(
    net: nn.Module,
    objective: Objective,
    source: Source,
    settings: Training,
    *,
    seed: int,
    hooks: Sequence[Hook] = (),
    checkpoint: Path | None = None,
) -> State:
    """Train a network in place.

    Batch orders depend on (seed, epoch) and masks on (seed, step) alone, so a training that goes on from a checkpoint ends
    with the same bits as one that was never interrupted.

    Args:
        net: called as net(x) with the batch's inputs.
        objective: what a step minimises.
        source: training rows.
        settings: how.
        seed: of orders and masks (not of the start: that is the caller's).
        hooks: called in order.
        checkpoint: a file to go on from where it exists.

    Raises:
        TrainingError: a loss is not finite; the message names the step.

    Source: Robbins and Monro (1951) for the step, Rumelhart, Hinton and Williams (1986) for the gradient.
    """
    players = objective.players(net)
    optimizers = {name: optim.build(player, settings) for name, player in players.items()}
    batch_size = min(settings.batch_size, len(source))
    state = State(net, optimizers, settings, max(1, len(source) // batch_size), seed)
    if checkpoint is not None and checkpoint.exists():
        load_checkpoint(checkpoint, state)
    rng = torch.Generator()
    with torch.random.fork_rng(devices=[]):
        for hook in hooks:
            hook.on_start(state)
        while state.epoch < settings.epochs and not state.stop:
            net.train()
            began, first = time.monotonic(), state.step - state.epoch * state.steps_per_epoch
            for batch in _batches(source, seed, state.epoch, batch_size, first):
                torch.manual_seed(derive(seed, "step", state.step))
                rng.manual_seed(derive(seed, "objective", state.step))
                rate = optim.rate_at(state.step, state.total_steps, settings)
                for name, player in players.items():
                    with computing(settings.precision):
                        loss = objective.step(net, batch, rng)[name].mean()
                    _update(state, player, state.optimizers[name], loss, rate)
                state.step += 1
                for hook in hooks:
                    hook.on_step(state)
                if state.stop:
                    break
            else:
                state.epoch += 1
                state.row = _summary(state, rate, time.monotonic() - began)
                state.history.rows.append(state.row)
                for hook in hooks:
                    hook.on_epoch(state)
        for hook in hooks:
            hook.on_end(state)
    net.eval()
    return state


def _batches(source: Source, seed: int, epoch: int, size: int, first: int) -> Iterator[Batch]:
    """The batches of one epoch from number `first` on."""
    if isinstance(source, Streaming):
        yield from source.batches(seed=seed, epoch=epoch, size=size, first=first)
        return
    order = torch.randperm(len(source), generator=generator(seed, "order", epoch))
    for k in range(first, max(1, len(source) // size)):
        yield source.take(order[k * size : (k + 1) * size])


def _update(state: State, player: nn.Module, optimizer: torch.optim.Optimizer, loss: torch.Tensor, rate: float) -> None:
    """One gradient step; sums of loss and gradient norm over the epoch are kept for the history."""
    value = loss.item()
    if not math.isfinite(value):
        raise TrainingError(
            f"the loss became {value} at step {state.step}; lower the learning rate ({state.settings.learning_rate:g}) "
            "or look for infinite or huge values among the inputs"
        )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    limit = state.settings.clip_norm or math.inf
    norm = nn.utils.clip_grad_norm_(player.parameters(), limit).item()
    if not math.isfinite(norm):
        raise TrainingError(
            f"the gradient became {norm} at step {state.step} (loss {value:g}); lower the learning rate "
            f"({state.settings.learning_rate:g}) or look for infinite or huge values among the inputs"
        )
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    sums = state.values.setdefault("sums", [0.0, 0.0, 0])
    sums[0] += value
    sums[1] += norm
    sums[2] += 1


def _summary(state: State, rate: float, seconds: float) -> dict[str, float | int | str]:
    loss, norm, count = state.values.pop("sums", [math.nan, math.nan, 0])
    return {
        "epoch": state.epoch,
        "step": state.step,
        "train_loss": loss / max(count, 1),
        "gradient_norm": norm / max(count, 1),
        "learning_rate": rate,
        "seconds": round(seconds, 3),
    }
