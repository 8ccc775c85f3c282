"""Classic methods on a plain matrix: each function fits one on training rows and gives a scikit-learn pipeline."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from netwright.core.errors import DataError
from netwright.core.finding import Cell
from netwright.core.seed import derive
from netwright.core.spec import InputSpec
from netwright.data.batch import Inputs

PENALTIES = (0.01, 0.1, 1.0, 10.0)
"""Inverse penalties C of logistic regression; ridge takes 1 / C."""
MAX_ROUNDS = 500
MIN_ROUNDS = 10
MAX_NATIVE = 255
"""Most categories that histogram gradient boosting takes as they are; columns with more are target-encoded."""
SECONDS_PER_TREE = 0.004
CELLS_PER_SECOND = 5e7
"""What growing a tree costs on one slow core: fixed, so that a plan never depends on the clock."""
MULTIPLICATIONS_PER_SECOND = 1e8
_LARGEST = 1e100
_SMALL_TABLE = 4_000_000


@dataclass(frozen=True)
class Rows:
    """Rows as a matrix.

    Args:
        x: (N, F) float64, NaN where a cell is missing; the columns `categories` hold codes.
        y: (N,) class numbers or values.
        weight: (N,) or None.
    """

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Task:
    """What a classic method is asked to do.

    Args:
        train: rows to fit on. valid: rows to choose and to stop on; may be empty.
        categories: columns of x that hold codes, not amounts.
        n_classes: 0 for a regression.
        seed: of whatever is drawn.
        budget_seconds: bounds the work through fixed prices, not through the clock.
    """

    train: Rows
    valid: Rows
    categories: tuple[int, ...] = ()
    n_classes: int = 0
    seed: int = 0
    budget_seconds: float = 60.0

    @property
    def numbers(self) -> list[int]:
        """Columns that hold amounts."""
        return [i for i in range(self.train.x.shape[1]) if i not in set(self.categories)]


@dataclass(frozen=True)
class Method:
    """A fitted pipeline, and what was chosen on the way."""

    pipeline: Any
    chosen: Mapping[str, Cell] = field(default_factory=dict)


def matrix(x: Inputs, spec: InputSpec) -> np.ndarray:
    """Inputs (named tensors) as one matrix (N, F): numbers, codes, then every other tensor flattened; infinities as NaN."""
    names = [n for n in ("numbers", "codes") if n in x] + [
        f.name for f in spec.fields if f.kind == "vector" and f.name in x
    ]
    parts = [x[n].detach().cpu().double().flatten(1).numpy() if x[n].dim() > 1 else _column(x[n]) for n in names]
    found = np.concatenate(parts, 1)
    return np.where(np.isfinite(found), np.clip(found, -_LARGEST, _LARGEST), np.nan)


def _column(tensor: Any) -> np.ndarray:
    values: np.ndarray = tensor.detach().cpu().double().numpy()[:, None]
    return values


def category_columns(spec: InputSpec) -> tuple[int, ...]:
    """Columns of `matrix` that hold codes."""
    start = len(spec.numbers)
    return tuple(range(start, start + len(spec.categories)))


def dummy(task: Task) -> Method:
    """The class shares, or the mean, of the training rows, whatever the inputs."""
    from sklearn.dummy import DummyClassifier, DummyRegressor
    from sklearn.pipeline import Pipeline

    model = DummyClassifier(strategy="prior") if task.n_classes else DummyRegressor(strategy="mean")
    return Method(Pipeline([("model", model.fit(task.train.x, task.train.y, sample_weight=task.train.weight))]))


def linear(task: Task) -> Method:
    """Logistic regression, or ridge regression: numbers standardised, missing ones at the mean with an indicator,
    categories one-hot with rare ones together; the penalty with the least validation loss.

    Source: Cox (1958); Hoerl and Kennard (1970).
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import Pipeline

    prepare = _linear_features(task)
    x, valid = prepare.fit_transform(task.train.x), task.valid
    x_valid = prepare.transform(valid.x) if len(valid) else None
    work = (x.nnz if hasattr(x, "nnz") else x.size) * max(1, task.n_classes if task.n_classes > 2 else 1)
    affordable = int(task.budget_seconds * MULTIPLICATIONS_PER_SECOND / max(1, work))
    penalties = PENALTIES if x_valid is not None and affordable >= 100 else (1.0,)
    steps = int(np.clip(affordable // len(penalties), MIN_ROUNDS, 300))
    if task.n_classes:
        model = LogisticRegression(max_iter=steps, warm_start=True)
    else:
        model = Ridge(random_state=derive(task.seed, "ridge") % 2**32)
    best, least, chosen = None, np.inf, penalties[0]
    for c in penalties:
        model.set_params(**({"C": c} if task.n_classes else {"alpha": 1 / c}))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x, task.train.y, sample_weight=task.train.weight)
        loss = _loss(model, x_valid, valid) if x_valid is not None else 0.0
        if best is None or loss < least:
            best, least, chosen = copy.deepcopy(model), loss, c
    name, value = ("inverse_penalty_C", chosen) if task.n_classes else ("penalty_alpha", 1 / chosen)
    return Method(Pipeline([("prepare", prepare), ("model", best)]), {name: value, "features": int(x.shape[1])})


def _linear_features(task: Task) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(SimpleImputer(add_indicator=True, keep_empty_features=True), StandardScaler())
    one_hot = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=5, max_categories=1000)
    columns = [("numbers", numbers, task.numbers), ("categories", one_hot, list(task.categories))]
    return ColumnTransformer([c for c in columns if c[2]])


