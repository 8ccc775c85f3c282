"""The state of a training, all of it: what a hook receives and what a checkpoint holds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from netwright.train.settings import Training

Row = dict[str, Any]
"""Numbers and words by name; in a stack, where members differ, a list with one of each."""


@dataclass
class History:
    """What was recorded at the end of each epoch, one dict a row ("epoch", "step", "train_loss", "valid_loss", ...)."""

    rows: list[Row] = field(default_factory=list)

    def column(self, name: str) -> list[float]:
        """The values of one quantity over the epochs that recorded it."""
        return [float(r[name]) for r in self.rows if name in r]

    def member(self, k: int, epochs: int | None = None) -> History:
        """What a member of a stack would have recorded alone, up to an epoch."""
        rows = self.rows if epochs is None else [r for r in self.rows if r["epoch"] <= epochs]
        return History([{name: v[k] if isinstance(v, list) else v for name, v in row.items()} for row in rows])


@dataclass
class State:
    """One training run in memory.

    Args:
        net: what is trained.
        optimizers: one per player.
        settings: as asked for.
        steps_per_epoch: optimiser steps in a pass.
        seed: of batch orders and masks.
        step, epoch: finished ones.
        history: one row an epoch.
        row: the row of the epoch that is ending; hooks add to it.
        stop: why the training is to end now; empty while it goes on.
        tensors, values: what hooks must remember over a kill; a checkpoint stores both.
    """

    net: nn.Module
    optimizers: Mapping[str, Optimizer]
    settings: Training
    steps_per_epoch: int
    seed: int
    step: int = 0
    epoch: int = 0
    history: History = field(default_factory=History)
    row: Row = field(default_factory=dict)
    stop: str = ""
    tensors: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @property
    def total_steps(self) -> int:
        """Steps that the settings allow."""
        return self.steps_per_epoch * self.settings.epochs

    @property
    def stopped(self) -> dict[str, list[Any]]:
        """Members of a stack that have stopped, by their number as a word: why, and after which epoch."""
        found: dict[str, list[Any]] = self.values.setdefault("stopped", {})
        return found

    @property
    def members(self) -> int:
        """Members of a stack; a network alone is one."""
        return len(self.net) if isinstance(self.net, Sized) else 1

    @property
    def live(self) -> list[int]:
        """Members that were training until the end of the epoch, those among them that stop at it."""
        return [k for k in range(self.members) if self.stopped.get(str(k), ["", self.epoch])[1] >= self.epoch]

    def stop_member(self, k: int, why: str) -> None:
        """Note that a member has stopped; the others go on. The training ends when none is left."""
        if str(k) not in self.stopped:
            self.stopped[str(k)] = [why, self.epoch]
        if len(self.stopped) == self.members:
            self.stop = why if self.members == 1 else "all members have stopped"

    def add(self, losses: Sequence[float], norms: Sequence[float]) -> None:
        """Add a step's losses and gradient norms, one of each member, to the sums of the epoch."""
        sums = self.values.setdefault("sums", [[0.0] * len(losses), [0.0] * len(norms), 0])
        sums[0] = [a + b for a, b in zip(sums[0], losses, strict=True)]
        sums[1] = [a + b for a, b in zip(sums[1], norms, strict=True)]
        sums[2] += 1

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Remembered tensors whose name starts with `prefix/`, without it."""
        return {k.removeprefix(prefix + "/"): v for k, v in self.tensors.items() if k.startswith(prefix + "/")}


class Hook(Protocol):
    """Watches and steers a training; what must survive a kill goes into `state.tensors` and `state.values`."""

    def on_start(self, state: State) -> None:
        """Before the first step (also after a resume)."""

    def on_step(self, state: State) -> None:
        """After each step."""

    def on_epoch(self, state: State) -> None:
        """After each epoch; `state.row` is the history's newest row and may be added to."""

    def on_end(self, state: State) -> None:
        """After the last step; not when interrupted, where the state may be half of a step."""
