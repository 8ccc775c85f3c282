"""Pooling of windows: the largest, the mean or the least value of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from netwright.core.errors import UsageError, unknown

Pool = Literal["max", "average", "min", "none"]
_MAX = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
_AVERAGE = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}


class MinPool(nn.Module):
    """The least value of each window, -max(-x): where a dark spot on light ground is what matters.

    Shapes: as torch's max-pooling of so many dimensions.

    Args:
        kernel: the window along each dimension.

    >>> import torch
    >>> MinPool((2,))(torch.tensor([[[3.0, 1.0, 2.0, 5.0]]])).tolist()
    [[[1.0, 2.0]]]
    """

    def __init__(self, kernel: Sequence[int]) -> None:
        super().__init__()
        self.largest = _MAX[len(kernel)](tuple(kernel))

    def forward(self, x: Tensor) -> Tensor:
        """Windows at half the size."""
        y: Tensor = -self.largest(-x)
        return y


def pooling(pool: Pool, kernel: Sequence[int]) -> nn.Module | None:
    """A layer that pools windows; None where nothing is to be pooled.

    Raises:
        UsageError: another pooling.
    """
    if pool not in get_args(Pool):
        raise UsageError(unknown("pool", pool, get_args(Pool)))
    if pool == "none" or max(kernel) == 1:
        return None
    return MinPool(kernel) if pool == "min" else (_MAX if pool == "max" else _AVERAGE)[len(kernel)](tuple(kernel))


def halved_in_time(x: Tensor, mask: Tensor | None, pool: Pool) -> Tensor:
    """Windows of two steps, the last one of a row of one where its length is odd; what is behind the end of a row has no part in them.

    Shapes: (N, C, T), mask (N, 1, T) or None -> (N, C, ceil(T / 2)), zero behind the end.

    >>> x, mask = torch.tensor([[[1.0, 3.0, 2.0, 9.0]]]), torch.tensor([[[True, True, True, False]]])
    >>> halved_in_time(x, mask, "average").tolist(), halved_in_time(x, mask, "max").tolist()
    ([[[2.0, 2.0]]], [[[3.0, 2.0]]])
    """
    if pool == "average":
        mean = functional.avg_pool1d(x if mask is None else x * mask, 2, ceil_mode=True, count_include_pad=False)
        if mask is None:
            return mean
        share = functional.avg_pool1d(mask.to(x.dtype), 2, ceil_mode=True, count_include_pad=False)
        return mean / share.clamp_min(0.5)
    sign = -1 if pool == "min" else 1
    seen = sign * x if mask is None else (sign * x).masked_fill(~mask, -torch.inf)
    peaks = sign * functional.max_pool1d(seen, 2, ceil_mode=True)
    if mask is None:
        return peaks
    there = functional.max_pool1d(mask.to(x.dtype), 2, ceil_mode=True)
    return peaks.masked_fill(there == 0, 0.0)
