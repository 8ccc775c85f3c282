"""The loop: equal to a loop written by hand, deaf to global randomness, fair to weights, honest about what is not finite."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from netwright.core.errors import TrainingError
from netwright.core.seed import derive, generator
from netwright.data.batch import Batch, Block
from netwright.losses.standard import CrossEntropy, SquaredError
from netwright.nn.masks import key_at, keyed, keyed_dropouts
from netwright.train import schedules
from netwright.train.entries import OBJECTIVES, OPTIMIZERS, SCHEDULES
from netwright.train.hooks import Quiet
from netwright.train.loop import train
from netwright.train.objectives import Supervised
from netwright.train.settings import Training
from netwright.train.state import History, State
from netwright.train.weights import Weights

N = 40


class OnX(nn.Module):
    """A body on the tensor "x"."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        y: Tensor = self.body(x["x"])
        return y


def small_net(seed: int = 0, dropout: float = 0.3, n_out: int = 3) -> OnX:
    torch.manual_seed(seed)
    return OnX(nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, n_out)))


def rows(n: int = N, seed: int = 0, weight: Tensor | None = None) -> Block:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=rng)
    return Block({"x": x}, (x[:, 0] > 0).long() + (x[:, 1] > 0.5).long(), weight)


def storage_of(tensor: Tensor) -> int:
    """Where its memory is: merged parameters share that of their optimiser's tensor."""
    return tensor.untyped_storage().data_ptr()


def weights_of(net: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in net.parameters()]


def same_bits(one: list[Tensor], two: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


# --- against a loop by hand -------------------------------------------------------------------------------------------


REFERENCES: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "adamw": partial(torch.optim.AdamW, foreach=False, fused=False),
    "adam": partial(torch.optim.Adam, foreach=False, fused=False),
    "sgd": partial(torch.optim.SGD, momentum=0.9, foreach=False, fused=False),
    "nesterov": partial(torch.optim.SGD, momentum=0.9, nesterov=True, foreach=False, fused=False),
    "plain-sgd": partial(torch.optim.SGD, foreach=False, fused=False),
    "rmsprop": partial(torch.optim.RMSprop, foreach=False),
    "adagrad": partial(torch.optim.Adagrad, foreach=False, fused=False),
    "adadelta": partial(torch.optim.Adadelta, foreach=False),
    "adamax": partial(torch.optim.Adamax, foreach=False),
    "nadam": partial(torch.optim.NAdam, decoupled_weight_decay=True, foreach=False),
    "radam": partial(torch.optim.RAdam, decoupled_weight_decay=True, foreach=False),
    "adafactor": partial(torch.optim.Adafactor, foreach=False),
    "asgd": partial(torch.optim.ASGD, foreach=False),
}


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_the_loop_equals_one_written_by_hand_for_twenty_steps(optimizer: str) -> None:
    settings = Training(
        epochs=4, batch_size=8, optimizer=optimizer, learning_rate=0.05, warmup=3, weight_decay=0.1, clip_norm=0.5
    )
    net, block, seed = small_net(), rows(N + 3), 11
    state = train(net, Supervised(CrossEntropy()), block, settings, seed=seed)
    assert (state.step, state.epoch, state.steps_per_epoch) == (20, 4, 5)

    hand = small_net()
    first, norm, _, _, last = hand.body  # type: ignore[misc]
    groups = [
        {"params": [first.weight, last.weight], "weight_decay": 0.1},
        {"params": [first.bias, norm.weight, norm.bias, last.bias], "weight_decay": 0.0},
    ]
    stepper = REFERENCES[optimizer](groups)
    assert block.y is not None
    step, losses = 0, []
    hand.train()
    for epoch in range(4):
        order = torch.randperm(N + 3, generator=generator(seed, "order", epoch))
        for k in range(5):
            index = order[8 * k : 8 * k + 8]
            with keyed_dropouts(hand), keyed(key_at(torch.tensor(derive(seed, "masks")), step)):
                loss = F.cross_entropy(hand({"x": block.x["x"][index]}), block.y[index])
            stepper.zero_grad()
            loss.backward()
            gradients = [p.grad for p in hand.parameters() if p.grad is not None]
            length = math.sqrt(sum(float(g.double().square().sum()) for g in gradients))
            for g in gradients:
                g.mul_(min(1.0, 0.5 / (length + 1e-6)))
            for group in stepper.param_groups:
                group["lr"] = 0.05 * min(1.0, (step + 1) / 4) * 0.5 * (1 + math.cos(math.pi * step / 20))
            stepper.step()
            step += 1
            losses.append(loss.item())
    torch.testing.assert_close(weights_of(net), weights_of(hand), rtol=1e-5, atol=1e-6)
    means = np.array(losses).reshape(4, 5).mean(1)
    assert state.history.column("train_loss") == pytest.approx(means.tolist(), rel=1e-5)


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_ten_steps_of_an_optimiser_equal_torch_s(name: str) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2, bias=False)
    reference = nn.Parameter(layer.weight.detach().clone())
    ours = Weights(layer, Training(optimizer=name, learning_rate=0.1, weight_decay=0.3, clip_norm=None))
    theirs = REFERENCES[name]([{"params": [reference], "lr": 0.1, "weight_decay": 0.3}])
    for step in range(10):
        gradient = torch.randn(2, 3, generator=torch.Generator().manual_seed(step))
        layer.weight.grad, reference.grad = gradient.clone(), gradient.clone()
        ours.step(0.1, [1.0])
        theirs.step()
        torch.testing.assert_close(layer.weight, reference, rtol=1e-5, atol=1e-6)


