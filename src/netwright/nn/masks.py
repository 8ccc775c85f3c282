"""Dropout whose masks are a function of a key, so that they are the same alone, in a stack, and after a resume.

A mask is a hash of (key, layer, position) and no draw from a generator: it can be computed for many networks at once, each with a
key of its own, and a network's masks do not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_ROW, _LAYER = 0x632BE59BD9B4E019, 0x5851F42D4C957F2D
"""Odd multipliers (of well-known generators) that keep rows and layers apart; of 64 bits."""
_ODD = (0x2545F491, 0x369DEA0F, 0x14057B7F)
"""The same for the further dimensions of a position; of 31 bits."""
_MIX64 = -0x40A7B892E31B1A47
"""The multiplier of SplitMix64, as a signed number."""
_MIX32 = (0x7FEB352D, 0x846CA68B - 2**32)
"""Multipliers that leave little bias in 32 bits (Wellons, 2018)."""
_STEP = 0x1B873593CC9E2D51
"""Odd as well: the distance of two steps' keys."""

_key: Tensor | None = None


def key_at(key: Tensor, step: int) -> Tensor:
    """The key of a step, from that of a training; for several networks at once where `key` has a dimension."""
    return key + _signed(step * _STEP)


def present_key() -> Tensor | None:
    """The key within `keyed`, None outside."""
    return _key


@contextmanager
def keyed(key: Tensor) -> Iterator[None]:
    """Within it `uniform` has a key, int64 without dimensions: one for each network and step."""
    global _key
    before, _key = _key, key
    try:
        yield
    finally:
        _key = before


def bits(shape: Sequence[int], layer: int) -> Tensor:
    """Evenly spread int32 of a shape by the present key, the layer's number and their own position.

    A row is mixed with 64 bits, the positions in it with 32, which is several times faster than a draw from a generator.

    Source: Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3"; Steele, Lea and Flood (2014) for the mixing.
    """
    assert _key is not None, "no key is set"
    row = _key + _signed(layer * _LAYER) + torch.arange(1, shape[0] + 1, device=_key.device) * _ROW
    row = (row ^ ((row >> 30) & 0x3FFFFFFFF)) * _MIX64
    x = (row >> 32).to(torch.int32)
    for d, n in enumerate(shape[1:]):
        x = x.unsqueeze(-1) + torch.arange(n, dtype=torch.int32, device=_key.device) * _ODD[min(d, 2)]
    x = (x ^ ((x >> 16) & 0xFFFF)) * _MIX32[0]
    return (x ^ ((x >> 15) & 0x1FFFF)) * _MIX32[1]


def uniform(shape: Sequence[int], layer: int) -> Tensor:
    """Numbers in [0, 1) by the present key, the layer's number and their own position.

    >>> with keyed(torch.tensor(7)):
    ...     few, many = uniform((2, 3), 0), uniform((2, 500), 0)
    >>> bool((few == many[:, :3]).all()), 0.4 < many.mean().item() < 0.6
    (True, True)
    """
    return ((bits(shape, layer) >> 8) & 0xFFFFFF).float() * 2**-24


def normal(like: Tensor, layer: int) -> Tensor:
    """Standard normal numbers of the shape and type of `like`: by the key within `keyed`, drawn from torch's generator outside.

    Source: Box and Muller (1958).

    >>> with keyed(torch.tensor(7)):
    ...     z = normal(torch.zeros(100, 100), 0)
    >>> abs(z.mean().item()) < 0.05, abs(z.std().item() - 1) < 0.05
    (True, True)
    """
    if _key is None:
        return torch.randn_like(like)
    radius = (-2 * (1 - uniform(like.shape, layer)).log()).sqrt()
    return (radius * (2 * torch.pi * uniform(like.shape, layer + 1)).cos()).to(like.dtype)


def _signed(number: int) -> int:
    """The number modulo 2**64, as int64 has it."""
    return (number + 2**63) % 2**64 - 2**63


class Dropout(nn.Dropout):
    """Torch's dropout, which costs a small network nothing where it does nothing: at rate 0, and outside training.

    Source: Srivastava et al. (2014).

    >>> Dropout(0.0)(torch.ones(2)).tolist(), Dropout(0.5).eval()(torch.ones(2)).tolist()
    ([1.0, 1.0], [1.0, 1.0])
    """

    def forward(self, input: Tensor) -> Tensor:
        """The same shape."""
        return super().forward(input) if self.p and self.training else input


class KeyedDropout(nn.Dropout):
    """x * keep / (1 - p) in training, keep = [uniform >= p]; only within `keyed`.

    `layer` is its number in the network; `rate` replaces p where it is a tensor (one of several networks').

    Source: Srivastava et al. (2014).
    """

    layer: int
    per_channel = False

    def forward(self, input: Tensor) -> Tensor:
        """The same shape."""
        rate = getattr(self, "rate", self.p)
        if not self.training or (isinstance(rate, float | int) and not rate):
            return input
        if isinstance(rate, float | int) and rate >= 1:
            return input * 0.0
        shape = input.shape[:2] if self.per_channel else input.shape
        keep = bits(shape, self.layer) >= _threshold(rate)
        scale = keep.to(input.dtype) * (1 / (1 - rate))
        kept: Tensor = input * (scale.view(*shape, *[1] * (input.dim() - 2)) if self.per_channel else scale)
        return kept


def _threshold(rate: float | Tensor) -> int | Tensor:
    """What evenly spread int32 are below with this probability."""
    if isinstance(rate, Tensor):
        return (rate.double() * 2**32 - 2**31).clamp(max=2**31 - 1).to(torch.int32)
    return min(round(rate * 2**32) - 2**31, 2**31 - 1)


def through(layers: nn.Sequential, x: Tensor) -> Tensor:
    """As `layers(x)`, without a call for the sequence and for dropouts of rate 0, which a small network would feel.

    >>> through(nn.Sequential(nn.ReLU(), Dropout(0.0)), torch.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    if is_watched(layers):
        watched: Tensor = layers(x)
        return watched
    for layer in layers:
        if not _is_idle(layer):
            x = layer(x)
    return x


def _is_idle(layer: nn.Module) -> bool:
    """Whether it is a dropout of rate 0 that nobody watches."""
    known = type(layer) is Dropout or type(layer) is KeyedDropout
    return known and not layer.p and "rate" not in layer._buffers and not is_watched(layer)


def is_watched(layer: nn.Module) -> bool:
    """Whether hooks are to be called with the layer."""
    return bool(layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks)


class KeyedChannelDropout(KeyedDropout):
    """The same for whole channels of (N, C, ...): as `nn.Dropout1d`, `2d` and `3d`."""

    per_channel = True


_KEYED: dict[type, type] = {nn.Dropout: KeyedDropout, Dropout: KeyedDropout} | dict.fromkeys(
    (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d), KeyedChannelDropout
)


@contextmanager
def keyed_dropouts(net: nn.Module) -> Iterator[None]:
    """Within it the network's dropout layers, those of torch, are keyed ones; afterwards they are what they were."""
    changed = [(layer, type(layer)) for layer in net.modules() if type(layer) in _KEYED]
    for number, (layer, kind) in enumerate(changed):
        layer.__class__ = _KEYED[kind]
        layer.layer = number  # type: ignore[assignment]
    try:
        yield
    finally:
        for layer, kind in changed:
            layer.__class__ = kind
            del layer.layer
