"""The contract of a loss: it prices outputs against targets row by row, and says what an output means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from netwright.core.errors import UsageError
from netwright.core.spec import TargetSpec

Link = Literal["softmax", "sigmoid", "identity", "unknown"]


@runtime_checkable
class Loss(Protocol):
    """values(outputs, y, *, weight, mask) -> (N,);  predict(outputs);  n_out(TargetSpec)."""

    @property
    def name(self) -> str:
        """Name of the loss's entry."""

    @property
    def link(self) -> Link:
        """How outputs become predictions."""

    def values(self, outputs: Tensor, y: Tensor, *, weight: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """The loss of each row (N,), times its weight where one is given."""

    def predict(self, outputs: Tensor) -> Tensor:
        """Class probabilities (N, C), or values (N,) in the target's unit."""

    def n_out(self, target: TargetSpec) -> int:
        """How many outputs a network needs."""

    def constant(self, target: TargetSpec) -> Tensor:
        """The outputs (n_out,) of the best prediction that ignores the inputs: where a last bias should start."""


def weighted(values: Tensor, weight: Tensor | None, mask: Tensor | None) -> Tensor:
    """Reduce trailing positions under a mask to one value a row, then apply the rows' weights."""
    if values.dim() > 1 and mask is not None:
        values = (values * mask).flatten(1).sum(1) / mask.flatten(1).sum(1).clamp(min=1)
    elif values.dim() > 1:
        values = values.flatten(1).mean(1)
    return values if weight is None else values * weight


class Adapted:
    """A user's function as a loss; see `adapt`."""

    name = "adapted"

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], link: Link) -> None:
        self.function = function
        self.link: Link = link

    def values(self, outputs: Tensor, y: Tensor, *, weight: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """The function's value of each row; where it only gives a mean, it is called row by row under `vmap`."""
        values = self.function(outputs, y)
        if values.dim() == 0 or values.shape[0] != len(y):
            values = torch.func.vmap(lambda o, t: self.function(o.unsqueeze(0), t.unsqueeze(0)))(outputs, y)
        return weighted(values, weight, mask)

    def predict(self, outputs: Tensor) -> Tensor:
        """Predictions through the stated link.

        Raises:
            UsageError: the link is unknown.
        """
        if self.link == "softmax":
            return outputs.softmax(-1)
        if self.link == "sigmoid":
            p = outputs.reshape(len(outputs)).sigmoid()
            return torch.stack([1 - p, p], -1)
        if self.link == "identity":
            return outputs.reshape(len(outputs)) if outputs.dim() == 2 and outputs.shape[1] == 1 else outputs
        raise UsageError(
            "what an output means is not known for this loss; say it: losses.adapt(function, link='softmax' | 'sigmoid' | 'identity')"
        )

    def n_out(self, target: TargetSpec) -> int:
        """One output, or one per class under a softmax."""
        return len(target.classes) if self.link == "softmax" else 1

    def constant(self, target: TargetSpec) -> Tensor:
        """Zeros: nothing is known of the function."""
        return torch.zeros(self.n_out(target))


def adapt(function: Callable[[Tensor, Tensor], Tensor], link: Link = "unknown") -> Loss:
    """A loss from a function (outputs, y) -> scalar or (N,).

    With an unknown link, whatever needs predictions says so instead of guessing.

    >>> loss = adapt(torch.nn.functional.cross_entropy, link="softmax")
    >>> loss.values(torch.zeros(2, 4), torch.tensor([0, 3])).tolist() == [torch.log(torch.tensor(4.0)).item()] * 2
    True
    """
    return Adapted(function, link)
