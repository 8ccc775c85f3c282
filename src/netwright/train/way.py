"""How a training is computed: threads, precision, memory layout and compilation, chosen by timing a few steps of each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import nn

from netwright.core.frozen import Frozen
from netwright.data.batch import Block, Source
from netwright.losses.loss import Loss
from netwright.train.compiled import RULES
from netwright.train.hooks import Quiet
from netwright.train.judging import outputs_of
from netwright.train.loop import train
from netwright.train.machine import device_named
from netwright.train.objectives import Objective
from netwright.train.precision import Precision, native_bfloat16
from netwright.train.settings import Training

LEAST_STEPS = 4
"""Steps that are timed even where there is no time."""
STEPS = 5
"""Steps that are timed of each way, the first two of which warm up."""
ROUNDS = 2
"""Times that each way is timed, in turn: what disturbs one of them does not decide."""
CLEARLY = 1.5
"""Of the fastest way's step: a way that takes longer is not timed again, nor is the fastest one without a rival."""
WORTH_COMPILING = 120.0
"""Seconds that a training must have ahead of it: compiling takes a fourth of them, or more."""
OVERHEAD = 6e-4
"""Seconds of a step that is mostly overhead; of a longer one a compiler saves little, and takes minutes for it."""
AGREEING = 60
"""Steps after which the validation losses of both precisions are compared."""
SHARE = 0.1
"""Of the time there is: to time ways, and as much again to compare both precisions."""
CHOSEN = ("precision", "channels_last", "compiled")
"""Settings of a training that a way decides."""


class Way(Frozen):
    """What was chosen.

    Args:
        threads: of the processor. precision: of products and convolutions. channels_last: the layout of images and their maps.
        compiled: whether steps are compiled. step_seconds: what a step takes then.
        reason: for people, one line.
    """

    threads: int = 1
    precision: Precision = "float32"
    channels_last: bool = False
    compiled: bool = False
    step_seconds: float = math.nan
    reason: str = ""

    def settings(self, settings: Training) -> Training:
        """The settings of a training that goes this way."""
        return settings.model_copy(update={name: getattr(self, name) for name in CHOSEN})


def choose_way(
    make: Callable[[], nn.Module],
    objective: Objective,
    loss: Loss,
    source: Source,
    valid: Block,
    settings: Training,
    steps: int,
    seconds: float = math.inf,
    fixed: Mapping[str, Any] | None = None,
) -> Way:
    """The fastest way to do `steps` steps, or as many of them as fit into `seconds`.

    A way must gain: bfloat16 a quarter; more threads a tenth, since they wait for each other on a busy machine; and maps with their
    channels first a tenth, since convolutions are mostly written for channels last. bfloat16 also must not lose more on validation
    rows than another seed does; steps are compiled where many are ahead and each is mostly overhead. Where there is little time,
    fewer ways are timed, and for fewer steps.

    Args:
        make: gives a fresh network, each time the same. loss: prices outputs for validation rows. steps: that are ahead.
        fixed: fields of the `Way` that are not to be chosen, with their values.
    """
    fixed = dict(fixed or {})
    if device_named(settings.device).type != "cpu":
        return _on_device(make, objective, source, settings, fixed)
    net = make()
    is_conv = any(isinstance(layer, nn.Conv2d) for layer in net.modules())
    possible = {
        "threads": sorted({1, torch.get_num_threads()}),
        "precision": ("float32", "bfloat16") if is_conv and native_bfloat16() else ("float32",),
        "channels_last": (False, True) if is_conv and not _is_channels_last(net) else (False,),
    }
    choices = [(fixed[name],) if name in fixed else values for name, values in possible.items()]
    ways = [Way(threads=n, precision=precision, channels_last=last) for n, precision, last in product(*choices)]
    timed, skipped = _timed_in(SHARE * seconds, ways, make, objective, source, settings)
    best, why_not = min(timed, key=_handicapped), ""
    if best.precision == "bfloat16" and "precision" not in fixed:
        plain = [way for way in timed if way.precision == "float32"]
        if 3 * AGREEING * max(way.step_seconds for way in (best, *plain)) > SHARE * seconds:
            why_not = "; not in bfloat16: there is no time to compare both"
        elif not _agrees(best, make, objective, loss, source, valid, settings):
            why_not = "; not in bfloat16: it spoils the validation loss"
        best = min(plain, key=_handicapped) if why_not else best
    slowest = max(timed, key=lambda way: way.step_seconds)
    reason = f"{_words(best)}: {_ms(best.step_seconds)} a step"
    if slowest is not best:
        reason += f", where {_words(slowest)} would take {_ms(slowest.step_seconds)}"
    reason += why_not + (f"; no time to try {skipped} more" if skipped else "")
    steps = min(steps, int(min(seconds / best.step_seconds, 1e12)))
    if "compiled" in fixed:
        compiled = best.model_copy(update={"compiled": fixed["compiled"]})
        why = "compiled, as asked for" if fixed["compiled"] else "not compiled, as asked for"
    else:
        compiled, why = _compiled(best, net, settings, steps)
    return compiled.model_copy(update={"reason": f"{reason}; {why}"})


