"""Every metric against scikit-learn's, with and without weights, and what must hold of all of them."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as reference

from netwright.core.errors import UsageError
from netwright.core.seed import numpy_generator
from netwright.core.spec import TargetSpec
from netwright.losses.entries import METRICS
from netwright.losses.metrics import check_metric, greater_is_better, metrics_for, score


def classes(n_classes: int, n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class numbers, probabilities that know something of them, and weights."""
    rng = numpy_generator(seed, "metrics", n_classes)
    y = rng.integers(0, n_classes, n)
    logits = rng.normal(size=(n, n_classes)) + 1.5 * np.eye(n_classes)[y]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return y, np.round(p, 2) / np.round(p, 2).sum(1, keepdims=True), rng.exponential(size=n)


def numbers(n: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, predictions of them, and weights."""
    rng = numpy_generator(0, "metrics")
    y = rng.normal(50, 10, n)
    return y, y + rng.normal(2, 5, n), rng.exponential(size=n)


def wanted(name: str, y: np.ndarray, p: np.ndarray, w: np.ndarray | None) -> float:
    """The metric by scikit-learn."""
    if p.ndim == 1:
        by = {
            "rmse": reference.root_mean_squared_error,
            "mae": reference.mean_absolute_error,
            "r2": reference.r2_score,
        }
        return float(by[name](y, p, sample_weight=w))
    labels, guess, two = np.arange(p.shape[1]), p.argmax(1), p.shape[1] == 2
    if name == "log-loss":
        return float(reference.log_loss(y, p, labels=labels, sample_weight=w))
    if name == "brier":
        return float(reference.brier_score_loss(y, p, labels=labels, sample_weight=w, scale_by_half=False))
    if name == "roc-auc":
        if two:
            return float(reference.roc_auc_score(y, p[:, 1], sample_weight=w))
        return float(reference.roc_auc_score(np.eye(len(labels))[y], p, average="macro", sample_weight=w))
    if name == "balanced-accuracy":
        return float(reference.balanced_accuracy_score(y, guess, sample_weight=w))
    if name == "f1":
        return float(reference.f1_score(y, guess, average="binary" if two else "macro", sample_weight=w))
    return float(reference.accuracy_score(y, guess, sample_weight=w))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("name", metrics_for("classes"))
def test_a_metric_of_classes_equals_scikit_learns(name: str, n_classes: int, weighted: bool) -> None:
    y, p, w = classes(n_classes)
    weight = w if weighted else None
    assert score(name, y, p, weight) == pytest.approx(wanted(name, y, p, weight), rel=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", metrics_for("number"))
def test_a_metric_of_numbers_equals_scikit_learns(name: str, weighted: bool) -> None:
    y, values, w = numbers()
    weight = w if weighted else None
    assert score(name, y, values, weight) == pytest.approx(wanted(name, y, values, weight), rel=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_a_row_of_weight_two_counts_as_two_rows(name: str) -> None:
    y, p, _ = numbers(40) if METRICS[name].tasks == ("number",) else classes(3, 40)
    twice = np.where(np.arange(40) < 15, 2.0, 1.0)
    repeated = np.repeat(np.arange(40), twice.astype(int))
    assert score(name, y, p, twice) == pytest.approx(score(name, y[repeated], p[repeated]), rel=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_a_better_prediction_is_better_in_the_stated_direction(name: str) -> None:
    if METRICS[name].tasks == ("number",):
        y, worse, _ = numbers()
        better = (y + worse) / 2
    else:
        y, worse, _ = classes(3)
        better = (np.eye(3)[y] + worse) / 2
    gain = score(name, y, better) - score(name, y, worse)
    assert gain > 0 if greater_is_better(name) else gain < 0


@pytest.mark.parametrize("name", METRICS)
def test_a_perfect_prediction_has_the_best_value(name: str) -> None:
    if METRICS[name].tasks == ("number",):
        y, _, _ = numbers()
        perfect = y
    else:
        y, _, _ = classes(4)
        perfect = np.eye(4)[y]
    assert score(name, y, perfect) == pytest.approx(1.0 if greater_is_better(name) else 0.0, abs=1e-12)


def test_log_loss_of_an_impossible_class_is_finite() -> None:
    assert score("log-loss", np.array([1]), np.array([[1.0, 0.0]])) == pytest.approx(-np.log(1e-15))


def test_auc_of_one_class_is_not_a_number() -> None:
    assert np.isnan(score("roc-auc", np.zeros(5, dtype=int), np.tile([0.5, 0.5], (5, 1))))


def test_auc_of_many_classes_leaves_out_those_that_are_not_there() -> None:
    y, p, _ = classes(3)
    wider = np.concatenate([p, np.zeros((len(p), 1))], 1)
    assert score("roc-auc", y, wider) == pytest.approx(score("roc-auc", y, p), rel=1e-12)


def test_a_metric_that_does_not_fit_is_refused_with_those_that_do() -> None:
    target = TargetSpec(name="price", task="number")
    assert check_metric(None, target) == "rmse"
    with pytest.raises(UsageError, match=r"does not fit.*rmse, mae, r2"):
        check_metric("accuracy", target)
    with pytest.raises(UsageError, match="did you mean 'rmse'"):
        check_metric("rsme", target)
