"""The attack probes: every entry gives a Finding that says what was measured, and what it does not know."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netwright.core.errors import UsageError
from netwright.core.finding import Finding
from netwright.core.spec import CategoryField, InputSpec, NumberField, TargetSpec
from netwright.data.data import Data
from netwright.losses.loss import adapt
from netwright.losses.standard import CrossEntropy, SquaredError
from netwright.model import Model, Subject, fit
from netwright.recipes.recipe import Recipe
from netwright.robust.entries import ATTACKS
from netwright.train.settings import Training

QUICK = {"rows": 60}
TABLE_ATTACKS = [entry.name for entry in ATTACKS.values() if not {"images", "texts"} & set(entry.needs)]


def trained_on(data: Data, loss: str, metric: str) -> Subject:
    training = Training(epochs=15, batch_size=32)
    recipe = Recipe(
        name="small", template="residual-mlp", options={"width": 16, "depth": 1}, loss=loss, training=training
    )
    return Subject(model=fit(recipe, data, seed=0, metric=metric)[0], data=data)


@pytest.fixture(scope="module")
def binary(binary_data) -> Subject:
    """A network that tells two classes apart."""
    return trained_on(binary_data, "cross-entropy", "log-loss")


@pytest.fixture(scope="module")
def number(number_data) -> Subject:
    """A network that predicts a number."""
    return trained_on(number_data, "squared-error", "rmse")


class Function(nn.Module):
    """A network made of a plain function of the raw numbers."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        return self.function(x["numbers"].float())


