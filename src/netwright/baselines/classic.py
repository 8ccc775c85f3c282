"""Classic methods: each function fits one on training rows and gives a scikit-learn pipeline."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from netwright.baselines.audio import mel_frames
from netwright.baselines.images import (
    LINEAR_VALUES,
    MAX_CELLS,
    NEAR_VALUES,
    image_words,
    nearest_neighbours,
    outlines,
    pixel_features,
    values_of,
)
from netwright.baselines.penalty import DENSE_MULTIPLICATIONS_PER_SECOND, fit_linear
from netwright.baselines.series import nearest_series, random_kernels
from netwright.baselines.task import Beside, Method, Rows, Task
from netwright.baselines.text import char_tfidf, fit_tfidf, topics, word_tfidf
from netwright.baselines.trees import tree_counts, tree_edit_neighbours
from netwright.baselines.volumes import volume_fields, voxel_features, voxel_values, voxel_words
from netwright.core.seed import derive

MAX_ROUNDS = 500
MIN_ROUNDS = 10
MAX_NATIVE = 255
"""Most categories that histogram gradient boosting takes as they are; columns with more are target-encoded."""
SECONDS_PER_TREE = 0.004
CELLS_PER_SECOND = 5e7
"""What growing a tree costs on one slow core: fixed, so that a plan never depends on the clock."""
DIRECTIONS = 32
"""Features that trees are given of all texts, and of all images, of a row."""
_SMALL_TABLE = 4_000_000
_TEXT_SCALE = 3.0
"""Rows of TF-IDF have length 1; among standardised numbers they must be louder to bear the same penalty."""
_IMAGE_STEPS = 50


def dummy(task: Task) -> Method:
    """The class shares, or the mean, of the training rows, whatever the inputs."""
    from sklearn.dummy import DummyClassifier, DummyRegressor
    from sklearn.pipeline import Pipeline

    model = DummyClassifier(strategy="prior") if task.n_classes else DummyRegressor(strategy="mean")
    return Method(Pipeline([("model", model.fit(task.train.x, task.train.y, sample_weight=task.train.weight))]))


def linear(task: Task) -> Method:
    """Logistic regression, or ridge regression: numbers standardised, missing ones at the mean with an indicator,
    categories one-hot with rare ones together, texts as TF-IDF of words, images and volumes as shrunk pixels and voxels, sets as
    statistics over their elements; the penalty with the least validation loss.

    Training images and volumes are thinned to what the memory, and 50 steps within the budget, allow.

    Source: Cox (1958); Hoerl and Kennard (1970).
    """
    if values := values_of(task.train, LINEAR_VALUES) + voxel_values(task, LINEAR_VALUES):
        products = task.budget_seconds * DENSE_MULTIPLICATIONS_PER_SECOND / max(1, task.n_classes) / _IMAGE_STEPS
        task = task.thinned(max(1000, int(min(products, MAX_CELLS) / values)))
    features = _linear_features(task)
    model, chosen = fit_linear(features(task.train), features(task.valid) if len(task.valid) else None, task)
    told = image_words(task.train, LINEAR_VALUES) | voxel_words(task, LINEAR_VALUES)
    return Method(model, {**chosen, **told, **({"training_rows": len(task.train)} if told else {})}, features)


def _linear_features(task: Task) -> Callable[[Rows], Any]:
    """What a linear model takes of rows, fitted on training rows."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    parts: list[Callable[[Rows], Any]] = []
    numbers = make_pipeline(SimpleImputer(add_indicator=True, keep_empty_features=True), StandardScaler())
    one_hot = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=5, max_categories=1000)
    columns = [("numbers", numbers, task.numbers), ("categories", one_hot, list(task.categories))]
    if any(c[2] for c in columns):
        table = ColumnTransformer([c for c in columns if c[2]]).fit(task.train.x)
        parts.append(lambda rows: table.transform(rows.x))
    if task.train.texts:
        parts.append(fit_tfidf(task.train, "words", scale=_TEXT_SCALE))
    if task.train.pixels:
        parts.append(pixel_features(task.train, LINEAR_VALUES if len(parts) == 0 else NEAR_VALUES))
    if fields := volume_fields(task):
        parts.append(voxel_features(fields, task.train, LINEAR_VALUES))
    return Beside(parts)


def gradient_boosting(task: Task) -> Method:
    """Histogram gradient boosting with scikit-learn's settings, stopped when validation rows have not gained for 10 rounds.

    Categories are split natively, up to 255 of them; columns with more are target-encoded by cross-fitting. Of texts and of
    images the trees are given the directions in which they spread most (32 of each). Rounds end at 500, or at what the
    budget affords.

    Source: Friedman (2001); Ke et al. (2017); target encoding: Micci-Barreca (2001).
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # scikit-learn needs it

    seed, valid = derive(task.seed, "boosting") % 2**32, task.valid
    x, features, n_native = _tree_features(task, seed)
    trees = task.n_classes if task.n_classes > 2 else 1
    per_round = trees * (SECONDS_PER_TREE + x.size / CELLS_PER_SECOND)
    most = MAX_ROUNDS if len(valid) else 100
    rounds = int(np.clip(task.budget_seconds / per_round, MIN_ROUNDS, most))
    watched = {"X_val": features(valid), "y_val": valid.y} if len(valid) else {}
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
    return Method(model, {"rounds": int(model.n_iter_), "rounds_at_most": rounds}, features)


def _tree_features(task: Task, seed: int) -> tuple[np.ndarray, Beside, int]:
    """The training rows in the trees' form, what brings others into it, and how many of its first columns are native categories."""
    more: list[Callable[[Rows], Any]] = []
    if task.train.texts:
        more.append(topics(task.train, DIRECTIONS, seed))
    if task.train.pixels:
        more.append(outlines(task.train, DIRECTIONS, seed))
    if not task.train.x.shape[1]:
        features = Beside(more)
        return features(task.train), features, 0
    table, n_native = _tree_table(task, seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        x = table.fit_transform(
            task.train.x, task.train.y
        )  # no fit and then transform: targets are encoded by cross-fitting
    features = Beside([lambda rows: table.transform(rows.x), *more])
    return np.concatenate([x, *(part(task.train) for part in more)], 1), features, n_native


def _tree_table(task: Task, seed: int) -> tuple[Any, int]:
    """What brings numbers and categories into the trees' form, and how many of its first columns are native categories."""
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


METHODS: dict[str, Callable[[Task], Method]] = {
    "dummy": dummy,
    "linear": linear,
    "gradient-boosting": gradient_boosting,
    "nearest-neighbours": nearest_neighbours,
    "word-tfidf": word_tfidf,
    "char-tfidf": char_tfidf,
    "random-kernels": random_kernels,
    "nearest-series": nearest_series,
    "mel-frames": mel_frames,
    "tree-counts": tree_counts,
    "tree-edit-neighbours": tree_edit_neighbours,
}
