"""A number from rows: a scikit-learn regressor with intervals."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import check_array, check_consistent_length

from netwright.baselines.calibrate import conformal_margin
from netwright.data.given import labels_given, name_of, weights_given
from netwright.data.targets import number_target
from netwright.estimators.base import MIN_VALID, Estimator, counted


class Regressor(RegressorMixin, Estimator):  # type: ignore[misc]
    """A network that predicts a number from rows of a table, images or texts, with intervals. X is as of `Classifier`.

    Args:
        template, options, epochs, batch_size, learning_rate, weight_decay, dropout, training, validation_fraction, patience,
        random_state, members, restarts, folds, minutes, device, kind, kinds, lemmas, verbose: as of `Classifier`.
        metric: what chooses the epoch; None for RMSE.

    Fitted: `n_features_in_`, `feature_names_in_`, `model_` (a netwright Model), `history_`, `n_iter_` (epochs done),
    `validated_on_`, `member_scores_`, `way_`, `in_turn_`; see `Classifier`.

    >>> x = np.linspace(-1, 1, 200).reshape(-1, 1)
    >>> net = Regressor(epochs=20, random_state=0).fit(x, 100 + 5 * x[:, 0])
    >>> net.score(x, 100 + 5 * x[:, 0]) > 0.9, net.predict_interval(x).shape
    (True, (200, 2))
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on rows X (a table, images or texts) and values y (N,).

        Raises:
            ValueError: y is no column of finite numbers.
            UsageError: an option makes no sense. TrainingError: all networks diverged.
            DataError: images that are none; see `Classifier.fit`.
        """
        given = self._read(X)
        values = check_array(labels_given(y, self), ensure_2d=False, dtype=np.float64, input_name="y", estimator=self)
        check_consistent_length(given.frame, values)
        weight = weights_given(sample_weight, len(values))
        if weight is not None:
            given, values, weight = counted(given, weight), values[weight > 0], weight[weight > 0]
        target = number_target(name_of(y), values, weight)
        held = self._fit(given, values, target, weight)
        if self.validated_on_ == "validation rows":
            assert held.rows.y is not None
            predicted = self.model_.loss.predict(held.outputs.double()).numpy()
            self.model_.margin = conformal_margin(held.rows.y.numpy() - predicted)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Values (N,) in the unit of y."""
        return self._predict(X)

    def predict_interval(self, X: Any) -> np.ndarray:
        """Lower and upper end (N, 2) of an interval that holds 90 % of new values, from the errors on validation rows.

        Raises:
            ValueError: there were too few rows to hold some out.

        Source: split conformal prediction, Lei et al. (2018).
        """
        values = self._predict(X)
        if self.model_.margin is None:
            raise ValueError(
                f"no interval: it needs {MIN_VALID} validation rows, and there were too few; fit on more rows"
            )
        return np.stack([values - self.model_.margin, values + self.model_.margin], 1)
