"""Details of an attack on series or on sounds: some of them as they were, and as they were changed."""

from __future__ import annotations

import numpy as np

from netwright.core.finding import Figure, Series
from netwright.core.spec import AudioField, SeriesField
from netwright.data.batch import Inputs
from netwright.robust.outcome import Details, clearest, examples_table, said, truth
from netwright.robust.shell import AttackResult
from netwright.robust.trial import Trial

_MAX_EXAMPLES, _MAX_FIGURES = 5, 2
_MAX_POINTS = 400

_WHY = (
    "sensors and microphones add noise, and whoever gains from a wrong answer can add a small change on purpose; the curve says how far "
    "such a change can go at its worst, the dashed one how far noise goes by chance"
)
_ADVICE = (
    "Where somebody who gains from it can choose the input, do not let this answer decide alone; train with noise on the values, and "
    "compare this curve."
)


def sequence_details(trial: Trial, judged: AttackResult, x: Inputs) -> Details:
    """What was changed in the first field of series or of sounds.

    Args:
        judged: the result that is judged. x: the rows as they were.
    """
    field = next(f for f in trial.model.spec.wholes if isinstance(f, SeriesField | AudioField))
    hit = np.flatnonzero(judged.success)
    rows = hit[clearest(judged, hit, trial.is_number, _MAX_EXAMPLES)]
    values, length = field.tensors
    near, far = (tensors[values][rows].double().numpy() for tensors in (x, judged.x))
    lengths = x[length][rows].numpy()
    unit = np.array(field.spread)[:, None] if isinstance(field, SeriesField) else field.scale
    y, before, after = trial.y.numpy()[rows], judged.before[rows], judged.after[rows]
    changes = [_words((far[i] - near[i]) / unit, int(n), trial.unit) for i, n in enumerate(lengths)]
    target = trial.model.target
    table = examples_table(trial.rows[rows], y, before, after, changes, target)
    figures = []
    for i in range(min(len(rows), _MAX_FIGURES)):
        was, now = (np.atleast_2d(a[i])[:, : lengths[i]] for a in (near, far))
        channel = int(np.abs(now - was).max(1).argmax())
        said_of = f"row {trial.rows[rows[i]]}, true {truth(y[i], target)}: "
        figures.append(
            Figure(
                title=f"{said_of}{said(before[i], target)} became {said(after[i], target)}",
                kind="line",
                series=(_line("as it is", was[channel]), _line("changed", now[channel], dashed=True)),
                x_label="step" if isinstance(field, SeriesField) else "sample",
                y_label="value",
                caption=f"Channel {channel + 1} of {len(was)}, where the change is largest." if len(was) > 1 else "",
            )
        )
    return Details(_WHY, _ADVICE, (table,), tuple(figures))


def _line(name: str, values: np.ndarray, dashed: bool = False) -> Series:
    """A line of at most `_MAX_POINTS` points around the middle."""
    first = max(0, (len(values) - _MAX_POINTS) // 2)
    some = values[first : first + _MAX_POINTS]
    return Series(name=name, x=tuple(range(first, first + len(some))), y=tuple(map(float, some)), dashed=dashed)


def _words(change: np.ndarray, n: int, unit: str) -> str:
    """A change in units, in words."""
    size = np.abs(change[..., :n])
    return f"{(size > 0).mean():.0%} of the values, by {size.mean():.3g} {unit} on average, {size.max():.3g} at most"
