"""A member of a stack becomes what it would have become alone: same start, same order, same masks, its own rate, decay and width."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conftest import make_data
from netwright.data.batch import Block
from netwright.data.data import Data
from netwright.losses.standard import CrossEntropy
from netwright.recipes.recipe import Recipe
from netwright.train.averaging import Average
from netwright.train.entries import OPTIMIZERS
from netwright.train.hooks import Checkpoint, Quiet
from netwright.train.judging import Evaluate, KeepBest
from netwright.train.loop import train
from netwright.train.members import Judge, train_members
from netwright.train.objectives import Supervised
from netwright.train.settings import Layer, Training
from netwright.train.stack import Member, Stack, Unstackable
from netwright.train.state import State
from test_train import OnX, rows, small_net

OBJECTIVE = Supervised(CrossEntropy())
FIFTY = Training(
    epochs=10, batch_size=8, learning_rate=0.02, warmup=5, weight_decay=0.1, clip_norm=0.5
)  # 5 steps an epoch


class Gru(nn.Module):
    """Two layers of a recurrent net over the steps, a map of the mean of its outputs."""

    def __init__(self, kind: type[nn.RNNBase] = nn.GRU, **options: Any) -> None:
        super().__init__()
        self.rnn = kind(3, 6, batch_first=True, **options)
        self.drop, self.head = nn.Dropout(0.2), nn.Linear(12 if options.get("bidirectional") else 6, 3)

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        y: Tensor = self.head(self.drop(self.rnn(x["x"])[0].mean(1)))
        return y


def batch_normed() -> nn.Module:  # a bias before the norm has no effect: Adam would make steps of its rounding errors
    return OnX(
        nn.Sequential(nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))
    )


class Residual(nn.Module):
    """x + W relu(V x), with dropout in between."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 4))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.branch(x)
        return y


def residual() -> nn.Module:
    return OnX(nn.Sequential(Residual(), Residual(), nn.Linear(4, 3)))


def conv() -> nn.Module:
    return OnX(
        nn.Sequential(
            nn.Unflatten(1, (1, 2, 2)),
            nn.Conv2d(1, 4, 2, padding=1),
            nn.ReLU(),
            nn.Dropout2d(0.3),
            nn.Flatten(),
            nn.Linear(36, 3),
        )
    )