def test_maps_of_grey_images_have_channels_last_in_training_too() -> None:
    """The weights of a convolution over one channel are laid out both ways at once; merged, they must not forget that."""
    layouts: list[bool] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 5, 3), nn.Linear(5, 3)

        def forward(self, x: Mapping[str, Tensor]) -> Tensor:
            maps = self.conv(x["x"])
            layouts.append(maps.is_contiguous(memory_format=torch.channels_last) and not maps.is_contiguous())
            y: Tensor = self.head(maps.mean((2, 3)))
            return y

    block = Block({"x": torch.randn(N, 1, 6, 6)}, rows().y)
    net = Watched()
    state = train(net, Supervised(CrossEntropy()), block, Training(epochs=2, batch_size=8, channels_last=True), seed=0)
    strides = net.conv.weight.stride()
    assert state.step and len(layouts) >= state.step and all(layouts) and strides == (9, 1, 3, 1)


def test_only_matrices_of_linear_and_convolutional_maps_decay() -> None:
    net = nn.Sequential(
        nn.Conv1d(1, 2, 3), nn.LayerNorm(2), nn.Linear(2, 2), nn.Embedding(3, 2), nn.Linear(2, 2, bias=False)
    )
    frozen = net[4].weight.requires_grad_(False)
    groups = Weights(net, Training(weight_decay=0.1)).optimizer.param_groups
    decay = {storage_of(p): g["weight_decay"] for g in groups for p in g["params"]}
    names = {n: decay.get(storage_of(p)) for n, p in net.named_parameters()}
    assert {n for n, d in names.items() if d == 0.1} == {"0.weight", "2.weight"}
    assert {n for n, d in names.items() if d == 0.0} == {"0.bias", "1.weight", "1.bias", "2.bias", "3.weight"}
    assert storage_of(frozen) not in decay


# --- schedules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(SCHEDULES))
@given(p=st.floats(0, 1), cycles=st.integers(1, 9), every=st.integers(1, 9), epochs=st.integers(1, 50))
def test_a_schedule_stays_in_zero_to_one(name: str, p: float, cycles: int, every: int, epochs: int) -> None:
    settings = Training(epochs=epochs, schedule=name, cycles=cycles, halve_every=every)  # type: ignore[arg-type]
    assert 0 <= SCHEDULES[name].load()(p, settings) <= 1


@pytest.mark.parametrize("name", ["constant", "cosine", "step"])
@given(p=st.floats(0, 1), q=st.floats(0, 1))
def test_a_schedule_without_cycles_starts_at_one_and_never_rises(name: str, p: float, q: float) -> None:
    shape, (low, high) = SCHEDULES[name].load(), sorted((p, q))
    assert shape(high, Training()) <= shape(low, Training()) and shape(0.0, Training()) == 1


@given(st.integers(1, 300), st.integers(0, 400), st.sampled_from(list(SCHEDULES)), st.floats(1e-6, 10), st.data())
def test_a_rate_is_positive_and_at_most_the_peak(
    total: int, warmup: int, schedule: Any, peak: float, data: Any
) -> None:
    settings = Training(learning_rate=peak, schedule=schedule, warmup=warmup)
    rate = schedules.rate_at(data.draw(st.integers(0, total - 1)), total, settings)
    assert 0 < rate <= peak * (1 + 1e-12)
    start = peak / 25 if schedule == "one-cycle" else peak / (warmup + 1)
    assert schedules.rate_at(0, total, settings) == pytest.approx(start)


