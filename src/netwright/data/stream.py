"""Training rows that stay on disk: a Parquet table read in shuffled blocks, encoded by a thread that works ahead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from netwright.core.errors import DataError, UsageError
from netwright.core.seed import generator
from netwright.core.spec import InputSpec, TargetSpec
from netwright.data.ahead import ahead
from netwright.data.batch import Batch
from netwright.data.encode import encode_inputs, encode_target
from netwright.data.frames import settled
from netwright.data.parquet import ParquetTable
from netwright.data.parts import TRAIN, PartRule

MIXED = 8
"""Blocks whose rows are permuted together."""
BLOCK_ROWS = 65_536
BLOCK_BYTES = 12 * 2**20
"""A block has at most so many rows, and its tensors at most so many bytes."""
_SCAN_ROWS = 1 << 20
_PROBE_ROWS = 64


class ParquetStream:
    """The training rows of a Parquet table as a source of batches, of which a few blocks are in memory at a time.

    One epoch reads blocks of neighbouring rows in an order drawn from (seed, epoch); `MIXED` blocks at a time are permuted
    together. So a batch mixes rows of eight places of the table; rows that a sorted table has together stay together no longer.
    Memory: about four times `MIXED * BLOCK_BYTES`, and one row group of the file.

    Args:
        table: the rows. rule: which of them train.
        spec, target: how they are encoded, fitted elsewhere (on a sample).
        shards: an epoch is this part of a pass over all rows, so that a long table is evaluated more often; `shards` epochs
            in turn see every row once.

    Raises:
        DataError: no row trains, or a block cannot be read or encoded.
        UsageError: columns of images, which `folder` and `memory` stream in their own way.
    """

    def __init__(
        self, table: ParquetTable, rule: PartRule, spec: InputSpec, target: TargetSpec, *, shards: int = 1
    ) -> None:
        if spec.images:
            raise UsageError("a Parquet table with columns of images does not stream; put the images into folders")
        self.table, self.rule, self.spec, self.target, self.shards = table, rule, spec, target, shards
        self.columns = list(dict.fromkeys([*spec.names, *rule.columns]))
        self.blocks = table.slices(self._block_rows())
        self.ends = np.cumsum(self._count())
        self.n_rows = int(self.ends[-1])
        if self.n_rows < shards:
            raise DataError(f"{table.path} has {self.n_rows:,} training rows, fewer than its {shards} shards")

    def __len__(self) -> int:
        return self.n_rows // self.shards

    def take(self, index: Tensor) -> Batch:
        """The rows `index` among all training rows, in the table's order; slow, for it reads every block that holds one."""
        of_block = np.searchsorted(self.ends, index.numpy(), side="right")
        numbers = np.unique(of_block).tolist()
        found = _cat([self._block(k) for k in numbers])
        assert found.rows is not None
        return _rows(found, torch.searchsorted(found.rows, index))

    def batches(self, *, seed: int, epoch: int, size: int, first: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from number `first` on, `len(self) // size` of `size` rows each; the rest is left out.

        The order depends on (seed, epoch) alone. A thread reads and encodes ahead; it ends with the iterator.

        Raises:
            DataError: what the thread met.
        """
        begin = (epoch % self.shards) * len(self)
        end = begin + len(self) // size * size
        pieces = ahead(self._pieces(seed, epoch // self.shards, begin + first * size, end), name="parquet stream")
        try:
            yield from _cut(pieces, size)
        finally:
            pieces.close()  # type: ignore[attr-defined]

    def _pieces(self, seed: int, turn: int, begin: int, end: int) -> Iterator[Batch]:
        """Rows `begin` to `end` of one pass over all rows, in pieces of up to `MIXED` blocks."""
        order = torch.randperm(len(self.blocks), generator=generator(seed, "blocks", turn)).tolist()
        at = 0
        for k in range(0, len(order), MIXED):
            members = order[k : k + MIXED]
            n = sum(self._size(m) for m in members)
            low, high = max(begin - at, 0), min(end - at, n)
            at += n
            if low < high:
                mixed = torch.randperm(n, generator=generator(seed, "rows", turn, k))
                yield _rows(_cat([self._block(m) for m in members]), mixed[low:high])

    def _size(self, k: int) -> int:
        return int(self.ends[k] - (self.ends[k - 1] if k else 0))

    def _block(self, k: int) -> Batch:
        """The training rows of one block."""
        start, stop = self.blocks[k]
        frame = settled(self.table.read(start, stop, self.columns))[0]
        frame = frame.filter(self.rule(frame, start) == TRAIN)
        if frame.height != self._size(k):
            raise DataError(f"{self.table.path} was changed while it was read; start again")
        rows = torch.arange(int(self.ends[k]) - frame.height, int(self.ends[k]))
        return Batch(encode_inputs(frame, self.spec), encode_target(frame[self.target.name], self.target), None, rows)

    def _block_rows(self) -> int:
        """Rows whose tensors take `BLOCK_BYTES`, going by the first ones."""
        frame = settled(self.table.read(*self.table.slices(_PROBE_ROWS)[0], self.columns))[0]
        size = sum(t.numel() * t.element_size() for t in encode_inputs(frame, self.spec).values())
        return int(np.clip(BLOCK_BYTES * frame.height // size, 1, BLOCK_ROWS))

    def _count(self) -> np.ndarray:
        """Training rows of each block."""
        counts = np.zeros(len(self.blocks), dtype=np.int64)
        begins = np.array([start for start, _ in self.blocks])
        for start, stop in self.table.slices(_SCAN_ROWS):
            frame = settled(self.table.read(start, stop, self.rule.columns))[0]
            training = start + np.flatnonzero(self.rule(frame, start) == TRAIN)
            counts += np.bincount(np.searchsorted(begins, training, side="right") - 1, minlength=len(counts))
        return counts


def _cut(pieces: Iterator[Batch], size: int) -> Iterator[Batch]:
    """Batches of `size` rows; what is left at the end is left out."""
    left: list[Batch] = []
    for piece in pieces:
        whole = _cat([*left, piece])
        n = len(whole) // size * size
        for at in range(0, n, size):
            yield _rows(whole, slice(at, at + size))
        left = [_rows(whole, slice(n, None))] if n < len(whole) else []


def _rows(batch: Batch, index: Tensor | slice) -> Batch:
    assert batch.y is not None and batch.rows is not None
    return Batch({k: v[index] for k, v in batch.x.items()}, batch.y[index], None, batch.rows[index])


def _cat(batches: Sequence[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    x = {name: torch.cat([b.x[name] for b in batches]) for name in batches[0].x}
    y, rows = [b.y for b in batches if b.y is not None], [b.rows for b in batches if b.rows is not None]
    return Batch(x, torch.cat(y), None, torch.cat(rows))
