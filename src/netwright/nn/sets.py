"""Networks on sets, whose elements have no order."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from netwright.core.errors import UsageError, unknown
from netwright.nn.masked import MaskedNorm
from netwright.nn.masks import Dropout

SetPool = Literal["all", "sum", "mean", "max"]


class DeepSet(nn.Module):
    r"""rho(pool_m phi(x_m)): one perceptron phi on every element, a pooling that knows no order, another perceptron rho.

    Any function of a set is of the form rho(sum_m phi(x_m)), with phi and rho rich enough.

    Shapes: vectors (N, M, n_in), lengths (N,) -> (N, width). What stands behind a length has no effect.

    Args:
        n_in: size of an element's vector. width: of all layers. depth: layers of phi, 1 or more.
        pool: "sum" (over `usual`), "mean", "max", or "all" three beside each other.
        usual: number of elements of a usual set, by which sums are kept in range.
        dropout: rate at which features of a set are left out behind the pooling, in training.
        norm: of each layer of phi, before its ReLU: "none", "layer", or "batch" over the elements of all sets.
        residual: layers of phi but the first add what came in.

    Raises:
        UsageError: an unknown pooling or norm.

    Source: Zaheer et al. (2017), "Deep Sets", where the pooling is a sum or a maximum.

    >>> net, x = DeepSet(3, width=8).eval(), torch.randn(2, 5, 3)
    >>> lengths = torch.tensor([5, 5])
    >>> bool(torch.allclose(net(x, lengths), net(x.flip(1), lengths), atol=1e-5))
    True
    """

    def __init__(
        self,
        n_in: int,
        *,
        width: int = 64,
        depth: int = 2,
        pool: SetPool = "all",
        usual: int = 16,
        dropout: float = 0.0,
        norm: str = "none",
        residual: bool = False,
    ) -> None:
        super().__init__()
        if pool not in get_args(SetPool):
            raise UsageError(unknown("pooling of a set", str(pool), get_args(SetPool)))
        if depth < 1:
            raise UsageError(f"depth is {depth}; the perceptron on the elements needs at least one layer")
        sizes = [n_in, *[width] * depth]
        layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.element = nn.Sequential(*layers)
        self.norms = nn.ModuleList(MaskedNorm(width, norm) for _ in range(depth))
        self.residual = residual
        self.pool, self.usual, self.n_out = pool, max(1, usual), width
        n_pooled = width * (3 if pool == "all" else 1)
        # no layer norm here: it would take away how large a sum is
        self.set = nn.Sequential(Dropout(dropout), nn.Linear(n_pooled, width), nn.ReLU())

    def _features(self, vectors: Tensor, there: Tensor) -> Tensor:
        """phi of each element (N, M, width)."""
        x = vectors
        for k, norm in enumerate(self.norms):
            linear, act = self.element[2 * k], self.element[2 * k + 1]
            y = act(norm(linear(x).transpose(1, 2), there.transpose(1, 2)).transpose(1, 2))
            x = x + y if self.residual and k else y
        return x

    def forward(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """Vectors (N, M, n_in) and lengths (N,) -> (N, width)."""
        places = torch.arange(vectors.shape[1], device=vectors.device)
        there = (places < lengths.unsqueeze(-1)).unsqueeze(-1)
        features = self._features(vectors, there) * there  # of a ReLU, or a sum of some, so that 0 changes no maximum
        total = features.sum(1)
        pooled = {"sum": total / self.usual, "mean": total / lengths.clamp(min=1).unsqueeze(-1)}
        if self.pool in ("max", "all"):
            pooled["max"] = features.amax(1)
        chosen = torch.cat(list(pooled.values()), 1) if self.pool == "all" else pooled[self.pool]
        out: Tensor = self.set(chosen)
        return out