class Asking(nn.Module):
    """Decides by a value, which is another one in each network."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        y: Tensor = self.layer(x["x"])
        return y if y.sum() > 0 else -y


def attention() -> nn.Module:
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.2, batch_first=True)
    layer.self_attn.dropout = 0.0  # its masks are drawn within torch: they have no key
    body = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
    return OnX(nn.Sequential(nn.Unflatten(1, (1, 4)), body, nn.Flatten(), nn.Linear(4, 3)))


def in_steps(block: Block) -> Block:
    """The same rows as series of four steps of three numbers."""
    return Block({"x": block.x["x"].unsqueeze(2).repeat(1, 1, 3) * torch.arange(1.0, 4.0)}, block.y)


NETS: dict[str, tuple[Callable[[], nn.Module], Callable[[Block], Block]]] = {
    "mlp with dropout": (lambda: small_net(int(torch.initial_seed() % 1000)), lambda b: b),
    "residual mlp": (residual, lambda b: b),
    "mlp with batch norm": (batch_normed, lambda b: b),
    "convnet": (conv, lambda b: b),
    "attention": (attention, lambda b: b),
    "gru": (Gru, in_steps),
    "lstm, both ways": (lambda: Gru(nn.LSTM, bidirectional=True), in_steps),
    "two plain recurrent layers": (lambda: Gru(nn.RNN, num_layers=2), in_steps),
}


def started(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return make()


def alone(member: Member, block: Block) -> tuple[nn.Module, State]:
    net = copy.deepcopy(member.net)
    source = block if member.rows is None else Block(*_taken(block, member.rows))
    return net, train(net, OBJECTIVE, source, member.settings, seed=member.seed)


def _taken(block: Block, index: Tensor) -> tuple[Mapping[str, Tensor], Tensor | None]:
    batch = block.take(index)
    return batch.x, batch.y


def stacked(members: list[Member], block: Block, *hooks: Quiet, steps: int = 1000) -> tuple[Stack, State]:
    stack = Stack(members, block.take(torch.arange(8)).x, slower=True, steps=steps)
    return stack, train(stack, OBJECTIVE, block, members[0].settings, seed=members[0].seed, hooks=hooks)


def assert_each_as_alone(
    members: list[Member], block: Block, steps: int = 1000, rtol: float = 2e-4, atol: float = 2e-5
) -> None:
    stack, state = stacked(members, block, steps=steps)
    everything = {**dict(stack.named_buffers()), **dict(stack.named_parameters())}
    for k, member in enumerate(members):
        net, history = alone(member, block)
        own = stack.part(everything, k)
        expected = {**dict(net.named_buffers()), **dict(net.named_parameters())}
        assert set(own) == set(expected)
        for name, tensor in expected.items():
            torch.testing.assert_close(own[name], tensor, rtol=rtol, atol=atol, msg=lambda m, name=name: f"{name}: {m}")
        for column in ("train_loss", "gradient_norm", "learning_rate"):
            ours = state.history.member(k).column(column)
            assert ours == pytest.approx(history.history.column(column), rel=5 * rtol)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow)
        if name in ("lstm, both ways", "two plain recurrent layers")
        else name
        for name in NETS
    ],
)
def test_after_fifty_steps_each_member_is_what_it_would_be_alone(name: str) -> None:
    make, shape = NETS[name]
    members = [Member(started(make, k), seed=10 + k, settings=FIFTY) for k in range(3)]
    assert_each_as_alone(members, shape(rows()))


@pytest.mark.parametrize("name", ["mlp with dropout", "convnet"])
def test_with_few_steps_ahead_nothing_is_traced_and_all_is_the_same(name: str) -> None:
    make, shape = NETS[name]
    members = [Member(started(make, k), seed=10 + k, settings=FIFTY) for k in range(3)]
    assert_each_as_alone(members, shape(rows()), steps=50)


@pytest.mark.parametrize("name", ["mlp with dropout", "residual mlp", "convnet", "gru"])
def test_a_stack_of_one_is_the_plain_loop(name: str) -> None:
    make, shape = NETS[name]
    assert_each_as_alone([Member(started(make, 0), seed=3, settings=FIFTY)], shape(rows()))


@pytest.mark.slow
def test_members_of_the_table_recipe_with_noise_and_dropout_are_what_they_would_be_alone() -> None:
    data: Data = make_data("binary")
    options = {"width": 8, "depth": 2, "dropout": 0.3, "noise": 0.2, "number_dim": 4, "category_dim": 2}
    recipe = Recipe(name="r", template="residual-mlp", options=options, loss="cross-entropy")
    settings = FIFTY.model_copy(update={"batch_size": 32, "epochs": 7})
    members = [Member(recipe.build(data.spec, data.target, k), 20 + k, settings) for k in range(3)]
    assert_each_as_alone(members, data.block("train"))


@pytest.mark.parametrize(
    "optimizer",
    [
        name if name in ("sgd", "adam", "adamw", "asgd") else pytest.param(name, marks=pytest.mark.slow)
        for name in OPTIMIZERS
        if name != "adafactor"
    ],
)
def test_members_may_have_rates_decays_and_layers_of_their_own(optimizer: str) -> None:
    own: list[dict[str, Any]] = [
        {},
        {"learning_rate": 0.005, "weight_decay": 0.0},
        {"weight_decay": 0.3, "layers": {"body.0": Layer(rate=0.5)}},
    ]
    if optimizer == "asgd":  # which is not stacked with rates of their own
        own = [{}, {"weight_decay": 0.0}, {"weight_decay": 0.3}]
    base = {"optimizer": optimizer, "learning_rate": 0.01}
    settings = [FIFTY.model_copy(update=base | one) for one in own]
    members = [Member(small_net(k), seed=k, settings=s) for k, s in enumerate(settings)]
    assert_each_as_alone(members, rows())


@pytest.mark.parametrize("own", [{"learning_rate": 2.0}, {"layers": {"body.0": Layer(rate=0.5)}}])
def test_members_of_an_optimiser_whose_steps_are_not_proportional_to_the_rate_have_one_rate(
    own: dict[str, Any],
) -> None:
    settings = FIFTY.model_copy(update={"optimizer": "asgd"})
    members = [Member(small_net(k), k, s) for k, s in enumerate([settings, settings.model_copy(update=own)])]
    with pytest.raises(Unstackable, match="steps of asgd are not proportional to its rate, and their rates differ"):
        stacked(members, rows())


@pytest.mark.parametrize("schedule", ["one-cycle", "step", "multi-cycle", "constant"])
def test_members_with_rates_of_their_own_follow_a_schedule_as_alone(schedule: str) -> None:
    settings = FIFTY.model_copy(update={"schedule": schedule, "halve_every": 2, "cycles": 3})
    rates = (0.02, 0.005)
    members = [Member(small_net(k), k, settings.model_copy(update={"learning_rate": r})) for k, r in enumerate(rates)]
    assert_each_as_alone(members, rows(), steps=50)


@pytest.mark.parametrize("steps", [50, 1000])
def test_members_in_bfloat16_are_what_they_would_be_alone_up_to_its_rounding(steps: int) -> None:
    settings = FIFTY.model_copy(update={"precision": "bfloat16", "optimizer": "sgd"})
    assert_each_as_alone([Member(small_net(k), k, settings) for k in range(3)], rows(), steps, rtol=2**-8, atol=2**-8)


def test_members_may_learn_from_rows_of_their_own() -> None:
    folds = torch.arange(40).view(2, 20)
    members = [Member(small_net(k), seed=k, settings=FIFTY, rows=fold) for k, fold in enumerate(folds)]
    assert_each_as_alone(members, rows())


@pytest.mark.parametrize("activation", [nn.Tanh, nn.Sigmoid])  # a sigmoid makes one half of a padded zero
def test_members_may_have_dropout_rates_and_widths_of_their_own(activation: type[nn.Module]) -> None:
    def make(width: int, rate: float) -> nn.Module:
        return OnX(
            nn.Sequential(
                nn.Linear(4, width), nn.LayerNorm(width), nn.ReLU(), nn.Dropout(rate), nn.Linear(width, 2 * width), activation(),
                nn.Linear(2 * width, 3),
            )
        )  # fmt: skip

    sizes = [(8, 0.0), (5, 0.5), (3, 0.2)]
    members = [Member(started(lambda s=size: make(*s), k), seed=k, settings=FIFTY) for k, size in enumerate(sizes)]
    assert_each_as_alone(members, rows())


def test_gradients_are_accumulated_in_a_stack_as_alone() -> None:
    settings = FIFTY.model_copy(update={"accumulate": 4})
    assert_each_as_alone([Member(small_net(k), seed=k, settings=settings) for k in range(2)], rows())


def test_a_member_does_not_depend_on_its_neighbours() -> None:
    one, two, three = (Member(small_net(k), seed=k, settings=FIFTY) for k in range(3))
    here, _ = stacked([one, two], rows())
    there, _ = stacked([three, one], rows())
    mine, again = (s.part(dict(s.named_parameters()), k) for s, k in ((here, 0), (there, 1)))
    for name, tensor in mine.items():
        torch.testing.assert_close(tensor, again[name], rtol=1e-5, atol=1e-6)


# --- each on its own ---------------------------------------------------------------------------------------------------


def watched(settings: Training, valid: Block) -> list[Quiet]:
    return [
        Average(0.9),
        Evaluate(OBJECTIVE, valid, CrossEntropy(), "log-loss", rows()),
        KeepBest("log-loss", settings.patience),
    ]


def test_each_member_stops_early_and_keeps_its_best_weights_on_its_own() -> None:
    settings = FIFTY.model_copy(update={"epochs": 30, "patience": 2, "learning_rate": 0.2, "clip_norm": None})
    valid = rows(30, seed=5)
    members = [Member(small_net(k), seed=k, settings=settings) for k in range(4)]
    _, together = stacked(members, rows(), *watched(settings, valid))
    ended = set()
    for k, member in enumerate(members):
        net = copy.deepcopy(member.net)
        state = train(net, OBJECTIVE, rows(), settings, seed=member.seed, hooks=watched(settings, valid))
        why, epoch = together.stopped[str(k)]
        assert (why, epoch) == (state.stop, state.epoch)
        assert together.values[f"best/{k}"] == [
            pytest.approx(state.values["best"][0], rel=1e-4),
            state.values["best"][1],
        ]
        for name, tensor in state.group("best").items():
            torch.testing.assert_close(together.group(f"best/{k}")[name], tensor, rtol=1e-3, atol=1e-4)
        mine = together.history.member(k, epoch)
        assert mine.column("valid_log-loss") == pytest.approx(state.history.column("valid_log-loss"), rel=1e-3)
        assert mine.column("train_error") == pytest.approx(state.history.column("train_error"), abs=0.03)
        ended.add(epoch)
    assert len(ended) > 1, "they were to stop at different times"


def test_each_fold_is_judged_on_its_own_rows() -> None:
    valid = [rows(30, seed=5), rows(21, seed=6)]
    members = [Member(small_net(k), seed=k, settings=FIFTY) for k in range(2)]
    _, together = stacked(members, rows(), Evaluate(OBJECTIVE, valid, CrossEntropy(), "log-loss"))
    for k, member in enumerate(members):
        hook = Evaluate(OBJECTIVE, valid[k], CrossEntropy(), "log-loss")
        state = train(copy.deepcopy(member.net), OBJECTIVE, rows(), FIFTY, seed=member.seed, hooks=[hook])
        losses = together.history.member(k).column("valid_loss")
        assert losses == pytest.approx(state.history.column("valid_loss"), rel=1e-3)


def test_a_member_that_diverges_stops_alone() -> None:
    wild = FIFTY.model_copy(
        update={"learning_rate": 1e30, "optimizer": "plain-sgd", "clip_norm": None, "weight_decay": 0.0}
    )
    tame = wild.model_copy(update={"learning_rate": 0.05})
    members = [Member(small_net(0), 0, tame), Member(small_net(1), 1, wild), Member(small_net(2), 2, tame)]
    stack, state = stacked(members, rows())
    assert list(state.stopped) == ["1"] and "at step" in state.stopped["1"][0]
    for k in (0, 2):
        net, _ = alone(members[k], rows())
        for name, tensor in stack.part(dict(stack.named_parameters()), k).items():
            torch.testing.assert_close(tensor, dict(net.named_parameters())[name], rtol=1e-4, atol=1e-5)


class Spoil(Quiet):
    """Makes weights of some members infinite after a step."""

    def __init__(self, step: int, names: dict[int, str]) -> None:
        self.step, self.names = step, names

    def on_step(self, state: State) -> None:
        if state.step == self.step and isinstance(state.net, Stack):
            for k, name in self.names.items():
                dict(state.net.net.named_parameters())[name].data[k] = math.inf


def test_members_that_diverge_name_the_step_and_the_layer_of_each() -> None:
    members = [Member(small_net(k), k, FIFTY) for k in range(3)]
    stack, state = stacked(members, rows(), Spoil(7, {0: "body.0.weight", 2: "body.4.weight"}), steps=50)
    assert state.stopped == {
        "0": ["the loss became nan at step 7, first in the output of body.0 (Linear)", 1],
        "2": ["the loss became nan at step 7, first in the output of body.4 (Linear)", 1],
    }
    net, _ = alone(members[1], rows())
    for name, tensor in stack.part(dict(stack.named_parameters()), 1).items():
        torch.testing.assert_close(tensor, dict(net.named_parameters())[name], rtol=1e-4, atol=1e-5)


def test_a_member_that_diverged_has_the_best_weights_and_the_history_until_then() -> None:
    members, valid = [Member(small_net(k), k, FIFTY) for k in range(2)], rows(30, seed=5)
    judge = Judge(CrossEntropy(), "log-loss", [valid])
    done, why = train_members(members, OBJECTIVE, rows(), judge, lambda k: [Spoil(12, {1: "body.0.weight"})])
    assert not why and done[0].stop == "" and len(done[0].history.rows) == 10
    diverged = done[1]
    assert diverged.stop == "the loss became nan at step 12, first in the output of body.0 (Linear)"
    assert len(diverged.history.rows) == 2 and diverged.best is not None and diverged.best[1] <= 2
    until = copy.deepcopy(small_net(1))
    hooks = [Evaluate(OBJECTIVE, valid, CrossEntropy(), "log-loss"), KeepBest("log-loss", None), End(10)]
    state = train(until, OBJECTIVE, rows(), FIFTY, seed=1, hooks=hooks)
    for name, tensor in state.group("best").items():
        torch.testing.assert_close(dict(diverged.net.named_parameters())[name], tensor, rtol=1e-4, atol=1e-5)


class End(Quiet):
    """Ends a training after the epoch of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_epoch(self, state: State) -> None:
        if state.step >= self.step:
            state.stop = "enough"


