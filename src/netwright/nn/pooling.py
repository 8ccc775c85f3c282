"""Pooling of windows: the largest, the mean or the least value of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from torch import Tensor, nn

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