def two_classes(function, n: int = 200) -> Subject:
    """A network on one number, a normal one rounded away from zero to a multiple of 0.2, whose class is its sign."""
    x = torch.randn(n, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = (5 * x.abs()).ceil() / 5 * x.sign()
    spec = InputSpec(fields=(NumberField(name="a", low=-9.0, high=9.0, scale=1.0),))
    target = TargetSpec(name="y", task="binary", classes=("low", "high"), priors=(0.5, 0.5))
    data = Data.from_tensors({"numbers": x}, (x[:, 0] > 0).long(), spec, target)
    return Subject(model=Model(Function(function).eval(), spec, target, CrossEntropy()), data=data)


def probe(name: str, subject: Subject, **options) -> Finding:
    entry = ATTACKS[name]
    return entry.load()(subject, budget_seconds=30, **{"seed": 0, **entry.options, **options})


@pytest.mark.parametrize("name", TABLE_ATTACKS)
@pytest.mark.parametrize("task", ["binary", "number"])
def test_every_attack_gives_a_curve_that_falls_with_its_control_columns_and_examples(name, task, request):
    subject: Subject = request.getfixturevalue(task)
    found = probe(name, subject, **QUICK)
    assert found.probe == name and found.family == "robust" and found.verdict in ("info", "warn")
    assert found.expected and found.why and found.reference and found.seed == 0
    key = "rmse" if task == "number" else "accuracy"
    assert {f"{key}_clean", f"{key}_attacked", f"{key}_noise"} <= found.measured.keys()
    assert found.measured["rows"] == 60 and "60 test rows" in found.title
    curve, columns, examples = found.tables
    assert curve.rows[0][0] == 0 and curve.rows[0][1] == found.measured[f"{key}_clean"]
    scores = [row[1] for row in curve.rows]
    assert scores == sorted(scores, reverse=task == "binary")
    assert scores[-1] != scores[0], "the largest change must do some harm"
    assert all(row[2] <= row[1] <= row[3] for row in curve.rows)
    assert {row[0] for row in columns.rows} <= set(subject.model.spec.names)
    assert len(columns.rows) > 0 and 0 < len(examples.rows) <= 5
    attack, noise, _ = found.figures[0].series
    assert attack.y == tuple(scores) and attack.low and attack.high
    assert noise.dashed and noise.x == attack.x and noise.y[0] == attack.y[0]
    worse = [(n < a) if task == "binary" else (n > a) for n, a in zip(noise.y, attack.y, strict=True)]
    assert sum(worse) <= 1 and (any(worse) == ("understates" in found.todo))


def test_examples_show_raw_cells_before_and_after_and_the_predictions_of_the_model(binary):
    found = probe("table-attack", binary, eps=(0.1,), **QUICK)
    frame = binary.data.part("test")
    for row, true, before, p_before, after, p_after, change in found.tables[2].rows:
        raw = frame[int(row)]
        assert raw["y"][0] == true == before != after and p_before > 0.5 and p_after > 0.5
        probabilities = binary.model.predict_proba(raw)[0]
        assert p_before == pytest.approx(probabilities.max())
        changed = {}
        for part in change.split("; "):
            name, _, cells = part.partition(" ")
            was, now = cells.split(" → ")
            value = raw[name][0]
            assert was == value if isinstance(value, str) else float(was) == pytest.approx(value, rel=1e-5)
            changed[name] = now if isinstance(value, str) else float(now)
        moved = raw.with_columns(pl.lit(value).alias(name) for name, value in changed.items())
        says = dict(zip(binary.model.target.classes, binary.model.predict_proba(moved)[0], strict=True))
        assert says[after] == pytest.approx(p_after, abs=0.01)


@pytest.mark.slow
def test_a_probe_is_deterministic_and_leaves_the_model_as_it_was(binary):
    model = copy.deepcopy(binary.model)
    subject = replace(binary, model=model)
    weights, state = copy.deepcopy(model.module.state_dict()), torch.random.get_rng_state()
    for name in TABLE_ATTACKS:
        assert probe(name, subject, rows=20) == probe(name, subject, rows=20)
    assert all(torch.equal(weights[k], v) for k, v in model.module.state_dict().items())
    assert all(p.grad is None for p in model.module.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_another_seed_attacks_other_rows(binary):
    first, second = (probe("fgsm", binary, eps=(1.0,), rows=20, seed=s).tables[2].rows for s in (0, 1))
    assert {r[0] for r in first} != {r[0] for r in second}


def test_a_fragile_network_is_warned_about_and_a_sturdy_one_is_not():
    sturdy = probe("pgd", two_classes(lambda a: torch.cat([-a, a], 1)))
    assert sturdy.verdict == "info" and sturdy.measured["accuracy_attacked"] == 1.0 and sturdy.todo == ""
    assert "stays at 1" in sturdy.title

    def wave(a: Tensor) -> Tensor:  # right on the multiples of 0.2, wrong between them
        return torch.cat([-a, a], 1) * torch.cos(10 * torch.pi * a + 0.5)

    fragile = probe("pgd", two_classes(wave))
    assert fragile.verdict == "warn" and fragile.measured["accuracy_clean"] == 1.0
    assert fragile.measured["accuracy_attacked"] == 0.0 and "verify a first of all" in fragile.todo


def test_the_warning_follows_the_stated_rule(number):
    found = probe("pgd", number, **QUICK)
    y = number.data.y("test")
    rows = next(row for row in found.tables[0].rows if row[0] == 0.1)
    clean = found.tables[0].rows[0][1]
    assert found.measured["rmse_attacked"] == rows[1]
    trivial = found.figures[0].series[2].y[0]
    assert trivial == pytest.approx(y.std(), rel=0.3)
    assert (found.verdict == "warn") == (rows[1] - clean > (trivial - clean) / 2)


def test_gradients_that_are_hidden_are_said_to_be_hidden():
    """Rounding has no gradient; noise gets through all the same."""
    found = probe("pgd", two_classes(lambda a: torch.cat([-a, a], 1).mul(4).round() + 0.0 * a.detach()), eps=(0.1, 0.5))
    assert found.measured["share_of_rows_without_gradient"] == 1.0
    assert "Gradients are zero on 100%" in found.todo
    assert "understates" in probe("fgsm", two_classes(lambda a: torch.cat([-a, a], 1).mul(4).round()), eps=(0.5,)).todo


def test_the_number_of_rows_follows_the_budget(binary):
    subject = two_classes(lambda a: torch.cat([-a, a], 1), n=400)
    few = ATTACKS["pgd"].load()(subject, budget_seconds=1e-6, seed=0, eps=(0.1,))
    many = ATTACKS["pgd"].load()(subject, budget_seconds=600, seed=0, eps=(0.1,))
    assert few.measured["rows"] == 50 and many.measured["rows"] == 400


# Not applicable


def not_applicable(found: Finding, words: str) -> None:
    assert found.verdict == "info" and found.title.startswith("not applicable: ") and words in found.title


@pytest.mark.parametrize("name", TABLE_ATTACKS)
def test_an_unknown_link_is_not_guessed(name, binary):
    model = copy.deepcopy(binary.model)
    model.loss = adapt(F.cross_entropy)
    not_applicable(probe(name, replace(binary, model=model)), "what an output means")


def only(kind: str) -> Subject:
    field = NumberField(name="a") if kind == "numbers" else CategoryField(name="a", categories=("p", "q"))
    spec, n = InputSpec(fields=(field,)), 20
    x = torch.zeros(n, 1, dtype=torch.float64 if kind == "numbers" else torch.int64) + 1
    target = TargetSpec(name="y", task="binary", classes=("0", "1"), priors=(0.5, 0.5))
    data = Data.from_tensors({kind if kind == "numbers" else "codes": x}, torch.arange(n) % 2, spec, target)
    net = Recipe(name="r", template="linear", loss="cross-entropy").build(spec, target, 0)
    return Subject(model=Model(net.eval(), spec, target, CrossEntropy()), data=data)


def test_what_a_table_does_not_have_cannot_be_attacked():
    for name in ("fgsm", "pgd", "table-attack"):
        not_applicable(probe(name, only("categories")), "no number may change")
    for name in ("category-swap", "table-attack"):
        not_applicable(probe(name, only("numbers")), "no category may change")
    assert "not applicable" not in probe("category-swap", only("categories")).title
    not_applicable(probe("pgd", only("numbers"), immutable=("a",)), "no number may change")


# Networks of other people


def test_a_foreign_classifier_and_a_foreign_regression_are_attacked_in_their_own_units():
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(size=(300, 2, 3)) * 50 + 100, dtype=torch.float32)
    weight = torch.tensor(rng.normal(size=(6, 3)), dtype=torch.float32)
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
    with torch.no_grad():
        net[1].weight.copy_(weight.T)
        net[1].bias.copy_(-100 * weight.sum(0))
    y = net(x).argmax(1)
    model = Model.wrap(net, loss="cross-entropy", x=x, y=y.numpy(), low=0.0, high=255.0)
    subject = Subject(model=model, data=Data.from_tensors({"x": x}, y, model.spec, model.target))
    found = probe("pgd", subject)
    assert found.measured["accuracy_clean"] == 1.0 > found.measured["accuracy_attacked"]
    assert found.measured["values_that_can_move"] == 6
    assert all(str(row[0]).startswith("x[") for row in found.tables[1].rows) and found.tables[2].rows
    not_applicable(probe("category-swap", subject), "no category may change")

    z = net(x)[:, 0].detach()
    one = nn.Sequential(nn.Flatten(), nn.Linear(6, 1))
    with torch.no_grad():
        one[1].weight.copy_(weight[:, :1].T)
        one[1].bias.copy_(-100 * weight[:, 0].sum())
    model = Model.wrap(one, loss=SquaredError(), x=x, y=z.numpy())
    data = Data.from_tensors({"x": x}, z.double() + 1.0, model.spec, model.target)
    found = probe("fgsm", Subject(model=model, data=data), eps=(0.1,))
    wanted = 1.0 + 0.1 * model.spec["x"].scale * float(weight[:, 0].abs().sum())
    assert found.measured["rmse_attacked"] == pytest.approx(wanted, rel=1e-4)


def test_rows_without_a_finite_prediction_are_left_out_and_counted():
    x = torch.arange(1.0, 41.0, dtype=torch.float64)[:, None]
    spec = InputSpec(fields=(NumberField(name="a", low=0.0, high=50.0, scale=1.0),))
    target = TargetSpec(name="z", task="number", center=20.0, scale=11.0, low=1.0, high=40.0)
    net = Function(lambda a: torch.where(a < 4, torch.nan, a))
    data = Data.from_tensors({"numbers": x}, x[:, 0] + 0.5, spec, target)
    found = probe("fgsm", Subject(model=Model(net.eval(), spec, target, SquaredError()), data=data), eps=(0.1,))
    assert found.measured["rows"] == 37 and "3 rows without a finite prediction" in found.todo
    nothing = Model(Function(lambda a: a * torch.nan).eval(), spec, target, SquaredError())
    not_applicable(probe("pgd", Subject(model=nothing, data=data)), "no row has a finite prediction")


# Wrong use


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("fgsm", {"eps": (0.0, 0.1)}, "above 0"),
        ("pgd", {"eps": ()}, "above 0"),
        ("pgd", {"steps": 0}, "steps"),
        ("category-swap", {"swaps": (0,)}, "swaps"),
        ("category-swap", {"swaps": ()}, "swaps"),
        ("table-attack", {"immutable": ("colr",)}, "did you mean 'colour'"),
        ("fgsm", {"rows": 0}, "rows"),
    ],
)
def test_senseless_options_are_refused(name, options, words, binary):
    with pytest.raises(UsageError, match=words):
        probe(name, binary, **options)


def test_columns_with_very_many_categories_are_said_to_be_searched_in_part(binary):
    found = probe("category-swap", binary, max_categories=2, **QUICK)
    assert "Only the 2 most frequent categories of colour were tried." in found.todo
