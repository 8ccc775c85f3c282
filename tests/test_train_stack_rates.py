"""A stack of networks with any parameters, rates far apart, a patience, or a member that diverges, is its members alone."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from netwright.core.run import Run
from netwright.losses.standard import CrossEntropy
from netwright.train.averaging import Snapshots
from netwright.train.hooks import Quiet, Report
from netwright.train.judging import Evaluate, KeepBest
from netwright.train.loop import train
from netwright.train.settings import Training
from netwright.train.stack import Member, Stack
from netwright.train.state import State
from test_train import rows, small_net
from test_train_stack import FIFTY, OBJECTIVE, assert_each_as_alone, stacked, started

# --- parameters ---------------------------------------------------------------------------------------------------------


class Scaled(nn.Module):
    """A linear map whose output is multiplied with a number that is learned."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.scale = nn.Parameter(torch.ones((), dtype=dtype))
        self.shift = nn.Parameter(torch.zeros(3, dtype=dtype))

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        y: Tensor = self.linear(x["x"]) * self.scale + self.shift
        return y


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "optimizer", ["adamw", *(pytest.param(name, marks=pytest.mark.slow) for name in ("sgd", "rmsprop"))]
)
def test_parameters_may_be_single_numbers_and_of_several_types(dtype: torch.dtype, optimizer: str) -> None:
    settings = FIFTY.model_copy(update={"optimizer": optimizer})
    own = [settings, settings.model_copy(update={"learning_rate": 0.005, "weight_decay": 0.0})]
    members = [Member(started(lambda: Scaled(dtype), k), k, s) for k, s in enumerate(own)]
    assert_each_as_alone(members, rows())


# --- rates --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rates", [(1e-6, 0.1), (0.1, 1e-6)])
@pytest.mark.parametrize(
    "optimizer", ["adamw", *(pytest.param(name, marks=pytest.mark.slow) for name in ("adam", "plain-sgd"))]
)
def test_rates_that_lie_far_apart_cost_no_precision_whichever_comes_first(
    rates: tuple[float, float], optimizer: str
) -> None:
    base = FIFTY.model_copy(update={"optimizer": optimizer})
    own = [base.model_copy(update={"learning_rate": rate, "weight_decay": 0.1 * k}) for k, rate in enumerate(rates)]
    members = [Member(small_net(k, dropout=0.0), k, settings) for k, settings in enumerate(own)]
    stack, _ = stacked(members, rows())
    for k, member in enumerate(members):
        net = copy.deepcopy(member.net)
        train(net, OBJECTIVE, rows(), member.settings, seed=member.seed)
        mine = stack.part(dict(stack.named_parameters()), k)
        worst = max(float((p - mine[name]).detach().abs().max()) for name, p in net.named_parameters())
        assert worst < 1e-5, f"rate {member.settings.learning_rate}: {worst}"


# --- each member on its own ---------------------------------------------------------------------------------------------


def judged(settings: Training) -> list[Quiet]:
    evaluate = Evaluate(OBJECTIVE, rows(30, seed=5), CrossEntropy(), "log-loss")
    return [evaluate, KeepBest("log-loss", settings.patience), Snapshots(settings.epochs, settings.cycles)]


def test_a_member_that_has_stopped_leaves_the_snapshots_that_it_would_have_left_alone() -> None:
    settings = FIFTY.model_copy(
        update={
            "epochs": 30, "cycles": 10, "schedule": "multi-cycle", "average": "snapshots",
            "patience": 2, "learning_rate": 0.2, "clip_norm": None,
        }
    )  # fmt: skip
    members = [Member(small_net(k), k, settings) for k in range(4)]
    _, together = stacked(members, rows(), *judged(settings))
    counts = set()
    for k, member in enumerate(members):
        net = copy.deepcopy(member.net)
        state = train(net, OBJECTIVE, rows(), settings, seed=member.seed, hooks=judged(settings))
        taken = [i for i in range(10) if state.group(f"snapshot-{i}")]
        assert taken == [i for i in range(10) if together.group(f"snapshot-{i}/{k}")]
        for i in taken:
            for name, tensor in state.group(f"snapshot-{i}").items():
                torch.testing.assert_close(together.group(f"snapshot-{i}/{k}")[name], tensor, rtol=1e-3, atol=1e-4)
        counts.add(len(taken))
    assert len(counts) > 1, "they were to stop at different times"


