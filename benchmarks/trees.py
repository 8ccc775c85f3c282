"""The promise on trees: cross-validated accuracy of the networks and of the classic methods on two small public sets."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import polars as pl

from benchmarks.data import data_file
from benchmarks.results import Result, Row
from netwright.baselines.tables import fit_baseline
from netwright.data.data import Data
from netwright.data.encode import fit_inputs, fit_target
from netwright.data.read import read_table
from netwright.estimators.classifier import Classifier

REPEATS, FOLDS = 5, 5
TARGETS = {"minipalindrome": 0.85, "cystic": 0.74}
"""Accuracy that both networks are to reach."""
Predict = Callable[[pl.DataFrame, np.ndarray, np.ndarray, int], np.ndarray]
"""(rows, training rows, test rows, seed) -> predicted labels of the test rows."""


def network(template: str) -> Predict:
    """Five networks of one template, each judged on a fifth of the training rows, and averaged: the rows are few."""

    def predict(frame: pl.DataFrame, train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        net = Classifier(template=template, dropout=0.1, folds=5, random_state=seed)
        net.fit(frame[train].select("tree"), frame["label"][train].to_numpy())
        found: np.ndarray = net.predict(frame[test].select("tree"))
        return found

    return predict


def classic(method: str) -> Predict:
    """A classic method; a fifth of the training rows, the same share of each class, chooses its penalty or its neighbours."""

    def predict(frame: pl.DataFrame, train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        from sklearn.model_selection import train_test_split

        y = frame["label"].to_numpy()
        fitted, chosen = train_test_split(train, test_size=0.2, stratify=y[train], random_state=seed)
        rows = frame[fitted]
        spec, target = fit_inputs(rows, {"tree": "tree"}), fit_target(rows["label"], "classes")
        data = Data(frame, spec, target, {"train": fitted, "valid": chosen, "test": test})
        return np.array(target.classes)[fit_baseline(method, data, seed=seed).predict("test").argmax(1)]

    return predict


METHODS: dict[str, Predict] = {
    "tree-lstm": network("tree-lstm"),
    "tree-esn": network("tree-esn"),
    "tree-counts": classic("tree-counts"),
    "tree-edit-neighbours": classic("tree-edit-neighbours"),
}


def cross_validated(frame: pl.DataFrame, predict: Predict, repeats: int = REPEATS) -> list[float]:
    """Accuracy over all rows of each repeat, every row predicted by a model that has not seen it."""
    from sklearn.model_selection import StratifiedKFold

    y = frame["label"].to_numpy()
    found = []
    for repeat in range(repeats):
        right = np.zeros(len(y), dtype=bool)
        for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=repeat).split(y, y):
            right[test] = predict(frame, train, test, repeat) == y[test]
        found.append(float(right.mean()))
    return found


def trees() -> Result:
    """Both sets, both networks, both classic methods."""
    everything = read_table(data_file("trees/trees.jsonl.gz"))
    rows: list[Row] = []
    for name, target in TARGETS.items():
        frame = everything.filter(pl.col("set") == name).with_columns(pl.col("label").cast(pl.String))
        for method, predict in METHODS.items():
            began = time.monotonic()
            found = cross_validated(frame, predict)
            mean, seconds = float(np.mean(found)), (time.monotonic() - began) / REPEATS / FOLDS
            shown = f"{mean:.3f} ({min(found):.3f} to {max(found):.3f} over {REPEATS} repeats; {seconds:.1f} s a fold)"
            is_network = method in ("tree-lstm", "tree-esn")
            rows.append(
                Row(
                    f"{name} ({frame.height} trees): accuracy of {method}",
                    shown,
                    *((f">= {target}", mean >= target) if is_network else ()),
                )
            )
    return Result(
        "trees",
        "trees: networks and classic methods",
        rows,
        f"{REPEATS} times stratified {FOLDS}-fold cross-validation, seeds 0 to {REPEATS - 1} of folds and networks; accuracy over all "
        "rows of a repeat, mean and range over repeats. "
        "Networks: `Classifier(template=..., dropout=0.1, folds=5)`, designed by rule: five networks of each training part, averaged; "
        "nothing was chosen on test folds. Classic methods: fitted on four fifths of each training part, their penalty or number "
        "of neighbours chosen on the rest.",
    )


BENCHMARKS: dict[str, Callable[[], Result]] = {"trees": trees}
