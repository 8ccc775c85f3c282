"""Sounds -> log-mel frames, random changes of these, and a convolutional trunk over them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from netwright.nn.masked import MaskedNorm, MaskedPool, mask_of

FLOOR = 1e-9
"""Added to the power of a band, -90 dB: silence has a logarithm too."""


def to_mel(hertz: Tensor | float) -> Tensor:
    """Pitch as it is heard: 2595 log10(1 + f / 700). Source: O'Shaughnessy (1987)."""
    return 2595.0 * torch.log10(1.0 + torch.as_tensor(hertz, dtype=torch.float64) / 700.0)


def to_hertz(mel: Tensor | float) -> Tensor:
    """The inverse of `to_mel`.

    >>> to_hertz(to_mel(440.0)).round().item()
    440.0
    """
    return 700.0 * (10.0 ** (torch.as_tensor(mel, dtype=torch.float64) / 2595.0) - 1.0)


def mel_centers(n_bands: int, rate: int, low: float = 40.0) -> Tensor:
    """Frequencies (n_bands + 2,) in hertz, evenly spaced in mel from `low` to half the rate: edges and centres of the bands."""
    return to_hertz(torch.linspace(float(to_mel(low)), float(to_mel(rate / 2)), n_bands + 2, dtype=torch.float64))


