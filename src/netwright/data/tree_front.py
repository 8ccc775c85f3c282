"""Trees -> one vector a row: a front that embeds labels, a recursion over the nodes, and a pooling of their states."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netwright.core.spec import FIRST_ID, PAD, UNKNOWN, TreeField
from netwright.data.batch import Inputs
from netwright.nn.trees import ChildSumTreeLSTM, TreePool, TreePooling, TreeReservoir


class TreeInputs(nn.Module):
    """A tree field -> labels (N, M) int64, parents (N, M), and which nodes there are (N, M); in training some labels become unknown.

    Args:
        field: the fitted field. dropout: rate at which labels become unknown, in training.

    >>> labels, parents, there = TreeInputs(TreeField(labels=("a",), n_nodes=2))(
    ...     {"tree:labels": torch.tensor([[2, 0]]), "tree:parents": torch.tensor([[-1, -1]])}
    ... )
    >>> labels.tolist(), there.tolist()
    ([[2, 0]], [[True, False]])
    """

    def __init__(self, field: TreeField, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.tensors, self.n_labels = field.tensors, FIRST_ID + len(field.labels)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Inputs) -> tuple[Tensor, Tensor, Tensor]:
        """Labels, parents, and which nodes there are."""
        labels, parents = (x[name].long() for name in self.tensors)
        there = labels != PAD
        if self.training and self.drop.p:
            kept = self.drop(torch.ones(labels.shape, device=labels.device)) > 0
            labels = torch.where(there & ~kept, UNKNOWN, labels)
        return labels, parents, there


class TreeVector(nn.Module):
    """A tree field -> vectors (N, n_out): a child-sum tree LSTM over embedded labels, and a pooling of its states.

    Args:
        field: the fitted field.
        width: of a state. dim: size of a label's vector. pool: of the states.
        dropout: rate at which labels become unknown, in training.
    """

    def __init__(self, field: TreeField, *, width: int, dim: int, pool: TreePool, dropout: float = 0.0) -> None:
        super().__init__()
        self.inputs = TreeInputs(field, dropout=dropout)
        self.vectors = nn.Embedding(self.inputs.n_labels, dim, padding_idx=PAD)
        self.recursion = ChildSumTreeLSTM(dim, width)
        self.pooling = TreePooling(width, pool)
        self.n_out = self.pooling.n_out

    def forward(self, x: Inputs) -> Tensor:
        """Vectors (N, n_out)."""
        labels, parents, there = self.inputs(x)
        pooled: Tensor = self.pooling(self.recursion(self.vectors(labels), parents, there), there)
        return pooled


class ReservoirVector(nn.Module):
    """A tree field -> vectors (N, n_out): the states of a fixed random recursion, pooled.

    Args:
        field: the fitted field.
        width: units of the reservoir. radius, scale: of `TreeReservoir`. pool: of the states.
        dropout: rate at which labels become unknown, in training.
    """

    def __init__(
        self, field: TreeField, *, width: int, radius: float, scale: float, pool: TreePool, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.inputs = TreeInputs(field, dropout=dropout)
        self.reservoir = TreeReservoir(self.inputs.n_labels, width, radius=radius, scale=scale)
        self.pooling = TreePooling(width, pool)
        self.n_out = self.pooling.n_out

    def forward(self, x: Inputs) -> Tensor:
        """Vectors (N, n_out)."""
        labels, parents, there = self.inputs(x)
        pooled: Tensor = self.pooling(self.reservoir(labels, parents, there), there)
        return pooled
