"""The network beside the classic methods on the same test rows, and which of them to use."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from netwright.baselines.intervals import Paired, Score, bootstrap, paired
from netwright.baselines.links import unlinked
from netwright.baselines.tables import part_weight, score_table
from netwright.baselines.words import metric_words, p_words, shown
from netwright.core.errors import UsageError, unknown
from netwright.core.finding import Figure, Finding, Series, Verdict
from netwright.core.frozen import Frozen
from netwright.data.data import Data
from netwright.losses.metrics import check_metric, greater_is_better, metrics_for, score
from netwright.model import Model, Subject

NETWORK = "network"
ALPHA = 0.05


class Comparison(Frozen):
    """Scores of all contenders, the network first, and the test that decides.

    Args:
        metric: what decides. n_test: test rows.
        scores: contender -> metric -> value with interval.
        best: the baseline that the network is held against; `best_by` says on which rows it was found the best.
        paired: metric of the network minus that of `best`.
        recommended: "network" or a baseline. sentence: why.
    """

    metric: str
    n_test: int
    scores: dict[str, dict[str, Score]]
    best: str
    best_by: str
    paired: Paired
    recommended: str
    sentence: str


def recommend(
    metric: str, scores: Mapping[str, Mapping[str, Score]], test: Paired, best: str, n_test: int
) -> tuple[str, str]:
    """Which contender to use, and a plain sentence that says why. A baseline that ties wins, for it is the simpler one.

    Args:
        metric: what decides.
        scores: of "network" and of `best`, by metric.
        test: metric of the network minus metric of `best`, on the same rows.
        best: the best baseline.
        n_test: number of test rows.

    >>> scores = {"network": {"accuracy": Score(value=0.861, low=0.855, high=0.866)},
    ...           "linear": {"accuracy": Score(value=0.852, low=0.847, high=0.858)}}
    >>> test = Paired(metric="accuracy", difference=0.009, low=0.006, high=0.012, p_value=1e-6, test="McNemar's test")
    >>> name, sentence = recommend("accuracy", scores, test, "linear", 16281)
    >>> name, sentence.startswith("Use the network: its accuracy 0.861 [0.855, 0.866] beats linear's 0.852 [0.847, 0.858]")
    ('network', True)
    """
    network, other = shown("", scores[NETWORK][metric]), shown("", scores[best][metric])
    words, rows = metric_words(metric), f"on the same {n_test:,} test rows"
    evidence = f"({test.test}, {p_words(test.p_value)})"
    if _beats(test) is None:
        sentence = (
            f"Use {best}: {rows} its {words} {other} and the network's {network} cannot be told apart {evidence}, "
            f"and it is the simpler one."
        )
    elif _beats(test):
        return NETWORK, f"Use the network: its {words} {network} beats {best}'s {other} {rows} {evidence}."
    else:
        sentence = f"Use {best}: its {words} {other} beats the network's {network} {rows} {evidence}."
    if best == "dummy":
        sentence += (
            " No contender does better than ignoring the inputs, so none of them has found anything to predict from."
        )
    return best, sentence


def _beats(test: Paired) -> bool | None:
    """Whether the first is better (True) or worse (False); None where they cannot be told apart."""
    if test.p_value >= ALPHA or not test.difference:
        return None
    return (test.difference > 0) == greater_is_better(test.metric)


def compare(
    model: Model,
    data: Data,
    predictions: Mapping[str, np.ndarray],
    *,
    metric: str = "",
    best: str | None = None,
    seed: int = 0,
) -> Comparison:
    """Measure the network and the baselines on the same test rows.

    Args:
        model: the network, calibrated or not.
        data: its test rows are what all are measured on.
        predictions: of the baselines on the test rows, by name: probabilities (N, C) or values (N,).
        metric: what decides; by default the task's first.
        best: the best baseline on validation rows; without it the best on the test rows is taken, which favours it.

    Raises:
        UsageError: no predictions, an unknown `best`, or a metric that does not fit.
    """
    metric = check_metric(metric or None, data.target)
    if not predictions:
        raise UsageError("there is no baseline to compare the network with; fit at least one: netwright list baselines")
    if best is not None and best not in predictions:
        raise UsageError(unknown("baseline", best, predictions))
    y, weight, names = data.y("test"), part_weight(data), metrics_for(data.target.task)
    network = model.predict_encoded(data.block("test").x)
    contenders = {NETWORK: network, **predictions}
    scores = {who: bootstrap(names, y, p, seed=seed, weight=weight) for who, p in contenders.items()}
    if metric not in scores[NETWORK]:
        raise UsageError(
            f"{metric_words(metric)} is not defined on these {len(y):,} test rows; choose another --metric"
        )
    best_by = "test" if best is None else "validation"
    best = best or best_of(metric, y, predictions, weight=weight)
    test = paired(metric, y, network, predictions[best], seed, weight=weight)
    recommended, sentence = recommend(metric, scores, test, best, len(y))
    return Comparison(
        metric=metric,
        n_test=len(y),
        scores=scores,
        best=best,
        best_by=best_by,
        paired=test,
        recommended=recommended,
        sentence=sentence,
    )


def best_of(
    metric: str, y: np.ndarray, predictions: Mapping[str, np.ndarray], *, weight: np.ndarray | None = None
) -> str:
    """The name of the best prediction of some rows, the first of equals; meant for validation rows.

    Where the metric is not defined on these rows (an ROC AUC with one class), log loss or squared error decides.

    Args:
        metric: an entry of METRICS.
        y: (N,) class numbers or values.
        predictions: name -> probabilities (N, C) or values (N,).

    >>> best_of("rmse", np.array([1.0, 2.0]), {"a": np.array([1.0, 5.0]), "b": np.array([1.0, 2.5])})
    'b'
    """
    values = {name: score(metric, y, p, weight) for name, p in predictions.items()}
    if not all(np.isfinite(v) for v in values.values()):
        metric = "rmse" if next(iter(predictions.values())).ndim == 1 else "log-loss"
        values = {name: score(metric, y, p, weight) for name, p in predictions.items()}
    sign = 1 if greater_is_better(metric) else -1
    return max(values, key=lambda name: sign * values[name])


def comparison(subject: Subject, *, budget_seconds: float, seed: int, best: str | None = None) -> Finding:
    """Whether the network pays: `pass` better than the best baseline, `warn` tied or worse."""
    model = subject.need("model")
    return unlinked(model, "comparison") or describe(
        compare(
            model,
            subject.need("data"),
            subject.need("predictions"),
            metric=subject.metric,
            best=best,
            seed=seed,
        ),
        seed,
    )


def describe(found: Comparison, seed: int | None = None) -> Finding:
    """A comparison as a finding."""
    metric, test = found.metric, found.paired
    better = _beats(test)
    verdict: Verdict = "pass" if better else "warn"
    chosen = (
        f"{found.best} is the best baseline on validation rows."
        if found.best_by == "validation"
        else f"{found.best} was picked as the best baseline on these same test rows, which favours it a little."
    )
    return Finding(
        probe="comparison",
        family="baselines",
        verdict=verdict,
        title=found.sentence,
        measured={
            "metric": metric,
            f"{metric} of network": found.scores[NETWORK][metric].value,
            f"{metric} of {found.best}": found.scores[found.best][metric].value,
            "difference": test.difference,
            "difference_low": test.low,
            "difference_high": test.high,
            "p_value": test.p_value,
            "n_test": found.n_test,
            "recommended": found.recommended,
        },
        expected=f"a better {metric_words(metric)} than {found.best} (p < {ALPHA})",
        why="A network costs more to train, to run and to explain than a classic method; it should be used where that buys something. "
        + chosen,
        todo="" if better else _advice(found, better),
        tables=(score_table(found.scores),),
        figures=_figures(found),
        reference="Efron (1979); McNemar (1947); Dietterich (1998)",
        seed=seed,
    )


def _advice(found: Comparison, better: bool | None) -> str:
    follow = f"Use {found.best}; baseline.py in the run's folder refits it on the same rows and predicts with it."
    if better is None:
        return follow + " More test rows, or more --minutes for the network, could still tell them apart."
    return follow + " A network may still win with more --minutes or more rows."


def _figures(found: Comparison) -> tuple[Figure, ...]:
    """Points with intervals for the metric that decides, and for one that everybody knows."""
    known = [n for n in ("roc-auc", "accuracy", "mae") if n in found.scores[NETWORK] and n != found.metric]
    contenders = [who for who in found.scores if who != "dummy" or found.best == "dummy" or len(found.scores) < 3]
    left_out = (
        "" if len(contenders) == len(found.scores) else "The dummy is left out: it would squeeze the others together. "
    )
    figures = []
    for name in [found.metric, *known[:1]]:
        shown_here = [who for who in contenders if name in found.scores[who]]
        each = [found.scores[who][name] for who in shown_here]
        series = Series(
            name=metric_words(name),
            x=tuple(shown_here),
            y=tuple(s.value for s in each),
            low=tuple(s.low for s in each),
            high=tuple(s.high for s in each),
        )
        direction = "more" if greater_is_better(name) else "less"
        figures.append(
            Figure(
                title=f"Test {metric_words(name)} of each contender",
                kind="scatter",
                series=(series,),
                y_label=metric_words(name),
                caption=f"95 % bootstrap intervals on {found.n_test:,} rows; {direction} is better. {left_out}"
                "Intervals may overlap though the paired test, which compares row by row, tells the contenders apart.",
            )
        )
    return tuple(figures)
