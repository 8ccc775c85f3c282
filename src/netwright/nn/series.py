"""Convolutional networks for series: residual blocks, and inception modules. What is behind the end of a series has no effect."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from netwright.nn.masked import MaskedNorm, MaskedPool, mask_of

MANY_STEPS = 512
"""Longer series are brought down to about so many steps by a first convolution with a stride."""
WINDOWS = (7, 5, 3)
INCEPTION_WINDOWS = (39, 19, 9)


class SeriesConv(nn.Module):
    """norm(conv(x)), then relu where asked, then zero behind the end, so that the next window sees nothing there.

    Shapes: (N, n_in, T), mask (N, 1, T) or None -> (N, n_out, T).

    Args:
        window: steps that a unit sees, an odd number. norm: of `MaskedNorm`. relu: whether it ends with one.

    >>> SeriesConv(2, 3, 5)(torch.zeros(1, 2, 9), None).shape
    torch.Size([1, 3, 9])
    """

    def __init__(self, n_in: int, n_out: int, window: int, *, norm: str = "batch", relu: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv1d(n_in, n_out, window, padding=window // 2, bias=norm == "none")
        self.norm, self.relu = MaskedNorm(n_out, norm), relu

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(N, n_out, T)."""
        y: Tensor = self.norm(self.conv(x), mask)
        y = y.relu() if self.relu else y
        return y if mask is None else y * mask


