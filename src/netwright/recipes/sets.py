"""Templates and recipes for sets."""

from __future__ import annotations

from torch import nn

from netwright.core.spec import InputSpec, SetField, TargetSpec
from netwright.data.sequences import SequenceVector
from netwright.data.set_front import SetFront
from netwright.nn.sets import DeepSet, SetPool
from netwright.recipes.recipe import Recipe
from netwright.recipes.templates import Fronted, joined, table_fronts
from netwright.train.settings import Training


def deep_sets(
    spec: InputSpec,
    target: TargetSpec,
    *,
    n_out: int | None = None,
    width: int = 64,
    depth: int = 2,
    pool: SetPool = "all",
    dropout: float = 0.0,
    norm: str = "none",
    residual: bool = False,
    noise: float = 0.0,
    number_dim: int = 8,
    category_dim: int = 8,
) -> nn.Module:
    """One perceptron on every element of a set, a pooling that knows no order, another perceptron; columns of the row beside it.

    Args:
        width: of all layers. depth: layers of the perceptron on the elements.
        pool: "sum", "mean", "max", or "all" three beside each other; a sum can count, a mean cannot.
        dropout: rate at which features of a set are left out, in training.
        norm: of the perceptron on the elements, "none", "layer" or "batch". residual: whether its layers add what came in.
        noise: deviation of Gaussian noise on standardised numbers, in training only.
        number_dim, category_dim: sizes of embeddings.

    Source: Zaheer et al. (2017).
    """
    sizes = {"number_dim": number_dim, "category_dim": category_dim, "noise": noise}
    parts: list[nn.Module] = []
    for field in spec.wholes:
        if isinstance(field, SetField):
            front = SetFront(field, **sizes)  # type: ignore[arg-type]
            trunk = DeepSet(
                front.n_out,
                width=width,
                depth=depth,
                pool=pool,
                usual=field.n_elements,
                dropout=dropout,
                norm=norm,
                residual=residual,
            )
            parts.append(SequenceVector(front, trunk))
    whole = joined([*parts, *table_fronts(spec, **sizes)])
    n_in = int(whole.n_out)  # type: ignore[arg-type]
    body = nn.Sequential(
        nn.Linear(n_in, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, n_out or target.n_out)
    )
    return Fronted(whole, body)


def set_classifier(*, width: int = 64, depth: int = 2, epochs: int = 30) -> Recipe:
    """Classes of sets."""
    return _recipe("set-classifier", "cross-entropy", width, depth, epochs)


def set_regressor(*, width: int = 64, depth: int = 2, epochs: int = 40) -> Recipe:
    """A number from a set."""
    return _recipe("set-regressor", "squared-error", width, depth, epochs)


def _recipe(name: str, loss: str, width: int, depth: int, epochs: int) -> Recipe:
    options = {"width": width, "depth": depth}
    return Recipe(name=name, template="deep-sets", options=options, loss=loss, training=Training(epochs=epochs))
