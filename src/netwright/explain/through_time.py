"""How far back in time a recurrent network learns: the gradient of the loss with respect to its state at each step."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from netwright.core.errors import UsageError
from netwright.core.finding import Figure, Finding, Series, Table
from netwright.data.encode import encode_target
from netwright.model import Model
from netwright.nn.unrolled import recorded

LOST = 1e-4
"""Of the gradient at the last step: where less than this reaches the first one, the network hardly learns from it."""
REFERENCE = "Hochreiter (1991); Bengio, Simard and Frasconi (1994); Pascanu, Mikolov and Bengio (2013)"


@dataclass(frozen=True)
class Path:
    """The gradient along one layer in one direction.

    Args:
        name: of the layer in its network, such as "body.layers.0.0"; with " backwards" for the second direction of a layer of torch.
        mode: of the cell, as torch names it.
        norms: of d loss / d h_t, (T, N), in the order in which the layer read.
        cell_norms: the same of d loss / d c_t of an LSTM, else None.
        radius: spectral radius of the recurrent weights of an Elman layer, else None.
    """

    name: str
    mode: str
    norms: np.ndarray
    cell_norms: np.ndarray | None = None
    radius: float | None = None

    @property
    def per_step(self) -> float:
        """Factor by which the mean norm changes with each step that it goes back; NaN where nothing is left."""
        means = self.norms.mean(1)
        first, last = means[0], means[-1]
        return float((first / last) ** (1 / max(len(means) - 1, 1))) if first > 0 and last > 0 else math.nan

    @property
    def ratio(self) -> float:
        """The mean norm at the first step over that at the last."""
        means = self.norms.mean(1)
        return float(means[0] / means[-1]) if means[-1] > 0 else math.nan


def gradient_over_time(
    net: Model | nn.Module, x: Any, y: Any = None, *, loss: Callable[[Tensor], Tensor] | None = None
) -> Finding:
    """The norm of d loss / d h_t for each step t, for every recurrent layer of a network.

    d loss / d h_t holds a product of T - t factors dh_(s+1) / dh_s. For an Elman net each is diag(tanh') U: a spectral radius of U well
    below 1 makes the product vanish, one above 1 can make it explode. Gates add a path whose factors are near 1.

    Args:
        net: a model, or any module with layers of `nn.RNN`, `nn.GRU` or `nn.LSTM` (which are not given packed sequences).
        x: rows: of a model raw ones, as it predicts from, or its tensors; of a module what it is called with.
        y: their targets, of a model; then the price is its loss.
        loss: outputs -> a number, the sum over rows; without it and y half the sum of the outputs' squares.

    Raises:
        UsageError: the network has no recurrent layer, or the layers see packed sequences.

    Source: Bengio, Simard and Frasconi (1994), "Learning long-term dependencies with gradient descent is difficult"; Pascanu, Mikolov
    and Bengio (2013).

    >>> class Last(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.rnn = nn.RNN(1, 8, batch_first=True)
    ...     def forward(self, x):
    ...         return self.rnn(x)[0][:, -1]
    >>> gradient_over_time(Last(), torch.randn(4, 50, 1)).verdict
    'warn'
    """
    paths = gradient_paths(net, x, y, loss=loss)
    worst = min(paths, key=lambda path: path.ratio if math.isfinite(path.ratio) else -1.0)
    lost = [path for path in paths if not path.ratio >= LOST]
    exploded = [path for path in paths if path.ratio > 1 / LOST]
    named = {path.name or "the layer": path for path in paths}
    measured = {f"first_over_last {name}": path.ratio for name, path in named.items()}
    todo = ""
    if lost:
        todo = "Use gated cells (cell='lstm' or 'gru'), shorter sequences, or a larger bias of the forget gates."
    elif exploded:
        todo = "Clip the gradient's norm (clip_norm in the settings of the training), or start with smaller recurrent weights."
    rows = tuple(
        (
            name,
            path.mode,
            float(path.norms[0].mean()),
            float(path.norms[-1].mean()),
            path.ratio,
            path.per_step,
            path.radius,
        )
        for name, path in named.items()
    )
    columns = ("layer", "cell", "norm at step 1", "norm at the last step", "ratio", "factor a step", "spectral radius")
    return Finding(
        probe="gradient-over-time",
        family="explain",
        verdict="warn" if lost or exploded else "info",
        title=f"of the gradient at the last of {len(worst.norms)} steps {worst.ratio:.2g} reaches the first",
        measured=measured,
        expected=f"between {LOST:g} and {1 / LOST:g}",
        why="Where the gradient vanishes on its way back, what happened early cannot be learned; where it explodes, steps are wild.",
        todo=todo,
        tables=(Table(title="Gradient by layer", columns=columns, rows=rows),),
        figures=(path_figure({name: path.norms.mean(1) for name, path in named.items()}),),
        reference=REFERENCE,
    )


def gradient_paths(
    net: Model | nn.Module, x: Any, y: Any = None, *, loss: Callable[[Tensor], Tensor] | None = None
) -> list[Path]:
    """The figures behind `gradient_over_time`, one path for each recurrent layer and direction."""
    module = copy.deepcopy(net.module if isinstance(net, Model) else net).eval()
    if isinstance(net, Model) and not _are_tensors(x):
        x = net.encode(x)
    with recorded(module) as records, torch.enable_grad(), torch.random.fork_rng(devices=[]):
        if not records:
            raise UsageError(
                "the network has no recurrent layer of torch (nn.RNN, nn.GRU, nn.LSTM); it has no way back in time"
            )
        try:
            outputs = module(*x) if isinstance(x, tuple) else module(x)
        except AttributeError as error:
            raise UsageError(
                f"a recurrent layer was not given a tensor ({error}); packed sequences cannot be followed"
            ) from error
        price = _price(net, outputs[0] if isinstance(outputs, tuple) else outputs, y, loss)
        states = [state for record in records.values() for steps in record.values() for state in steps]
        tensors = [part for state in states for part in state]
        found = torch.autograd.grad(price, tensors, allow_unused=True)
    gradients = iter([torch.zeros_like(t) if g is None else g for t, g in zip(tensors, found, strict=True)])
    paths = []
    for name, record in records.items():
        layer: Any = module.get_submodule(name)
        for suffix, steps in record.items():
            norms = np.array([[next(gradients).norm(dim=-1).numpy() for _ in state] for state in steps])
            radius = _radius(getattr(layer, f"weight_hh_{suffix}")) if layer.mode.startswith("RNN") else None
            cell_norms = norms[:, 1] if norms.shape[1] > 1 else None
            several = layer.num_layers > 1
            label = name + f" {suffix.split('_')[0]}" * several + " backwards" * suffix.endswith("_reverse")
            paths.append(Path(label.strip(), layer.mode, norms[:, 0], cell_norms, radius))
    return paths


def path_figure(means: Mapping[str, np.ndarray], *, title: str = "Gradient over time", caption: str = "") -> Figure:
    """Norms over steps as lines, on a logarithmic axis (a norm of 0 has no place there)."""
    series = tuple(
        Series(name=name, x=tuple(range(1, len(norms) + 1)), y=tuple(float(v) if v > 0 else None for v in norms))
        for name, norms in means.items()
    )
    return Figure(
        title=title,
        kind="line",
        series=series,
        x_label="step t, in the order of reading",
        y_label="norm of d loss / d h(t), mean over rows",
        log_y=True,
        caption=caption,
    )


def _are_tensors(x: Any) -> bool:
    return isinstance(x, Mapping) and all(isinstance(v, Tensor) for v in x.values())


def _price(net: Model | nn.Module, outputs: Tensor, y: Any, loss: Callable[[Tensor], Tensor] | None) -> Tensor:
    if loss is not None:
        return loss(outputs)
    if y is None:
        return outputs.square().sum() / 2
    if not isinstance(net, Model):
        raise UsageError("what y means is known of a model only; give loss=, a function of the outputs")
    target = encode_target(pl.Series(net.target.name, list(y)), net.target)
    return net.loss.values(outputs, target).sum()


def _radius(weight: Tensor) -> float:
    return float(torch.linalg.eigvals(weight.detach().double()).abs().max())
