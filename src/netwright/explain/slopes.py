"""Gradients of the answer in raw units, and means over rows with their intervals."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import Tensor

from netwright.data.batch import Inputs
from netwright.explain.columns import Column
from netwright.model import Model

Interval = tuple[float, float, float]
"""Mean, and the ends of its 95 % interval."""


def gradients(model: Model, x: Inputs, columns: list[Column], batch_size: int = 2048) -> dict[str, np.ndarray]:
    """Gradient of each row's answer with respect to each smooth column, in raw units: (N,), or (N, ...) for a whole tensor.

    Missing cells have NaN. Columns that the answer cannot be differentiated by have zeros. The rows must not depend on each
    other, which the check of it makes sure of.
    """
    net = copy.deepcopy(model.module).eval()
    names = sorted({c.tensor for c in columns if c.is_smooth})
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    n = len(next(iter(x.values())))
    for first in range(0, n, batch_size):
        piece = {k: v[first : first + batch_size] for k, v in x.items()}
        leaves = {name: piece[name].detach().clone().requires_grad_() for name in names}
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):
            outputs = model.objective.predict(net, {**piece, **leaves}).double()
            prediction = model.loss.predict(outputs if model.target.is_number else outputs / model.temperature)
            if prediction.dim() == 2:
                chosen = torch.ones(len(prediction), dtype=torch.int64)
                chosen = chosen if prediction.shape[1] == 2 else prediction.argmax(1)
                prediction = prediction.gather(1, chosen.unsqueeze(1)).squeeze(1)
            found: tuple[Tensor | None, ...] = (None,) * len(names)
            if prediction.requires_grad and names:
                found = torch.autograd.grad(prediction.sum(), [leaves[k] for k in names], allow_unused=True)
        for name, gradient in zip(names, found, strict=True):
            filled = torch.zeros_like(piece[name]) if gradient is None else gradient
            parts[name].append(torch.where(piece[name].isnan(), torch.nan, filled).double())
    whole = {name: torch.cat(found_parts).numpy() for name, found_parts in parts.items()}
    return {c.name: whole[c.tensor] if c.index is None else whole[c.tensor][:, c.index] for c in columns if c.is_smooth}


def averaged(values: np.ndarray, weights: np.ndarray) -> Interval:
    """Mean of the values that are there, and its 95 % interval over resamples of rows: values (N,), weights (B, N).

    Source: Efron (1979).
    """
    there = np.isfinite(values)
    if not there.any():
        return math.nan, math.nan, math.nan
    totals = weights[:, there].sum(1)
    means = (weights[:, there] @ values[there])[totals > 0] / totals[totals > 0]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(values[there].mean()), float(low), float(high)
