"""The loop. The objective says what one step minimises; hooks watch; everything else is here, top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from netwright.core.seed import derive
from netwright.data.batch import Batch, Source, Streaming, batches, block_rows
from netwright.nn.masks import key_at, keyed, keyed_dropouts
from netwright.nn.peaks import peaks_first
from netwright.train.checkpoint import load_checkpoint
from netwright.train.compiled import Compiling
from netwright.train.diverge import EVERY, NotFinite, Retreat, first_not_finite, stop_diverged
from netwright.train.machine import device_named, keep_freed_memory
from netwright.train.objectives import Objective
from netwright.train.precision import computing
from netwright.train.schedules import rate_at
from netwright.train.settings import Training
from netwright.train.stack import Member, Stack
from netwright.train.state import Hook, Row, State
from netwright.train.weights import Weights, released


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
    """Train a network, or a stack of them, in place.

    Batch orders depend on (seed, epoch) and on whether rows live in a file, masks on (seed, step), so a training that goes on from
    a checkpoint ends with the same bits as one that was never interrupted, and a member of a stack with what it would have become alone.
    A training that diverges goes back to the last good weights with half of its rate, at most twice. A member of a stack does not go
    back, since the others share its steps: it stops, `state.stopped` says at which step and layer, its history ends with the epoch
    before, and the best weights until then are its own; the others go on.

    Args:
        net: called as net(x) with the batch's inputs; a `Stack` brings seeds, rows and settings of its members along.
        objective: what a step minimises.
        source: training rows.
        settings: how.
        seed: of orders and masks (not of the start: that is the caller's).
        hooks: called in order.
        checkpoint: a file to go on from where it exists.

    Raises:
        TrainingError: a loss or gradient is not finite for the third time; the message names step and layer.
        UsageError, SetupError: no such device, or none here.

    Source: Robbins and Monro (1951) for the step, Rumelhart, Hinton and Williams (1986) for the gradient.
    """
    device = device_named(settings.device)
    if device.type == "cpu":
        keep_freed_memory()
    else:
        net.to(device)
    if settings.channels_last:
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    members = net.members if isinstance(net, Stack) else (Member(net, seed, settings),)
    keys = torch.tensor([derive(m.seed, "masks") for m in members])
    key = (keys if isinstance(net, Stack) else keys[0]).to(device)
    n = min(len(source) if m.rows is None else len(m.rows) for m in members)
    of_each, part_size = settings.parts(n)
    steps_per_epoch = n // (of_each * part_size)
    players = {
        name: Weights(player.net if isinstance(player, Stack) else player, *(m.settings for m in members))
        for name, player in objective.players(net).items()
    }
    state = State(net, {name: w.optimizer for name, w in players.items()}, settings, steps_per_epoch, seed)
    share = None if len(members) == of_each == 1 else torch.full_like(key, 1 / of_each, dtype=torch.float32)
    rng, retreat = torch.Generator(), Retreat(state)
    ordered = nullcontext() if isinstance(net, Stack) else peaks_first(net)

    def seeded() -> None:
        number = derive(seed, "step", state.step)
        torch.default_generator.manual_seed(number)
        rng.manual_seed(number + 1)

    def prices(net: nn.Module, key: Tensor, name: str, part: Batch, number: int) -> Tensor:
        with keyed(key_at(key, number)), computing(settings.precision, device.type):
            values = objective.step(net, part, rng)[name]
            return values.view(len(members), -1).mean(1) if isinstance(net, Stack) else values.mean()

    def where(name: str, parts: list[Batch], k: int) -> str:
        """The place of the first number that is not finite, found by member k's step alone."""
        one = net.alone(k).to(device) if isinstance(net, Stack) else net
        own = [part.part(k * part_size, (k + 1) * part_size) for part in parts]
        first = state.step * len(parts)
        again = [partial(prices, one, key.view(-1)[k], name, part, first + i) for i, part in enumerate(own)]
        seeded()
        with keyed_dropouts(one):
            return first_not_finite(one, own, again)

    def eager(parts: list[Batch], rate: float) -> None:
        for name, weights in players.items():
            seeded()
            weights.zero()
            losses = [0.0] * len(members)
            for k, part in enumerate(parts):
                means = prices(net, key, name, part, state.step * len(parts) + k)
                means.backward(share)  # type: ignore[no-untyped-call]
                losses = [a + b / len(parts) for a, b in zip(losses, means.view(-1).tolist(), strict=True)]
            norms = weights.norms()
            if not math.isfinite(sum(losses) + sum(norms)):
                if len(members) == 1:
                    raise NotFinite(state.step, losses[0], norms[0], where(name, parts, 0))
                norms = stop_diverged(state, weights, losses, norms, partial(where, name, parts))
            weights.step(rate, norms)
            state.add(losses, norms)

    with torch.random.fork_rng(devices=[]), keyed_dropouts(net), ordered, released(players.values()):
        if checkpoint is not None and checkpoint.exists():
            load_checkpoint(checkpoint, state)
        state.values.setdefault("block_rows", block_rows(source))  # a resume keeps that of the checkpoint
        compiling = Compiling(net, objective, players, state)
        for hook in hooks:
            hook.on_start(state)
        while state.epoch < settings.epochs and not state.stop:
            net.train()
            began = time.monotonic()
            retreat.begin()
            try:
                for steps in compiling.strides(_steps(source, members, state, of_each, part_size, device)):
                    numbers = range(state.step, state.step + len(steps))
                    rates = [retreat.factor * rate_at(number, state.total_steps, settings) for number in numbers]
                    if len(steps) == 1:
                        eager(steps[0], rates[0])
                    else:
                        compiling.run(steps, torch.stack([key_at(key, number) for number in numbers]), rates)
                    state.step += len(steps)
                    for hook in hooks:
                        hook.on_step(state)
                    if state.stop:
                        break
                    if state.step % EVERY < len(steps):
                        retreat.remember()
                else:
                    retreat.forget()
                    state.epoch += 1
                    state.row = _summary(state, members, retreat.factor, time.monotonic() - began)
                    state.history.rows.append(state.row)
                    for hook in hooks:
                        hook.on_epoch(state)
            except NotFinite as error:
                if compiling.running:  # once more step by step, to find the layer
                    retreat.rewind()
                    compiling.off(str(error))
                else:
                    retreat.back(error)
        retreat.forget()
        for hook in hooks:
            hook.on_end(state)
    if device.type != "cpu":
        net.to("cpu")
    net.eval()
    return state


def _steps(
    source: Source, members: Sequence[Member], state: State, of_each: int, size: int, device: torch.device
) -> Iterator[list[Batch]]:
    """The batches of the epoch's steps that are left, each in so many parts of `size` rows for each member."""
    first = state.step - state.epoch * state.steps_per_epoch
    if isinstance(source, Streaming):
        parts = source.batches(seed=members[0].seed, epoch=state.epoch, size=size, first=first * of_each)
    else:
        n = state.steps_per_epoch * of_each * size
        orders = [m.order(len(source), state.epoch, state.values["block_rows"])[:n].view(-1, size) for m in members]
        parts = batches(source, torch.cat(orders, 1)[first * of_each :])
    if device.type != "cpu":
        parts = (part.to(device) for part in parts)
    return iter(lambda: list(islice(parts, of_each)), [])


def _summary(state: State, members: Sequence[Member], factor: float, seconds: float) -> Row:
    losses, norms, count = state.values.pop("sums", [[math.nan], [math.nan], 1])
    means = [[v / count for v in values] for values in (losses, norms)]
    last = state.epoch * state.steps_per_epoch - 1
    means.append([factor * rate_at(last, state.total_steps, m.settings) for m in members])
    loss, norm, rate = means if isinstance(state.net, Stack) else [mean[0] for mean in means]
    return {
        "epoch": state.epoch,
        "step": state.step,
        "train_loss": loss,
        "gradient_norm": norm,
        "learning_rate": rate,
        "seconds": round(seconds, 3),
    }
