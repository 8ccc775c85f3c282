"""Hooks: the average is its closed form, the best epoch comes back, stops say why, the clock can be replayed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, root_mean_squared_error
from torch import Tensor, nn

from netwright.data.batch import Block
from netwright.losses.metrics import score
from netwright.losses.standard import CrossEntropy, SquaredError
from netwright.train import hooks as hooks_module
from netwright.train.averaging import Average, current_weights, set_weights
from netwright.train.hooks import Clock, Quiet, Report
from netwright.train.judging import Evaluate, KeepBest, StopAtError, error_of, outputs_of
from netwright.train.loop import train
from netwright.train.objectives import Supervised
from netwright.train.settings import Training
from netwright.train.state import Hook, State
from test_train import OnX, rows, same_bits, small_net, weights_of

OBJECTIVE = Supervised(CrossEntropy())
SETTINGS = Training(epochs=6, batch_size=8, learning_rate=0.05, warmup=0)


def run(net: nn.Module, hooks: list[Hook], settings: Training = SETTINGS) -> State:
    return train(net, OBJECTIVE, rows(), settings, seed=3, hooks=hooks)


class Recorder(Quiet):
    """Keeps the weights after every step and every epoch."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []
        self.epochs: list[dict[str, Tensor]] = []

    def on_start(self, state: State) -> None:
        self.steps.append({k: p.detach().clone() for k, p in state.net.named_parameters()})

    def on_step(self, state: State) -> None:
        self.on_start(state)

    def on_epoch(self, state: State) -> None:
        self.epochs.append({k: v.clone() for k, v in current_weights(state).items()})


class Told(Quiet):
    """Writes given validation scores into the rows."""

    def __init__(self, key: str, values: list[float]) -> None:
        self.key, self.values = key, iter(values)

    def on_epoch(self, state: State) -> None:
        state.row[self.key] = next(self.values)


# --- averaging --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.3, 0.9, 0.999])
def test_the_average_equals_its_closed_form(decay: float) -> None:
    """a_n = sum_i w_i (1 - d_i) prod_{j>i} d_j, with 1 - d_0 = 1 for the weights at the start."""
    recorder, net = Recorder(), small_net()
    state = run(net, [recorder, Average(decay)])
    n = len(recorder.steps) - 1
    d = [0.0] + [min(decay, (1 + i) / (10 + i)) for i in range(1, n + 1)]
    shares = [(1 - d[i]) * math.prod(d[i + 1 :]) for i in range(n + 1)]
    assert sum(shares) == pytest.approx(1) and n == 30
    for name, averaged in state.group("average").items():
        wanted = sum(s * w[name].double() for s, w in zip(shares, recorder.steps, strict=True))
        torch.testing.assert_close(averaged.double(), wanted, rtol=1e-5, atol=1e-6)
        assert not torch.equal(averaged, net.state_dict()[name])


def test_evaluation_uses_the_average_where_one_is_kept() -> None:
    net, recorder, valid = small_net(), Recorder(), rows(30, seed=5)
    state = run(net, [Average(0.9), Evaluate(OBJECTIVE, valid, CrossEntropy(), "log-loss"), recorder])
    assert valid.y is not None
    twin = small_net().eval()
    for epoch, row in zip(recorder.epochs, state.history.rows, strict=True):
        set_weights(twin, epoch)
        p = twin(valid.x).double().softmax(1).detach().numpy()
        assert row["valid_log-loss"] == pytest.approx(log_loss(valid.y, p), rel=1e-5)
        assert row["valid_loss"] == pytest.approx(row["valid_log-loss"], rel=1e-5)


# --- evaluation -------------------------------------------------------------------------------------------------------


def test_evaluation_weighs_rows() -> None:
    weight = torch.rand(30, generator=torch.Generator().manual_seed(0))
    valid = rows(30, seed=5)
    net = small_net()
    state = run(net, [Evaluate(OBJECTIVE, Block(valid.x, valid.y, weight), CrossEntropy(), "accuracy")])
    assert valid.y is not None
    outputs = outputs_of(net, OBJECTIVE, valid)
    right = (outputs.argmax(1) == valid.y).double()
    assert state.history.rows[-1]["valid_accuracy"] == pytest.approx(float((right * weight).sum() / weight.sum()))
    values = CrossEntropy().values(outputs, valid.y)
    assert state.history.rows[-1]["valid_loss"] == pytest.approx(
        float((values * weight).sum() / weight.sum()), rel=1e-5
    )


def test_outputs_do_not_depend_on_the_batch_and_leave_the_mode_alone() -> None:
    net, block = small_net().train(), rows(37)
    whole = outputs_of(net, OBJECTIVE, block)
    assert torch.equal(whole, outputs_of(net, OBJECTIVE, block)) and net.training and not whole.requires_grad
    torch.testing.assert_close(whole, outputs_of(net, OBJECTIVE, block, batch_size=5))


