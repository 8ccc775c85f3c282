"""Explanations: closed forms on networks that can be worked out by hand, and laws over the gallery."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conftest import make_data
from netwright.adapt.rows import Kind
from netwright.core.finding import Finding
from netwright.core.spec import CategoryField, InputSpec, NumberField, TargetSpec, VectorField
from netwright.data.data import Data
from netwright.explain.columns import columns_of
from netwright.explain.dependence import partial_dependence
from netwright.explain.entries import EXPLANATIONS
from netwright.explain.permutation import measure, permutation_importance
from netwright.explain.sensitivity import sensitivity
from netwright.explain.slopes import averaged, gradients
from netwright.losses.standard import CrossEntropy, SquaredError
from netwright.model import Model, Subject
from netwright.recipes.book import design
from netwright.workflow.probing import ask, fitting, load_subject
from test_checks_images_text import mixed

N = 3000
WEIGHTS = (3.0, -0.5, 0.0)
SPREADS = (1.0, 10.0, 2.0)
VALUES = {"": 0.0, "red": 4.0, "green": 1.0, "blue": -2.0}


class ByHand(nn.Module):
    """z = 3 a - 0.5 b + 0 c + value of the colour, in raw units; of two classes, the logit of the second."""

    def __init__(self, classes: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(WEIGHTS, dtype=torch.float64))
        self.colour = nn.Parameter(torch.tensor([0.0, 4.0, 1.0, -2.0], dtype=torch.float64))
        self.classes = classes

    def forward(self, x):  # type: ignore[no-untyped-def]
        z = (x["numbers"].nan_to_num(0.0) * self.weight).sum(1) + self.colour[x["codes"][:, 0]]
        return torch.stack([torch.zeros_like(z), z / 5], 1) if self.classes else z.unsqueeze(1)


def by_hand(task: str = "number", noise: float = 1.0, temperature: float = 1.0, missing: bool = False) -> Subject:
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(N, 3)) * SPREADS + [5.0, 0.0, 0.0]
    numbers[:, 1] = numbers[:, 1].round()
    codes = rng.integers(1, 4, size=(N, 1))
    if missing:
        numbers[::7, 0] = np.nan
    x = {"numbers": torch.from_numpy(numbers), "codes": torch.from_numpy(codes)}
    net = ByHand(task == "binary").eval()
    with torch.no_grad():
        z = net(x)[:, -1].numpy()
    fields = [
        NumberField(name=n, kind="integer" if n == "b" else "number", low=float(v.min()), high=float(v.max()), scale=s)
        for n, v, s in zip("abc", np.nan_to_num(numbers.T), SPREADS, strict=True)
    ]
    spec = InputSpec(fields=(*fields, CategoryField(name="colour", categories=("red", "green", "blue"))))
    if task == "binary":
        target = TargetSpec(name="y", task="binary", classes=("no", "yes"), priors=(0.5, 0.5))
        y = torch.from_numpy((rng.random(N) < 1 / (1 + np.exp(-z))).astype(np.int64))
        model = Model(net, spec, target, CrossEntropy(), temperature=temperature)
    else:
        y = torch.from_numpy(z + noise * rng.normal(size=N))
        target = TargetSpec(name="y", task="number", unit="EUR", center=float(y.mean()), scale=float(y.std()))
        model = Model(net, spec, target, SquaredError())
    return Subject(model=model, data=Data.from_tensors(x, y, spec, target))


def rows_of(finding: Finding, title: str) -> dict[str, dict[str, object]]:
    """A table by its first column."""
    (table,) = [t for t in finding.tables if title in t.title]
    return {str(row[0]): dict(zip(table.columns, row, strict=True)) for row in table.rows}


def foreign(module: nn.Module, x: Tensor, y: Tensor, loss: object = "cross-entropy", kind: Kind = "vector") -> Subject:
    model = Model.wrap(module, loss=loss, x=x, y=y, kind=kind)  # type: ignore[arg-type]
    return Subject(model=model, data=Data.from_tensors(model.encode(x), y, model.spec, model.target))


def trained_like(task: str) -> Subject:
    """A recipe's network (not trained, its head made to matter) on the small frame, with missing cells."""
    data = make_data(task)
    recipe, _ = design(data.spec, data.target, 240)
    net = recipe.build(data.spec, data.target, 1).eval()
    with torch.no_grad():
        net.body.head.weight.mul_(20)  # type: ignore[union-attr]
    return Subject(model=Model(net, data.spec, data.target, recipe.make_loss(data.target), recipe), data=data)


