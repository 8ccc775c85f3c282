"""What the answer to an image rests on: what happens when a patch is covered, and the gradient on the way from the mean image."""

from __future__ import annotations

import copy
import itertools
import math
import time

import numpy as np
import torch
from torch import Tensor

from netwright.core.finding import Figure, Finding, Picture, Series
from netwright.core.spec import ImageField
from netwright.data.images import to_png
from netwright.data.shrink import pieces
from netwright.explain.columns import not_applicable
from netwright.explain.drawn import Drawn, answer_words, answers_of, both_ends, drawn_rows, in_time, repeated
from netwright.model import Model, Subject

POSITIONS = 14
"""Most places along a side at which a patch is put."""
MOST_VALUES = 4_000_000
"""Pixel values that go through the network at once, with a gradient."""
CELLS = 32
"""Most cells along a side of a map that is drawn over an image."""


def occlusion(
    subject: Subject, *, budget_seconds: float, seed: int, patch: int | None = None, rows: int = 16
) -> Finding:
    """By how much the answer falls when a patch of the image is covered with the training mean, place after place.

    Args:
        budget_seconds: decides how many images are asked.
        patch: side of the patch in pixels; None for a seventh of the shorter side.
        rows: right images, and wrong ones, that are drawn.

    Source: Zeiler and Fergus (2014), "Visualizing and Understanding Convolutional Networks".
    """
    begin, model = time.monotonic(), subject.need("model")
    if finding := not_applicable(model, "occlusion", seed):
        return finding
    field, drawn = model.spec.images[0], drawn_rows(subject, "occlusion", seed, right=rows, wrong=rows)
    side = patch or max(1, round(min(field.height, field.width) / 7))
    tops, lefts = places(field.height, side), places(field.width, side)
    maps: dict[int, np.ndarray] = {}
    falls: list[float] = []
    for i in both_ends(len(drawn)):
        if maps and time.monotonic() - begin > budget_seconds:
            break
        maps[i], most = _covered(model, field, drawn, i, side, tops, lefts)
        falls.append(most)
    return _finding(
        "occlusion",
        model,
        drawn,
        field,
        maps,
        title=f"covering a patch of {side} x {side} pixels lowers {answer_words(model.target)} by {np.median(falls):.2g} where "
        f"it does most (median of {len(maps)} images)",
        measured={
            "images": len(maps),
            "patch_pixels": side,
            "median_of_largest_falls": float(np.median(falls)),
            "largest_fall": max(falls),
        },
        why="If covering the object changes nothing, and covering the background does, the network has learned something else "
        "than it was meant to.",
        caption=f"Orange: covering this place with the mean of the training images lowers {answer_words(model.target)}; blue: raises it.",
        seed=seed,
    )


