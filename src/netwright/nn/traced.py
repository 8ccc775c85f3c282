"""A module, or a function of tensors -> its graph: every call of a torch function becomes a node, with the Jacobian of each argument."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

from netwright.core.errors import UsageError
from netwright.nn.computation import Builder, Graph, Node

MOST_NODES, MOST_ENTRIES = 200, 1 << 20
"""Largest graph; most entries of one Jacobian."""
SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "truediv": "/", "pow": "**", "matmul": "@"}
"""Functions of two arguments that are written as a sign; with an r before the name the second comes first."""


class _Tracer(TorchFunctionMode):
    """While it is on, calls with tensors that come from inputs or parameters are recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.builder = Builder(MOST_NODES)
        self.names: dict[int, str] = {}
        self.alive: list[Tensor] = []  # a number of id() is not given twice while they are

    def leaf(self, wanted: str, tensor: Tensor) -> None:
        """A tensor that derivatives are taken with respect to."""
        self._put(tensor, self.builder.add(Node(self.builder.free(wanted), "", _array(tensor))))

    def _put(self, tensor: Tensor, name: str) -> None:
        self.alive.append(tensor)
        self.names[id(tensor)] = name

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, Tensor)]
        for t in tensors:  # a parameter that the function brings along
            if id(t) not in self.names and t.is_leaf and t.requires_grad:
                self.leaf("w", t)
        tracked = list({id(t): t for t in tensors if id(t) in self.names}.values())
        if not tracked or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        leaves = {id(t): t.detach().clone().requires_grad_() for t in tracked}
        copies = {number: leaf.clone() for number, leaf in leaves.items()}  # so that it may be changed in place
        swapped = tree_map(lambda t: copies.get(id(t), t) if isinstance(t, Tensor) else t, (args, kwargs))
        out = func(*swapped[0], **swapped[1])
        operation = self._words(func, args, kwargs)
        partials = [(self.names[number], leaf) for number, leaf in leaves.items()]
        result = tree_map(lambda t: self._record(t, operation, partials) if isinstance(t, Tensor) else t, out)
        changed = args[0] if _in_place(func) and args and isinstance(args[0], Tensor) else None
        if changed is not None and isinstance(result, Tensor) and id(changed) in self.names:
            changed.data.copy_(result)
            self._put(changed, self.names[id(result)])
            return changed
        return result

    def _record(self, out: Tensor, operation: str, arguments: Sequence[tuple[str, Tensor]]) -> Tensor:
        """One output as a node, and what is handed on in its place."""
        if not out.requires_grad:
            return out
        partials = [(name, _array(_jacobian(out, leaf, operation))) for name, leaf in arguments]
        value = out.detach()
        name = self.builder.free(f"n{1 + sum(bool(node.operation) for node in self.builder.nodes.values())}")
        self._put(value, self.builder.add(Node(name, operation, _array(value)), partials))
        return value

    def _words(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        name = getattr(func, "__name__", "call")
        name = getattr(getattr(func, "__self__", None), "__name__", name) if name == "__get__" else name
        name = name.strip("_")
        said = [self._word(a) for a in args]
        sign = SIGNS.get(name) or (SIGNS.get(name[1:]) if name[0] in "ir" else None)
        if sign and len(said) == 2 and not kwargs:
            return f" {sign} ".join(said[::-1] if name[0] == "r" else said)
        said += [f"{k}={self._word(v)}" for k, v in kwargs.items() if isinstance(v, Tensor) or k in ("dim", "p")]
        return f"{name}({', '.join(w for w in said if w)})"

    def _word(self, argument: Any) -> str:
        if isinstance(argument, Tensor):
            if id(argument) in self.names:
                return self.names[id(argument)]
            return f"{argument.item():g}" if argument.numel() == 1 else "constant"
        if isinstance(argument, int | float):
            return f"{argument:g}"
        if isinstance(argument, tuple | list):
            return f"({', '.join(w for w in map(self._word, argument) if w)})"
        return ""


def traced_graph(function: Callable[..., Any], inputs: Sequence[Any], named: Mapping[str, Any]) -> Graph:
    """The graph of a module or a function at given inputs.

    Args:
        function: called as function(*inputs, **named); a module is called as it is, in double precision.
        inputs, named: numbers, arrays, tensors; all else is handed on as it is.

    Raises:
        UsageError: the output is no tensor of floats, does not depend on any input or parameter, there is too much to look at, or the
            function does what cannot be followed (it changes tensors that others share).
    """
    is_module = isinstance(function, nn.Module)
    call = copy.deepcopy(function).double() if isinstance(function, nn.Module) else function
    args = [_as_input(x, is_module) for x in inputs]
    kwargs = {name: _as_input(x, is_module) for name, x in named.items()}
    labels = [*_labels(call, len(args)), *kwargs]
    leaves = [(n, t) for n, t in zip(labels, [*args, *kwargs.values()], strict=True) if _moves(t)]
    leaves += [(n, p) for n, p in call.named_parameters() if p.requires_grad] if isinstance(call, nn.Module) else []
    drawn = torch.get_rng_state()
    try:
        tracer = _Tracer()
        for label, tensor in leaves:
            tracer.leaf(label, tensor)
        names = [tracer.names[id(tensor)] for _, tensor in leaves]
        before = [t.detach().clone() for _, t in leaves]
        with torch.enable_grad(), tracer:
            out = call(*args, **kwargs)
        if not isinstance(out, Tensor) or id(out) not in tracer.names:
            came = f"a tensor of {out.dtype}" if isinstance(out, Tensor) else type(out).__name__
            raise UsageError(
                f"expected a tensor that depends on an input or a parameter as output; {came} came that does not"
            )
        title = type(function).__name__ if is_module else getattr(function, "__name__", "function")
        graph = tracer.builder.graph(title, tracer.names[id(out)])
        torch.set_rng_state(drawn)
        with torch.no_grad():
            for (_, t), old in zip(leaves, before, strict=True):
                t.copy_(old)
        _compare(graph, call, args, kwargs, {n: t for n, (_, t) in zip(names, leaves, strict=True)})
    finally:
        torch.set_rng_state(drawn)
    return graph


def _compare(
    graph: Graph,
    call: Callable[..., Tensor],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    leaves: Mapping[str, Tensor],
) -> None:
    """Refuse a graph whose slopes are not those of autograd."""
    fresh = {id(t): t if isinstance(t, nn.Parameter) else t.detach().clone().requires_grad_() for t in leaves.values()}
    with torch.enable_grad():
        copies = {n: t if isinstance(t, nn.Parameter) else t.clone() for n, t in fresh.items()}
        out = call(*(copies.get(id(a), a) for a in args), **{name: copies.get(id(a), a) for name, a in kwargs.items()})
        try:
            slopes = torch.autograd.grad(out.sum(), list(fresh.values()), allow_unused=True)
        except RuntimeError as error:
            raise UsageError(f"autograd cannot differentiate it: {str(error).splitlines()[0]}") from None
    backward = graph.backward()
    for (name, leaf), slope in zip(leaves.items(), slopes, strict=True):
        wanted = torch.zeros_like(leaf) if slope is None else slope
        found = torch.from_numpy(backward[name].sum(0)).view(leaf.shape).to(wanted.dtype)
        if not torch.allclose(
            found, wanted, rtol=1e-4, atol=1e-6 * (1 + float(wanted.abs().max()) if wanted.numel() else 1)
        ):
            raise UsageError(
                f"the slope of {name} along the graph is not that of autograd: something is changed where no call of a torch function "
                "shows it (in place through a view, through .data, or within no_grad); write it without that"
            )


def _moves(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _as_input(value: Any, as_double: bool) -> Any:
    """Numbers and arrays as tensors; a tensor of one's own stays as it is, but for its past."""
    if isinstance(value, Tensor):
        found = value.detach().clone()
        return found.double() if as_double and found.is_floating_point() else found
    if isinstance(value, bool | str) or value is None:
        return value
    try:
        found = torch.tensor(value)
    except (TypeError, ValueError, RuntimeError):
        return value
    return found.double() if isinstance(value, int | float) or found.is_floating_point() else found


def _labels(call: Callable[..., Any], n: int) -> list[str]:
    """The names of the first n arguments, where they can be known."""
    try:
        parameters = inspect.signature(call.forward if isinstance(call, nn.Module) else call).parameters.values()
    except (TypeError, ValueError):
        return [f"x{k + 1}" for k in range(n)]
    known = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][:n]
    return ["x" if name == "input" else name for name in known] + [f"x{k + 1}" for k in range(len(known), n)]


def _jacobian(out: Tensor, leaf: Tensor, operation: str) -> Tensor:
    """d out / d leaf, (numbers of out, numbers of leaf)."""
    if out.numel() * leaf.numel() > MOST_ENTRIES:
        raise UsageError(
            f"{operation} makes {out.numel():,} numbers of {leaf.numel():,}: a derivative of {out.numel() * leaf.numel():,} entries; "
            "a graph is for small inputs and small networks"
        )
    rows = [torch.autograd.grad(one, leaf, retain_graph=True, allow_unused=True)[0] for one in out.reshape(-1)]
    zeros = torch.zeros_like(leaf)
    flat = [(zeros if row is None else row).reshape(-1) for row in rows]
    return torch.stack(flat) if flat else zeros.new_zeros(0, leaf.numel())


def _array(tensor: Tensor) -> Any:
    return tensor.detach().double().numpy().copy()


def _in_place(func: Callable[..., Any]) -> bool:
    name = getattr(func, "__name__", "")
    return (name.endswith("_") and not name.endswith("__")) or name in (
        "__iadd__",
        "__isub__",
        "__imul__",
        "__itruediv__",
    )
