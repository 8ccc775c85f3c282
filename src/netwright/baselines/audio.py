"""A classic method on sounds: log-mel frames, as many for every sound, and a linear model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from netwright.baselines.penalty import DENSE_MULTIPLICATIONS_PER_SECOND, fit_linear
from netwright.baselines.task import Method, Rows, Task
from netwright.core.spec import AudioField
from netwright.nn.audio import LogMel

BANDS, PARTS = 40, 12
PENALTIES = (0.0001, 0.001, 0.01, 0.1)
"""Inverse ones: neighbouring frames tell much the same."""
_STEPS = 50
_AT_ONCE = 256


def mel_frames(task: Task) -> Method:
    """Logistic or ridge regression on the log-mel frames of a sound: their means over twelve parts of it, and over all of it their
    mean and deviation; features standardised, the penalty with the least validation loss.

    Source: Davis and Mermelstein (1980); Cox (1958); Hoerl and Kennard (1970).
    """
    fields = [f for f in task.spec.wholes if isinstance(f, AudioField)]
    n = BANDS * (PARTS + 2) * len(fields)
    products = task.budget_seconds * DENSE_MULTIPLICATIONS_PER_SECOND / max(1, task.n_classes) / _STEPS
    task = task.thinned(max(1000, int(products / n)))
    features = mel_features(task.train, fields)
    x_valid = features(task.valid) if len(task.valid) else None
    model, chosen = fit_linear(features(task.train), x_valid, task, PENALTIES)
    return Method(model, {**chosen, "training_rows": len(task.train)}, features)


def mel_features(rows: Rows, fields: list[AudioField]) -> Callable[[Rows], np.ndarray]:
    """What describes the sounds of a row, standardised as fitted on training rows: (N, 560) for each field."""
    raw = _described(rows, fields)
    center, spread = raw.mean(0), raw.std(0)
    spread = np.where(spread > 1e-6, spread, 1.0)
    return lambda some: ((_described(some, fields) - center) / spread).astype(np.float32)


def _described(rows: Rows, fields: list[AudioField]) -> np.ndarray:
    parts = []
    for field in fields:
        frames = LogMel(field.rate, n_bands=BANDS)
        samples, lengths = (rows.whole(name) for name in field.tensors)
        found = []
        for first in range(0, len(samples), _AT_ONCE):
            n = torch.from_numpy(lengths[first : first + _AT_ONCE])
            some = torch.from_numpy(samples[first : first + _AT_ONCE, : int(n.max())])
            with torch.no_grad():
                found.append(_parts_of(*(t.numpy() for t in frames(some, n))))
        parts.append(np.concatenate(found) if found else np.zeros((0, BANDS * (PARTS + 2)), np.float32))
    return np.concatenate(parts, 1)


def _parts_of(frames: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Means of bands (N, BANDS, T) over parts of each sound, and mean and deviation over all of it: (N, BANDS * (PARTS + 2))."""
    total = np.zeros((*frames.shape[:2], frames.shape[2] + 1))
    np.cumsum(frames, 2, out=total[:, :, 1:])
    ends = np.linspace(0, 1, PARTS + 1) * lengths[:, None]
    first = np.floor(ends[:, :-1]).astype(np.int64)
    last = np.maximum(np.ceil(ends[:, 1:]).astype(np.int64), first + 1)

    def at(place: np.ndarray) -> np.ndarray:
        return np.take_along_axis(total, np.broadcast_to(place[:, None], (*frames.shape[:2], PARTS)), 2)

    means = (at(last) - at(first)) / (last - first)[:, None]
    inside = np.arange(frames.shape[2]) < lengths[:, None, None]
    mean = (frames * inside).sum(2) / lengths[:, None]
    deviation = np.sqrt((((frames - mean[:, :, None]) * inside) ** 2).sum(2) / lengths[:, None])
    return np.concatenate([means.reshape(len(frames), -1), mean, deviation], 1).astype(np.float32)
