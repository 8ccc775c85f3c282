"""Many fixed convolution kernels over series, and how often each exceeds a threshold: features for a linear model."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from netwright.core.seed import numpy_generator

WINDOW = 9
N_FEATURES = 10_000
MAX_DILATIONS = 32
_VALUES = 1 << 23
"""Values of maps that are computed at once."""
_GOLDEN = (5**0.5 + 1) / 2


def kernels() -> np.ndarray:
    """All 84 windows (84, 9) of six weights -1 and three weights 2, in the order of the places of the latter.

    >>> kernels().shape, kernels()[0].tolist()
    ((84, 9), [2.0, 2.0, 2.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0])
    """
    found = -np.ones((84, WINDOW), dtype=np.float32)
    for k, places in enumerate(combinations(range(WINDOW), 3)):
        found[k, list(places)] = 2.0
    return found


def dilations(n_steps: int, per_kernel: int) -> dict[int, int]:
    """Steps between the weights of a kernel -> thresholds at that dilation, for series of about so many steps.

    >>> dilations(128, 119)
    {1: 38, 2: 18, 3: 11, 4: 11, 5: 7, 6: 3, 7: 7, 8: 3, 9: 3, 10: 3, 11: 3, 12: 3, 13: 3, 14: 3, 15: 3}
    """
    n = min(per_kernel, MAX_DILATIONS)
    most = np.log2(max(n_steps - 1, 8) / (WINDOW - 1))
    found, counts = np.unique(np.logspace(0, most, n, base=2).astype(np.int64), return_counts=True)
    counts = (counts * per_kernel / n).astype(np.int64)
    counts[0] += per_kernel - counts.sum() if counts.sum() <= per_kernel else 0
    return dict(zip(found.tolist(), np.maximum(counts, 1).tolist(), strict=True))


@dataclass(frozen=True)
class RandomKernels:
    """Fitted: the weights (84, C, 9) and the thresholds (84, q) of each dilation.

    A feature is the share of steps at which a kernel's answer exceeds a threshold. Every other kernel sees zeros beyond the ends of
    the series, the rest only steps where it lies wholly inside. Thresholds are quantiles of the answers to training rows; where
    there are several channels, a kernel sees some of them.

    Source: Dempster, Schmidt and Webb (2021), "MiniRocket"; Dempster, Petitjean and Webb (2020).
    """

    at: tuple[tuple[int, Tensor, Tensor], ...]
    center: np.ndarray
    spread: np.ndarray

    def __call__(self, values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Series (N, C, T) and lengths (N,) -> features (N, F) float32."""
        step = max(1, _VALUES // (len(kernels()) * max(values.shape[2], 1)))
        parts = [self._some(values[k : k + step], lengths[k : k + step]) for k in range(0, len(values), step)]
        return np.concatenate(parts) if parts else np.zeros((0, sum(t.numel() for _, _, t in self.at)), np.float32)

    def _some(self, values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        x, n = _standard(values, lengths, self.center, self.spread), torch.from_numpy(lengths)
        found = []
        for dilation, weights, thresholds in self.at:
            answers, there = answers_of(x, n, weights, dilation)
            count = there.sum(2).float()
            shares = [
                ((answers > thresholds[:, q, None]) & there).sum(2).float() / count for q in range(thresholds.shape[1])
            ]
            found.append(torch.stack(shares, 2).flatten(1))
        return torch.cat(found, 1).numpy()


def answers_of(x: Tensor, lengths: Tensor, weights: Tensor, dilation: int) -> tuple[Tensor, Tensor]:
    """Answers of kernels (K, C, 9) to series (N, C, T), zero behind their lengths: (N, K, T), and which of them count.

    Those of every other kernel count where the kernel lies wholly inside; where it never does, all answers count.
    """
    reach = dilation * (WINDOW // 2)
    answers = functional.conv1d(x, weights, padding=reach, dilation=dilation)
    step, n = torch.arange(x.shape[2]), lengths.view(-1, 1)
    inside = (step >= reach) & (step < n - reach)
    there = step < n
    inside = torch.where(inside.any(1, keepdim=True), inside, there)
    odd = (torch.arange(len(weights)) % 2 == 1).view(1, -1, 1)
    return answers, torch.where(odd, inside.unsqueeze(1), there.unsqueeze(1))


def fit_kernels(
    values: np.ndarray, lengths: np.ndarray, center: np.ndarray, spread: np.ndarray, *, seed: int, n: int = N_FEATURES
) -> RandomKernels:
    """Draw channels and thresholds from training rows; about `n` features in all.

    Args:
        values: (N, C, T), zero behind the lengths. lengths: (N,). center, spread: (C,) of the channels.
    """
    rng, channels = numpy_generator(seed, "random-kernels"), values.shape[1]
    base, place = kernels(), 0
    found = []
    for dilation, q in dilations(int(np.median(lengths)), max(1, n // len(base))).items():
        weights = np.zeros((len(base), channels, WINDOW), dtype=np.float32)
        for k, kernel in enumerate(base):
            some = min(int(2 ** rng.uniform(0, np.log2(min(channels, WINDOW) + 1))), channels)
            weights[k, rng.choice(channels, some, replace=False)] = kernel
        drawn = rng.integers(0, len(values), len(base))
        x = _standard(values[drawn], lengths[drawn], center, spread)
        levels = (np.arange(place + 1, place + 1 + len(base) * q) * _GOLDEN % 1).reshape(len(base), q)
        place += len(base) * q
        thresholds = np.zeros((len(base), q), dtype=np.float32)
        for k in range(len(base)):  # each kernel's thresholds from the answers to a row of its own
            own = torch.from_numpy(weights[k : k + 1])
            answers, _ = answers_of(x[k : k + 1], torch.from_numpy(lengths[drawn[k] : drawn[k] + 1]), own, dilation)
            thresholds[k] = np.quantile(answers[0, 0, : lengths[drawn[k]]].numpy(), levels[k])
        found.append((dilation, torch.from_numpy(weights), torch.from_numpy(thresholds)))
    return RandomKernels(tuple(found), center, spread)


def _standard(values: np.ndarray, lengths: np.ndarray, center: np.ndarray, spread: np.ndarray) -> Tensor:
    """Series in units of the spread of their channels, zero behind the end."""
    x = (values - center[:, None]) / spread[:, None]
    x *= np.arange(values.shape[2]) < lengths[:, None, None]
    return torch.from_numpy(x.astype(np.float32))
