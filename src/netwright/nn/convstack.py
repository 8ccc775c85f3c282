"""Convolutions one after the other in one, two or three dimensions, every usual part an option."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from netwright.core.errors import UsageError
from netwright.nn.activations import activation as activation_of
from netwright.nn.convnet import CONVS, DROPOUTS, NORMS, ResidualConvBlock
from netwright.nn.pooling import Pool, pooling


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
            left = [(side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 for side in left]
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


def _check(sizes: Sequence[int], widths: Sequence[int], kernel: int, stride: int, dilation: int) -> None:
    """Refuse what no stack can be made of."""
    if len(sizes) not in CONVS:
        raise UsageError(f"{len(sizes)} dimensions were given; expected 1, 2 or 3")
    if not widths or min(widths) < 1:
        raise UsageError(f"channels {list(widths)}: expected one number of at least 1 for each stage")
    for name, value in (("kernel", kernel), ("stride", stride), ("dilation", dilation)):
        if value < 1:
            raise UsageError(f"{name} is {value}; expected at least 1")
