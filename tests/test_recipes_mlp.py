"""The perceptron by the book: inputs from 0 to 1, one-hot categories, widths, options, further settings of the training, and the
search over topologies and starts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

import netwright as nw
from conftest import make_frame
from netwright.core.errors import UsageError
from netwright.core.spec import (
    CategoryField,
    ImageField,
    InputSpec,
    NumberField,
    SeriesField,
    TargetSpec,
    TextField,
    VectorField,
)
from netwright.data.unit import UnitFront
from netwright.nn.entries import ACTIVATIONS
from netwright.nn.mlp import MLP
from netwright.recipes.by_rule import by_rule
from netwright.recipes.mlp import mlp, widths_of
from netwright.recipes.recipe import Recipe
from netwright.recipes.templates import Fronted, residual_mlp
from netwright.train.settings import Training
from netwright.train.weights import Weights
from netwright.workflow.topology import search_topology

AGE = NumberField(name="age", low=20.0, high=60.0, center=30.0, missing=True)
SIZE = NumberField(name="size", low=-1.0, high=3.0, center=1.0)
SAME = NumberField(name="same", low=7.0, high=7.0, center=7.0)
SEX, TOWN = CategoryField(name="sex", categories=("f", "m")), CategoryField(name="town", categories=("a", "b", "c"))
TARGET = TargetSpec(name="y", task="classes", classes=("p", "q", "r"), priors=(0.5, 0.3, 0.2))
X = np.random.default_rng(0).uniform(-1, 1, (160, 2))
Y = np.where(X[:, 0] * X[:, 1] > 0, "same", "other")


# --- inputs -----------------------------------------------------------------------------------------------------------


def test_numbers_come_from_zero_to_one_and_categories_one_hot() -> None:
    front = UnitFront(InputSpec(fields=(AGE, SEX, SIZE, TOWN, SAME)))
    numbers = torch.tensor([[20.0, 3.0, 7.0], [60.0, -1.0, 7.0], [40.0, 0.0, 8.0]], dtype=torch.float64)
    found = front({"numbers": numbers, "codes": torch.tensor([[1, 3], [2, 1], [0, 0]])})
    wanted = [
        [0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0],
        [0.5, 0.25, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],  # categories never seen leave all units 0
    ]
    assert found.dtype == torch.float32 and found.tolist() == wanted and front.n_out == 9


def test_a_missing_cell_becomes_the_mean_and_says_so_where_training_had_some() -> None:
    front = UnitFront(InputSpec(fields=(AGE, SIZE)))
    gaps = torch.full((1, 2), math.nan, dtype=torch.float64)
    assert front({"numbers": gaps}).tolist() == [[0.25, 0.5, 1.0]]
    wild = torch.tensor([[1e300, -math.inf]], dtype=torch.float64)
    assert front({"numbers": wild}).tolist() == [[9.0, -8.0, 0.0]]


def test_pixels_come_from_zero_to_one_in_one_row() -> None:
    front = UnitFront(InputSpec(kind="image", fields=(ImageField(height=1, width=2, channels=1),)))
    assert front({"image": torch.tensor([[[[0, 255]]]], dtype=torch.uint8)}).tolist() == [[0.0, 1.0]]


def test_plain_tensors_are_taken_as_they_are() -> None:
    spec = InputSpec(kind="vector", fields=(VectorField(name="x", shape=(2,)),))
    assert UnitFront(spec)({"x": torch.tensor([[3.0, -5.0]])}).tolist() == [[3.0, -5.0]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((AGE, TextField(words=("a",), chars="a", n_words=3, n_chars=9)), "these inputs hold: text"),
        ((SeriesField(n_steps=5),), "these inputs hold: series"),
        ((CategoryField(name="c", categories=()),), "nothing to learn from"),
    ],
)
def test_inputs_that_cannot_be_brought_to_zero_to_one_are_refused(fields: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        mlp(InputSpec(fields=fields), TARGET)


# --- the network ------------------------------------------------------------------------------------------------------


def built(**options: Any) -> MLP:
    net = mlp(InputSpec(fields=(AGE, SEX)), TARGET, **options)
    assert isinstance(net, Fronted) and isinstance(net.body, MLP)
    return net.body


def test_widths_are_written_or_width_times_depth_and_there_is_one_output_a_class() -> None:
    sizes = lambda net: [m.out_features for m in net.modules() if isinstance(m, nn.Linear)]  # noqa: E731
    assert sizes(built(hidden="64,32")) == [64, 32, 3]
    assert sizes(built(width=5, depth=3)) == [5, 5, 5, 3]
    assert sizes(built(depth=0)) == [3] and widths_of(" 7 ", 1, 1) == [7]


@pytest.mark.parametrize("hidden", ["64,", "many", "4;4", "2.5"])
def test_widths_that_are_none_are_refused(hidden: str) -> None:
    with pytest.raises(UsageError, match="expected units of each hidden layer, such as '64'"):
        built(hidden=hidden)


def test_other_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UsageError, match="each needs at least one"):
        built(hidden="4,0")
    with pytest.raises(UsageError, match="residual needs a hidden layer as wide"):
        built(hidden="4,8", residual=True)
    with pytest.raises(UsageError, match="no activation 'rleu'; did you mean 'relu'"):
        built(activation="rleu")
    with pytest.raises(UsageError, match="nothing can be learned through 'step'"):
        built(activation="step")


def test_the_outputs_are_the_formula_written_out() -> None:
    torch.manual_seed(0)
    net, x = MLP(3, 2, [4, 4], act="sigmoid", batch_norm=True, residual=True).eval(), torch.randn(5, 3)
    h = x
    for k, layer in enumerate(net.hidden):
        linear, norm = layer[0], layer[1]
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
        z = (h @ linear.weight.T + linear.bias - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
        z = 1 / (1 + (-(z * norm.weight + norm.bias)).exp())
        h = h + z if k else z
    torch.testing.assert_close(net.units(x)[-1], h)
    torch.testing.assert_close(net(x), h @ net.head.weight.T + net.head.bias)


def test_weights_start_small_at_random_and_as_large_as_the_activation_asks() -> None:
    torch.manual_seed(0)
    for act, gain in (("tanh", 1.0), ("relu", math.sqrt(2))):
        net = MLP(400, 10, [300], act=act)
        assert net.hidden[0][0].weight.std().item() == pytest.approx(gain / 20, rel=0.02)
        assert net.head.weight.std().item() == pytest.approx(0.1 / math.sqrt(300), rel=0.05)


def test_sums_of_inputs_from_zero_to_one_start_with_variance_one() -> None:
    torch.manual_seed(0)
    layer = MLP(5, 1, [2000], act="tanh", from_zero_to_one=True).hidden[0][0]
    z = layer(torch.rand(2000, 5))
    assert z.var(0).mean().item() == pytest.approx(1.0, rel=0.1)
    assert z.mean(0).abs().mean().item() < 0.3  # biases are up to 1 / sqrt(5)


def test_dropout_acts_behind_every_hidden_layer_and_in_training_only() -> None:
    torch.manual_seed(0)
    net, x = MLP(3, 2, [200, 200], act="identity", dropout=0.5), torch.randn(4, 3)
    assert all(0.3 < (h == 0).float().mean() < 0.7 for h in net.units(x))
    assert not any((h == 0).any() for h in net.eval().units(x))


@pytest.mark.parametrize("name", [name for name, entry in ACTIVATIONS.items() if entry.load().learns])
def test_both_perceptrons_take_every_activation_that_learns(name: str) -> None:
    spec = InputSpec(fields=(AGE, SEX))
    x = {"numbers": torch.tensor([[25.0], [50.0]], dtype=torch.float64), "codes": torch.tensor([[1], [2]])}
    for template in (mlp, residual_mlp):
        outputs = template(spec, TARGET, width=8, activation=name)(x)
        assert outputs.shape == (2, 3) and outputs.isfinite().all()


def test_xor_has_nine_weights_with_two_units_and_one_output() -> None:
    assert sum(p.numel() for p in MLP(2, 1, [2]).parameters()) == 9


# --- training by the book ---------------------------------------------------------------------------------------------


def test_further_settings_of_the_training_reach_it() -> None:
    asked = {"optimizer": "sgd", "momentum": 0.5, "schedule": "step", "halve_every": 2, "stop_error": 0.1}
    net = nw.Classifier(template="mlp", options={"hidden": "4"}, epochs=2, training=asked, random_state=0).fit(X, Y)
    recipe = net.model_.recipe
    assert recipe is not None
    training = recipe.training
    assert {name: getattr(training, name) for name in asked} == asked
    assert (training.epochs, training.patience, training.weight_decay) == (2, None, 0.0)


def test_the_rate_is_halved_every_three_epochs() -> None:
    asked = {"optimizer": "sgd", "schedule": "step", "halve_every": 3, "warmup": 0}
    net = nw.Classifier(template="mlp", epochs=7, learning_rate=0.4, patience=7, training=asked, random_state=0).fit(
        X, Y
    )
    rates = [row["learning_rate"] for row in net.history_]
    assert rates == pytest.approx([0.4] * 3 + [0.2] * 3 + [0.1])


def test_the_training_stops_when_the_error_is_small() -> None:
    asked = {"stop_error": 0.2}
    net = nw.Classifier(
        template="mlp", options={"hidden": "32"}, epochs=200, learning_rate=0.03, training=asked, random_state=0
    ).fit(X, Y)
    errors = [row["train_error"] for row in net.history_]
    assert len(errors) < 200 and errors[-1] <= 0.2 and all(error > 0.2 for error in errors[:-1])


def test_momentum_is_that_of_the_optimizer_and_refused_by_others() -> None:
    net = nn.Linear(2, 2)
    for momentum, wanted in ((None, 0.9), (0.3, 0.3)):
        weights = Weights(net, Training(optimizer="nesterov", momentum=momentum))
        assert [group["momentum"] for group in weights.optimizer.param_groups] == [wanted]
        weights.release()
    with pytest.raises(ValidationError, match="momentum is of the optimizers sgd and nesterov; adamw has none"):
        Training(momentum=0.9)


def test_a_setting_that_there_is_not_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no setting of the training called 'scedule'; did you mean 'schedule'"):
        nw.Classifier(training={"scedule": "step"}).fit(X, Y)


def test_a_setting_named_twice_is_that_of_the_estimators_own_option() -> None:
    spec = InputSpec(fields=(AGE,))
    assert by_rule(spec, TARGET, 100, asked={"batch_size": 7, "average": None}).training.batch_size == 7
    net = nw.Classifier(epochs=1, training={"epochs": 5}, random_state=0).fit(X, Y)
    assert net.n_iter_ == 1


def test_a_table_with_missing_cells_and_categories_is_learned() -> None:
    frame = make_frame(400)
    net = nw.Classifier(template="mlp", options={"hidden": "16"}, epochs=30, learning_rate=0.02, random_state=0)
    net.fit(frame.drop("y", "z"), frame["y"])
    assert net.score(frame.drop("y", "z"), frame["y"]) > 0.85
    values = nw.Regressor(template="mlp", options={"hidden": "16"}, epochs=30, learning_rate=0.02, random_state=0)
    assert values.fit(frame.drop("y", "z"), frame["z"]).score(frame.drop("y", "z"), frame["z"]) > 0.8


def test_starts_of_several_widths_run_as_one_computation(capsys: pytest.CaptureFixture[str]) -> None:
    options = {"activation": "sigmoid", "dropout": 0.1}
    net = nw.Classifier(
        template="mlp",
        options=options,
        restarts=[{"hidden": "3"}, {"hidden": "8"}],
        epochs=2,
        random_state=0,
        verbose=1,
    ).fit(X, Y)
    assert net.member_scores_.shape == (1, 2) and "in turn" not in capsys.readouterr().out


def test_a_stored_recipe_by_the_book_builds_the_same_network() -> None:
    recipe = Recipe(name="r", template="mlp", options={"hidden": "4,3", "activation": "tanh"}, loss="cross-entropy")
    again = Recipe.model_validate_json(recipe.resolved().model_dump_json())
    spec = InputSpec(fields=(AGE, SEX))
    one, two = recipe.build(spec, TARGET, 3).state_dict(), again.build(spec, TARGET, 3).state_dict()
    assert one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


# --- another topology, another start ----------------------------------------------------------------------------------


def search(**options: Any) -> Any:
    net = nw.Classifier(metric="accuracy", epochs=12, learning_rate=0.05, random_state=0)
    return search_topology(net, X, Y, **{"topologies": ["1", "16", "64"], "starts": 2, **options})


def test_a_search_ends_with_the_first_topology_that_is_good_enough() -> None:
    found = search(enough=0.85)
    assert [one.hidden for one in found.tried] == ["1", "16"] and all(len(one.scores) == 2 for one in found.tried)
    assert max(found.tried[0].scores) < 0.85 <= max(found.tried[1].scores)
    assert found.best is found.tried[1].net and found.best.model_.recipe.options["hidden"] == "16"
    assert found.finding.verdict == "pass" and found.finding.tables[0].rows[1][-1] is True


def test_a_search_without_a_goal_tries_all_and_keeps_the_best() -> None:
    found = search(topologies=["1", "16"])
    assert len(found.tried) == 2 and found.finding.verdict == "info"
    best = max(found.tried, key=lambda one: max(one.scores))
    assert found.best is best.net and found.finding.measured["best_accuracy"] == max(best.scores)


def test_a_search_that_misses_its_goal_says_so() -> None:
    found = search(topologies=["1"], enough=1.01)
    assert found.finding.verdict == "warn" and "where 1.01 was wanted" in found.finding.title and found.finding.todo


def test_a_search_is_the_same_again_and_takes_a_smaller_error_as_better() -> None:
    net = nw.Regressor(epochs=3, random_state=1)
    one, two = (search_topology(net, X, X[:, 0], topologies=["2", "8"], starts=2) for _ in range(2))
    assert [t.scores for t in one.tried] == [t.scores for t in two.tried]
    assert one.finding.measured["best_rmse"] == min(min(t.scores) for t in one.tried)


@pytest.mark.parametrize(
    ("net", "options", "message"),
    [
        (nw.Classifier(), {"topologies": []}, "expected a list of widths"),
        (nw.Classifier(), {"topologies": "8,8"}, "expected a list of widths"),
        (nw.Classifier(template="linear"), {}, "the estimator has linear; give it template='mlp'"),
        (nw.Classifier(folds=3), {}, "goes with neither members nor folds"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(net: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        search_topology(net, X, Y, **options)
