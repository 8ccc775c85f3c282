"""Compiled steps are the same steps: equal to those done one by one, after a resume too; and a word where there are none."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from netwright.core.errors import TrainingError
from netwright.data.batch import Block
from netwright.losses.standard import CrossEntropy
from netwright.train import compiled
from netwright.train.diverge import NotFinite
from netwright.train.hooks import Checkpoint, Quiet
from netwright.train.judging import Evaluate, KeepBest
from netwright.train.loop import train
from netwright.train.objectives import Supervised
from netwright.train.settings import Layer, Training
from netwright.train.state import State
from test_train import OnX, rows, small_net, weights_of

OBJECTIVE = Supervised(CrossEntropy())
SETTINGS = Training(
    epochs=3, batch_size=8, learning_rate=0.02, warmup=5, weight_decay=0.1, clip_norm=0.5, compiled=True
)
BLOCK = rows(8 * 21, weight=torch.rand(8 * 21, generator=torch.Generator().manual_seed(0)))  # 21 steps an epoch


def batch_normed() -> nn.Module:
    torch.manual_seed(0)
    return OnX(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)))


@pytest.fixture
def without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way but the last: the function of eight steps runs as it was traced."""
    monkeypatch.setattr(compiled, "BACKEND", "eager")


def both(settings: Training, make: Any = small_net, block: Block = BLOCK) -> tuple[State, State]:
    done = []
    for is_compiled in (True, False):
        chosen = settings.model_copy(update={"compiled": is_compiled})
        done.append(train(make(), OBJECTIVE, block, chosen, seed=7))
    return done[0], done[1]


def assert_equal(one: State, two: State) -> None:
    torch.testing.assert_close(weights_of(one.net), weights_of(two.net), rtol=1e-4, atol=1e-5)
    for column in ("train_loss", "gradient_norm", "learning_rate"):
        assert one.history.column(column) == pytest.approx(two.history.column(column), rel=1e-4)


@pytest.mark.parametrize(
    "optimizer",
    ["adam", *(pytest.param(name, marks=pytest.mark.slow) for name in compiled.RULES if name != "adam")],
)
@pytest.mark.usefixtures("without_compiler")
def test_eight_steps_at_once_equal_eight_steps(optimizer: str) -> None:
    fast, slow = both(SETTINGS.model_copy(update={"optimizer": optimizer}))
    assert fast.values["compiled"].startswith("8 steps") and "compiled" not in slow.values
    assert_equal(fast, slow)


@pytest.mark.slow
@pytest.mark.usefixtures("without_compiler")
def test_layers_with_rates_of_their_own_and_no_clipping_are_compiled_alike() -> None:
    own = {"body.0": Layer(rate=0.3), "body.4": Layer(weight_decay=0.5)}
    fast, slow = both(SETTINGS.model_copy(update={"layers": own, "clip_norm": None}))
    assert "compiled" in fast.values
    assert_equal(fast, slow)


