"""How far an image, or a series, may be moved before the network no longer knows it."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

from netwright.core.finding import Figure, Finding, Series
from netwright.core.seed import generator
from netwright.core.spec import SeriesField
from netwright.data.batch import Batch, Block
from netwright.explain.columns import not_applicable
from netwright.model import Model, Subject

SHARE = 0.21
"""Of the shorter side: how far images are moved at most, 6 pixels of 28; of the median length: how far series are."""
MOST_STEPS, MOST_MOVES = 13, 25
"""Places along an axis of an image, and in time, at most."""
LEAST_ROWS = 100


def moved(images: Tensor, down: int, right: int) -> Tensor:
    """Images (N, C, H, W) moved by whole pixels; what comes into sight repeats the edge.

    >>> moved(torch.tensor([[[[1, 2, 3]]]]), 0, 1).tolist(), moved(torch.tensor([[[[1, 2, 3]]]]), 0, -1).tolist()
    ([[[[1, 1, 2]]]], [[[[2, 3, 3]]]])
    """
    rows, columns = (
        (torch.arange(side) - step).clamp(0, side - 1)
        for side, step in zip(images.shape[2:], (down, right), strict=True)
    )
    return images[:, :, rows][:, :, :, columns]


def moved_in_time(series: Tensor, lengths: Tensor, steps: int) -> Tensor:
    """Series (N, C, T) moved by whole steps within their lengths (N,), later where positive; what comes into sight repeats the edge.

    What stands behind the end of a row stays there, so that padding has no part in it: with T_i the length of row i,
    y[i, c, t] = x[i, c, clamp(t - steps, 0, T_i - 1)] for t < T_i.

    >>> moved_in_time(torch.tensor([[[1.0, 2.0, 3.0, 0.0]]]), torch.tensor([3]), 1).tolist()
    [[[1.0, 1.0, 2.0, 0.0]]]
    >>> moved_in_time(torch.tensor([[[1.0, 2.0, 3.0, 0.0]]]), torch.tensor([3]), -1).tolist()
    [[[2.0, 3.0, 3.0, 0.0]]]
    """
    at, last = torch.arange(series.shape[2]), (lengths - 1).unsqueeze(1)
    places = torch.where(at <= last, (at - steps).clamp(min=0).minimum(last), at)
    return series.gather(2, places.unsqueeze(1).expand(series.shape))


def shifts(subject: Subject, *, budget_seconds: float, seed: int, most: int | None = None, rows: int = 1000) -> Finding:
    """The accuracy, or the RMSE, on test images that are all moved by the same number of pixels, for every way up to `most`.

    Args:
        budget_seconds: decides how many images are asked.
        most: pixels along each axis; None for a fifth of the shorter side. rows: test images, at most.

    Source: Azulay and Weiss (2019), "Why do deep convolutional networks generalize so poorly to small image transformations?".
    """
    begin, model = time.monotonic(), subject.need("model")
    if finding := not_applicable(model, "shifts", seed):
        return finding
    field = model.spec.images[0]
    some = _rows(subject, "shifts", seed, rows)
    most = max(1, round(SHARE * min(field.height, field.width))) if most is None else most
    steps = _places(most, MOST_STEPS)
    n = _in_time(model, some, len(steps) ** 2, begin, budget_seconds)
    asked = some.part(0, n)
    scores = [
        [_score(model, Block({**asked.x, field.name: moved(asked.x[field.name], dy, dx)}, asked.y)) for dx in steps]
        for dy in steps
    ]
    found = _finding(model, np.array(scores), steps, n, seed)
    late = f" (out of time: {n} of {len(some)} images)" if n < len(some) else ""
    return found.model_copy(update={"title": found.title + late})


def shifts_in_time(
    subject: Subject, *, budget_seconds: float, seed: int, most: int | None = None, rows: int = 1000
) -> Finding:
    """The accuracy, or the RMSE, on test series that are all moved by the same number of steps, earlier and later up to `most`.

    A series keeps its length: what leaves it at one end is lost, and what comes into sight at the other repeats its first or last value.

    Args:
        budget_seconds: decides how many series are asked.
        most: steps either way; None for a fifth of the median length. rows: test series, at most.

    Source: Azulay and Weiss (2019), "Why do deep convolutional networks generalize so poorly to small image transformations?", here
    along time.
    """
    begin, model = time.monotonic(), subject.need("model")
    if finding := not_applicable(model, "shifts-in-time", seed):
        return finding
    values, lengths = next(f for f in model.spec.wholes if isinstance(f, SeriesField)).tensors
    some = _rows(subject, "shifts-in-time", seed, rows)
    most = max(1, round(SHARE * float(some.x[lengths].double().median()))) if most is None else most
    steps = _places(most, MOST_MOVES)
    n = _in_time(model, some, len(steps), begin, budget_seconds)
    asked = some.part(0, n)

    def score(step: int) -> float:
        return _score(
            model, Block({**asked.x, values: moved_in_time(asked.x[values], asked.x[lengths], step)}, asked.y)
        )

    scores = [score(step) for step in steps]
    found = _in_time_finding(model, scores, steps, n, seed)
    late = f" (out of time: {n} of {len(some)} series)" if n < len(some) else ""
    return found.model_copy(update={"title": found.title + late, "seconds": time.monotonic() - begin})


def _rows(subject: Subject, name: str, seed: int, rows: int) -> Batch:
    """Test rows, drawn at random."""
    block: Block = subject.need("data").block("test")
    return block.take(torch.randperm(len(block), generator=generator(seed, "rows", name))[:rows].sort().values)


def _places(most: int, n: int) -> list[int]:
    """Whole steps from -most to most, evenly, no more than `n` of them.

    >>> _places(2, 13), _places(10, 5)
    ([-2, -1, 0, 1, 2], [-10, -5, 0, 5, 10])
    """
    found: list[int] = np.unique(np.linspace(-most, most, min(n, 2 * most + 1)).round().astype(int)).tolist()
    return found


def _in_time(model: Model, some: Batch, times: int, begin: float, budget_seconds: float) -> int:
    """How many rows can be asked so many times."""
    trial, timed = some.part(0, min(LEAST_ROWS, len(some))), time.monotonic()
    _score(model, Block(trial.x, trial.y))
    each = (time.monotonic() - timed) / max(len(trial), 1)
    left = (budget_seconds - (time.monotonic() - begin)) / times
    return int(np.clip(left / max(each, 1e-9), min(LEAST_ROWS, len(some)), len(some)))


def _score(model: Model, block: Block) -> float:
    """The accuracy, or the RMSE."""
    assert block.y is not None
    prediction, y = model.predict_encoded(block.x), block.y.numpy()
    if prediction.ndim == 1:
        return float(np.sqrt(np.mean((prediction - y) ** 2)))
    return float((prediction.argmax(1) == y).mean())


def _finding(model: Model, scores: np.ndarray, steps: list[int], n: int, seed: int) -> Finding:
    what = "RMSE" if model.target.is_number else "accuracy"
    middle = steps.index(0)
    ring = np.maximum.outer(np.abs(steps), np.abs(steps))
    by_size = [(size, float(scores[ring == size].mean())) for size in sorted(set(ring.ravel().tolist()))]
    here, one, far = scores[middle, middle], by_size[min(1, len(by_size) - 1)][1], by_size[-1][1]
    z = tuple(tuple(row) for row in np.round(scores, 4).tolist())
    figures = (
        Figure(
            title=f"{what} on moved test images",
            kind="heatmap",
            series=(Series(x=tuple(steps), y=tuple(steps), z=z),),
            x_label="pixels to the right",
            y_label="pixels down",
            caption=f"{n} test images, all moved alike; what comes into sight repeats the edge.",
        ),
        Figure(
            title=f"{what} against the size of the move",
            kind="line",
            series=(Series(name=what, x=tuple(s for s, _ in by_size), y=tuple(v for _, v in by_size)),),
            x_label="pixels along the longer of both axes",
            y_label=f"mean {what}",
        ),
    )
    return Finding(
        probe="shifts",
        family="explain",
        verdict="info",
        title=f"{what} {here:.4g} where images lie, {one:.4g} moved by {by_size[min(1, len(by_size) - 1)][0]} pixel(s), {far:.4g} moved by "
        f"{steps[-1]}",
        measured={
            "images": n,
            f"{what.lower()}_here": float(here),
            f"{what.lower()}_moved_least": one,
            f"{what.lower()}_moved_most": far,
            "most_pixels": steps[-1],
        },
        why="A thing is what it is wherever it lies. Convolution moves its maps along with the image and pooling forgets small moves, but "
        "the layers behind them have to learn the rest: from images that were moved in training.",
        todo="" if model.target.is_number or far > 0.9 * here else "Train on moved images: options={'shift': 0.1}.",
        figures=figures,
        seed=seed,
    )


def _in_time_finding(model: Model, scores: list[float], steps: list[int], n: int, seed: int) -> Finding:
    what = "RMSE" if model.target.is_number else "accuracy"
    middle = steps.index(0)
    here, ends = scores[middle], (scores[0], scores[-1])
    far = max(ends) if model.target.is_number else min(ends)
    return Finding(
        probe="shifts-in-time",
        family="explain",
        verdict="info",
        title=f"{what} {here:.4g} where series lie, {ends[0]:.4g} moved {steps[-1]} steps earlier, {ends[1]:.4g} as much later",
        measured={
            "series": n,
            f"{what.lower()}_here": here,
            f"{what.lower()}_earlier": ends[0],
            f"{what.lower()}_later": ends[1],
            "most_steps": steps[-1],
        },
        why="Where it matters what happens and not when, the score should not change as series are moved. Convolutions move their maps "
        "along, and the mean over the steps forgets where they are; what a network still knows of places it has from the ends, and "
        "the first and last values are repeated here where a series no longer reaches.",
        todo=""
        if model.target.is_number or far > 0.9 * here
        else "Where time has no meaning, train on series that were moved.",
        figures=(
            Figure(
                title=f"{what} on moved test series",
                kind="line",
                series=(Series(name=what, x=tuple(steps), y=tuple(scores)),),
                x_label="steps later",
                y_label=what,
                caption=f"{n} test series, all moved alike within their own lengths; what comes into sight repeats the edge.",
            ),
        ),
        seed=seed,
    )
