"""The perceptron: scikit-learn's own checks, the rule against a plain loop, verdicts against brute force, margins against an SVM."""

from __future__ import annotations

import itertools
import math
import warnings
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import Perceptron as Sklearns
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import parametrize_with_checks

import netwright as nw
from netwright.core.errors import DataError, UsageError
from netwright.linear.certificate import Certificate, exact_certificate
from netwright.linear.drawn import certificate_drawn, line_path
from netwright.linear.margin import largest_margin
from netwright.linear.perceptron import Perceptron
from netwright.linear.rule import learn, perceptron_loss
from netwright.linear.separate import all_positive, separable, signed

XOR = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


@parametrize_with_checks([Perceptron(), Perceptron(fit_intercept=False, shuffle=True)])
def test_scikit_learn_s_own_checks_hold(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def separated(seed: int, n: int, d: int, gap: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n, d) that a random plane divides, none nearer to it than `gap`."""
    rng = np.random.default_rng(seed)
    w, b = rng.normal(size=d), rng.normal() / 2
    x = rng.normal(size=(40 * n, d))
    distance = (x @ w + b) / np.linalg.norm(w)
    x, distance = x[np.abs(distance) > gap][:n], distance[np.abs(distance) > gap][:n]
    return x, np.where(distance > 0, 1, -1)


# --- separability -----------------------------------------------------------------------------------------------------


@st.composite
def small_sets(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """A few rows on a grid, both signs among them: touching hulls, rows in a line and equal rows happen often."""
    d = draw(st.integers(1, 2))
    n = draw(st.integers(2, 8))
    x = draw(st.lists(st.lists(st.integers(-2, 2), min_size=d, max_size=d), min_size=n, max_size=n))
    signs = draw(st.lists(st.sampled_from([-1, 1]), min_size=n, max_size=n).filter(lambda s: len(set(s)) == 2))
    return np.array(x, dtype=float), np.array(signs)


def divided(x: np.ndarray, signs: np.ndarray) -> bool:
    """By brute force: hulls in one or two dimensions are apart if a line through two rows, turned and shifted a little, divides."""
    if x.shape[1] == 1:
        plus, minus = x[signs > 0, 0], x[signs < 0, 0]
        return bool(plus.min() > minus.max() or plus.max() < minus.min())
    # Two polygons are apart if and only if they are along the normal of an edge, or along a line that joins two rows of them.
    for i, j in itertools.permutations(range(len(x)), 2):
        step = x[j] - x[i]
        for across in (step, np.array([-step[1], step[0]])):
            if (x[signs > 0] @ across).min() > (x[signs < 0] @ across).max():
                return True
    return False


@settings(max_examples=100, deadline=None)
@given(small_sets())
def test_the_verdict_is_that_of_brute_force_and_proves_itself(case: tuple[np.ndarray, np.ndarray]) -> None:
    x, signs = case
    verdict = separable(x, signs)
    assert verdict.separable == divided(x, signs) and verdict.exact
    if verdict.weights is not None:
        assert verdict.certificate is None
        assert all_positive(signed(x, signs, bias=True), verdict.weights)
    else:
        certificate = verdict.certificate
        assert certificate is not None and certificate.holds(x) and certificate.gap(x) == 0
        assert {1, -1} == set(certificate.signs) and (signs[list(certificate.rows)] == certificate.signs).all()
        assert len(certificate.rows) <= x.shape[1] + 2
        plus, minus = certificate.sums(x)
        assert (plus == minus).all() and sum(certificate.weights) == 2


@settings(max_examples=40, deadline=None)
@given(small_sets())
def test_without_a_bias_planes_go_through_the_origin(case: tuple[np.ndarray, np.ndarray]) -> None:
    x, signs = case
    verdict = separable(x, signs, bias=False)
    z = signs[:, None] * x
    if verdict.weights is not None:
        assert all_positive(z, verdict.weights) and (z @ verdict.weights > 0).all()
    else:
        assert verdict.certificate is not None and verdict.certificate.holds(x) and not verdict.certificate.bias
        angles = np.linspace(0, 2 * math.pi, 3601)
        if x.shape[1] == 2:
            assert not (z @ np.stack([np.cos(angles), np.sin(angles)]) > 1e-9).all(0).any()
    assert verdict.exact


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 8),
    st.integers(10, 80),
    st.sampled_from([1e-6, 1.0, 1e6]),
    st.sampled_from([0.0, 1e3]),
)
def test_units_and_offsets_of_columns_do_not_change_the_verdict(
    seed: int, d: int, n: int, unit: float, offset: float
) -> None:
    x, signs = separated(seed, n, d)
    assume(len(set(signs.tolist())) == 2)
    x = offset + x * unit ** np.linspace(-1, 1, d)
    assert separable(x, signs).separable
    middle = (x[signs > 0].mean(0) + x[signs < 0].mean(0)) / 2
    x = np.vstack([x, x[signs > 0].mean(0), middle])  # a row of the wrong sign in the middle of the others
    verdict = separable(x, np.append(signs, [-1, 1]))
    assert not verdict.separable and verdict.certificate is not None and verdict.certificate.holds(x)


def test_many_rows_are_decided_by_a_part_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    x, signs = separated(3, 3000, 5)
    whole = separable(x, signs)
    monkeypatch.setattr("netwright.linear.separate.MOST_ROWS", 40)
    part = separable(x, signs)
    assert whole.separable and part.separable and all_positive(signed(x, signs, bias=True), part.weights)  # type: ignore[arg-type]
    wrong = signs.copy()
    wrong[[5, 1700]] *= -1
    verdict = separable(x, wrong)
    assert verdict.certificate is not None and verdict.certificate.holds(x) and verdict.exact


def test_a_certificate_that_is_wrong_does_not_hold() -> None:
    verdict = separable(XOR, np.array([-1, 1, 1, -1]))
    good = verdict.certificate
    assert good is not None and good.weights == (Fraction(1, 2),) * 4 and good.holds(XOR)
    half = good.weights[0]
    for weights in ((half, half, half, Fraction(1, 3)), (-half, half, half, half), (half, half, 2 * half, 2 * half)):
        assert not Certificate(good.rows, good.signs, weights, True, True).holds(XOR)
    moved = XOR.copy()
    moved[0, 0] = -1e-12
    assert not good.holds(moved)
    floats = Certificate(good.rows, good.signs, (0.5, 0.5, 0.5, 0.5), True, False)
    assert floats.holds(moved) and not floats.holds(XOR + np.array([[0.1, 0], [0, 0], [0, 0], [0, 0]]))
    assert "(to within rounding)" in str(floats)


def test_no_exact_certificate_is_made_of_rows_that_have_none() -> None:
    assert exact_certificate(XOR, np.array([-1, 1, 1, -1]), [0, 1], bias=True) is None
    assert exact_certificate(XOR, np.array([-1, 1, 1, 1]), range(4), bias=True) is None
    assert exact_certificate(XOR, np.array([-1, 1, 1, -1]), [], bias=True) is None


def test_an_equal_row_with_both_labels_is_a_certificate_of_two() -> None:
    x = np.array([[5.0, 1.0], [0.1, -0.0], [2.0, 2.0], [0.1, 0.0]])
    certificate = separable(x, np.array([1, 1, -1, -1])).certificate
    assert (
        certificate is not None
        and certificate.rows == (1, 3)
        and certificate.weights == (1, 1)
        and certificate.holds(x)
    )


def test_a_positive_sum_is_told_from_zero_where_floats_cannot() -> None:
    z = np.array([[1e16, 1.0, -1e16]])
    assert all_positive(z, np.ones(3)) and not all_positive(z, np.array([1.0, 0.0, 1.0]))
    assert not all_positive(z, np.array([1.0, -1.0, 1.0]))


@pytest.mark.parametrize(
    ("x", "signs", "error", "why"),
    [
        (np.zeros(3), np.ones(3), UsageError, "expected rows"),
        (np.zeros((0, 2)), np.ones(0), UsageError, "N > 0"),
        (np.zeros((2, 2)), np.array([0, 1]), UsageError, "signs are -1"),
        (np.array([[1.0], [np.nan]]), np.array([1, -1]), DataError, "row 1, column 0 holds nan"),
    ],
)
def test_what_cannot_be_decided_is_refused(x: np.ndarray, signs: np.ndarray, error: type, why: str) -> None:
    with pytest.raises(error, match=why):
        separable(x, signs)


# --- margin -----------------------------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(3, 20))
def test_the_margin_is_that_of_a_hard_margin_svm(seed: int, d: int, n: int) -> None:
    """An SVM without a bias: it is given every row and its opposite, so that by symmetry its bias is 0."""
    x, signs = separated(seed, n, d, 0.2)
    z = signed(x, signs, bias=True)
    weights = separable(x, signs).weights
    assert weights is not None
    margin, w = largest_margin(z, weights)
    svm = SVC(kernel="linear", C=1e10, tol=1e-7).fit(np.vstack([z, -z]), np.repeat([1, -1], len(z)))
    assert margin == pytest.approx(1 / np.linalg.norm(svm.coef_), rel=1e-5)
    assert np.linalg.norm(w) == pytest.approx(1) and (z @ w).min() == pytest.approx(margin)


def test_the_margin_of_many_rows_is_found_by_a_part_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    x, signs = separated(1, 2000, 4)
    z = signed(x, signs, bias=True)
    weights = separable(x, signs).weights
    assert weights is not None
    whole = largest_margin(z, weights)[0]
    monkeypatch.setattr("netwright.linear.margin.MOST_ROWS", 12)
    assert largest_margin(z, weights)[0] == pytest.approx(whole, rel=1e-7)


@pytest.mark.parametrize("gap", [1.0, 1e-3, 1e-6])
def test_a_margin_that_is_known_is_found_at_any_size(gap: float) -> None:
    x, signs = np.array([[gap, 3.0], [-gap, -3.0], [gap, -7.0], [-gap, 7.0]]), np.array([1, -1, 1, -1])
    margin, w = largest_margin(signed(x, signs, bias=False), np.array([1.0, 0.0]))
    assert margin == pytest.approx(gap, rel=1e-6) and w[0] == pytest.approx(1)


def test_weights_that_divide_nothing_have_no_margin() -> None:
    with pytest.raises(UsageError, match="do not divide the rows"):
        largest_margin(np.array([[1.0], [-1.0]]), np.array([1.0]))


# --- the rule ---------------------------------------------------------------------------------------------------------


def plainly(z: np.ndarray, passes: int) -> tuple[np.ndarray, list[int]]:
    w, rows = np.zeros(z.shape[1]), []
    for _ in range(passes):
        for i, row in enumerate(z):
            if w @ row <= 0:
                w = w + row
                rows.append(i)
    return w, rows


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(2, 300), st.booleans())
def test_the_rule_is_one_sample_at_a_time(seed: int, d: int, n: int, divided: bool) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(-9, 10, (n, d)).astype(float)  # whole numbers: no rounding, so the paths are equal
    signs = np.where(x @ rng.integers(-3, 4, d) > 0, 1, -1) if divided else rng.choice([-1, 1], n)
    z = signed(x, signs, bias=True)
    found = learn(z, max_passes=6)
    w, rows = plainly(z, found.n_passes)
    assert (found.weights == w).all() and found.path_rows.tolist() == rows and found.n_mistakes == len(rows)
    assert (found.path == np.vstack([np.zeros(d + 1), np.cumsum(z[rows], 0).reshape(-1, d + 1)])).all()
    assert (z @ w > 0).all() if found.converged else found.n_passes == 6


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 6),
    st.integers(2, 200),
    st.sampled_from([0.3, 0.05]),
    st.booleans(),
    st.floats(0.01, 100),
)
def test_mistakes_never_exceed_the_bound_and_no_error_is_left(
    seed: int, d: int, n: int, gap: float, shuffle: bool, rate: float
) -> None:
    x, signs = separated(seed, n, d, gap)
    assume(len(set(signs.tolist())) == 2)
    net = Perceptron(shuffle=shuffle, learning_rate=rate, random_state=seed).fit(x, signs)
    assert net.separable_ and net.certificate_ is None and net.n_errors_ == 0 and net.score(x, signs) == 1
    assert 0 < net.n_mistakes_ <= net.bound_ and net.margin_ > 0
    assert len(net.path_) == net.n_mistakes_ + 1
    np.testing.assert_array_equal(net.path_[-1], [*net.coef_[0], *net.intercept_])
    steps = np.diff(net.path_, axis=0) / rate
    np.testing.assert_allclose(
        steps, signed(x, signs, bias=True)[net.lines_[0].learned.path_rows], rtol=1e-6, atol=1e-9
    )


def test_in_the_same_order_it_is_scikit_learn_s() -> None:
    """Whose rule steps where w x y <= 0 as well, and whose bias is a further input of 1 too."""
    x, signs = separated(5, 150, 3)
    ours = Perceptron().fit(x, signs)
    theirs = Sklearns(shuffle=False, tol=None, max_iter=ours.n_iter_).fit(x, signs)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-9)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-9)


def test_the_rate_scales_the_weights_and_nothing_else() -> None:
    x, signs = separated(2, 100, 3)
    one, other = Perceptron().fit(x, signs), Perceptron(learning_rate=0.25).fit(x, signs)
    np.testing.assert_array_equal(one.path_, 4 * other.path_)


def test_the_loss_is_the_sum_over_rows_on_the_wrong_side_and_its_slope_is_the_step() -> None:
    z, w = np.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]]), np.array([2.0, -1.0])
    assert perceptron_loss(z, w) == 2 + 6
    h, slope = 1e-6, -(z[1] + z[2])
    for j in range(2):
        step = np.eye(2)[j] * h
        assert (perceptron_loss(z, w + step) - perceptron_loss(z, w - step)) / (2 * h) == pytest.approx(slope[j])


def test_the_pocket_is_never_worse_than_what_it_went_through() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    signs = np.where(x[:, 0] + 0.7 * rng.normal(size=300) > 0, 1, -1)
    z = signed(x, signs, bias=True)
    last, best = learn(z, max_passes=10), learn(z, max_passes=10, pocket=True)
    errors = [int((z @ w <= 0).sum()) for w in (last.weights, best.weights)]
    assert errors[1] <= errors[0] and best.n_mistakes == last.n_mistakes and errors[1] < 100


# --- the estimator ----------------------------------------------------------------------------------------------------


def test_xor_is_refused_at_once_with_its_certificate() -> None:
    y = ["no", "yes", "yes", "no"]
    with pytest.warns(
        ConvergenceWarning, match=r"not separable: 1/2 of row 1 \+ 1/2 of row 2 = .*, so no line divides 'yes'"
    ):
        net = nw.Perceptron().fit(XOR, y)
    assert not net.separable_ and net.certificate_ is not None and net.certificate_.holds(XOR)
    assert net.margin_ == 0 and net.bound_ == math.inf and net.n_errors_ >= 1 and net.n_iter_ == 10
    with pytest.raises(DataError, match="not separable"):
        Perceptron(not_separable="error").fit(XOR, y)


@pytest.mark.parametrize("y", [[0, 1, 1, 1], [0, 0, 0, 1], [1, 1, 1, 0], [1, 0, 0, 0]])
def test_and_and_or_are_learned(y: list[int]) -> None:
    net = Perceptron().fit(XOR, y)
    assert net.predict(XOR).tolist() == y and net.n_mistakes_ <= net.bound_


def test_several_classes_are_learned_one_against_the_rest() -> None:
    x = np.array([[0.0, 3.0], [0.0, 4.0], [3.0, 0.0], [4.0, 0.0], [-3.0, -3.0], [-4.0, -3.0]])
    y = np.array(["north", "north", "east", "east", "south", "south"])
    net = Perceptron().fit(x, y)
    assert (
        net.separable_ and net.n_errors_ == 0 and net.coef_.shape == (3, 2) and net.decision_function(x).shape == (6, 3)
    )
    assert [line.label for line in net.lines_] == ["east", "north", "south"] and not hasattr(net, "path_")
    assert net.n_mistakes_ == sum(line.learned.n_mistakes for line in net.lines_) <= net.bound_


def test_of_iris_one_class_is_separable_and_two_are_not() -> None:
    x, y = load_iris(return_X_y=True, as_frame=True)
    with pytest.warns(ConvergenceWarning, match="not separable"):
        net = Perceptron(random_state=0).fit(x, y)
    assert [line.separable for line in net.lines_] == [True, False, False] and all(line.exact for line in net.lines_)
    assert all(line.certificate.holds(x.to_numpy()) for line in net.lines_ if line.certificate)
    assert net.score(x, y) > 0.75 and list(net.feature_names_in_) == list(x.columns)


def test_without_a_bias_the_line_goes_through_the_origin() -> None:
    x, y = np.array([[1.0, 0.2], [2.0, -1.0], [-1.0, 0.5], [-3.0, 0.1]]), [1, 1, 0, 0]
    net = Perceptron(fit_intercept=False).fit(x, y)
    assert net.intercept_.tolist() == [0] and net.n_errors_ == 0 and net.n_mistakes_ <= net.bound_
    with pytest.warns(ConvergenceWarning, match="not separable"):
        assert not Perceptron(fit_intercept=False).fit([[1.0], [2.0]], [0, 1]).separable_
    assert Perceptron().fit([[1.0], [2.0]], [0, 1]).separable_


def test_on_the_line_the_sign_is_plus() -> None:
    net = Perceptron(fit_intercept=False).fit([[1.0, 0.0], [-1.0, 0.0]], ["minus", "plus"])
    assert net.predict([[0.0, 5.0]]).tolist() == ["plus"]


def test_a_margin_that_is_too_small_stops_with_a_warning() -> None:
    x, y = np.array([[0.0, 1000.0], [1e-6, 1000.0]]), [0, 1]
    with pytest.warns(ConvergenceWarning, match="stopped after 500 mistakes .* standardise the columns"):
        net = Perceptron(max_updates=500, keep_path=20).fit(x, y)
    assert net.separable_ and net.n_mistakes_ == 500 <= net.bound_ and len(net.path_) == 21


@pytest.mark.parametrize("gap", [1e-6, 1.2e-7])
def test_classes_that_are_close_far_from_the_origin_are_told_apart(gap: float) -> None:
    x = np.array([[1e9, 0.0], [1e9 + gap, 0.0]])
    verdict = separable(x, np.array([-1, 1]))
    assert verdict.separable and verdict.weights is not None and np.isfinite(verdict.weights).all()
    with pytest.warns(ConvergenceWarning, match="stopped after 50 mistakes"):
        assert Perceptron(max_updates=50).fit(x, [0, 1]).separable_
    x[1] = x[0]
    assert not separable(x, np.array([-1, 1])).separable


@pytest.mark.parametrize(
    ("x", "y", "why"),
    [
        ([[0.0], [1.0]], [1, 1], "one class only"),
        ([[0.0], [np.nan]], [0, 1], "NaN"),
        ([[0.0], [np.inf]], [0, 1], "infinity"),
        ([[0.0], [1.0]], [0.5, 1.7], "continuous"),
        ([[0.0], [1.0]], [0], "inconsistent"),
        ([["a"], ["b"]], [0, 1], "could not convert string"),
        (np.zeros((0, 2)), [], "0 sample"),
    ],
)
def test_bad_data_is_refused(x: Any, y: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Perceptron().fit(x, y)


def test_one_row_with_both_labels_is_named() -> None:
    x = pd.DataFrame({"a": [1.0, 2.0, 1.0], "b": [0.0, 5.0, 0.0]})
    with pytest.warns(ConvergenceWarning, match="1 of row 2 = 1 of row 0"):
        net = Perceptron().fit(x, ["u", "v", "v"])
    assert net.n_errors_ == 1 and net.certificate_ is not None and net.certificate_.rows == (2, 0)


@pytest.mark.parametrize(
    "options",
    [
        {"not_separable": "stop"},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"pocket_passes": 0},
        {"max_updates": 0},
        {"keep_path": -1},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(options))} is .*expected"):
        Perceptron(**options).fit(XOR, [0, 1, 1, 1])


def test_an_estimator_that_is_not_fitted_says_so() -> None:
    with pytest.raises(NotFittedError):
        Perceptron().predict(XOR)


# --- drawn ------------------------------------------------------------------------------------------------------------


def test_the_animation_has_a_frame_for_each_update() -> None:
    x, signs = separated(0, 40, 2)
    net = Perceptron().fit(x, signs)
    figure = line_path(net, x, signs)
    assert len(figure.frames) == len(figure.steps) == net.n_mistakes_ + 1 and figure.frames[-1] == figure.series
    assert {len(frame) for frame in figure.frames} == {4}
    for frame, w in zip(figure.frames[1:], net.path_[1:], strict=True):
        ends = np.array([frame[2].x, frame[2].y], dtype=float).T
        np.testing.assert_allclose(ends @ w[:2] + w[2], 0, atol=1e-9)
        assert len(frame[3].x) == 1
    with pytest.raises(UsageError, match="two inputs"):
        line_path(Perceptron().fit(*separated(0, 20, 3)), *separated(0, 20, 3))


def test_the_certificate_is_drawn_with_the_point_in_both() -> None:
    with pytest.warns(ConvergenceWarning):
        net = Perceptron().fit(XOR, [0, 1, 1, 0])
    assert net.certificate_ is not None
    figure = certificate_drawn(net.certificate_, XOR, np.array([0, 1, 1, 0]))
    assert (figure.series[-1].x, figure.series[-1].y) == ((0.5,), (0.5,))
    assert [len(s.x) for s in figure.series] == [2, 2, 3, 3, 1]
