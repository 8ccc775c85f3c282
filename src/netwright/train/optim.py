"""Optimisers from their entries, and schedules as pure functions of the step, so that a resume needs no state of theirs."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import nn
from torch.optim import Optimizer

from netwright.train.entries import OPTIMIZERS, SCHEDULES
from netwright.train.settings import Training


def constant(progress: float) -> float:
    """1 throughout."""
    return 1.0


def cosine(progress: float) -> float:
    """(1 + cos(pi * progress)) / 2. Source: Loshchilov and Hutter (2017).

    >>> [round(cosine(p), 3) for p in (0.0, 0.5, 1.0)]
    [1.0, 0.5, 0.0]
    """
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def rate_at(step: int, total: int, settings: Training) -> float:
    """The learning rate of step `step` (from 0) of `total`."""
    shape: Callable[[float], float] = SCHEDULES[settings.schedule].load()
    rise = min(1.0, (step + 1) / (settings.warmup + 1))
    return settings.learning_rate * rise * shape(step / max(total, 1))


def build(module: nn.Module, settings: Training) -> Optimizer:
    """An optimiser for all parameters of a module; only weight matrices of linear and convolutional maps decay."""
    entry = OPTIMIZERS[settings.optimizer]
    decaying = {
        id(layer.weight)
        for layer in module.modules()
        if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd) and layer.weight is not None
    }
    parameters = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if id(p) in decaying], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if id(p) not in decaying], "weight_decay": 0.0},
    ]
    optimizer: Optimizer = entry.load()([g for g in groups if g["params"]], lr=settings.learning_rate, **entry.options)
    return optimizer
