"""Classic methods: what each must do on tables and on tensors, and that it is what scikit-learn alone would give."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression

from conftest import make_data, make_frame
from netwright.baselines.classic import MAX_ROUNDS, METHODS
from netwright.baselines.entries import BASELINES
from netwright.baselines.tables import baseline, describe, fit_baseline
from netwright.core.errors import DataError, UsageError
from netwright.core.seed import numpy_generator
from netwright.core.spec import InputSpec, TargetSpec, VectorField
from netwright.data.data import PARTS, Data
from netwright.data.encode import fit_inputs, fit_target
from netwright.losses.metrics import metrics_for, score
from netwright.model import Subject

TABLES = [name for name, entry in BASELINES.items() if entry.fits(kind="table", task="binary")]


def table(frame: pl.DataFrame, target: str, kinds: dict[str, str], task: str, weight: np.ndarray | None = None) -> Data:
    """Rows split 60/20/20 in their order."""
    n = len(frame)
    ends = np.split(np.arange(n), [n * 6 // 10, n * 8 // 10])
    split = dict(zip(PARTS, ends, strict=True))
    train = frame[split["train"]]
    return Data(frame, fit_inputs(train, kinds), fit_target(train[target], task), split, weight)  # type: ignore[arg-type]


def many_classes(n: int = 600) -> Data:
    """Four classes that a number and a category tell apart."""
    rng = numpy_generator(0, "many")
    a, c = rng.normal(size=n), rng.choice(["p", "q"], n)
    y = [f"{'low' if v < 0 else 'high'}-{k}" for v, k in zip(a, c, strict=True)]
    return table(pl.DataFrame({"a": a, "c": c, "y": y}), "y", {"a": "number", "c": "category"}, "classes")


def data_of(task: str) -> Data:
    return many_classes() if task == "classes" else make_data(task)


def test_every_entry_has_its_method() -> None:
    assert set(BASELINES) == set(METHODS)
    assert all(entry.options == {"name": name} and entry.load() is baseline for name, entry in BASELINES.items())


@pytest.mark.parametrize("task", ["binary", "classes", "number"])
@pytest.mark.parametrize("name", TABLES)
def test_predictions_have_the_shape_of_the_target(name: str, task: str) -> None:
    data = data_of(task)
    fitted = fit_baseline(name, data, seed=0, budget_seconds=5)
    for part in PARTS:
        p, n = fitted.predict(part), len(data.split[part])
        assert p.dtype == np.float64 and np.isfinite(p).all()
        assert p.shape == ((n,) if task == "number" else (n, len(data.target.classes)))
        if task != "number":
            assert p.sum(1) == pytest.approx(np.ones(n)) and (p >= 0).all()


@pytest.mark.parametrize("task", ["binary", "classes", "number"])
@pytest.mark.parametrize("name", TABLES)
def test_the_same_seed_gives_the_same_predictions(name: str, task: str) -> None:
    data = data_of(task)
    first, second = (fit_baseline(name, data, seed=3, budget_seconds=5).predict("test") for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("task", ["binary", "number"])
@pytest.mark.parametrize("name", TABLES)
def test_a_raw_row_alone_is_predicted_as_among_others(name: str, task: str) -> None:
    data = make_data(task)
    fitted = fit_baseline(name, data)
    frame = data.part("test").drop(data.target.name)
    shuffled = frame.select(reversed(frame.columns))
    assert fitted.predict_frame(shuffled) == pytest.approx(fitted.predict("test"), rel=1e-12)
    assert fitted.predict_frame(frame[4:5])[0] == pytest.approx(fitted.predict("test")[4], rel=1e-12)


@pytest.mark.parametrize("name", TABLES)
def test_test_rows_have_no_influence_on_what_is_fitted(name: str) -> None:
    data = make_data("number")
    assert data.frame is not None
    z = data.frame["z"].to_numpy().copy()
    z[data.split["test"]] = -1e6
    spoiled = Data(data.frame.with_columns(z=pl.Series(z)), data.spec, data.target, data.split)
    assert np.array_equal(fit_baseline(name, data).predict("test"), fit_baseline(name, spoiled).predict("test"))


@pytest.mark.parametrize("task", ["binary", "classes", "number"])
def test_dummy_gives_the_shares_or_the_mean_of_the_training_rows(task: str) -> None:
    data = data_of(task)
    wanted = data.target.center if task == "number" else data.target.priors
    assert fit_baseline("dummy", data).predict("test") == pytest.approx(
        np.broadcast_to(wanted, fit_baseline("dummy", data).predict("test").shape)
    )


@pytest.mark.parametrize("task", ["binary", "classes", "number"])
@pytest.mark.parametrize("name", ["linear", "gradient-boosting"])
def test_what_can_be_learned_is_learned(name: str, task: str) -> None:
    found = baseline(Subject(data=data_of(task)), budget_seconds=10, seed=0, name=name)
    assert found.verdict == "pass" and found.probe == name and found.family == "baselines"
    assert set(metrics_for(task)) <= set(found.measured)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["linear", "gradient-boosting"])
def test_noise_is_found_to_be_noise(name: str) -> None:
    rng = numpy_generator(1, "noise")
    frame = pl.DataFrame({"a": rng.normal(size=500), "y": rng.choice(["no", "yes"], 500)})
    found = baseline(Subject(data=table(frame, "y", {"a": "number"}, "binary")), budget_seconds=5, seed=0, name=name)
    assert found.verdict == "warn" and "no better than ignoring the inputs" in found.title and found.todo


def test_the_finding_carries_the_test_scores() -> None:
    data = make_data()
    fitted = fit_baseline("linear", data)
    found = describe(fitted, "accuracy")
    for name in metrics_for("binary"):
        assert found.measured[name] == score(name, data.y("test"), fitted.predict("test"))
    assert found.title.startswith("linear: accuracy")
    assert describe(fit_baseline("dummy", data)).verdict == "info"


def test_linear_is_scikit_learns_logistic_regression_on_plain_numbers() -> None:
    rng = numpy_generator(0, "plain")
    x = rng.normal(5, 3, (500, 3))
    y = np.where(x @ [1, -1, 0.5] + rng.logistic(size=500) > 3, "yes", "no")
    data = table(
        pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": y}), "y", dict.fromkeys("abc", "number"), "binary"
    )
    fitted = fit_baseline("linear", data)
    train = x[data.split["train"]]
    scaled = (x - train.mean(0)) / train.std(0)
    reference = LogisticRegression(C=fitted.chosen["inverse_penalty_C"], max_iter=1000, tol=1e-8)
    reference.fit(scaled[data.split["train"]], data.y("train"))
    assert fitted.predict("test") == pytest.approx(reference.predict_proba(scaled[data.split["test"]]), abs=1e-3)


@pytest.mark.parametrize("task", ["binary", "number"])
def test_gradient_boosting_is_scikit_learns_with_our_validation_rows(task: str) -> None:
    rng = numpy_generator(0, "trees")
    x, signal = rng.normal(size=(800, 2)), np.sin
    raw = signal(3 * x[:, 0]) * x[:, 1] + 0.3 * rng.normal(size=800)
    y = raw if task == "number" else np.where(raw > 0, "yes", "no")
    data = table(pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "y": y}), "y", {"a": "number", "b": "number"}, task)
    fitted = fit_baseline("gradient-boosting", data)
    make = HistGradientBoostingRegressor if task == "number" else HistGradientBoostingClassifier
    model = make(max_iter=MAX_ROUNDS, early_stopping=True).fit(
        x[data.split["train"]], data.y("train"), X_val=x[data.split["valid"]], y_val=data.y("valid")
    )
    test = x[data.split["test"]]
    wanted = model.predict(test) if task == "number" else model.predict_proba(test)
    assert fitted.predict("test") == pytest.approx(wanted)
    assert fitted.chosen["rounds"] == model.n_iter_ < MAX_ROUNDS


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("task", ["binary", "number"])
def test_a_training_row_of_weight_zero_is_not_there(name: str, task: str) -> None:
    data = make_data(task)
    assert data.frame is not None
    wrong = data.split["train"][::3]
    target, flip = data.target.name, data.frame[data.target.name].to_numpy().copy()
    flip[wrong] = flip[wrong] + 500 if task == "number" else np.where(flip[wrong] == "no", "yes", "no")
    weight = np.ones(len(data.frame))
    weight[wrong] = 0.0
    spoiled = data.frame.with_columns(pl.Series(target, flip))
    fitted = fit_baseline(name, Data(spoiled, data.spec, data.target, data.split, weight))
    unweighted = fit_baseline(name, Data(spoiled, data.spec, data.target, data.split))
    fewer = {**data.split, "train": np.setdiff1d(data.split["train"], wrong)}
    metric, y = ("rmse" if task == "number" else "log-loss"), data.y("test")
    clean = score(metric, y, fit_baseline(name, Data(data.frame, data.spec, data.target, fewer)).predict("test"))
    assert score(metric, y, fitted.predict("test")) == pytest.approx(clean, rel=1e-9 if name == "dummy" else 0.2)
    assert score(metric, y, unweighted.predict("test")) > 1.3 * clean or name == "dummy"


@pytest.mark.parametrize("name", ["linear", "gradient-boosting"])
def test_a_column_of_many_categories_is_used(name: str) -> None:
    rng = numpy_generator(0, "cities")
    effects = rng.normal(0, 5, 400)
    city = rng.integers(0, 400, 6000)
    frame = pl.DataFrame({"city": [f"c{i}" for i in city], "y": effects[city] + rng.normal(size=6000)})
    data = table(frame, "y", {"city": "category"}, "number")
    first, second = (fit_baseline(name, data, seed=1).predict("test") for _ in range(2))
    assert score("r2", data.y("test"), first) > 0.6
    assert np.array_equal(first, second)


@pytest.mark.parametrize("name", TABLES)
def test_strange_cells_at_prediction_are_no_error(name: str) -> None:
    data = make_data()
    fitted = fit_baseline(name, data)
    rows = pl.DataFrame(
        {
            "a": ["1e300", None, "n/a", "inf"],
            "b": [10**9, None, -5, 0],
            "noise": [None] * 4,
            "colour": ["teal", None, "", "red"],
        }
    )
    p = fitted.predict_frame(rows)
    assert np.isfinite(p).all() and p.sum(1) == pytest.approx(np.ones(4))


@pytest.mark.parametrize("name", TABLES)
def test_columns_without_any_number_and_constant_ones_are_no_error(name: str) -> None:
    frame = make_frame(200).with_columns(empty=pl.lit(None, dtype=pl.Float64), same=pl.lit(7.0), word=pl.lit("w"))
    kinds = {"a": "number", "empty": "number", "same": "number", "word": "category"}
    assert np.isfinite(fit_baseline(name, table(frame, "z", kinds, "number")).predict("test")).all()


@pytest.mark.parametrize("name", TABLES)
def test_a_handful_of_rows_is_enough(name: str) -> None:
    frame = pl.DataFrame({"a": [1.0, 2, 3, 4, 5, 6, 7, 8], "y": ["n", "n", "y", "y", "y", "n", "y", "n"]})
    split = {"train": np.arange(4), "valid": np.arange(4, 6), "test": np.arange(6, 8)}
    data = Data(frame, fit_inputs(frame[:4], {"a": "number"}), fit_target(frame["y"][:4], "binary"), split)
    assert describe(fit_baseline(name, data)).measured["log-loss"] > 0  # type: ignore[operator]
    without = Data(frame, data.spec, data.target, {**split, "valid": np.arange(0)})
    assert fit_baseline(name, without).predict("test").shape == (2, 2)


@pytest.mark.parametrize("name", TABLES)
def test_tensors_of_a_foreign_network_are_taken_as_numbers(name: str) -> None:
    rng = numpy_generator(0, "pixels")
    x = torch.from_numpy(rng.normal(size=(300, 2, 3, 3))).float()
    y = (x[:, 0, 0, 0] + x[:, 1, 2, 2] > 0).long() * 2
    target = TargetSpec(name="y", task="classes", classes=("a", "b", "c"), priors=(0.5, 0.0, 0.5))
    spec = InputSpec(kind="vector", fields=(VectorField(shape=(2, 3, 3)),))
    split = {"train": np.arange(180), "valid": np.arange(180, 240), "test": np.arange(240, 300)}
    data = Data.from_tensors({"x": x}, y, spec, target, split)
    p = fit_baseline(name, data).predict("test")
    assert p.shape == (60, 3) and (p[:, 1] == 0).all()
    assert score("accuracy", data.y("test"), p) > 0.8 or name == "dummy"


@pytest.mark.parametrize("name", TABLES)
def test_infinite_and_huge_elements_of_tensors_are_no_error(name: str) -> None:
    rng = numpy_generator(0, "infinite")
    x = torch.from_numpy(rng.normal(size=(200, 2)))
    y = (x[:, 0] > 0).long()
    x[::7, 1], x[1::7, 1], x[2::7, 1], x[3, 1] = float("inf"), -float("inf"), float("nan"), 1e300
    target = TargetSpec(name="y", task="binary", classes=("a", "b"), priors=(0.5, 0.5))
    spec = InputSpec(kind="vector", fields=(VectorField(shape=(2,)),))
    data = Data.from_tensors({"x": x}, y, spec, target)
    p = fit_baseline(name, data).predict("test")
    assert np.isfinite(p).all() and (score("accuracy", data.y("test"), p) > 0.9 or name == "dummy")


def test_the_budget_bounds_the_work_and_not_the_clock() -> None:
    data = make_data()
    short = fit_baseline("gradient-boosting", data, budget_seconds=0.05)
    assert short.chosen["rounds"] == short.chosen["rounds_at_most"]
    assert 10 <= int(short.chosen["rounds"] or 0) < 20
    assert "more --minutes" in describe(short).todo


def test_what_cannot_be_fitted_is_refused() -> None:
    frame = pl.DataFrame({"a": [1.0, 2.0], "y": ["n", "n"]})
    target = TargetSpec(name="y", task="binary", classes=("n", "y"), priors=(1.0, 0.0))
    split = {part: np.arange(2) for part in PARTS}
    one = Data(frame, fit_inputs(frame, {"a": "number"}), target, split)
    with pytest.raises(DataError, match="one class only"):
        fit_baseline("linear", one)
    with pytest.raises(DataError, match="no training rows"):
        fit_baseline("linear", Data(frame, one.spec, target, {**split, "train": np.arange(0)}))
    with pytest.raises(UsageError, match="did you mean 'linear'"):
        fit_baseline("liner", one)
