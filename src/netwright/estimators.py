"""Scikit-learn shells over Recipe -> Model: `Classifier` and `Regressor` fit frames, arrays, images and texts."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import polars as pl
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from netwright.baselines.calibrate import conformal_margin, fit_temperature
from netwright.core.errors import UsageError, unknown
from netwright.core.seed import numpy_generator
from netwright.core.spec import ColumnKind, InputSpec, TargetSpec
from netwright.data.alone import Alone
from netwright.data.arrays import holds_pixels
from netwright.data.batch import Block
from netwright.data.data import Data
from netwright.data.encode import encode_inputs, fit_inputs
from netwright.data.given import Given, What, labels_given, name_of, rows_again, rows_given, weights_given
from netwright.data.infer import infer_kinds
from netwright.data.kinds import KINDS
from netwright.data.targets import class_target, number_target
from netwright.losses.metrics import check_metric, greater_is_better
from netwright.model import Model, ensemble_of, fit_all
from netwright.recipes.by_rule import by_rule
from netwright.recipes.in_time import in_time
from netwright.recipes.recipe import Option, Template, member_seed
from netwright.train.diverge import returns_of
from netwright.train.hooks import Clock, Quiet, Report
from netwright.train.members import Trained
from netwright.train.state import Row
from netwright.train.way import threads

MOST_NETWORKS = 64
"""Of one fit."""
MIN_VALID = 16
"""With fewer validation rows than this the choice of an epoch would be noise: training rows are used instead."""
_TRAINING = ("epochs", "batch_size", "learning_rate", "weight_decay", "patience", "device")
_EATEN = ("number", "integer", "date", "category", "text", "image", *KINDS)


class _Estimator(BaseEstimator):  # type: ignore[misc]
    """What both estimators share: rows in, a recipe, a training, a Model."""

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
        restarts: int | Sequence[Mapping[str, Option]] = 1,
        folds: int | None = None,
        random_state: Any = None,
        minutes: float | None = None,
        device: str | None = None,
        kind: Alone | None = None,
        kinds: Mapping[str, ColumnKind] | None = None,
        lemmas: str = "",
        verbose: int = 0,
    ) -> None:
        self.template = template
        self.options = options
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.training = training
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.metric = metric
        self.members = members
        self.restarts = restarts
        self.folds = folds
        self.random_state = random_state
        self.minutes = minutes
        self.device = device
        self.kind = kind
        self.kinds = kinds
        self.lemmas = lemmas
        self.verbose = verbose

    model_: Model
    member_scores_: np.ndarray
    history_: list[Row]
    n_iter_: int
    validated_on_: Literal["validation rows", "training rows"]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.three_d_array = True
        return tags

    def _read(self, x: Any) -> Given:
        """The rows of `fit`."""
        given = rows_given(self, x, self.kind)
        self._what: What = given.what
        self._columns = given.frame.columns
        return given

    def _spec(self, frame: pl.DataFrame, given: Given) -> InputSpec:
        """The inputs, fitted on the training rows; columns that cannot be learned from are left out, with a warning."""
        chosen = dict(self.kinds or {})
        for name in chosen:
            if name not in frame.columns:
                raise UsageError(unknown("column", name, frame.columns))
        sure: dict[str, ColumnKind] = dict.fromkeys(frame.columns, "number") if given.plain else {}
        sure |= {"text": "text"} if given.what == "texts" else {}
        sure |= {c.name: "image" for c in frame.iter_columns() if holds_pixels(c.dtype)}
        sure |= chosen
        guesses = infer_kinds(frame.drop(set(sure) - set(chosen)), chosen) if set(frame.columns) - set(sure) else {}
        kinds: dict[str, ColumnKind] = {}
        for name in frame.columns:
            kind = sure[name] if name in sure else guesses[name].kind
            if kind in _EATEN:
                kinds[name] = kind
            elif kind != "constant":
                warnings.warn(
                    f"column {name!r} is left out: {kind} ({guesses[name].reason}); "
                    f"to use it: kinds={{{name!r}: 'category'}}",
                    stacklevel=4,
                )
        return fit_inputs(frame, kinds, lemmas=self.lemmas)

    def _split(self, strata: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Training and validation rows, stratified; both all rows where there are too few to hold some out."""
        held = [
            rng.permutation(np.flatnonzero(strata == s))[: round(self.validation_fraction * (strata == s).sum())]
            for s in np.unique(strata)
        ]
        valid = np.sort(np.concatenate(held))
        if len(valid) < MIN_VALID:
            return np.arange(len(strata)), np.arange(len(strata))
        return np.setdiff1d(np.arange(len(strata)), valid), valid

    def _fit(self, given: Given, y: np.ndarray, target: TargetSpec, weight: np.ndarray | None) -> Held:
        """Train; returns the answers to rows that a network has not learned from."""
        deadline = None if self.minutes is None else time.monotonic() + 60 * self.minutes
        frame, seed = given.frame, int(check_random_state(self.random_state).randint(2**31 - 1))
        if not 0 <= self.validation_fraction < 1:
            raise UsageError(
                f"validation_fraction is {self.validation_fraction}; expected 0 <= validation_fraction < 1"
            )
        strata = np.zeros(len(y)) if target.is_number else y
        folds = self._folds(strata, seed)
        train, valid = (np.arange(len(y)),) * 2 if folds else self._split(strata, numpy_generator(seed, "validation"))
        self.validated_on_ = "training rows" if len(train) == len(y) and not folds else "validation rows"
        spec = self._spec(frame[train], given)
        block = Block(
            encode_inputs(frame, spec),
            torch.tensor(y),
            None if weight is None else torch.from_numpy(weight / weight[train].mean()).float(),
        )
        parts = {"train": train, "valid": valid, "test": valid}
        blocks = {}
        for part, rows in parts.items():
            batch = block.take(torch.from_numpy(rows))
            blocks[part] = Block(batch.x, batch.y, batch.weight)
        data = Data(None, spec, target, parts, _blocks=blocks)  # type: ignore[arg-type]
        hooks: list[Quiet] = [] if deadline is None else [Clock(deadline)]
        hooks += [Report(self._print)] if self.verbose else []
        named = {name: getattr(self, name) for name in _TRAINING if getattr(self, name) is not None}
        recipe = by_rule(
            spec,
            target,
            len(train),
            template=self.template,
            options=self.options,
            dropout=self.dropout,
            asked={**(self.training or {}), **named},
        )
        metric = check_metric(self.metric, target)
        topologies = [{}] * self.restarts if isinstance(self.restarts, int) else list(self.restarts)
        recipes = [recipe.with_options(**options) for options in topologies] * self.members * max(len(folds), 1)
        starts = self.members * len(topologies)
        custom = self.template if callable(self.template) else None
        with ExitStack() as within:
            if deadline is not None and self.epochs is None:
                left = (deadline - time.monotonic()) / len(recipes)
                planned, way = in_time(recipes[0], data, left, custom)
                settings = planned.training
                recipes = [r.model_copy(update={"training": settings}) for r in recipes]
                within.enter_context(threads(way.threads))
            trained, why = fit_all(
                recipes,
                data,
                seeds=[member_seed(seed, k % starts) for k in range(len(recipes))],
                metric=metric,
                folds=[fold for fold in folds for _ in range(starts)] or None,
                hooks=lambda k: hooks,
                template=custom,
            )
        if self.verbose and len(recipes) > 1 and why:
            print(f"{len(recipes)} networks were trained in turn: {why}")
        return self._kept(trained, metric, blocks["valid"], folds)

    def _folds(self, strata: np.ndarray, seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """The rows that each fold learns from and is judged on; none without cross-validation."""
        several = not isinstance(self.restarts, int) or self.restarts != 1
        if not isinstance(self.restarts, int) and not self.restarts:
            raise UsageError("restarts is empty; expected a number, or a mapping of options for each start")
        for name, least in (("members", 1), ("restarts", 1), ("folds", 2)):
            value = getattr(self, name)
            if isinstance(value, int) and not least <= value <= MOST_NETWORKS:
                raise UsageError(f"{name} is {value}; expected {least} to {MOST_NETWORKS}")
        if several and (self.members > 1 or self.folds):
            raise UsageError("restarts keeps the best of several starts; it goes with neither members nor folds")
        if self.members * (self.folds or 1) > MOST_NETWORKS:
            raise UsageError(f"{self.members} members in {self.folds} folds are more than {MOST_NETWORKS} networks")
        if not self.folds:
            return []
        kind = StratifiedKFold if len(np.unique(strata)) > 1 else KFold
        parts = kind(self.folds, shuffle=True, random_state=seed % 2**32).split(strata, strata)
        return [(torch.from_numpy(learned), torch.from_numpy(held)) for learned, held in parts]

    def _kept(
        self,
        trained: list[tuple[Model, Trained]],
        metric: str,
        valid: Block,
        folds: list[tuple[torch.Tensor, torch.Tensor]],
    ) -> Held:
        """Take over the mean of the networks, or the best of several starts."""
        sign = -1.0 if greater_is_better(metric) else 1.0
        prices = [one.best[0] if one.best else math.inf for _, one in trained]
        self.member_scores_ = sign * np.array(prices).reshape(max(len(folds), 1), -1)
        first = int(np.argmin(prices))
        ended = [model for (model, _), price in zip(trained, prices, strict=True) if math.isfinite(price)]
        is_mean = self.restarts == 1 and len(ended) > 1
        self.model_ = ensemble_of(ended) if is_mean else trained[first][0]
        self.history_, self.n_iter_ = self.model_.history.rows, len(self.model_.history.rows)
        state, stop = trained[first][1].state, trained[first][1].stop
        if "stopped_by_clock" in state.values:
            warnings.warn(
                f"training ended early: {stop or state.stop}; give it more minutes", ConvergenceWarning, stacklevel=4
            )
        if returned := returns_of(state):
            warnings.warn(f"the training diverged: {returned}", ConvergenceWarning, stacklevel=4)
        if not folds:
            return Held(self.model_.outputs(valid.x), valid)
        outputs = torch.empty(0)
        of_fold = len(trained) // len(folds)
        for k, (_, held) in enumerate(folds):  # each row is answered by the networks that have not seen it
            model = ensemble_of([m for m, _ in trained[k * of_fold : (k + 1) * of_fold]])
            some = model.outputs(valid.take(held).x)
            outputs = some.new_empty(len(valid), *some.shape[1:]) if not len(outputs) else outputs
            outputs[held] = some
        return Held(outputs, valid)

    def _print(self, row: Row) -> None:
        shown = ", ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in row.items() if "loss" in k or "valid" in k)
        print(f"epoch {row['epoch']}: {shown}, {row['seconds']:.2f} s")

    def _predict(self, x: Any) -> np.ndarray:
        check_is_fitted(self)
        frame = rows_again(self, x, self.model_.spec, self._what, self._columns)
        return self.model_.predict_encoded(self.model_.encode(frame))


@dataclass(frozen=True)
class Held:
    """Outputs for rows that were held out, and those rows."""

    outputs: torch.Tensor
    rows: Block


def _counted(given: Given, weight: np.ndarray) -> Given:
    """The rows that have a weight."""
    return replace(given, frame=given.frame.filter(weight > 0))


class Classifier(ClassifierMixin, _Estimator):  # type: ignore[misc]
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
            "schedule": "step", "halve_every": 3, "stop_error": 0.01}.
        validation_fraction: share of rows, stratified, that choose the epoch and calibrate; with fewer than 16 of them
            all rows train and choose (`validated_on_` says which).
        patience: epochs without a better validation metric after which to stop.
        metric: what chooses the epoch; None for log loss.
        members: networks from different starts whose outputs are averaged, a deep ensemble; trained as one computation where that
            works, which takes much less than `members` times as long.
        restarts: starts of which the one with the best validation metric is kept: a number, or for each start options of the template,
            such as [{"width": 16}, {"width": 64}].
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
        verbose: 1 prints a line per epoch.

    Fitted: `classes_`, `n_features_in_`, `feature_names_in_`, `model_` (a netwright Model), `history_`, `n_iter_` (epochs done),
    `validated_on_`, `member_scores_` (the validation metric of each network, one row for each fold: its spread is that of luck).

    >>> x = np.linspace(-1, 1, 80).reshape(-1, 1)
    >>> net = Classifier(epochs=5, random_state=0).fit(x, np.where(x[:, 0] > 0, "high", "low"))
    >>> net.predict([[0.9], [-0.9]]).tolist(), net.predict_proba(x).shape
    (['high', 'low'], (80, 2))

    Texts, and images with a network of one's own:

    >>> texts = ["a superb film", "an awful film"] * 40
    >>> Classifier(epochs=5, random_state=0).fit(texts, [1, 0] * 40).predict(["superb", "awful"]).tolist()
    [1, 0]
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
        restarts: int | Sequence[Mapping[str, Option]] = 1,
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
            DataError: images of several sizes, with pixels that are no finite numbers, or whole numbers beyond 0 to 255.
        """
        given, labels = self._read(X), labels_given(y, self)
        check_classification_targets(labels)
        check_consistent_length(given.frame, labels)
        weight = weights_given(sample_weight, len(labels))
        if self.class_weight is not None:
            weight = (1.0 if weight is None else weight) * compute_sample_weight(self.class_weight, labels)
        if weight is not None:
            given, labels, weight = _counted(given, weight), labels[weight > 0], weight[weight > 0]
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


class Regressor(RegressorMixin, _Estimator):  # type: ignore[misc]
    """A network that predicts a number from rows of a table, images or texts, with intervals. X is as of `Classifier`.

    Args:
        template, options, epochs, batch_size, learning_rate, weight_decay, dropout, training, validation_fraction, patience,
        random_state, members, restarts, folds, minutes, device, kind, kinds, lemmas, verbose: as of `Classifier`.
        metric: what chooses the epoch; None for RMSE.

    Fitted: `n_features_in_`, `feature_names_in_`, `model_` (a netwright Model), `history_`, `n_iter_` (epochs done),
    `validated_on_`, `member_scores_`.

    >>> x = np.linspace(-1, 1, 200).reshape(-1, 1)
    >>> net = Regressor(epochs=20, random_state=0).fit(x, 100 + 5 * x[:, 0])
    >>> net.score(x, 100 + 5 * x[:, 0]) > 0.9, net.predict_interval(x).shape
    (True, (200, 2))
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on rows X (a table, images or texts) and values y (N,).

        Raises:
            ValueError: y is no column of finite numbers.
            DataError: images that are none; see `Classifier.fit`.
        """
        given = self._read(X)
        values = check_array(labels_given(y, self), ensure_2d=False, dtype=np.float64, input_name="y", estimator=self)
        check_consistent_length(given.frame, values)
        weight = weights_given(sample_weight, len(values))
        if weight is not None:
            given, values, weight = _counted(given, weight), values[weight > 0], weight[weight > 0]
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
