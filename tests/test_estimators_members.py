"""Several networks behind one estimator: a mean of starts, the best of starts, and cross-validation, each one option."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.utils import check_random_state
from torch import nn

from netwright.core.errors import TrainingError, UsageError
from netwright.core.spec import InputSpec, TargetSpec
from netwright.estimators import base
from netwright.estimators.classifier import Classifier
from netwright.estimators.regressor import Regressor
from netwright.model import Model
from netwright.nn.ensemble import Ensemble

RNG = np.random.default_rng(0)
X = RNG.normal(size=(240, 3))
Y = np.where(X[:, 0] + 0.5 * RNG.normal(size=240) > 0, "up", "down")
SMALL: dict[str, Any] = {
    "options": {"width": 8, "depth": 1, "number_dim": 2},
    "epochs": 6,
    "batch_size": 32,
    "random_state": 0,
}


def test_members_are_the_networks_of_their_seeds_and_answer_with_their_mean() -> None:
    net = Classifier(members=3, **SMALL).fit(X, Y)
    module = net.model_.module
    assert isinstance(module, Ensemble) and len(module.members) == 3
    assert net.member_scores_.shape == (1, 3) and np.ptp(net.member_scores_) > 0
    alone = Classifier(**SMALL).fit(X, Y)  # the first member has the seed of the whole
    assert alone.member_scores_[0, 0] == pytest.approx(net.member_scores_[0, 0], rel=1e-3)
    x = net.model_.encode(_frame(net, X))
    mean = torch.stack([member(x) for member in module.members]).mean(0)
    torch.testing.assert_close(net.model_.outputs(x), mean)


def _frame(net: Any, x: np.ndarray) -> Any:
    from netwright.data.given import rows_again

    return rows_again(net, x, net.model_.spec, net._what, net._columns)


def test_an_ensemble_is_stored_and_read_back(tmp_path: Any) -> None:
    net = Classifier(members=2, **SMALL).fit(X, Y)
    net.model_.save(tmp_path / "model")
    again = Model.load(tmp_path / "model")
    x = net.model_.encode(_frame(net, X))
    torch.testing.assert_close(again.outputs(x), net.model_.outputs(x))


def test_the_best_of_several_starts_is_kept() -> None:
    net = Classifier(restarts=4, metric="accuracy", **SMALL).fit(X, Y)
    scores = net.member_scores_[0]
    assert not isinstance(net.model_.module, Ensemble) and len(scores) == 4
    assert max(row["valid_accuracy"] for row in net.history_) == pytest.approx(scores.max())


def test_starts_may_be_of_different_topologies() -> None:
    wide = [{"width": 4}, {"width": 16}, {"width": 9, "depth": 2}]
    net = Regressor(restarts=wide, **SMALL).fit(X, 3 * X[:, 0])
    best = int(net.member_scores_.argmin())
    recipe = net.model_.recipe
    assert recipe is not None
    assert recipe.options["width"] == wide[best]["width"] and len(net.member_scores_[0]) == 3


@pytest.mark.parametrize("members", [1, 2])
def test_in_cross_validation_each_network_is_judged_on_rows_that_it_has_not_seen(members: int) -> None:
    net = Classifier(folds=4, members=members, **SMALL).fit(X, Y)
    module = net.model_.module
    assert isinstance(module, Ensemble) and len(module.members) == 4 * members
    assert net.member_scores_.shape == (4, members) and net.validated_on_ == "validation rows"
    codes = (Y == "up").astype(int)
    folds = net._folds(codes, int(check_random_state(0).randint(2**31 - 1)))
    assert sorted(torch.cat([held for _, held in folds]).tolist()) == list(range(240))
    for k, (learned, held) in enumerate(folds):
        assert not set(learned.tolist()) & set(held.tolist())
        with torch.no_grad():
            outputs = module.members[k * members](net.model_.encode(_frame(net, X[held])))
        assert log_loss(codes[held], outputs.softmax(1)[:, 1]) == pytest.approx(net.member_scores_[k, 0], rel=1e-4)


@pytest.mark.slow
def test_the_interval_of_a_cross_validated_regressor_holds_nine_of_ten_new_values() -> None:
    def draw(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(n, 2))
        return x, x[:, 0] + rng.normal(size=n)

    net = Regressor(folds=5, **{**SMALL, "epochs": 20}).fit(*draw(600, 1))
    x, y = draw(2000, 2)
    low, high = net.predict_interval(x).T
    assert 0.85 < np.mean((low <= y) & (y <= high)) < 0.95


def test_what_cannot_be_stacked_is_trained_in_turn_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    def template(spec: InputSpec, target: TargetSpec) -> nn.Module:
        return nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 4, 2), nn.Flatten(), nn.Linear(8, target.n_out))

    net = Classifier(template=template, members=2, epochs=2, random_state=0, verbose=1).fit(X, Y)
    assert "trained in turn: convolutions are faster in turn" in capsys.readouterr().out
    assert isinstance(net.model_.module, Ensemble) and "convolutions are faster in turn" in net.in_turn_


def test_how_it_was_computed_can_be_read_after_fitting(capsys: pytest.CaptureFixture[str]) -> None:
    net = Classifier(members=2, **SMALL).fit(X, Y)
    assert net.in_turn_ == "" and "not measured" in net.way_.reason and capsys.readouterr().out == ""
    timed = {**SMALL, "epochs": None, "minutes": 0.02}
    net = Classifier(members=2, verbose=1, **timed).fit(X, Y)
    assert "a step" in net.way_.reason and net.way_.reason in capsys.readouterr().out


# --- trainings that diverge -------------------------------------------------------------------------------------------

EXPLODING: dict[str, Any] = {
    **SMALL,
    "learning_rate": 1e30,
    "training": {"optimizer": "plain-sgd", "clip_norm": None},
}
FATAL = {"learning_rate": 1e30}


@pytest.mark.parametrize("several", [{"members": 2}, {"folds": 2}, {"restarts": 2}])
def test_where_all_networks_diverge_nothing_is_fitted(several: dict[str, Any]) -> None:
    with pytest.raises(TrainingError, match=r"became (nan|inf).*lower the learning rate"):
        Classifier(**several, **EXPLODING).fit(X, Y)


def test_a_start_that_diverges_is_left_out_with_a_warning() -> None:
    plain = {**SMALL, "training": {"optimizer": "plain-sgd", "clip_norm": None}}
    with pytest.warns(ConvergenceWarning, match="network 1 of 2 is left out: .*became"):
        net = Classifier(restarts=[FATAL, {}], **plain).fit(X, Y)
    assert np.isfinite(net.predict_proba(X)).all() and np.isinf(net.member_scores_[0, 0])


@pytest.mark.parametrize(("folds", "bad"), [(0, (1,)), (2, (1,)), (2, (0, 1))])
def test_members_that_diverge_are_left_out_of_the_mean_and_of_their_fold(
    monkeypatch: pytest.MonkeyPatch, folds: int, bad: tuple[int, ...]
) -> None:
    inner = base.fit_all

    def fit_all(recipes: Any, *rest: Any, **named: Any) -> Any:
        some = [r.with_training(**FATAL) if k in bad else r for k, r in enumerate(recipes)]
        return inner(some, *rest, **named)

    monkeypatch.setattr(base, "fit_all", fit_all)
    net = Classifier(members=2, folds=folds or None, **{**EXPLODING, "learning_rate": 0.01})
    if len(bad) == 2:
        with pytest.raises(TrainingError, match="no network of fold 1"):
            net.fit(X, Y)
        return
    with pytest.warns(ConvergenceWarning, match=f"network 2 of {2 * max(folds, 1)} is left out"):
        net.fit(X, Y)
    assert np.isfinite(net.predict_proba(X)).all() and np.isfinite(net.model_.temperature)
    assert len(net.model_.module.members if folds else [net.model_.module]) == (3 if folds else 1)


def test_each_fold_stops_at_the_error_on_the_rows_that_it_learns_from() -> None:
    net = Classifier(folds=3, training={"stop_error": 0.2}, **{**SMALL, "epochs": 60, "learning_rate": 0.02}).fit(X, Y)
    assert net.history_[-1]["train_error"] <= 0.2 < min([r["train_error"] for r in net.history_[:-1]], default=1.0)
    learned = net._folds((Y == "up").astype(int), int(check_random_state(0).randint(2**31 - 1)))[0][0]
    errors = np.array([row["train_error"] for row in net.history_]) * len(learned)
    np.testing.assert_allclose(errors, errors.round(), atol=1e-6)


def convolving(spec: InputSpec, target: TargetSpec) -> nn.Module:
    """A network whose members are trained in turn."""
    return nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 8, 2), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))


def test_a_start_in_turn_that_diverges_does_not_keep_the_others_from_training() -> None:
    plain = {"epochs": 2, "batch_size": 32, "training": {"optimizer": "plain-sgd", "clip_norm": None}}
    with pytest.warns(ConvergenceWarning, match="network 1 of 2 is left out: .*became"):
        net = Classifier(restarts=[FATAL, {}], template=convolving, random_state=0, **plain).fit(X, Y)
    assert net.in_turn_ and np.isfinite(net.predict_proba(X)).all() and np.isinf(net.member_scores_[0, 0])


def test_folds_in_turn_stop_at_their_own_error_too() -> None:
    slow = {"epochs": 40, "learning_rate": 0.02, "random_state": 0, "batch_size": 32}
    net = Classifier(folds=2, template=convolving, training={"stop_error": 0.25}, **slow).fit(X, Y)
    assert net.in_turn_ and net.history_[-1]["train_error"] <= 0.25 and net.n_iter_ < 40


# --- what was asked for -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [{"compiled": True, "precision": "bfloat16"}, {"precision": "float32"}])
def test_a_way_that_was_asked_for_is_gone(asked: dict[str, Any]) -> None:
    net = Classifier(minutes=0.03, training=asked, **{**SMALL, "epochs": None, "batch_size": 256}).fit(X, Y)
    recipe = net.model_.recipe
    assert recipe is not None
    assert {name: getattr(recipe.training, name) for name in asked} == asked
    assert {name: getattr(net.way_, name) for name in asked} == asked


def test_settings_that_were_asked_for_outlive_a_plan_of_fewer_epochs() -> None:
    asked = {"warmup": 3, "average": 0.8}
    many = {**SMALL, "epochs": None, "batch_size": 4}
    net = Classifier(minutes=0.02, training={**asked, "patience": 1000}, **many).fit(X, Y)
    recipe = net.model_.recipe
    assert recipe is not None and recipe.training.epochs < 40
    assert (recipe.training.warmup, recipe.training.average) == (3, 0.8)
    net = Classifier(minutes=1, training={"epochs": 2}, **many).fit(X, Y)
    assert net.n_iter_ == 2 and "not measured" in net.way_.reason


def test_starts_may_have_their_own_training() -> None:
    net = Classifier(restarts=[{"learning_rate": 1e-5}, {"learning_rate": 0.05, "width": 16}], **SMALL).fit(X, Y)
    recipe = net.model_.recipe
    assert recipe is not None
    assert recipe.training.learning_rate == 0.05 and recipe.options["width"] == 16
    assert net.member_scores_[0, 1] < net.member_scores_[0, 0] and net.in_turn_ == ""
    net = Classifier(restarts=[{"epochs": 1}, {"epochs": 4}], **SMALL).fit(X, Y)
    assert "differ in more than rates and decays" in net.in_turn_ and net.n_iter_ in (1, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"members": 0}, "members is 0"),
        ({"folds": 1}, "folds is 1"),
        ({"restarts": []}, "restarts is empty"),
        ({"restarts": 2, "members": 2}, "goes with neither"),
        ({"folds": 33, "members": 2}, "more than 64 networks"),
        ({"members": 2.5}, "members is 2.5; expected a whole number from 1 to 64"),
        ({"members": True}, "members is True"),
        ({"members": None}, "members is None"),
        ({"folds": "a"}, "folds is 'a'; expected a whole number from 2 to 64, or None"),
        ({"folds": True}, "folds is True"),
        ({"restarts": True}, "restarts is True"),
        ({"restarts": 2.0}, "restarts is 2.0"),
        ({"restarts": "ab"}, "restarts is 'ab'"),
        ({"restarts": [1, 2]}, "restarts holds 1; expected a mapping"),
        ({"restarts": [{"width": 8}] * 65}, "restarts lists 65 starts; expected 1 to 64"),
        ({"restarts": [{"widht": 8}]}, "'widht'; did you mean 'width'"),
        ({"restarts": [{"learning_rate": -1.0}]}, "learning_rate"),
    ],
)
def test_numbers_of_networks_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        clone(Classifier(**options, **SMALL)).fit(X, Y)
