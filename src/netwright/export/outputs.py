"""What follows from an answer, inside the graph: the label of the most probable class, or the bounds of a value."""

from __future__ import annotations

from typing import Any

import numpy as np

from netwright.core.spec import TargetSpec
from netwright.export.card import free_name


def add_further(graph: Any, target: TargetSpec, margin: float | None) -> tuple[str, ...]:
    """Append to a graph what users read off its answer, and give the names of these outputs.

    Classes: label (N,), strings. Numbers whose margin is known: lower and upper (N,), float64.

    Args:
        graph: an onnx ModelProto whose first output is the answer: probabilities (N, C), or values (N,), float64.
        target: what is predicted. margin: half the width of the interval around a value.
    """
    from onnx import TensorProto
    from onnx.helper import make_node, make_tensor_value_info
    from onnx.numpy_helper import from_array

    inner, answer = graph.graph, graph.graph.output[0].name
    rows = [inner.output[0].type.tensor_type.shape.dim[0].dim_param or "rows"]
    taken = {part.name for part in (*inner.input, *inner.initializer)} | {n for node in inner.node for n in node.output}
    if not target.is_number:
        label, labels, best = (free_name(name, taken) for name in ("label", "labels", "most probable"))
        classes = from_array(np.array([name.encode() for name in target.classes], dtype=object))
        inner.node.append(make_node("Constant", [], [labels], value=classes))
        inner.node.append(make_node("ArgMax", [answer], [best], axis=1, keepdims=0))
        inner.node.append(make_node("Gather", [labels, best], [label]))
        inner.output.append(make_tensor_value_info(label, TensorProto.STRING, rows))
        return (label,)
    if margin is None:
        return ()
    lower, upper, width = (free_name(name, taken) for name in ("lower", "upper", "margin"))
    inner.node.append(make_node("Constant", [], [width], value=from_array(np.array(margin, dtype=np.float64))))
    for name, kind in ((lower, "Sub"), (upper, "Add")):
        inner.node.append(make_node(kind, [answer, width], [name]))
        inner.output.append(make_tensor_value_info(name, TensorProto.DOUBLE, rows))
    return lower, upper
