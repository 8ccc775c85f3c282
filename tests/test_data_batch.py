"""The order of an epoch: every row once, at random; in shuffled blocks of neighbours where rows do not fit into memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from netwright.data import batch as module
from netwright.data.batch import Block, shuffled

ROWS, ROW_BYTES, BLOCK = 1000, 64, 50


def source(n: int = ROWS) -> Block:
    return Block({"x": torch.zeros(n, ROW_BYTES // 4)})


def order(n: int = ROWS, seed: int = 0, rows: int | None = None) -> Tensor:
    return shuffled(source(n), torch.Generator().manual_seed(seed), rows)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 50 rows, two of which are mixed; 20 kB of memory."""
    monkeypatch.setattr(module, "MIXED", 2)
    monkeypatch.setattr(module, "BLOCK_BYTES", BLOCK * ROW_BYTES)
    monkeypatch.setattr(module, "memory", lambda: 20_000)


def test_rows_that_fit_are_drawn_at_random_as_torch_draws_them() -> None:
    assert torch.equal(order(), torch.randperm(ROWS, generator=torch.Generator().manual_seed(0)))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("n", [ROWS, 1017])
@pytest.mark.parametrize("rows", [None, 333])
def test_in_blocks_every_row_comes_once_and_another_seed_gives_another_order(n: int, rows: int | None) -> None:
    assert sorted(order(n, rows=rows).tolist()) == list(range(rows or n))
    assert torch.equal(order(n, rows=rows), order(n, rows=rows))
    assert not torch.equal(order(n, rows=rows), order(n, seed=1, rows=rows))


@pytest.mark.usefixtures("small")
def test_few_blocks_are_open_at_a_time_and_their_rows_are_mixed() -> None:
    pieces = order().view(-1, 2 * BLOCK).numpy()
    for piece in pieces:
        assert len(np.unique(piece // BLOCK)) == 2
        assert np.abs(np.diff(piece)).min() >= 1
        assert (np.diff(piece // BLOCK) != 0).sum() > BLOCK / 2  # a batch of neighbours holds both blocks
    firsts = pieces[:, 0] // BLOCK
    assert not np.array_equal(firsts, np.sort(firsts))


@pytest.mark.usefixtures("small")
def test_blocks_are_for_what_is_larger_than_its_share_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "memory", lambda: 4 * ROWS * ROW_BYTES)
    assert torch.equal(order(), torch.randperm(ROWS, generator=torch.Generator().manual_seed(0)))
