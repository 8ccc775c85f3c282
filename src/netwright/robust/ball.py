"""The Euclidean ball cut by a box: how far one may go along a direction, and whole numbers that stay inside."""

from __future__ import annotations

import torch
from torch import Tensor

_INSIDE = 1.0 - 1e-12
"""Lengths are aimed so far inside the ball that rounding of float64 does not lead out of it."""


def reach(size: Tensor, room: Tensor, radius: float, longest: float = 1.0) -> Tensor:
    """The greatest t up to `longest` for which the vector of min(t * size, room) is no longer than `radius`, (N,).

    With t = 1 as the longest that is the projection onto ball and box: the nearest point of both is found by shrinking a
    change and then cutting it off at the box. Without a limit it is the point that lies farthest along a gradient.

    Args:
        size: (N, P) absolute sizes of a change, at least 0. room: (N, P) how much the box leaves in its direction.

    >>> reach(torch.tensor([[3.0, 4.0]]), torch.tensor([[9.0, 2.0]]), radius=4.0).tolist()
    [1.0]
    >>> [round(t, 6) for t in reach(torch.tensor([[3.0, 4.0]]), torch.tensor([[9.0, 9.0]]), radius=2.5).tolist()]
    [0.5]
    """
    whole = torch.where(size > 0, torch.minimum(size * longest, room), 0.0)
    t = torch.full((len(size),), longest, dtype=size.dtype)
    long = (whole.norm(dim=1) > radius).nonzero().squeeze(1)
    if len(long):
        t[long] = _crossing(size[long], room[long], radius * _INSIDE)
    return t


def _crossing(size: Tensor, room: Tensor, radius: float) -> Tensor:
    """The t at which the vector of min(t * size, room) has the length `radius`; it must get there.

    Between two t at which a coordinate meets the box, the squared length is what the met ones have plus t^2 times the rest.
    """
    meets, order = torch.where(size > 0, room / size, torch.inf).sort(dim=1)
    met, rest = room.gather(1, order) ** 2, size.gather(1, order) ** 2
    before = met.cumsum(1) - met
    behind = rest.flip(1).cumsum(1).flip(1)
    length = torch.where(rest > 0, before + meets**2 * behind, torch.inf)
    first = (length <= radius**2).sum(1, keepdim=True).clamp(max=size.shape[1] - 1)
    missing = (radius**2 - before.gather(1, first)).clamp(min=0.0)
    return (missing / behind.gather(1, first).clamp(min=1e-300)).sqrt().squeeze(1)


def trimmed(change: Tensor, less: Tensor, lost: Tensor, radius: float) -> Tensor:
    """A change (N, P) in which no more coordinates than needed are put from `change` to `less`, so that it fits the ball.

    Args:
        change, less: (N, P) with |less| <= |change|, where `less` as a whole fits the ball.
        lost: (N, P) which coordinates go first: those with the greatest values.
    """
    over = (change**2).sum(1, keepdim=True) - (radius * _INSIDE) ** 2
    order = torch.where(change != less, lost, -torch.inf).argsort(dim=1, descending=True, stable=True)
    gain = (change**2 - less**2).gather(1, order)
    needed = (gain.cumsum(1) - gain < over) & (over > 0)
    return torch.where(torch.zeros_like(needed).scatter(1, order, needed), less, change)
