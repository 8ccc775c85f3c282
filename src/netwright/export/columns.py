"""Raw columns in front of a graph: numbers are put side by side, categories become codes, all inside the ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from netwright.core.errors import UsageError
from netwright.core.spec import CategoryField, InputSpec
from netwright.export.card import Port, free_name, raw_ports

ML_OPSET = 2
_IDS = ("words", "chars")


def on_raw_columns(graph: Any, spec: InputSpec) -> tuple[Any, list[Port]]:
    """A graph on the tensors of a spec as one on raw columns.

    Args:
        graph: an onnx ModelProto whose inputs are named as the network's tensors. It is left as it is.
        spec: what a row is made of.

    Returns:
        The graph, and its inputs (token ids that the network does not use are none).

    Raises:
        UsageError: the network uses none of its inputs.
    """
    from onnx.compose import add_prefix
    from onnx.helper import make_node, make_opsetid

    ports = raw_ports(spec)
    taken = {port.name for port in ports}
    prefix = _prefix(taken)
    made = add_prefix(graph, prefix)
    inner = made.graph
    infos = {info.name: info for info in inner.input}
    used = {name for node in inner.node for name in node.input}
    ports = [p for p in ports if p.kind not in _IDS or prefix + p.tensor in used]
    if not ports:
        raise UsageError("the network uses none of its inputs, so that there is nothing to export")
    first = []
    for tensor, kind in (("numbers", "number"), ("codes", "category")):
        some = [port for port in ports if port.kind == kind]
        first += _side_by_side(some, spec, prefix + tensor, prefix) if prefix + tensor in used else []
    first += [
        make_node("Identity", [p.name], [prefix + p.tensor]) for p in ports if p.kind not in ("number", "category")
    ]
    output = inner.output[0]
    answer = free_name("probabilities" if len(output.type.tensor_type.shape.dim) == 2 else "value", taken)
    nodes = [*first, *inner.node, make_node("Identity", [output.name], [answer])]
    _replace(inner.node, nodes)
    _replace(inner.input, [_input(port, infos.get(prefix + port.tensor)) for port in ports])
    output.name = answer
    output.type.tensor_type.shape.dim[0].dim_param = "rows"
    _replace(inner.value_info, [])  # whoever reads the graph infers the types within once more
    if spec.categories:
        made.opset_import.append(make_opsetid("ai.onnx.ml", ML_OPSET))
    return made, [_with_length(port, infos[prefix + port.tensor]) if port.kind in _IDS else port for port in ports]


def on_own_tensors(graph: Any) -> tuple[Any, list[Port]]:
    """A graph as it is, with an input for each of the tensors that a user's own module takes."""
    ports = [Port(name=info.name, field=info.name, tensor=info.name, kind="tensor") for info in graph.graph.input]
    return graph, ports


def _prefix(taken: set[str]) -> str:
    """What is put before the names inside the graph, so that none is a column's."""
    prefix = "net."
    while any(name.startswith(prefix) for name in taken):
        prefix = "_" + prefix
    return prefix


def _replace(field: Any, items: Sequence[Any]) -> None:
    """Put other items into a repeated field."""
    kept = list(items)
    del field[:]
    field.extend(kept)


def _side_by_side(ports: Sequence[Port], spec: InputSpec, tensor: str, prefix: str) -> list[Any]:
    """Nodes that make a tensor (N, P) of columns (N,), labels as codes."""
    from onnx.helper import make_node
    from onnx.numpy_helper import from_array

    nodes, parts = [make_node("Constant", [], [f"{tensor} axis"], value=from_array(np.array([1])))], []
    for i, port in enumerate(ports):
        name, field = port.name, spec[port.field]
        if isinstance(field, CategoryField):
            name = f"{prefix}code {i}"
            nodes.append(_label_encoder(field, port.name, name))
        parts.append(f"{tensor} {i}")
        nodes.append(make_node("Unsqueeze", [name, f"{tensor} axis"], [parts[-1]]))
    return [*nodes, make_node("Concat", parts, [tensor], axis=1)]


def _label_encoder(field: CategoryField, label: str, code: str) -> Any:
    """Labels -> codes, 0 for a label that is no category."""
    from onnx.helper import make_node

    return make_node(
        "LabelEncoder",
        [label],
        [code],
        domain="ai.onnx.ml",
        keys_strings=list(field.categories),
        values_int64s=list(range(1, field.n_codes)),
        default_int64=0,
    )


def _input(port: Port, info: Any) -> Any:
    """The declaration of an input of the new graph.

    Args:
        port: the input. info: the declaration of the network's tensor of which it is the whole; None for a column of one.
    """
    from onnx import TensorProto, ValueInfoProto
    from onnx.helper import make_tensor_value_info

    if port.kind in ("number", "category"):
        element = TensorProto.DOUBLE if port.kind == "number" else TensorProto.STRING
        return make_tensor_value_info(port.name, element, ["rows"])
    declared = ValueInfoProto()
    declared.CopyFrom(info)
    declared.name = port.name
    sizes = declared.type.tensor_type.shape.dim
    sizes[0].dim_param = "rows"
    if port.kind in _IDS and not sizes[1].dim_value:
        sizes[1].dim_param = f"{port.kind} of {port.field}"
    return declared


def _with_length(port: Port, info: Any) -> Port:
    """An input of token ids with the one length that it may have, where the graph was made for one."""
    return port.model_copy(update={"length": info.type.tensor_type.shape.dim[1].dim_value or None})
