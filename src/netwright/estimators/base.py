"""What both estimators share: rows in, a recipe, trainings, a Model."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from pydantic import ValidationError
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from netwright.core.errors import TrainingError, UsageError, unknown
from netwright.core.seed import numpy_generator
from netwright.core.spec import ColumnKind, InputSpec, TargetSpec
from netwright.data.alone import Alone
from netwright.data.arrays import holds_pixels
from netwright.data.batch import Block
from netwright.data.data import Data
from netwright.data.encode import encode_inputs, fit_inputs
from netwright.data.given import Given, What, rows_again, rows_given
from netwright.data.infer import infer_kinds
from netwright.data.kinds import KINDS
from netwright.losses.metrics import check_metric, greater_is_better
from netwright.model import MOST_NETWORKS, Model, check_count, ensemble_of, fit_all
from netwright.recipes.by_rule import by_rule
from netwright.recipes.in_time import in_time
from netwright.recipes.recipe import Option, Recipe, Template, member_seed
from netwright.train.diverge import returns_of
from netwright.train.hooks import Clock, Quiet, Report
from netwright.train.members import Trained
from netwright.train.settings import Training
from netwright.train.state import Row
from netwright.train.way import CHOSEN, Way, threads

MIN_VALID = 16
"""With fewer validation rows than this the choice of an epoch would be noise: training rows are used instead."""
_TRAINING = ("epochs", "batch_size", "learning_rate", "weight_decay", "patience", "device")
_EATEN = ("number", "integer", "date", "category", "text", "image", *KINDS)


class Estimator(BaseEstimator):  # type: ignore[misc]
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
        restarts: int | Sequence[Mapping[str, Any]] = 1,
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
    way_: Way
    in_turn_: str
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
        recipes = self._recipes(spec, target, len(train))
        starts = self.members * len(recipes)
        recipes *= self.members * max(len(folds), 1)
        metric = check_metric(self.metric, target)
        custom = self.template if callable(self.template) else None
        with ExitStack() as within:
            asked = self.training or {}
            if deadline is not None and self.epochs is None and asked.get("epochs") is None:
                left = (deadline - time.monotonic()) / len(recipes)
                fixed = {name: value for name, value in asked.items() if name in CHOSEN}
                planned, self.way_ = in_time(recipes[0], data, left, custom, fixed)
                planned = planned.with_training(**{n: asked[n] for n in ("warmup", "average") if n in asked})
                recipes = [_alike(r, recipes[0], planned) for r in recipes]
                within.enter_context(threads(self.way_.threads))
                if self.verbose:
                    print(f"the way: {self.way_.reason}")
            else:
                self.way_ = _as_set(recipes[0])
            trained, why = fit_all(
                recipes,
                data,
                seeds=[member_seed(seed, k % starts) for k in range(len(recipes))],
                metric=metric,
                folds=[fold for fold in folds for _ in range(starts)] or None,
                hooks=lambda k: hooks,
                template=custom,
            )
        self.in_turn_ = why if len(recipes) > 1 else ""
        if self.verbose and self.in_turn_:
            print(f"{len(recipes)} networks were trained in turn: {why}")
        return self._kept(trained, metric, blocks["valid"], folds)

    def _recipes(self, spec: InputSpec, target: TargetSpec, n_train: int) -> list[Recipe]:
        """The recipe of each start."""
        named = {name: getattr(self, name) for name in _TRAINING if getattr(self, name) is not None}

        def recipe(options: Mapping[str, Option], training: Mapping[str, Any]) -> Recipe:
            return by_rule(
                spec,
                target,
                n_train,
                template=self.template,
                options={**(self.options or {}), **options},
                dropout=self.dropout,
                asked={**(self.training or {}), **named, **training},
            )

        first = recipe({}, {})
        if isinstance(self.restarts, int):
            return [first] * self.restarts
        known, recipes = [*first.defaults, *Training.model_fields], []
        for start in self.restarts:
            for name in start:
                if name not in known:
                    raise UsageError(unknown("option of the template or setting of the training called", name, known))
            options = {name: value for name, value in start.items() if name in first.defaults}
            try:
                recipes.append(recipe(options, {k: v for k, v in start.items() if k not in options}))
            except ValidationError as error:
                wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
                raise UsageError(f"restarts holds {dict(start)}, which cannot be trained: {wrong}") from None
        return recipes

    def _folds(self, strata: np.ndarray, seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """The rows that each fold learns from and is judged on; none without cross-validation."""
        check_count("members", self.members)
        if self.folds is not None:
            check_count("folds", self.folds, least=2, or_else=", or None")
        if isinstance(self.restarts, Sequence) and not isinstance(self.restarts, str):
            _check_starts(self.restarts)
        else:
            check_count("restarts", self.restarts, or_else=", or a list with a mapping for each start")
        if self.restarts != 1 and (self.members > 1 or self.folds):
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
        of_fold = len(trained) // max(len(folds), 1)
        parts = [range(k, k + of_fold) for k in range(0, len(trained), of_fold)]
        usable = [[k for k in part if not _is_lost(*trained[k], valid)] for part in parts]
        for number, part in enumerate(usable, 1):
            if not part:
                raise TrainingError(_nothing_left(trained[parts[number - 1][0]][1], number if folds else 0, metric))
        good = [[k for k in part if math.isfinite(prices[k])] or part[:1] for part in usable]
        for k in sorted(set(range(len(trained))) - {k for part in good for k in part}):
            why = trained[k][1].stop or f"no epoch ended with a finite {metric}"
            warnings.warn(f"network {k + 1} of {len(trained)} is left out: {why}", ConvergenceWarning, stacklevel=4)
        first = min((k for part in good for k in part), key=lambda k: prices[k])
        mean = [trained[k][0] for part in good for k in part] if self.restarts == 1 else [trained[first][0]]
        self.model_ = ensemble_of(mean)
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
        for part, (_, held) in zip(good, folds, strict=True):  # each row is answered by networks that have not seen it
            some = ensemble_of([trained[k][0] for k in part]).outputs(valid.take(held).x)
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


def _check_starts(starts: Sequence[Any]) -> None:
    """Refuse what is no list of mappings, one for each start."""
    if not starts:
        raise UsageError("restarts is empty; expected a number, or a mapping of options for each start")
    if len(starts) > MOST_NETWORKS:
        raise UsageError(f"restarts lists {len(starts)} starts; expected 1 to {MOST_NETWORKS}")
    for start in starts:
        if not isinstance(start, Mapping):
            raise UsageError(
                f"restarts holds {start!r:.60}; expected a mapping of options for each start, such as {{'width': 16}}"
            )


def _alike(recipe: Recipe, first: Recipe, planned: Recipe) -> Recipe:
    """A recipe with what was planned for the first one, but for settings of its training that are its own."""
    shared = {
        name: getattr(planned.training, name)
        for name in Training.model_fields
        if getattr(recipe.training, name) == getattr(first.training, name)
    }
    return recipe.with_training(**shared)


def _as_set(recipe: Recipe) -> Way:
    """The way of a training for which nothing was measured."""
    own = {name: getattr(recipe.training, name) for name in CHOSEN}
    n = torch.get_num_threads()
    threads = "one thread" if n == 1 else f"{n} threads"
    return Way(threads=n, reason=f"{threads} in {recipe.training.precision}, not measured", **own)


def _is_lost(model: Model, one: Trained, valid: Block) -> bool:
    """Whether a training diverged before any epoch was a good one."""
    if one.best:
        return False
    began = bool(one.history.rows) or "stopped_by_clock" in one.state.values
    return not began or not bool(model.outputs(valid.x).isfinite().all())


def _nothing_left(one: Trained, fold: int, metric: str) -> str:
    where = f"no network of fold {fold}" if fold else "no network"
    return (
        f"{where} ended an epoch with a finite {metric}" + (f": {one.stop}" if one.stop else "") + "; "
        f"lower the learning rate ({one.state.settings.learning_rate:g}) or look for huge values among the inputs"
    )


@dataclass(frozen=True)
class Held:
    """Outputs for rows that were held out, and those rows."""

    outputs: torch.Tensor
    rows: Block


def counted(given: Given, weight: np.ndarray) -> Given:
    """The rows that have a weight."""
    return replace(given, frame=given.frame.filter(weight > 0))