class ResidualSeriesBlock(nn.Module):
    """relu(short(x) + conv3(drop(conv2(conv1(x))))), each convolution with its norm; `short` is a convolution of one step.

    Shapes: (N, n_in, T), mask (N, 1, T) or None -> (N, n_out, T).

    Source: Wang, Yan and Oates (2017), where the first window has 8 steps; with 7 it has a middle.

    >>> ResidualSeriesBlock(1, 4)(torch.zeros(2, 1, 9), None).shape
    torch.Size([2, 4, 9])
    """

    def __init__(self, n_in: int, n_out: int, *, norm: str = "batch", dropout: float = 0.0) -> None:
        super().__init__()
        first, second, third = WINDOWS
        self.first = SeriesConv(n_in, n_out, first, norm=norm)
        self.second = SeriesConv(n_out, n_out, second, norm=norm)
        self.dropout = nn.Dropout1d(dropout)
        self.third = SeriesConv(n_out, n_out, third, norm=norm, relu=False)
        self.short = SeriesConv(n_in, n_out, 1, norm=norm, relu=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(N, n_out, T)."""
        branch = self.third(self.dropout(self.second(self.first(x, mask), mask)), mask)
        y: Tensor = (self.short(x, mask) + branch).relu()
        return y


class Inception(nn.Module):
    """Convolutions of three windows (39, 19 and 9 steps) over a map of few channels, and a maximum of three steps, side by side.

    Shapes: (N, n_in, T), mask (N, 1, T) or None -> (N, 4 width, T).

    Args:
        n_in: channels that come in; more than one are first mixed down to `width`.
        width: channels of each of the four. n_steps: of the longest series; no window is longer.

    Source: Ismail Fawaz et al. (2020), whose windows have 40, 20 and 10 steps; odd ones have a middle.

    >>> Inception(1, 4, n_steps=24)(torch.zeros(2, 1, 24), None).shape
    torch.Size([2, 16, 24])
    """

    def __init__(self, n_in: int, width: int, *, n_steps: int, norm: str = "batch") -> None:
        super().__init__()
        self.mixed = nn.Conv1d(n_in, width, 1, bias=False) if n_in > 1 else nn.Identity()
        n_mixed = width if n_in > 1 else 1
        windows = [min(window, n_steps - 1 + n_steps % 2) for window in INCEPTION_WINDOWS]
        self.convs = nn.ModuleList(nn.Conv1d(n_mixed, width, w, padding=w // 2, bias=False) for w in windows)
        self.peak = nn.Conv1d(n_in, width, 1, bias=False)
        self.norm = MaskedNorm(4 * width, norm)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(N, 4 width, T)."""
        mixed = self.mixed(x)
        seen = x if mask is None else x.masked_fill(~mask, -torch.inf)
        peaks = functional.max_pool1d(seen, 3, stride=1, padding=1)
        if mask is not None:
            peaks = peaks.masked_fill(~mask, 0.0)
        maps = torch.cat([*(conv(mixed) for conv in self.convs), self.peak(peaks)], 1)
        y: Tensor = self.norm(maps, mask).relu()
        return y if mask is None else y * mask


class _SeriesNet(nn.Module):
    """Vectors in time -> a vector: a first convolution with a stride where series are long, then `stages`, then pooling."""

    def __init__(self, channels: int, n_steps: int, width: int, norm: str) -> None:
        super().__init__()
        self.stride = -(-n_steps // MANY_STEPS)
        self.n_in, self.n_steps = channels, -(-n_steps // self.stride)
        if self.stride > 1:
            window = 2 * self.stride + 1
            self.stem = nn.Conv1d(channels, width, window, stride=self.stride, padding=self.stride, bias=False)
            self.stem_norm, self.n_in = MaskedNorm(width, norm), width

    def forward(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """Vectors (N, T, channels) and lengths (N,) -> (N, n_out)."""
        x = vectors.transpose(1, 2)
        if self.stride > 1:
            x, lengths = self.stem(x), (lengths - 1) // self.stride + 1
        mask = mask_of(lengths, x.shape[2])
        if self.stride > 1:
            x = self.stem_norm(x, mask).relu()
            x = x if mask is None else x * mask
        pooled: Tensor = self.pool(self.stages(x, mask), mask)
        return pooled

    pool: nn.Module

    def stages(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(N, n_in, T) -> (N, C, T)."""
        raise NotImplementedError


class ResidualSeriesNet(_SeriesNet):
    """Residual blocks of width, 2 width, 2 width ... channels over a series, and the mean over its steps.

    Shapes: vectors (N, T, channels), lengths (N,) -> (N, n_out). A vector behind the length of its row must be zero.

    Args:
        channels: of a step. n_steps: of the longest series.
        width: channels of the first block; the further ones have twice as many. depth: number of blocks.
        norm: "batch", "layer" or "none". pool: "mean", "max" or "both". dropout: rate of whole channels inside the blocks.

    Source: Wang, Yan and Oates (2017), "Time Series Classification from Scratch with Deep Neural Networks" (width 64, depth 3).

    >>> net = ResidualSeriesNet(2, 30, width=4).eval()
    >>> x = torch.randn(1, 30, 2)
    >>> longer = torch.cat([x, torch.zeros(1, 9, 2)], 1)
    >>> bool(torch.allclose(net(x, torch.tensor([30])), net(longer, torch.tensor([30])), atol=1e-6))
    True
    """

    def __init__(
        self,
        channels: int,
        n_steps: int,
        *,
        width: int = 32,
        depth: int = 3,
        norm: str = "batch",
        pool: str = "mean",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(channels, n_steps, width, norm)
        sizes = [self.n_in, width, *[2 * width] * (depth - 1)]
        pairs = pairwise(sizes)
        self.blocks = nn.ModuleList(ResidualSeriesBlock(a, b, norm=norm, dropout=dropout) for a, b in pairs)
        self.pool = MaskedPool(sizes[-1], pool)
        self.n_out = self.pool.n_out

    def stages(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(N, n_in, T) -> (N, C, T)."""
        for block in self.blocks:
            x = block(x, mask)
        return x


class InceptionSeriesNet(_SeriesNet):
    """Inception modules over a series, a short cut beside every three of them, and the mean over its steps.

    Shapes and arguments as of `ResidualSeriesNet`; `width` is that of each of the four parts of a module, `depth` the number of
    modules (a multiple of three; what is left over has no short cut).

    Source: Ismail Fawaz et al. (2020), "InceptionTime" (width 32, depth 6; five networks are averaged).

    >>> InceptionSeriesNet(1, 24, width=4, depth=3)(torch.zeros(2, 24, 1), torch.tensor([24, 9])).shape
    torch.Size([2, 16])
    """

    def __init__(
        self,
        channels: int,
        n_steps: int,
        *,
        width: int = 16,
        depth: int = 6,
        norm: str = "batch",
        pool: str = "mean",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(channels, n_steps, width, norm)
        n = 4 * width
        sizes = [self.n_in, *[n] * depth]
        self.modules_ = nn.ModuleList(Inception(a, width, n_steps=self.n_steps, norm=norm) for a in sizes[:-1])
        starts = [sizes[k] for k in range(0, depth - 2, 3)]
        self.shorts = nn.ModuleList(SeriesConv(a, n, 1, norm=norm, relu=False) for a in starts)
        self.dropout = nn.Dropout1d(dropout)
        self.pool = MaskedPool(n, pool)
        self.n_out = self.pool.n_out

    def stages(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(N, n_in, T) -> (N, 4 width, T)."""
        before = x
        for k, module in enumerate(self.modules_):
            x = module(x, mask)
            if k % 3 == 2:
                x = (self.shorts[k // 3](before, mask) + self.dropout(x)).relu()
                before = x
        return x
