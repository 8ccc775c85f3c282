"""Averages of weights over a training, gradients in parts, layers of their own pace, and the way back from a divergence."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from conftest import make_data
from netwright.core.errors import TrainingError
from netwright.data.batch import Batch, Block
from netwright.data.data import Data
from netwright.losses.standard import CrossEntropy
from netwright.model import Model, fit, fit_all
from netwright.nn.ensemble import Ensemble
from netwright.recipes.recipe import Recipe
from netwright.train import averaging
from netwright.train.averaging import Average, AverageEpochs, Snapshots, averaged, current_weights
from netwright.train.diverge import returns_of
from netwright.train.hooks import Quiet
from netwright.train.loop import train
from netwright.train.objectives import Supervised
from netwright.train.schedules import rate_at
from netwright.train.settings import Layer, Training
from netwright.train.stack import Member, Stack
from netwright.train.state import State
from test_train import OnX, rows, same_bits, small_net, weights_of
from test_train_hooks import Recorder

OBJECTIVE = Supervised(CrossEntropy())
SETTINGS = Training(epochs=8, batch_size=8, learning_rate=0.05, warmup=0)
SMALL = {"width": 8, "depth": 1, "number_dim": 4, "category_dim": 2}


@pytest.fixture(scope="module")
def data() -> Data:
    return make_data("binary")


# --- averages -----------------------------------------------------------------------------------------------------------


def with_batch_norm() -> nn.Module:
    torch.manual_seed(0)
    return OnX(nn.Sequential(nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)))


def several(make: Callable[[], nn.Module]) -> Stack:
    return Stack([Member(make(), k, SETTINGS) for k in range(2)], rows().x)


class ByHand(Quiet):
    """The average again, from the weights and statistics that the network has after each step."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.mean: dict[str, Tensor] = {}

    def on_start(self, state: State) -> None:
        self.mean = {name: value.clone() for name, value in averaged(state.net).items()}

    def on_step(self, state: State) -> None:
        decay = min(self.decay, (1 + state.step) / (10 + state.step))
        for name, value in averaged(state.net).items():
            self.mean[name].lerp_(value, 1 - decay)


