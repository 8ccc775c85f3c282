"""Classes of rows: a scikit-learn classifier whose probabilities are calibrated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import check_consistent_length
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets

from netwright.baselines.calibrate import fit_temperature
from netwright.core.spec import ColumnKind
from netwright.data.alone import Alone
from netwright.data.given import labels_given, name_of, weights_given
from netwright.data.targets import class_target
from netwright.estimators.base import Estimator, Held, counted
from netwright.recipes.recipe import Option, Template


class Classifier(ClassifierMixin, Estimator):  # type: ignore[misc]
    """A network that classifies rows of a table, images or texts, with calibrated probabilities.

    X is a table (a frame of pandas, polars or pyarrow, a dictionary of columns, an array (N, P); columns of text and of images among
    them), images (an array or a tensor (N, H, W), (N, H, W, C) or (N, C, H, W) of at least 4 x 4 pixels, or a list of such arrays or
    of pillow images, all of one size: whole numbers from 0 to 255 as bytes, all else as fractions), or texts (a list, an array or a
    series of strings). Smaller arrays of three or four dimensions are refused. Series are a list of arrays (T,) of unequal lengths; with
    `kind="series"` also a list of arrays (T,) or (T, C), or one array (N, T) or (N, T, C). With `kind="audio"` X is a list of paths of
    sound files, or of pairs of a rate and samples (T,) or (T, channels), as `scipy.io.wavfile.read` gives them.

    Args:
        template: an entry of `netwright list templates`, or of `netwright list recipes` for one with its training, such as "lenet5"; a
            function (spec, target) -> nn.Module; or None for the designed one. The function's module takes the mapping of raw
            tensors, or one tensor: standardised pixels (N, C, H, W), ids of words (N, T) int64, or the standardised table (N, P);
            see `netwright.recipes.custom.OneTensor`.
        options: of a named (or the designed) template, such as {"width": 64}.
        epochs, batch_size, learning_rate, weight_decay, dropout: of the training; None for designed values.
        training: further settings of it by name (`netwright.train.settings.Training`), such as {"optimizer": "sgd", "momentum": 0.9,
            "schedule": "step", "halve_every": 3, "stop_error": 0.01}. A precision, a layout or compiled steps that are set here are
            kept where `minutes` would choose them.
        validation_fraction: share of rows, stratified, that choose the epoch and calibrate; with fewer than 16 of them
            all rows train and choose (`validated_on_` says which).
        patience: epochs without a better validation metric after which to stop.
        metric: what chooses the epoch; None for log loss.
        members: networks from different starts whose outputs are averaged, a deep ensemble; trained as one computation where that
            works, which takes much less than `members` times as long. One that diverges is left out, with a warning.
        restarts: starts of which the one with the best validation metric is kept: a number, or for each start options of the template
            and settings of the training, such as [{"width": 16}, {"width": 64, "learning_rate": 0.01}].
        folds: cross-validation: so many networks (times `members`), each judged on a part of the rows that it has not learned from;
            `model_` is their mean, calibrated on those rows, and no other rows are held out. What is known of the inputs (their
            spread, their categories) comes from all rows.
        class_weight: None, "balanced", or a dict from class to weight.
        random_state: an int for the same network each time, a RandomState, or None.
        device: where the network is trained: "cpu", an accelerator such as "cuda" (untested), or "auto" for one where there is one.
        minutes: a limit for the training: a few steps are timed, and no more epochs are planned than fit; a training that ended early
            all the same says so. The machine then has a say in the result.
        kind: "series" or "audio" where X holds those and its shape could mean something else; see above.
        kinds: kinds of columns that are guessed wrongly, such as {"zip": "category"}.
        lemmas: language in whose base forms words of texts are counted ("en": "were" is "be"); empty for words as they are; needs
            the extra `lemma`.
        verbose: 1 prints a line per epoch, how the training is computed, and why several networks were trained in turn.

    Fitted: `classes_`, `n_features_in_`, `feature_names_in_`, `model_` (a netwright Model), `history_`, `n_iter_` (epochs done),
    `validated_on_`, `member_scores_` (the validation metric of each network, one row for each fold: its spread is that of luck;
    infinite for one without a good epoch), `way_` (threads, precision, layout and compilation of the training, and in `way_.reason`
    why), `in_turn_` (why several networks were trained in turn; empty where they were one computation).

    >>> x = np.linspace(-1, 1, 80).reshape(-1, 1)
    >>> net = Classifier(epochs=5, random_state=0).fit(x, np.where(x[:, 0] > 0, "high", "low"))
    >>> net.predict([[0.9], [-0.9]]).tolist(), net.predict_proba(x).shape
    (['high', 'low'], (80, 2))

    Texts, and images with a network of one's own:

    >>> texts = ["a superb film", "an awful film"] * 40
    >>> Classifier(epochs=5, random_state=0).fit(texts, [1, 0] * 40).predict(["superb", "awful"]).tolist()
    [1, 0]
    >>> import torch
    >>> images = np.random.default_rng(0).integers(0, 256, (80, 8, 8), dtype=np.uint8)
    >>> images[::2, :, :4] //= 4  # every other one is dark on the left
    >>> def template(spec, target):
    ...     return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, target.n_out))
    >>> net = Classifier(template=template, epochs=10, random_state=0).fit(images, ["dark", "bright"] * 40)
    >>> net.score(images, ["dark", "bright"] * 40) > 0.9
    True
    """

    def __init__(
        self,
        *,
        template: str | Template | None = None,
        options: Mapping[str, Option] | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        weight_decay: float | None = None,
        dropout: float | None = None,
        training: Mapping[str, Any] | None = None,
        validation_fraction: float = 0.15,
        patience: int | None = None,
        metric: str | None = None,
        members: int = 1,
        restarts: int | Sequence[Mapping[str, Any]] = 1,
        folds: int | None = None,
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
        random_state: Any = None,
        minutes: float | None = None,
        device: str | None = None,
        kind: Alone | None = None,
        kinds: Mapping[str, ColumnKind] | None = None,
        lemmas: str = "",
        verbose: int = 0,
    ) -> None:
        super().__init__(
            template=template,
            options=options,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            dropout=dropout,
            training=training,
            validation_fraction=validation_fraction,
            patience=patience,
            metric=metric,
            members=members,
            restarts=restarts,
            folds=folds,
            random_state=random_state,
            minutes=minutes,
            device=device,
            kind=kind,
            kinds=kinds,
            lemmas=lemmas,
            verbose=verbose,
        )
        self.class_weight = class_weight

    classes_: np.ndarray

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on rows X (a table, images or texts) and labels y (N,): strings, integers, booleans or whole floats.

        Raises:
            ValueError: y is no column of labels, or holds one class only.
            UsageError: an option makes no sense. TrainingError: all networks diverged.
            DataError: images of several sizes, with pixels that are no finite numbers, or whole numbers beyond 0 to 255.
        """
        given, labels = self._read(X), labels_given(y, self)
        check_classification_targets(labels)
        check_consistent_length(given.frame, labels)
        weight = weights_given(sample_weight, len(labels))
        if self.class_weight is not None:
            weight = (1.0 if weight is None else weight) * compute_sample_weight(self.class_weight, labels)
        if weight is not None:
            given, labels, weight = counted(given, weight), labels[weight > 0], weight[weight > 0]
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y holds one class only ({self.classes_[0]!r}); a classifier needs at least two classes")
        target = class_target(name_of(y), codes, self.classes_, weight)
        self._calibrate(self._fit(given, codes.astype(np.int64), target, weight))
        return self

    def _calibrate(self, held: Held) -> None:
        """Temperature scaling on validation rows, drawn towards 1 where they are few; none where all are classified rightly."""
        outputs, y, weight = held.outputs, held.rows.y, held.rows.weight
        assert y is not None
        if self.validated_on_ == "validation rows" and bool((self.model_.loss.predict(outputs).argmax(1) != y).any()):
            temperature = fit_temperature(outputs, y, self.model_.loss, weight)
            self.model_.temperature = temperature ** (len(y) / (len(y) + 50))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities (N, C) in the order of `classes_`."""
        return self._predict(X)

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row (N,)."""
        best = self._predict(X).argmax(1)
        labels: np.ndarray = self.classes_[best]
        return labels
