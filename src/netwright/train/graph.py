"""A computation as the list of torch's operations that it comes down to: without the layers of Python around them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx


def traced(function: Callable[..., Tensor], *arguments: Any) -> Callable[..., Tensor]:
    """The function as a graph of operations, for arguments of these shapes; itself where it cannot be traced.

    >>> twice = traced(lambda x: x.expand(3) * 2, torch.ones(3))
    >>> twice(torch.arange(3.0)).tolist()
    [0.0, 2.0, 4.0]
    """
    from torch.fx.experimental.proxy_tensor import (
        make_fx,
    )  # takes a second to import: only what is stacked waits for it

    try:
        with warnings.catch_warnings(action="ignore"):
            graph = make_fx(lambda *given: function(*given))(*arguments)
    except Exception:  # whatever tracing stumbles over, the function itself can do or will say
        return function
    _clean(graph)
    return graph


def _clean(module: fx.GraphModule) -> None:
    """Leave out what changes nothing: reshapes to the same shape, products with 1, detached copies that nobody looks at. Views
    become reshapes, as tensors may lie differently in memory later on."""
    aten = torch.ops.aten
    for node in reversed(list(module.graph.nodes)):
        if node.op != "call_function" or not node.args or not isinstance(node.args[0], fx.Node):
            continue
        source, value = node.args[0], node.meta.get("val")
        before = source.meta.get("val")
        if node.target == aten.detach.default and not node.users:
            module.graph.erase_node(node)
        elif node.target in (aten.expand.default, aten.view.default, aten._unsafe_view.default):
            if isinstance(value, Tensor) and isinstance(before, Tensor) and value.shape == before.shape:
                node.replace_all_uses_with(source)
                module.graph.erase_node(node)
            elif node.target != aten.expand.default:
                node.target = aten.reshape.default
        elif node.target == aten.mul.Scalar and node.args[1] == 1:
            node.replace_all_uses_with(source)
            module.graph.erase_node(node)
    module.recompile()
