"""How far back in time a recurrent network learns: the gradient of the loss with respect to its state at each step."""

from __future__ import annotations

import copy
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from netwright.core.errors import UsageError
from netwright.core.finding import Figure, Finding, Series, Table
from netwright.data.encode import encode_target
from netwright.explain.columns import not_applicable, rows_for
from netwright.explain.drawn import in_time
from netwright.model import Model, Subject
from netwright.nn.recurrent import Recurrent
from netwright.nn.unrolled import recorded

LOST = 1e-4
"""Of the gradient at the last step: where less than this reaches the first one, the network hardly learns from it."""
LEAST_ROWS, MOST_LINES = 8, 6
"""Rows that are followed whatever the time, and layers whose lines are drawn."""
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
        lengths: (N,) steps of each row, where they are known; what the layer read behind them is padding.
    """

    name: str
    mode: str
    norms: np.ndarray
    cell_norms: np.ndarray | None = None
    radius: float | None = None
    lengths: np.ndarray | None = None

    @property
    def means(self) -> np.ndarray:
        """(T,) the mean norm at each step over the rows that have it. Rows end together: the last step is each row's own last.

        >>> Path("", "GRU", np.array([[4.0, 1.0], [2.0, 0.0]]), lengths=np.array([2, 1])).means.tolist()
        [4.0, 1.5]
        """
        if self.lengths is None:
            return np.asarray(self.norms.mean(1))
        places = np.arange(len(self.norms))[:, None] - (len(self.norms) - self.lengths)
        there = places >= 0
        laid = np.where(there, np.take_along_axis(self.norms, places.clip(min=0), 0), 0.0)
        some = there.any(1)
        return np.asarray(laid[some].sum(1) / there[some].sum(1))

    @property
    def per_step(self) -> float:
        """Factor by which the mean norm changes with each step that it goes back; NaN where nothing is left."""
        means = self.means
        first, last = means[0], means[-1]
        return float((first / last) ** (1 / max(len(means) - 1, 1))) if first > 0 and last > 0 else math.nan

    @property
    def ratio(self) -> float:
        """The mean norm at the first step over that at the last."""
        means = self.means
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
    return _finding(gradient_paths(net, x, y, loss=loss))


def through_time(subject: Subject, *, budget_seconds: float, seed: int, rows: int = 128) -> Finding:
    """`gradient_over_time` of a model's own loss, as the mean over some of its test rows.

    Rows are laid so that they end together, and a mean counts the rows that have the step; padding has no part in it. Of a
    direction that reads backwards the last step is the first of the row.

    Args:
        budget_seconds: decides how many rows are followed. rows: at most.

    Source: Bengio, Simard and Frasconi (1994), "Learning long-term dependencies with gradient descent is difficult"; Pascanu, Mikolov
    and Bengio (2013).
    """
    begin, model = time.monotonic(), subject.need("model")
    if finding := not_applicable(model, "gradient-over-time", seed):
        return finding
    layers = [part for part in model.module.modules() if isinstance(part, nn.RNN | nn.GRU | nn.LSTM)]
    if not layers:
        return _none("the network has no recurrent layer; take the template recurrent", seed)
    if any(layer.proj_size for layer in layers):
        return _none("a recurrent layer projects its state (proj_size), which is not followed", seed)
    batch = rows_for(subject, rows, seed, "gradient-over-time")

    def followed(n: int) -> list[Path]:
        assert batch.y is not None
        y, x = batch.y[:n], {name: tensor[:n] for name, tensor in batch.x.items()}
        return gradient_paths(model, x, loss=lambda outputs: model.loss.values(outputs, y).sum())

    try:
        paths, n = followed(LEAST_ROWS), len(batch)
    except UsageError as error:
        return _none(str(error), seed)
    each = (time.monotonic() - begin) / LEAST_ROWS
    n = int(np.clip((budget_seconds - (time.monotonic() - begin)) / each, min(LEAST_ROWS, n), n))
    found = _finding(followed(n) if n > LEAST_ROWS else paths, names=told)
    title = f"{found.title} (mean over {n} rows)" + in_time(n, len(batch), "rows")
    return found.model_copy(update={"title": title, "seed": seed, "seconds": time.monotonic() - begin})


def _none(why: str, seed: int) -> Finding:
    title = f"not applicable: {why}"
    return Finding(probe="gradient-over-time", family="explain", verdict="info", title=title, seed=seed)


def told(names: Sequence[str]) -> list[str]:
    """Names of recurrent layers as a reader wants them: number and direction, and the part of the network where there are several.

    >>> told(["front.trunk.body.layers.0.0", "front.trunk.body.layers.0.1", "gru l0 backwards"])
    ['layer 1', 'layer 1 backwards', 'gru l0 backwards']
    """
    found = [re.fullmatch(r"(.*?)\.?layers\.(\d+)\.([01])", name) for name in names]
    several = len({match[1] for match in found if match}) > 1
    return [
        f"{part_name(match[1])} " * several + f"layer {int(match[2]) + 1}" + " backwards" * (match[3] == "1")
        if match
        else name
        for name, match in zip(names, found, strict=True)
    ]


def part_name(name: str) -> str:
    """The name of a recurrent part without what all networks of ours have.

    >>> part_name("members.1.front.trunk.body")
    'members.1'
    """
    return name.removesuffix("front.trunk.body").strip(".") or name


def _finding(paths: Sequence[Path], names: Callable[[Sequence[str]], Sequence[str]] = list) -> Finding:
    """What the paths say."""
    worst = min(paths, key=lambda path: path.ratio if math.isfinite(path.ratio) else -1.0)
    lost = [path for path in paths if not path.ratio >= LOST]
    exploded = [path for path in paths if path.ratio > 1 / LOST]
    called = names([path.name or "the layer" for path in paths])
    named = dict(zip(called, paths, strict=True))
    measured = {f"first_over_last {name}": path.ratio for name, path in named.items()}
    todo = ""
    if lost:
        plain = any(path.mode.startswith("RNN") for path in lost)
        todo = "Use gated cells (cell='lstm' or 'gru'), or shorter sequences." if plain else ""
        todo = (
            todo
            or "Use shorter sequences, a larger bias of the forget gates, or the mean over the steps (pool='mean')."
        )
    elif exploded:
        todo = "Clip the gradient's norm (clip_norm in the settings of the training), or start with smaller recurrent weights."
    rows = tuple(
        (
            name,
            path.mode,
            float(path.means[0]),
            float(path.means[-1]),
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
        title=f"of the gradient at the last of {len(worst.means)} steps {worst.ratio:.2g} reaches the first",
        measured=measured,
        expected=f"between {LOST:g} and {1 / LOST:g}",
        why="Where the gradient vanishes on its way back, what happened early cannot be learned; where it explodes, steps are wild.",
        todo=todo,
        tables=(Table(title="Gradient by layer", columns=columns, rows=rows),),
        figures=(path_figure({name: named[name].means for name in called[:MOST_LINES]}, caption=_caption(paths)),),
        reference=REFERENCE,
    )


def _caption(paths: Sequence[Path]) -> str:
    """What has to be known to read the lines."""
    ragged = any(path.lengths is not None and len(set(path.lengths.tolist())) > 1 for path in paths)
    more = f"The first {MOST_LINES} of {len(paths)} layers are drawn." if len(paths) > MOST_LINES else ""
    laid = "Rows end together: the last step is each row's own last, and a mean counts the rows that have the step."
    return f"{laid * ragged} {more}".strip()


def gradient_paths(
    net: Model | nn.Module, x: Any, y: Any = None, *, loss: Callable[[Tensor], Tensor] | None = None
) -> list[Path]:
    """The figures behind `gradient_over_time`, one path for each recurrent layer and direction."""
    module = copy.deepcopy(net.module if isinstance(net, Model) else net).eval()
    if isinstance(net, Model) and not _are_tensors(x):
        x = net.encode(x)
    with (
        recorded(module) as records,
        lengths_read(module) as lengths,
        torch.enable_grad(),
        torch.random.fork_rng(devices=[]),
    ):
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
            known = next((n for body, n in lengths.items() if name.startswith(f"{body}.layers.".lstrip("."))), None)
            paths.append(Path(label.strip(), layer.mode, norms[:, 0], cell_norms, radius, known))
    return paths


@contextmanager
def lengths_read(net: nn.Module) -> Iterator[dict[str, np.ndarray]]:
    """Within it the lengths (N,) that the network's parts of kind `Recurrent` are called with are kept by the name of the part."""
    kept: dict[str, np.ndarray] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            lengths = args[1] if len(args) > 1 else kwargs.get("lengths")
            if lengths is not None:
                kept[name] = lengths.detach().numpy()

        return hook

    parts = [(name, part) for name, part in net.named_modules() if isinstance(part, Recurrent)]
    handles = [part.register_forward_pre_hook(keep(name), with_kwargs=True) for name, part in parts]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


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
