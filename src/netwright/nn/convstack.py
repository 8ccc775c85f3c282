"""Convolutions one after the other in one, two or three dimensions, every usual part an option; over series of unequal lengths, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from netwright.core.errors import UsageError
from netwright.nn.activations import activation as activation_of
from netwright.nn.convnet import CONVS, DROPOUTS, NORMS, ResidualConvBlock
from netwright.nn.masked import MaskedNorm, MaskedPool, mask_of
from netwright.nn.pooling import Pool, halved_in_time, pooling
from netwright.nn.series import SeriesConv

Size = TypeVar("Size", int, Tensor)


class ConvStack(nn.Module):
    """Stages of convolution, pooling, norm and activation, each with a residual block where asked; then mean and maximum over positions.

    Shapes: (N, channels, *sizes) -> (N, n_out), n_out = 2 * widths[-1]; `sizes` is (T,), (H, W) or (D, H, W).

    Args:
        channels: of what comes in. sizes: its extent along each dimension. widths: channels of each stage.
        kernel: side of the windows. stride, dilation: of the convolutions. The border is padded with zeros so that an odd kernel
            at stride 1 keeps the size.
        pool: "max", "average", "min" or "none": of windows of 2 along each dimension that has 4 positions or more.
        norm: batch norm. residual: a residual block behind each stage. dropout: rate of whole channels behind each stage.
        activation: an entry of ACTIVATIONS.

    Raises:
        UsageError: an unknown option, or nothing is left of the positions.

    Source: LeCun et al. (1998) for convolution and pooling; Yu and Koltun (2016) for dilation; Ioffe and Szegedy (2015) for the norm;
    He et al. (2016) for residual blocks.

    >>> ConvStack(1, (9, 8, 8), (4, 8), pool="min", residual=True)(torch.zeros(2, 1, 9, 8, 8)).shape
    torch.Size([2, 16])
    """

    def __init__(
        self,
        channels: int,
        sizes: Sequence[int],
        widths: Sequence[int],
        *,
        kernel: int = 3,
        stride: int = 1,
        dilation: int = 1,
        pool: Pool = "max",
        norm: bool = True,
        residual: bool = False,
        dropout: float = 0.0,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        _check(sizes, widths, kernel, stride, dilation)
        dims, left, n_in = len(sizes), list(sizes), channels
        padding = dilation * (kernel - 1) // 2
        stages: list[nn.Module] = []
        for k, width in enumerate(widths):
            conv = CONVS[dims](n_in, width, kernel, stride, padding, dilation, bias=not norm)
            left = [_left(side, padding, kernel, stride, dilation) for side in left]
            if min(left) < 1:
                raise UsageError(f"stage {k + 1} leaves nothing of {' x '.join(map(str, sizes))}: take fewer stages")
            window = [2 if side >= 4 else 1 for side in left]
            pooled = pooling(pool, window)
            left = [side // w for side, w in zip(left, window, strict=True)] if pooled else left
            parts = [conv, pooled, NORMS[dims](width) if norm else None, activation_of(activation)]
            parts += [
                ResidualConvBlock(width, dropout=dropout, dims=dims, norm=norm, act=activation) if residual else None
            ]
            parts += [DROPOUTS[dims](dropout) if dropout else None]
            stages.append(nn.Sequential(*(part for part in parts if part is not None)))
            n_in = width
        self.stages = nn.Sequential(*stages)
        if dims > 1:
            layout = torch.channels_last if dims == 2 else torch.channels_last_3d
            self.stages.to(memory_format=layout)  # type: ignore[call-overload]
        self.n_out = 2 * n_in

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, *sizes) -> (N, n_out)."""
        maps = self.stages(x).flatten(2)
        return torch.cat([maps.mean(2), maps.amax(2)], 1)


