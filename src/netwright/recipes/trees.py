"""Templates and recipes for trees."""

from __future__ import annotations

from torch import nn

from netwright.core.spec import InputSpec, TargetSpec, TreeField
from netwright.data.tree_front import ReservoirVector, TreeVector
from netwright.nn.trees import TreePool
from netwright.recipes.recipe import Recipe
from netwright.recipes.templates import Fronted, joined, table_fronts
from netwright.train.settings import Training


def tree_lstm(
    spec: InputSpec,
    target: TargetSpec,
    *,
    n_out: int | None = None,
    width: int = 64,
    dim: int = 32,
    pool: TreePool = "all",
    dropout: float = 0.0,
) -> nn.Module:
    """A child-sum tree LSTM over embedded labels, its states pooled, a linear head; columns of the row beside it.

    Args:
        width: of a node's state. dim: size of a label's vector.
        pool: "root", "mean", "max" of the states of the nodes, or "all" three beside each other.
        dropout: rate at which features are left out before the head, and half of it at which labels become unknown, in training.

    Source: Tai, Socher and Manning (2015).
    """
    trees = [
        TreeVector(f, width=width, dim=dim, pool=pool, dropout=dropout / 2)
        for f in spec.wholes
        if isinstance(f, TreeField)
    ]
    return _headed(trees, spec, target, dropout, n_out)


def tree_esn(
    spec: InputSpec,
    target: TargetSpec,
    *,
    n_out: int | None = None,
    width: int = 256,
    radius: float = 0.7,
    scale: float = 1.0,
    pool: TreePool = "all",
    dropout: float = 0.0,
) -> nn.Module:
    """A tree echo state network: a fixed random recursion over the nodes, its states pooled, a linear read-out that is trained.

    Args:
        width: units of the reservoir. radius: spectral radius of its matrix. scale: of its input weights.
        pool: "root", "mean", "max" of the states of the nodes, or "all" three beside each other.
        dropout: rate at which features are left out before the read-out, and half of it at which labels become unknown, in training.

    Source: Gallicchio and Micheli (2013), where the read-out is fitted by ridge regression, and here by the common training.
    """
    trees = [
        ReservoirVector(f, width=width, radius=radius, scale=scale, pool=pool, dropout=dropout / 2)
        for f in spec.wholes
        if isinstance(f, TreeField)
    ]
    return _headed(trees, spec, target, dropout, n_out)


def _headed(
    trees: list[TreeVector] | list[ReservoirVector],
    spec: InputSpec,
    target: TargetSpec,
    dropout: float,
    n_out: int | None,
) -> nn.Module:
    front = joined([*trees, *table_fronts(spec)])
    head = nn.Linear(int(front.n_out), n_out or target.n_out)  # type: ignore[arg-type]
    return Fronted(front, nn.Sequential(nn.Dropout(dropout), head))


def tree_classifier(*, width: int = 64, epochs: int = 40) -> Recipe:
    """Classes of trees."""
    return _recipe("tree-classifier", "tree-lstm", "cross-entropy", width, epochs)


def tree_regressor(*, width: int = 64, epochs: int = 40) -> Recipe:
    """A number from a tree."""
    return _recipe("tree-regressor", "tree-lstm", "squared-error", width, epochs)


def tree_esn_classifier(*, width: int = 256, epochs: int = 40) -> Recipe:
    """Classes of trees by a fixed random recursion over their nodes, of which the read-out alone is trained.

    Source: Gallicchio and Micheli (2013).

    >>> tree_esn_classifier().template
    'tree-esn'
    """
    return _recipe("tree-esn-classifier", "tree-esn", "cross-entropy", width, epochs)


def tree_esn_regressor(*, width: int = 256, epochs: int = 40) -> Recipe:
    """A number from a tree by a fixed random recursion over its nodes, of which the read-out alone is trained.

    Source: Gallicchio and Micheli (2013).

    >>> tree_esn_regressor(width=64).options
    {'width': 64}
    """
    return _recipe("tree-esn-regressor", "tree-esn", "squared-error", width, epochs)


def _recipe(name: str, template: str, loss: str, width: int, epochs: int) -> Recipe:
    training = Training(epochs=epochs, batch_size=32, learning_rate=3e-3)
    return Recipe(name=name, template=template, options={"width": width}, loss=loss, training=training)