def places(length: int, side: int) -> list[int]:
    """Where patches of a side begin along a length: both ends covered, at most `POSITIONS`, half a patch apart where that fits.

    >>> places(28, 4), places(3, 5)
    ([0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24], [0])
    """
    last = max(length - side, 0)
    n = min(POSITIONS, math.ceil(last / max(1, side // 2)) + 1)
    return sorted({round(k * last / max(n - 1, 1)) for k in range(n)})


def _covered(
    model: Model, field: ImageField, drawn: Drawn, i: int, side: int, tops: list[int], lefts: list[int]
) -> tuple[np.ndarray, float]:
    """(H, W) by how much the answer to one image falls, on average over the patches that cover a pixel; and the largest fall."""
    mean = _mean(field, drawn.batch.x[field.name])
    spots = [(slice(top, top + side), slice(left, left + side)) for top, left in itertools.product(tops, lefts)]
    falls, times, most = np.zeros((field.height, field.width)), np.zeros((field.height, field.width)), -math.inf
    for some in pieces(len(spots), math.prod(field.shape)):
        x = repeated(drawn.batch, torch.full((len(spots[some]),), i))
        for k, spot in enumerate(spots[some]):
            x[field.name][k, :, *spot] = mean
        prediction = model.predict_encoded(x)
        now = prediction if prediction.ndim == 1 else prediction[:, drawn.chosen[i]]
        for spot, fall in zip(spots[some], drawn.answer[i] - now, strict=True):
            falls[spot] += fall
            times[spot] += 1
            most = max(most, float(fall))
    return falls / np.maximum(times, 1), most


def _mean(field: ImageField, like: Tensor) -> Tensor:
    """The mean colour (C, 1, 1) of the training images, in the type of the pixels."""
    mean = torch.tensor(field.center, dtype=torch.float64).view(-1, 1, 1)
    return (mean if like.is_floating_point() else mean.round()).to(like.dtype)


def integrated_gradients(
    subject: Subject, *, budget_seconds: float, seed: int, steps: int = 32, rows: int = 16
) -> Finding:
    r"""How much of the answer each pixel is worth, by the gradient summed on the straight way from the mean image:
    IG_i = (x_i - b_i) \int_0^1 d answer(b + a (x - b)) / d x_i da.

    The worths add up to answer(x) - answer(b); by how much they miss it is reported.

    Args:
        budget_seconds: decides how many images are asked.
        steps: of the sum. rows: right images, and wrong ones, that are drawn.

    Source: Sundararajan, Taly and Yan (2017), "Axiomatic Attribution for Deep Networks"; done by captum.
    """
    begin, model = time.monotonic(), subject.need("model")
    if finding := not_applicable(model, "integrated-gradients", seed):
        return finding
    field, drawn = model.spec.images[0], drawn_rows(subject, "integrated-gradients", seed, right=rows, wrong=rows)
    net = copy.deepcopy(model.module).eval()
    if not _reached(model, net, field, drawn):
        return Finding(
            probe="integrated-gradients",
            family="explain",
            verdict="info",
            title=f"not applicable: no gradient of the answer reaches the pixels of {field.name!r}",
            why="The network does not use them, or it cuts the gradient: by whole numbers, by rounding, by detach or no_grad.",
            todo="Ask occlusion, which needs no gradient.",
            seed=seed,
        )
    maps: dict[int, np.ndarray] = {}
    misses: list[float] = []
    changes: list[float] = []
    for i in both_ends(len(drawn)):
        if maps and time.monotonic() - begin > budget_seconds:
            break
        maps[i], miss = _worth(model, net, field, drawn, i, steps)
        misses.append(miss)
        changes.append(abs(float(maps[i].sum())))
    missed, change = float(np.median(misses)), float(np.median(changes))
    return _finding(
        "integrated-gradients",
        model,
        drawn,
        field,
        maps,
        title=f"the pixels of an image add up to {change:.2g} of {answer_words(model.target)}, {missed:.1g} off what they should "
        f"(medians of {len(maps)} images)",
        measured={"images": len(maps), "steps": steps, "median_sum": change, "completeness_error": missed},
        why="The pixels that raise the answer should lie on what the image shows. The worths of all pixels must add up to how far "
        "the answer is from that to the mean of the training images; where they miss it, take more steps.",
        caption=f"Orange raises {answer_words(model.target)} above that of the mean of the training images, blue lowers it.",
        seed=seed,
    )


def _reached(model: Model, net: torch.nn.Module, field: ImageField, drawn: Drawn) -> bool:
    """Whether there is a way for a gradient from the answer back to the pixels."""
    x, chosen = repeated(drawn.batch, torch.tensor([0])), torch.from_numpy(drawn.chosen[:1])
    x[field.name] = pixels = x[field.name].float().requires_grad_(True)
    try:
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):
            answer = answers_of(model, net, x, chosen).sum()
            return answer.requires_grad and torch.autograd.grad(answer, pixels, allow_unused=True)[0] is not None
    except (RuntimeError, TypeError):  # a foreign module that takes whole numbers only
        return False


def _worth(
    model: Model, net: torch.nn.Module, field: ImageField, drawn: Drawn, i: int, steps: int
) -> tuple[np.ndarray, float]:
    """(H, W) the worth of each pixel, channels summed, and by how much their sum misses the change of the answer."""
    from captum.attr import IntegratedGradients

    one = repeated(drawn.batch, torch.tensor([i]))
    pixels = one[field.name].float()
    mean = torch.tensor(field.center).view(1, -1, 1, 1).expand_as(pixels)
    chosen = torch.from_numpy(drawn.chosen[i : i + 1])

    def answer(shown: Tensor) -> Tensor:
        others = {k: v.expand(len(shown), *v.shape[1:]) for k, v in one.items()}
        return answers_of(model, net, {**others, field.name: shown}, chosen.expand(len(shown)))

    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        worth, miss = IntegratedGradients(answer).attribute(
            pixels,
            mean,
            n_steps=steps,
            internal_batch_size=max(1, MOST_VALUES // pixels.numel()),
            return_convergence_delta=True,
        )
    return worth[0].sum(0).detach().double().numpy(), float(miss.abs().item())


def _finding(
    probe: str,
    model: Model,
    drawn: Drawn,
    field: ImageField,
    maps: dict[int, np.ndarray],
    *,
    title: str,
    measured: dict[str, float | int],
    why: str,
    caption: str,
    seed: int,
) -> Finding:
    pixels = drawn.batch.x[field.name].numpy()
    pictures = tuple(
        Picture(
            png=to_png(pixels[i], field.low, field.high),
            caption=drawn.caption(i),
            heat=tuple(tuple(row) for row in np.round(_coarse(maps[i], CELLS), 6).tolist()),
            mark=drawn.mark(i),
        )
        for i in sorted(maps)
    )
    mean = np.mean([np.abs(m) for m in maps.values()], 0)
    where = Series(z=tuple(tuple(row) for row in _coarse(mean, CELLS).tolist()))
    figures = (
        Figure(
            title="Right answers, then those wrong ones that the network is most sure of",
            kind="pictures",
            pictures=pictures,
            caption=caption,
        ),
        Figure(
            title="Where the network looks",
            kind="heatmap",
            series=(where,),
            caption=f"Mean of the sizes over the {len(maps)} images above.",
        ),
    )
    return Finding(
        probe=probe,
        family="explain",
        verdict="info",
        title=title + in_time(len(maps), len(drawn), "images"),
        measured={**measured},
        why=why,
        figures=figures,
        seed=seed,
    )


def _coarse(values: np.ndarray, most: int) -> np.ndarray:
    """A map of at most `most` cells a side, by means of blocks."""
    for axis in (0, 1):
        if values.shape[axis] > most:
            parts = np.array_split(values, most, axis)
            values = np.stack([p.mean(axis) for p in parts], axis)
    return values
