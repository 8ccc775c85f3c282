"""The order of an epoch: every row once, at random; in shuffled blocks of neighbours where rows live in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from netwright.core.seed import generator
from netwright.data import batch as module
from netwright.data import memory
from netwright.data.batch import Batch, Block, block_rows, shuffled
from netwright.losses.standard import CrossEntropy
from netwright.train.hooks import Checkpoint, Quiet
from netwright.train.loop import train
from netwright.train.objectives import Supervised
from netwright.train.settings import Training
from netwright.train.state import State
from test_train import OnX

ROWS, BLOCK = 1000, 50


def order(n: int = ROWS, seed: int = 0, block: int = BLOCK) -> Tensor:
    return shuffled(n, torch.Generator().manual_seed(seed), block)


@pytest.fixture
def two_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIXED", 2)


@pytest.mark.parametrize("block", [0, ROWS, 2 * ROWS])
def test_without_blocks_rows_are_drawn_at_random_as_torch_draws_them(block: int) -> None:
    assert torch.equal(order(block=block), torch.randperm(ROWS, generator=torch.Generator().manual_seed(0)))


@pytest.mark.usefixtures("two_mixed")
@pytest.mark.parametrize("n", [ROWS, 1017, 60])
def test_in_blocks_every_row_comes_once_and_another_seed_gives_another_order(n: int) -> None:
    assert sorted(order(n).tolist()) == list(range(n))
    assert torch.equal(order(n), order(n))
    assert not torch.equal(order(n), order(n, seed=1))


@pytest.mark.usefixtures("two_mixed")
def test_few_blocks_are_open_at_a_time_and_their_rows_are_mixed() -> None:
    pieces = order().view(-1, 2 * BLOCK).numpy()
    for piece in pieces:
        assert len(np.unique(piece // BLOCK)) == 2
        assert (np.diff(piece // BLOCK) != 0).sum() > BLOCK / 2  # a batch of neighbours holds both blocks
    firsts = pieces[:, 0] // BLOCK
    assert not np.array_equal(firsts, np.sort(firsts))


def stored(monkeypatch: pytest.MonkeyPatch, room: str) -> Block:
    """A thousand rows of 64 bytes, in a file where there is little room."""
    monkeypatch.setenv(memory.VARIABLE, room)
    monkeypatch.setattr(module, "BLOCK_BYTES", 64 * BLOCK)
    array = memory.roomy((ROWS, 16), np.float32)
    array[:] = np.random.default_rng(0).normal(size=array.shape)
    return Block({"x": torch.from_numpy(array)}, torch.arange(ROWS) % 2)


def test_blocks_are_for_rows_in_a_file_and_for_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    assert block_rows(stored(monkeypatch, "1KB")) == BLOCK
    assert block_rows(stored(monkeypatch, "1GB")) == 0
    copied = Block({"x": stored(monkeypatch, "1KB").x["x"].clone()})
    assert block_rows(copied) == 0


def test_a_file_that_is_gone_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_in_files", {})
    block = stored(monkeypatch, "1KB")
    assert memory.is_in_file(block.x["x"].data_ptr())
    del block
    assert not memory._in_files


class Watching(Supervised):
    """Notes the rows of each step."""

    def __init__(self) -> None:
        super().__init__(CrossEntropy())
        self.rows: list[Tensor] = []

    def step(self, net: nn.Module, batch: Batch, rng: torch.Generator) -> Any:
        assert batch.rows is not None
        self.rows.append(batch.rows)
        return super().step(net, batch, rng)


class Killed(Exception):
    """The process ends here."""


class Kill(Quiet):
    """In the middle of the first epoch."""

    def on_step(self, state: State) -> None:
        if state.step == 4:
            raise Killed


def test_a_training_reads_a_file_in_blocks_and_a_resume_does_as_its_checkpoint_did(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source, settings, path = stored(monkeypatch, "1KB"), Training(epochs=1, batch_size=100), tmp_path / "c"
    whole = Watching()
    train(OnX(nn.Linear(16, 2)), whole, source, settings, seed=3)
    assert torch.equal(torch.cat(whole.rows), shuffled(ROWS, generator(3, "order", 0), BLOCK))

    first, second = Watching(), Watching()
    with pytest.raises(Killed):
        train(OnX(nn.Linear(16, 2)), first, source, settings, seed=3, hooks=[Checkpoint(path, 0.0), Kill()])
    in_memory = Block({"x": source.x["x"].clone()}, source.y)
    train(OnX(nn.Linear(16, 2)), second, in_memory, settings, seed=3, checkpoint=path)
    assert torch.equal(torch.cat(first.rows + second.rows), torch.cat(whole.rows))