def torch_rates(scheduler: Callable[[torch.optim.Optimizer], Any], steps: int) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    shape, found = scheduler(optimizer), []
    for _ in range(steps):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        shape.step()
    return found


def our_rates(steps: int, **settings: Any) -> list[float]:
    return [schedules.rate_at(k, steps, Training(learning_rate=1.0, warmup=0, **settings)) for k in range(steps)]


def test_the_step_schedule_equals_torch_s_step_by_step() -> None:
    lr = torch.optim.lr_scheduler
    theirs = torch_rates(lambda o: lr.StepLR(o, step_size=3 * 7, gamma=0.5), 10 * 7)
    assert our_rates(10 * 7, schedule="step", epochs=10, halve_every=3) == pytest.approx(theirs)


def test_cycles_restart_as_torch_s_warm_restarts_do() -> None:
    lr = torch.optim.lr_scheduler
    theirs = torch_rates(lambda o: lr.CosineAnnealingWarmRestarts(o, T_0=25), 100)
    assert our_rates(100, schedule="multi-cycle", cycles=4) == pytest.approx(theirs, abs=1e-9)


def test_one_cycle_follows_torch_s_up_to_a_step() -> None:
    lr = torch.optim.lr_scheduler
    theirs = torch_rates(lambda o: lr.OneCycleLR(o, max_lr=1.0, total_steps=1001, cycle_momentum=False), 1000)
    assert our_rates(1000, schedule="one-cycle") == pytest.approx(theirs, abs=0.01)


# --- objectives -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_an_objective_prices_every_row_for_every_player(name: str) -> None:
    net, block = small_net(dropout=0.0), rows()
    objective = OBJECTIVES[name].load()(CrossEntropy(), None)
    prices = objective.step(net, block.take(torch.arange(7)), torch.Generator())
    assert set(prices) == set(objective.players(net))
    assert all(v.shape == (7,) and v.isfinite().all() for v in prices.values())
    assert objective.predict(net, block.x).shape == (N, 3)


def test_a_perturbation_changes_what_is_learned_from_and_draws_from_its_own_generator() -> None:
    def noisy(net: nn.Module, batch: Batch, rng: torch.Generator) -> Batch:
        return Batch({"x": batch.x["x"] + torch.randn(batch.x["x"].shape, generator=rng)}, batch.y, batch.weight)

    ended = []
    for perturb in (None, noisy, noisy):
        net = small_net()
        train(net, Supervised(CrossEntropy(), perturb), rows(), Training(epochs=2, batch_size=8), seed=0)
        ended.append(weights_of(net))
    assert same_bits(ended[1], ended[2]) and not same_bits(ended[0], ended[1])


# --- seeds ------------------------------------------------------------------------------------------------------------


def test_training_neither_touches_nor_hears_global_randomness() -> None:
    ended = []
    for seed in (1, 2):
        net = small_net()
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index,union-attr]
        train(net, Supervised(CrossEntropy()), rows(), Training(epochs=2, batch_size=8), seed=0)
        after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index,union-attr]
        assert torch.equal(before[0], after[0]) and before[1:] == after[1:]
        ended.append(weights_of(net))
    assert same_bits(*ended)


def test_another_seed_is_another_training() -> None:
    ended = []
    for seed in (0, 1):
        net = small_net(dropout=0.0)
        train(net, Supervised(CrossEntropy()), rows(), Training(epochs=1, batch_size=8), seed=seed)
        ended.append(weights_of(net))
    assert not same_bits(*ended)


# --- weights ----------------------------------------------------------------------------------------------------------


def test_a_row_of_weight_two_counts_like_the_row_twice() -> None:
    block = rows()
    assert block.y is not None
    settings = Training(epochs=10, batch_size=10**6, learning_rate=0.01, weight_decay=0.1)
    twice = torch.cat([torch.arange(N), torch.tensor([3, 5])])
    weight = torch.bincount(twice).float()
    weighted, repeated, plain = small_net(dropout=0.0), small_net(dropout=0.0), small_net(dropout=0.0)
    train(weighted, Supervised(CrossEntropy()), Block(block.x, block.y, weight / weight.mean()), settings, seed=0)
    batch = block.take(twice)
    train(repeated, Supervised(CrossEntropy()), Block(batch.x, batch.y), settings, seed=0)
    train(plain, Supervised(CrossEntropy()), block, settings, seed=0)
    torch.testing.assert_close(weights_of(weighted), weights_of(repeated), rtol=1e-4, atol=1e-5)
    assert max(float((a - b).abs().max()) for a, b in zip(weights_of(plain), weights_of(repeated), strict=True)) > 1e-3


