"""How far an image may be moved before the network no longer knows it."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

from netwright.core.finding import Figure, Finding, Series
from netwright.core.seed import generator
from netwright.data.batch import Block
from netwright.explain.columns import not_applicable
from netwright.model import Model, Subject

SHARE = 0.21
"""Of the shorter side: how far images are moved at most, 6 pixels of 28."""
MOST_STEPS = 13
"""Places along an axis, at most."""
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
    field, block = model.spec.images[0], subject.need("data").block("test")
    index = torch.randperm(len(block), generator=generator(seed, "rows", "shifts"))[:rows].sort().values
    some = block.take(index)
    most = max(1, round(SHARE * min(field.height, field.width))) if most is None else most
    steps = np.unique(np.linspace(-most, most, min(MOST_STEPS, 2 * most + 1)).round().astype(int)).tolist()
    trial = block.take(index[:LEAST_ROWS])
    timed = time.monotonic()
    _score(model, Block(trial.x, trial.y))
    each = (time.monotonic() - timed) / max(len(trial), 1)
    left = (budget_seconds - (time.monotonic() - begin)) / len(steps) ** 2
    n = int(np.clip(left / max(each, 1e-9), min(LEAST_ROWS, len(some)), len(some)))
    asked = some.part(0, n)
    scores = [
        [_score(model, Block({**asked.x, field.name: moved(asked.x[field.name], dy, dx)}, asked.y)) for dx in steps]
        for dy in steps
    ]
    found = _finding(model, np.array(scores), steps, n, seed)
    late = f" (out of time: {n} of {len(some)} images)" if n < len(some) else ""
    return found.model_copy(update={"title": found.title + late})


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
