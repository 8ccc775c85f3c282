"""Networks that answer together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """The mean of the members' outputs: y = sum_k f_k(x) / K.

    Shapes: whatever each member eats -> (N, n_out). Outputs are averaged before the link, so class probabilities are the
    normalised geometric mean of the members'.

    Args:
        members: networks with equal inputs and outputs.

    Source: Hansen and Salamon (1990), "Neural Network Ensembles"; from random starts Lakshminarayanan et al. (2017).

    >>> Ensemble([nn.Linear(3, 2), nn.Linear(3, 2)])(torch.zeros(4, 3)).shape
    torch.Size([4, 2])
    """

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Any) -> Tensor:
        """Outputs (N, n_out)."""
        return torch.stack([member(x) for member in self.members]).mean(0)