def mel_filters(n_bands: int, n_fft: int, rate: int) -> Tensor:
    """Weights (n_fft // 2 + 1, n_bands) of triangular filters: each rises from the centre before its own, and falls to the next.

    The weights of a filter sum to 1, so that noise of one power in every frequency has the same power in every band. A filter that
    is narrower than the distance of two frequencies takes the nearest one.

    Source: Davis and Mermelstein (1980).

    >>> mel_filters(8, 256, 8000).sum(0).round(decimals=4).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    at = torch.arange(n_fft // 2 + 1, dtype=torch.float64)[:, None] * rate / n_fft
    edges = mel_centers(n_bands, rate)
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    weights = torch.minimum((at - low) / (middle - low), (high - at) / (high - middle)).clamp(min=0)
    nearest = (at - middle).abs().argmin(0)
    empty = weights.sum(0) == 0
    weights[nearest[empty], torch.nonzero(empty).squeeze(1)] = 1.0
    return (weights / weights.sum(0)).float()


class LogMel(nn.Module):
    """Samples -> decibels in mel bands, frame by frame: 10 log10(filters . |stft|^2 + 1e-9).

    Shapes: (N, T), lengths (N,) -> (N, n_bands, ceil(T / hop)), lengths (N,) in frames. A frame belongs to a sound where its middle
    lies in it; samples behind the end are taken as silence. A sine of full scale has about -3 dB in its band and less in the next.

    Args:
        rate: samples a second. n_bands: mel bands.
        window: seconds of a frame (Hann). hop: seconds from one frame to the next.

    Source: Davis and Mermelstein (1980); Stevens, Volkmann and Newman (1937) for the scale.

    >>> frames, lengths = LogMel(8000, n_bands=20)(torch.zeros(1, 800), torch.tensor([800]))
    >>> frames.shape, lengths.tolist(), round(frames[0, 0, 0].item())
    (torch.Size([1, 20, 10]), [10], -90)
    """

    filters: Tensor
    hann: Tensor

    def __init__(self, rate: int, *, n_bands: int = 40, window: float = 0.025, hop: float = 0.01) -> None:
        super().__init__()
        size = max(2, round(window * rate))
        self.hop, self.n_fft = max(1, round(hop * rate)), 2 ** math.ceil(math.log2(size))
        self.register_buffer("filters", mel_filters(n_bands, self.n_fft, rate), persistent=False)
        hann = torch.hann_window(size)
        self.register_buffer("hann", hann * (2 / hann.sum()) if size > 2 else torch.ones(size), persistent=False)

    def forward(self, samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Decibels (N, n_bands, frames), and how many frames each sound has."""
        inside = torch.arange(samples.shape[1], device=samples.device) < lengths.unsqueeze(1)
        frames = torch.stft(
            samples * inside,
            self.n_fft,
            self.hop,
            len(self.hann),
            self.hann,
            center=True,
            pad_mode="constant",
            return_complex=True,
        )
        n = -(-samples.shape[1] // self.hop)
        power = frames.real.square() + frames.imag.square()
        bands = (power[:, :, :n].transpose(1, 2) @ self.filters).transpose(1, 2)
        return 10 * (bands + FLOOR).log10(), (lengths - 1) // self.hop + 1


class MelAugment(nn.Module):
    """Random changes of log-mel frames that leave what is said as it is, sound by sound, in training only.

    Shapes: (N, n_bands, T), lengths (N,) -> (N, n_bands, T), lengths (N,). Randomness comes from torch's generator.

    Args:
        rate: of the sounds. n_bands: bands.
        warp: largest change of all frequencies, as a share: another length of the vocal tract.
        speed: largest change of the speed, as a share.
        mask: largest share of bands, and of frames, that are set to `fill`.

    Source: frequencies Jaitly and Hinton (2013), masks Park et al. (2019), "SpecAugment"; speed Ko et al. (2015), here on frames.

    >>> x = torch.rand(2, 20, 30)
    >>> changed, lengths = MelAugment(8000, 20, warp=0.1, speed=0.1, mask=0.1)(x, torch.tensor([30, 9]))
    >>> changed.shape, bool((changed != x).any())
    (torch.Size([2, 20, 30]), True)
    """

    centers: Tensor

    def __init__(self, rate: int, n_bands: int, *, warp: float = 0.0, speed: float = 0.0, mask: float = 0.0) -> None:
        super().__init__()
        self.warp, self.speed, self.mask = warp, speed, mask
        self.register_buffer("centers", mel_centers(n_bands, rate)[1:-1], persistent=False)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The changed frames, and how many there are of each sound."""
        if not self.training:
            return x, lengths
        if self.warp:
            x = self._warped(x)
        if self.speed:
            x, lengths = self._faster(x, lengths)
        if self.mask:
            x = self._masked(x, lengths)
        return x, lengths

    def _warped(self, x: Tensor) -> Tensor:
        """Each band takes what stood at its own frequency times a random factor."""
        mel = to_mel(self.centers)
        factor = 1 + self.warp * (2 * torch.rand(len(x), 1, device=x.device, dtype=torch.float64) - 1)
        at = (to_mel(factor * self.centers) - mel[0]) / (mel[1] - mel[0])
        return _between(x, at.clamp(0, x.shape[1] - 1), 1)

    def _faster(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Frames taken at a random distance; what would be longer than the batch is cut."""
        factor = 1 + self.speed * (2 * torch.rand(len(x), 1, device=x.device, dtype=torch.float64) - 1)
        steps = torch.arange(x.shape[2], device=x.device)
        at = torch.minimum(steps * factor, (lengths - 1).unsqueeze(1).double())
        longer = ((lengths - 1) / factor.squeeze(1)).floor().long() + 1
        return _between(x, at, 2), longer.clamp(1, x.shape[2])

    def _masked(self, x: Tensor, lengths: Tensor) -> Tensor:
        """A run of bands and a run of frames of each sound, at its mean."""
        fill = x.mean((1, 2), keepdim=True)
        for axis, sizes in ((1, torch.full_like(lengths, x.shape[1])), (2, lengths)):
            length = (torch.rand(len(x), device=x.device) * self.mask * sizes).round()
            start = (torch.rand(len(x), device=x.device) * (sizes - length + 1)).floor()
            place = torch.arange(x.shape[axis], device=x.device)
            hidden = (place >= start[:, None]) & (place < (start + length)[:, None])
            x = torch.where(hidden.unsqueeze(3 - axis), fill, x)
        return x


def _between(x: Tensor, at: Tensor, axis: int) -> Tensor:
    """Values of (N, A, B) at fractional places (N, n) along axis 1 or 2, linear between its neighbours."""
    low = at.floor().long()
    high = (low + 1).clamp(max=x.shape[axis] - 1)
    share = (at - low).to(x.dtype).unsqueeze(3 - axis)
    shape = (len(x), at.shape[1], x.shape[2]) if axis == 1 else (len(x), x.shape[1], at.shape[1])
    before, after = (x.gather(axis, k.unsqueeze(3 - axis).expand(shape)) for k in (low, high))
    return before + share * (after - before)


class _Conv(nn.Module):
    """relu(norm(conv(x))), 3 x 3, zero behind the end; with a maximum over 2 x 2 before the norm where asked, which spares it work."""

    def __init__(self, n_in: int, n_out: int, norm: str, *, relu: bool = True, halve: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, 3, padding=1, bias=norm == "none")
        self.norm, self.relu, self.halve = MaskedNorm(n_out, norm), relu, halve

    def forward(self, x: Tensor, mask: Tensor | None, after: Tensor | None = None) -> Tensor:
        y: Tensor = self.conv(x)
        if self.halve:
            y = y if mask is None else y.masked_fill(~mask.unsqueeze(1), -torch.inf)
            y, mask = functional.max_pool2d(y, 2, ceil_mode=True), after
        if mask is not None:
            y = y.masked_fill(~mask.unsqueeze(1), 0.0)
        y = self.norm(y, mask)
        y = y.relu() if self.relu else y
        return y if mask is None else y * mask.unsqueeze(1)


class AudioConvNet(nn.Module):
    """Frames -> a vector: stages of 3 x 3 convolutions over bands and time, each with a maximum over 2 x 2 and residual blocks; then
    mean and maximum over time for every channel and band that is left.

    Shapes: frames (N, n_bands, T), lengths (N,) -> (N, n_out). Frames behind the end must be zero, and have no effect.

    Args:
        n_bands: of the frames. width: channels of the first stage; each further one has twice as many. depth: residual blocks of a stage.
        norm: "batch", "layer" or "none". pool: "mean", "max" or "both". dropout: rate of whole channels inside the blocks.

    Source: He et al. (2016); on frames of sound Hershey et al. (2017).

    >>> net = AudioConvNet(40, width=4)
    >>> net(torch.zeros(2, 40, 30), torch.tensor([30, 7])).shape[1] == net.n_out
    True
    """

    def __init__(
        self,
        n_bands: int,
        *,
        width: int = 16,
        depth: int = 1,
        stages: int = 3,
        norm: str = "batch",
        pool: str = "both",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.first, self.blocks = nn.ModuleList(), nn.ModuleList()
        n_in, n, bands = 1, width, n_bands
        for _ in range(stages):
            self.first.append(_Conv(n_in, n, norm, halve=True))
            self.blocks.append(
                nn.ModuleList(nn.ModuleList([_Conv(n, n, norm), _Conv(n, n, norm, relu=False)]) for _ in range(depth))
            )
            n_in, n, bands = n, 2 * n, -(-bands // 2)
        self.dropout = nn.Dropout2d(dropout)
        self.pool = MaskedPool(n_in * bands, pool)
        self.n_out = self.pool.n_out

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """(N, n_out)."""
        x, mask = frames.unsqueeze(1), mask_of(lengths, frames.shape[2])
        for first, blocks in zip(self.first, self.blocks, strict=True):
            lengths = (lengths + 1) // 2
            before, mask = mask, mask_of(lengths, (x.shape[3] + 1) // 2)
            x = first(x, before, mask)
            for one, two in blocks:  # type: ignore[attr-defined]
                x = (x + two(self.dropout(one(x, mask)), mask)).relu()
        pooled: Tensor = self.pool(x.flatten(1, 2), mask)
        return pooled