def test_the_training_error_is_the_share_of_errors_or_of_unexplained_variance() -> None:
    assert error_of(CrossEntropy(), torch.tensor([[1.0, 0], [1, 0], [0, 1]]), torch.tensor([0, 1, 1])) == pytest.approx(
        1 / 3
    )
    y = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64)
    outputs = torch.tensor([[1.0], [2.0], [3.0]])
    assert error_of(SquaredError(), outputs, y) == pytest.approx(3.0 / float(y.var(correction=0)))


# --- the best epoch ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        ("rmse", [3.0, 1.0, 2.0, 1.0, 1.5, 9.0], 2),
        ("accuracy", [0.1, 0.5, 0.3, 0.9, 0.2, 0.9], 4),
        ("rmse", [math.nan, 5.0, math.nan, 6.0, math.inf, 4.0], 6),
    ],
)
def test_the_weights_of_the_best_epoch_come_back(metric: str, values: list[float], best: int) -> None:
    net, recorder = small_net(), Recorder()
    state = run(net, [Average(0.9), Told(f"valid_{metric}", values), KeepBest(metric, None), recorder])
    assert state.values["best"][1] == best and len(recorder.epochs) == 6
    set_weights(net, state.group("best"))
    assert all(torch.equal(p, recorder.epochs[best - 1][k]) for k, p in net.named_parameters())


@pytest.mark.parametrize(
    ("values", "patience", "ended"),
    [([3.0, 2, 2, 2, 1, 0], 2, 4), ([3.0, 2, 2, 1, 1, 1], 2, 6), ([math.nan] * 6, 3, 3), ([1.0, 2, 3, 4, 5, 6], 6, 6)],
)
def test_patience_counts_epochs_without_a_better_one(values: list[float], patience: int, ended: int) -> None:
    state = run(small_net(), [Told("valid_rmse", values), KeepBest("rmse", patience)])
    assert state.epoch == ended
    assert state.stop == (f"no better valid rmse for {patience} epochs" if ended < 6 or values[-1] == 1 else "")


def test_buffers_and_shared_weights_belong_to_the_best_epoch() -> None:
    class Shared(nn.Module):
        """One matrix under two names, running statistics, and a buffer that is not saved."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm, self.again = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4)
            self.again.weight = self.first.weight
            self.register_buffer("calls", torch.zeros(()), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                self.calls += 1  # type: ignore[operator]
            y: Tensor = self.again(self.norm(self.first(x)))
            return y

    torch.manual_seed(0)
    net = OnX(Shared())
    state = run(net, [Average(0.5), Told("valid_rmse", [2, 1, 3, 3, 3, 3]), KeepBest("rmse", None)])
    set_weights(net, state.group("best"))
    shared: Any = net.body
    assert shared.again.weight is shared.first.weight
    assert shared.calls == shared.norm.num_batches_tracked == 10
    assert torch.equal(shared.first.weight, state.group("best")["body.first.weight"])


# --- stopping ---------------------------------------------------------------------------------------------------------


def test_training_stops_at_the_error_asked_for_and_says_so() -> None:
    state = run(small_net(), [Told("train_error", [0.3, 0.2, 0.05, 0.0, 0, 0]), StopAtError(0.1)])
    assert state.epoch == 3 and state.stop == "training error 5.00% reached 10.00%"


def test_the_clock_stops_says_so_and_a_replay_ends_with_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(hooks_module.time, "monotonic", lambda: float(next(ticks)))
    late = small_net()
    hooks: list[Hook] = [Average(0.9), Clock(deadline=25.0)]
    stopped = run(late, hooks)
    monkeypatch.undo()
    step = stopped.values["stopped_by_clock"]
    assert 0 < step < 30 and step % 5 and stopped.stop == f"out of time at step {step} of 30"
    assert stopped.step == step and stopped.epoch == step // 5 == len(stopped.history.rows)

    again = small_net()
    replayed = run(again, [Average(0.9), Clock(deadline=math.inf, steps=step)])
    assert same_bits(weights_of(late), weights_of(again))
    assert all(torch.equal(v, replayed.tensors[k]) for k, v in stopped.tensors.items())
    assert replayed.stop == stopped.stop


def test_a_clock_with_time_left_changes_nothing() -> None:
    one, other = small_net(), small_net()
    assert not run(one, [Clock(math.inf)]).stop
    run(other, [])
    assert same_bits(weights_of(one), weights_of(other))


def test_a_report_passes_on_every_row_and_the_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks_module.time, "monotonic", itertools.count(1).__next__)
    seen: list[dict[str, Any]] = []
    progress: list[tuple[int, int]] = []
    state = run(small_net(), [Report(seen.append, lambda *p: progress.append(p))])
    assert seen == state.history.rows and progress == [(i, 30) for i in range(1, 31)]


def test_scores_of_an_epoch_are_those_of_the_metric() -> None:
    y = np.array([0.0, 1.0, 3.0])
    assert score("rmse", y, y + 2) == pytest.approx(root_mean_squared_error(y, y + 2))


def test_a_network_may_be_called_with_other_weights_than_its_own() -> None:
    net, other = small_net(0), small_net(1)
    weights: Mapping[str, Tensor] = dict(other.named_parameters())
    block = rows()
    torch.testing.assert_close(outputs_of(net, OBJECTIVE, block, dict(weights)), outputs_of(other, OBJECTIVE, block))
