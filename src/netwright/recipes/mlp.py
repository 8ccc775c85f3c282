"""The multi-layer perceptron by the book: inputs from 0 to 1, one-hot categories, one output a class, gradient descent with momentum."""

from __future__ import annotations

from torch import nn

from netwright.core.errors import UsageError
from netwright.core.spec import InputSpec, TargetSpec
from netwright.data.unit import UnitFront
from netwright.nn.mlp import MLP
from netwright.recipes.recipe import Recipe
from netwright.recipes.templates import Fronted
from netwright.train.settings import Training


def widths_of(hidden: str | int, width: int, depth: int) -> list[int]:
    """Units of each hidden layer: those that are written, else `depth` times `width`.

    Raises:
        UsageError: `hidden` is no list of whole numbers.

    >>> widths_of("64, 32", 8, 2), widths_of("", 8, 2), widths_of(16, 8, 2)
    ([64, 32], [8, 8], [16])
    """
    if isinstance(hidden, str) and not hidden.strip():
        return [width] * depth
    try:
        return [int(part) for part in str(hidden).split(",")]
    except ValueError:
        raise UsageError(
            f"hidden is {hidden!r}; expected units of each hidden layer, such as '64' or '64,32'"
        ) from None


def mlp(
    spec: InputSpec,
    target: TargetSpec,
    *,
    n_out: int | None = None,
    hidden: str = "",
    width: int = 64,
    depth: int = 2,
    activation: str = "relu",
    dropout: float = 0.0,
    batch_norm: bool = False,
    residual: bool = False,
) -> nn.Module:
    """Inputs from 0 to 1, categories one-hot, hidden layers of sums and activations, one output a class.

    Args:
        spec: numbers, categories, images, tensors. target: the target. n_out: outputs; None for the task's usual number.
        hidden: units of each hidden layer, such as "64,32"; "" for `depth` layers of `width`. width, depth: those.
        activation: an entry of `netwright list activations`.
        dropout: rate behind each hidden layer.
        batch_norm: normalise units over the batch before the activation.
        residual: layers as wide as the one before add what came in.

    Raises:
        UsageError: the widths are none, no such activation, or inputs that cannot be brought to 0 to 1.

    Source: Rumelhart, Hinton and Williams (1986).
    """
    front = UnitFront(spec)
    widths = widths_of(hidden, width, depth)
    body = MLP(
        front.n_out,
        n_out or target.n_out,
        widths,
        act=activation,
        dropout=dropout,
        batch_norm=batch_norm,
        residual=residual,
        from_zero_to_one=front.vectors is None,
    )
    return Fronted(front, body)


def mlp_classifier(*, hidden: str = "64,32", epochs: int = 30) -> Recipe:
    """Classes from a table, by the book."""
    return _by_the_book("mlp-classifier", "cross-entropy", hidden, epochs)


def mlp_regressor(*, hidden: str = "64,32", epochs: int = 30) -> Recipe:
    """A number from a table, by the book."""
    return _by_the_book("mlp-regressor", "squared-error", hidden, epochs)


def _by_the_book(name: str, loss: str, hidden: str, epochs: int) -> Recipe:
    """Mini-batches, momentum, a rate that is halved now and then."""
    training = Training(
        epochs=epochs,
        batch_size=32,
        optimizer="sgd",
        learning_rate=0.05,
        schedule="step",
        halve_every=max(1, epochs // 6),
        warmup=0,
    )
    return Recipe(name=name, template="mlp", options={"hidden": hidden}, loss=loss, training=training)
