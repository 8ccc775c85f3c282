"""A computation as the list of torch's operations that it comes down to, forwards and backwards: without the layers of Python and of
automatic differentiation around them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx


def traced(function: Callable[..., Tensor], *arguments: Tensor) -> Callable[..., Tensor]:
    """The function as two graphs of operations, forwards and backwards, for arguments of these shapes; itself where it cannot be
    traced. Gradients are those with respect to the arguments that require one.

    >>> weight = torch.ones(3, requires_grad=True)
    >>> twice = traced(lambda w, x: w * x * 2, weight, torch.ones(3))
    >>> twice(weight, torch.arange(3.0)).sum().backward()
    >>> weight.grad.tolist()
    [0.0, 2.0, 4.0]
    """
    from torch.fx.experimental.proxy_tensor import (
        make_fx,
    )  # takes a second to import: only what is stacked waits for it

    learned = [k for k, t in enumerate(arguments) if t.requires_grad]

    def both(tangent: Tensor, *given: Tensor) -> list[Tensor | None]:
        leaves = [t.requires_grad_() if k in learned else t for k, t in enumerate(given)]
        with torch.enable_grad():
            outputs = function(*leaves)
        wanted = [leaves[k] for k in learned]
        return [outputs, *torch.autograd.grad(outputs, wanted, tangent, allow_unused=True)]

    try:
        with warnings.catch_warnings(action="ignore"):
            tangent = torch.ones_like(function(*_copies(arguments)))
            graph = make_fx(both)(tangent, *_copies(arguments))
    except Exception:  # whatever tracing stumbles over, the function itself can do or will say
        return function
    _clean(graph)
    pair = _parted(graph, learned)

    def run(*given: Tensor) -> Tensor:
        outputs: Tensor = _Both.apply(pair, *given)  # type: ignore[no-untyped-call]
        return outputs

    return run


def _copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors that a function may write into, such as running statistics."""
    return [t.detach().clone() for t in tensors]


@dataclass(frozen=True)
class _Pair:
    """The two graphs.

    Args:
        forward: arguments -> outputs, and what the other graph needs of them.
        backward: gradient of the outputs, and that -> gradients of the arguments number `learned`.
    """

    forward: Callable[..., list[Any]]
    backward: Callable[..., list[Any]]
    learned: tuple[int, ...]