def mixed_subject() -> Subject:
    """A recipe's network (not trained) on a number, a category, a text and images."""
    data = mixed()
    recipe, _ = design(data.spec, data.target, 180)
    recipe = recipe.with_options(width=8)
    net = recipe.build(data.spec, data.target, 1).eval()
    return Subject(model=Model(net, data.spec, data.target, recipe.make_loss(data.target), recipe), data=data)


def image_subject(kind: Kind, loss: object = "cross-entropy") -> Subject:
    x = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    return foreign(net, x, torch.arange(64) % 3, loss, kind)


WORDS = ("good", "bad", "film", "plot", "the", "a")


def text_subject(loss: object = "cross-entropy") -> Subject:
    """A wrapped module with a tokeniser of its own."""

    def tokenise(texts: list[str]) -> Tensor:
        return torch.tensor([[sum(w == word for w in t.split()) for word in WORDS] for t in texts]).float()

    texts = [f"{WORDS[i % 2]} {WORDS[i % 5]} a {WORDS[i % 3]}" for i in range(60)]
    torch.manual_seed(0)
    return load_subject(nn.Linear(len(WORDS), 3), texts, np.arange(60) % 3, loss=loss, encode=tokenise)


SUBJECTS = {
    "by hand, number": lambda: by_hand("number"),
    "by hand, binary": lambda: by_hand("binary"),
    "recipe, number": lambda: trained_like("number"),
    "recipe, binary": lambda: trained_like("binary"),
    "wrapped, classes": lambda: foreign(nn.Linear(4, 3), torch.randn(90, 4), torch.arange(90) % 3),
    "wrapped, images as vectors": lambda: image_subject("vector"),
    "wrapped, images": lambda: image_subject("image"),
    "wrapped, texts": text_subject,
    "recipe, mixed": mixed_subject,
    "wrapped, whole numbers": lambda: foreign(
        nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 2)),
        torch.arange(120).reshape(40, 3) % 9,
        torch.arange(40) % 2,
    ),
}


CASES = [(kind, entry.name) for kind, make in SUBJECTS.items() for entry in fitting(EXPLANATIONS, make())]
OWN = {"attention", "gates", "gradient-over-time", "filters-in-time", "filters-of-volumes", "shifts-in-time"}
"""Explanations that have subjects of their own elsewhere."""
BY_COLUMN = ("permutation-importance", "sensitivity", "partial-dependence")


def ask_by_name(name: str, subject: Subject, budget_seconds: float = 60.0, seed: int = 2) -> Finding:
    return ask(EXPLANATIONS[name], "explain", subject, budget_seconds=budget_seconds, seed=seed)


# Laws.