def _timed_in(
    seconds: float,
    ways: Sequence[Way],
    make: Callable[[], nn.Module],
    objective: Objective,
    source: Source,
    settings: Training,
) -> tuple[list[Way], int]:
    """The ways with the least of their times, and how many there was no time for; the first is always timed."""
    deadline, longest = time.perf_counter() + seconds, 0.0
    timed: dict[int, Way] = {}
    left, turn = ROUNDS * len(ways), list(range(len(ways)))
    for _ in range(ROUNDS):
        for k in turn:
            began = time.perf_counter()
            if timed and began + longest > deadline:
                break
            one = _timed(ways[k], make, objective, source, settings, (deadline - began) / left)
            longest, left = max(longest, time.perf_counter() - began), left - 1
            timed[k] = min(one, timed.get(k, one), key=lambda way: way.step_seconds)
        turn = _rivals(timed)
    return list(timed.values()), len(ways) - len(timed)


def _rivals(timed: Mapping[int, Way]) -> list[int]:
    """The ways that are close to the fastest one, and it; none where no other is close."""
    least = min(way.step_seconds for way in timed.values())
    close = [k for k, way in timed.items() if way.step_seconds <= CLEARLY * least]
    return close if len(close) > 1 else []


def _on_device(
    make: Callable[[], nn.Module], objective: Objective, source: Source, settings: Training, fixed: Mapping[str, Any]
) -> Way:
    """The settings as they are: an accelerator is faster than any way of the processor, or it would not be asked for."""
    asked = {
        "threads": torch.get_num_threads(),
        "precision": settings.precision,
        "channels_last": settings.channels_last,
    }
    way = Way(**{**asked, **fixed})
    timed = _timed(way, make, objective, source, settings, math.inf)
    return timed.model_copy(update={"reason": f"on {settings.device}: {_ms(timed.step_seconds)} a step"})


def _handicapped(way: Way) -> float:
    """The seconds of a step times what another way must gain: bfloat16 a quarter, more threads and maps with channels first a tenth."""
    rounds, threads, first = way.precision != "float32", way.threads > 1, not way.channels_last
    return way.step_seconds * 1.25**rounds * 1.1 ** (threads + first)


def _is_channels_last(net: nn.Module) -> bool:
    convs = [
        layer.weight for layer in net.modules() if isinstance(layer, nn.Conv2d) and min(layer.weight.shape[1:]) > 1
    ]
    return bool(convs) and all(w.is_contiguous(memory_format=torch.channels_last) for w in convs)


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.2g} ms"


def _words(way: Way) -> str:
    threads = "one thread" if way.threads == 1 else f"{way.threads} threads"
    return threads + " in bfloat16" * (way.precision == "bfloat16") + ", channels last" * way.channels_last