def test_a_row_of_weight_zero_teaches_nothing() -> None:
    block = rows()
    assert block.y is not None
    weight = torch.ones(N)
    weight[7] = 0
    settings = Training(epochs=3, batch_size=8)
    one, other = small_net(), small_net()
    changed = block.y.clone()
    changed[7] = (changed[7] + 1) % 3
    train(one, Supervised(CrossEntropy()), Block(block.x, block.y, weight), settings, seed=0)
    train(other, Supervised(CrossEntropy()), Block(block.x, changed, weight), settings, seed=0)
    assert same_bits(weights_of(one), weights_of(other))


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_names_its_step() -> None:
    y = torch.zeros(N, dtype=torch.float64)
    y[torch.randperm(N, generator=generator(0, "order", 0))[8 * 2]] = math.inf  # first met in step 2 of epoch 0
    block = Block(rows().x, y)
    with pytest.raises(
        TrainingError, match=r"the loss became inf at step 2, first in the loss; lower the learning rate \(0\.01;"
    ):
        train(small_net(n_out=1), Supervised(SquaredError()), block, Training(batch_size=8, learning_rate=0.01), seed=0)


def test_a_gradient_that_is_not_finite_is_caught_before_the_weights_are_lost() -> None:
    class Root(Supervised):
        """The square root has an infinite slope at 0, where its value is fine."""

        def step(self, net: nn.Module, batch: Batch, rng: torch.Generator) -> Mapping[str, Tensor]:
            return {"net": (0.0 * net(batch.x)).abs().sqrt().sum(1)}

    net = small_net()
    before = weights_of(net)
    with pytest.raises(TrainingError, match="the gradient became nan at step 0"):
        train(net, Root(CrossEntropy()), rows(), Training(), seed=0)
    assert same_bits(before, weights_of(net))


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_size": -1},
        {"learning_rate": 0},
        {"learning_rate": math.nan},
        {"average": 1.0},
        {"schedule": "linear"},
        {"patience": 3, "stop_error": 0.01},
        {"epoch": 3},
    ],
)
def test_settings_that_make_no_sense_are_refused_early(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Training(**wrong)


def test_settings_survive_json() -> None:
    settings = Training(learning_rate=0.1 + 0.2, average=0.999, patience=3)
    assert Training.model_validate_json(settings.model_dump_json()) == settings


# --- occasions --------------------------------------------------------------------------------------------------------


class Diary(Quiet):
    """Writes down when it was called."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_start(self, state: State) -> None:
        self.calls.append(f"start {state.step}")

    def on_step(self, state: State) -> None:
        self.calls.append(f"step {state.step}")

    def on_epoch(self, state: State) -> None:
        state.row["note"] = "seen"
        self.calls.append(f"epoch {state.epoch}")

    def on_end(self, state: State) -> None:
        self.calls.append("end")


def test_hooks_are_called_on_their_occasions_and_may_add_to_the_history() -> None:
    diary, net = Diary(), small_net()
    state = train(net, Supervised(CrossEntropy()), rows(), Training(epochs=2, batch_size=20), seed=0, hooks=[diary])
    assert diary.calls == ["start 0", "step 1", "step 2", "epoch 1", "step 3", "step 4", "epoch 2", "end"]
    assert [r["note"] for r in state.history.rows] == ["seen", "seen"] and not net.training
    assert state.history.rows[-1]["step"] == 4


def test_a_history_column_leaves_out_epochs_that_lack_it() -> None:
    history = History([{"a": 1}, {"b": 2.0}, {"a": "nan"}])
    assert history.column("b") == [2.0] and history.column("a")[0] == 1 and math.isnan(history.column("a")[1])


def test_fewer_rows_than_a_batch_are_one_step() -> None:
    state = train(small_net(), Supervised(CrossEntropy()), rows(5), Training(epochs=3, batch_size=64), seed=0)
    assert (state.step, state.epoch) == (3, 3)
