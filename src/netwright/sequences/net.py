"""A network with an output at each step, what judges its training, and what is kept of several."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn
from torch.nn.functional import pad

from netwright.core.errors import TrainingError
from netwright.core.spec import TargetSpec
from netwright.data.batch import Block, Inputs
from netwright.losses.loss import Link
from netwright.losses.standard import CrossEntropy, SquaredError
from netwright.losses.steps import OverSteps, labelled
from netwright.nn.ensemble import Ensemble
from netwright.nn.recurrent import Recurrent
from netwright.train.members import Trained


class PerStep(nn.Module):
    """A front of sequences, recurrent layers, and a linear map at each step: named tensors -> (N, T, n_out).

    Args:
        front: named tensors -> (vectors (N, T, D), lengths (N,)); it may cut off what all rows of a batch have behind their ends.
        body: over the vectors. n_out: outputs a step. dropout: rate before the linear map.
    """

    def __init__(self, front: nn.Module, body: Recurrent, n_out: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.front, self.body = front, body
        self.drop, self.head = nn.Dropout(dropout), nn.Linear(body.n_out, n_out)

    def forward(self, x: Inputs) -> Tensor:
        """Outputs (N, T, n_out), T as in the tensors; behind the end of a row they mean nothing."""
        vectors, lengths = self.front(x)
        outputs, _ = self.body(vectors, lengths)
        steps: Tensor = self.head(self.drop(outputs))
        given = next(iter(x.values()))
        return pad(steps, (0, 0, 0, given.shape[-1] - steps.shape[1]))


class AtLabels:
    """The loss of a step, at those steps of given rows that have a target: what judges a training, (M,) steps in a row.

    Args:
        loss: of one step. there: which steps of the rows have a target (N, T).

    >>> import torch
    >>> loss = AtLabels(CrossEntropy(), torch.tensor([[True, False], [True, True]]))
    >>> loss.predict(torch.zeros(2, 2, 5)).shape, loss.values(torch.zeros(2, 2, 5), torch.tensor([1, 4, 0])).shape
    (torch.Size([3, 5]), torch.Size([3]))
    """

    name = "at-labels"

    def __init__(self, loss: CrossEntropy | SquaredError, there: Tensor) -> None:
        self.loss, self.there = loss, there
        self.link: Link = loss.link

    def values(self, outputs: Tensor, y: Tensor, *, weight: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """The loss of each step with a target (M,), given its target."""
        return self.loss.values(outputs[self.there], y, weight=weight, mask=mask)

    def predict(self, outputs: Tensor) -> Tensor:
        """Probabilities (M, K), or values (M,), at each step with a target."""
        return self.loss.predict(outputs[self.there])

    def n_out(self, target: TargetSpec) -> int:
        """Outputs a step."""
        return self.loss.n_out(target)

    def constant(self, target: TargetSpec) -> Tensor:
        """The outputs of the best prediction that ignores the inputs."""
        return self.loss.constant(target)


def judged(loss: OverSteps, rows: Block) -> tuple[AtLabels, Block]:
    """What judges a training by rows with targets (N, T): a loss, and those of the rows that have any target, which are (M,) now."""
    assert rows.y is not None
    there = labelled(rows.y)
    some = rows.take(there.any(1).nonzero()[:, 0])
    assert some.y is not None
    there = labelled(some.y)
    return AtLabels(loss.loss, there), Block(some.x, some.y[there])


def kept(trained: Sequence[Trained]) -> tuple[nn.Module, Trained, np.ndarray]:
    """The mean of the networks that ended an epoch well, the first of those, and the smallest price of each (1, K).

    Raises:
        TrainingError: none did, and time was not what they lacked.
    """
    prices = np.array([[one.best[0] if one.best else math.inf for one in trained]])
    good = [one for one in trained if one.best]
    if not good and "stopped_by_clock" not in trained[0].state.values:
        raise TrainingError(
            f"no network ended an epoch with finite numbers{': ' * bool(trained[0].stop)}{trained[0].stop}; "
            "lower the learning rate or look for huge values"
        )
    good = good or [trained[0]]
    for k, one in enumerate(trained, 1):
        if not one.best and one is not good[0]:
            why = one.stop or "no epoch ended with finite numbers"
            warnings.warn(f"network {k} of {len(trained)} is left out: {why}", ConvergenceWarning, stacklevel=4)
    net = Ensemble([one.net for one in good]).eval() if len(good) > 1 else good[0].net
    return net, good[0], prices


def members_of(net: nn.Module) -> list[nn.Module]:
    """The networks whose mean answers."""
    return list(net.members) if isinstance(net, Ensemble) else [net]
