"""One forward pass, written down: which modules were called in which order, what they gave, whose outputs they took, and what it
cost."""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

INPUT = "(input)"
"""Stands for what comes in, where a source is named by its path."""


def _attention(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> int:
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))  # type: ignore[no-untyped-call]


COUNTS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,  # the one that torch's list leaves out
}
"""Operation of torch -> function that counts its floating-point operations, two a multiply-add."""


@dataclass
class Call:
    """One call of one module.

    Args:
        path: of the module in the whole, such as "body.head". module: itself.
        depth: how many calls it is inside. inside: how many calls are inside it.
        taken, given: its input and output tensors, as they were.
        origins, results: the nodes of autograd's graph behind them.
        multiply_adds: of matrix products and convolutions inside.
        name: of what is shown of it: the path, and the number of the call where a module is called a few times.
    """

    path: str
    module: nn.Module
    depth: int
    inside: int = 0
    taken: list[Tensor] = field(default_factory=list)
    given: list[Tensor] = field(default_factory=list)
    origins: list[Any] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)
    multiply_adds: int = 0
    name: str = ""


@dataclass(frozen=True)
class Pass:
    """All calls of a forward pass in order of their beginnings, its inputs with the nodes behind them, and its outputs."""

    calls: list[Call]
    inputs: list[Tensor]
    begin: list[Any]
    outputs: list[Tensor]


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


class _Record(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Listens to the modules for their calls, and to torch for its products."""

    def __init__(self, module: nn.Module, *, follow: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.paths = {id(part): path for path, part in module.named_modules()}
        self.own = {id(t) for t in (*module.parameters(), *module.buffers())}
        self.follow = follow
        self.calls: list[Call] = []
        self.stack: list[Call] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not wrapped for torch's compiler, whose import takes seconds; older versions do not ask."""
        return False

    def node(self, tensor: Tensor) -> Any:
        """The node of autograd's graph that made a tensor; what has none (it came of whole numbers) becomes a beginning."""
        fresh = self.follow and tensor.is_floating_point() and not tensor.is_inference() and id(tensor) not in self.own
        if fresh and not tensor.requires_grad:
            tensor.requires_grad_(True)
        return get_gradient_edge(tensor).node if tensor.requires_grad else None

    def enter(self, part: nn.Module, args: Any, kwargs: Any) -> None:
        """A module is about to be called."""
        call = Call(self.paths[id(part)], part, len(self.stack), taken=_tensors((args, kwargs)))
        call.origins = [self.node(t) for t in call.taken]
        for outer in self.stack:
            outer.inside += 1
        self.stack.append(call)
        self.calls.append(call)

    def leave(self, part: nn.Module, args: Any, output: Any) -> None:
        """A module was called."""
        call = self.stack.pop()
        call.given = _tensors(output)
        call.results = [self.node(t) for t in call.given]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if count := COUNTS.get(func._overloadpacket):
            flops = count(*args, **(kwargs or {}), out_val=out)
            for call in self.stack:
                call.multiply_adds += int(flops) // 2
        return out


def pass_of(module: nn.Module, inputs: tuple[Any, ...]) -> Pass:
    """One forward pass of a module as it is, in evaluation mode, with copies of the inputs.

    Autograd follows where tensors go; where a module forbids that (it writes into a tensor of its own), calls alone are known.
    """
    try:
        return _pass(module, inputs, follow=True)
    except RuntimeError:
        return _pass(module, inputs, follow=False)


def _pass(module: nn.Module, inputs: tuple[Any, ...], *, follow: bool) -> Pass:
    record = _Record(module, follow=follow)
    copies = tree_map(lambda v: v.clone() if isinstance(v, Tensor) else v, inputs)
    taken = _tensors(copies)
    with _evaluated(module), _hooked(module, record), torch.set_grad_enabled(follow), _taken_apart(), record:
        begin = [record.node(t) for t in taken]
        outputs = _tensors(module(*copies))
    return Pass(record.calls, taken, begin, outputs)


@contextlib.contextmanager
def _taken_apart() -> Iterator[None]:
    """Recurrent layers as products, which can be counted, and not as one operation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of processors that are not there
        with torch.backends.mkldnn.flags(enabled=False):
            yield


@contextlib.contextmanager
def _evaluated(module: nn.Module) -> Iterator[None]:
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


@contextlib.contextmanager
def _hooked(module: nn.Module, record: _Record) -> Iterator[None]:
    handles = []
    for part in module.modules():
        handles.append(part.register_forward_pre_hook(record.enter, with_kwargs=True))
        handles.append(part.register_forward_hook(record.leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def rows_of(calls: list[Call], most: int) -> list[Call]:
    """The calls to show, with names: as deep inside as `most` allows, each call with nothing shown inside it.

    A module that is called up to `FEW` times (one activation for all layers) is shown each time; one that is called more often (a
    cell at every step) once.
    """
    inner = [c for c in calls if not c.inside]
    deepest = max((c.depth for c in inner), default=0)
    shown = calls[:1]
    for depth in range(deepest, 0, -1):
        shown = _named([c for c in calls if c.depth == depth or (c.depth < depth and not c.inside)])
        if len({c.name for c in shown}) <= most:
            break
    return _named(shown)


FEW = 8


def _named(rows: list[Call]) -> list[Call]:
    seen: dict[str, int] = {}
    times = Counter(call.path for call in rows)
    for call in rows:
        seen[call.path] = k = seen.get(call.path, 0) + 1
        call.name = f"{call.path} ({k})" if k > 1 and times[call.path] <= FEW else call.path
    return rows


def sources_of(done: Pass, rows: list[Call]) -> list[set[str]]:
    """For each row, and last for the outputs, the names of the rows whose outputs came in, `INPUT` for the inputs.

    What autograd cannot follow (ids, steps) is taken to come from the row before.
    """
    by_tensor = {id(t): INPUT for t in done.inputs}
    by_node = {id(node): INPUT for node in done.begin if node is not None}
    found, before = [], INPUT
    for call in rows:
        found.append(_came_from(call.taken, call.origins, by_tensor, by_node) or {before})
        by_tensor |= {id(t): call.name for t in call.given}
        by_node |= {id(node): call.name for node in call.results if node is not None}
        before = call.name
    ends = [get_gradient_edge(t).node if t.requires_grad else None for t in done.outputs]
    return [*found, _came_from(done.outputs, ends, by_tensor, by_node) or {before}]


def _came_from(tensors: list[Tensor], nodes: list[Any], by_tensor: dict[int, str], by_node: dict[int, str]) -> set[str]:
    """Names of the nearest rows upstream."""
    found: set[str] = set()
    for tensor, node in zip(tensors, nodes, strict=True):
        if id(tensor) in by_tensor:
            found.add(by_tensor[id(tensor)])
            continue
        waiting, seen = [node], {}
        while waiting:
            node = waiting.pop()
            if node is None or id(node) in seen:
                continue
            seen[id(node)] = node  # kept, or another could get its id
            if id(node) in by_node:
                found.add(by_node[id(node)])
            else:
                waiting += [step for step, _ in node.next_functions]
    return found
