"""Bootstrap intervals of metrics, and paired tests of two predictions of the same rows."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from netwright.baselines.resampled import STATISTICS, Replicate
from netwright.core.frozen import Frozen
from netwright.core.seed import numpy_generator
from netwright.losses.metrics import score

MAX_DRAWS = 200_000_000
MIN_RESAMPLES = 200
FLIPS = 10_000
EXACT_ROWS = 1000
_CHUNK = 300_000


class Score(Frozen):
    """A metric's value with its 95 % interval."""

    value: float
    low: float
    high: float


class Paired(Frozen):
    """The difference of a metric between two predictions of the same rows.

    Args:
        metric: its name.
        difference: metric of the first minus metric of the second, with its 95 % interval `low` to `high`.
        p_value: of the hypothesis that both are equally good, by `test`.
    """

    metric: str
    difference: float
    low: float
    high: float
    p_value: float
    test: str


def bootstrap(
    names: Iterable[str],
    y: np.ndarray,
    prediction: np.ndarray,
    *,
    seed: int,
    resamples: int = 1000,
    weight: np.ndarray | None = None,
) -> dict[str, Score]:
    """95 % percentile intervals of metrics, from rows drawn with replacement.

    The same seed and number of rows draw the same rows, whatever the prediction. An interval is widened to hold its value
    where resampling is biased. Metrics that are not defined on these rows (an ROC AUC with one class) are left out.

    Args:
        names: entries of METRICS.
        y: (N,) class numbers or values.
        prediction: (N, C) probabilities or (N,) values.
        resamples: how many; fewer, down to 200, where they would need more than 2e8 draws.
        weight: (N,) weights of the rows, or None.

    >>> found = bootstrap(["accuracy"], np.array([0, 1] * 50), np.tile([0.9, 0.1], (100, 1)), seed=0)
    >>> found["accuracy"].value, found["accuracy"].low < 0.45
    (0.5, True)

    Source: Efron (1979).
    """
    values = {name: score(name, y, prediction, weight) for name in names} if len(y) else {}
    values = {name: value for name, value in values.items() if math.isfinite(value)}
    found = _replicates(list(values), y, [prediction], seed, resamples, weight)
    return {name: _interval(value, found[name][0]) for name, value in values.items()}


def _interval(value: float, replicates: np.ndarray) -> Score:
    known = replicates[np.isfinite(replicates)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (value, value)
    return Score(value=value, low=min(float(low), value), high=max(float(high), value))


def paired(
    name: str,
    y: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    seed: int,
    *,
    resamples: int = 1000,
    weight: np.ndarray | None = None,
) -> Paired:
    """Whether the predictions `a` and `b` of the same rows differ in a metric.

    The interval is a paired bootstrap (the same rows drawn for both). The p-value: McNemar's test with mid-p for accuracy;
    for metrics that average a loss of each row (log-loss, brier, mae, and rmse and r2 through squared errors) a sign-flip
    permutation test up to 1,000 rows and a paired t test above; for the others the bootstrap's normal approximation.

    >>> y, a, b = np.array([0, 1] * 50), np.tile([0.9, 0.1], (100, 1)), np.eye(2)[[0, 1] * 50]
    >>> result = paired("accuracy", y, a, b, 0)
    >>> result.difference, result.p_value < 1e-9, result.test
    (-0.5, True, "McNemar's test")

    Source: McNemar (1947), its use here Dietterich (1998), mid-p Fagerland et al. (2013); permutation Fisher (1935).
    """
    difference = score(name, y, a, weight) - score(name, y, b, weight)
    first, second = _replicates([name], y, [a, b], seed, resamples, weight)[name]
    interval = _interval(difference, first - second)
    if name == "accuracy" and weight is None:
        right_a, right_b = a.argmax(1) == y, b.argmax(1) == y
        p, test = mcnemar(int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())), "McNemar's test"
    elif (losses := STATISTICS[name].losses) is not None:
        p, test = _mean_test(losses(y, a) - losses(y, b), weight, seed)
    else:
        spread = float(np.nanstd(first - second))
        p = math.erfc(abs(difference) / spread / math.sqrt(2)) if spread > 0 else float(difference == 0)
        test = "paired bootstrap"
    return Paired(metric=name, difference=difference, low=interval.low, high=interval.high, p_value=p, test=test)


def mcnemar(only_a: int, only_b: int) -> float:
    """Mid-p value of McNemar's test, 2 P(X <= min) - P(X = min) with X ~ Binomial(only_a + only_b, 1/2).

    Args:
        only_a: rows that only the first gets right.
        only_b: rows that only the second gets right.

    >>> mcnemar(0, 3), mcnemar(5, 5)
    (0.125, 1.0)
    """
    from scipy.stats import binom

    n, least = only_a + only_b, min(only_a, only_b)
    return min(1.0, float(2 * binom.cdf(least, n, 0.5) - binom.pmf(least, n, 0.5))) if n else 1.0


def _mean_test(differences: np.ndarray, weight: np.ndarray | None, seed: int) -> tuple[float, str]:
    """p-value of mean zero: by flipping signs where rows are few, else by Student's t."""
    from scipy.stats import ttest_1samp

    values = differences if weight is None else differences * weight
    n, total = len(values), abs(values.sum())
    if not np.any(values):
        return 1.0, "paired t test"
    if n > EXACT_ROWS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # all differences alike
            return float(ttest_1samp(values, 0.0).pvalue), "paired t test"
    rng, as_far = numpy_generator(seed, "flips"), 0
    for _ in range(FLIPS // 1000):
        signs = rng.integers(0, 2, (1000, n), dtype=np.int8) * 2.0 - 1.0
        as_far += int((np.abs(signs @ values) >= total * (1 - 1e-12)).sum())
    return (1 + as_far) / (1 + FLIPS), "paired permutation test"


def _replicates(
    names: Sequence[str],
    y: np.ndarray,
    predictions: Sequence[np.ndarray],
    seed: int,
    resamples: int,
    weight: np.ndarray | None,
) -> dict[str, np.ndarray]:
    """Each metric (n_predictions, B) on the same B resamples of the rows; NaN where a resample does not define it."""
    n = len(y)
    resamples = max(min(resamples, MIN_RESAMPLES), min(resamples, MAX_DRAWS // max(n, 1)))
    weights = np.ones(n) if weight is None else np.asarray(weight, dtype=np.float64)
    made: dict[str, list[Replicate]] = {
        name: [STATISTICS[name].prepare(y, p, weights) for p in predictions] for name in names
    }
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for done, counts in _resampled(n, resamples, seed) if names else ():
        for name in names:
            price = n * STATISTICS[name].price(predictions[0])
            if done < MIN_RESAMPLES or done * price < MAX_DRAWS // 4:
                found[name].append(np.stack([replicate(counts) for replicate in made[name]]))
    return {name: np.concatenate(values, 1) for name, values in found.items()}


def _resampled(n: int, resamples: int, seed: int) -> Iterator[tuple[int, np.ndarray]]:
    """How often each row was drawn, (b, N) for some resamples at a time, and how many resamples came before."""
    rng = numpy_generator(seed, "bootstrap")
    step = max(1, min(resamples, _CHUNK // n))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = rng.integers(0, n, (size, n), dtype=np.int64) + n * np.arange(size)[:, None]
        yield start, np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)
