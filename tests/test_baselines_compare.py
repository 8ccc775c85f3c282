"""Which contender is recommended, and where the network errs: on problems whose answer was planted."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from conftest import make_data, make_frame
from netwright.baselines.compare import best_of, compare, comparison, describe, recommend
from netwright.baselines.entries import COMPARISONS
from netwright.baselines.errors import errors
from netwright.baselines.intervals import Paired, Score
from netwright.baselines.slices import worst_slices
from netwright.baselines.tables import fit_baseline
from netwright.core.errors import UsageError
from netwright.core.finding import Finding
from netwright.core.seed import numpy_generator
from netwright.data.data import Data
from netwright.losses.loss import adapt
from netwright.losses.metrics import metrics_for
from netwright.losses.standard import CrossEntropy, SquaredError
from netwright.model import Model, Subject
from netwright.recipes.book import design
from test_baselines_tables import TABLES, table


class Wise(torch.nn.Module):
    """Knows the rule of `conftest.make_frame`, up to a factor of sureness and a shift."""

    def __init__(self, task: str, sureness: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        self.task, self.sureness, self.shift = task, sureness, shift

    def forward(self, x: dict[str, torch.Tensor]) -> torch.Tensor:
        a, b = x["numbers"][:, 0].nan_to_num(10.0), x["numbers"][:, 1]
        strength = (a - 10) / 3 + 0.1 * (b - 10) + torch.where(x["codes"][:, 0] == self.red, 1.5, -0.5) + self.shift
        if self.task == "number":
            return (100 + 20 * strength)[:, None]
        return torch.stack([torch.zeros_like(strength), 5 * self.sureness * strength], 1)

    red = 0


def wise(data: Data, **how: float) -> Model:
    """A model that knows the rule."""
    net = Wise(data.target.task, **how)
    net.red = data.spec.categories[0].categories.index("red") + 1
    loss = SquaredError() if data.target.is_number else CrossEntropy()
    return Model(net.eval(), data.spec, data.target, loss)  # type: ignore[arg-type]


def subject_of(data: Data, **how: float) -> Subject:
    predictions = {name: fit_baseline(name, data).predict("test") for name in TABLES}
    return Subject(model=wise(data, **how), data=data, predictions=predictions)


def check_json(found: Finding) -> None:
    assert Finding.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize("task", ["binary", "number"])
def test_a_network_that_is_clearly_better_is_recommended(task: str) -> None:
    frame = make_frame(1500).drop_nulls()
    kinds = {"a": "number", "b": "integer", "noise": "number", "colour": "category"}
    data = table(frame, "y" if task == "binary" else "z", kinds, task)
    trees = ("dummy", "gradient-boosting")  # the rule is linear, so that the linear baseline knows it as well
    predictions = {name: fit_baseline(name, data).predict("test") for name in trees}
    found = comparison(Subject(model=wise(data), data=data, predictions=predictions), budget_seconds=5, seed=0)
    assert found.verdict == "pass" and found.measured["recommended"] == "network"
    assert found.title.startswith("Use the network: its ")
    assert [row[0] for row in found.tables[0].rows] == ["network", *trees]
    check_json(found)


@pytest.mark.parametrize("task", ["binary", "number"])
def test_a_network_that_is_clearly_worse_is_not_recommended(task: str) -> None:
    found = comparison(subject_of(make_data(task, n=1500), shift=3.0), budget_seconds=5, seed=0, best="linear")
    assert found.verdict == "warn" and found.measured["recommended"] == "linear"
    assert found.title.startswith("Use linear: its ") and "beats the network's" in found.title
    assert "baseline.py" in found.todo


@pytest.mark.parametrize("task", ["binary", "number"])
def test_at_a_tie_the_baseline_is_recommended(task: str) -> None:
    data = make_data(task)
    model = wise(data)
    twin = model.predict_encoded(data.block("test").x)
    found = compare(model, data, {"linear": twin}, best="linear")
    assert (found.recommended, found.paired.p_value) == ("linear", 1.0)
    assert "cannot be told apart" in found.sentence and "simpler" in found.sentence
    assert describe(found).verdict == "warn"


@pytest.mark.parametrize(("metric", "sign"), [("accuracy", 1), ("log-loss", -1), ("rmse", -1), ("r2", 1)])
@pytest.mark.parametrize("p_value", [0.001, 0.049, 0.05, 0.6])
@pytest.mark.parametrize("better", [True, False])
def test_the_network_is_recommended_only_where_it_wins_clearly(
    metric: str, sign: int, p_value: float, better: bool
) -> None:
    difference = 0.1 * sign * (1 if better else -1)
    scores = {
        "network": {metric: Score(value=0.5 + difference, low=0.1, high=0.9)},
        "linear": {metric: Score(value=0.5, low=0.1, high=0.9)},
    }
    test = Paired(metric=metric, difference=difference, low=-1, high=1, p_value=p_value, test="paired t test")
    name, sentence = recommend(metric, scores, test, "linear", 100)
    assert name == ("network" if better and p_value < 0.05 else "linear")
    assert sentence.startswith(f"Use {'the network' if name == 'network' else name}:") and "100 test rows" in sentence


def test_where_nothing_beats_the_dummy_the_sentence_says_so() -> None:
    data = make_data()
    p = fit_baseline("dummy", data).predict("test")
    found = compare(wise(data, shift=9.0), data, {"dummy": p})
    assert found.recommended == "dummy" and "none of them has found anything" in found.sentence


def test_without_a_choice_on_validation_rows_the_finding_says_on_which_rows_it_was_made() -> None:
    subject = subject_of(make_data())
    assert "on these same test rows" in comparison(subject, budget_seconds=5, seed=0).why
    assert "on validation rows" in comparison(subject, budget_seconds=5, seed=0, best="linear").why


@pytest.mark.parametrize("metric", ["rmse", "mae", "r2"])
def test_the_best_prediction_is_the_one_with_the_best_metric(metric: str) -> None:
    y = numpy_generator(0, "best").normal(size=50)
    predictions = {"far": y + 2, "near": y + 0.1, "inverted": -y}
    assert best_of(metric, y, predictions) == "near"
    assert best_of(metric, y, {name: predictions[name] for name in ("near", "far")}) == "near"
    assert best_of(metric, y, {"one": predictions["near"], "other": predictions["near"]}) == "one"


def test_a_metric_that_is_not_defined_on_the_rows_gives_way() -> None:
    sure, unsure = np.tile([0.9, 0.1], (5, 1)), np.tile([0.6, 0.4], (5, 1))
    assert best_of("roc-auc", np.zeros(5, dtype=int), {"unsure": unsure, "sure": sure}) == "sure"


def test_scores_of_all_metrics_are_given_for_all_contenders() -> None:
    data = make_data()
    subject = subject_of(data)
    assert subject.model is not None
    found = compare(subject.model, data, subject.predictions)
    assert list(found.scores) == ["network", *TABLES]
    assert all(list(each) == metrics_for("binary") for each in found.scores.values())


def test_wrong_questions_are_refused() -> None:
    data = make_data()
    model, p = wise(data), fit_baseline("linear", data).predict("test")
    with pytest.raises(UsageError, match="no baseline to compare"):
        compare(model, data, {})
    with pytest.raises(UsageError, match="did you mean 'linear'"):
        compare(model, data, {"linear": p}, best="liner")
    with pytest.raises(UsageError, match="does not fit"):
        compare(model, data, {"linear": p}, metric="rmse")


@pytest.mark.parametrize("name", COMPARISONS)
def test_every_probe_says_that_an_unknown_link_is_unknown(name: str) -> None:
    subject = subject_of(make_data())
    assert subject.model is not None
    subject.model.loss = adapt(torch.nn.functional.cross_entropy)
    found = COMPARISONS[name].load()(subject, budget_seconds=5, seed=0)
    assert found.verdict == "info" and found.title.startswith("not applicable") and found.todo


@pytest.mark.parametrize("task", ["binary", "number"])
@pytest.mark.parametrize("name", COMPARISONS)
def test_every_probe_answers_for_an_untrained_network_of_ours(name: str, task: str) -> None:
    data = make_data(task)
    recipe, _ = design(data.spec, data.target, len(data.split["train"]))
    model = Model(
        recipe.build(data.spec, data.target, 0).eval(), data.spec, data.target, recipe.make_loss(data.target), recipe
    )
    predictions = {"dummy": fit_baseline("dummy", data).predict("test")}
    found = COMPARISONS[name].load()(Subject(model=model, data=data, predictions=predictions), budget_seconds=5, seed=0)
    assert (found.probe, found.family) == (name, "baselines") and found.title and found.why and found.figures
    check_json(found)


def test_the_confusion_matrix_counts_every_test_row_once() -> None:
    data = make_data(n=900)
    found = errors(Subject(model=wise(data, shift=1.0), data=data), budget_seconds=5, seed=0)
    z = np.array(found.figures[0].series[0].z)
    y = data.y("test")
    assert z.sum() == len(y) and z.sum(1).tolist() == np.bincount(y).tolist()
    assert found.measured["share_wrong"] == pytest.approx(1 - np.trace(z) / len(y))
    assert "'no' is taken for 'yes'" in found.title
    recall = [row[2] for row in found.tables[0].rows]
    assert recall == pytest.approx((np.diag(z) / z.sum(1)).tolist())


def test_the_worst_rows_are_the_worst_with_their_raw_cells() -> None:
    data = make_data(n=900)
    found = errors(Subject(model=wise(data), data=data), budget_seconds=5, seed=0)
    worst = found.tables[1]
    p = wise(data).predict_encoded(data.block("test").x)[np.arange(180), data.y("test")]
    assert [row[3] for row in worst.rows] == pytest.approx(np.sort(p)[:20].tolist())
    assert data.frame is not None
    for row in worst.rows:
        raw = data.frame.row(int(row[0] or 0), named=True)
        assert dict(zip(worst.columns[4:], row[4:], strict=True)) == {c: raw[c] for c in ("a", "b", "noise", "colour")}
        assert row[1] == raw["y"]


def test_the_largest_residuals_come_first() -> None:
    data = make_data("number", n=900)
    found = errors(Subject(model=wise(data), data=data), budget_seconds=5, seed=0)
    residuals = [abs(float(row[3] or 0)) for row in found.tables[0].rows]
    assert residuals == sorted(residuals, reverse=True) and residuals[0] == found.measured["largest_absolute_error"]


def test_a_class_that_is_never_found_is_warned_of() -> None:
    data = make_data()
    found = errors(Subject(model=wise(data, shift=100.0), data=data), budget_seconds=5, seed=0)
    assert found.verdict == "warn" and found.title.startswith("never found: 'no'")


def test_a_planted_slice_is_found_and_chance_is_not() -> None:
    rng, n = numpy_generator(0, "slices"), 4000
    frame = pl.DataFrame(
        {
            "age": rng.integers(20, 70, n),
            "town": rng.choice(["A", "B", "C", "D"], n),
            "noise": [None if v < 0.1 else v for v in rng.random(n)],
            "y": rng.normal(size=n),
        }
    )
    data = table(frame, "y", {"age": "integer", "town": "category", "noise": "number"}, "number")
    x = data.block("train").x
    losses = rng.exponential(size=len(data.split["train"]))
    train = data.part("train")
    chance = len(worst_slices(x, data.spec, losses, top=100))
    planted = losses + 2 * (train["town"] == "C").to_numpy() + 1.5 * train["noise"].is_null().to_numpy()
    found = worst_slices(x, data.spec, planted)
    assert chance <= 3
    assert [(s.column, s.cells) for s in found[:2]] == [("town", "C"), ("noise", "(missing)")]
    assert found[0].loss == pytest.approx(planted[(train["town"] == "C").to_numpy()].mean())


def test_slices_by_number_hold_all_rows_between_their_ends() -> None:
    values = np.repeat([0.0, 0.0, 0.0, 5.0, 7.0, 9.0], 50)
    data = table(pl.DataFrame({"v": values, "y": values}), "y", {"v": "number"}, "number")
    x = {"numbers": torch.from_numpy(values)[:, None]}
    found = worst_slices(x, data.spec, (values == 7.0) + 0.01 * np.arange(300) % 0.02)
    assert sum(len(s.rows) for s in found) < 300
    assert all((values[s.rows] == 7.0).any() for s in found)


def test_small_slices_are_left_alone() -> None:
    data = make_data()
    x = data.block("test").x
    losses = np.where(x["codes"][:, 0].numpy() == 1, 5.0, 0.0)
    assert worst_slices(x, data.spec, losses, least=81) == []


def test_errors_of_a_foreign_network_on_tensors() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(300, 2, 4, 4, generator=rng)
    y = (x[:, 0].mean((1, 2)) > 0).long()
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32, 2))
    model = Model.wrap(net, loss="cross-entropy", x=x, y=y.numpy())
    data = Data.from_tensors({"x": x}, y, model.spec, model.target)
    predictions = {name: fit_baseline(name, data).predict("test") for name in TABLES}
    subject = Subject(model=model, data=data, predictions=predictions)
    for entry in COMPARISONS.values():
        found = entry.load()(subject, budget_seconds=5, seed=0)
        assert found.verdict in ("pass", "warn", "info")
        check_json(found)