def _timed(
    way: Way, make: Callable[[], nn.Module], objective: Objective, source: Source, settings: Training, seconds: float
) -> Way:
    with threads(way.threads):
        times, _ = step_times(make(), objective, source, way.settings(settings), steps=STEPS, seconds=seconds)
    return way.model_copy(update={"step_seconds": float(np.median(times[2:]))})


def _agrees(
    way: Way,
    make: Callable[[], nn.Module],
    objective: Objective,
    loss: Loss,
    source: Source,
    valid: Block,
    settings: Training,
) -> bool:
    """Whether the validation loss after some steps is that of float32, give or take what another seed changes."""
    some = valid.take(torch.arange(min(len(valid), 1000)))
    rows = Block(some.x, some.y, some.weight)
    assert rows.y is not None

    def after(precision: Precision, seed: int) -> float:
        net, stop = make(), Stopwatch(AGREEING, math.inf)
        chosen = way.settings(settings).model_copy(
            update={"precision": precision, "epochs": AGREEING + 1, "average": None}
        )
        train(net, objective, source, chosen, seed=seed, hooks=[stop])
        return float(loss.values(outputs_of(net, objective, rows), rows.y).double().mean())  # type: ignore[arg-type]

    with threads(way.threads):
        wide, other, narrow = after("float32", 0), after("float32", 1), after("bfloat16", 0)
    return narrow - wide <= max(abs(wide - other), 0.01 * abs(wide))


def _compiled(way: Way, net: nn.Module, settings: Training, steps: int) -> tuple[Way, str]:
    """The way with compiled steps where they should pay, and why or why not. It cannot be tried without paying for it."""
    ahead = steps * way.step_seconds
    if ahead < WORTH_COMPILING:
        return way, f"not compiled: about {ahead:.0f} s of steps are ahead, and compiling takes half a minute"
    if way.step_seconds > OVERHEAD:
        return way, "not compiled: a step is more than overhead"
    if isinstance(settings.average, float) or settings.optimizer not in RULES:
        return way, "not compiled: weights are averaged after each step, or the optimiser has no compiled form"
    if any(isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p > 0 for layer in net.modules()):
        return way, "not compiled: dropout would take the compiler minutes"
    if any(isinstance(layer, nn.modules.conv._ConvNd | nn.modules.batchnorm._NormBase) for layer in net.modules()):
        return way, "not compiled: convolutions and batch norms are not"
    return way.model_copy(
        update={"compiled": True}
    ), f"compiled: {ahead:.0f} s of steps are ahead that are mostly overhead"


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Within it torch computes with n threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def step_times(
    net: nn.Module, objective: Objective, source: Source, settings: Training, *, steps: int, seconds: float = math.inf
) -> tuple[np.ndarray, int]:
    """Seconds of each optimiser step but the first, and how many steps an epoch has. The network is trained by it.

    Args:
        steps: after which to stop. seconds: after which to stop, too, once there are `LEAST_STEPS`.
    """
    stopwatch = Stopwatch(steps, seconds)
    long = settings.model_copy(update={"epochs": steps + 1, "warmup": 0})
    state = train(net, objective, source, long, seed=0, hooks=[stopwatch])
    return np.diff(stopwatch.stamps), state.steps_per_epoch


class Stopwatch(Quiet):
    """Notes the time after each step, or stride of steps, and stops after some."""

    def __init__(self, steps: int, seconds: float) -> None:
        self.steps, self.seconds = steps, seconds
        self.stamps: list[float] = []

    def on_step(self, state: Any) -> None:
        """Note the time."""
        self.stamps.append(time.perf_counter())
        n, passed = len(self.stamps), self.stamps[-1] - self.stamps[0]
        if n >= self.steps or (n > LEAST_STEPS and passed >= self.seconds):
            state.stop = "measured"
