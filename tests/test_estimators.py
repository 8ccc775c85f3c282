"""The scikit-learn shells: scikit-learn's own checks, any frame, any label, weights, intervals, and the same network again."""

from __future__ import annotations

import math
import pickle
import warnings
from collections.abc import Mapping
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_predict, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import Tensor, nn

from conftest import make_frame
from netwright.core.errors import UsageError
from netwright.core.spec import InputSpec, TargetSpec
from netwright.data.fronts import TableFront
from netwright.estimators.classifier import Classifier
from netwright.estimators.regressor import Regressor
from netwright.model import Model
from netwright.recipes.templates import Fronted

TINY = {"width": 16, "depth": 1, "number_dim": 2}
QUICK: dict[str, Any] = {"options": TINY, "batch_size": 64, "learning_rate": 1e-2, "random_state": 0}

EXPECTED_FAILED_CHECKS = {
    # Asks for predictions equal to 1e-7 between a weight of 2 and the row twice. Here batches are drawn (other rows, other
    # batches), and knots and spreads of columns are those of the rows, unweighted. That a weight of 2 and a doubled row give
    # the same steps where there is nothing to draw is tested in test_train.py.
    "check_sample_weight_equivalence_on_dense_data": "batches are drawn, and encoders count rows",
    # Asks for answers equal to 1e-7 between a batch and its rows one by one: matrix products in float32 round by the number of rows.
    "check_methods_subset_invariance": "float32 rounds by the number of rows",
}


