"""Recipes by name of attention, plain and gated recurrence, inception and reservoirs: each learns rows of its kind, and says its source."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import polars as pl
import pytest

import netwright as nw
from commandline import call
from netwright.core.seed import numpy_generator
from netwright.data.sets import column_of_sets
from netwright.recipes.book import design, named
from netwright.recipes.entries import RECIPES
from netwright.recipes.recipe import Recipe
from netwright.recipes.sample_specs import sample_spec, sample_target
from test_recurrent_templates import first_or_last

CELLS = {"lstm-regressor": "lstm", "elman-classifier": "elman", "elman-regressor": "elman"}
TEMPLATES = {
    "transformer-classifier": "transformer",
    "transformer-regressor": "transformer",
    "set-attention-classifier": "attention-pooling",
    "set-attention-regressor": "attention-pooling",
    "inception-classifier": "series-inception",
    "inception-regressor": "series-inception",
    "tree-esn-classifier": "tree-esn",
    "tree-esn-regressor": "tree-esn",
    **dict.fromkeys(CELLS, "recurrent"),
}
CASES = [(name, kind) for name in TEMPLATES for kind in RECIPES[name].kinds]
SMALL = {"inception": {"depth": 3, "width": 8}, "tree": {"width": 64}}


def rows_of(kind: str) -> tuple[Any, np.ndarray]:
    """Rows of a kind, of two classes that a network of that kind can tell apart."""
    rng = numpy_generator(0, "named", kind)
    if kind == "series":
        return first_or_last(160, longest=8)
    if kind == "set":
        sizes = rng.integers(1, 6, 160)
        worth = rng.normal(size=int(sizes.sum()))
        sums = np.add.reduceat(worth, np.cumsum(sizes) - sizes)
        frame = pl.DataFrame([column_of_sets(pl.DataFrame({"worth": worth}), sizes, "coins")])
        return frame, np.where(sums > 0, "early", "late")
    if kind == "text":
        texts = [" ".join(["so"] * int(rng.integers(0, 3)) + w) for w in [["ab", "cd"], ["cd", "ab"]] * 80]
        return texts, np.array(["early", "late"] * 80)
    if kind == "tree":
        words = [" ".join(rng.choice(list("cdefgh"), int(rng.integers(3, 7)))) for _ in range(160)]
        trees = [f"(r (a {w}) (c {'b ' * (k % 2)}{w}))" for k, w in enumerate(words)]
        return pl.DataFrame({"parse": trees}), np.array(["early", "late"] * 80)
    table = pl.DataFrame({"a": rng.normal(size=160), "b": rng.normal(size=160)})
    return table, np.where((table["a"] * table["b"]).to_numpy() > 0, "early", "late")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_recipe_by_its_name_learns_rows_of_its_kind(name: str, kind: str) -> None:
    rows, labels = rows_of(kind)
    options = next((o for start, o in SMALL.items() if name.startswith(start)), {"width": 16})
    given = {"template": name, "options": options, "epochs": 25, "learning_rate": 0.01, "random_state": 0}
    kinds = {"kinds": {"parse": "tree"}} if kind == "tree" else {}
    if name.endswith("classifier"):
        net: Any = nw.Classifier(**given, **kinds).fit(rows[:120], labels[:120])
        assert net.score(rows[120:], labels[120:]) >= 0.75
    else:
        y = 5.0 * (labels == "late") + 100
        net = nw.Regressor(**given, **kinds).fit(rows[:120], y[:120])
        assert net.score(rows[120:], y[120:]) >= 0.35
    assert net.model_.recipe.name == name and net.model_.recipe.template == TEMPLATES[name]


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_recipe_says_its_source_its_template_and_what_it_is_for(name: str) -> None:
    entry = RECIPES[name]
    recipe: Recipe = entry.load()()
    document = inspect.getdoc(entry.load()) or ""
    assert "Source: " in document and ">>> " in document
    assert recipe.template == TEMPLATES[name] and recipe.options.get("cell") == CELLS.get(name)
    assert recipe.loss == ("cross-entropy" if name.endswith("classifier") else "squared-error")
    assert entry.tasks == (("binary", "classes") if name.endswith("classifier") else ("number",))


def test_every_recipe_says_for_which_tasks_it_is() -> None:
    assert [name for name, entry in RECIPES.items() if not entry.tasks] == []


@pytest.mark.parametrize("kind", ["table", "text", "series", "set", "tree"])
def test_more_names_leave_the_designed_network_as_it_was(kind: str) -> None:
    for task, what in (("classes", "classifier"), ("number", "regressor")):
        recipe, _ = design(sample_spec(kind), sample_target(kind, task), 500)  # type: ignore[arg-type]
        assert recipe.name == f"{kind}-{what}"
        target = sample_target(kind, "number" if task == "classes" else "classes")
        assert named(f"{kind}-{what}", sample_spec(kind), target) is None


@pytest.mark.parametrize(("name", "words"), [("tagger", "Fitted: `classes_`"), ("forecaster", "naive forecast")])
def test_estimators_of_sequences_can_be_shown_and_are_listed(name: str, words: str) -> None:
    shown, listed = call("show", name), call("list", "sequences")
    assert shown.code == 0 and words in shown.out and "in the list sequences" in shown.out
    assert name in listed.out
