"""What is to be measured: a recipe and rows, of a run, of the user's data, or made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from pydantic import ValidationError

from netwright.core.errors import DataError, UsageError
from netwright.core.files import read_json
from netwright.core.run import Listener
from netwright.core.seed import numpy_generator
from netwright.core.spec import ColumnKind
from netwright.data.data import PARTS, Data
from netwright.data.encode import fit_inputs, fit_target
from netwright.losses.entries import LOSSES
from netwright.recipes.book import design
from netwright.recipes.recipe import Recipe
from netwright.workflow.prepare import completed, look_at, read, split_and_encode
from netwright.workflow.probing import load_subject
from netwright.workflow.settings import Settings

N_NUMBERS, N_CATEGORIES, N_RANDOM = 8, 2, 999
"""Columns and rows of made-up data; with fewer than 1,000 rows the designed network is small enough for a thousand of them."""


def rows_and_recipe(
    data: Path | None,
    target: str | None,
    recipe: Path | None,
    seed: int,
    listener: Listener | None = None,
) -> tuple[Data, Recipe]:
    """Encoded rows, and a recipe that fits them.

    Args:
        data: a run folder (its own rows and recipe), a data file or folder; None for made-up rows.
        target: the column to predict, where the data do not say it.
        recipe: a recipe.json; None for the run's, or the designed one.

    Raises:
        DataError: bad data, or no recipe in the file. UsageError: the recipe does not fit the rows.
    """
    own: Recipe | None = None
    if data is None:
        rows = random_rows(seed)
    elif (data / "settings.json").is_file():
        subject = load_subject(data)
        rows, own = subject.need("data"), subject.recipe
    else:
        asked = Settings(data=str(data.absolute()), target=target or "", seed=seed)
        seen = read(asked, listener)
        asked = completed(asked, seen)
        rows = split_and_encode(look_at(asked, seen), asked)
    if recipe is not None:
        own = read_recipe(recipe)
    found = own or design(rows.spec, rows.target, len(rows.split["train"]))[0]
    loss = LOSSES[found.loss]
    if not loss.fits(kind=rows.spec.kind, task=rows.target.task):
        fitting = [e.name for e in LOSSES.values() if e.fits(kind=rows.spec.kind, task=rows.target.task)]
        raise UsageError(
            f"the recipe's loss {found.loss!r} is not made for a target of task {rows.target.task!r}; fitting are: "
            + ", ".join(fitting)
        )
    try:
        found.single.build(rows.spec, rows.target, seed)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"the recipe's network cannot be made: {str(error).splitlines()[0]}") from error
    return rows, found


def read_recipe(path: Path) -> Recipe:
    """A recipe from its file.

    Raises:
        DataError: it holds none.
    """
    stored = read_json(path)
    try:
        return Recipe.model_validate(stored)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'all of it'}: {e['msg']}" for e in error.errors()[:3])
        raise DataError(f"{path} is no recipe ({wrong}); give the recipe.json of a run") from error


def random_rows(seed: int) -> Data:
    """Rows of normal numbers and of even categories, and classes that are tossed: all that time depends on."""
    rng = numpy_generator(seed, "random rows")
    columns: dict[str, pl.Series] = {}
    kinds: dict[str, ColumnKind] = {}
    for i in range(N_NUMBERS):
        columns[f"number{i}"], kinds[f"number{i}"] = pl.Series(rng.normal(size=N_RANDOM)), "number"
    for i in range(N_CATEGORIES):
        columns[f"category{i}"], kinds[f"category{i}"] = pl.Series(rng.choice(list("abcdefgh"), N_RANDOM)), "category"
    frame = pl.DataFrame({**columns, "y": rng.choice(["no", "yes"], N_RANDOM)})
    everything = np.arange(N_RANDOM)
    spec, target = fit_inputs(frame, kinds), fit_target(frame["y"], "binary")
    return Data(
        frame, spec, target, dict.fromkeys(PARTS, everything), name="random rows", how="all of them in each part"
    )
