"""How fast a training is: rows a second, memory, and the share of the machine's peak that its matrix products reach."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from netwright.data.batch import Batch
from netwright.train.hooks import Quiet
from netwright.train.light import without_compiler
from netwright.train.machine import matmul_peak, peak_device_memory_mib, peak_memory_mib
from netwright.train.objectives import Objective
from netwright.train.stack import Stack
from netwright.train.state import State

HIDDEN = re.compile(r"rnn|lstm|gru|attention|trilinear|mkldnn|conv|mm|mv|dot|cdist")
"""Operators in whose names these stand have products of matrices inside: without a formula they cannot be counted."""

Counter = Callable[[State], int | None]
"""The floating-point operations of one step, as `Throughput` wants to know them; None where they cannot be counted."""


class Throughput(Quiet):
    """Measures each epoch; `row` holds what it found until the next one. It changes nothing of the training.

    `rows_per_second`: training rows over the seconds of the epoch's steps. `memory_mib`: the most that the process has held
    so far, and `device_memory_mib` the same of a GPU. `matmul_peak_fraction` = F s / (t P): F operations of a step, s steps in t
    seconds, P the peak of `matmul_peak` in the number format of the training. What is not known is left out.

    They depend on the machine, so they are no part of `state.row`: a history must come out the same again.

    Args:
        n_rows: training rows, of which a step takes a batch.
        count: operations of a step, asked once, after the first epoch; None leaves the fraction out.

    Source: Chowdhery et al. (2022), "PaLM", appendix B, model FLOPs utilization; here over a measured peak.
    """

    def __init__(self, n_rows: int, count: Counter | None = None) -> None:
        self.n_rows, self.count = n_rows, count
        self.row: dict[str, float] = {}
        self._step = 0
        self._operations: int | None = None

    def on_start(self, state: State) -> None:
        """Where the counting of steps begins: a resumed epoch has fewer of them."""
        self._step = state.step

    def on_epoch(self, state: State) -> None:
        """Measure."""
        steps, self._step = state.step - self._step, state.step
        seconds = float(state.row["seconds"])
        device = next((p.device for p in state.net.parameters()), torch.device("cpu"))
        found = {"memory_mib": peak_memory_mib(), "device_memory_mib": peak_device_memory_mib(device)}
        if seconds > 0:  # which is rounded to milliseconds
            members = len(state.net) if isinstance(state.net, Stack) else 1
            found["rows_per_second"] = members * min(state.settings.batch_size, self.n_rows) * steps / seconds
            found["matmul_peak_fraction"] = self._fraction(state, device, steps / seconds)
        self.row = {name: float(f"{value:.4g}") for name, value in found.items() if value is not None}

    def _fraction(self, state: State, device: torch.device, steps_per_second: float) -> float | None:
        if self.count is not None:
            self._operations, self.count = self.count(state), None
        if not self._operations:
            return None
        return self._operations * steps_per_second / matmul_peak(device, getattr(torch, state.settings.precision))


def operations_of_step(net: nn.Module, objective: Objective, batch: Batch) -> int | None:
    """Floating-point operations of the matrix products, convolutions and attentions of one step, forwards and backwards.

    As is usual, elementwise work and look-ups are not counted. A copy of the network takes the step, and no random number
    is drawn from torch's generator for good. None where an operator has products inside but no formula (`nn.LSTM` on most
    processors), comes from outside of torch, or the network cannot be copied.

    Source: Griewank and Walther (2008) for the cost of gradients; the formulas are torch's.

    >>> from netwright.losses.standard import SquaredError
    >>> from netwright.train.objectives import Supervised
    >>> class OnX(nn.Linear):
    ...     def forward(self, x):
    ...         return super().forward(x["x"])
    >>> batch = Batch({"x": torch.zeros(8, 3)}, torch.zeros(8))
    >>> operations_of_step(OnX(3, 1), Supervised(SquaredError()), batch)  # 2 * 8 * 3 forwards, as many for the weights
    96
    """
    from torch.utils import flop_counter

    aten = torch.ops.aten
    forwards, backwards = cast(Any, flop_counter.sdpa_flop_count), cast(Any, flop_counter.sdpa_backward_flop_count)
    on_cpu = {
        aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: forwards(q, k, v),
        aten._scaled_dot_product_flash_attention_for_cpu_backward: lambda g, q, k, v, *_, **__: backwards(g, q, k, v),
    }
    mode = flop_counter._FlopCounterMode
    counter, seen = flop_counter.FlopCounterMode(display=False, custom_mapping=on_cpu), _Operators()
    try:
        # a user's own network may raise anything at all, and a measurement is no reason to end a training
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            twin = copy.deepcopy(net).train()
            with without_compiler(mode.__torch_dispatch__, _Operators.__torch_dispatch__), counter, seen:
                for name in objective.players(twin):
                    losses: Mapping[str, Tensor] = objective.step(twin, batch, torch.Generator().manual_seed(0))
                    losses[name].mean().backward()  # type: ignore[no-untyped-call]
    except Exception:
        return None
    if any(_is_hidden(operator) for operator in seen.found - counter.flop_registry.keys()):
        return None
    return int(counter.get_total_flops())


def _is_hidden(operator: Any) -> bool:
    """Whether products of matrices may be inside an operator that has no formula."""
    space, _, name = str(operator).partition(".")
    return space not in ("aten", "prim", "prims", "profiler") or HIDDEN.search(name) is not None


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Remembers which operators were called within it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: set[Any] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found.add(func._overloadpacket)
        return func(*args, **(kwargs or {}))
