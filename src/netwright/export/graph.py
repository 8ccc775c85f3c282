"""A model's network as an ONNX graph on its own tensors: the link, the temperature and all scaling inside."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from netwright.core.errors import UsageError
from netwright.data.batch import Inputs
from netwright.model import Model

OPSET = 20
_LOUD = ("torch.onnx._internal.exporter._registration", "torch.onnx", "torch.export", "onnxscript", "onnx_ir")


class Answering(nn.Module):
    """Tensors in a fixed order -> what the model answers: probabilities (N, C) or values (N,), float64.

    Args:
        model: whose network, loss and temperature are taken. names: of the tensors, in order.
    """

    def __init__(self, model: Model, names: Sequence[str]) -> None:
        super().__init__()
        self.net = model.module
        self.names = tuple(names)
        self.objective, self.loss = model.objective, model.loss
        self.temperature = 1.0 if model.target.is_number else model.temperature

    def forward(self, tensors: list[Tensor]) -> Tensor:
        """The answers."""
        outputs = self.objective.predict(self.net, dict(zip(self.names, tensors, strict=True)))
        return self.loss.predict(outputs.double() / self.temperature)


def trace(model: Model, example: Inputs, free: Sequence[str] = ()) -> Any:
    """The graph (an onnx ModelProto) that answers as the model does, its inputs named as the tensors.

    Args:
        model: in evaluation mode or not; it is left as it was.
        example: two rows or more. free: tensors whose second dimension may have any length, too.

    Raises:
        UsageError: torch cannot turn the network into a graph.
    """
    dynamic = torch.export.Dim.DYNAMIC
    shapes = [{0: dynamic, 1: dynamic} if name in free else {0: dynamic} for name in example]
    was_training = model.module.training
    answering = Answering(model, tuple(example)).eval()
    try:
        with _silent(), _recurrent(), torch.no_grad():
            program = torch.onnx.export(
                answering,
                ([tensor.clone() for tensor in example.values()],),
                input_names=list(example),
                output_names=["answer"],
                dynamic_shapes=(shapes,),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
                custom_translation_table={torch.ops.aten.scalar_tensor.default: _whole_scalar},
            )
            assert program is not None
            return program.model_proto
    except Exception as error:  # whatever the exporter, or a user's own module under it, raises
        raise UsageError(
            f"the network cannot be turned into an ONNX graph: torch.onnx says: {_reason(error)}; "
            "a module of your own must be made of tensor operations whose shapes do not depend on the values"
        ) from error
    finally:
        model.module.train(was_training)


def _whole_scalar(s: float, dtype: int = 1, layout: str = "", device: str = "", pin_memory: bool = False) -> Any:
    """A number of the code as a constant of the graph, in float64.

    The exporter's own translation rounds it to float32 first: 2 pi / 365.2425 times a date is then wrong in the fourth digit.
    """
    from onnxscript import ir, opset20

    opset: Any = opset20
    number = opset.Constant(value=ir.tensor(np.array(s))) if isinstance(s, bool | int | float) else s
    return opset.Cast(number, to=dtype)


def _reason(error: BaseException) -> str:
    """The innermost cause in one line: what stands around it speaks of the exporter's stages."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """No warnings and log lines of the exporter, which speak to those who write it."""
    loggers = [logging.getLogger(name) for name in _LOUD]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _recurrent() -> Iterator[None]:
    """Let recurrent layers be exported with a free length, and more than once in a process.

    torch 2.13 replaces the kernels of these operations during an export, but keeps the former ones in a cache. The names are
    private: where another version has none of them, exports are as that version makes them.
    """
    try:
        from torch.export._patches import (
            register_gru_while_loop_decomposition,
            register_lstm_while_loop_decomposition,
        )

        operations: list[Any] = [torch.ops.aten.gru.input, torch.ops.aten.lstm.input]
        caches = [operation._dispatch_cache for operation in operations]
    except (ImportError, AttributeError):
        yield
        return
    for cache in caches:
        cache.clear()
    try:
        with register_gru_while_loop_decomposition(), register_lstm_while_loop_decomposition():
            yield
    finally:
        for cache in caches:
            cache.clear()
