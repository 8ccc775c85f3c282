"""The way of a training is chosen by what steps take: the fastest that gains enough, bfloat16 only where it agrees, with a reason."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
import torch
from torch import nn

from netwright.losses.standard import CrossEntropy
from netwright.train import way as module
from netwright.train.objectives import Supervised
from netwright.train.settings import Training
from netwright.train.way import Way, choose_way, step_times
from test_train import OnX, rows, small_net

OBJECTIVE, SETTINGS = Supervised(CrossEntropy()), Training(epochs=2, batch_size=8)


def conv() -> nn.Module:
    torch.manual_seed(0)
    body = [
        nn.Unflatten(1, (1, 2, 2)),
        nn.Conv2d(1, 4, 2, padding=1),
        nn.Conv2d(4, 4, 2),
        nn.Flatten(),
        nn.Linear(16, 3),
    ]
    return OnX(nn.Sequential(*body))


def chosen(
    monkeypatch: pytest.MonkeyPatch,
    took: dict[tuple[int, str, bool], float],
    make: Any,
    steps: int = 10,
    seconds: float = math.inf,
    fixed: Any = None,
) -> Way:
    """The choice where steps take what is told, in milliseconds; all else takes a second."""

    def timed(way: Way, *rest: Any) -> Way:
        each = took.get((way.threads, way.precision, way.channels_last), 1000.0)
        return way.model_copy(update={"step_seconds": each / 1000})

    monkeypatch.setattr(module, "_timed", timed)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(module, "native_bfloat16", lambda: True)
    return choose_way(make, OBJECTIVE, CrossEntropy(), rows(), rows(30, seed=1), SETTINGS, steps, seconds, fixed)


@pytest.mark.parametrize(("two", "threads"), [(9.5, 1), (7.0, 2)])
def test_more_threads_must_gain_a_tenth(monkeypatch: pytest.MonkeyPatch, two: float, threads: int) -> None:
    way = chosen(monkeypatch, {(1, "float32", False): 10.0, (2, "float32", False): two}, small_net)
    assert (way.threads, way.precision, way.channels_last) == (threads, "float32", False)
    assert way.reason.startswith("one thread: 10 ms a step" if threads == 1 else "2 threads: 7 ms a step")


@pytest.mark.parametrize(("first", "last"), [(9.5, True), (8.5, False)])
def test_maps_with_channels_first_must_gain_a_tenth(monkeypatch: pytest.MonkeyPatch, first: float, last: bool) -> None:
    way = chosen(monkeypatch, {(1, "float32", False): first, (1, "float32", True): 10.0}, conv)
    assert (way.threads, way.precision, way.channels_last) == (1, "float32", last)


@pytest.mark.parametrize(("two", "times"), [(16.0, 1), (6.0, 1), (14.0, 2)])
def test_ways_that_are_close_are_timed_twice_and_no_others(
    monkeypatch: pytest.MonkeyPatch, two: float, times: int
) -> None:
    seen: list[int] = []

    def timed(way: Way, *rest: Any) -> Way:
        seen.append(way.threads)
        return way.model_copy(update={"step_seconds": {1: 10.0, 2: two}[way.threads] / 1000})

    monkeypatch.setattr(module, "_timed", timed)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    choose_way(small_net, OBJECTIVE, CrossEntropy(), rows(), rows(30, seed=1), SETTINGS, 10)
    assert seen == [1, 2] * times


def test_ways_that_were_close_are_both_timed_twice_whatever_the_second_time_of_the_first_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times, seen = {1: [10.0, 2.0], 2: [8.0, 8.0]}, []

    def timed(way: Way, *rest: Any) -> Way:
        seen.append(way.threads)
        return way.model_copy(update={"step_seconds": times[way.threads].pop(0) / 1000})

    monkeypatch.setattr(module, "_timed", timed)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    choose_way(small_net, OBJECTIVE, CrossEntropy(), rows(), rows(30, seed=1), SETTINGS, 10)
    assert seen == [1, 2, 1, 2]


@pytest.mark.parametrize(("agrees", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_bfloat16_is_taken_where_it_agrees_on_validation_rows(
    monkeypatch: pytest.MonkeyPatch, agrees: bool, precision: str
) -> None:
    monkeypatch.setattr(module, "_agrees", lambda *given: agrees)
    way = chosen(monkeypatch, {(1, "float32", True): 10.0, (1, "bfloat16", True): 5.0}, conv)
    assert (way.precision, way.channels_last) == (precision, True)


def test_a_way_that_spoils_the_validation_loss_does_not_agree() -> None:
    class Rough(Supervised):
        """Learns nothing in half precision."""

        def step(self, net: nn.Module, batch: Any, rng: torch.Generator) -> Any:
            values = super().step(net, batch, rng)
            return {"net": values["net"] * (0.0 if torch.is_autocast_enabled("cpu") else 1.0)}

    fast = Training(epochs=2, batch_size=8, learning_rate=0.05, warmup=0)
    for objective, expected in ((OBJECTIVE, True), (Rough(CrossEntropy()), False)):
        valid = rows(200, seed=1)
        agrees = module._agrees(Way(precision="bfloat16"), small_net, objective, CrossEntropy(), rows(), valid, fast)
        assert agrees == expected


@pytest.mark.parametrize(
    ("each", "steps", "why"),
    [
        (0.5, 1000, "compiling takes half a minute"),
        (10.0, 1_000_000, "a step is more than overhead"),
    ],
)
def test_compiling_is_not_tried_where_it_cannot_pay(
    monkeypatch: pytest.MonkeyPatch, each: float, steps: int, why: str
) -> None:
    way = chosen(monkeypatch, {(1, "float32", False): each}, small_net, steps)
    assert not way.compiled and why in way.reason


def test_many_small_steps_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    way = chosen(monkeypatch, {(1, "float32", False): 0.5}, lambda: small_net(dropout=0.0), 1_000_000)
    assert way.compiled and "compiled: 500 s of steps are ahead" in way.reason and way.settings(SETTINGS).compiled


# --- what choosing itself may take ------------------------------------------------------------------------------------


class Slow(OnX):
    """A network whose steps take ten milliseconds, whatever the way."""

    def forward(self, x: Any) -> torch.Tensor:
        time.sleep(0.01)
        answer: torch.Tensor = super().forward(x)
        return answer


def choose(make: Any, seconds: float, **fixed: Any) -> Way:
    return choose_way(make, OBJECTIVE, CrossEntropy(), rows(), rows(30, seed=1), SETTINGS, 10**6, seconds, fixed=fixed)


@pytest.mark.parametrize("seconds", [1.0, 3.0])
def test_choosing_takes_a_tenth_of_the_time_there_is(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    began = time.perf_counter()
    way = choose(lambda: Slow(nn.Linear(4, 3)), seconds)
    assert time.perf_counter() - began < 0.15 * seconds + 0.05  # all of it would take half a second
    assert 0.01 <= way.step_seconds < 0.03 and ("no time to try 1 more" in way.reason) == (seconds < 2)


def test_bfloat16_is_not_taken_where_there_is_no_time_to_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        module, "_agrees", lambda *given: pytest.fail("180 steps of 10 ms are more than a tenth of 10 s")
    )
    way = chosen(monkeypatch, {(1, "float32", True): 10.0, (1, "bfloat16", True): 5.0}, conv, seconds=10.0)
    assert (way.precision, way.channels_last) == ("float32", True) and "no time to compare" in way.reason


@pytest.mark.parametrize(
    "asked",
    [{"threads": 2}, {"precision": "bfloat16"}, {"channels_last": True}, {"compiled": True}, {"compiled": False}],
)
def test_what_was_asked_for_is_not_chosen(monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any]) -> None:
    monkeypatch.setattr(module, "_agrees", lambda *given: pytest.fail("it was asked for"))
    fast = {(1, "float32", False): 0.5}
    way = chosen(monkeypatch, fast, small_net, 10**6, fixed=asked)
    assert {name: getattr(way, name) for name in asked} == asked
    if "compiled" in asked:
        assert way.reason.endswith("compiled, as asked for")


def test_times_are_those_of_steps_and_leave_the_settings_alone() -> None:
    times, per_epoch = step_times(small_net(), OBJECTIVE, rows(), SETTINGS, steps=9)
    assert len(times) == 8 and per_epoch == 5 and bool((times > 0).all()) and math.isfinite(times.sum())
    assert SETTINGS.epochs == 2
