"""Classic methods on the rows of a `Data`, of whatever kind: fitted on its training rows, measured on its test rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from netwright.baselines.classic import MAX_ROUNDS, METHODS
from netwright.baselines.entries import BASELINES
from netwright.baselines.intervals import Score, bootstrap, paired
from netwright.baselines.task import Rows, Task, category_columns, check, matrix
from netwright.baselines.words import shown
from netwright.core.errors import UsageError
from netwright.core.finding import Cell, Finding, Table
from netwright.core.spec import InputSpec, TargetSpec
from netwright.data.answers import answers
from netwright.data.batch import Inputs
from netwright.data.data import Data, Part
from netwright.data.encode import encode_inputs
from netwright.data.text import decode_words, texts_of
from netwright.losses.metrics import check_metric, greater_is_better, metrics_for
from netwright.model import Subject


@dataclass(frozen=True)
class Fitted:
    """A baseline that was fitted on training rows.

    Args:
        name: its entry in BASELINES.
        pipeline: the scikit-learn pipeline or model; it takes `features` of rows.
        data: the rows it was fitted on, and the specs by which new ones are encoded.
        chosen: what was chosen on validation rows.
        seed, budget_seconds: with which it can be fitted again.
        features: what of `Rows` the pipeline takes.
    """

    name: str
    pipeline: Any = field(repr=False)
    data: Data = field(repr=False)
    chosen: Mapping[str, Cell] = field(default_factory=dict)
    seed: int = 0
    budget_seconds: float = 60.0
    features: Callable[[Rows], Any] = field(default=lambda rows: rows.x, repr=False)
    _predicted: dict[Part, np.ndarray] = field(default_factory=dict, repr=False)

    @property
    def spec(self) -> InputSpec:
        """What a row is made of."""
        return self.data.spec

    @property
    def target(self) -> TargetSpec:
        """What is predicted."""
        return self.data.target

    @property
    def margin(self) -> float | None:
        """Half the width of an interval: a baseline has none."""
        return None

    def predict(self, part: Part) -> np.ndarray:
        """Probabilities (N, C) in the order of `target.classes`, or values (N,), of the rows of one part (predicted once)."""
        if part not in self._predicted:
            self._predicted[part] = self._predict(rows_of(self.data, part))
        return self._predicted[part]

    def predict_frame(self, frame: pl.DataFrame) -> np.ndarray:
        """The same of raw rows."""
        x = encode_inputs(frame, self.data.spec)
        return self._predict(_rows(x, self.data, {t.name: texts_of(frame[t.name]) for t in self.data.spec.texts}))

    def predict_table(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Raw rows as `netwright predict` would answer them: row, prediction, p_<class>..."""
        return answers(self.predict_frame(frame), self.data.target)

    def predict_encoded(self, x: Inputs) -> np.ndarray:
        """The same of rows that are tensors already; a text is then known as far as its words are."""
        return self._predict(_rows(x, self.data, _decoded(x, self.data)))

    def _predict(self, rows: Rows) -> np.ndarray:
        given = self.features(rows)
        if self.data.target.is_number:
            values: np.ndarray = np.asarray(self.pipeline.predict(given), dtype=np.float64)
            return values
        found = np.zeros((len(rows), len(self.data.target.classes)))
        found[:, self.pipeline.classes_.astype(np.int64)] = self.pipeline.predict_proba(given)
        return found


def fit_baseline(name: str, data: Data, *, seed: int = 0, budget_seconds: float = 60.0) -> Fitted:
    """Fit a classic method on the training rows; validation rows choose its penalty or end its rounds.

    The same arguments give the same predictions: the budget bounds the work by fixed prices, not by the clock.

    Args:
        name: an entry of BASELINES that handles this kind of rows.
        data: split rows: of a table, images, texts, or tensors (flattened, each element a number).

    Raises:
        UsageError: no such baseline, or it is for other kinds of rows.
        DataError: no training rows, or rows of one class only.
    """
    entry = BASELINES[name]
    if not entry.fits(kind=data.spec.kind, task=data.target.task):
        raise UsageError(
            f"{entry.name} is for {' and '.join(entry.kinds)}, and these rows are of kind {data.spec.kind}; fitting are: "
            + ", ".join(e.name for e in BASELINES.values() if e.fits(kind=data.spec.kind, task=data.target.task))
        )
    n_classes = 0 if data.target.is_number else len(data.target.classes)
    train, valid = rows_of(data, "train"), rows_of(data, "valid")
    if n_classes and len(valid) and not (known := np.isin(valid.y, train.y)).all():
        valid = valid.take(np.flatnonzero(known))
    task = Task(train, valid, category_columns(data.spec), n_classes, data.spec, seed, budget_seconds)
    check(task)
    method = METHODS[entry.name](task)
    return Fitted(entry.name, method.pipeline, data, method.chosen, seed, budget_seconds, method.features)


def rows_of(data: Data, part: Part) -> Rows:
    """The rows of one part as classic methods see them."""
    x = data.block(part).x
    rows = _rows(x, data, data.texts(part))
    return Rows(rows.x, data.y(part), part_weight(data, part), rows.texts, rows.pixels, rows.wholes)


