"""Laws of every template and every recipe on every kind of input: shapes, gradients, rows apart, JSON and weights both ways."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from netwright.core.errors import UsageError
from netwright.core.seed import generator
from netwright.core.spec import (
    CategoryField,
    InputSpec,
    NumberField,
    TargetSpec,
    VectorField,
)
from netwright.data.batch import Inputs
from netwright.losses.entries import LOSSES
from netwright.model import Model
from netwright.recipes.book import design
from netwright.recipes.custom import two_rows
from netwright.recipes.entries import RECIPES, TEMPLATES
from netwright.recipes.recipe import Recipe, start_at
from netwright.recipes.sample_specs import sample_spec
from netwright.train.settings import Training

NUMBERS = (
    NumberField(name="a", center=10.0, scale=3.0, knots=(0.0, 8.0, 12.0, 20.0), missing=True),
    NumberField(name="b", kind="integer", center=1e9, scale=5.0, knots=(1e9 - 5, 1e9 + 5)),
    NumberField(name="d", kind="date", center=19000.0, scale=400.0),
)
CATEGORIES = (CategoryField(name="c", categories=("x", "y", "")), CategoryField(name="e", categories=()))
VECTORS = (VectorField(name="x", shape=(2, 3)), VectorField(name="z", shape=(4,), dtype="int"))
SPECS = {
    "numbers": InputSpec(fields=NUMBERS),
    "categories": InputSpec(fields=CATEGORIES),
    "both": InputSpec(fields=(NUMBERS[0], CATEGORIES[0], NUMBERS[1], CATEGORIES[1], NUMBERS[2])),
    "vector": InputSpec(kind="vector", fields=VECTORS),
}
TARGETS = {
    "binary": TargetSpec(name="y", task="binary", classes=("no", "yes"), priors=(0.8, 0.2)),
    "classes": TargetSpec(name="y", task="classes", classes=("a", "b", "c"), priors=(0.5, 0.3, 0.2)),
    "number": TargetSpec(name="y", task="number", center=100.0, scale=20.0),
}
N = 9


def some_rows(spec: InputSpec) -> Inputs:
    """Rows with missing cells and unknown categories."""
    rng = generator(0, "rows")
    x: dict[str, Tensor] = {}
    if spec.numbers:
        center = torch.tensor([f.center for f in spec.numbers], dtype=torch.float64)
        scale = torch.tensor([f.scale for f in spec.numbers], dtype=torch.float64)
        x["numbers"] = center + scale * torch.randn(N, len(spec.numbers), generator=rng, dtype=torch.float64)
        x["numbers"][0] = math.nan
        x["numbers"][1, 0] = math.nan
    if spec.categories:
        x["codes"] = torch.stack([torch.arange(N) % f.n_codes for f in spec.categories], 1)
    for f in spec.fields:
        if isinstance(f, VectorField):
            drawn = torch.randn(N, *f.shape, generator=rng)
            x[f.name] = drawn.round().long() if f.dtype == "int" else drawn
    return x


def recipe_for(template: str, task: str, **options: Any) -> Recipe:
    loss = next(e.name for e in LOSSES.values() if e.fits(kind="", task=task))
    return Recipe(name="r", template=template, options=options, loss=loss)


CASES = [
    (t, s, k)
    for t, e in TEMPLATES.items()
    for s in SPECS
    for k in TARGETS
    if e.fits(kind=SPECS[s].kind, task=k) and all(any(f.kind == need for f in SPECS[s].fields) for need in e.needs)
]
laws = pytest.mark.parametrize(("template", "spec", "task"), CASES)


def built(template: str, spec: str, task: str, seed: int = 0) -> tuple[nn.Module, Inputs]:
    return recipe_for(template, task).build(SPECS[spec], TARGETS[task], seed).eval(), some_rows(SPECS[spec])


# --- templates --------------------------------------------------------------------------------------------------------


@laws
def test_outputs_have_their_shape_are_finite_and_the_same_again(template: str, spec: str, task: str) -> None:
    net, x = built(template, spec, task)
    outputs = net(x)
    assert outputs.shape == (N, TARGETS[task].n_out) and outputs.dtype == torch.float32
    assert outputs.isfinite().all() and torch.equal(outputs, net(x))
    assert net({k: v[:0] for k, v in x.items()}).shape == (0, TARGETS[task].n_out)


@laws
def test_every_parameter_gets_a_gradient(template: str, spec: str, task: str) -> None:
    net, x = built(template, spec, task)
    (net.train()(x) * torch.randn(N, TARGETS[task].n_out, generator=generator(0))).sum().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@laws
def test_a_batch_is_a_loop_of_single_rows(template: str, spec: str, task: str) -> None:
    net, x = built(template, spec, task)
    alone = torch.cat([net({k: v[i : i + 1] for k, v in x.items()}) for i in range(N)])
    torch.testing.assert_close(net(x), alone, rtol=1e-5, atol=1e-5)


@laws
def test_weights_come_from_the_seed_alone(template: str, spec: str, task: str) -> None:
    before = torch.get_rng_state()
    one, x = built(template, spec, task)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(123)
    again, other = built(template, spec, task)[0], built(template, spec, task, seed=1)[0]
    assert torch.equal(one(x), again(x)) and not torch.equal(one(x), other(x))


@laws
def test_a_network_starts_near_the_best_constant(template: str, spec: str, task: str) -> None:
    """Its last bias is the loss's constant, so that its mean output is close to it."""
    net, _ = built(template, spec, task)
    constant = recipe_for(template, task).make_loss(TARGETS[task]).constant(TARGETS[task])
    bias = [m for m in net.modules() if isinstance(m, nn.Linear)][-1].bias
    torch.testing.assert_close(bias.detach(), constant)


