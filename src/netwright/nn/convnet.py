"""Residual convolutional networks for small images."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from netwright.nn.activations import activation
from netwright.nn.pooling import Pool, pooling

MANY_PIXELS = 64 * 64
"""Of images with more pixels the first maps are brought down by strides, or else residual blocks would take seconds."""


CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
DROPOUTS = {1: nn.Dropout1d, 2: nn.Dropout2d, 3: nn.Dropout3d}
"""Layers by the number of dimensions of what they move over: time, the plane, space."""


def normed(n_in: int, n_out: int, *, norm: bool, dims: int = 2, stride: int = 1) -> list[nn.Module]:
    """A convolution with windows of 3, and batch norm, which takes the place of its bias: (N, n_in, ...) -> (N, n_out, ...)."""
    conv = CONVS[dims](n_in, n_out, 3, stride=stride, padding=1, bias=not norm)
    return [conv, NORMS[dims](n_out)] if norm else [conv]


class ResidualConvBlock(nn.Module):
    """act(x + norm(conv(drop(act(norm(conv(x))))))), both convolutions with windows of 3 along each of `dims` dimensions.

    Shapes: (N, width, H, W) -> (N, width, H, W); (N, width, T) or (N, width, D, H, W) where `dims` is 1 or 3.

    Args:
        width: channels. dropout: rate of whole channels. norm: batch norm. act: an entry of ACTIVATIONS.

    Source: He et al. (2016); dropout between the convolutions: Zagoruyko and Komodakis (2016).

    >>> ResidualConvBlock(8)(torch.zeros(2, 8, 5, 7)).shape
    torch.Size([2, 8, 5, 7])
    """

    def __init__(
        self, width: int, *, dropout: float = 0.0, dims: int = 2, norm: bool = True, act: str = "relu"
    ) -> None:
        super().__init__()
        self.first = nn.Sequential(*normed(width, width, norm=norm, dims=dims))
        self.dropout = DROPOUTS[dims](dropout)
        self.second = nn.Sequential(*normed(width, width, norm=norm, dims=dims))
        self.inner, self.outer = activation(act), activation(act)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, ...) -> (N, width, ...)."""
        y: Tensor = self.outer(x + self.second(self.dropout(self.inner(self.first(x)))))
        return y


def halved(n_in: int, n_out: int, *, pool: Pool | None, stride: int = 1, norm: bool, act: str) -> list[nn.Module]:
    """Convolution, pooling of 2 (a stride of 2 for "none"; neither for None), norm, activation: pooled first, a fourth of the
    positions is left to the last two.
    """
    conv, *rest = normed(n_in, n_out, norm=norm, stride=2 if pool == "none" else stride)
    pooled = pooling(pool, (2, 2)) if pool is not None else None
    return [conv, *([] if pooled is None else [pooled]), *rest, activation(act)]


class ResidualConvNet(nn.Module):
    """Images -> vectors: stages of residual blocks, each stage at half the size and up to twice the width of the one before.

    A stage is a 3 x 3 convolution, a pooling of 2, and `depth` residual blocks; the first stage of images of up to 16
    pixels is not pooled. Stages end where the smaller side would fall under 3 positions, and after four. Mean and maximum
    over the positions that are left are the vector. Images of more than `MANY_PIXELS` pixels are first brought down by
    convolutions of stride 2.

    Shapes: (N, channels, H, W) -> (N, n_out), n_out = 2 * width of the last stage.

    Args:
        channels, height, width_pixels: of the images; they decide how many stages there are.
        width: channels of the first stage. depth: residual blocks of each.
        dropout: rate inside the blocks, of whole channels.
        pool: "max", "average", "min", or "none" for convolutions of stride 2 in its place. norm: batch norm.
        act: an entry of ACTIVATIONS.

    Raises:
        UsageError: another pooling or activation.

    Source: He et al. (2016), "Deep Residual Learning for Image Recognition".

    >>> net = ResidualConvNet(1, 28, 28, width=8)
    >>> net(torch.zeros(2, 1, 28, 28)).shape[1] == net.n_out
    True
    """

    def __init__(
        self,
        channels: int,
        height: int,
        width_pixels: int,
        *,
        width: int = 16,
        depth: int = 1,
        dropout: float = 0.0,
        pool: Pool = "max",
        norm: bool = True,
        act: str = "relu",
    ) -> None:
        super().__init__()
        stage = partial(halved, norm=norm, act=act)
        block = partial(ResidualConvBlock, dropout=dropout, norm=norm, act=act)
        stages: list[nn.Module] = []
        side, pixels, n_in, n = min(height, width_pixels), height * width_pixels, channels, width
        while pixels > MANY_PIXELS and side >= 16:
            stages.append(nn.Sequential(*stage(n_in, n, pool=None, stride=2)))
            side, pixels, n_in = (side + 1) // 2, pixels // 4, n
        for k in range(4):
            blocks = [block(n) for _ in range(depth)]
            pooled = k > 0 or side > 16
            stages.append(nn.Sequential(*stage(n_in, n, pool=pool if pooled else None), *blocks))
            side, n_in = side // 2 if pooled else side, n
            if side < 6:
                break
            n = 2 * n
        self.stages = nn.Sequential(*stages).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.n_out = 2 * n_in

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, n_out)."""
        maps = self.stages(x).flatten(2)
        return torch.cat([maps.mean(2), maps.amax(2)], 1)
