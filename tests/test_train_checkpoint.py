"""A resume does what the training would have done, going back included; a checkpoint that is refused leaves the network alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from netwright.core.errors import DataError
from netwright.losses.standard import CrossEntropy
from netwright.train.checkpoint import load_tensors, save_tensors
from netwright.train.hooks import Checkpoint, Quiet
from netwright.train.loop import train
from netwright.train.objectives import Supervised
from netwright.train.settings import Training
from netwright.train.stack import Member, Stack
from netwright.train.state import State
from test_train import rows, same_bits, small_net, storage_of, weights_of

OBJECTIVE, BLOCK = Supervised(CrossEntropy()), rows(80)
SETTINGS = Training(epochs=3, batch_size=8, learning_rate=0.02, warmup=3, average=0.9)  # 10 steps an epoch
HALF = (torch.arange(40),) * 2


class Killed(Exception):
    """Stands for a kill."""


class Kill(Quiet):
    """Ends it all after a step, once the training has gone back so often."""

    def __init__(self, step: int, returns: int) -> None:
        self.step, self.returns = step, returns

    def on_step(self, state: State) -> None:
        if state.step == self.step and len(state.values.get("returns", ())) == self.returns:
            raise Killed


class Spoil(Quiet):
    """Makes a weight infinite after step 13, unless the training has gone back already."""

    def on_step(self, state: State) -> None:
        if state.step == 13 and not state.values.get("returns"):
            next(state.net.parameters()).data[0] = math.inf


@pytest.mark.parametrize(("step", "returns"), [(12, 0), (12, 1), (15, 1)])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "nadam"])
def test_a_training_that_diverges_after_a_resume_goes_back_to_where_it_would_have_without(
    optimizer: str, step: int, returns: int, tmp_path: Path
) -> None:
    path, settings = tmp_path / "c.safetensors", SETTINGS.model_copy(update={"optimizer": optimizer})

    def run(*hooks: Quiet) -> tuple[nn.Module, State]:
        net = small_net()
        return net, train(net, OBJECTIVE, BLOCK, settings, seed=1, hooks=[Spoil(), *hooks], checkpoint=path)

    whole, expected = run()
    with pytest.raises(Killed):
        run(Checkpoint(path, every_seconds=0), Kill(step, returns))
    again, state = run(Checkpoint(path))
    assert expected.values["returns"][0][:2] == [13, "the output of body.0 (Linear)"]
    assert (
        state.values == expected.values and "good" not in state.values and set(state.tensors) == set(expected.tensors)
    )
    assert same_bits(weights_of(whole), weights_of(again))
    for name in ("train_loss", "learning_rate"):
        assert state.history.column(name) == expected.history.column(name)


def test_a_checkpoint_at_the_end_of_an_epoch_holds_no_weights_to_go_back_to(tmp_path: Path) -> None:
    found: list[bool] = []

    class Look(Quiet):
        def on_epoch(self, state: State) -> None:
            found.append(any(name.startswith("good/") for name in state.tensors))

    train(small_net(), OBJECTIVE, BLOCK, SETTINGS, seed=1, hooks=[Look(), Checkpoint(tmp_path / "c")])
    assert found == [False] * 3
    assert not any("good/" in name for name in load_tensors(tmp_path / "c")[0])


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "number"),
    [
        ({"seeds": (0, 7)}, 1),
        ({"rates": (0.02, 0.1)}, 1),
        ({"rows": (torch.arange(8, 48), torch.arange(40))}, 0),
        ({"seeds": (0, 1, 2), "rates": (0.02,) * 3, "rows": HALF[:1] * 3}, 2),
    ],
)
def test_a_checkpoint_of_a_stack_with_another_member_is_refused(change: Any, number: int, tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"

    def run(seeds: Any = (0, 1), rates: Any = (0.02, 0.02), rows: Any = HALF) -> State:
        of_each = [SETTINGS.model_copy(update={"learning_rate": rate}) for rate in rates]
        members = [Member(small_net(k), *one) for k, one in enumerate(zip(seeds, of_each, rows, strict=True))]
        stack = Stack(members, BLOCK.take(torch.arange(8)).x, steps=1)
        return train(stack, OBJECTIVE, BLOCK, of_each[0], seed=0, hooks=[Checkpoint(path)], checkpoint=path)

    done = run()
    assert run().step == done.step  # its own is taken
    with pytest.raises(
        DataError, match=f"number {number} of them has another seed, other settings or other rows; remove"
    ):
        run(**change)


@pytest.mark.parametrize("what", ["seed", "shape", "optimizer"])
def test_a_refused_checkpoint_leaves_the_network_as_it_was(what: str, tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    train(small_net(), OBJECTIVE, BLOCK, SETTINGS, seed=1, hooks=[Checkpoint(path)])
    if what == "optimizer":
        tensors, values = load_tensors(path)
        save_tensors(path, {**tensors, "optimizer/net/99/exp_avg": torch.zeros(1)}, values)
    net = small_net(seed=5, n_out=5 if what == "shape" else 3)
    before = weights_of(net)
    with pytest.raises(DataError, match="belongs to" if what == "seed" else "does not fit"):
        train(net, OBJECTIVE, BLOCK, SETTINGS, seed=1 + (what == "seed"), checkpoint=path)
    assert same_bits(before, weights_of(net))
    assert len({storage_of(p) for p in net.parameters()}) == len(before) == 6
    assert all(p.grad is None for p in net.parameters())
