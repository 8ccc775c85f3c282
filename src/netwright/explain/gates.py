"""The gates of a GRU or LSTM while it reads: how far each is open at each step, as heat maps over the words or steps of some rows."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from netwright.core.finding import Cell, Figure, Finding, Series, Table
from netwright.core.spec import FIRST_ID, InputSpec
from netwright.data.batch import Inputs
from netwright.data.sequences import SequenceVector, SeriesFront, TokenFront
from netwright.explain.columns import not_applicable
from netwright.explain.drawn import Drawn, drawn_rows
from netwright.explain.through_time import part_name
from netwright.model import Subject
from netwright.nn.cells import gates_of
from netwright.nn.recurrent import Recurrent

SHOWN = {"GRU": ("update", "reset"), "LSTM": ("input", "forget", "output")}
"""The gates of a cell, by torch's name of its mode; what is not a gate (candidate, cell, state) is not drawn."""
MOST_UNITS, MOST_LAYERS, MOST_WORDS, MOST_CHANNELS = 8, 2, 40, 4
"""Units, layers with their directions, words and channels of a series that are drawn of each row."""
MOST_LEVEL = 12
"""Words whose names stand beside each other; more stand upright."""
SHUT, OPEN = 0.1, 0.9


@dataclass(frozen=True)
class Opened:
    """How far the gates of one recurrent part of a network are open.

    Args:
        name: of the part in its network. mode: of its cells, as torch names it.
        gates: (N, T, units) by name, such as "update_l0" or "forget_l1_reverse", in the order of the row in both directions.
        lengths: (N,) steps of each row; behind them is padding.
        front: what gave it its vectors, where that is one of ours.
    """

    name: str
    mode: str
    gates: Mapping[str, np.ndarray]
    lengths: np.ndarray
    front: nn.Module | None

    @property
    def suffixes(self) -> list[str]:
        """Layers and directions, as torch names them."""
        first = SHOWN[self.mode][0]
        return [name.removeprefix(first + "_") for name in self.gates if name.startswith(first + "_")]

    def there(self, gate: str) -> np.ndarray:
        """Values (M, units) of a gate at the M steps that there are."""
        values = self.gates[gate]
        found: np.ndarray = values[np.arange(values.shape[1]) < self.lengths[:, None]]
        return found


def gates(subject: Subject, *, budget_seconds: float, seed: int, rows: int = 32) -> Finding:
    """How far the gates of a GRU or LSTM are open at each step of some test rows, drawn over the words or steps.

    A GRU keeps its state where its update gate z is near 1, h' = (1 - z) n + z h, and reads past the old state where its reset gate is
    near 0. An LSTM keeps its cell where its forget gate f is near 1, c' = f c + i g. Padding has no part in any of it.

    Args:
        budget_seconds: not needed, it takes no time worth planning.
        rows: right rows, and wrong ones, that are asked, at most; the first of each are drawn.

    Source: Karpathy, Johnson and Fei-Fei (2015), "Visualizing and Understanding Recurrent Networks", which counts gates that are nearly
    always open or shut.
    """
    begin, model = time.monotonic(), subject.need("model")
    if finding := not_applicable(model, "gates", seed):
        return finding
    net = copy.deepcopy(model.module).eval()
    if not any(_has_gates(part) for part in net.modules()):
        title = (
            "not applicable: the network has no GRU and no LSTM; take the template recurrent with cell 'gru' or 'lstm'"
        )
        return Finding(probe="gates", family="explain", verdict="info", title=title, seed=seed)
    drawn = drawn_rows(subject, "gates", seed, right=rows, wrong=rows)
    found = opened(net, drawn.batch.x, lambda x: model.objective.predict(net, x))
    shares = {
        (k, gate, suffix): part.there(f"{gate}_{suffix}")
        for k, part in enumerate(found)
        for suffix in part.suffixes
        for gate in SHOWN[part.mode]
    }
    table = Table(
        title="How far gates are open",
        columns=("layer", "gate", "mean", "units mostly shut", "units mostly open", "units"),
        rows=tuple(
            (
                _layer_name(found, k, suffix),
                gate,
                float(values.mean()),
                int(((values < SHUT).mean(0) > 0.5).sum()),
                int(((values > OPEN).mean(0) > 0.5).sum()),
                values.shape[1],
            )
            for (k, gate, suffix), values in shares.items()
        ),
    )
    first = found[0]
    keeps = "update" if first.mode == "GRU" else "forget"
    keeping = float(first.there(f"{keeps}_{first.suffixes[0]}").mean())
    some = [next((i for i in range(len(drawn)) if drawn.wrong[i] == wrong), -1) for wrong in (False, True)]
    return Finding(
        probe="gates",
        family="explain",
        verdict="info",
        title=f"the {keeps} gates of the {first.mode} are {keeping:.2f} open on average, so that a unit keeps its memory for about "
        f"{1 / max(1 - keeping, 1e-6):.0f} step{'s' * (keeping >= 1 / 3)} ({len(drawn)} rows)",
        measured={
            "rows": len(drawn),
            **{
                f"mean {gate} {_layer_name(found[:1], 0, suffix)}": float(v.mean())
                for (k, gate, suffix), v in shares.items()
                if not k
            },
        },
        why="Gates say what a step does to the memory: where update or forget gates fall, the old is let go; where they stay near 1 it is "
        "kept. A unit that is mostly open or shut has a rule of its own, one that moves with the input decides step by step.",
        tables=(table,),
        figures=tuple(figure for i in some if i >= 0 for figure in _figures(found, drawn, model.spec, i)),
        seed=seed,
        seconds=time.monotonic() - begin,
    )


