"""Another topology, or another start, when the error is not small: topologies in turn, the starts of each as one computation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from netwright.core.errors import UsageError
from netwright.core.finding import Figure, Finding, Series, Table
from netwright.estimators.classifier import Classifier
from netwright.estimators.regressor import Regressor
from netwright.losses.metrics import check_metric, greater_is_better
from netwright.model import Model
from netwright.recipes.entries import TEMPLATES

TOPOLOGIES = ("4", "8", "16", "32", "64", "16,16", "32,32", "64,64")
"""Units of the hidden layers, from small to large."""


@dataclass(frozen=True)
class Tried:
    """One topology. scores: of its starts, by the metric. weights: their number. net: fitted, with the best of the starts."""

    hidden: str
    scores: tuple[float, ...]
    weights: int
    net: Classifier | Regressor


@dataclass(frozen=True)
class TopologySearch:
    """What came of it. best: the fitted estimator that was kept. tried: in order. finding: all of it as a report shows it."""

    best: Classifier | Regressor
    tried: tuple[Tried, ...]
    finding: Finding


def search_topology(
    net: Classifier | Regressor,
    X: Any,
    y: Any,
    *,
    topologies: Sequence[str] = TOPOLOGIES,
    starts: int = 4,
    enough: float | None = None,
) -> TopologySearch:
    """Train topologies of the template "mlp" one after the other, each from several starts, until one is good enough.

    The starts of a topology are trained as one computation. The best by the validation metric is kept; where two are equal, the first,
    which is the smaller one if they are in that order. All are judged on the same rows, so the score of the best is a little
    too good: judge it on others.

    Args:
        net: a Classifier or Regressor with whatever options; its template is "mlp" or None.
        X, y: as of its `fit`.
        topologies: units of the hidden layers, such as "8" or "16,16", in the order in which they are tried.
        starts: networks of each.
        enough: value of the estimator's metric at which the search ends; None tries all.

    Raises:
        UsageError: no topologies, another template, or members or folds, which are not judged as starts are.

    Source: Han, Kamber and Pei (2011), "Data Mining", chapter 9, for the rule.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(-1, 1, (200, 2))
    >>> net = Classifier(metric="accuracy", epochs=30, learning_rate=0.02, random_state=0)
    >>> found = search_topology(net, x, x[:, 0] * x[:, 1] > 0, topologies=["1", "8", "64"], enough=0.9)
    >>> [one.hidden for one in found.tried], found.best.score(x, x[:, 0] * x[:, 1] > 0) > 0.9
    (['1', '8'], True)
    """
    _refuse(net, topologies)
    seed = int(check_random_state(net.random_state).randint(2**31 - 1))
    tried: list[Tried] = []
    for hidden in topologies:
        options = {**(net.options or {}), "hidden": hidden}
        one = clone(net).set_params(template="mlp", options=options, restarts=starts, random_state=seed)
        one.fit(X, y)
        scores = tuple(map(float, one.member_scores_[0]))
        tried.append(Tried(hidden, scores, one.model_.n_parameters, one))
        sign = _sign(one)
        if enough is not None and max(sign * s for s in scores) >= sign * enough:
            break
    best = max(tried, key=lambda t: max(_sign(t.net) * s for s in t.scores))
    return TopologySearch(best.net, tuple(tried), _finding(tried, best, enough, len(topologies), seed))


def _refuse(net: Classifier | Regressor, topologies: Sequence[str]) -> None:
    if isinstance(topologies, str) or not topologies:
        raise UsageError(f"topologies are {topologies!r}; expected a list of widths, such as ['8', '16,16']")
    if net.template not in (None, "mlp"):
        shown = net.template if isinstance(net.template, str) and net.template in TEMPLATES else "a function"
        raise UsageError(
            f"topologies are those of the template 'mlp', and the estimator has {shown}; give it template='mlp'"
        )
    if net.members > 1 or net.folds:
        raise UsageError("a search keeps the best of several starts; it goes with neither members nor folds")


def _metric(net: Classifier | Regressor) -> str:
    model: Model = net.model_
    return check_metric(net.metric, model.target)


def _sign(net: Classifier | Regressor) -> float:
    return 1.0 if greater_is_better(_metric(net)) else -1.0


def _finding(tried: Sequence[Tried], best: Tried, enough: float | None, given: int, seed: int) -> Finding:
    metric, sign, where = _metric(best.net), _sign(best.net), best.net.validated_on_
    value = sign * max(sign * s for s in best.scores)
    reached = enough is not None and sign * value >= sign * enough
    goal = "" if enough is None else f", {'which is enough' if reached else f'where {enough:.4g} was wanted'}"
    rows = []
    for one in tried:
        good = None if enough is None else sum(sign * s >= sign * enough for s in one.scores)
        best_of = sign * max(sign * s for s in one.scores)
        rows.append((one.hidden, one.weights, best_of, float(np.median(one.scores)), good, one is best))
    columns = ("hidden", "weights", f"best_{metric}", f"median_{metric}", "starts_good_enough", "kept")
    series = Series(
        name="a start",
        x=tuple(one.hidden + " units" for one in tried for _ in one.scores),
        y=tuple(s for one in tried for s in one.scores),
    )
    return Finding(
        probe="search-topology",
        family="train",
        verdict="info" if enough is None else "pass" if reached else "warn",
        title=(
            f"hidden layers of {best.hidden} units: {metric} {value:.4g} on {where}{goal}; "
            f"{len(tried)} of {given} topologies tried, {len(best.scores)} starts each"
        ),
        measured={f"best_{metric}": value, "tried": len(tried), "weights": best.weights},
        expected="" if enough is None else f"{metric} of {enough:.4g} or better",
        why="A network that stays bad may have too few units, or may have started where the descent leads to a poor valley.",
        todo=""
        if enough is None or reached
        else "Try wider topologies, more starts or more epochs, or look for better inputs.",
        tables=(Table(title="Topologies in the order tried", columns=columns, rows=tuple(rows)),),
        figures=(
            Figure(title="Every start", kind="scatter", series=(series,), x_label="hidden layers", y_label=metric),
        ),
        reference="Han, Kamber and Pei (2011)",
        seed=seed,
    )
