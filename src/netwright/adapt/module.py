"""Anybody's module as one of ours: it is called with what it takes outside, and what it gives is unpacked."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from netwright.core.errors import UsageError
from netwright.core.frozen import Frozen
from netwright.core.spec import TargetSpec
from netwright.data.arrays import Layout
from netwright.data.batch import Inputs

Call = Callable[[Any, Any], Tensor]
"""call(module, x) -> outputs (N, ...): how a module wants to be called."""
_POSITION = "input {}"


class Pixels(Frozen):
    """How a foreign module takes the images that are kept as (N, C, H, W): in the layout and the type in which they came."""

    layout: Layout = "NCHW"
    dtype: Literal["float", "uint8", "int8", "int16", "int32", "int64"] = "float"

    def inwards(self, images: Tensor) -> Tensor:
        """The user's images as (N, C, H, W), uint8 or float32."""
        kept = {"NCHW": lambda x: x, "NHWC": lambda x: x.movedim(-1, 1), "NHW": lambda x: x.unsqueeze(1)}
        moved: Tensor = kept[self.layout](images).contiguous()
        return moved.float() if self.dtype == "float" else moved.to(torch.uint8)

    def outwards(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in the user's layout; whole pixels in the user's type, fractions, as attacks try them, as they are."""
        if self.dtype != "float" and not images.is_floating_point():
            images = images.to(getattr(torch, self.dtype))
        given = {"NCHW": images, "NHWC": images.movedim(1, -1), "NHW": images.select(1, 0)}[self.layout]
        return given.contiguous()  # a module of one's own may use view


class Adapted(nn.Module):
    """Calls a foreign module as it is called outside, and gives its outputs as one tensor.

    One input is handed over as the tensor; several as module(**x) where they have the names of its arguments, else as the
    mapping; several that came as a tuple as module(*x). Floats reach it in the type of its own parameters.

    Args:
        module: a torch module, or a Keras model on the torch backend.
        call: call(module, x) -> outputs, for all other ways; x is the tensor, the tuple, or the mapping.
        pixels: how it takes images; None where the input is no image.

    >>> class Two(nn.Module):
    ...     def forward(self, left, right):
    ...         return {"logits": left + right}
    >>> net = Adapted(Two(), call=lambda module, x: module(**x)["logits"])
    >>> net({"left": torch.ones(1, 2), "right": torch.ones(1, 2)})
    tensor([[2., 2.]])
    """

    def __init__(self, module: Any, call: Call | None = None, pixels: Pixels | None = None) -> None:
        super().__init__()
        self.module = module
        self.call = call
        self.pixels = pixels

    def forward(self, x: Inputs) -> Tensor:
        """Outputs of the foreign module.

        Raises:
            UsageError: it gave something else than a tensor.
        """
        given = self._given(x)
        if self.call is not None:
            outputs: Any = self.call(self.module, given)
        elif isinstance(given, tuple):
            outputs = self.module(*given)
        elif isinstance(given, dict) and _by_name(self.module, given):
            outputs = self.module(**given)
        else:
            outputs = self.module(given)
        if not isinstance(outputs, Tensor):
            raise UsageError(_no_tensor(outputs, self.module, given, self.call is not None))
        return outputs

    def _given(self, x: Inputs) -> Any:
        """What the module is called with: a tensor, a tuple of them, or a mapping."""
        own = next((p.dtype for p in self.module.parameters() if p.is_floating_point()), torch.float32)
        tensors = {name: tensor if self.pixels is None else self.pixels.outwards(tensor) for name, tensor in x.items()}
        tensors = {name: t.to(own) if t.is_floating_point() else t for name, t in tensors.items()}
        if len(tensors) == 1:
            return next(iter(tensors.values()))
        positions = [_POSITION.format(i + 1) for i in range(len(tensors))]
        return tuple(tensors[name] for name in positions) if positions == list(tensors) else tensors


def _by_name(module: Any, given: Mapping[str, Tensor]) -> bool:
    """Whether the module has an argument for each of these names."""
    try:
        return given.keys() <= inspect.signature(module.forward).parameters.keys()
    except (AttributeError, TypeError, ValueError):
        return False


def _no_tensor(outputs: Any, module: Any, given: Any, has_call: bool) -> str:
    """What came instead of a tensor, and the function that takes the right part of it."""
    stars = "*" if isinstance(given, tuple) else "**" if isinstance(given, dict) and _by_name(module, given) else ""
    first = given if isinstance(given, Tensor) else next(iter(given.values() if isinstance(given, dict) else given))
    part, what = _part(outputs, len(first)), type(outputs).__name__
    if isinstance(outputs, Mapping):
        what += f" with {', '.join(map(repr, list(outputs)[:8]))}"
    if has_call:
        return f"call(module, x) returned a {what}, not a tensor; let it return one, such as the {what.split()[0]}'s {part}"
    return (
        f"the module returned a {what}, not a tensor; say how to call it: call=lambda module, x: module({stars}x){part}"
    )


def _part(outputs: Any, n: int) -> str:
    """How to write the part of the outputs that has a row for each input: .logits, ["scores"], [0]."""

    def fits(value: Any) -> bool:
        return isinstance(value, Tensor) and value.dim() > 0 and len(value) == n

    if isinstance(getattr(outputs, "logits", None), Tensor):
        return ".logits"
    if isinstance(outputs, Mapping):
        names = [name for name in ("logits", *outputs) if fits(outputs.get(name))]
        return f"[{names[0] if names else next(iter(outputs), 'logits')!r}]"
    if isinstance(outputs, Sequence):
        return f"[{next((i for i, value in enumerate(outputs) if fits(value)), 0)}]"
    named = [name for name, value in getattr(outputs, "__dict__", {}).items() if fits(value)]
    return f".{named[0] if named else 'outputs'}"


def as_inputs(x: Any) -> Inputs:
    """Arrays, tensors, a mapping or a tuple of them, as named tensors; floats as float32.

    >>> list(as_inputs(np.zeros((2, 3)))), list(as_inputs((np.zeros(2), torch.ones(2))))
    (['x'], ['input 1', 'input 2'])
    """
    if isinstance(x, tuple) and len(x) > 1 and all(isinstance(part, Tensor | np.ndarray) for part in x):
        x = {_POSITION.format(i + 1): part for i, part in enumerate(x)}
    named = x if isinstance(x, Mapping) else {"x": x}
    tensors = {k: v.detach() if isinstance(v, Tensor) else torch.tensor(np.asarray(v)) for k, v in named.items()}
    return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}


def outputs_of_a_row(net: nn.Module, inputs: Inputs) -> int:
    """Number of outputs of a row, found by calling the network on the first two.

    Raises:
        UsageError: the outputs do not have a row for each row of the inputs.
    """
    few = {k: v[:2] for k, v in inputs.items()}
    rows = min(len(v) for v in few.values())
    with torch.no_grad():
        outputs = net(few)
    if outputs.dim() == 0 or len(outputs) != rows:
        raise UsageError(
            f"for {rows} rows the module gave outputs of shape {tuple(outputs.shape)}; the first dimension must count rows"
        )
    return outputs.shape[-1] if outputs.dim() > 1 else 1


def target_of(y: np.ndarray, is_number: bool, classes: Sequence[str] | None, n_out: int | None) -> TargetSpec:
    """The target that these values (N,), or class numbers (N,), belong to.

    Args:
        classes: their names; None for their numbers. n_out: outputs of the network, where each is a class.

    Raises:
        UsageError: class numbers that are no whole numbers, or beyond the outputs.
    """
    if is_number:
        scale = float(y.std()) or 1.0
        return TargetSpec(
            name="y", task="number", center=float(y.mean()), scale=scale, low=float(y.min()), high=float(y.max())
        )
    if not np.issubdtype(y.dtype, np.integer):
        raise UsageError(
            f"y must hold class numbers 0, 1, 2, ... (integers), not {y.dtype}; for a regression use loss='squared-error'"
        )
    n = n_out or max(int(y.max()) + 1, len(classes or ()), 2)
    if y.min() < 0 or y.max() >= n or (classes and len(classes) != n):
        raise UsageError(
            f"y holds the class numbers {int(y.min())} to {int(y.max())}, expected 0 to {n - 1} for "
            + (f"{n_out} outputs" if n_out else f"{n} classes")
            + (f" and {len(classes)} names of classes" if classes else "")
        )
    names = tuple(classes) if classes else tuple(str(i) for i in range(n))
    priors = tuple((np.bincount(y.ravel(), minlength=n) / y.size).tolist())
    return TargetSpec(name="y", task="binary" if n == 2 else "classes", classes=names, priors=priors)