def test_every_explanation_has_something_to_explain() -> None:
    assert {name for _, name in CASES} == set(EXPLANATIONS) - OWN
    assert [name for kind, name in CASES if kind == "wrapped, images"] == [
        *("occlusion", "integrated-gradients", "filters", "shifts")
    ]
    assert [name for kind, name in CASES if kind == "wrapped, texts"] == ["deletion", "token-gradients"]
    assert {name for kind, name in CASES if kind == "recipe, mixed"} == set(EXPLANATIONS) - OWN


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_an_explanation_is_deterministic_names_every_column_and_leaves_the_model_alone(name: str, kind: str) -> None:
    subject = SUBJECTS[kind]()
    model = subject.model
    assert model is not None
    before, state = copy.deepcopy(model.module.state_dict()), torch.get_rng_state()
    finding = ask_by_name(name, subject)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in model.module.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.module.parameters())
    assert not any(m.training for m in model.module.modules())
    torch.manual_seed(77)
    assert ask_by_name(name, subject).model_copy(update={"seconds": finding.seconds}) == finding
    if name in BY_COLUMN:
        named = {str(row[0]) for table in finding.tables for row in table.rows}
        curves = name == "partial-dependence"
        asked = [
            c for c in columns_of(model.spec) if not curves or c.is_category or (c.is_smooth and c.index is not None)
        ]
        assert named >= {c.name for c in asked}
    assert finding.probe == name and finding.family == "explain" and finding.reference
    assert Finding.model_validate_json(finding.model_dump_json()) == finding


def subject_for(name: str, loss: object = "cross-entropy") -> Subject:
    """A small subject that an explanation fits."""
    needs = EXPLANATIONS[name].needs
    if "images" in needs:
        return image_subject("image", loss)
    return (
        text_subject(loss)
        if "texts" in needs
        else foreign(nn.Linear(4, 3), torch.randn(60, 4), torch.arange(60) % 3, loss)
    )


@pytest.mark.parametrize("name", EXPLANATIONS)
def test_an_explanation_is_not_applicable_where_the_link_is_unknown(name: str) -> None:
    finding = ask_by_name(name, subject_for(name, nn.functional.cross_entropy), budget_seconds=9)
    assert finding.verdict == "info" and finding.title.startswith("not applicable")


@pytest.mark.parametrize("name", sorted(set(EXPLANATIONS) - {"filters", "shifts"} - OWN))
def test_an_explanation_out_of_time_says_so(name: str) -> None:
    """Not asked of those that take a moment, or look at a few rows whatever the time."""
    subject = by_hand() if name in BY_COLUMN else mixed_subject()
    finding = ask_by_name(name, subject, budget_seconds=0)
    assert finding.verdict == "info" and "out of time" in finding.title


@pytest.mark.parametrize("name", ["sensitivity", "partial-dependence"])
def test_an_explanation_of_numbers_says_so_where_there_are_images_and_texts_too(name: str) -> None:
    title = ask_by_name(name, mixed_subject()).title
    assert title.startswith(("among numbers and categories, ", "no input moves"))
    assert not ask_by_name(name, by_hand()).title.startswith("among")


def test_vectors_are_taken_apart_and_images_are_not() -> None:
    spec = InputSpec(
        kind="vector",
        fields=(
            VectorField(name="v", shape=(3,)),
            VectorField(name="i", shape=(2, 2)),
            VectorField(name="w", shape=(500,)),
        ),
    )
    assert [c.name for c in columns_of(spec)] == ["v[0]", "v[1]", "v[2]", "i", "w"]
    x = {"v": torch.zeros(2, 3), "i": torch.zeros(2, 2, 2), "w": torch.zeros(2, 500)}
    second, image = columns_of(spec)[1], columns_of(spec)[3]
    assert second.put(x, torch.tensor([1.0, 2.0]))["v"].tolist() == [[0, 1, 0], [0, 2, 0]]
    assert image.put(x, torch.ones(2, 2, 2))["i"].sum() == 8 and x["v"].sum() == 0 == x["i"].sum()


# Permutation importance.


