"""Residual convolutional networks for small images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MANY_PIXELS = 64 * 64
"""Of images with more pixels the first maps are brought down by strides, or else residual blocks would take seconds."""


CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
DROPOUTS = {1: nn.Dropout1d, 2: nn.Dropout2d, 3: nn.Dropout3d}
"""Layers by the number of dimensions of what they move over: time, the plane, space."""


def conv3x3(n_in: int, n_out: int, *, stride: int = 1) -> nn.Conv2d:
    """A 3 x 3 convolution without bias: (N, n_in, H, W) -> (N, n_out, ceil(H / stride), ceil(W / stride))."""
    return nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False)


class ResidualConvBlock(nn.Module):
    """relu(x + norm(conv(drop(relu(norm(conv(x))))))), both convolutions with windows of 3 along each of `dims` dimensions.

    Shapes: (N, width, H, W) -> (N, width, H, W); (N, width, T) or (N, width, D, H, W) where `dims` is 1 or 3.

    Source: He et al. (2016); dropout between the convolutions: Zagoruyko and Komodakis (2016).

    >>> ResidualConvBlock(8)(torch.zeros(2, 8, 5, 7)).shape
    torch.Size([2, 8, 5, 7])
    """

    def __init__(self, width: int, *, dropout: float = 0.0, dims: int = 2) -> None:
        super().__init__()
        conv, norm = CONVS[dims], NORMS[dims]
        self.first = nn.Sequential(conv(width, width, 3, padding=1, bias=False), norm(width))
        self.dropout = DROPOUTS[dims](dropout)
        self.second = nn.Sequential(conv(width, width, 3, padding=1, bias=False), norm(width))

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, ...) -> (N, width, ...)."""
        y: Tensor = (x + self.second(self.dropout(self.first(x).relu()))).relu()
        return y


def halved(n_in: int, n_out: int, *, pool: bool, stride: int = 1) -> list[nn.Module]:
    """Convolution, max-pooling of 2, norm, relu. Pooled first, a fourth of the positions is left to norm and relu."""
    pooled: list[nn.Module] = [nn.MaxPool2d(2)] if pool else []
    return [conv3x3(n_in, n_out, stride=stride), *pooled, nn.BatchNorm2d(n_out), nn.ReLU()]


class ResidualConvNet(nn.Module):
    """Images -> vectors: stages of residual blocks, each stage at half the size and up to twice the width of the one before.

    A stage is a 3 x 3 convolution, a max-pooling of 2, and `depth` residual blocks; the first stage of images of up to 16
    pixels is not pooled. Stages end where the smaller side would fall under 3 positions, and after four. Mean and maximum
    over the positions that are left are the vector. Images of more than `MANY_PIXELS` pixels are first brought down by
    convolutions of stride 2.

    Shapes: (N, channels, H, W) -> (N, n_out), n_out = 2 * width of the last stage.

    Args:
        channels, height, width_pixels: of the images; they decide how many stages there are.
        width: channels of the first stage. depth: residual blocks of each.
        dropout: rate inside the blocks, of whole channels.

    Source: He et al. (2016), "Deep Residual Learning for Image Recognition".

    >>> net = ResidualConvNet(1, 28, 28, width=8)
    >>> net(torch.zeros(2, 1, 28, 28)).shape[1] == net.n_out
    True
    """

    def __init__(
        self, channels: int, height: int, width_pixels: int, *, width: int = 16, depth: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        side, pixels, n_in, n = min(height, width_pixels), height * width_pixels, channels, width
        while pixels > MANY_PIXELS and side >= 16:
            stages.append(nn.Sequential(*halved(n_in, n, pool=False, stride=2)))
            side, pixels, n_in = (side + 1) // 2, pixels // 4, n
        for k in range(4):
            blocks = [ResidualConvBlock(n, dropout=dropout) for _ in range(depth)]
            pool = k > 0 or side > 16
            stages.append(nn.Sequential(*halved(n_in, n, pool=pool), *blocks))
            side, n_in = side // 2 if pool else side, n
            if side < 6:
                break
            n = 2 * n
        self.stages = nn.Sequential(*stages).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.n_out = 2 * n_in

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, n_out)."""
        maps = self.stages(x).flatten(2)
        return torch.cat([maps.mean(2), maps.amax(2)], 1)
