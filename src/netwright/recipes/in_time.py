"""As many passes as fit into a time: a few steps are timed, and the schedule is stretched over the passes that there will be."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from netwright.data.data import Data
from netwright.recipes.recipe import Recipe, Template
from netwright.train.way import Way, choose_way

MARGIN = 0.9
"""Share of the time that is planned for: the first and the last moments of a training belong to no epoch."""
EVALUATION = 0.35
"""What a validation row costs of a training row: it goes forwards only."""


def paced(recipe: Recipe, epochs: int, steps_per_epoch: int) -> Recipe:
    """The recipe for another number of passes: its warm-up, and the average of its weights, in proportion."""
    total, training = epochs * steps_per_epoch, recipe.training
    average = training.average
    if isinstance(average, float):
        average = min(0.999, max(0.5, 1 - 20 / total))
    return recipe.with_training(epochs=epochs, warmup=min(50, total // 10), average=average)


def in_time(
    recipe: Recipe,
    data: Data,
    seconds: float,
    template: Template | None = None,
    fixed: Mapping[str, Any] | None = None,
) -> tuple[Recipe, Way]:
    """The recipe with no more passes than fit into `seconds`, what choosing takes among them, and the fastest way to compute them.

    Args:
        recipe: its epochs are the most. data: its training and validation rows. template: the user's function where it is custom.
        fixed: fields of the `Way` that are not to be chosen, with their values.
    """
    began = time.monotonic()
    source, valid, loss = data.block("train"), data.block("valid"), recipe.make_loss(data.target)
    steps = max(1, len(source) // min(recipe.training.batch_size, len(source)))
    way = choose_way(
        lambda: recipe.build(data.spec, data.target, 0, template),
        recipe.make_objective(loss),
        loss,
        source,
        valid,
        recipe.training,
        steps=recipe.training.epochs * steps,
        seconds=seconds,
        fixed=fixed,
    )
    left = seconds - (time.monotonic() - began)
    epoch = way.step_seconds * steps * (1 + EVALUATION * len(valid) / max(len(source), 1))
    epochs = min(recipe.training.epochs, max(1, int(MARGIN * left / epoch)))
    paced_recipe = paced(recipe, epochs, steps) if epochs < recipe.training.epochs else recipe
    return paced_recipe.model_copy(update={"training": way.settings(paced_recipe.training)}), way