@laws
def test_a_model_survives_its_folder(template: str, spec: str, task: str, tmp_path: Path) -> None:
    net, x = built(template, spec, task)
    recipe, target = recipe_for(template, task), TARGETS[task]
    model = Model(net, SPECS[spec], target, recipe.make_loss(target), recipe)
    model.save(tmp_path)
    again = Model.load(tmp_path)
    assert (again.spec, again.target, again.loss, again.recipe) == (model.spec, model.target, model.loss, recipe)
    assert (again.predict_encoded(x) == model.predict_encoded(x)).all()


@laws
def test_gradients_reach_the_inputs_and_are_finite(template: str, spec: str, task: str) -> None:
    net, x = built(template, spec, task)
    floats = {k: v.clone().requires_grad_() for k, v in x.items() if v.is_floating_point()}
    if floats:
        slopes = torch.autograd.grad(net({**x, **floats}).square().sum(), list(floats.values()))
        assert all(s.isfinite().all() and s.any() for s in slopes)


def test_an_option_that_a_template_lacks_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        UsageError, match=r"no option of the template 'residual-mlp' called 'widht'; did you mean 'width'"
    ):
        recipe_for("residual-mlp", "binary", widht=3).build(SPECS["both"], TARGETS["binary"], 0)
    with pytest.raises(UsageError, match=r"no template 'residual-mpl'; did you mean 'residual-mlp'"):
        recipe_for("residual-mpl", "binary").build(SPECS["both"], TARGETS["binary"], 0)


def test_a_custom_recipe_needs_its_function_and_uses_it() -> None:
    recipe = recipe_for("custom", "binary")
    with pytest.raises(UsageError, match="pass it again as template="):
        recipe.build(SPECS["both"], TARGETS["binary"], 0)
    seen: list[Any] = []
    net = recipe.build(SPECS["both"], TARGETS["binary"], 0, lambda *a: seen.append(a) or nn.LazyLinear(2))  # type: ignore[func-returns-value]
    assert net(some_rows(SPECS["both"])).shape == (N, 2) and seen == [(SPECS["both"], TARGETS["binary"])]