def test_shuffling_a_column_of_a_linear_model_costs_what_theory_says() -> None:
    subject = by_hand("number", noise=1.0)
    finding = permutation_importance(Subject(model=subject.model, data=subject.data, metric="rmse"))
    found = rows_of(finding, "Permutation")
    for name, weight, spread in zip("ab", WEIGHTS, SPREADS, strict=False):
        theory = math.sqrt(1 + 2 * weight**2 * spread**2) - 1  # the mean squared error rises by 2 w^2 var(x)
        row = found[name]
        assert row["increase of rmse"] == pytest.approx(theory, rel=0.05)
        assert row["low"] < theory < row["high"]  # type: ignore[operator]
        assert row["judgement"] == "used"
    variance = np.var([4, 1, -2])
    assert found["colour"]["increase of rmse"] == pytest.approx(math.sqrt(1 + 2 * variance) - 1, rel=0.1)
    assert [row[0] for row in finding.tables[0].rows] == ["b", "a", "colour", "c"]


def test_a_column_that_is_not_used_is_worth_exactly_nothing() -> None:
    finding = permutation_importance(by_hand("binary"))
    row = rows_of(finding, "Permutation")["c"]
    assert row["increase of log-loss"] == row["low"] == row["high"] == 0.0 and row["judgement"] == "no measurable use"
    assert finding.measured["columns_used"] == 3 and "1 of 4 columns" in finding.title


def test_a_column_that_only_carries_noise_has_an_interval_around_zero() -> None:
    rng = np.random.default_rng(1)
    x = torch.from_numpy(rng.normal(size=(2000, 2))).float()
    net = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 0.02]]))  # what a fit to noise leaves behind
    y = (x[:, 0] + torch.from_numpy(rng.normal(size=2000)).float()).double()
    subject = foreign(net, x, y, "squared-error")
    row = rows_of(permutation_importance(subject), "Permutation")["x[1]"]
    assert row["low"] < 0 < row["high"] and row["judgement"] == "no measurable use"  # type: ignore[operator]


def test_importance_is_positive_for_metrics_that_should_be_large() -> None:
    subject = by_hand("binary")
    finding = permutation_importance(Subject(model=subject.model, data=subject.data, metric="roc-auc"))
    row = rows_of(finding, "Permutation")["b"]
    assert row["decrease of roc-auc"] > 0.05 and finding.measured["roc-auc"] > 0.7  # type: ignore[operator]


def test_a_model_that_uses_nothing_is_warned_about() -> None:
    net = nn.Linear(3, 2)
    nn.init.zeros_(net.weight)
    finding = permutation_importance(foreign(net, torch.randn(80, 3), torch.arange(80) % 2))
    assert finding.verdict == "warn" and "no column has a measurable use" in finding.title


def test_the_interval_covers_the_true_importance_about_as_often_as_it_says() -> None:
    theory, covered = math.sqrt(1 + 2 * 9) - 1, 0
    for trial in range(40):
        rng = np.random.default_rng(trial)
        x = torch.from_numpy(rng.normal(size=(300, 1))).float()
        net = nn.Linear(1, 1, bias=False)
        nn.init.constant_(net.weight, 3.0)
        subject = foreign(net, x, 3 * x[:, 0].double() + torch.from_numpy(rng.normal(size=300)), "squared-error")
        row = rows_of(permutation_importance(subject, seed=trial), "Permutation")["x[0]"]
        covered += row["low"] <= theory <= row["high"]  # type: ignore[operator]
    assert covered >= 36


def test_rows_with_weight_zero_do_not_count() -> None:
    subject = by_hand("number")
    assert subject.model and subject.data
    block = subject.data.block("test")
    batch = block.take(torch.arange(400))
    weight = (torch.arange(400) < 200).double()
    columns = columns_of(subject.model.spec)
    spoiled = type(batch)(batch.x, torch.where(weight > 0, batch.y, 1e6), weight)
    base, _ = measure(subject.model, spoiled, columns, "rmse", 1, 0)
    assert base < 2


# Sensitivity.