@pytest.mark.parametrize(
    "make", [small_net, with_batch_norm, partial(several, small_net), partial(several, with_batch_norm)]
)
def test_an_average_follows_the_weights_of_a_network_or_a_stack_and_looks_for_them_once(
    make: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand, calls = ByHand(0.9), []
    monkeypatch.setattr(averaging, "averaged", lambda net: calls.append(net) or averaged(net))
    state = train(make(), OBJECTIVE, rows(), SETTINGS, seed=3, hooks=[Average(0.9), by_hand])
    assert len(calls) == 1
    for name, mean in by_hand.mean.items():
        torch.testing.assert_close(state.group("average")[name], mean, rtol=1e-5, atol=1e-7)


def test_swa_is_the_mean_of_the_weights_after_the_last_quarter_of_the_epochs() -> None:
    recorder = Recorder()
    state = train(small_net(), OBJECTIVE, rows(), SETTINGS, seed=3, hooks=[recorder, AverageEpochs(8)])
    for name, mean in current_weights(state).items():
        expected = torch.stack([recorder.steps[5 * epoch][name] for epoch in (6, 7, 8)]).mean(0)
        torch.testing.assert_close(mean, expected)


def test_swa_averages_each_member_of_a_stack_on_its_own() -> None:
    members = [Member(small_net(k), k, SETTINGS) for k in range(2)]
    stack = Stack(members, rows().x)
    together = train(stack, OBJECTIVE, rows(), SETTINGS, seed=0, hooks=[AverageEpochs(8)])
    for k in range(2):
        state = train(small_net(k), OBJECTIVE, rows(), SETTINGS, seed=k, hooks=[AverageEpochs(8)])
        for name, mean in stack.part(current_weights(together), k).items():
            torch.testing.assert_close(mean, current_weights(state)[name], rtol=1e-4, atol=1e-5)


def test_a_snapshot_holds_the_weights_at_the_end_of_its_cycle() -> None:
    settings = SETTINGS.model_copy(update={"schedule": "multi-cycle", "cycles": 3, "epochs": 7})
    hook, recorder = Snapshots(7, 3), Recorder()
    state = train(small_net(), OBJECTIVE, rows(), settings, seed=3, hooks=[hook, recorder])
    assert hook.ends == (2, 4, 7)
    for number, end in enumerate(hook.ends):
        taken = state.group(f"snapshot-{number}")
        assert all(torch.equal(taken[name], p) for name, p in recorder.epochs[end - 1].items())


@pytest.mark.parametrize(("epochs", "cycles"), [(7, 3), (6, 3), (20, 4), (10, 4), (11, 9), (3, 4), (1, 4), (5, 1)])
def test_a_snapshot_is_taken_where_the_rate_has_fallen_to_the_lowest_of_its_cycle(epochs: int, cycles: int) -> None:
    settings = Training(epochs=epochs, cycles=cycles, schedule="multi-cycle", learning_rate=1.0, warmup=0)
    steps, ends = 50, Snapshots(epochs, cycles).ends
    rates = [rate_at(k, steps * epochs, settings) for k in range(steps * epochs)]
    assert len(ends) == min(epochs, cycles) and ends[-1] == epochs
    for begin, end in pairwise((0, *ends)):
        cycle = rates[begin * steps : end * steps]
        assert cycle[0] == 1.0 and cycle == sorted(cycle, reverse=True)
        assert cycle[-1] < 0.001, "the last step before the snapshot"


@pytest.mark.parametrize("n", [1, 2])
def test_the_score_of_snapshots_is_that_of_their_mean(data: Data, n: int) -> None:
    recipe = Recipe(name="r", template="residual-mlp", options=SMALL, loss="cross-entropy").with_training(
        epochs=6, schedule="multi-cycle", cycles=3, average="snapshots"
    )
    valid = data.block("valid")
    assert valid.y is not None
    for model, trained in fit_all([recipe] * n, data, seeds=list(range(n)), metric="log-loss")[0]:
        price = CrossEntropy().values(model.outputs(valid.x).double(), valid.y).mean().item()
        assert trained.best == (pytest.approx(price, rel=1e-5), 6)


@pytest.mark.parametrize("together", [False, True])
def test_snapshots_answer_with_their_mean_and_are_stored_as_one_model(
    data: Data, together: bool, tmp_path: Any
) -> None:
    recipe = Recipe(name="r", template="residual-mlp", options=SMALL, loss="cross-entropy").with_training(
        epochs=6, schedule="multi-cycle", cycles=3, average="snapshots"
    )
    if together:
        (model, _), _ = fit_all([recipe] * 2, data, seeds=[0, 1], metric="log-loss")[0]
    else:
        model, _ = fit(recipe, data, seed=0, metric="log-loss")
    assert isinstance(model.module, Ensemble) and len(model.module.members) == 3
    x = data.block("test").x
    members = torch.stack([member(x) for member in model.module.members])
    assert (members[0] - members[1]).abs().max() > 1e-4
    torch.testing.assert_close(model.outputs(x), members.mean(0).detach())
    model.save(tmp_path / "model")
    torch.testing.assert_close(Model.load(tmp_path / "model").outputs(x), model.outputs(x), rtol=0, atol=0)


# --- parts and paces ----------------------------------------------------------------------------------------------------


def test_gradients_of_parts_add_up_to_that_of_the_batch() -> None:
    whole, parts = small_net(dropout=0.0), small_net(dropout=0.0)
    train(whole, OBJECTIVE, rows(), SETTINGS, seed=3)
    train(parts, OBJECTIVE, rows(), SETTINGS.model_copy(update={"accumulate": 4}), seed=3)
    torch.testing.assert_close(weights_of(parts), weights_of(whole), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n", [1, 3, 5])
def test_parts_of_fewer_rows_than_a_batch_add_up_to_the_gradient_of_all_of_them(n: int) -> None:
    whole, parts, few = small_net(dropout=0.0), small_net(dropout=0.0), rows().take(torch.arange(n))
    block, settings = Block(few.x, few.y), SETTINGS.model_copy(update={"batch_size": 8})
    train(whole, OBJECTIVE, block, settings, seed=3)
    train(parts, OBJECTIVE, block, settings.model_copy(update={"accumulate": 8}), seed=3)
    torch.testing.assert_close(weights_of(parts), weights_of(whole), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("batch_size", "accumulate"), [(10, 4), (32, 64), (256, 3)])
def test_parts_that_would_make_another_batch_than_was_asked_for_are_refused(batch_size: int, accumulate: int) -> None:
    with pytest.raises(ValidationError, match=rf"a batch of {batch_size} rows .* accumulate is {accumulate}; take"):
        Training(batch_size=batch_size, accumulate=accumulate)


def test_a_network_sees_the_parts_one_after_the_other() -> None:
    seen: list[int] = []

    class Sized(OnX):
        def forward(self, x: Any) -> Tensor:
            seen.append(len(x["x"]))
            return super().forward(x)

    net = Sized(small_net().body)
    train(net, OBJECTIVE, rows(), SETTINGS.model_copy(update={"accumulate": 4, "epochs": 1}), seed=3)
    assert seen == [2] * 20


def test_a_layer_with_rate_zero_stays_as_it_is_and_others_move() -> None:
    net, before = small_net(), small_net()
    settings = SETTINGS.model_copy(update={"layers": {"body.0": Layer(rate=0.0), "body.4.weight": Layer(rate=0.5)}})
    train(net, OBJECTIVE, rows(), settings, seed=3)
    moved = {n: not torch.equal(p, q) for (n, p), q in zip(net.named_parameters(), before.parameters(), strict=True)}
    assert moved == {n: not n.startswith("body.0") for n in moved}


def test_the_first_pattern_that_fits_decides() -> None:
    layers = {"body.4.bias": Layer(weight_decay=0.7), "body.*": Layer(rate=0.1, weight_decay=0.2)}
    state = train(small_net(), OBJECTIVE, rows(), SETTINGS.model_copy(update={"layers": layers, "epochs": 1}), seed=3)
    decays = {group["weight_decay"] for group in state.optimizers["net"].param_groups}
    assert decays == {0.7, 0.2}


# --- divergence ---------------------------------------------------------------------------------------------------------


class Flaky:
    """A loss that is not finite in one step, as long as the rate is too high."""

    def __init__(self, step: int, below: float) -> None:
        self.step_number, self.below, self.rates = step, below, []  # type: ignore[var-annotated]
        self.inner = OBJECTIVE
        self.state: State | None = None

    def players(self, net: nn.Module) -> Any:
        return self.inner.players(net)

    def predict(self, net: nn.Module, x: Any) -> Tensor:
        return self.inner.predict(net, x)

    def step(self, net: nn.Module, batch: Batch, rng: torch.Generator) -> Any:
        values = self.inner.step(net, batch, rng)
        assert self.state is not None
        rate = 0.05 * 0.5 ** len(self.state.values.get("returns", []))
        if self.state.step == self.step_number and rate >= self.below:
            return {"net": values["net"] * math.inf}
        return values


class Holds(Quiet):
    """Tells the loss of the state."""

    def __init__(self, objective: Flaky) -> None:
        self.objective = objective

    def on_start(self, state: State) -> None:
        self.objective.state = state


CONSTANT = SETTINGS.model_copy(update={"schedule": "constant"})


def test_a_training_that_diverges_goes_back_to_the_epoch_s_start_with_half_of_its_rate() -> None:
    objective = Flaky(step=17, below=0.05)
    net = small_net()
    hooks = [Holds(objective), Average(0.9)]
    state = train(net, objective, rows(), CONSTANT, seed=3, hooks=hooks)  # type: ignore[arg-type]
    assert state.epoch == 8 and [r[0] for r in state.values["returns"]] == [17]
    assert (
        returns_of(state) == "the loss became inf at step 17, first in the loss: gone back, and on with 0.5 of the rate"
    )
    assert state.history.column("learning_rate") == [0.05] * 3 + [0.025] * 5
    assert state.history.column("epoch") == list(range(1, 9))
    by_hand = small_net()  # three epochs, then five from there at half of the rate

    class Halve(Quiet):
        def on_epoch(self, state: State) -> None:
            if state.epoch == 3:
                state.values["returns"] = [[17, "", ""]]

    expected = train(by_hand, OBJECTIVE, rows(), CONSTANT, seed=3, hooks=[Halve(), Average(0.9)])
    assert same_bits(weights_of(net), weights_of(by_hand))
    assert same_bits([*state.group("average").values()], [*expected.group("average").values()])


def test_after_the_second_return_a_training_is_given_up() -> None:
    objective = Flaky(step=17, below=0.0)
    with pytest.raises(
        TrainingError, match=r"the loss became inf at step 17, first in the loss; lower .* half and a fourth"
    ):
        train(small_net(), objective, rows(), CONSTANT, seed=3, hooks=[Holds(objective)])  # type: ignore[arg-type]


def test_an_infinite_input_is_named_and_not_tried_again() -> None:
    x = rows().x["x"].clone()
    x[5, 2] = math.inf
    started: list[int] = []

    class Count(Quiet):
        def on_step(self, state: State) -> None:
            started.append(state.step)

    net = OnX(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)))
    with pytest.raises(
        TrainingError, match=r"first in the input 'x', which holds infinity, then in the output of body.0"
    ):
        train(net, OBJECTIVE, Block({"x": x}, rows().y), SETTINGS, seed=3, hooks=[Count()])
    assert len(started) <= 15


def test_the_layer_whose_gradient_overflows_is_named() -> None:
    class Root(nn.Module):
        """sqrt has an infinite slope at 0, and 0 times infinity is no number."""

        def forward(self, x: Tensor) -> Tensor:
            return (0.0 * x).sqrt()

    net = OnX(nn.Sequential(nn.Linear(4, 5), Root(), nn.Linear(5, 3)))
    with torch.no_grad():
        net.body[0].weight.abs_()
    with pytest.raises(TrainingError, match=r"the gradient became nan at step 0, first in the gradient of body.0"):
        train(net, OBJECTIVE, rows(), SETTINGS, seed=3)