def test_a_start_is_set_only_where_it_fits() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2, bias=False))
    before = net[0].bias.clone()
    start_at(net, torch.tensor([5.0, 6.0]))
    start_at(nn.ReLU(), torch.tensor([1.0]))
    assert torch.equal(net[0].bias, before)


# --- recipes ----------------------------------------------------------------------------------------------------------

options = st.dictionaries(
    st.text(max_size=5),
    st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
)


@given(options, st.integers(1, 10**6), st.floats(1e-9, 1e3))
def test_a_recipe_survives_json_with_the_types_of_its_options(given: dict[str, Any], epochs: int, rate: float) -> None:
    recipe = Recipe(
        name="r", template="t", options=given, loss="l", training=Training(epochs=epochs, learning_rate=rate)
    )
    again = Recipe.model_validate_json(recipe.model_dump_json())
    assert again == recipe
    assert {k: type(v) for k, v in again.options.items()} == {k: type(v) for k, v in given.items()}


@pytest.mark.parametrize("name", RECIPES)
def test_a_named_recipe_needs_no_argument_and_builds_what_it_says(name: str) -> None:
    entry = RECIPES[name]
    recipe = entry.load()()
    assert recipe.name == name and recipe.template in TEMPLATES and recipe.loss in LOSSES
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    kind = entry.kinds[0]
    spec = SPECS["both"] if kind == "table" else sample_spec(kind)
    for task in entry.tasks:
        net = recipe.build(spec, TARGETS[task], 0).eval()
        assert net(two_rows(spec)).shape == (2, TARGETS[task].n_out)


@pytest.mark.parametrize("task", TARGETS)
@pytest.mark.parametrize("n", [1, 100, 2_000, 10**6])
def test_a_design_fits_its_task_and_says_why_in_one_line(task: str, n: int) -> None:
    recipe, reason = design(SPECS["both"], TARGETS[task], n)
    assert RECIPES[recipe.name].fits(kind="table", task=task)
    assert 16 <= recipe.training.batch_size <= 512
    assert f"{n:,} training rows" in reason and recipe.template in reason and "\n" not in reason
    assert str(recipe.options["width"]) in reason


def test_a_design_grows_with_the_rows_and_refuses_what_it_has_no_recipe_for() -> None:
    made = [design(SPECS["both"], TARGETS["binary"], n)[0] for n in (100, 5_000, 500_000)]
    sizes = [int(r.options["width"]) * int(r.options["depth"]) for r in made]
    assert sizes == sorted(set(sizes))
    assert [r.training.batch_size for r in made] == sorted({r.training.batch_size for r in made})
    with pytest.raises(UsageError, match="no recipe fits 'sound' inputs"):
        design(SPECS["vector"].model_copy(update={"kind": "sound"}), TARGETS["binary"], 100)


def test_changed_recipes_are_checked_again_and_leave_the_old_one_alone() -> None:
    recipe = recipe_for("residual-mlp", "binary", width=8)
    wider = recipe.with_options(width=16).with_training(epochs=3)
    assert (recipe.options["width"], wider.options["width"], wider.training.epochs) == (8, 16, 3)
    with pytest.raises(ValidationError):
        recipe.with_training(epochs=0)


def test_an_ensemble_is_built_from_its_members_seeds_and_the_first_has_the_seed_of_the_whole() -> None:
    spec, target = SPECS["both"], TARGETS["binary"]
    recipe, _ = design(spec, target, 100)
    together = recipe.model_copy(update={"members": 3}).build(spec, target, 7)
    alone = recipe.build(spec, target, 7)
    states = [m.state_dict() for m in together.members]
    assert all(torch.equal(v, states[0][k]) for k, v in alone.state_dict().items())
    assert not torch.equal(states[0]["body.first.weight"], states[1]["body.first.weight"])