def test_the_sensitivity_of_a_linear_model_is_its_weights_in_raw_units() -> None:
    finding = sensitivity(by_hand("number"))
    found = rows_of(finding, "Numbers")
    for name, weight, spread in zip("abc", WEIGHTS, SPREADS, strict=True):
        row = found[name]
        assert row["change per unit, by the gradient"] == pytest.approx(weight, abs=1e-9)
        assert row["low"] == pytest.approx(weight, abs=1e-9) == row["high"]
        assert row["size of the change by a spread, measured"] == pytest.approx(abs(weight) * spread, abs=1e-6)
    assert found["b"]["change for +1, measured"] == pytest.approx(-0.5, abs=1e-6)
    assert found["a"]["change for +1, measured"] is None, "only whole numbers have a next one"
    assert "the predicted y in EUR" in finding.title and "b (5 per spread), colour (" in finding.title


def test_the_size_of_a_swap_is_the_mean_distance_to_the_other_categories() -> None:
    subject = by_hand("number")
    row = rows_of(sensitivity(subject), "Categories")["colour"]
    # red 4, green 1, blue -2: from red 3 and 6, from green 3 and 3, from blue 6 and 3; each colour on a third of the rows
    assert row["size of the change by a swap"] == pytest.approx(4.0, abs=0.15)
    assert row["low"] < 4.0 < row["high"]  # type: ignore[operator]
    assert (row["highest if all rows had"], row["lowest if all rows had"]) == ("red", "blue")
    assert row["change then"] == pytest.approx(3.0, abs=0.3) and row["change there"] == pytest.approx(-3.0, abs=0.3)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_gradient_of_a_probability_is_that_of_the_calibrated_one(temperature: float) -> None:
    subject = by_hand("binary", temperature=temperature)
    assert subject.model and subject.data
    x = subject.data.block("test").x
    found = gradients(subject.model, x, columns_of(subject.model.spec))
    p = subject.model.predict_encoded(x)[:, 1]
    for name, weight in zip("abc", WEIGHTS, strict=True):
        np.testing.assert_allclose(found[name], p * (1 - p) * weight / 5 / temperature, atol=1e-9)


def test_the_gradient_agrees_with_small_steps_on_a_recipe_of_ours() -> None:
    subject = trained_like("number")
    assert subject.model and subject.data
    x, columns = subject.data.block("test").x, columns_of(subject.model.spec)
    found = gradients(subject.model, x, columns)
    for column in columns[:3]:
        step = 1e-3 * column.scale
        up, down = (subject.model.predict_encoded(column.put(x, column.of(x) + s)) for s in (step, -step))
        slope, there = (up - down) / (2 * step), column.of(x).isfinite().numpy()
        assert np.isnan(found[column.name][~there]).all(), "a missing cell has no gradient"
        close = np.isclose(found[column.name][there], slope[there], rtol=0.05, atol=0.02 * np.abs(slope[there]).max())
        assert close.mean() > 0.9  # the rest stand on a kink of a piecewise-linear embedding


def test_missing_cells_do_not_dilute_a_mean() -> None:
    row = rows_of(sensitivity(by_hand("number", missing=True)), "Numbers")["a"]
    assert row["change per unit, by the gradient"] == pytest.approx(3.0)
    assert row["size of the change by a spread, measured"] == pytest.approx(3.0, abs=1e-6)


def test_a_steep_gradient_that_reaches_nowhere_is_not_ranked_first() -> None:
    class Ripple(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x[:, :1] + 0.01 * torch.sin(1000 * x[:, 1:])) / 1

    x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    finding = sensitivity(foreign(Ripple(), x, x[:, 0].double(), "squared-error"))
    found = rows_of(finding, "Numbers")
    assert found["x[1]"]["size of it"] > found["x[0]"]["size of it"]  # type: ignore[operator]
    assert finding.measured["strongest"] == "x[0]"


def test_intervals_of_means_shrink_with_the_rows_and_skip_what_is_missing() -> None:
    rng = np.random.default_rng(0)

    def width(n: int) -> float:
        values = rng.normal(size=n)
        values[0] = np.nan
        mean, low, high = averaged(values, rng.multinomial(n, np.full(n, 1 / n), 400).astype(float))
        assert low < mean < high and mean == pytest.approx(np.nanmean(values))
        return high - low

    assert width(100) == pytest.approx(2 * 1.96 / 10, rel=0.3)
    assert width(2500) == pytest.approx(2 * 1.96 / 50, rel=0.3)


