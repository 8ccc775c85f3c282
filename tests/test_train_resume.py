"""A training that was killed at any moment ends with the same bits; a checkpoint that is not its own is refused."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conftest import make_data
from netwright.core.errors import DataError, SetupError
from netwright.core.seed import numpy_generator
from netwright.core.spec import InputSpec, TargetSpec
from netwright.data.data import Data
from netwright.data.fronts import TableFront
from netwright.losses.standard import CrossEntropy
from netwright.model import Model, fit
from netwright.recipes.recipe import Recipe
from netwright.recipes.templates import Fronted
from netwright.train import members as members_module
from netwright.train.checkpoint import load_checkpoint, load_tensors, save_checkpoint, save_tensors
from netwright.train.hooks import Checkpoint, Quiet
from netwright.train.loop import train
from netwright.train.objectives import Supervised
from netwright.train.settings import Training
from netwright.train.state import State
from test_train import rows, small_net

STEPS = 28  # 240 training rows, batches of 32, 4 epochs


@pytest.fixture(scope="module")
def data() -> Data:
    return make_data("binary")


def with_batch_norm(spec: InputSpec, target: TargetSpec) -> nn.Module:
    front = TableFront(spec, number_dim=4, category_dim=2)
    body = nn.Sequential(
        nn.Linear(front.n_out, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, target.n_out)
    )
    return Fronted(front, body)


SMALL = {"width": 8, "depth": 1, "dropout": 0.3, "noise": 0.2, "number_dim": 4, "category_dim": 2}
NAMED = Recipe(name="r", template="residual-mlp", options=SMALL, loss="cross-entropy")
CUSTOM = Recipe(name="r", template="custom", loss="cross-entropy")
EVERYTHING: dict[str, tuple[Recipe, dict[str, Any]]] = {
    "average and patience": (NAMED.with_training(average=0.9, patience=2, learning_rate=0.1), {}),
    "sgd, constant, stop at error": (
        NAMED.with_training(optimizer="sgd", schedule="constant", stop_error=0.05, learning_rate=0.03),
        {},
    ),
    "batch norm of a user's own": (CUSTOM.with_training(average=0.5), {"template": with_batch_norm}),
    **{
        f"{optimizer}, {schedule}": (
            NAMED.with_training(optimizer=optimizer, schedule=schedule, halve_every=1, cycles=2),
            {},
        )
        for optimizer, schedule in (
            ("adafactor", "step"),
            ("asgd", "one-cycle"),
            ("nadam", "multi-cycle"),
            ("adagrad", "step"),
        )
    },
    "no clipping, weight decay": (NAMED.with_training(clip_norm=None, weight_decay=0.3), {"watch_train": True}),
}


class Killed(Exception):
    """Stands for a kill: nothing of the training goes on after it."""


class Kill(Quiet):
    """Ends it all after a step, or in the middle of the end of an epoch."""

    def __init__(self, step: int, at_epoch: bool) -> None:
        self.step, self.at_epoch = step, at_epoch

    def on_step(self, state: State) -> None:
        if state.step >= self.step and not self.at_epoch:
            raise Killed

    def on_epoch(self, state: State) -> None:
        if state.step >= self.step:
            raise Killed


def trained(case: str, data: Data, checkpoint: Path | None, hooks: list[Quiet]) -> tuple[Model, State]:
    recipe, options = EVERYTHING[case]
    recipe = recipe.with_training(epochs=4, batch_size=32, warmup=5)
    return fit(recipe, data, seed=5, metric="log-loss", checkpoint=checkpoint, hooks=hooks, **options)


def everything(model: Model, state: State) -> dict[str, Any]:
    """All that must agree to the last bit (tensors as lists of their bytes)."""
    tensors = {**model.module.state_dict(), **{f"state/{k}": v for k, v in state.tensors.items()}}
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in state.history.rows]
    bits = {k: v.numpy().tobytes() for k, v in tensors.items()}
    return {**bits, "history": history, "values": state.values, "at": (state.step, state.epoch, state.stop)}


@pytest.mark.slow
@pytest.mark.parametrize("case", EVERYTHING)
def test_a_training_killed_at_any_moment_ends_with_the_same_bits(
    case: str, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members_module, "Checkpoint", partial(Checkpoint, every_seconds=0.0))
    wanted = everything(*trained(case, data, None, []))
    last = wanted["at"][0]
    assert last >= 7  # not stopped before there is something to resume
    rng = numpy_generator(0, "kills", case)
    for number, step in enumerate(sorted({1, 7, last, *rng.integers(1, last + 1, 3).tolist()})):
        path = tmp_path / f"{number}.safetensors"
        for at in sorted({step, int(rng.integers(step, last + 1))}):  # killed once or twice
            with pytest.raises(Killed):
                trained(case, data, path, [Kill(at, at_epoch=bool(rng.integers(2)) and at <= last // 7 * 7)])
        assert path.exists() or step <= 1
        assert everything(*trained(case, data, path, [])) == wanted, f"killed at step {step}"


def test_a_finished_training_is_not_done_again(data: Data, tmp_path: Path) -> None:
    class Fail(Quiet):
        def on_step(self, state: State) -> None:
            pytest.fail("a step was done again")

    case, path = next(iter(EVERYTHING)), tmp_path / "c.safetensors"
    wanted = everything(*trained(case, data, path, []))
    assert everything(*trained(case, data, path, [Fail()])) == wanted


def test_how_often_a_checkpoint_is_stored_has_no_influence(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = next(iter(EVERYTHING))
    wanted = everything(*trained(case, data, tmp_path / "rare", []))
    monkeypatch.setattr(members_module, "Checkpoint", partial(Checkpoint, every_seconds=0.0))
    assert everything(*trained(case, data, tmp_path / "often", [])) == wanted


# --- files ------------------------------------------------------------------------------------------------------------

SETTINGS = Training(epochs=3, batch_size=8)


def state_after(path: Path, settings: Training = SETTINGS, seed: int = 0, n: int = 40) -> State:
    state = train(small_net(), Supervised(CrossEntropy()), rows(n), settings, seed=seed)
    save_checkpoint(path, state)
    return state


def test_a_checkpoint_is_a_plain_safetensors_file(tmp_path: Path) -> None:
    """A length, a JSON header, then the bytes of the tensors and nothing else: there is no place for a pickle."""
    path = tmp_path / "c.safetensors"
    state_after(path)
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    values = json.loads(header.pop("__metadata__")["netwright"])
    assert values["step"] == 15 and values["settings"]["batch_size"] == 8
    assert max(e["data_offsets"][1] for e in header.values()) == len(raw) - 8 - length
    assert any(k.startswith("optimizer/net/") for k in header)


@pytest.mark.parametrize("keep", [0, 4, 8, 100, 0.5, 0.99])
def test_a_truncated_checkpoint_is_a_data_error(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "c.safetensors"
    state = state_after(path)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(keep * len(raw)) if isinstance(keep, float) else keep])
    with pytest.raises(DataError, match="damaged or not ours"):
        load_checkpoint(path, state)


@pytest.mark.parametrize("junk", [b"\x80\x04\x95 a pickle", b"{}", b"\xff" * 64, (2**62).to_bytes(8, "little") + b"{}"])
def test_a_file_that_is_no_checkpoint_is_a_data_error(tmp_path: Path, junk: bytes) -> None:
    (tmp_path / "c").write_bytes(junk)
    with pytest.raises(DataError, match="damaged or not ours"):
        load_tensors(tmp_path / "c")
    with pytest.raises(DataError, match="there is no file"):
        load_tensors(tmp_path / "d")


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    state_after(path)
    block, objective = rows(), Supervised(CrossEntropy())
    for settings, seed, source in (
        (SETTINGS.model_copy(update={"learning_rate": 0.1}), 0, block),
        (SETTINGS, 1, block),
        (SETTINGS, 0, rows(80)),
    ):
        with pytest.raises(DataError, match="belongs to a training with other settings, another seed or other rows"):
            train(small_net(), objective, source, settings, seed=seed, checkpoint=path)
    with pytest.raises(DataError, match="does not fit this network"):
        train(small_net(n_out=5), objective, block, SETTINGS, seed=0, checkpoint=path)


def test_a_checkpoint_with_parts_of_unknown_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    state = state_after(path)
    tensors, values = load_tensors(path)
    save_tensors(path, {**tensors, "evil/x": torch.zeros(1)}, values)
    with pytest.raises(DataError, match="does not fit"):
        load_checkpoint(path, state)
    save_tensors(path, tensors, {k: v for k, v in values.items() if k != "history"})
    with pytest.raises(DataError, match="does not fit"):
        load_checkpoint(path, state)


def test_tensors_of_every_type_and_values_come_back_as_they_went(tmp_path: Path) -> None:
    tensors: dict[str, Tensor] = {
        "a/b": torch.tensor([0.1, float("nan")], dtype=torch.float64),
        "i": torch.tensor(3),
        "strided": torch.arange(6.0).reshape(2, 3).T,
        "shared": (shared := torch.zeros(2)),
        "again": shared,
        "empty": torch.zeros(0, 3),
    }
    values = {"x": 0.1 + 0.2, "inf": float("inf"), "list": [1, None, "é"]}
    save_tensors(tmp_path / "t", tensors, values)
    found, read = load_tensors(tmp_path / "t")
    assert read == values and found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name].nan_to_num(7), tensor.nan_to_num(7))


def test_no_room_for_a_checkpoint_is_a_setup_error(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cannot write"):
        save_tensors(tmp_path / "no" / "c", {"a": torch.zeros(1)}, {})
