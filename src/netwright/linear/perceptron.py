"""The perceptron as a scikit-learn estimator: mistakes against their bound, and a proof where no line divides the classes."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from netwright.core.errors import DataError, UsageError
from netwright.core.seed import numpy_generator
from netwright.linear.certificate import Certificate
from netwright.linear.margin import largest_margin
from netwright.linear.rule import Learned, learn
from netwright.linear.separate import separable, signed


@dataclass(frozen=True)
class Line:
    """What was found for one class against the others.

    Args:
        label: the class on the positive side.
        weights: (D,) of the inputs, and the bias last where there is one.
        separable: whether any plane divides the classes; `certificate` proves that none does; `exact`: checked without rounding.
        radius: R, the length of the longest row, with the input that is always 1 where there is a bias.
        margin: the largest min_i signs_i w x_i of any w of length 1, in the same space; 0 where no plane divides the classes.
        learned: weights after each update, and their number.
        n_errors: rows that the weights get wrong.
    """

    label: Any
    weights: np.ndarray
    separable: bool
    certificate: Certificate | None
    exact: bool
    radius: float
    margin: float
    learned: Learned
    n_errors: int

    @property
    def bound(self) -> float:
        """(R / margin)^2, the most mistakes that the rule can make in any order of the rows; infinite where there is no margin."""
        return (self.radius / self.margin) ** 2 if self.margin else math.inf


class Perceptron(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    r"""One neuron with a sign at its output that learns from its mistakes: y = sign(w x + b), sign(0) = +1, labels -1 and +1 inside.

    From w = 0, sample by sample: w <- w + rate y x where y w x <= 0. The bias is the weight of a further input that is always 1. On
    classes that a plane divides this ends with no error after at most (R / margin)^2 mistakes. Whether there is such a plane is decided
    by linear programming before; where there is none, the certificate says why, and what is kept are the best weights of a few passes in
    random order.

    Several classes: one against the rest; `predict` takes the class with the largest w x + b.

    Args:
        fit_intercept: whether there is a bias. learning_rate: scales the weights and nothing else.
        shuffle: another order of the rows in each pass; by default they come as given, but where no plane divides the classes.
        not_separable: "warn" and keep the weights with the fewest errors seen (pocket), or "error".
        pocket_passes: passes where no plane divides the classes.
        max_updates: where to stop on classes with a very small margin, with a warning.
        keep_path: updates after which the weights are kept in `path_`.
        random_state: an int for the same order each time, a RandomState, or None.

    Fitted: `classes_`, `coef_` (1 or C, D), `intercept_`, `n_mistakes_` (of all classes), `margin_` (the smallest), `bound_` (of all
    mistakes), `separable_` (whether each class is), `certificate_` (the first, or None), `n_errors_` (rows of X that are predicted
    wrongly), `n_iter_` (the most passes), `lines_` (one `Line` a class, for two classes one), and for two classes `path_`
    (updates + 1, D + 1): w and b before the first update and after each.

    Source: Rosenblatt (1958), "The perceptron"; bound: Novikoff (1962), "On convergence proofs on perceptrons", whose rule also steps
    where w x = 0: without that w = 0 would stay.

    >>> x = [[0, 0], [0, 1], [1, 0], [1, 1]]  # or, then xor
    >>> net = Perceptron().fit(x, ["no", "yes", "yes", "yes"])
    >>> net.predict(x).tolist(), net.n_mistakes_ <= net.bound_
    (['no', 'yes', 'yes', 'yes'], True)
    >>> Perceptron(not_separable="error").fit(x, ["no", "yes", "yes", "no"])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    netwright.core.errors.DataError: not separable: 1/2 of row 1 + 1/2 of row 2 = 1/2 of row 0 + 1/2 of row 3, so no line divides 'yes' ...
    """

    def __init__(
        self,
        *,
        fit_intercept: bool = True,
        learning_rate: float = 1.0,
        shuffle: bool = False,
        not_separable: Literal["warn", "error"] = "warn",
        pocket_passes: int = 10,
        max_updates: int = 1_000_000,
        keep_path: int = 10_000,
        random_state: Any = None,
    ) -> None:
        self.fit_intercept = fit_intercept
        self.learning_rate = learning_rate
        self.shuffle = shuffle
        self.not_separable = not_separable
        self.pocket_passes = pocket_passes
        self.max_updates = max_updates
        self.keep_path = keep_path
        self.random_state = random_state

    classes_: np.ndarray
    lines_: tuple[Line, ...]
    coef_: np.ndarray
    intercept_: np.ndarray
    path_: np.ndarray

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from rows X (N, D) of finite numbers and labels y (N,).

        Raises:
            ValueError: a number is missing or not finite, or y holds one class only.
            DataError: no plane divides the classes, with `not_separable="error"`.
        """
        self._check_options()
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y holds one class only ({self.classes_[0]!r}); a perceptron needs at least two classes")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        positive = [1] if len(self.classes_) == 2 else range(len(self.classes_))
        self.lines_ = tuple(self._line(X, np.where(codes == k, 1, -1), k, seed) for k in positive)
        self._keep(X, codes)
        self._warn()
        return self

    def _check_options(self) -> None:
        if self.not_separable not in ("warn", "error"):
            raise UsageError(f'not_separable is {self.not_separable!r}; expected "warn" or "error"')
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise UsageError(f"learning_rate is {self.learning_rate}; expected a number above 0")
        for name, least in (("pocket_passes", 1), ("max_updates", 1), ("keep_path", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}; expected at least {least}")

    def _line(self, x: np.ndarray, signs: np.ndarray, k: int, seed: int) -> Line:
        """One class against the rest: first whether a plane divides them, then the rule."""
        verdict, z = separable(x, signs, bias=self.fit_intercept), signed(x, signs, bias=self.fit_intercept)
        label = self.classes_[k].item() if hasattr(self.classes_[k], "item") else self.classes_[k]
        if not verdict.separable and self.not_separable == "error":
            raise DataError(f"not separable: {verdict.certificate}, so no line divides {label!r} from the rest")
        wide = (
            verdict.weights is not None and (z @ verdict.weights).min() > 0
        )  # else below what floats can tell from nothing
        margin = largest_margin(z, verdict.weights)[0] if wide and verdict.weights is not None else 0.0
        mixed = self.shuffle or not verdict.separable
        learned = learn(
            z,
            rate=self.learning_rate,
            order=(lambda n: numpy_generator(seed, "order", k, n).permutation(len(z))) if mixed else None,
            max_updates=self.max_updates,
            max_passes=None if verdict.separable else self.pocket_passes,
            keep=self.keep_path,
            pocket=True,
        )
        right = (z @ learned.weights > 0) | ((z @ learned.weights == 0) & (signs > 0))
        radius = float(np.linalg.norm(z, axis=1).max())
        return Line(
            label,
            learned.weights,
            verdict.separable,
            verdict.certificate,
            verdict.exact,
            radius,
            margin,
            learned,
            int((~right).sum()),
        )

    def _keep(self, x: np.ndarray, codes: np.ndarray) -> None:
        """What scikit-learn and the reader expect of a fitted estimator."""
        lines, d = self.lines_, x.shape[1]
        self.coef_ = np.stack([line.weights[:d] for line in lines])
        self.intercept_ = np.array([line.weights[d] if self.fit_intercept else 0.0 for line in lines])
        self.n_mistakes_ = sum(line.learned.n_mistakes for line in lines)
        self.n_iter_ = max(line.learned.n_passes for line in lines)
        self.margin_ = min(line.margin for line in lines)
        self.bound_ = sum(line.bound for line in lines)
        self.separable_ = all(line.separable for line in lines)
        self.certificate_ = next((line.certificate for line in lines if line.certificate), None)
        self.n_errors_ = int((self._codes(x) != codes).sum())
        if len(lines) == 1:
            path = lines[0].learned.path
            self.path_ = path if self.fit_intercept else np.column_stack([path, np.zeros(len(path))])

    def _warn(self) -> None:
        for line in self.lines_:
            if line.certificate:
                warnings.warn(
                    f"not separable: {line.certificate}, so no line divides {line.label!r} from the rest; "
                    f"kept are weights with {line.n_errors} errors",
                    ConvergenceWarning,
                    stacklevel=3,
                )
            elif not line.learned.converged:
                warnings.warn(
                    f"stopped after {line.learned.n_mistakes:,} mistakes with {line.n_errors} errors left: the margin is "
                    f"{line.margin:.3g} of a radius of {line.radius:.3g}; standardise the columns, or allow more max_updates",
                    ConvergenceWarning,
                    stacklevel=3,
                )

    def decision_function(self, X: Any) -> np.ndarray:
        """w x + b: (N,) for two classes, (N, C) for more."""
        check_is_fitted(self)
        return self._scores(validate_data(self, X, dtype=np.float64, reset=False))

    def _scores(self, x: np.ndarray) -> np.ndarray:
        found: np.ndarray = x @ self.coef_.T + self.intercept_
        return found[:, 0] if len(self.lines_) == 1 else found

    def _codes(self, x: np.ndarray) -> np.ndarray:
        found = self._scores(x)
        return (found >= 0).astype(int) if found.ndim == 1 else found.argmax(1)

    def predict(self, X: Any) -> np.ndarray:
        """The class of each row (N,); on the line itself the second of two classes, as sign(0) = +1."""
        check_is_fitted(self)
        labels: np.ndarray = self.classes_[self._codes(validate_data(self, X, dtype=np.float64, reset=False))]
        return labels
