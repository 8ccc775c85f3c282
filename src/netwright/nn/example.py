"""The example of a layer's entry, built: a module, and inputs that it takes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from netwright.core.entry import Entry, Whole, load
from netwright.core.errors import UsageError
from netwright.core.seed import derive, generator
from netwright.nn.codes import class_codes
from netwright.nn.ensemble import Ensemble
from netwright.nn.lenet import LeNet1998, RadialBasis
from netwright.nn.residual import ResidualMLP
from netwright.nn.threshold import ThresholdNet


def example_of(entry: Entry, seed: int = 0) -> tuple[nn.Module, tuple[Any, ...]]:
    """The module of an entry's example with its weights drawn from `seed`, in evaluation mode, and its inputs.

    Raises:
        UsageError: the entry states no example.

    >>> from netwright.nn.entries import LAYERS
    >>> net, inputs = example_of(LAYERS["residual-mlp"])
    >>> net(*inputs).shape
    torch.Size([4, 3])
    """
    example = entry.example
    if example is None or not (example.inputs or example.make):
        raise UsageError(f"the entry of {entry.name!r} states no example, so there is nothing to build")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "weights"))
        if example.make:
            module, inputs = load(example.make)()
        else:
            module = entry.load()(**{**entry.options, **example.arguments})
            inputs = tuple(shape and drawn(shape, derive(seed, "input", i)) for i, shape in enumerate(example.inputs))
    return module.eval(), inputs


def drawn(shape: tuple[int, ...] | Whole, seed: int) -> Tensor:
    """A tensor of normal numbers of these sizes, or of whole numbers.

    >>> drawn(Whole((2, 3), below=4), 0).max() < 4
    tensor(True)
    """
    rng = generator(seed, "example")
    if isinstance(shape, Whole):
        return torch.randint(shape.least, shape.below, shape.shape, generator=rng)
    return torch.randn(shape, generator=rng)


def ensemble() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Three small perceptrons as an ensemble, and rows for it."""
    return Ensemble(ResidualMLP(5, 3, width=16, depth=1) for _ in range(3)), (drawn((4, 5), 0),)


def threshold_net() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The sum and the carry of two bits as a net of threshold units, and all four inputs."""
    net = ThresholdNet.from_expression({"sum": "a ^ b", "carry": "a & b"})
    return net, (torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]),)


def radial_basis() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Distances to the codes of ten digits, and what a layer before could give."""
    return RadialBasis(class_codes([str(digit) for digit in range(10)])), (drawn((4, 84), 0),)


def lenet_1998() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """LeNet-5 as published for ten digits, and images of 28 x 28 pixels."""
    return LeNet1998(1, class_codes([str(digit) for digit in range(10)])), (drawn((2, 1, 28, 28), 0),)
