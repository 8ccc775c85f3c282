"""A loss over the steps of sequences."""

from __future__ import annotations

import torch
from torch import Tensor

from netwright.core.spec import TargetSpec
from netwright.losses.loss import Link
from netwright.losses.standard import CrossEntropy, SquaredError

NO_LABEL = -1
"""Of a step of classes that says nothing; of numbers it is NaN."""


class OverSteps:
    """The mean of a loss over the steps of each row that have a target.

    Outputs (N, T, K) and y (N, T): class numbers with -1, or values with NaN, where a step has no target or is behind the end.

    Args:
        loss: of one step.

    >>> loss = OverSteps(CrossEntropy())
    >>> loss.values(torch.zeros(1, 3, 2), torch.tensor([[0, 1, NO_LABEL]])).item() == torch.tensor(2.0).log().item()
    True
    """

    name = "over-steps"

    def __init__(self, loss: CrossEntropy | SquaredError) -> None:
        self.loss = loss
        self.link: Link = loss.link

    def values(self, outputs: Tensor, y: Tensor, *, weight: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """The loss of each row (N,), times its weight where one is given."""
        there = labelled(y)
        known = torch.where(there, y, torch.zeros_like(y))
        return self.loss.values(outputs, known, weight=weight, mask=there if mask is None else there & mask)

    def predict(self, outputs: Tensor) -> Tensor:
        """Probabilities (N, T, K), or values (N, T) in the target's unit."""
        return self.loss.predict(outputs)

    def n_out(self, target: TargetSpec) -> int:
        """Outputs a step."""
        return self.loss.n_out(target)

    def constant(self, target: TargetSpec) -> Tensor:
        """The outputs of the best prediction that ignores the inputs."""
        return self.loss.constant(target)


def labelled(y: Tensor) -> Tensor:
    """Which steps have a target: (N, T) -> (N, T) bool."""
    return ~y.isnan() if y.is_floating_point() else y != NO_LABEL