def _rows(x: Inputs, data: Data, texts: Mapping[str, Sequence[str]]) -> Rows:
    """Encoded rows and their raw texts, without target."""
    wholes = {name: x[name].detach().cpu() for f in data.spec.wholes for name in f.tensors}
    return Rows(matrix(x, data.spec), texts=texts, pixels={f.name: x[f.name] for f in data.spec.images}, wholes=wholes)


def _decoded(x: Inputs, data: Data) -> dict[str, list[str]]:
    """Texts put together again from their words."""
    return {t.name: decode_words(x[t.tensors[0]].cpu().numpy(), t) for t in data.spec.texts}


def part_weight(data: Data, part: Part = "test") -> np.ndarray | None:
    """Weights (N,) of the rows of a part in metrics, or None."""
    weight = data.block(part).weight
    return None if weight is None else weight.double().numpy()


def baseline(subject: Subject, *, budget_seconds: float, seed: int, name: str) -> Finding:
    """Fit a baseline and measure it on the test rows."""
    return describe(fit_baseline(name, subject.need("data"), seed=seed, budget_seconds=budget_seconds), subject.metric)


def describe(fitted: Fitted, metric: str = "") -> Finding:
    """What a fitted baseline is worth on the test rows: `pass` where it learned something, `warn` where it did not.

    Args:
        fitted: of `fit_baseline`.
        metric: the one that decides; by default the task's first.
    """
    data, entry = fitted.data, BASELINES[fitted.name]
    metric, names = check_metric(metric or None, data.target), metrics_for(data.target.task)
    y, prediction, weight = data.y("test"), fitted.predict("test"), part_weight(data)
    scores = bootstrap(names, y, prediction, seed=fitted.seed, weight=weight)
    learned, p_value = _learned(fitted, metric, prediction)
    title = f"{fitted.name}: {', '.join(shown(n, scores[n]) for n in _first(metric, scores))} on {len(y):,} test rows"
    expected = {} if p_value is None else {"p_value_against_dummy": p_value}
    return Finding(
        probe=fitted.name,
        family="baselines",
        verdict="info" if learned is None else "pass" if learned else "warn",
        title=title if learned in (None, True) else f"{title}: no better than ignoring the inputs",
        measured={n: s.value for n, s in scores.items()} | expected | dict(fitted.chosen),
        expected=""
        if learned is None
        else "a better score than the dummy, which ignores the inputs (paired test, p < 0.05)",
        why="A network must beat what a simple method reaches on the same rows, or it does not pay." + _view(fitted),
        todo=_advice(fitted, learned),
        tables=(score_table({fitted.name: scores}),),
        reference=entry.reference,
        seed=fitted.seed,
    )


def _learned(fitted: Fitted, metric: str, prediction: np.ndarray) -> tuple[bool | None, float | None]:
    """Whether it is better than the dummy in the metric, with the p-value; None for the dummy itself."""
    if fitted.name == "dummy":
        return None, None
    data = fitted.data
    nothing = fit_baseline("dummy", data).predict("test")
    test = paired(metric, data.y("test"), prediction, nothing, fitted.seed, weight=part_weight(data))
    better = test.difference > 0 if greater_is_better(metric) else test.difference < 0
    return better and test.p_value < 0.05, test.p_value


def _advice(fitted: Fitted, learned: bool | None) -> str:
    if learned is False:
        return "Check that the columns can say anything about the target, and that there are enough rows."
    rounds, most = fitted.chosen.get("rounds"), fitted.chosen.get("rounds_at_most")
    if isinstance(most, int) and rounds == most < MAX_ROUNDS and len(fitted.data.split["valid"]):
        return f"It was still gaining at its last round ({rounds}); with more --minutes it may do better."
    return ""


def _view(fitted: Fitted) -> str:
    """What of images, and of training rows, the method was given, in words."""
    size, n, n_all = fitted.chosen.get("pixels"), fitted.chosen.get("training_rows"), len(fitted.data.split["train"])
    said = f" It saw images as {size} pixels." if size else ""
    if isinstance(n, int) and n < n_all:
        said += f" It was fitted on {n:,} of the {n_all:,} training rows, as many as its time and memory afford."
    return said


def _first(metric: str, scores: Mapping[str, Score]) -> list[str]:
    """The metrics of a title: the one that decides, and one that everybody knows."""
    known = [metric, *(n for n in ("accuracy", "r2") if n in scores and n != metric)]
    return [n for n in known if n in scores]


def score_table(scores: Mapping[str, Mapping[str, Score]]) -> Table:
    """Contenders x metrics, each cell a value with its 95 % interval."""
    names = list(dict.fromkeys(n for each in scores.values() for n in each))
    rows = [(who, *(shown("", each[n]) if n in each else None for n in names)) for who, each in scores.items()]
    return Table(title="Test scores with 95 % bootstrap intervals", columns=("contender", *names), rows=tuple(rows))