class SeriesConvStack(nn.Module):
    """The same stages over series, for which what is behind the end of a row has no effect: `ConvStack` in one dimension, with lengths.

    Windows of the pooling begin at the first step of a row, and the last one has one step where the length is odd.

    Shapes: vectors (N, T, channels), lengths (N,) -> (N, n_out), n_out = 2 * widths[-1]. Vectors behind the length of their row
    are zero.

    Args:
        n_steps: of the longest series; it decides how often is pooled. The others as of `ConvStack`.

    Raises:
        UsageError: an unknown option, or nothing is left of the steps.

    >>> net = SeriesConvStack(2, 30, (4, 8), stride=2, pool="min").eval()
    >>> x = torch.randn(1, 30, 2)
    >>> longer = torch.cat([x, torch.zeros(1, 9, 2)], 1)
    >>> bool(torch.allclose(net(x, torch.tensor([30])), net(longer, torch.tensor([30])), atol=1e-6))
    True
    """

    def __init__(
        self,
        channels: int,
        n_steps: int,
        widths: Sequence[int],
        *,
        kernel: int = 3,
        stride: int = 1,
        dilation: int = 1,
        pool: Pool = "max",
        norm: bool = True,
        residual: bool = False,
        dropout: float = 0.0,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        _check((n_steps,), widths, kernel, stride, dilation)
        pooling(pool, (2,))  # raises where there is none of that name
        self.stages, left, n_in = nn.ModuleList(), n_steps, channels
        for k, width in enumerate(widths):
            left = _left(left, dilation * (kernel - 1) // 2, kernel, stride, dilation)
            if left < 1:
                raise UsageError(f"stage {k + 1} leaves nothing of {n_steps} steps: take fewer stages")
            halves: Pool = pool if left >= 4 else "none"
            left = left if halves == "none" else (left + 1) // 2
            stage = _SeriesStage(n_in, width, kernel, stride, dilation, halves, norm, residual, dropout, activation)
            self.stages.append(stage)
            n_in = width
        self.pool = MaskedPool(n_in, "both")
        self.n_out = self.pool.n_out

    def forward(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """Vectors (N, T, channels) and lengths (N,) -> (N, n_out)."""
        x = vectors.transpose(1, 2)
        for stage in self.stages:
            x, lengths = stage(x, lengths)
        pooled: Tensor = self.pool(x, mask_of(lengths, x.shape[2]))
        return pooled


class _SeriesStage(nn.Module):
    """(N, n_in, T) and lengths -> (N, width, T') and lengths; zero behind the end."""

    def __init__(
        self,
        n_in: int,
        width: int,
        kernel: int,
        stride: int,
        dilation: int,
        pool: Pool,
        norm: bool,
        residual: bool,
        dropout: float,
        activation: str,
    ) -> None:
        super().__init__()
        kind, padding = "batch" if norm else "none", dilation * (kernel - 1) // 2
        self.geometry = padding, kernel, stride, dilation
        self.conv = nn.Conv1d(n_in, width, kernel, stride, padding, dilation, bias=not norm)
        self.norm, self.act, self.pool = MaskedNorm(width, kind), activation_of(activation), pool
        self.dropout = nn.Dropout1d(dropout)
        self.residual = nn.ModuleList(SeriesConv(width, width, 3, norm=kind, relu=False) for _ in range(2 * residual))
        self.acts = nn.ModuleList(activation_of(activation) for _ in range(2 * residual))

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Maps and lengths."""
        padding, kernel, _, dilation = self.geometry
        missing = (
            dilation * (kernel - 1) + 1 - 2 * padding - x.shape[2]
        )  # a window of even size may be longer than all rows
        x = self.conv(functional.pad(x, (0, missing)) if missing > 0 else x)
        lengths = _left(lengths, *self.geometry).clamp(1, x.shape[2])
        if self.pool != "none":
            x = halved_in_time(x, mask_of(lengths, x.shape[2]), self.pool)
            lengths = (lengths + 1) // 2
        mask = mask_of(lengths, x.shape[2])
        x = _zeroed(self.act(self.norm(x, mask)), mask)
        if self.residual:
            (first, second), (inner, outer) = self.residual, self.acts
            branch = second(self.dropout(_zeroed(inner(first(x, mask)), mask)), mask)
            x = _zeroed(outer(x + branch), mask)
        return self.dropout(x), lengths


def _zeroed(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x.masked_fill(~mask, 0.0)


def _left(size: Size, padding: int, kernel: int, stride: int, dilation: int) -> Size:
    """Positions behind a convolution."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _check(sizes: Sequence[int], widths: Sequence[int], kernel: int, stride: int, dilation: int) -> None:
    """Refuse what no stack can be made of."""
    if len(sizes) not in CONVS:
        raise UsageError(f"{len(sizes)} dimensions were given; expected 1, 2 or 3")
    if not widths or min(widths) < 1:
        raise UsageError(f"channels {list(widths)}: expected one number of at least 1 for each stage")
    for name, value in (("kernel", kernel), ("stride", stride), ("dilation", dilation)):
        if value < 1:
            raise UsageError(f"{name} is {value}; expected at least 1")
