"""Bootstrap intervals and paired tests: against closed forms, against brute force, and what must hold of all metrics."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from netwright.baselines.intervals import bootstrap, mcnemar, paired
from netwright.baselines.resampled import STATISTICS, row_losses
from netwright.core.errors import UsageError
from netwright.core.seed import numpy_generator
from netwright.losses.entries import METRICS
from netwright.losses.metrics import metrics_for, score
from test_metrics import classes, numbers


def problem(name: str, n: int = 300, n_classes: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return numbers(n) if METRICS[name].tasks == ("number",) else classes(n_classes, n)


def test_every_metric_can_be_resampled() -> None:
    assert list(STATISTICS) and set(STATISTICS) == set(METRICS)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", METRICS)
def test_a_replicate_is_the_metric_of_the_rows_that_were_drawn(name: str, weighted: bool, n_classes: int) -> None:
    y, p, w = problem(name, 80, n_classes)
    w = w if weighted else np.ones(80)
    drawn = numpy_generator(0, "drawn").integers(0, 80, (20, 80))
    counts = np.stack([np.bincount(rows, minlength=80) for rows in drawn]).astype(float)
    found = STATISTICS[name].prepare(y, p, w)(counts)
    assert found == pytest.approx([score(name, y[rows], p[rows], w[rows]) for rows in drawn], rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", METRICS)
def test_an_interval_holds_its_value(name: str, seed: int) -> None:
    y, p, w = problem(name, 12 + 20 * seed)
    for weight in (None, w):
        found = bootstrap([name], y, p, seed=seed, resamples=200, weight=weight)[name]
        assert found.low <= found.value <= found.high
        assert found.value == score(name, y, p, weight)


def test_the_interval_of_a_mean_is_as_wide_as_theory_says() -> None:
    errors = numpy_generator(0, "normal").normal(3, 1, 2000)
    found = bootstrap(["mae"], np.zeros(2000), errors, seed=1)["mae"]
    spread = np.abs(errors).std() / np.sqrt(2000)
    assert found.high - found.low == pytest.approx(2 * 1.96 * spread, rel=0.1)


def test_the_interval_of_an_accuracy_is_as_wide_as_theory_says() -> None:
    right = numpy_generator(0, "right").random(3000) < 0.8
    p = np.stack([right, ~right], 1).astype(float)
    found = bootstrap(["accuracy"], np.zeros(3000, dtype=int), p, seed=1)["accuracy"]
    share = right.mean()
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(share * (1 - share) / 3000), rel=0.1)


def test_intervals_cover_the_truth_nineteen_times_out_of_twenty() -> None:
    rng, held = numpy_generator(0, "coverage"), 0
    for trial in range(200):
        values = rng.normal(0, 2, 150)
        found = bootstrap(["rmse"], np.zeros(150), values, seed=trial, resamples=400)["rmse"]
        held += found.low <= 2.0 <= found.high
    assert stats.binomtest(held, 200, 0.95).pvalue > 1e-3


def test_the_same_seed_gives_the_same_interval_and_another_one_does_not() -> None:
    y, p, _ = classes(3)
    names = metrics_for("classes")
    assert bootstrap(names, y, p, seed=4) == bootstrap(names, y, p, seed=4) != bootstrap(names, y, p, seed=5)


def test_a_metric_does_not_depend_on_which_others_are_asked_for() -> None:
    y, p, _ = classes(3)
    together = bootstrap(metrics_for("classes"), y, p, seed=0)
    assert all(bootstrap([name], y, p, seed=0)[name] == found for name, found in together.items())


def test_metrics_that_are_not_defined_are_left_out() -> None:
    y, p = np.zeros(20, dtype=int), np.tile([0.7, 0.3], (20, 1))
    found = bootstrap(metrics_for("binary"), y, p, seed=0)
    assert "roc-auc" not in found and found["accuracy"].value == 1.0
    assert bootstrap(["accuracy"], y[:0], p[:0], seed=0) == {}


def test_one_row_has_an_interval_without_width() -> None:
    found = bootstrap(["rmse", "r2"], np.array([3.0]), np.array([5.0]), seed=0)
    assert list(found) == ["rmse"]
    assert (found["rmse"].low, found["rmse"].value, found["rmse"].high) == (2.0, 2.0, 2.0)


def test_resamples_in_which_a_class_is_gone_do_not_spoil_the_interval() -> None:
    y = np.array([0] * 19 + [1])
    found = bootstrap(["roc-auc"], y, np.stack([1 - y * 0.9, y * 0.9], 1), seed=0)["roc-auc"]
    assert found.low == found.value == found.high == 1.0


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (10, 3), (7, 7), (120, 150), (2, 31)])
def test_mcnemar_is_the_mid_p_of_the_exact_binomial_test(only_a: int, only_b: int) -> None:
    n, k = only_a + only_b, min(only_a, only_b)
    if n == 0:
        assert mcnemar(only_a, only_b) == 1.0
        return
    terms = [stats.binom.pmf(i, n, 0.5) for i in range(k + 1)]
    assert mcnemar(only_a, only_b) == pytest.approx(min(1.0, 2 * sum(terms[:-1]) + terms[-1]))
    assert mcnemar(only_a, only_b) == mcnemar(only_b, only_a) <= stats.binomtest(k, n, 0.5).pvalue


def test_the_paired_test_of_accuracy_is_mcnemars() -> None:
    y = np.zeros(100, dtype=int)
    right, wrong = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    a = np.stack([right] * 90 + [wrong] * 10)
    b = np.stack([right] * 75 + [wrong] * 15 + [right] * 4 + [wrong] * 6)
    found = paired("accuracy", y, a, b, 0)
    assert found.difference == pytest.approx(0.11)
    assert found.p_value == pytest.approx(mcnemar(15, 4))


@pytest.mark.parametrize("name", METRICS)
def test_a_prediction_is_no_better_than_itself(name: str) -> None:
    y, p, _ = problem(name)
    found = paired(name, y, p, p, 0)
    assert (found.difference, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("name", METRICS)
def test_turning_a_pair_round_turns_its_sign(name: str) -> None:
    y, p, _ = problem(name)
    better = (y + p) / 2 if p.ndim == 1 else (np.eye(3)[y] + p) / 2
    one, other = paired(name, y, better, p, 0), paired(name, y, p, better, 0)
    assert one.difference == -other.difference and one.p_value == pytest.approx(other.p_value)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


@pytest.mark.parametrize("name", METRICS)
def test_the_p_value_and_the_interval_agree_on_a_clear_difference(name: str) -> None:
    y, p, w = problem(name, 600)
    better = (y + p) / 2 if p.ndim == 1 else (np.eye(3)[y] + p) / 2
    for weight in (None, w):
        found = paired(name, y, better, p, 0, weight=weight)
        assert found.p_value < 0.01
        assert found.low * found.high > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["log-loss", "mae", "rmse", "accuracy", "roc-auc", "f1"])
@pytest.mark.parametrize("n", [60, 1500])
def test_equally_good_predictions_are_told_apart_one_time_in_twenty(name: str, n: int) -> None:
    found = 0
    for trial in range(100):
        rng = numpy_generator(trial, "null", name)
        if METRICS[name].tasks == ("number",):
            y = rng.normal(size=n)
            a, b = y + rng.normal(size=n), y + rng.normal(size=n)
        else:
            y = rng.integers(0, 2, n)
            z = rng.normal(size=(2, n)) + 2 * y - 1
            a, b = (np.stack([1 - s, s], 1) for s in 1 / (1 + np.exp(-z)))
        found += paired(name, y, a, b, trial, resamples=100).p_value < 0.05
    assert stats.binomtest(found, 100, 0.05).pvalue > 1e-3


def test_the_permutation_test_agrees_with_the_t_test() -> None:
    rng = numpy_generator(0, "t")
    y, a = np.zeros(400), rng.normal(0, 1, 400)
    b = a + rng.normal(0.05, 0.5, 400)
    few = paired("mae", y, a, b, 0)
    assert few.test == "paired permutation test"
    assert few.p_value == pytest.approx(stats.ttest_rel(np.abs(a), np.abs(b)).pvalue, abs=0.02)


def test_losses_of_rows_are_refused_where_a_metric_has_none() -> None:
    y, p, _ = classes(3)
    assert row_losses("log-loss", y, p).mean() == pytest.approx(score("log-loss", y, p))
    with pytest.raises(UsageError, match="roc-auc is not a mean over rows"):
        row_losses("roc-auc", y, p)
