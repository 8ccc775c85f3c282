"""A network with an output at each step, and what judges its training."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import pad

from netwright.data.batch import Block, Inputs
from netwright.losses.metrics import score
from netwright.losses.steps import OverSteps, labelled
from netwright.nn.recurrent import Recurrent
from netwright.train.averaging import current_weights
from netwright.train.hooks import Quiet
from netwright.train.judging import outputs_of
from netwright.train.objectives import Objective
from netwright.train.state import State


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


class EvaluateSteps(Quiet):
    """Adds to each epoch's row `valid_loss`, and the metric as `valid_<metric>` over all steps with a target.

    Args:
        valid: validation rows. loss: their price. metric: the metric that chooses the epoch.
    """

    def __init__(self, objective: Objective, valid: Block, loss: OverSteps, metric: str) -> None:
        self.objective, self.valid, self.loss, self.metric = objective, valid, loss, metric

    def on_epoch(self, state: State) -> None:
        """Measure."""
        outputs = outputs_of(state.net, self.objective, self.valid, current_weights(state))
        y = self.valid.y
        assert y is not None
        state.row["valid_loss"] = float(self.loss.values(outputs, y).double().mean())
        there = labelled(y)
        prediction: np.ndarray = self.loss.predict(outputs.double())[there].numpy()
        state.row[f"valid_{self.metric}"] = score(self.metric, y[there].numpy(), prediction)