def run_quietly(check: Any, estimator: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


@parametrize_with_checks([Classifier(epochs=8, **QUICK)], expected_failed_checks=lambda e: EXPECTED_FAILED_CHECKS)
def test_scikit_learn_s_own_checks_hold(estimator: Any, check: Any) -> None:
    run_quietly(check, estimator)


@pytest.mark.slow
@parametrize_with_checks([Regressor(epochs=25, **QUICK)], expected_failed_checks=lambda e: EXPECTED_FAILED_CHECKS)
def test_scikit_learn_s_own_checks_of_a_regressor_hold(estimator: Any, check: Any) -> None:
    run_quietly(check, estimator)


# --- how good without tuning ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("load", [load_breast_cancer, load_diabetes])
def test_defaults_are_in_the_range_of_gradient_boosting(load: Any) -> None:
    x, y = load(return_X_y=True)
    a, b, c, d = train_test_split(x, y, random_state=0, test_size=0.3)
    classes = load is load_breast_cancer
    ours = (Classifier if classes else Regressor)(random_state=0).fit(a, c).score(b, d)
    theirs = (
        (HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor)(random_state=0)
        .fit(a, c)
        .score(b, d)
    )
    assert ours > theirs - 0.03


def test_a_small_problem_is_learned_by_default_settings_as_by_a_linear_model() -> None:
    x, y = load_iris(return_X_y=True)
    a, b, c, d = train_test_split(x, y, random_state=0, stratify=y)
    net = Classifier(random_state=0, epochs=20).fit(a, c)
    linear = make_pipeline(StandardScaler(), LogisticRegression()).fit(a, c)
    assert net.score(b, d) >= linear.score(b, d) - 0.06
    assert log_loss(d, net.predict_proba(b)) < 0.35


# --- frames -----------------------------------------------------------------------------------------------------------

FRAME = make_frame(300)
X, LABELS, VALUES = FRAME.drop("y", "z"), FRAME["y"], FRAME["z"]


def as_kind(kind: str, frame: pl.DataFrame) -> Any:
    return {"polars": lambda f: f, "pandas": lambda f: f.to_pandas(), "pyarrow": lambda f: f.to_arrow()}[kind](frame)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(epochs=8, **QUICK).fit(X, LABELS)


@pytest.fixture(scope="module")
def regressor() -> Regressor:
    return Regressor(epochs=25, **QUICK).fit(X, VALUES)


@pytest.mark.parametrize("kind", ["polars", "pandas", "pyarrow"])
def test_frames_of_every_library_give_the_same_network(kind: str, classifier: Classifier) -> None:
    net = Classifier(epochs=8, **QUICK).fit(as_kind(kind, X), as_kind(kind, X.with_columns(y=LABELS))["y"])
    assert net.feature_names_in_.tolist() == ["a", "b", "noise", "colour"] and net.n_features_in_ == 4
    assert [f.kind for f in net.model_.spec.fields] == ["number", "integer", "number", "category"]
    wanted = classifier.predict_proba(X)
    for other in ("polars", "pandas", "pyarrow"):
        assert (net.predict_proba(as_kind(other, X)) == wanted).all()


def test_a_mixed_table_is_learned_with_missing_cells_and_unknown_categories(classifier: Classifier) -> None:
    assert classifier.score(X, LABELS) > 0.85
    odd = pl.DataFrame({"a": [None, 1e300], "b": [3, -5], "noise": [math.nan, 0.0], "colour": ["mauve", None]})
    p = classifier.predict_proba(odd)
    assert np.isfinite(p).all() and np.allclose(p.sum(1), 1)


def test_arrays_of_strings_and_numbers_read_like_a_frame() -> None:
    rows = X.select("b", "noise", "colour").rows()
    net = Classifier(epochs=8, **QUICK).fit(np.array(rows, dtype=object), LABELS)
    assert [(f.name, f.kind) for f in net.model_.spec.fields] == [
        ("x0", "integer"),
        ("x1", "number"),
        ("x2", "category"),
    ]
    assert net.n_features_in_ == 3 and not hasattr(net, "feature_names_in_")
    assert (net.predict(np.array(rows, dtype=object)) == net.predict([list(r) for r in rows])).all()
    with pytest.warns(UserWarning, match="X has feature names, but Classifier was fitted without"):
        assert (net.predict(X.select("b", "noise", "colour")) == net.predict(np.array(rows, dtype=object))).all()


def test_a_dictionary_of_columns_will_do(classifier: Classifier) -> None:
    assert (classifier.predict_proba(X.to_dict(as_series=False)) == classifier.predict_proba(X)).all()


@pytest.mark.parametrize(
    "wrong",
    [X.drop("b"), X.select(reversed(X.columns)), X.rename({"b": "bb"}), X.with_columns(extra=1), X.to_numpy()[:, :3]],
)
def test_other_columns_than_those_of_fit_are_refused(classifier: Classifier, wrong: Any) -> None:
    with warnings.catch_warnings(), pytest.raises(ValueError, match=r"feature names|features"):
        warnings.simplefilter("ignore")
        classifier.predict(wrong)


def test_columns_that_teach_nothing_are_left_out_with_a_warning_and_kinds_overrule() -> None:
    x = X.with_columns(id=pl.Series([f"u{i:04}" for i in range(300)]), one=pl.lit(1))
    with pytest.warns(UserWarning, match=r"column 'id' is left out: identifier .*kinds=\{'id': 'category'\}"):
        net = Classifier(epochs=1, **QUICK).fit(x, LABELS)
    assert net.model_.spec.names == ["a", "b", "noise", "colour"] and net.n_features_in_ == 6
    kept = Classifier(epochs=1, kinds={"id": "category", "b": "category"}, **QUICK).fit(x, LABELS)
    assert [f.kind for f in kept.model_.spec.fields] == ["number", "category", "number", "category", "category"]
    array = Classifier(epochs=1, kinds={"x1": "category"}, **QUICK).fit(
        np.arange(120.0).reshape(60, 2) % 7, [0, 1, 1] * 20
    )
    assert [f.kind for f in array.model_.spec.fields] == ["number", "category"]
    with pytest.raises(UsageError, match="no column 'x9'"):
        Classifier(kinds={"x9": "number"}).fit(np.zeros((30, 2)), [0, 1] * 15)


# --- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["b", "a", "b "], ("a", "b", "b ")),
        ([10, 9, -1], ("-1", "9", "10")),
        ([2.0, 1.0], ("1", "2")),
        ([True, False], ("false", "true")),
        (["10", "9"], ("10", "9")),
    ],
)
def test_labels_come_back_as_they_went(labels: list[Any], names: tuple[str, ...]) -> None:
    y = np.array(labels * 20)
    x = np.array([[labels.index(v) * 10.0] for v in y.tolist()]) + np.linspace(0, 1, len(y))[:, None]
    net = Classifier(epochs=20, **QUICK).fit(x, y)
    assert net.model_.target.classes == names
    assert net.score(x, y) > 0.9 and set(map(type, net.predict(x).tolist())) == {type(labels[0])}
    for given in (y.tolist(), pd.Series(y), pl.Series(y)):
        other = Classifier(epochs=1, **QUICK).fit(x, given)
        assert other.classes_.tolist() == net.classes_.tolist() == np.unique(y).tolist()
        assert other.model_.target.classes == names and set(other.predict(x).tolist()) <= set(labels)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["a"] * 300, "one class only"),
        ([0.5, 1.5] * 150, "Unknown label type"),
        ([1, 2], "inconsistent numbers of samples"),
        (None, "requires y to be passed"),
        ([[1, 2]] * 300, "1d array"),
    ],
)
def test_labels_that_are_none_are_refused(y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Classifier().fit(X, y)


@pytest.mark.parametrize("y", [[math.nan, *[1.0] * 299], [math.inf, *[1.0] * 299], ["a"] * 300, [1.0] * 299])
def test_values_that_are_none_are_refused(y: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"NaN|infinity|could not convert|inconsistent"):
        Regressor().fit(X, y)


# --- weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_class_weights_move_the_line_between_classes() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 1, 270), rng.normal(1.5, 1, 30)])[:, None]
    y = np.array(["common"] * 270 + ["rare"] * 30)
    found = {}
    for name, weight in {"none": None, "balanced": "balanced", "dict": {"common": 1.0, "rare": 9.0}}.items():
        found[name] = Classifier(epochs=60, class_weight=weight, **QUICK | {"random_state": 1}).fit(x, y)
    share = {name: (net.predict(x) == "rare").mean() for name, net in found.items()}
    assert share["balanced"] == share["dict"] > share["none"] + 0.1
    assert found["balanced"].model_.target.priors == pytest.approx((0.5, 0.5))
    by_sample = Classifier(epochs=60, **QUICK | {"random_state": 1}).fit(
        x, y, sample_weight=np.where(y == "rare", 9.0, 1.0)
    )
    np.testing.assert_allclose(by_sample.predict_proba(x), found["dict"].predict_proba(x))
    with pytest.raises(ValueError, match="class_weight"):
        Classifier(class_weight="fair").fit(x, y)


def test_rows_of_weight_zero_are_as_if_they_were_not_there() -> None:
    weight = (np.arange(300) % 3 > 0).astype(float)
    kept = X.filter(weight > 0)
    for one, other in (
        (
            Classifier(epochs=2, **QUICK).fit(X, LABELS, weight),
            Classifier(epochs=2, **QUICK).fit(kept, LABELS.filter(weight > 0)),
        ),
        (
            Regressor(epochs=2, **QUICK).fit(X, VALUES, weight),
            Regressor(epochs=2, **QUICK).fit(kept, VALUES.filter(weight > 0)),
        ),
    ):
        np.testing.assert_allclose(one._predict(X), other._predict(X), rtol=1e-5)


def test_only_the_proportions_of_weights_matter() -> None:
    weight = np.linspace(1, 2, 300)
    one, other = (Regressor(epochs=3, **QUICK).fit(X, VALUES, scale * weight) for scale in (1.0, 1024.0))
    np.testing.assert_allclose(one.predict(X), other.predict(X), rtol=1e-6)


@pytest.mark.parametrize("weight", [[-1.0] * 300, [0.0] * 300, [1.0] * 299, np.ones((300, 2)), [math.nan] * 300])
def test_weights_that_make_no_sense_are_refused(weight: Any) -> None:
    with pytest.raises(ValueError, match=r"[wW]eight"):
        Regressor().fit(X, VALUES, sample_weight=weight)


# --- training ---------------------------------------------------------------------------------------------------------


def test_the_same_random_state_is_the_same_network_and_none_is_not(classifier: Classifier) -> None:
    again = clone(classifier).fit(X, LABELS)
    assert (again.predict_proba(X) == classifier.predict_proba(X)).all()
    other = clone(classifier).set_params(random_state=1).fit(X, LABELS)
    assert (other.predict_proba(X) != classifier.predict_proba(X)).any()
    seeded = [clone(classifier).set_params(random_state=np.random.RandomState(3)).fit(X, LABELS) for _ in range(2)]
    assert (seeded[0].predict_proba(X) == seeded[1].predict_proba(X)).all()


def test_fitted_attributes_tell_what_happened(classifier: Classifier) -> None:
    assert isinstance(classifier.model_, Model) and classifier.classes_.tolist() == ["no", "yes"]
    assert classifier.n_iter_ == len(classifier.history_) == 8 and classifier.validated_on_ == "validation rows"
    assert {"train_loss", "valid_loss", "valid_log-loss"} <= classifier.history_[0].keys()
    assert classifier.model_.temperature != 1.0


def test_too_few_rows_to_hold_some_out_train_and_choose_with_all() -> None:
    few = X.head(30)
    net = Classifier(epochs=2, **QUICK).fit(few, LABELS.head(30))
    assert net.validated_on_ == "training rows" and net.model_.temperature == 1.0
    with pytest.raises(ValueError, match=r"no interval: it needs 16 validation rows"):
        Regressor(epochs=2, **QUICK).fit(few, VALUES.head(30)).predict_interval(few)
    assert Classifier(epochs=2, validation_fraction=0.0, **QUICK).fit(X, LABELS).validated_on_ == "training rows"


def test_early_stopping_restores_the_best_epoch() -> None:
    net = Classifier(epochs=60, patience=3, validation_fraction=0.3, **{**QUICK, "learning_rate": 0.1}).fit(X, LABELS)
    scores = [float(r["valid_log-loss"]) for r in net.history_]
    assert net.n_iter_ < 60 and int(np.argmin(scores)) == net.n_iter_ - 4
    by_accuracy = clone(net).set_params(metric="accuracy", epochs=3).fit(X, LABELS)
    assert "valid_accuracy" in by_accuracy.history_[0]


def test_a_deadline_ends_the_training_and_says_so() -> None:
    with pytest.warns(ConvergenceWarning, match=r"ended early: out of time at step 1 of \d+; give it more minutes"):
        net = Regressor(minutes=0, random_state=0).fit(X, VALUES)
    assert net.n_iter_ == 0 and np.isfinite(net.predict(X)).all()


def own_net(spec: InputSpec, target: TargetSpec) -> nn.Module:
    front = TableFront(spec, number_dim=0, category_dim=3)
    return Fronted(front, nn.Linear(front.n_out, target.n_out))


class OnlyMean(nn.Module):
    """Ignores its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(1))

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        return self.level.expand(len(x["numbers"]), 1)


def test_the_network_can_be_named_or_be_the_user_s_own() -> None:
    linear = Regressor(template="linear", epochs=30, learning_rate=0.05, random_state=0).fit(X, VALUES)
    assert (
        linear.model_.recipe is not None and linear.model_.recipe.template == "linear" and linear.score(X, VALUES) > 0.8
    )
    own = Classifier(template=own_net, epochs=5, random_state=0).fit(X, LABELS)
    assert isinstance(own.model_.module, Fronted) and own.score(X, LABELS) > 0.7
    flat = Regressor(template=lambda spec, target: OnlyMean(), epochs=2, random_state=0).fit(X, VALUES)
    assert np.ptp(flat.predict(X)) == 0
    with pytest.raises(UsageError, match=r"functools\.partial"):
        Classifier(template=own_net, options={"width": 3}).fit(X, LABELS)
    with pytest.raises(UsageError, match=r"no template 'liner'; did you mean 'linear'"):
        Classifier(template="liner").fit(X, LABELS)
    with pytest.raises(UsageError, match="called 'dropout'"):
        Classifier(template="linear", dropout=0.1).fit(X, LABELS)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"patience": 0}, "patience"),
    ],
)
def test_settings_that_make_no_sense_are_value_errors(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Classifier(**wrong).fit(X, LABELS)


def test_settings_that_do_not_fit_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="expected 0 <= validation_fraction < 1"):
        Classifier(validation_fraction=1.0).fit(X, LABELS)
    with pytest.raises(UsageError, match="'rmse' does not fit the task 'binary'"):
        Classifier(metric="rmse").fit(X, LABELS)
    with pytest.raises(NotFittedError):
        Classifier().predict(X)


def test_progress_is_printed_only_if_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    Regressor(epochs=2, **QUICK).fit(X, VALUES)
    assert capsys.readouterr().out == ""
    Regressor(epochs=2, verbose=1, **QUICK).fit(X, VALUES)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("epoch 1: train loss") and "valid rmse" in second


# --- what a fitted one does -------------------------------------------------------------------------------------------


def test_a_regression_has_intervals_that_cover_what_they_promise() -> None:
    many, fresh = make_frame(1500, seed=8), make_frame(1500, seed=9)
    regressor = Regressor(epochs=10, **QUICK).fit(many.drop("y", "z"), many["z"])
    x, y = fresh.drop("y", "z"), fresh["z"].to_numpy()
    interval = regressor.predict_interval(x)
    values = regressor.predict(x)
    assert ((interval[:, 0] < values) & (values < interval[:, 1])).all()
    assert 0.85 < ((interval[:, 0] <= y) & (y <= interval[:, 1])).mean() < 0.95  # 225 validation rows: 0.90 +- 0.02
    assert regressor.score(x, y) > 0.7


def test_a_fitted_estimator_survives_a_pickle_and_a_model_folder(regressor: Regressor, tmp_path: Any) -> None:
    again = pickle.loads(pickle.dumps(regressor))
    assert (again.predict(X) == regressor.predict(X)).all()
    regressor.model_.save(tmp_path)
    assert (Model.load(tmp_path).predict(X) == regressor.predict(X)).all()


def test_it_works_inside_scikit_learn_s_tools() -> None:
    search = GridSearchCV(Classifier(epochs=2, **QUICK), {"dropout": [0.0, 0.5]}, cv=2).fit(
        X.to_pandas(), LABELS.to_numpy()
    )
    assert set(search.cv_results_["param_dropout"]) == {0.0, 0.5}
    piped = make_pipeline(StandardScaler(), Regressor(epochs=2, **QUICK))
    numbers = X.select("b", "noise").to_numpy()
    assert cross_val_predict(piped, numbers, VALUES.to_numpy(), cv=2).shape == (300,)


def test_fitting_leaves_frames_and_global_randomness_alone() -> None:
    frame = X.to_pandas()
    before, state, numpy_state = frame.copy(), torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index,union-attr]
    Classifier(epochs=1, **QUICK).fit(frame, LABELS)
    pd.testing.assert_frame_equal(frame, before)
    assert torch.equal(state, torch.get_rng_state())
    assert numpy_state == np.random.get_state()[1].tolist()  # type: ignore[index,union-attr]


def test_frames_of_narwhals_itself_are_read_too() -> None:
    frame = nw.from_native(X)
    assert (Regressor(epochs=1, **QUICK).fit(frame.to_native(), VALUES).predict(X)).shape == (300,)