class _Both(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pair: _Pair, *given: Tensor) -> Tensor:
        outputs: Tensor
        outputs, *ctx.kept = pair.forward(*given)
        ctx.pair, ctx.n = pair, len(given)
        return outputs

    @staticmethod
    def backward(ctx: Any, tangent: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.pair.backward(tangent, *ctx.kept)
        found = dict(zip(ctx.pair.learned, gradients, strict=True))
        return (None, *(found.get(k) for k in range(ctx.n)))


def _parted(module: fx.GraphModule, learned: Sequence[int]) -> _Pair:
    """Cut a graph (gradient, arguments) -> (outputs, gradients) into what does not wait for the gradient, and the rest."""
    nodes = list(module.graph.nodes)
    tangent, *given = [n for n in nodes if n.op == "placeholder"]
    (outputs, *gradients) = nodes[-1].args[0]
    late = {tangent}
    for node in nodes[:-1]:
        if any(n in late for n in node.all_input_nodes):
            late.add(node)
    early = [n for n in nodes[:-1] if n not in late]
    needed = {n for node in late for n in node.all_input_nodes} | {g for g in gradients if g is not None}
    kept = [n for n in early if n in needed]
    forward = _graph(module, given, early, [outputs, *kept])
    backward = _graph(module, [tangent, *kept], [n for n in nodes[:-1] if n in late], gradients)
    # a call of the modules themselves would ask for hooks each time
    return _Pair(forward.forward, backward.forward, tuple(learned))


def _graph(
    module: fx.GraphModule, given: Sequence[fx.Node], nodes: Sequence[fx.Node], wanted: Sequence[fx.Node | None]
) -> fx.GraphModule:
    """The part of a graph that computes `wanted` from `given` by `nodes`."""
    graph, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    for node in given:
        copies[node] = graph.placeholder(node.name)
    for node in nodes:
        if node not in copies and node.op != "placeholder":
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output([None if node is None else copies[node] for node in wanted])
    return fx.GraphModule(module, graph)


# --- leaving out what is not needed -------------------------------------------------------------------------------------

aten = torch.ops.aten


def _clean(module: fx.GraphModule) -> None:
    """Leave out what changes nothing: reshapes to the same shape, products with 1, detached copies. Views become reshapes, as
    tensors may lie differently in memory later on. A product that is turned afterwards becomes a product of turned factors, so
    that a gradient lies in memory like its weight."""
    for node in list(module.graph.nodes):
        if node.op != "call_function" or not node.args or not isinstance(node.args[0], fx.Node):
            continue
        source, value = node.args[0], node.meta.get("val")
        before = source.meta.get("val")
        same = isinstance(value, Tensor) and isinstance(before, Tensor) and value.shape == before.shape
        if node.target == aten.detach.default or (node.target == aten.mul.Scalar and node.args[1] == 1):
            node.replace_all_uses_with(source)
        elif node.target in (aten.expand.default, aten.view.default, aten._unsafe_view.default):
            if same:
                node.replace_all_uses_with(source)
            elif node.target != aten.expand.default:
                node.target = aten.reshape.default
    _drop_unused(module.graph)
    for node in list(module.graph.nodes):
        if _turns(node) and node.args[0].target == aten.bmm.default and len(node.args[0].users) == 1:
            _turn_factors(module.graph, node, node.args[0])
    for node in list(module.graph.nodes):
        if _turns(node) and _turns(node.args[0]):
            node.replace_all_uses_with(node.args[0].args[0])
        elif node.target == aten.add.Tensor and _is_product(node.args[1]) and not node.kwargs:
            shift, product = node.args
            with module.graph.inserting_before(node):
                joined = module.graph.call_function(aten.baddbmm.default, (shift, *product.args))
            joined.meta["val"] = node.meta["val"]
            if joined.meta["val"].shape == product.meta["val"].shape:
                node.replace_all_uses_with(joined)
    _drop_unused(module.graph)
    module.recompile()


def _is_product(node: Any) -> bool:
    return isinstance(node, fx.Node) and node.target == aten.bmm.default and len(node.users) == 1


def _turns(node: Any) -> bool:
    """Whether a node exchanges the last two of three axes."""
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    if not isinstance(value, Tensor) or value.dim() != 3:
        return False
    axes = node.args[1:]
    if node.target == aten.transpose.int:
        return sorted(a % 3 for a in axes) == [1, 2]
    return bool(node.target == aten.permute.default and [a % 3 for a in axes[0]] == [0, 2, 1])


def _turn_factors(graph: fx.Graph, turn: fx.Node, product: fx.Node) -> None:
    """(A B)^T = B^T A^T."""
    with graph.inserting_before(product):
        factors = []
        for factor in reversed(product.args):
            assert isinstance(factor, fx.Node)
            turned = graph.call_function(aten.transpose.int, (factor, 1, 2))
            turned.meta["val"] = factor.meta["val"].transpose(1, 2)
            factors.append(turned)
        straight = graph.call_function(aten.bmm.default, tuple(factors))
        straight.meta["val"] = turn.meta["val"]
    turn.replace_all_uses_with(straight)


def _drop_unused(graph: fx.Graph) -> None:
    """Take out what nobody looks at, but nothing that writes into its arguments."""
    for node in reversed(list(graph.nodes)):
        schema = getattr(node.target, "_schema", None)
        if node.op == "call_function" and not node.users and not (schema and schema.is_mutable):
            graph.erase_node(node)
