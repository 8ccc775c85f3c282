"""Several networks behind one estimator: a mean of starts, the best of starts, and cross-validation, each one option."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import log_loss
from sklearn.utils import check_random_state
from torch import nn

from netwright.core.errors import UsageError
from netwright.core.spec import InputSpec, TargetSpec
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
    assert isinstance(net.model_.module, Ensemble)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"members": 0}, "members is 0"),
        ({"folds": 1}, "folds is 1"),
        ({"restarts": []}, "restarts is empty"),
        ({"restarts": 2, "members": 2}, "goes with neither"),
        ({"folds": 33, "members": 2}, "more than 64 networks"),
    ],
)
def test_numbers_of_networks_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        clone(Classifier(**options, **SMALL)).fit(X, Y)
