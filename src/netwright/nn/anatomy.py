"""What a network is made of: its modules in order and where their inputs come from, shapes, parameters, cost."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from netwright.core.finding import Figure, Finding, Link, Node, Table
from netwright.nn.calls import INPUT, Call, Pass, pass_of, rows_of, sources_of
from netwright.report.text import number

MOST = 40
"""Parts that a diagram shows; of deeper networks it shows blocks."""
TIMED_WORK = 1 << 31
"""Multiply-adds of a batch that is timed, at most; with at most `TIMED_ROWS` rows."""
TIMED_ROWS = 64
TIMED_SECONDS = 0.4


def anatomy(module: nn.Module, *inputs: Any, name: str = "network") -> Finding:
    """A network looked at from inside: one forward pass, in evaluation mode, tells shapes, connections and cost.

    Multiply-adds are those of matrix products and convolutions; what else there is (norms, activations, sums) is not counted.
    Microseconds a row are measured here and now, with torch's number of threads.

    Args:
        module: any. inputs: what it is called with, rows first; also mappings of tensors.
        name: what to call it.

    Returns:
        A finding with `parameters`, `multiply_adds_per_row` and `microseconds_per_row`, a table of the layers, and a diagram of
        them in order of their calls. An arrow means that what one part gave went, perhaps through functions, into the other.

    >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> found = anatomy(net, torch.zeros(5, 3))
    >>> found.measured["parameters"], found.measured["multiply_adds_per_row"]
    (26, 20)
    """
    done = pass_of(module, inputs)
    rows = rows_of(done.calls, MOST)
    n = max(1, len(done.inputs[0]) if done.inputs and done.inputs[0].dim() else 1)
    parameters = sum(p.numel() for p in module.parameters())
    work = done.calls[0].multiply_adds / n
    micro, timed = microseconds(module, inputs, n, work)
    measured: dict[str, int | float] = {
        "parameters": parameters,
        "trained_parameters": sum(p.numel() for p in module.parameters() if p.requires_grad),
        "multiply_adds_per_row": round(work),
        "microseconds_per_row": float(f"{micro:.3g}"),
        "timed_batch": timed,
        "threads": torch.get_num_threads(),
    }
    return Finding(
        probe=name,
        family="nn",
        verdict="info",
        title=f"{name}: {_figures(measured)}",
        measured=dict(measured),
        tables=(_table(rows, parameters, n, work),),
        figures=(_diagram(done, rows, name),),
    )


def _figures(measured: Mapping[str, int | float]) -> str:
    parameters, adds, micro = (
        number(measured[k]) for k in ("parameters", "multiply_adds_per_row", "microseconds_per_row")
    )
    return f"{parameters} parameters, {adds} multiply-adds and {micro} microseconds a row"


def microseconds(module: nn.Module, inputs: tuple[Any, ...], n: int, work: float) -> tuple[float, int]:
    """Time of a forward pass a row, and the rows of the batch that was timed: the inputs, repeated where they are few."""
    repeats = max(1, min(TIMED_ROWS, int(TIMED_WORK / max(work, 1.0))) // n)
    batch = tree_map(lambda v: _repeated(v, repeats, n), inputs)
    training = module.training
    module.eval()
    times: list[float] = []
    try:
        with torch.no_grad():
            module(*batch)
            began = time.perf_counter()
            while len(times) < 3 or (time.perf_counter() - began < TIMED_SECONDS and len(times) < 200):
                start = time.perf_counter()
                module(*batch)
                times.append(time.perf_counter() - start)
    finally:
        module.train(training)
    return 1e6 * sorted(times)[len(times) // 2] / (n * repeats), n * repeats


def _repeated(value: Any, repeats: int, n: int) -> Any:
    if not isinstance(value, Tensor) or not value.dim() or len(value) != n:
        return value
    return value.repeat(repeats, *[1] * (value.dim() - 1))


def _shape(tensors: list[Tensor], n: int) -> str:
    """Sizes of a row."""
    shapes = [tuple(t.shape[1:] if t.dim() and t.shape[0] == n else t.shape) for t in tensors]
    return ", ".join(" × ".join(map(str, shape)) or "1" for shape in shapes[:3]) + ", …" * (len(shapes) > 3)


def _merged(rows: list[Call]) -> dict[str, list[Call]]:
    """The calls of each part, in the order of the first ones."""
    found: dict[str, list[Call]] = defaultdict(list)
    for call in rows:
        found[call.name].append(call)
    return found


def _table(rows: list[Call], parameters: int, n: int, work: float) -> Table:
    """A row a part; what belongs to none of them in the last row."""
    cells: list[tuple[str | int, ...]] = []
    known = 0
    seen: set[int] = set()
    for path, calls in _merged(rows).items():
        own = {id(p): p.numel() for p in calls[0].module.parameters() if id(p) not in seen}
        seen |= own.keys()
        adds = sum(c.multiply_adds for c in calls)
        known += adds
        kind = type(calls[0].module).__name__ + (f" ({len(calls)} calls)" if len(calls) > 1 else "")
        cells.append((path or "(whole)", _shape(calls[0].given, n), sum(own.values()), round(adds / n), kind))
    rest = parameters - sum(int(row[2]) for row in cells), round(work - known / n)
    if any(rest):
        cells.append(("(between them)", "", *rest, ""))
    columns = ("layer", "shape", "parameters", "mult-adds", "kind")
    return Table(title="Layers, with what they give and cost for one row", columns=columns, rows=tuple(cells))


def _diagram(done: Pass, rows: list[Call], name: str) -> Figure:
    n = len(done.inputs[0]) if done.inputs and done.inputs[0].dim() else 1
    levels, links = {INPUT: 0}, dict[tuple[str, str], None]()
    *came, ends = sources_of(done, rows)
    for call, sources in zip(rows, came, strict=True):
        known = [s for s in sources if s in levels and s != call.name]
        levels.setdefault(call.name, 1 + max((levels[s] for s in known), default=0))
        links |= {(s, call.name): None for s in sorted(known, key=lambda s: levels[s])}
    parts = _merged(rows)
    nodes = [Node(id="in", label="input", note=_shape(done.inputs, n))]
    for path, calls in parts.items():
        kind = type(calls[0].module).__name__
        note = f"{kind} → {_shape(calls[0].given, n)}"
        nodes.append(Node(id=f"part {path}", label=path or name, note=note, level=levels[path]))
    last = 1 + max(levels[path] for path in (ends or parts))
    nodes.append(Node(id="out", label="output", note=_shape(done.outputs, n), level=last))
    ids = {INPUT: "in"} | {path: f"part {path}" for path in parts}
    arrows = [Link(source=ids[s], target=ids[t]) for s, t in links]
    arrows += [Link(source=ids[s], target="out") for s in sorted(ends, key=lambda s: levels[s])]
    return Figure(
        title=f"{name}, from input to output",
        kind="diagram",
        nodes=tuple(nodes),
        links=tuple(arrows),
        caption="Under each part its kind and the sizes of what it gives for one row.",
    )
