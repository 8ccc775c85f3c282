"""LeNet-5: in the form of 1998, and in the form usual today."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netwright.core.errors import UsageError, unknown
from netwright.nn.activations import activation as activation_of
from netwright.nn.codes import CODE_LENGTH

SIDE, INSIDE = 32, 28
"""Pixels along a side of what LeNet-5 takes, and of the picture inside of its frame."""
CONNECTIONS = (
    (0, 1, 2),
    (1, 2, 3),
    (2, 3, 4),
    (3, 4, 5),
    (0, 4, 5),
    (0, 1, 5),
    (0, 1, 2, 3),
    (1, 2, 3, 4),
    (2, 3, 4, 5),
    (0, 3, 4, 5),
    (0, 1, 4, 5),
    (0, 1, 2, 5),
    (0, 1, 3, 4),
    (1, 2, 4, 5),
    (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)
"""The maps of S2 that each of the 16 maps of C3 sees."""


def framed(images: Tensor) -> Tensor:
    """Images (N, C, H, W) -> (N, C, 32, 32): the edges are repeated all around until they fill the frame.

    Images whose longer side is not from 20 to 32 pixels are brought to 28 first, by means of blocks and linearly between them.

    >>> framed(torch.rand(2, 1, 28, 28)).shape, framed(torch.rand(2, 3, 100, 50)).shape
    (torch.Size([2, 1, 32, 32]), torch.Size([2, 3, 32, 32]))
    """
    height, width = images.shape[2:]
    longer = max(height, width)
    if not 20 <= longer <= SIDE:
        if (block := longer // INSIDE) > 1 and min(height, width) >= block:
            images = F.avg_pool2d(images, block)
        size = [max(1, round(side * INSIDE / longer)) for side in (height, width)]
        images = F.interpolate(images, size, mode="bilinear", align_corners=False)
        height, width = size
    left, top = (SIDE - width) // 2, (SIDE - height) // 2
    return F.pad(images, (left, SIDE - width - left, top, SIDE - height - top), mode="replicate")


class Subsampling(nn.Module):
    """Each map at half its size: a_c * mean of 2 x 2 + b_c, two trained numbers a map. (N, C, H, W) -> (N, C, H / 2, W / 2).

    Source: LeCun et al. (1998), section II.B; there a_c multiplies the sum of the four, which is the same up to its factor 4.

    >>> sum(p.numel() for p in Subsampling(6).parameters())
    12
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels).uniform_(0.8, 1.2))
        self.bias = nn.Parameter(torch.empty(channels).uniform_(-0.1, 0.1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H / 2, W / 2)."""
        return F.avg_pool2d(x, 2) * self.weight.view(-1, 1, 1) + self.bias.view(-1, 1, 1)


class PartialConv(nn.Module):
    """A convolution whose output maps see some of the input maps each, with weights for those alone.

    Shapes: (N, n_in, H, W) -> (N, len(table), H - kernel + 1, W - kernel + 1).

    Args:
        n_in: input maps. table: for each output map the input maps that it sees. kernel: side of the window.

    Source: LeCun et al. (1998), table I.

    >>> sum(p.numel() for p in PartialConv(6, CONNECTIONS, 5).parameters())
    1516
    """

    place: Tensor

    def __init__(self, n_in: int, table: tuple[tuple[int, ...], ...], kernel: int) -> None:
        super().__init__()
        seen = sum(map(len, table))
        place, number = torch.full((len(table), n_in), seen), 0  # behind the weights stands a window of zeros
        for k, maps in enumerate(table):
            place[k, list(maps)] = torch.arange(number, number + len(maps))
            number += len(maps)
        self.register_buffer("place", place, persistent=False)
        self.weight = nn.Parameter(torch.empty(seen, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(len(table)))
        self.fans = [len(maps) * kernel**2 for maps in table]
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Uniform of spread 1 / sqrt(inputs of the unit)."""
        bounds = torch.tensor([math.sqrt(3 / fan) for fan in self.fans])
        counts = [fan // self.weight[0].numel() for fan in self.fans]
        bound = bounds.repeat_interleave(torch.tensor(counts)).view(-1, 1, 1)
        self.weight.copy_((2 * torch.rand_like(self.weight) - 1) * bound)
        self.bias.copy_((2 * torch.rand_like(self.bias) - 1) * bounds)

    def kernels(self) -> Tensor:
        """The windows (outputs, inputs, kernel, kernel), zero where there is no connection."""
        return torch.cat([self.weight, torch.zeros_like(self.weight[:1])])[self.place]

    def forward(self, x: Tensor) -> Tensor:
        """The output maps."""
        return F.conv2d(x, self.kernels(), self.bias)


class RadialBasis(nn.Module):
    """Minus the squared distance to each of C fixed codes: y_c = -sum_j (x_j - code_cj)^2, so that the nearest code is largest.

    Shapes: (N, J) -> (N, C).

    Args:
        codes: (C, J), such as `netwright.nn.codes.class_codes` gives.

    Source: LeCun et al. (1998), equation 7, with the sign turned: our largest output wins there the smallest.

    >>> RadialBasis(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))(torch.tensor([[1.0, 0.0]])).tolist()
    [[-1.0, -1.0]]
    """

    codes: Tensor

    def __init__(self, codes: Tensor) -> None:
        super().__init__()
        self.register_buffer("codes", codes, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, J) -> (N, C)."""
        return -((x.unsqueeze(1) - self.codes) ** 2).sum(2)


class LeNet1998(nn.Module):
    """C1 6@28x28, S2 6@14x14, C3 16@10x10 of partial connections, S4 16@5x5, C5 120, F6 84, and distances to codes.

    Shapes: (N, channels, H, W) -> (N, C); see `framed` for the sizes. Parameters with one channel: C1 156, S2 12, C3 1,516,
    S4 32, C5 48,120, F6 10,164; the codes are fixed.

    Args:
        channels: of the images; the paper has one. codes: (C, 84) of the classes.

    Source: LeCun, Bottou, Bengio and Haffner (1998), "Gradient-Based Learning Applied to Document Recognition". We differ in the
    drawings behind the codes (our own, in 7 x 12), and the trained factor of S2 and S4 multiplies a mean. Weights start with the
    spread 1 / sqrt(inputs) of LeCun, Bottou, Orr and Müller (1998); the paper's, within 2.4 / inputs, are so small that a method
    of first order hardly moves at first.

    >>> from netwright.nn.codes import class_codes
    >>> net = LeNet1998(1, class_codes([str(digit) for digit in range(10)]))
    >>> net(torch.zeros(2, 1, 28, 28)).shape, sum(p.numel() for p in net.parameters())
    (torch.Size([2, 10]), 60000)
    """

    def __init__(self, channels: int, codes: Tensor) -> None:
        super().__init__()
        if codes.shape[1] != CODE_LENGTH:
            raise UsageError(f"the codes have {codes.shape[1]} elements; expected {CODE_LENGTH}, as F6 has units")
        self.c1, self.s2 = nn.Conv2d(channels, 6, 5), Subsampling(6)
        self.c3, self.s4 = PartialConv(6, CONNECTIONS, 5), Subsampling(16)
        self.c5, self.f6 = nn.Conv2d(16, 120, 5), nn.Linear(120, CODE_LENGTH)
        self.squash, self.output = activation_of("scaled-tanh"), RadialBasis(codes)
        for layer in (self.c1, self.c5, self.f6):
            _drawn(layer)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, C)."""
        for layer in (self.c1, self.s2, self.c3, self.s4, self.c5):
            x = self.squash(layer(x if layer is not self.c1 else framed(x)))
        y: Tensor = self.output(self.squash(self.f6(x.flatten(1))))
        return y


@torch.no_grad()
def _drawn(layer: nn.Conv2d | nn.Linear) -> None:
    """Draw weights and biases uniformly with the spread 1 / sqrt(inputs of a unit)."""
    bound = math.sqrt(3 / layer.weight[0].numel())
    for parameter in (layer.weight, layer.bias):
        if parameter is not None:
            parameter.uniform_(-bound, bound)


_POOLS = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}


class LeNet5(nn.Module):
    """Two convolutions with pooling and three linear maps: 6@28x28, 6@14x14, 16@10x10, 16@5x5, 120, 84, n_out, all connected.

    Shapes: (N, channels, H, W) -> (N, n_out); see `framed` for the sizes.

    Args:
        channels: of the images. n_out: outputs.
        activation: an entry of ACTIVATIONS. pool: "max" or "average". norm: batch norm behind convolutions and the first linear map.
        dropout: rate before the last two linear maps.

    Raises:
        UsageError: an unknown activation or pool.

    Source: LeCun et al. (1998); rectifiers, maxima and softmax instead of the tanh, the trained means and the codes of then, as
    is usual today; dropout: Srivastava et al. (2014).

    >>> net = LeNet5(1, 10)
    >>> net(torch.zeros(2, 1, 28, 28)).shape, sum(p.numel() for p in net.parameters())
    (torch.Size([2, 10]), 61706)
    """

    def __init__(
        self,
        channels: int,
        n_out: int,
        *,
        activation: str = "relu",
        pool: Literal["max", "average"] = "max",
        norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if pool not in _POOLS:
            raise UsageError(unknown("pool", pool, _POOLS))
        half = _POOLS[pool]

        def conv(n_in: int, n: int) -> list[nn.Module]:
            return [nn.Conv2d(n_in, n, 5), half(2), *([nn.BatchNorm2d(n)] if norm else []), activation_of(activation)]

        self.maps = nn.Sequential(*conv(channels, 6), *conv(6, 16))
        self.vector = nn.Sequential(
            nn.Flatten(),
            nn.Linear(16 * 5 * 5, 120),
            *([nn.BatchNorm1d(120)] if norm else []),
            activation_of(activation),
            nn.Dropout(dropout),
            nn.Linear(120, 84),
            activation_of(activation),
            nn.Dropout(dropout),
        )
        self.head = nn.Linear(84, n_out)
        if activation == "tanh":
            for layer in (*self.maps, *self.vector, self.head):
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    nn.init.xavier_uniform_(layer.weight, gain=math.sqrt(2) if layer is not self.head else 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, n_out)."""
        y: Tensor = self.head(self.vector(self.maps(framed(x))))
        return y