def _loss(model: Any, x: Any, rows: Rows) -> float:
    """Mean log loss or squared error of a fitted model."""
    if hasattr(model, "predict_proba"):
        p = model.predict_proba(x)[np.arange(len(rows)), np.searchsorted(model.classes_, rows.y)]
        losses = -np.log(np.clip(p, 1e-15, 1.0))
    else:
        losses = (model.predict(x) - rows.y) ** 2
    return float(np.average(losses, weights=rows.weight))


def gradient_boosting(task: Task) -> Method:
    """Histogram gradient boosting with scikit-learn's settings, stopped when validation rows have not gained for 10 rounds.

    Categories are split natively, up to 255 of them; columns with more are target-encoded by cross-fitting. Rounds end at
    500, or at what the budget affords.

    Source: Friedman (2001); Ke et al. (2017); target encoding: Micci-Barreca (2001).
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.pipeline import Pipeline
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # scikit-learn needs it

    seed, valid = derive(task.seed, "boosting") % 2**32, task.valid
    prepare, n_native = _tree_features(task, seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        x = prepare.fit_transform(task.train.x, task.train.y)
    trees = task.n_classes if task.n_classes > 2 else 1
    per_round = trees * (SECONDS_PER_TREE + x.size / CELLS_PER_SECOND)
    most = MAX_ROUNDS if len(valid) else 100
    rounds = int(np.clip(task.budget_seconds / per_round, MIN_ROUNDS, most))
    watched = {"X_val": prepare.transform(valid.x), "y_val": valid.y} if len(valid) else {}
    if watched and valid.weight is not None:
        watched["sample_weight_val"] = valid.weight
    make = HistGradientBoostingClassifier if task.n_classes else HistGradientBoostingRegressor
    model = make(
        max_iter=rounds,
        early_stopping=True if watched else "auto",
        categorical_features=np.arange(x.shape[1]) < n_native,
        random_state=seed,
    )
    # On several threads a middle-sized table gains a fifth, and on a busy machine loses a factor of twenty.
    with threadpool_limits(1 if x.size < _SMALL_TABLE else None):
        model.fit(x, task.train.y, sample_weight=task.train.weight, **watched)
    chosen: dict[str, Cell] = {"rounds": int(model.n_iter_), "rounds_at_most": rounds}
    return Method(Pipeline([("prepare", prepare), ("model", model)]), chosen)


def _tree_features(task: Task, seed: int) -> tuple[Any, int]:
    """What brings the rows into the trees' form, and how many of its first columns are native categories."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.model_selection import KFold, StratifiedKFold
    from sklearn.preprocessing import TargetEncoder

    many = [i for i in task.categories if len(np.unique(task.train.x[:, i])) > MAX_NATIVE]
    few = [i for i in task.categories if i not in many]
    empty = [i for i in task.numbers if np.isnan(task.train.x[:, i]).all()]
    numbers = [i for i in task.numbers if i not in empty]
    kind = ("multiclass" if len(np.unique(task.train.y)) > 2 else "binary") if task.n_classes else "continuous"
    folds = (StratifiedKFold if task.n_classes else KFold)(5, shuffle=True, random_state=seed)
    columns = [
        ("native", "passthrough", few),
        ("numbers", "passthrough", numbers),
        ("many", TargetEncoder(target_type=kind, cv=folds), many),
        ("empty", SimpleImputer(strategy="constant", fill_value=0.0, keep_empty_features=True), empty),
    ]
    return ColumnTransformer([c for c in columns if c[2]]), len(few)


METHODS = {"dummy": dummy, "linear": linear, "gradient-boosting": gradient_boosting}


def check(task: Task) -> None:
    """Refuse what no method can be fitted on.

    Raises:
        DataError: no rows, or a single class.
    """
    if not len(task.train):
        raise DataError("there are no training rows to fit a baseline on; give the split at least one")
    if task.n_classes and len(np.unique(task.train.y)) < 2:
        raise DataError(
            "the training rows hold one class only, so that there is nothing to tell apart; add rows of another"
        )
