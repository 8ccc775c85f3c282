"""Norms and pooling of maps in time, for which whatever is behind the end of a row does not count."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from netwright.core.errors import UsageError, unknown
from netwright.nn.lengths import is_traced

Norm = Literal["batch", "layer", "none"]
Pool = Literal["mean", "max", "both"]
NORMS: tuple[Norm, ...] = ("batch", "layer", "none")
POOLS: tuple[Pool, ...] = ("mean", "max", "both")


def mask_of(lengths: Tensor, n_steps: int) -> Tensor | None:
    """Which steps are there, (N, 1, n_steps) bool; None where all are, which spares the work.

    >>> mask_of(torch.tensor([2, 2]), 2) is None, mask_of(torch.tensor([1]), 2).tolist()
    (True, [[[True, False]]])
    """
    if not is_traced(lengths) and int(lengths.amin()) >= n_steps:
        return None
    return torch.arange(n_steps, device=lengths.device) < lengths.view(-1, 1, 1)


class MaskedNorm(nn.Module):
    """Batch norm, or layer norm, of the channels of maps whose last axis is time; steps behind the end have no part in it.

    Shapes: (N, C, T) or (N, C, F, T), mask (N, 1, T) or None -> the same shape.

    Args:
        width: channels C.
        norm: "batch": over rows and steps, of each channel; "layer": over the channels of each step; "none".

    Raises:
        UsageError: another norm.

    Source: Ioffe and Szegedy (2015); Ba, Kiros and Hinton (2016).

    >>> x = torch.tensor([[[1.0, 3.0, 99.0]]])
    >>> MaskedNorm(1)(x, torch.tensor([[[True, True, False]]]))[0, 0, :2].round().tolist()
    [-1.0, 1.0]
    """

    def __init__(self, width: int, norm: str = "batch") -> None:
        super().__init__()
        if norm not in NORMS:
            raise UsageError(unknown("norm", norm, NORMS))
        self.is_idle, self.by_row = norm == "none", norm == "layer"
        self.norm = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm, "none": nn.Identity}[norm](width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """The maps, normed; what is behind the end is of no meaning."""
        y: Tensor
        if self.is_idle:
            return x
        if self.by_row:
            y = self.norm(x.movedim(1, -1)).movedim(-1, 1)
            return y
        if not self.training:
            y = self.norm(x.flatten(2)).reshape(x.shape)
            return y
        if mask is None:
            return self._batch(x.flatten(2)).reshape(x.shape)
        steps = x.movedim(-1, 1)
        there = mask.squeeze(1)
        y = torch.zeros_like(steps)
        y[there] = self._batch(steps[there])  # (M, C) or (M, C, F): the mean is over what is there
        return y.movedim(1, -1)

    def _batch(self, x: Tensor) -> Tensor:
        """In training; a batch of one value a channel has no spread, and takes that of the batches before."""
        y: Tensor
        if x.numel() > x.shape[1]:
            y = self.norm(x)
            return y
        norm = self.norm
        y = functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        return y


class MaskedPool(nn.Module):
    """Maps in time -> vectors: the mean, the maximum, or both, over the steps that are there.

    Shapes: (N, C, T), mask (N, 1, T) or None -> (N, n_out); n_out is C, or 2 C for "both".

    Raises:
        UsageError: another pooling.

    >>> pool = MaskedPool(1, "both")
    >>> pool(torch.tensor([[[1.0, 3.0, 99.0]]]), torch.tensor([[[True, True, False]]])).tolist()
    [[2.0, 3.0]]
    """

    def __init__(self, width: int, pool: str = "mean") -> None:
        super().__init__()
        if pool not in POOLS:
            raise UsageError(unknown("pooling", pool, POOLS))
        self.pool = pool
        self.n_out = width * (2 if pool == "both" else 1)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Vectors (N, n_out)."""
        parts = []
        if self.pool != "max":
            parts.append(x.mean(2) if mask is None else (x * mask).sum(2) / mask.sum(2))
        if self.pool != "mean":
            parts.append((x if mask is None else x.masked_fill(~mask, -torch.inf)).amax(2))
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)
