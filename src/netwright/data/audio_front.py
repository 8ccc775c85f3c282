"""The front of sounds: samples in, standardised log-mel frames out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netwright.core.spec import AudioField
from netwright.data.batch import Inputs
from netwright.data.sequences import trimmed
from netwright.nn.audio import LogMel, MelAugment


class AudioFront(nn.Module):
    """A sound field -> log-mel frames (N, n_bands, T) in units of the spread of training frames, and lengths in frames.

    Args:
        field: the fitted field. n_bands: mel bands.
        level: "row" takes the mean of each band over a sound out of it (the microphone, the room, the loudness); "all" leaves it.
        warp, speed, mask: of `MelAugment`. noise: largest deviation of Gaussian noise on samples, drawn sound by sound between this
            and a thousandth of it. All in training only.

    Source: Davis and Mermelstein (1980); the mean of a sound: Atal (1974).

    >>> field = AudioField(rate=8000, n_steps=800)
    >>> frames, lengths = AudioFront(field)({"audio": torch.zeros(1, 800), "audio:length": torch.tensor([400])})
    >>> frames.shape, lengths.tolist()
    (torch.Size([1, 40, 5]), [5])
    """

    def __init__(
        self,
        field: AudioField,
        *,
        n_bands: int = 40,
        level: str = "row",
        warp: float = 0.0,
        speed: float = 0.0,
        mask: float = 0.0,
        noise: float = 0.0,
    ) -> None:
        super().__init__()
        self.tensors, self.by_row, self.noise, self.n_out = field.tensors, level == "row", noise, n_bands
        self.center, self.spread = field.power
        self.frames = LogMel(field.rate, n_bands=n_bands)
        self.augment = MelAugment(field.rate, n_bands, warp=warp, speed=speed, mask=mask)

    def forward(self, x: Inputs) -> tuple[Tensor, Tensor]:
        """Frames (N, n_bands, T), zero behind the end, and lengths (N,)."""
        samples, lengths = (x[name] for name in self.tensors)
        samples = samples[:, : trimmed(lengths, samples.shape[1])].float()
        if self.training and self.noise:
            loud = self.noise * 10 ** (-3 * torch.rand(len(samples), 1, device=samples.device))
            samples = samples + loud * torch.randn_like(samples)
        frames, lengths = self.augment(*self.frames(samples, lengths))
        inside = (torch.arange(frames.shape[2], device=frames.device) < lengths.unsqueeze(1)).unsqueeze(1)
        center = (frames * inside).sum(2, keepdim=True) / inside.sum(2, keepdim=True) if self.by_row else self.center
        return (frames - center) / self.spread * inside, lengths