class Kill(Quiet):
    """Stands for a kill after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, state: State) -> None:
        if state.step >= self.step:
            raise KeyboardInterrupt


def killed_and_whole(path: Path, step: int) -> tuple[State, State]:
    def run(net: nn.Module, *hooks: Quiet, path: Path | None = None) -> State:
        chain = [Evaluate(OBJECTIVE, BLOCK, CrossEntropy(), "log-loss"), KeepBest("log-loss", None), *hooks]
        return train(net, OBJECTIVE, BLOCK, SETTINGS, seed=7, hooks=chain, checkpoint=path)

    whole = run(small_net())
    with pytest.raises(KeyboardInterrupt):
        run(small_net(), Checkpoint(path, every_seconds=0), Kill(step), path=path)
    return run(small_net(), Checkpoint(path), path=path), whole


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 8, 18, 35])
@pytest.mark.usefixtures("without_compiler")
def test_a_killed_compiled_training_goes_on_to_the_same_bits(step: int, tmp_path: Path) -> None:
    again, whole = killed_and_whole(tmp_path / "killed.safetensors", step)
    assert all(torch.equal(a, b) for a, b in zip(weights_of(whole.net), weights_of(again.net), strict=True))
    assert again.values == whole.values


@pytest.mark.slow
@pytest.mark.usefixtures("without_compiler")
def test_what_is_no_longer_compiled_is_not_compiled_after_a_resume_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = compiled.Compiled.__call__

    def diverging(self: Any, batches: Any, keys: Any, rates: Any, step: int) -> Any:
        if step == 29:
            raise NotFinite(step, math.inf, 1.0, "")
        return call(self, batches, keys, rates, step)

    monkeypatch.setattr(compiled.Compiled, "__call__", diverging)
    again, whole = killed_and_whole(tmp_path / "killed.safetensors", 35)
    assert whole.values["compiled"] == "not compiled, because the loss became inf at step 29"
    assert again.values == whole.values
    assert all(torch.equal(a, b) for a, b in zip(weights_of(whole.net), weights_of(again.net), strict=True))


class Idle(nn.Module):
    """Has a layer that it does not use, too large to be merged with others."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.used, self.unused = nn.Linear(4, 3), nn.Linear(200, 200)

    def forward(self, x: Any) -> Any:
        return self.used(x["x"])


@pytest.mark.parametrize(
    "optimizer", ["adamw", *(pytest.param(name, marks=pytest.mark.slow) for name in ("sgd", "plain-sgd"))]
)
@pytest.mark.usefixtures("without_compiler")
def test_weights_that_are_not_used_stay_as_they_are(optimizer: str) -> None:
    fast, slow = both(SETTINGS.model_copy(update={"optimizer": optimizer}), Idle)
    assert fast.values["compiled"].startswith("8 steps")
    assert_equal(fast, slow)
    assert torch.equal(fast.net.unused.weight, Idle().unused.weight)  # type: ignore[union-attr, arg-type]


@pytest.mark.slow
@pytest.mark.usefixtures("without_compiler")
def test_where_compiled_steps_diverge_the_layer_is_found_step_by_step() -> None:
    x = BLOCK.x["x"].clone()
    x[100] = math.inf
    with pytest.raises(
        TrainingError, match=r"at step \d+, first in the input 'x', which holds infinity, then in the output of body.0"
    ):
        train(small_net(), OBJECTIVE, Block({"x": x}, BLOCK.y), SETTINGS, seed=7)


@pytest.mark.parametrize(
    ("settings", "make", "why"),
    [
        ({"optimizer": "rmsprop"}, small_net, "rmsprop has no compiled form; adam, adamw"),
        ({"average": 0.9}, small_net, "moving average"),
        ({"accumulate": 2}, small_net, "accumulated"),
        ({}, batch_normed, "running statistics"),
    ],
)
def test_what_is_not_compiled_is_trained_and_says_why(settings: dict[str, Any], make: Any, why: str) -> None:
    fast, slow = both(SETTINGS.model_copy(update=settings), make)
    assert fast.values["compiled"].startswith("not compiled, because ") and why in fast.values["compiled"]
    assert all(torch.equal(a, b) for a, b in zip(weights_of(fast.net), weights_of(slow.net), strict=True))


@pytest.mark.slow
def test_steps_compiled_to_machine_code_equal_those_done_one_by_one() -> None:
    fast, slow = both(SETTINGS, lambda: small_net(dropout=0.0))  # masks would take the compiler minutes
    assert fast.values["compiled"] == "8 steps as one function"
    assert_equal(fast, slow)


@pytest.mark.slow
def test_without_a_compiler_on_the_machine_the_steps_are_done_one_by_one_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from torch._inductor import config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # what was compiled before would need no compiler
    with config.patch({"cpp.cxx": (None, "no-such-compiler"), "force_disable_caches": True}):
        fast, slow = both(SETTINGS, lambda: small_net(dropout=0.0))
    assert fast.values["compiled"] == "not compiled, because there is no working C++ compiler"
    assert_equal(fast, slow)
