"""Random changes of images that leave their class as it is, a batch at a time, in training only."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Augment(nn.Module):
    """Shifts, turns, zooms, slants and mirrors each image of a batch at random; in evaluation mode it does nothing.

    Shapes: (N, C, H, W) -> (N, C, H, W). Randomness comes from torch's generator. What a change lays bare takes the value of
    the nearest edge.

    Args:
        shift: largest shift along each axis, as a share of the side.
        rotate: largest turn in degrees. zoom: largest change of size, as a share. shear: largest slant in degrees.
        flip: whether half of the images are mirrored left to right.

    Source: Simard, Steinkraus and Platt (2003); done by kornia (Riba et al., 2020).

    >>> import torch
    >>> x = torch.rand(2, 1, 8, 8)
    >>> augment = Augment(shift=0.1)
    >>> bool((augment.eval()(x) == x).all())
    True
    """

    def __init__(
        self,
        *,
        shift: float = 0.0,
        rotate: float = 0.0,
        zoom: float = 0.0,
        shear: float = 0.0,
        flip: bool = False,
    ) -> None:
        super().__init__()
        self.shift, self.rotate, self.zoom, self.shear, self.flip = shift, rotate, zoom, shear, flip

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        if not self.training or not (self._moves or self.flip):
            return x
        with torch.autocast(x.device.type, enabled=False):  # positions of pixels need more than eight bits
            return self._changed(x)

    @property
    def _moves(self) -> bool:
        return bool(self.shift or self.rotate or self.zoom or self.shear)

    def _changed(self, x: Tensor) -> Tensor:
        from kornia.augmentation import RandomAffine, RandomHorizontalFlip  # a third of a second, and in training only

        if self._moves:
            zoom = (1 - self.zoom, 1 + self.zoom) if self.zoom else None
            shear = self.shear or None
            moved = RandomAffine(self.rotate, (self.shift, self.shift), zoom, shear, p=1.0, padding_mode="border")
            x = moved(x)
        return RandomHorizontalFlip()(x) if self.flip else x
