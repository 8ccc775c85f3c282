"""`graph`: the computational graph of an expression, a module or a function, with both passes through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from netwright.core.errors import UsageError
from netwright.nn.computation import Graph
from netwright.nn.expression import expression_graph
from netwright.nn.traced import traced_graph


def graph(what: str | nn.Module | Callable[..., Tensor], *inputs: Any, **values: Any) -> Graph:
    """The computational graph of `what` at given inputs: values on nodes, partial derivatives on edges.

    d output / d u = sum over all paths from u to the output of the product of the partial derivatives along the path.

    Args:
        what: an expression of numbers, names, + - * / **, log, exp, sin, cos, tanh, sigmoid, relu, sqrt, abs, max and min, which may name
            its parts ("z = u**2; log(z) * z"); or a module or a function of tensors, every torch function of which becomes a node.
            A module is taken in double precision and in the mode in which it is (`eval()` for no dropout).
        inputs: of a module or a function: numbers, arrays or tensors. values: of the variables, or named inputs.

    Returns:
        `print` shows both passes and the paths, `figure()` draws it; `gradient()`, `paths(name)`, `backward()`, `nodes`, `edges`. Values
        and derivatives are float64 arrays; that of m numbers with respect to n is (m, n).

    Raises:
        UsageError: the expression does not parse (its position is shown), has no finite value or derivative there, or there is too
            much to look at.

    Source: Linnainmaa (1970); Werbos (1974); Rumelhart, Hinton and Williams (1986).

    >>> drawn = graph("log(u**2) * (4*u)", u=2.0)
    >>> for path in drawn.paths("u"):
    ...     print(" -> ".join(path.nodes), round(path.product.item(), 3))
    u -> n1 -> n2 -> v 8.0
    u -> n3 -> v 5.545
    >>> round(drawn.gradient()["u"], 3)
    13.545
    >>> [node.operation for node in graph(nn.Sequential(nn.Linear(2, 3), nn.Tanh()), [0.5, -1.0]).nodes]
    ['', '', '', 'linear(x, 0.weight, 0.bias)', 'tanh(n1)']
    """
    if isinstance(what, str):
        if inputs:
            raise UsageError("values of an expression are given by name, such as graph('u * w', u=1.0, w=2.0)")
        return expression_graph(what, values)
    if not callable(what):
        raise UsageError(f"expected an expression, a module or a function of tensors; {type(what).__name__} came")
    return traced_graph(what, inputs, values)
