"""Which steps of padded sequences are there, and sequences read backwards from their own ends."""

from __future__ import annotations

import torch
from torch import Tensor


def inside(lengths: Tensor, n_steps: int) -> Tensor:
    """Which steps are there: (N,) lengths -> (N, n_steps) bool.

    >>> inside(torch.tensor([1, 3]), 3).int().tolist()
    [[1, 0, 0], [1, 1, 1]]
    """
    return torch.arange(n_steps, device=lengths.device) < lengths.unsqueeze(-1)


def backwards(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Each sequence from its own last step to its first, what stands behind it where it was: (N, T, D) -> (N, T, D).

    Twice gives what was there before.

    >>> backwards(torch.tensor([[[1.0], [2.0], [0.0]]]), torch.tensor([2])).flatten().tolist()
    [2.0, 1.0, 0.0]
    """
    if lengths is None:
        return x.flip(1)
    steps = torch.arange(x.shape[1], device=x.device)
    mirrored = lengths.unsqueeze(-1) - 1 - steps
    places = torch.where(mirrored >= 0, mirrored, steps)
    return x.gather(1, places.unsqueeze(-1).expand(x.shape))


def at_last(x: Tensor, lengths: Tensor | None) -> Tensor:
    """The last step of each sequence: (N, T, D) -> (N, D).

    >>> at_last(torch.tensor([[[1.0], [2.0], [0.0]]]), torch.tensor([2])).tolist()
    [[2.0]]
    """
    if lengths is None:
        return x[:, -1]
    return x.gather(1, (lengths - 1).view(-1, 1, 1).expand(-1, 1, x.shape[2])).squeeze(1)


def is_traced(x: Tensor) -> bool:
    """Whether what is computed must not depend on the values of a tensor: a network is exported, its operations are written down, or
    it is one of several that are computed at once.

    >>> is_traced(torch.zeros(1))
    False
    """
    if torch.compiler.is_exporting():  # asked first: the exporter's own interpreter cannot follow the questions below
        return True
    proxies = torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY)
    return proxies is not None or bool(torch._C._functorch.is_batchedtensor(x))
