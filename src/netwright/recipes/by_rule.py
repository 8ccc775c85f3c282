"""The training of an estimator: designed by rule from the rows, with nothing measured beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from netwright.core.errors import UsageError, unknown
from netwright.core.spec import InputSpec, TargetSpec
from netwright.recipes.book import design, named
from netwright.recipes.in_time import paced
from netwright.recipes.recipe import Option, Recipe, Template
from netwright.train.settings import Training
from netwright.train.weights import DECOUPLED

STEPS = 2000
"""Steps that a designed training takes where there are few rows; many rows take at least the fewest passes of their kind."""
PASSES: Mapping[str, tuple[int, int]] = {"image": (5, 60), "text": (10, 40), "series": (10, 500), "audio": (10, 60)}
"""Fewest and most passes over the training rows, by kind of rows; images come before texts in a table. Else `TABLE_PASSES`."""
TABLE_PASSES = (20, 100)
USUAL_CHANGES: Mapping[str, Mapping[str, Option]] = {
    "audio-conv": {"warp": 0.15, "speed": 0.15, "mask": 0.2, "noise": 0.02}
}
"""Random changes in training, by template: of sounds voice, speed, what is covered and what is heard beside them."""
USUAL_PIXELS = 32 * 32
"""Of larger images a step costs more, and fewer are taken."""


def by_rule(
    spec: InputSpec,
    target: TargetSpec,
    n_train: int,
    *,
    template: str | Template | None = None,
    options: Mapping[str, Option] | None = None,
    dropout: float | None = None,
    asked: Mapping[str, Any],
) -> Recipe:
    """The designed recipe with what the user set.

    Args:
        spec: the inputs. target: what is predicted. n_train: number of training rows.
        template: a named one, the name of a recipe (which brings its training along), a user's function, or None for the designed
            one.
        options: of the template. dropout: one of them.
        asked: settings of the training that the user chose, by name.

    Raises:
        UsageError: options for a function, or a setting that there is not.
    """
    for name in asked:
        if name not in Training.model_fields:
            raise UsageError(unknown("setting of the training called", name, Training.model_fields))
    book = named(template, spec, target) if isinstance(template, str) else None
    if book is not None:
        return _by_the_book(book, n_train, options, dropout, asked)
    recipe, _ = design(spec, target, n_train)
    if callable(template):
        if options:
            raise UsageError("options are those of a named template; give them to your function with functools.partial")
        recipe = recipe.model_copy(update={"template": "custom", "options": {}})
    elif template is not None:
        recipe = recipe.model_copy(update={"template": template, "options": {}})
    elif dropout is None:
        recipe = recipe.with_options(dropout=0.1, **USUAL_CHANGES.get(recipe.template, {}))
    if dropout is not None:
        recipe = recipe.with_options(dropout=dropout)
    recipe = recipe.with_options(**(options or {}))
    coupled = asked.get("optimizer", recipe.training.optimizer) not in DECOUPLED
    training = recipe.with_training(**{"weight_decay": 0.0 if coupled else 0.02, **asked}).training
    steps = max(1, n_train // min(training.batch_size, n_train))
    epochs = asked.get("epochs", passes(spec, steps))
    usual = {
        "epochs": epochs,
        "warmup": min(50, epochs * steps // 10),
        "average": min(0.999, max(0.5, 1 - 20 / (epochs * steps))),
        "patience": None if asked.get("stop_error") is not None else max(10, epochs // 4),
        "weight_decay": training.weight_decay,
    }
    return recipe.with_training(**{**usual, **asked})


def _by_the_book(
    recipe: Recipe, n_train: int, options: Mapping[str, Option] | None, dropout: float | None, asked: Mapping[str, Any]
) -> Recipe:
    """A named recipe with what the user set; its own training but for that."""
    recipe = recipe.with_options(**(options or {}), **({} if dropout is None else {"dropout": dropout}))
    if asked.get("optimizer", recipe.training.optimizer) not in DECOUPLED:
        asked = {"weight_decay": 0.0, **asked}
    recipe = recipe.with_training(**asked)
    steps = max(1, n_train // min(recipe.training.batch_size, n_train))
    return paced(recipe, recipe.training.epochs, steps).with_training(**asked)


def passes(spec: InputSpec, steps: int) -> int:
    """Passes over the training rows, where one takes so many steps.

    >>> from netwright.core.spec import ImageField, NumberField
    >>> image = InputSpec(kind="image", fields=(ImageField(height=28, width=28),))
    >>> passes(image, 400), passes(image, 10), passes(InputSpec(fields=(NumberField(name="age"),)), 400)
    (5, 60, 20)
    """
    kind = "image" if spec.images else "text" if spec.texts else spec.kind
    fewest, most = PASSES.get(kind, TABLE_PASSES)
    pixels = max([f.height * f.width for f in spec.images], default=USUAL_PIXELS)
    return int(np.clip(STEPS * min(1.0, USUAL_PIXELS / pixels) // steps, fewest, most))
