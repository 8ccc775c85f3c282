"""How scores are written in sentences."""

from __future__ import annotations

import math

from netwright.baselines.intervals import Score

_WORDS = {"log-loss": "log loss", "roc-auc": "ROC AUC", "rmse": "RMSE", "mae": "mean absolute error", "r2": "R2"}


def metric_words(name: str) -> str:
    """The metric as one says it.

    >>> metric_words("roc-auc"), metric_words("balanced-accuracy")
    ('ROC AUC', 'balanced accuracy')
    """
    return _WORDS.get(name, name.replace("-", " "))


def shown(name: str, score: Score) -> str:
    """A score with its interval, to the digits that the interval leaves certain; after the metric's name where one is given.

    >>> shown("log-loss", Score(value=0.27601, low=0.27, high=0.2834)), shown("", Score(value=45801.7, low=44511, high=47003))
    ('log loss 0.276 [0.270, 0.283]', '45802 [44511, 47003]')
    """
    width = score.high - score.low
    decimals = math.ceil(-math.log10(width)) + 1 if width > 0 else 4
    if decimals > 8:
        text = f"{score.value:.4g} [{score.low:.4g}, {score.high:.4g}]"
    else:
        value, low, high = (f"{v:.{max(0, decimals)}f}" for v in (score.value, score.low, score.high))
        text = f"{value} [{low}, {high}]"
    return f"{metric_words(name)} {text}" if name else text


def p_words(p_value: float) -> str:
    """A p-value as one writes it.

    >>> p_words(0.0000001), p_words(0.0312), p_words(0.4)
    ('p < 0.001', 'p = 0.031', 'p = 0.40')
    """
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}" if p_value < 0.1 else f"p = {p_value:.2f}"
