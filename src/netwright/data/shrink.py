"""Images made smaller by averaging: what methods that see pixels as a row of numbers are given."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

_VALUES = 4_000_000


def pieces(n: int, values: int) -> Iterator[slice]:
    """The rows 0 to n a piece after the other, each of some million values: copies of all pixels at once may be more than memory.

    Args:
        n: rows. values: of one row.

    >>> list(pieces(5, 2_000_000))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    step = max(1, _VALUES // max(1, values))
    for first in range(0, n, step):
        yield slice(first, min(first + step, n))


def shrunk_size(channels: int, height: int, width: int, most: int) -> tuple[int, int]:
    """Height and width at which an image has at most `most` values: the sides divided by the least whole number that does it.

    >>> shrunk_size(1, 28, 28, 1024), shrunk_size(1, 28, 28, 256), shrunk_size(3, 32, 48, 1024)
    ((28, 28), (14, 14), (11, 16))
    """
    factor = 1
    while channels * -(-height // factor) * -(-width // factor) > most and factor < max(height, width):
        factor += 1
    return -(-height // factor), -(-width // factor)


def shrink(pixels: Tensor, most: int, rows: np.ndarray | None = None) -> np.ndarray:
    """Images (N, C, H, W) as rows of at most `most` values (N, P) float32, averaged over blocks; 0 for what is not finite.

    Args:
        pixels: read a piece after the other, for they may be larger than memory.
        most: values of a row.
        rows: only these images, in this order; None for all.

    >>> shrink(torch.tensor([[[[0, 2], [4, 6]]]], dtype=torch.uint8), 1).tolist()
    [[3.0]]
    """
    channels, height, width = pixels.shape[1:]
    size = shrunk_size(channels, height, width, most)
    n = len(pixels) if rows is None else len(rows)
    found = np.empty((n, channels * size[0] * size[1]), dtype=np.float32)
    for some in pieces(n, channels * height * width):
        piece = (pixels[some] if rows is None else pixels[torch.from_numpy(rows[some])]).detach().cpu().float()
        piece = torch.nan_to_num(piece, nan=0.0, posinf=0.0, neginf=0.0)
        if size != (height, width):
            piece = torch.nn.functional.adaptive_avg_pool2d(piece, size)
        found[some] = piece.flatten(1).numpy()
    return found
