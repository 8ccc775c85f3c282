"""Predictions as users get them, as a table and in words, whoever made them."""

from __future__ import annotations

import numpy as np
import polars as pl

from netwright.core.spec import TargetSpec


def answers(prediction: np.ndarray, target: TargetSpec, margin: float | None = None) -> pl.DataFrame:
    """Columns row, prediction, and p_<class>... for classes, or lower and upper where a margin is known.

    Args:
        prediction: (N, C) probabilities in the order of `target.classes`, or (N,) values.
        target: what was predicted.
        margin: half the width of the interval around a value.

    >>> target = TargetSpec(name="y", task="binary", classes=("no", "yes"))
    >>> answers(np.array([[0.25, 0.75]]), target).to_dicts()
    [{'row': 0, 'prediction': 'yes', 'p_no': 0.25, 'p_yes': 0.75}]
    """
    columns = [pl.Series("row", range(len(prediction)), dtype=pl.Int64)]
    if not target.is_number:
        labels = [target.classes[i] for i in prediction.argmax(1)]
        columns += [pl.Series("prediction", labels, dtype=pl.String)]
        columns += [pl.Series(f"p_{c}", prediction[:, i]) for i, c in enumerate(target.classes)]
        return pl.DataFrame(columns)
    columns.append(pl.Series("prediction", prediction))
    if margin is not None:
        columns += [pl.Series("lower", prediction - margin), pl.Series("upper", prediction + margin)]
    return pl.DataFrame(columns)


def told(target: TargetSpec, true: float, said: np.ndarray) -> str:
    """The true answer and the given one in words.

    >>> told(TargetSpec(name="y", task="binary", classes=("cat", "dog")), 1, np.array([0.875, 0.125]))
    'true dog, said cat (88 %)'
    """
    if target.is_number:
        return f"true {true:.4g}, said {float(said):.4g}"
    best = int(said.argmax())
    return f"true {target.classes[int(true)]}, said {target.classes[best]} ({100 * said[best]:.0f} %)"
