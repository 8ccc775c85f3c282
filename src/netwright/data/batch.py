"""Rows as named tensors, and batches of them taken by index: data that fits lives in memory, a batch is an index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from netwright.data.memory import is_in_file

Inputs = Mapping[str, Tensor]
"""What every network of this package is called with: named tensors whose first dimension counts rows."""


def _moved(tensor: Tensor | None, device: torch.device | str) -> Tensor | None:
    return None if tensor is None else tensor.to(device)


@dataclass(frozen=True)
class Batch:
    """Some rows.

    Args:
        x: inputs by name, each (N, ...). Ragged data adds "lengths" (N,) and "mask".
        y: (N,) class numbers (int64) or values (float32), or whatever the loss takes; None where there is no target.
        weight: (N,) weights of the rows in the loss, or None for 1.
        rows: (N,) where these rows stand in their source.
    """

    x: Inputs
    y: Tensor | None = None
    weight: Tensor | None = None
    rows: Tensor | None = None

    def __len__(self) -> int:
        return len(next(iter(self.x.values())))

    def part(self, begin: int, end: int) -> Batch:
        """Rows `begin` to `end`, as views."""

        def cut(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor[begin:end]

        x = {k: v[begin:end] for k, v in self.x.items()}
        return Batch(x, cut(self.y), cut(self.weight), cut(self.rows))

    def to(self, device: torch.device | str) -> Batch:
        """The same rows on a device."""
        x = {k: v.to(device) for k, v in self.x.items()}
        return Batch(x, _moved(self.y, device), _moved(self.weight, device), _moved(self.rows, device))


class Source(Protocol):
    """Anything that can give the rows of an index: a block of tensors, or lists that are padded per batch."""

    def __len__(self) -> int: ...

    def take(self, index: Tensor) -> Batch:
        """The rows `index` (int64, in that order)."""


@dataclass(frozen=True)
class Block:
    """A source whose rows are tensors in memory.

    >>> block = Block({"x": torch.arange(6.0).reshape(3, 2)}, y=torch.tensor([0, 1, 0]))
    >>> block.take(torch.tensor([2, 0])).x["x"].tolist()
    [[4.0, 5.0], [0.0, 1.0]]
    """

    x: Inputs
    y: Tensor | None = None
    weight: Tensor | None = None

    def __len__(self) -> int:
        return len(next(iter(self.x.values())))

    def take(self, index: Tensor) -> Batch:
        """The rows `index`."""
        y = None if self.y is None else self.y.index_select(0, index)
        weight = None if self.weight is None else self.weight.index_select(0, index)
        return Batch({k: v.index_select(0, index) for k, v in self.x.items()}, y, weight, index)

    def to(self, device: torch.device | str) -> Block:
        """The same block on a device."""
        x = {k: v.to(device) for k, v in self.x.items()}
        return Block(x, _moved(self.y, device), _moved(self.weight, device))


BLOCK_BYTES = 1 << 20
"""Of the tensors of a block: one reading of a disk."""
MIXED = 96
"""Blocks whose rows are permuted together."""


def block_rows(source: Source) -> int:
    """Rows of a block of neighbours, where rows live in a file (`memory.roomy`) and are better read so; 0 where they are in memory."""
    if not isinstance(source, Block) or not any(is_in_file(v.data_ptr()) for v in source.x.values()):
        return 0
    return max(1, BLOCK_BYTES // sum(v[:1].numel() * v.element_size() for v in source.x.values()))


def shuffled(n: int, draws: torch.Generator, block: int = 0) -> Tensor:
    """The numbers of n rows in random order.

    With `block` so many neighbours come together: blocks in random order, `MIXED` of them permuted together. Rows in a file that were
    taken at random would cost an access to the disk each.

    >>> sorted(shuffled(5, torch.Generator(), 2).tolist())
    [0, 1, 2, 3, 4]
    """
    if not 0 < block < n:
        return torch.randperm(n, generator=draws)
    pieces = []
    for some in torch.split(torch.randperm(-(-n // block), generator=draws), MIXED):
        own = (some.unsqueeze(1) * block + torch.arange(block)).flatten()
        own = own[own < n]
        pieces.append(own[torch.randperm(len(own), generator=draws)])
    return torch.cat(pieces)


AT_ONCE = 1 << 20
"""Bytes that are gathered at once: one gather for many small batches costs less than one for each, while they stay in the cache."""


def batches(source: Source, index: Tensor) -> Iterator[Batch]:
    """The batches of an index (steps, rows), one after the other; those of a block are gathered many at a time.

    >>> block = Block({"x": torch.arange(6.0)})
    >>> [batch.x["x"].tolist() for batch in batches(block, torch.tensor([[5, 0], [2, 3]]))]
    [[5.0, 0.0], [2.0, 3.0]]
    """
    if not isinstance(source, Block) or not len(index):
        yield from map(source.take, index)
        return
    size = index.shape[1]
    step = sum(v[:1].numel() * v.element_size() for v in source.x.values()) * size
    for some in torch.split(index, max(1, AT_ONCE // max(step, 1))):
        gathered = source.take(some.reshape(-1))
        yield from (gathered.part(k * size, (k + 1) * size) for k in range(len(some)))


def whole(source: Source) -> Batch:
    """All rows of a source as one batch."""
    return source.take(torch.arange(len(source)))


@runtime_checkable
class Streaming(Source, Protocol):
    """A source that gives batches in its own order, where rows are too many to be taken at random."""

    def batches(self, *, seed: int, epoch: int, size: int, first: int) -> Iterator[Batch]:
        """The batches of one epoch from number `first` on: len(self) // size of `size` rows each, in an order that depends on
        (seed, epoch) alone."""