def _has_gates(part: nn.Module) -> bool:
    """Whether it is a layer whose gates can be computed again from what it was given."""
    return isinstance(part, nn.GRU | nn.LSTM) and not part.proj_size


@torch.no_grad()
def opened(net: nn.Module, x: Inputs, run: Callable[[Inputs], object]) -> list[Opened]:
    """The gates of each recurrent part of a network while it reads rows.

    Args:
        net: in evaluation mode. x: what `run` is called with, which calls the network.
    """
    fronts = {id(part.trunk): part.front for part in net.modules() if isinstance(part, SequenceVector)}
    bodies = [(name, part) for name, part in net.named_modules() if isinstance(part, Recurrent)]
    inner = {id(layer) for _, body in bodies for layer in body.modules()}
    alone = [(name, part) for name, part in net.named_modules() if _has_gates(part) and id(part) not in inner]
    seen: dict[str, tuple[Any, ...]] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen.setdefault(name, (*args, *kwargs.values()))

        return hook

    parts = [*bodies, *alone]
    handles = [part.register_forward_pre_hook(keep(name), with_kwargs=True) for name, part in parts]
    try:
        run(x)
    finally:
        for handle in handles:
            handle.remove()
    found = []
    for name, part in parts:
        mode = str(next((layer.mode for layer in part.modules() if _has_gates(layer)), ""))
        if name not in seen or not mode:
            continue
        vectors, lengths = _given(part, seen[name])
        shown = part.gates(vectors, lengths) if isinstance(part, Recurrent) else gates_of(part, vectors, lengths)
        values = {gate: value.numpy() for gate, value in shown.items()}
        n, steps = next(iter(values.values())).shape[:2]
        ends = np.full(n, steps) if lengths is None else lengths.numpy()
        front = next((f for trunk, f in fronts.items() if any(trunk == id(m) for m in _owners(net, name))), None)
        found.append(Opened(name, mode, values, ends, front))
    return found


def _owners(net: nn.Module, name: str) -> list[nn.Module]:
    """A part and whatever it is in."""
    parts = name.split(".")
    return [net.get_submodule(".".join(parts[:k])) for k in range(len(parts) + 1)]


def _given(part: nn.Module, args: tuple[Any, ...]) -> tuple[Tensor, Tensor | None]:
    """The vectors that a part was called with, and the lengths of its rows where they are known."""
    if isinstance(args[0], PackedSequence):
        return pad_packed_sequence(args[0], batch_first=bool(part.batch_first))
    lengths = args[1] if isinstance(part, Recurrent) and len(args) > 1 else None
    return args[0], lengths


