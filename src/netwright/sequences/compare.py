"""A forecaster against the naive forecasts on the same part of a series."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from sklearn.base import clone

from netwright.core.errors import UsageError
from netwright.core.finding import Figure, Finding, Series, Table
from netwright.core.seed import numpy_generator
from netwright.sequences.forecaster import Forecaster
from netwright.sequences.given import numbers_of

RESAMPLES = 2000
SHOWN = 8
"""Forecasts that are drawn, the last ones."""
REFERENCE = "Hyndman and Koehler (2006); Hyndman and Athanasopoulos (2021)"


def compare_forecasts(model: Forecaster, series: Any, *, test: float = 0.2, seed: int = 0) -> Finding:
    """Fit on the first part of one series, and forecast from every step of the rest as one would have then: the mean absolute error of
    the network, of the last value, and with a season of the value a season before.

    The intervals are those of a bootstrap over blocks of neighbouring steps, whose errors are alike.

    Args:
        model: a forecaster, which is left as it is. series: (T,) or (T, C). test: share of the steps that are held out.

    Raises:
        UsageError: there are too few steps to hold some out, or several series.

    Source: Hyndman and Koehler (2006), "Another look at measures of forecast accuracy"; blocks: Künsch (1989).

    >>> t = np.arange(160)
    >>> wave = np.sin(2 * np.pi * t / 16)
    >>> compare_forecasts(Forecaster(window=16, width=8, epochs=10, random_state=0), wave).measured["mae naive"] > 0.2
    True
    """
    began, rows = time.monotonic(), numbers_of(series)
    if len(rows) != 1:
        raise UsageError(f"{len(rows)} series were given; compare one at a time")
    first = len(rows[0]) - round(test * len(rows[0]))
    if not 0 < test < 1 or len(rows[0]) - first < model.horizon:
        raise UsageError(
            f"test={test} holds out {len(rows[0]) - first} steps; expected at least the horizon, {model.horizon}"
        )
    fitted = clone(model).fit(np.asarray(series)[:first])
    origins, made, came = fitted.rolled(series, first)
    errors = {name: np.abs(some - came).mean(2) for name, some in made.items()}
    means = {name: float(some.mean()) for name, some in errors.items()}
    best = min((name for name in means if name != "network"), key=lambda name: means[name])
    difference = (errors["network"] - errors[best]).mean(1)
    low, high = block_interval(difference, max(model.horizon, round(len(difference) ** 0.5)), seed)
    better, worse = high < 0, low > 0
    word = "less" if means["network"] < means[best] else "more"
    share = abs(means["network"] / means[best] - 1) if means[best] else float("inf")
    return Finding(
        probe="compare-forecasts",
        family="baselines",
        verdict="pass" if better else "warn",
        title=f"mean absolute error {means['network']:.3g}, {share:.0%} {word} than the {best} forecast's {means[best]:.3g}",
        measured={f"mae {name}": value for name, value in means.items()}
        | {
            "difference": float(difference.mean()),
            "difference_low": low,
            "difference_high": high,
            "forecasts": len(origins),
        },
        expected="an interval of the difference below 0",
        why="A forecast is worth its network only if it is better than the value that was there last, or a season before.",
        todo=""
        if better
        else f"Use the {best} forecast{'' if worse else ', or more data'}: the network is not shown to be better.",
        tables=(
            Table(
                title="Mean absolute error by step ahead",
                columns=("forecast", *(f"step {k + 1}" for k in range(model.horizon)), "all"),
                rows=tuple((name, *map(float, errors[name].mean(0)), means[name]) for name in errors),
            ),
        ),
        figures=(forecast_figure(origins, made, rows[0]), step_figure(errors)),
        reference=REFERENCE,
        seconds=time.monotonic() - began,
        seed=seed,
    )


def block_interval(values: np.ndarray, block: int, seed: int) -> tuple[float, float]:
    """The 95 % interval of a mean of values in time, from blocks of neighbours drawn with replacement, in a circle.

    Source: Künsch (1989); Politis and Romano (1992).
    """
    n, rng = len(values), numpy_generator(seed, "blocks")
    starts = rng.integers(0, n, (RESAMPLES, -(-n // block)))
    index = (starts[:, :, None] + np.arange(block)).reshape(RESAMPLES, -1)[:, :n] % n
    low, high = np.quantile(values[index].mean(1), [0.025, 0.975])
    return float(low), float(high)


def forecast_figure(origins: np.ndarray, made: dict[str, np.ndarray], row: np.ndarray) -> Figure:
    """The end of the first channel, and one forecast after the other."""
    horizon = made["network"].shape[1]
    shown = np.arange(0, len(origins), horizon)[-SHOWN:]
    begin = max(0, int(origins[shown[0]]) - 2 * horizon)
    lines = [Series(name="values", x=tuple(range(begin, len(row))), y=tuple(map(float, row[begin:, 0])), dashed=True)]
    for name, some in made.items():
        steps = (origins[shown][:, None] + np.arange(horizon)).ravel()
        lines.append(Series(name=name, x=tuple(map(int, steps)), y=tuple(map(float, some[shown][:, :, 0].ravel()))))
    return Figure(
        title="The last forecasts of what was held out",
        kind="line",
        series=tuple(lines),
        x_label="step",
        caption=f"A forecast every {horizon} steps, of {horizon} steps each, from the true values before it.",
    )


def step_figure(errors: dict[str, np.ndarray]) -> Figure:
    """Mean absolute error over the steps ahead."""
    return Figure(
        title="Error by steps ahead",
        kind="line",
        series=tuple(
            Series(name=name, x=tuple(range(1, some.shape[1] + 1)), y=tuple(map(float, some.mean(0))))
            for name, some in errors.items()
        ),
        x_label="steps ahead",
        y_label="mean absolute error",
    )
