"""What one training step minimises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from netwright.data.batch import Batch, Inputs
from netwright.losses.loss import Loss
from netwright.train.precision import widened

Perturb = Callable[[nn.Module, Batch, torch.Generator], Batch]
"""Changes a batch before it is learned from: noise, augmentation, or the worst case within a distance."""


class Objective(Protocol):
    """step(net, batch, rng) -> {player: (N,)};  predict(net, x)."""

    def players(self, net: nn.Module) -> Mapping[str, nn.Module]:
        """The modules that learn, each with an optimiser of its own, in the order of their turns."""

    def step(self, net: nn.Module, batch: Batch, rng: torch.Generator) -> Mapping[str, Tensor]:
        """What each player minimises, a value a row."""

    def predict(self, net: nn.Module, x: Inputs) -> Tensor:
        """The outputs that a user asked for."""


class Supervised:
    """Price the network's output against the target, one player.

    Args:
        loss: the price.
        perturb: changes each batch before it is learned from; None leaves it.
    """

    def __init__(self, loss: Loss, perturb: Perturb | None = None) -> None:
        self.loss = loss
        self.perturb = perturb

    def players(self, net: nn.Module) -> Mapping[str, nn.Module]:
        """The network itself."""
        return {"net": net}

    def step(self, net: nn.Module, batch: Batch, rng: torch.Generator) -> Mapping[str, Tensor]:
        """The loss of each row (N,)."""
        if self.perturb is not None:
            batch = self.perturb(net, batch, rng)
        assert batch.y is not None, "supervised training needs a target"
        return {"net": self.loss.values(widened(net(batch.x)), batch.y, weight=batch.weight)}

    def predict(self, net: nn.Module, x: Inputs) -> Tensor:
        """The network's output."""
        outputs: Tensor = net(x)
        return outputs