def _layer_name(found: list[Opened], k: int, suffix: str) -> str:
    """A layer and direction in words, with the part of the network where there are several.

    >>> _layer_name([Opened("gru", "GRU", {}, np.ones(1), None)], 0, "l1_reverse")
    'layer 2 backwards'
    """
    layer, _, way = suffix.partition("_")
    where = f"{part_name(found[k].name)} " * (len(found) > 1)
    return where + f"layer {int(layer[1:]) + 1}" + " backwards" * bool(way)


def _figures(found: list[Opened], drawn: Drawn, spec: InputSpec, i: int) -> list[Figure]:
    """What the first recurrent part did with one row: the row itself where it is a series, and a figure for each layer and direction."""
    part = found[0]
    n = int(part.lengths[i])
    figures = _row_itself(part, drawn, i, n)
    words = words_read(part.front, drawn.batch.x, spec, i, n)
    n = n if words is None else min(n, MOST_WORDS)
    x: tuple[Cell, ...] = tuple(range(1, n + 1)) if words is None else tuple(words[:n])
    for suffix in part.suffixes[:MOST_LAYERS]:
        moving = part.gates[f"{SHOWN[part.mode][0]}_{suffix}"][i, :n].std(0)
        units = np.argsort(-moving, kind="stable")[:MOST_UNITS]
        names = ("all", *(f"unit {k + 1}" for k in units))
        maps = []
        for gate in SHOWN[part.mode]:
            values = part.gates[f"{gate}_{suffix}"][i, :n].astype(float)
            z = (tuple(values.mean(1).tolist()), *(tuple(values[:, k].tolist()) for k in units))
            maps.append(Series(name=f"{gate} gate", x=x, y=names, z=z))
        more = f" The first {n} of {part.lengths[i]} words." if n < part.lengths[i] else ""
        layer = _layer_name(found[:1], 0, suffix)
        apart = words is not None and n > MOST_LEVEL  # names that stand upright need room between the maps
        figures += [
            Figure(
                title=f"{f'{some[0].name.capitalize()}s' if apart else 'Gates'} of the {part.mode}, {layer}: {drawn.caption(i)}",
                kind="heatmap",
                series=tuple(some),
                x_label="step" if words is None else "word",
                caption=f"0 is shut, 1 open. The mean of all units, and the {len(units)} units whose {SHOWN[part.mode][0]} gates move most "
                f"in this row.{more}",
            )
            for some in ([[one] for one in maps] if apart else [maps])
        ]
    return figures


def _row_itself(part: Opened, drawn: Drawn, i: int, n: int) -> list[Figure]:
    """A series as it was given, in its own unit; nothing for other rows."""
    if not isinstance(part.front, SeriesFront):
        return []
    name = part.front.tensors[0]
    values = drawn.batch.x[name][i, :, :n].double().numpy()
    steps = tuple(range(1, n + 1))
    lines = tuple(
        Series(name=f"channel {c + 1}" if len(values) > 1 else name, x=steps, y=tuple(row.tolist()))
        for c, row in enumerate(values[:MOST_CHANNELS])
    )
    return [Figure(title=f"{name}: {drawn.caption(i)}", kind="line", series=lines, x_label="step", y_label="value")]


def words_read(front: nn.Module | None, x: Inputs, spec: InputSpec, i: int, n: int) -> list[str] | None:
    """The first `n` words or characters of a row, numbered, as the network reads them ("?" is unknown); None where it reads none."""
    if not isinstance(front, TokenFront):
        return None
    field = next(text for text in spec.texts if front.tensor in text.tensors)
    known = field.words if front.tensor == field.tensors[0] else field.chars
    ids = x[front.tensor][i, :n].tolist()
    return [f"{k} {known[token - FIRST_ID] if token >= FIRST_ID else '?'}" for k, token in enumerate(ids, 1)]
