"""Residual convolutional networks for small images."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def conv3x3(n_in: int, n_out: int) -> nn.Sequential:
    """A 3 x 3 convolution without bias and its batch norm: (N, n_in, H, W) -> (N, n_out, H, W)."""
    return nn.Sequential(nn.Conv2d(n_in, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out))


class ResidualConvBlock(nn.Module):
    """relu(x + norm(conv(drop(relu(norm(conv(x))))))), both convolutions 3 x 3.

    Shapes: (N, width, H, W) -> (N, width, H, W).

    Source: He et al. (2016); dropout between the convolutions: Zagoruyko and Komodakis (2016).
    """

    def __init__(self, width: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.first = conv3x3(width, width)
        self.dropout = nn.Dropout2d(dropout)
        self.second = conv3x3(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) -> (N, width, H, W)."""
        y: Tensor = (x + self.second(self.dropout(self.first(x).relu()))).relu()
        return y


class ResidualConvNet(nn.Module):
    """Images -> vectors: stages of residual blocks, each stage at half the size and up to twice the width of the one before.

    A stage is a 3 x 3 convolution, a max-pooling of 2, and `depth` residual blocks. Stages end where the smaller side would
    fall under 4 pixels, and after four. Mean and maximum over the positions that are left are the vector.

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
        self, channels: int, height: int, width_pixels: int, *, width: int = 32, depth: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        stages, side, n_in, n = [], min(height, width_pixels), channels, width
        for k in range(4):
            pool = [nn.MaxPool2d(2)] if side >= 2 else []
            blocks = [ResidualConvBlock(n, dropout=dropout) for _ in range(depth)]
            stages.append(nn.Sequential(conv3x3(n_in, n), nn.ReLU(), *pool, *blocks))
            side, n_in = side // 2, n
            if side < 8:
                break
            n = min(2 * n, 8 * width) if k < 3 else n
        self.stages = nn.Sequential(*stages)
        self.n_out = 2 * n_in

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, n_out)."""
        maps = self.stages(x).flatten(2)
        return torch.cat([maps.mean(2), maps.amax(2)], 1)