def test_the_best_weights_of_each_member_are_cut_out_once_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    cut: list[int] = []
    part = Stack.part

    def counted(self: Stack, tensors: Mapping[str, Tensor], k: int) -> dict[str, Tensor]:
        cut.append(k)
        return part(self, tensors, k)

    monkeypatch.setattr(Stack, "part", counted)
    settings = FIFTY.model_copy(update={"epochs": 3})
    evaluate = Evaluate(OBJECTIVE, rows(30, seed=5), CrossEntropy(), "log-loss")
    stacked([Member(small_net(k), k, settings) for k in range(5)], rows(), evaluate, KeepBest("log-loss", None))
    assert len(cut) <= 3 * 5


# --- what is reported -----------------------------------------------------------------------------------------------------


def told(hooks: list[Quiet], wild: int | None) -> tuple[list[dict[str, Any]], State]:
    """What is reported of three members, one of which may diverge at once."""
    tame = FIFTY.model_copy(
        update={"optimizer": "plain-sgd", "clip_norm": None, "weight_decay": 0.0, "learning_rate": 0.05, "epochs": 4}
    )
    own = [tame.model_copy(update={"learning_rate": 1e30}) if k == wild else tame for k in range(3)]
    seen: list[dict[str, Any]] = []
    members = [Member(small_net(k), k, settings) for k, settings in enumerate(own)]
    _, state = stacked(members, rows(), *hooks, Report(seen.append))
    return seen, state


def evaluation() -> list[Quiet]:
    return [Evaluate(OBJECTIVE, rows(30, seed=5), CrossEntropy(), "log-loss"), KeepBest("log-loss", None)]


@pytest.mark.parametrize("wild", [None, 0, 1, 2])
def test_what_is_reported_is_the_mean_of_the_members_that_still_train(wild: int | None) -> None:
    seen, state = told(evaluation(), wild)
    live = [k for k in range(3) if k != wild]
    for epoch, row in zip(seen, state.history.rows, strict=True):
        for name in ("train_loss", "gradient_norm", "valid_loss", "valid_log-loss"):
            assert math.isfinite(epoch[name])
            assert epoch[name] == pytest.approx(np.mean([row[name][k] for k in live]))


def test_a_member_counts_up_to_the_epoch_in_which_it_stops() -> None:
    class Stop(Quiet):
        def on_epoch(self, state: State) -> None:
            if state.epoch == 2:
                state.stop_member(1, "enough")

    seen, state = told([*evaluation(), Stop()], None)
    for row, epoch in zip(state.history.rows, seen, strict=True):
        live = (0, 1, 2) if epoch["epoch"] <= 2 else (0, 2)
        assert epoch["train_loss"] == pytest.approx(np.mean([row["train_loss"][k] for k in live]))


def test_events_are_plain_json_where_a_number_is_not_finite(tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []
    run = Run.create(tmp_path / "run", {}, heard.append)
    run.event(
        "epoch", loss=math.nan, rate=0.1, each=[1.0, math.inf], of={"a": -math.inf, "b": (2, math.nan)}, text="NaN"
    )

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    line = (run.folder / "events.jsonl").read_text()
    event = json.loads(line, parse_constant=refuse)
    assert (event["loss"], event["rate"], event["each"]) == (None, 0.1, [1.0, None])
    assert (event["of"], event["text"]) == ({"a": None, "b": [2, None]}, "NaN")
    assert heard == run.events()
