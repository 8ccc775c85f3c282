"""Named recipes, and the choice of one for given data."""

from __future__ import annotations

import math

from netwright.core.errors import UsageError
from netwright.core.spec import InputSpec, TargetSpec
from netwright.recipes.entries import RECIPES
from netwright.recipes.recipe import Recipe
from netwright.train.settings import Training


def table_classifier(*, width: int = 128, depth: int = 2, epochs: int = 20) -> Recipe:
    """Classes from a table."""
    return Recipe(
        name="table-classifier",
        template="residual-mlp",
        options={"width": width, "depth": depth},
        loss="cross-entropy",
        training=Training(epochs=epochs),
    )


def table_regressor(*, width: int = 128, depth: int = 2, epochs: int = 40) -> Recipe:
    """A number from a table."""
    return Recipe(
        name="table-regressor",
        template="residual-mlp",
        options={"width": width, "depth": depth},
        loss="squared-error",
        training=Training(epochs=epochs),
    )


def design(spec: InputSpec, target: TargetSpec, n_train: int) -> tuple[Recipe, str]:
    """A recipe for the kind of input, the task and the number of training rows, and the reason in one line.

    The batch is the largest power of two up to 2 sqrt(rows), held to [16, 512]; width and depth grow with them too, so that the
    network can be overparametrised first and regularised afterwards; small tables get small embeddings of numbers.
    """
    fitting = [e for e in RECIPES.values() if e.fits(kind=spec.kind, task=target.task)]
    if not fitting:
        raise UsageError(f"no recipe fits {spec.kind!r} inputs with the task {target.task!r}")
    width, depth = (64, 2) if n_train < 1_000 else (128, 3) if n_train < 200_000 else (256, 3)
    recipe: Recipe = fitting[0].load()(width=width, depth=depth)
    batch_size = 2 ** max(4, min(9, int(math.log2(2 * math.sqrt(max(n_train, 1))))))
    recipe = recipe.with_training(batch_size=batch_size)
    if spec.numbers:
        recipe = recipe.with_options(number_dim=8 if n_train < 10_000 else 24)
    numbers, categories = len(spec.numbers), len(spec.categories)
    parts = [f"{numbers} numbers"] * bool(numbers) + [f"{categories} categories"] * bool(categories)
    what = "a number" if target.is_number else f"{len(target.classes)} classes"
    reason = (
        f"{recipe.template} of width {width} and depth {depth}: {n_train:,} training rows, {' and '.join(parts) or 'vectors'} in, "
        f"{what} out; {recipe.loss} owns the link; batches of {batch_size}"
    )
    return recipe, reason
