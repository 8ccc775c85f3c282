"""Details of an attack on images: a sheet of pictures as they were, changed, and what the difference is."""

from __future__ import annotations

import numpy as np

from netwright.core.finding import Figure, Picture
from netwright.core.spec import ImageField
from netwright.data.batch import Inputs
from netwright.data.cells import counted
from netwright.data.images import to_png
from netwright.robust.outcome import Details, clearest, examples_table, said, truth
from netwright.robust.shell import AttackResult
from netwright.robust.trial import Trial

_MAX_EXAMPLES = 5

_WHY = (
    "whoever gains from a wrong answer can change a picture so little that nobody sees it; the curve says how far such a change "
    "can go at its worst, the dashed one how far the noise of a camera goes by chance"
)
_ADVICE = (
    "Where somebody who gains from it can choose the pictures, do not let this answer decide alone; train with noise on the "
    "pixels, or on attacked pictures, and compare this curve."
)


def picture_details(trial: Trial, judged: AttackResult, x: Inputs) -> Details:
    """What was changed in images; of a table with several of them, in the first.

    Args:
        judged: the result that is judged. x: the rows as they were.
    """
    field, target = trial.model.spec.images[0], trial.model.target
    hit = np.flatnonzero(judged.success)
    rows = hit[clearest(judged, hit, trial.is_number, _MAX_EXAMPLES)]
    near, far = (images[field.name][rows].double().numpy() for images in (x, judged.x))
    y, before, after = trial.y.numpy()[rows], judged.before[rows], judged.after[rows]
    changes = [_words(change) for change in (far - near) / field.scale]
    table = examples_table(trial.rows[rows], y, before, after, changes, target)
    if not len(rows):
        return Details(_WHY, _ADVICE, (table,))
    times = amplification((far - near) / field.scale)
    pictures: list[Picture] = []
    for i, row in enumerate(trial.rows[rows]):
        first = f"row {row}, true {truth(y[i], target)}: predicted {said(before[i], target)}"
        pictures += [
            Picture(png=to_png(near[i], field.low, field.high), caption=first, mark="" if trial.is_number else "good"),
            Picture(
                png=to_png(far[i], field.low, field.high),
                caption=f"row {row} changed: predicted {said(after[i], target)}",
                mark="bad",
            ),
            Picture(png=difference(far[i] - near[i], field, times), caption=f"row {row}, difference x {times:g}"),
        ]
    after_words = "made worse" if trial.is_number else "turned wrong"
    sheet = Figure(
        title=f"{counted(len(rows), 'picture')} {after_words} at {judged.threat.eps:g} {trial.unit}",
        kind="pictures",
        pictures=tuple(pictures),
        caption=f"By threes: as it is, changed, and the difference, {times:g} times enlarged around mid-grey. "
        + ("Shown are the largest errors." if trial.is_number else "Shown are those of which the model was surest."),
    )
    return Details(_WHY, _ADVICE, (table,), (sheet,))


def amplification(change: np.ndarray) -> float:
    """By how much changes, in grey levels, can be enlarged around mid-grey and still be shown.

    >>> amplification(np.array([-8.0, 3.0]))
    15.0
    """
    largest = float(np.abs(change).max()) if change.size else 0.0
    return max(1.0, float(127 // largest)) if largest else 1.0


def difference(change: np.ndarray, field: ImageField, times: float) -> str:
    """A change (channels, height, width) in pixel values as a picture: mid-grey where there is none."""
    return to_png(127.5 + times * change / field.scale)


def _words(change: np.ndarray) -> str:
    """A change in grey levels, in words."""
    moved = np.abs(change[change != 0])
    if not len(moved):
        return "nothing"
    share, norm = len(moved) / change.size, float(np.sqrt((moved**2).sum()))
    return f"{share:.0%} of the pixels, by {moved.mean():.3g} grey levels on average, {moved.max():.3g} at most (norm {norm:.4g})"
