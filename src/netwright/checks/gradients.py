"""Whether every parameter receives a gradient, and how gradients compare from layer to layer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from netwright.checks.fresh import affordable, dense_gradients, objective_of, quiet, sealed, some_rows, start_of
from netwright.core.finding import Cell, Figure, Finding, Series, Table, Verdict
from netwright.core.seed import generator
from netwright.core.spec import PAD, UNKNOWN
from netwright.data.batch import Batch
from netwright.model import Subject

MAX_ROWS = 200
"""Parameters that a table lists, at most; the dead ones come first."""
ELEMENTS = 200_000
"""Most pixels or tokens of a batch."""
_KERAS_STATE = ("moving_mean", "moving_variance", "seed_generator_state")
"""What Keras on torch keeps among the parameters although nothing is to learn it."""


@dataclass
class _Flow:
    """What one parameter received.

    Args:
        shape: of the tensor. frozen: it asks for no gradient.
        norm, rms: of the gradient in the first batch. weight_norm: of the parameter itself.
        largest: absolute entry over all batches. finite: whether all entries were.
        reserved: only rows with missing or unknown cells reach it.
        rows_reached: of an embedding, how many of its rows ever got a gradient; None for other tensors.
    """

    shape: tuple[int, ...]
    weight_norm: float
    frozen: bool = False
    norm: float = 0.0
    rms: float = 0.0
    largest: float = 0.0
    finite: bool = True
    reserved: bool = False
    rows_reached: Tensor | None = None

    @property
    def dead(self) -> bool:
        return not self.frozen and self.finite and self.largest == 0.0

    @property
    def status(self) -> str:
        if self.frozen:
            return "frozen"
        if not self.finite:
            return "not finite"
        if self.dead:
            return "no gradient"
        return "learns from missing or unknown cells" if self.reserved else "learns"


@dataclass
class _Units:
    """Counts the units of rectifiers that are 0 on all rows."""

    alive: dict[str, Tensor] = field(default_factory=dict)

    def watch(self, net: nn.Module) -> None:
        for name, layer in net.named_modules():
            if isinstance(layer, nn.ReLU):
                layer.register_forward_hook(self._hook(name))

    def _hook(self, name: str):  # type: ignore[no-untyped-def]
        def hook(layer: nn.Module, given: object, outputs: Tensor) -> None:
            alive = (outputs.detach() > 0).flatten(1).any(0)
            seen = self.alive.get(name)
            self.alive[name] = alive if seen is None or seen.shape != alive.shape else seen | alive

        return hook

    @property
    def dead_share(self) -> float | None:
        total = sum(a.numel() for a in self.alive.values())
        return sum(int((~a).sum()) for a in self.alive.values()) / total if total else None


def gradients_flow(
    subject: Subject,
    *,
    budget_seconds: float = 10.0,
    seed: int = 0,
    batches: int = 4,
    rows: int = 256,
    largest_ratio: float = 1e4,
) -> Finding:
    """Whether each parameter of a fresh network receives a finite gradient that is not zero.

    Between the batches the parameters move by a small step along the gradient's sign, so that layers that start at zero on
    purpose do not cut off those below them. Parameters that plain rows do not reach get a second chance on rows with missing
    and unknown cells, for which they may be kept.

    Args:
        subject: recipe or model, and data.
        budget_seconds: not needed, it is a few passes.
        seed: of the network and of the rows.
        batches, rows: how many, and of which size; smaller ones of images and texts.
        largest_ratio: of the root mean square gradients of two weight matrices, above which there is a warning.

    Source: Glorot and Bengio (2010), "Understanding the difficulty of training deep feedforward neural networks".
    """
    with sealed(seed, "gradients-flow"):
        start = start_of(subject, seed)
        net, units = quiet(start.net), _Units()
        units.watch(net)
        flows = {
            name: _Flow(tuple(p.shape), p.detach().double().norm().item(), frozen=not p.requires_grad)
            for name, p in net.named_parameters()
            if p.requires_grad or not name.endswith(_KERAS_STATE)
        }
        for layer_name, layer in net.named_modules():
            if isinstance(layer, nn.Embedding) and (name := f"{layer_name}.weight".lstrip(".")) in flows:
                flows[name].rows_reached = torch.zeros(layer.num_embeddings, dtype=torch.bool)
        rows = affordable(subject, rows, elements=ELEMENTS)
        pool = some_rows(subject, batches * rows, seed, "gradients-flow")
        for first in range(0, len(pool), rows):
            _backward(subject, net, _pick(pool, slice(first, first + rows)))
            _record(net, flows, first=first == 0)
            _step(net)
        silent = [name for name, flow in flows.items() if flow.dead]
        if silent and (holes := _with_holes(subject, pool, seed)) is not None:
            _backward(subject, net, holes)
            _second_chance(net, flows, silent)
    return _finding(flows, units.dead_share, start.note, largest_ratio, len(pool), seed)


def _pick(pool: Batch, index: slice) -> Batch:
    y, weight = pool.y, pool.weight
    return Batch(
        {k: v[index] for k, v in pool.x.items()},
        None if y is None else y[index],
        None if weight is None else weight[index],
    )


def _backward(subject: Subject, net: nn.Module, batch: Batch) -> None:
    """Fill in the gradients of the mean loss of a batch."""
    net.zero_grad(set_to_none=True)
    prices = objective_of(subject).step(net, batch, torch.Generator().manual_seed(0))
    total = torch.stack([v.mean() for v in prices.values()]).sum()
    if total.requires_grad:
        total.backward()  # type: ignore[no-untyped-call]
        dense_gradients(net)


def _record(net: nn.Module, flows: dict[str, _Flow], *, first: bool) -> None:
    for name, p in net.named_parameters():
        if p.grad is None or name not in flows:
            continue
        flow, gradient = flows[name], p.grad.double()
        flow.finite &= bool(gradient.isfinite().all())
        flow.largest = max(flow.largest, gradient.abs().max().item() if gradient.numel() else 0.0)
        if first:
            flow.norm = gradient.norm().item()
            flow.rms = flow.norm / math.sqrt(max(gradient.numel(), 1))
        if flow.rows_reached is not None:
            flow.rows_reached |= (gradient != 0).any(1)


def _second_chance(net: nn.Module, flows: dict[str, _Flow], silent: list[str]) -> None:
    for name, p in net.named_parameters():
        if name in silent and p.grad is not None and p.grad.isfinite().all() and p.grad.abs().max() > 0:
            flows[name].reserved, flows[name].largest = True, p.grad.abs().max().item()


@torch.no_grad()
def _step(net: nn.Module, size: float = 1e-3) -> None:
    for p in net.parameters():
        if p.grad is not None and p.grad.isfinite().all():
            p.sub_(size * p.grad.sign())


def _with_holes(subject: Subject, pool: Batch, seed: int) -> Batch | None:
    """The same rows with a tenth of the numbers missing, and a tenth of the categories and of the tokens unknown; None where
    there are none of these."""
    spec = subject.model.spec if subject.model else subject.need("data").spec
    rng, x = generator(seed, "holes"), dict(pool.x)
    holed = [f for f in spec.wholes if f.kind in ("set", "tree")]
    if not spec.numbers and not spec.categories and not spec.texts and not holed:
        return None
    if spec.numbers:
        x["numbers"] = torch.where(torch.rand(x["numbers"].shape, generator=rng) < 0.1, torch.nan, x["numbers"])
    if spec.categories:
        x["codes"] = torch.where(torch.rand(x["codes"].shape, generator=rng) < 0.1, 0, x["codes"])
    for name in (tensor for text in spec.texts for tensor in text.tensors if tensor in x):
        lost = (torch.rand(x[name].shape, generator=rng) < 0.1) & (x[name] != PAD)
        x[name] = torch.where(lost, UNKNOWN, x[name])
    for name in (tensor for f in holed for tensor in f.tensors if not tensor.endswith((":length", ":parents"))):
        lost = torch.rand(x[name].shape, generator=rng) < 0.1
        if name.endswith(":labels"):
            x[name] = torch.where(lost & (x[name] != PAD), UNKNOWN, x[name])
        else:
            x[name] = torch.where(lost, torch.nan if x[name].is_floating_point() else 0, x[name])
    return Batch(x, pool.y, pool.weight)


def _finding(
    flows: dict[str, _Flow], dead_units: float | None, note: str, largest_ratio: float, rows: int, seed: int
) -> Finding:
    dead = [n for n, f in flows.items() if f.dead]
    broken = [n for n, f in flows.items() if not f.finite]
    frozen = [n for n, f in flows.items() if f.frozen]
    matrices = [
        f.rms for f in flows.values() if len(f.shape) >= 2 and f.rows_reached is None and f.rms > 0 and f.finite
    ]
    ratio = max(matrices) / min(matrices) if len(matrices) > 1 else 1.0
    verdict, title, todo = _judge(flows, dead, broken, frozen, ratio, largest_ratio, dead_units)
    measured: dict[str, Cell] = {
        "parameters": len(flows),
        "without_gradient": len(dead),
        "not_finite": len(broken),
        "frozen": len(frozen),
        "gradient_ratio": ratio,
    }
    if dead_units is not None:
        measured["dead_relu_share"] = dead_units
    embeddings = [f.rows_reached for f in flows.values() if f.rows_reached is not None]
    if embeddings:
        measured["embedding_rows"] = sum(r.numel() for r in embeddings)
        measured["embedding_rows_reached"] = sum(int(r.sum()) for r in embeddings)
    return Finding(
        probe="gradients-flow",
        family="checks",
        verdict=verdict,
        title=title,
        measured=measured,
        expected="a finite gradient that is not zero for each parameter, and root mean square gradients of weight matrices "
        f"within a factor of {largest_ratio:,.0f}" + (f"; {note}" if note else ""),
        why="A parameter without a gradient stays as it is drawn: a detached tensor, a layer that is never called, or one cut off "
        "by dead units. Gradients that differ by orders of magnitude make some layers stand still while others jump.",
        todo=todo,
        tables=(_table(flows, rows),) if flows else (),
        figures=(_figure(flows),) if flows else (),
        reference="Glorot and Bengio (2010)",
        seed=seed,
    )


def _judge(
    flows: dict[str, _Flow],
    dead: list[str],
    broken: list[str],
    frozen: list[str],
    ratio: float,
    largest_ratio: float,
    dead_units: float | None,
) -> tuple[Verdict, str, str]:
    if not flows:
        return "info", "the network has no parameters", ""
    if broken:
        todo = (
            "Look for a division by zero, a logarithm or root of zero, or infinite inputs in front of these parameters."
        )
        return "fail", f"{_names(broken)}: the gradient is not finite", todo
    if len(frozen) == len(flows):
        return "fail", "all parameters are frozen: nothing can learn", "Set requires_grad_(True) on what is to learn."
    if dead:
        todo = "See whether the layer is called, whether something is detached (detach, no_grad, argmax, round, .data) on the way, "
        todo += "and whether its units are all dead."
        return "fail", f"{_names(dead)} {'receives' if len(dead) == 1 else 'receive'} no gradient", todo
    if ratio > largest_ratio:
        todo = "Add residual connections or normalisation, or choose an initialisation that suits the activation."
        return "warn", f"gradients differ by a factor of {ratio:.2g} between weight matrices", todo
    if dead_units is not None and dead_units > 0.5:
        todo = "Lower the learning rate or the first weights, standardise the inputs, or use a leaky rectifier."
        return "warn", f"{dead_units:.0%} of the rectified units are 0 on all rows", todo
    if frozen:
        todo = "If that is not meant, set requires_grad_(True) on them."
        return (
            "warn",
            f"{_names(frozen)} {'is' if len(frozen) == 1 else 'are'} frozen; all others receive a gradient",
            todo,
        )
    return (
        "pass",
        f"all {len(flows)} parameters receive a gradient, the weight matrices within a factor of {ratio:.3g}",
        "",
    )


def _names(names: list[str], shown: int = 4) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def _table(flows: dict[str, _Flow], rows: int) -> Table:
    order = {"not finite": 0, "no gradient": 1, "frozen": 2}
    listed = sorted(flows.items(), key=lambda item: order.get(item[1].status, 3))[:MAX_ROWS]
    cells: list[tuple[Cell, ...]] = []
    for name, flow in listed:
        reached = flow.rows_reached
        cells.append(
            (
                name,
                " x ".join(map(str, flow.shape)),
                flow.norm,
                flow.rms,
                flow.norm / flow.weight_norm if flow.weight_norm > 0 else None,
                flow.status + (f" ({int(reached.sum())} of {reached.numel()} rows)" if reached is not None else ""),
            )
        )
    columns = ("parameter", "shape", "gradient norm", "root mean square gradient", "gradient / weight", "status")
    return Table(title=f"Gradients of the first batch; status over {rows:,} rows", columns=columns, rows=tuple(cells))


def _figure(flows: dict[str, _Flow]) -> Figure:
    shown = [(n, f) for n, f in flows.items() if f.finite and f.rms > 0][:40]
    return Figure(
        title="Gradients by parameter",
        kind="bar",
        series=(Series(name="root mean square", x=tuple(n for n, _ in shown), y=tuple(f.rms for _, f in shown)),),
        x_label="parameter",
        y_label="root mean square gradient",
        log_y=True,
        caption="From the inputs (top) to the outputs, on one batch of a network that has not been trained.",
    )
