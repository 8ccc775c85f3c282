"""The state of a training, all of it: what a hook receives and what a checkpoint holds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from netwright.train.settings import Training

Row = dict[str, float | int | str]


@dataclass
class History:
    """What was recorded at the end of each epoch, one dict a row ("epoch", "step", "train_loss", "valid_loss", ...)."""

    rows: list[Row] = field(default_factory=list)

    def column(self, name: str) -> list[float]:
        """The values of one quantity over the epochs that recorded it."""
        return [float(r[name]) for r in self.rows if name in r]


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
