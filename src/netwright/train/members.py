"""Several networks trained on the same data: as one computation where that works, else in turn, with a word why."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from netwright.data.batch import Block, Source, Streaming
from netwright.losses.loss import Loss
from netwright.losses.metrics import greater_is_better
from netwright.nn.ensemble import Ensemble
from netwright.train.averaging import Average, AverageEpochs, Snapshots, handed_out, set_weights
from netwright.train.diverge import Diverged
from netwright.train.hooks import Checkpoint, Quiet
from netwright.train.judging import Evaluate, KeepBest, StopAtError, outputs_of, score_of
from netwright.train.loop import train
from netwright.train.objectives import Objective
from netwright.train.settings import Training
from netwright.train.stack import Member, Stack, Unstackable, of_each, slot
from netwright.train.state import History, State


@dataclass(frozen=True)
class Judge:
    """What a training is judged by, and what watches it.

    Args:
        loss: the price. metric: keeps the best weights, and stops early where there is a patience.
        valid: validation rows, for all members or for each.
        watched: training rows whose error is measured after each epoch, for all members or for each; none where it is not asked for.
    """

    loss: Loss
    metric: str
    valid: Sequence[Block]
    watched: Sequence[Block] = ()

    def hooks(self, settings: Training, objective: Objective) -> list[Quiet]:
        """Averaging, evaluation, the best weights, early stopping: in this order."""
        chain: list[Quiet] = []
        if settings.average == "swa":
            chain.append(AverageEpochs(settings.epochs))
        elif isinstance(settings.average, float):
            chain.append(Average(settings.average))
        chain += [Evaluate(objective, self.valid, self.loss, self.metric, self.watched)]
        chain += [KeepBest(self.metric, settings.patience)]
        if settings.average == "snapshots":
            chain.append(Snapshots(settings.epochs, settings.cycles))
        return chain + ([StopAtError(settings.stop_error)] if settings.stop_error is not None else [])


@dataclass(frozen=True)
class Trained:
    """What became of one network.

    Args:
        net: with its best weights; an Ensemble of its snapshots where those were asked for.
        history: one row an epoch. best: its smallest price by the metric and the epoch, None where no epoch ended.
        stop: why it ended early; empty where it did not.
        state: of the training, which members of a stack share.
    """

    net: nn.Module
    history: History
    best: tuple[float, int] | None
    stop: str
    state: State


def train_one(
    member: Member, objective: Objective, source: Source, judge: Judge, hooks: Sequence[Quiet], checkpoint: Path | None
) -> Trained:
    """One network, alone; see `loop.train`."""
    if member.rows is not None:
        some = source.take(member.rows)
        source = Block(some.x, some.y, some.weight)
    chain = [*judge.hooks(member.settings, objective), *hooks, *([Checkpoint(checkpoint)] if checkpoint else [])]
    state = train(member.net, objective, source, member.settings, seed=member.seed, hooks=chain, checkpoint=checkpoint)
    return _trained(state, [member.net], 0, objective, judge)


def train_members(
    members: Sequence[Member],
    objective: Objective,
    source: Source,
    judge: Judge,
    hooks: Callable[[int | None], Sequence[Quiet]] = lambda k: (),
    checkpoint: Path | None = None,
) -> tuple[list[Trained], str]:
    """What became of each, and why they were trained in turn; an empty word where they were one computation.

    Args:
        hooks: further ones: of the stack (None) or of member k alone.
        checkpoint: a file to store the stack in; members alone get one each beside it.
    """
    try:
        if len(members) == 1:
            raise Unstackable("there is but one")
        if isinstance(source, Streaming) or not isinstance(source, Block):
            raise Unstackable("their rows do not lie in memory")
        settings, n = members[0].settings, len(source)
        size = settings.parts(n)[1]
        steps = settings.epochs * (n // min(settings.batch_size, n))
        stack = Stack(members, {name: tensor[:size] for name, tensor in source.x.items()}, steps=steps)
    except Unstackable as why:
        return train_in_turn(members, objective, source, judge, hooks, checkpoint), str(why)
    chain = [*judge.hooks(settings, objective), *hooks(None), *([Checkpoint(checkpoint)] if checkpoint else [])]
    state = train(stack, objective, source, settings, seed=members[0].seed, hooks=chain, checkpoint=checkpoint)
    return [_trained(state, [m.net for m in members], k, objective, judge) for k in range(len(members))], ""


def train_in_turn(
    members: Sequence[Member],
    objective: Objective,
    source: Source,
    judge: Judge,
    hooks: Callable[[int | None], Sequence[Quiet]] = lambda k: (),
    checkpoint: Path | None = None,
) -> list[Trained]:
    """What became of each, one after the other; of several one that diverges stops, as in a stack, and the others are trained."""
    done: list[Trained] = []
    for k, member in enumerate(members):
        valid, watched = ([rows[k % len(rows)]] if rows else [] for rows in (judge.valid, judge.watched))
        own = replace(judge, valid=valid, watched=watched)
        path = checkpoint and checkpoint.with_stem(f"{checkpoint.stem}-{k}")
        try:
            done.append(train_one(member, objective, source, own, hooks(k), path))
        except Diverged as error:
            if len(members) == 1:
                raise
            error.state.stop = str(error)
            done.append(_trained(error.state, [member.net], 0, objective, own))
    return done


def _ensemble(net: nn.Module, weights: Sequence[dict[str, Tensor]]) -> nn.Module:
    members = [copy.deepcopy(net) for _ in weights]
    for member, own in zip(members, weights, strict=True):
        set_weights(member, own)
    return Ensemble(members)


def _trained(state: State, nets: Sequence[nn.Module], k: int, objective: Objective, judge: Judge) -> Trained:
    """Member k with its best weights, or as the ensemble of its snapshots."""
    net, settings = nets[k], state.settings
    best = state.values.get(slot(state.net, "best", k))
    why, epochs = state.stopped.get(str(k), [state.stop, None])
    shots = [state.group(slot(state.net, f"snapshot-{i}", k)) for i in range(settings.cycles)]
    shots = [shot for shot in shots if shot] if settings.average == "snapshots" else []
    if len(shots) > 1:
        net, valid = _ensemble(net, shots), judge.valid[k % len(judge.valid)]
        price = score_of(outputs_of(net, objective, valid), valid, judge.loss, judge.metric)
        best = (-price if greater_is_better(judge.metric) else price, state.epoch if epochs is None else epochs)
    else:
        set_weights(net, state.group(slot(state.net, "best", k)) or of_each(state.net, handed_out(state))[k])
    history = state.history.member(k, epochs) if isinstance(state.net, Stack) else state.history
    return Trained(net.eval(), history, (best[0], best[1]) if best else None, why, state)