def test_a_vector_in_the_shape_of_an_image_gives_a_heat_map_of_its_pixels() -> None:
    finding = sensitivity(image_subject("vector"))
    (heat,) = [f for f in finding.figures if f.kind == "heatmap"]
    assert np.array(heat.series[0].z).shape == (8, 8)


# Partial dependence.


def test_the_partial_dependence_of_an_additive_model_is_its_own_term() -> None:
    finding = partial_dependence(by_hand("number"))
    figures = {f.x_label: f for f in finding.figures}
    assert list(figures) == ["b", "a", "colour", "c"], "by how much they move the answer"
    for name, weight in zip("abc", WEIGHTS, strict=True):
        (series,) = figures[name].series
        slope = np.diff(np.array(series.y, dtype=float)) / np.diff(np.array(series.x, dtype=float))
        np.testing.assert_allclose(slope, weight, atol=1e-6)
        width = np.array(series.high, dtype=float) - np.array(series.low, dtype=float)
        np.testing.assert_allclose(width, width[0], rtol=1e-6), "without interactions the band is as wide everywhere"
    colour = dict(zip(figures["colour"].series[0].x, figures["colour"].series[0].y, strict=True))
    assert float(colour["red"] or 0) - float(colour["blue"] or 0) == pytest.approx(6.0, abs=1e-6)
    assert figures["colour"].kind == "bar" and all(float(v or 0).is_integer() for v in figures["b"].series[0].x)


def test_the_partial_dependence_is_a_mean_over_rows_and_its_band_shows_an_interaction() -> None:
    class Product(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :1] * x[:, 1:]

    rng = np.random.default_rng(0)
    x = torch.from_numpy(np.stack([rng.normal(size=2000), 2 * rng.integers(0, 2, 2000)], 1)).float()  # slope 0 or 2
    finding = partial_dependence(foreign(Product(), x, x.prod(1).double(), "squared-error"))
    (series,) = next(f for f in finding.figures if f.x_label == "x[0]").series
    points, mean, high = (np.array(v, dtype=float) for v in (series.x, series.y, series.high))
    assert np.polyfit(points, mean, 1)[0] == pytest.approx(1.0, abs=0.2)
    np.testing.assert_allclose(high[points > 0], 2 * points[points > 0], rtol=1e-5)


def test_each_class_has_its_curve_where_there_are_several() -> None:
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    net = nn.Linear(3, 3)
    with torch.no_grad():
        net.weight.copy_(4 * torch.eye(3))
    finding = partial_dependence(foreign(net, x, x.argmax(1)))
    assert len(finding.figures) == 3
    series = {s.name: s for s in finding.figures[0].series}
    assert set(series) == {"0", "1", "2"}
    own = finding.figures[0].x_label[2]
    assert float(series[own].y[-1] or 0) > 0.9 > 0.1 > float(series[own].y[0] or 0)


def test_a_date_is_drawn_as_a_date() -> None:
    days = torch.arange(19000.0, 19400.0, dtype=torch.float64).unsqueeze(1)

    class Trend(nn.Module):
        def forward(self, x):  # type: ignore[no-untyped-def]
            return x["numbers"] - 19000

    spec = InputSpec(fields=(NumberField(name="day", kind="date", low=19000, high=19399, scale=115.0),))
    target = TargetSpec(name="y", task="number")
    y = days[:, 0] - 19000
    subject = Subject(
        model=Model(Trend().eval(), spec, target, SquaredError()),
        data=Data.from_tensors({"numbers": days}, y, spec, target),
    )
    (figure,) = partial_dependence(subject).figures
    assert str(figure.series[0].x[0]) == "2022-01-11"
