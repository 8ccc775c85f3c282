"""Images made smaller by averaging: what methods that see pixels as a row of numbers are given."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_CHUNK = 2048


def shrunk_size(channels: int, height: int, width: int, most: int) -> tuple[int, int]:
    """Height and width at which an image has at most `most` values: the sides divided by the least whole number that does it.

    >>> shrunk_size(1, 28, 28, 1024), shrunk_size(1, 28, 28, 256), shrunk_size(3, 32, 48, 1024)
    ((28, 28), (14, 14), (16, 24))
    """
    factor = 1
    while channels * -(-height // factor) * -(-width // factor) > most and factor < max(height, width):
        factor += 1
    return -(-height // factor), -(-width // factor)


def shrink(pixels: Tensor, most: int) -> np.ndarray:
    """Images (N, C, H, W) as rows of at most `most` values (N, P) float32, averaged over blocks; 0 for what is not finite.

    >>> shrink(torch.tensor([[[[0, 2], [4, 6]]]], dtype=torch.uint8), 1).tolist()
    [[3.0]]
    """
    channels, height, width = pixels.shape[1:]
    size = shrunk_size(channels, height, width, most)
    found = np.empty((len(pixels), channels * size[0] * size[1]), dtype=np.float32)
    for first in range(0, len(pixels), _CHUNK):  # floats of all pixels at once may be more than the memory
        piece = torch.nan_to_num(pixels[first : first + _CHUNK].detach().cpu().float(), nan=0.0, posinf=0.0, neginf=0.0)
        if size != (height, width):
            piece = torch.nn.functional.adaptive_avg_pool2d(piece, size)
        found[first : first + len(piece)] = piece.flatten(1).numpy()
    return found