def test_a_killed_stack_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    def make() -> Stack:
        return Stack([Member(small_net(k), seed=k, settings=FIFTY) for k in range(3)], rows().x)

    class Kill(Quiet):
        def on_step(self, state: State) -> None:
            if state.step == 23:
                raise KeyboardInterrupt

    def run(stack: Stack, *hooks: Quiet, path: Path | None = None) -> State:
        chain = [*watched(FIFTY, rows(30, seed=5)), *hooks]
        return train(stack, OBJECTIVE, rows(), FIFTY, seed=0, hooks=chain, checkpoint=path)

    whole, path = make(), tmp_path / "stack.safetensors"
    expected = run(whole)
    with pytest.raises(KeyboardInterrupt):
        run(make(), Checkpoint(path, every_seconds=0), Kill(), path=path)
    again = make()
    state = run(again, Checkpoint(path), path=path)
    for (name, one), (_, two) in zip(whole.state_dict().items(), again.state_dict().items(), strict=True):
        assert torch.equal(one, two), name
    assert state.values["best/1"] == expected.values["best/1"]
    for name, tensor in expected.tensors.items():
        assert torch.equal(tensor, state.tensors[name]), name


# --- what cannot be stacked ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nets", "settings", "why"),
    [
        ([small_net(0), batch_normed()], FIFTY, "not made of the same layers"),
        ([conv(), conv()], FIFTY, "convolutions are faster in turn"),
        ([attention(), attention()], FIFTY, "torch's attention runs side by side only in a loop"),
        (
            [small_net(0), small_net(1)],
            FIFTY.model_copy(update={"optimizer": "adafactor"}),
            "looks at a parameter as a whole",
        ),
        (
            [OnX(nn.Sequential(nn.RReLU(), nn.Linear(4, 3)))] * 2,
            FIFTY,
            r"torch does not run layers of the kind RReLU \(body.0\) side by side$",
        ),
        ([Asking(), Asking()], FIFTY, "torch does not run networks of the kind Asking side by side$"),
    ],
)
def test_what_cannot_be_stacked_says_why(nets: list[nn.Module], settings: Training, why: str) -> None:
    with pytest.raises(Unstackable, match=why):
        Stack([Member(net, k, settings) for k, net in enumerate(nets)], rows().x)


def test_torch_s_warnings_about_attention_do_not_reach_users() -> None:
    with warnings.catch_warnings(action="error"):
        stacked(
            [Member(started(attention, k), k, FIFTY.model_copy(update={"epochs": 1})) for k in range(2)],
            rows(),
            steps=5,
        )


def test_widths_that_mean_something_else_when_padded_are_not_stacked() -> None:
    def make(width: int) -> nn.Module:  # sigmoid makes 0.5 of a padded 0, and the softmax counts padded entries
        return OnX(nn.Sequential(nn.Linear(4, width), nn.Softmax(1), nn.Linear(width, 3)))

    with pytest.raises(Unstackable, match="would not give the numbers"):
        Stack([Member(make(5), 0, FIFTY), Member(make(8), 1, FIFTY)], rows().x)
