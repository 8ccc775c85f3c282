"""Embeddings of numbers and of categories: one table per block of columns, one product per batch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PiecewiseLinear(nn.Module):
    r"""Numbers -> vectors by piecewise-linear encoding followed by a linear map per column.

    For knots k_0 < ... < k_T of a column, e_t(x) = (x - k_{t-1}) / (k_t - k_{t-1}), held to [0, 1] except that e_1 is free
    below and e_T above, so that the encoding is continuous and never flat on both sides; the output is e(x) W_p + b_p.

    Shapes: x (N, P) -> (N, P, dim). A missing number (NaN) gives the column's own learned vector.

    Args:
        knots: for each of the P columns its rising knots; fewer than two mean that the column is a single linear piece.
        dim: size of each vector.

    Source: Gorishniy, Rubachev and Babenko (2022), "On Embeddings for Numerical Features in Tabular Deep Learning".

    >>> layer = PiecewiseLinear([[0.0, 1.0, 3.0]], dim=4)
    >>> layer.encode(torch.tensor([[2.0]])).tolist(), layer(torch.tensor([[2.0], [math.nan]])).shape
    ([[[1.0, 0.5]]], torch.Size([2, 1, 4]))
    """

    start: Tensor
    width: Tensor
    floor: Tensor
    ceiling: Tensor

    def __init__(self, knots: Sequence[Sequence[float]], dim: int) -> None:
        super().__init__()
        rows = [list(k) if len(k) >= 2 else [(k[0] if k else 0.0), (k[0] if k else 0.0) + 1.0] for k in knots]
        pieces = max(len(k) for k in rows) - 1
        start, width, floor, ceiling, live = (torch.zeros(len(rows), pieces) for _ in range(5))
        start, width = start.double(), width.double() + 1
        for p, row in enumerate(rows):
            k = torch.tensor(row, dtype=torch.float64)
            n = len(row) - 1
            start[p, :n], width[p, :n], ceiling[p, :n], live[p, :n] = k[:-1], k.diff(), 1.0, 1.0
            floor[p, 0], ceiling[p, n - 1] = -8.0, 8.0
        for name, buffer in {"start": start, "width": width, "floor": floor, "ceiling": ceiling}.items():
            self.register_buffer(name, buffer)
        counts = live.sum(1)
        self.weight = nn.Parameter(
            torch.randn(len(rows), pieces, dim) * live.unsqueeze(-1) / counts.sqrt().view(-1, 1, 1)
        )
        self.bias = nn.Parameter(torch.zeros(len(rows), dim))
        self.absent = nn.Parameter(torch.randn(len(rows), dim) / math.sqrt(dim))

    def encode(self, x: Tensor) -> Tensor:
        """The encoding e(x), (N, P) -> (N, P, T) float32; the outermost pieces stop at 8 of their widths."""
        pieces = (x.unsqueeze(-1) - self.start) / self.width
        return torch.maximum(torch.minimum(pieces.float(), self.ceiling), self.floor)

    def forward(self, x: Tensor) -> Tensor:
        """Vectors (N, P, dim)."""
        missing = x.isnan().unsqueeze(-1)
        encoded = torch.where(missing, 0.0, self.encode(torch.where(missing.squeeze(-1), 0.0, x)))
        vectors = torch.einsum("npt,ptd->npd", encoded, self.weight) + self.bias
        return torch.where(missing, self.absent, vectors)


class CategoryEmbedding(nn.Module):
    """Category codes -> vectors, all columns in one table. Code 0 (unknown) starts as the zero vector.

    Shapes: codes (N, Q) int64 -> (N, Q, dim). Codes beyond a column's range count as unknown.

    Args:
        n_codes: number of codes of each of the Q columns, unknown included.
        dim: size of each vector.

    Source: Guo and Berkhahn (2016), "Entity Embeddings of Categorical Variables".

    >>> CategoryEmbedding([3, 5], dim=4)(torch.tensor([[0, 4]])).shape
    torch.Size([1, 2, 4])
    """

    offset: Tensor
    n_codes: Tensor

    def __init__(self, n_codes: Sequence[int], dim: int) -> None:
        super().__init__()
        counts = torch.tensor(list(n_codes))
        self.register_buffer("n_codes", counts)
        self.register_buffer("offset", counts.cumsum(0) - counts)
        self.table = nn.Embedding(int(counts.sum()), dim)
        with torch.no_grad():
            self.table.weight.mul_(1 / math.sqrt(dim))
            self.table.weight[self.offset] = 0.0

    def forward(self, codes: Tensor) -> Tensor:
        """Vectors (N, Q, dim)."""
        known = (codes >= 0) & (codes < self.n_codes)
        vectors: Tensor = self.table(torch.where(known, codes, 0) + self.offset)
        return vectors
