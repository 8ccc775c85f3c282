"""torch's optimisers without their ceremony: to make one imports torch's compiler, which takes a second, and a step of a fused Adam
spends more on hooks, profiling and sorting tensors than on the update of a small network."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


@contextmanager
def without_compiler(*functions: Callable[..., Any]) -> Iterator[None]:
    """Within it torch's compiler is not imported by the making of an optimiser, nor by other `functions` of torch that only ask it to
    leave them alone.
    """
    wrapped = [getattr(f, "__wrapped__", None) for f in (Optimizer.add_param_group, *functions)]
    inner = [f for f in wrapped if f is not None and not hasattr(f, "__dynamo_disable")]
    if "torch._dynamo" in sys.modules:
        inner = []
    for function in inner:
        function.__dynamo_disable = function
    try:
        yield
    finally:
        for function in inner:
            del function.__dynamo_disable


def step(optimizer: Optimizer) -> None:
    """`optimizer.step()`, to the same bits; of a fused Adam only the update itself."""
    is_adam = type(optimizer) in (torch.optim.Adam, torch.optim.AdamW) and optimizer.defaults["fused"]
    if not is_adam or any(group["amsgrad"] or group["maximize"] for group in optimizer.param_groups):
        optimizer.step()
        return
    update = torch._fused_adamw_ if isinstance(optimizer, torch.optim.AdamW) else torch._fused_adam_
    for group in optimizer.param_groups:
        moved = [p for p in group["params"] if p.grad is not None]
        if not moved:
            continue
        slots = [optimizer.state[p] or _fresh(optimizer, p) for p in moved]
        means, squares, steps = ([s[name] for s in slots] for name in ("exp_avg", "exp_avg_sq", "step"))
        torch._foreach_add_(steps, 1)
        update(
            moved,
            [p.grad for p in moved],
            means,
            squares,
            [],
            steps,
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )


def _fresh(optimizer: Optimizer, parameter: Tensor) -> dict[str, Tensor]:
    """The state that torch gives a parameter at its first step."""
    slots: dict[str, Tensor] = optimizer.state[parameter]
    slots["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
    for name in ("exp_avg", "exp_avg_sq"):
        slots[name] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
    return slots
