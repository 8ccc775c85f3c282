"""Classic methods on volumes: their voxels, brought down by averaging, as a row of numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from netwright.baselines.task import Rows, Task
from netwright.core.finding import Cell
from netwright.core.spec import VolumeField
from netwright.data.shrink import pieces

_SPREAD_ROWS = 2000


def volume_fields(task: Task) -> list[VolumeField]:
    """The volumes among the inputs."""
    return [f for f in task.spec.wholes if isinstance(f, VolumeField)]


def voxel_size(field: VolumeField, most: int) -> tuple[int, int, int]:
    """Depth, height and width at which a volume has at most `most` values: the sides divided by the least whole number that does it.

    >>> voxel_size(VolumeField(depth=16, height=32, width=32), 1024)
    (6, 11, 11)
    """
    sides, factor = field.shape[1:], 1
    while field.channels * math.prod(-(-s // factor) for s in sides) > most and factor < max(sides):
        factor += 1
    depth, height, width = (-(-s // factor) for s in sides)
    return depth, height, width


def voxel_features(fields: Sequence[VolumeField], train: Rows, most: int) -> Callable[[Rows], np.ndarray]:
    """Shrunk voxels of all volume columns, centred each and scaled together as fitted on training rows."""
    some = train.take(np.arange(0, len(train), max(1, len(train) // _SPREAD_ROWS)))
    fitted = []
    for field in fields:
        values = _shrunk(some, field, most)
        spread = float((values - values.mean(0)).std())
        fitted.append((field, values.mean(0), spread if spread > 0 else 1.0))

    def features(rows: Rows) -> np.ndarray:
        return np.concatenate([(_shrunk(rows, field, most) - mean) / spread for field, mean, spread in fitted], 1)

    return features


def _shrunk(rows: Rows, field: VolumeField, most: int) -> np.ndarray:
    """(N, P) float32, averaged over blocks."""
    voxels, size = rows.whole(field.tensors[0]), voxel_size(field, most)
    out = np.empty((len(voxels), field.channels * math.prod(size)), dtype=np.float32)
    for some in pieces(len(voxels), math.prod(field.shape)):
        piece = torch.nan_to_num(torch.from_numpy(np.ascontiguousarray(voxels[some])).float(), posinf=0.0, neginf=0.0)
        if size != field.shape[1:]:
            piece = torch.nn.functional.adaptive_avg_pool3d(piece, size)
        out[some] = piece.flatten(1).numpy()
    return out


def voxel_words(task: Task, most: int) -> dict[str, Cell]:
    """To which size volumes are brought, to be told beside what was chosen; empty without volumes."""
    sizes = [" x ".join(map(str, voxel_size(field, most))) for field in volume_fields(task)]
    return {"voxels": ", ".join(sizes)} if sizes else {}


def voxel_values(task: Task, most: int) -> int:
    """Values of the shrunk volumes of a row; 0 without volumes."""
    return sum(f.channels * math.prod(voxel_size(f, most)) for f in volume_fields(task))
