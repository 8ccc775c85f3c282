"""Entries as networks: a layer from its example, a template or a recipe on made-up rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from netwright.core.entry import Entry
from netwright.core.errors import UsageError
from netwright.core.finding import Finding
from netwright.core.seed import derive
from netwright.core.spec import Task
from netwright.nn.anatomy import anatomy
from netwright.nn.example import example_of
from netwright.recipes.custom import two_rows
from netwright.recipes.recipe import Recipe
from netwright.recipes.sample_specs import in_words, kind_for, sample_spec, sample_target

FAMILIES = ("layers", "templates", "recipes")
"""Lists whose entries can be built."""


@dataclass(frozen=True)
class Built:
    """A network, inputs that it takes, and what it was built for, in words."""

    module: nn.Module
    inputs: tuple[Any, ...]
    made_for: str


def built(family: str, entry: Entry, seed: int = 0) -> Built:
    """An entry of one of `FAMILIES` as a network with fresh weights.

    Raises:
        UsageError: the entry is of another list, or states no example.

    >>> from netwright.recipes.entries import RECIPES
    >>> built("recipes", RECIPES["image-classifier"]).made_for
    'grey images of 28 x 28 pixels in, 10 classes out'
    """
    if family == "layers":
        module, inputs = example_of(entry, seed)
        arguments = entry.example.arguments if entry.example else {}
        return Built(module, inputs, ", ".join(f"{k}={v!r}" for k, v in arguments.items()))
    if family not in FAMILIES:
        raise UsageError(f"{entry.name!r} is in the list {family}, and only {', '.join(FAMILIES)} can be built")
    kind = kind_for(entry)
    spec, target = sample_spec(kind), sample_target(kind, _task(entry))
    options = dict(entry.example.arguments) if entry.example else {}
    if family == "recipes":
        recipe: Recipe = entry.load()()
        module = recipe.with_options(**options).build(spec, target, seed)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "weights"))
            module = entry.load()(spec, target, n_out=target.n_out, **{**entry.options, **options})
    return Built(module.eval(), (two_rows(spec),), in_words(kind, target))


def shown(family: str, entry: Entry, seed: int = 0) -> Finding:
    """The anatomy of an entry's network.

    Raises:
        UsageError: it cannot be built.
    """
    made = built(family, entry, seed)
    finding = anatomy(made.module, *made.inputs, name=entry.name)
    measured = {"built_for": made.made_for, **finding.measured} if made.made_for else finding.measured
    return finding.model_copy(update={"reference": entry.reference, "measured": measured, "seed": seed})


def _task(entry: Entry) -> Task:
    return "classes" if not entry.tasks or "classes" in entry.tasks else entry.tasks[0]  # type: ignore[return-value]
