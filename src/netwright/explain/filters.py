"""What the convolutions of a network look for, and where they find it: filters and feature maps as pictures."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from netwright.core.errors import UsageError
from netwright.core.finding import Figure, Finding, Picture, Table
from netwright.data.images import to_png
from netwright.explain.columns import not_applicable
from netwright.explain.drawn import Drawn, drawn_rows
from netwright.model import Model, Subject
from netwright.nn.lenet import PartialConv

MOST_FILTERS, MOST_MAPS, MOST_LAYERS = 64, 16, 3
"""Filters of the first layer that are drawn, maps of each layer, and layers."""
Convolution = nn.Conv2d | PartialConv


def filters(subject: Subject, *, budget_seconds: float, seed: int, rows: int = 2) -> Finding:
    """The windows that the first convolution has learned, and the maps that its layers make of some test images.

    A filter is drawn as its weights, averaged over the channels that come in; a map as what the convolution gives, before any
    activation. Orange is above zero, blue below; each picture has a scale of its own.

    Args:
        budget_seconds: not needed, it takes no time worth planning. rows: images whose maps are drawn.

    Source: Zeiler and Fergus (2014), "Visualizing and Understanding Convolutional Networks"; the maps: LeCun et al. (1998).
    """
    model = subject.need("model")
    if finding := not_applicable(model, "filters", seed):
        return finding
    net = copy.deepcopy(model.module).eval()
    layers = {name: layer for name, layer in net.named_modules() if isinstance(layer, Convolution)}
    if not layers:
        return _none(seed)
    begin, drawn = time.monotonic(), drawn_rows(subject, "filters", seed, right=rows, wrong=0)
    maps = _maps(model, net, drawn, layers) if len(drawn) else {}
    windows = _kernels(next(iter(layers.values())))
    dead = {name: int((found.abs().amax((0, 2, 3)) < 1e-6).sum()) for name, found in maps.items()}
    table = Table(
        title="Convolutions",
        columns=("layer", "maps in", "maps out", "window", "weights", "map", "maps that are zero on these images"),
        rows=tuple(_row(name, layer, maps.get(name), dead.get(name)) for name, layer in layers.items()),
    )
    n = len(windows)
    return Finding(
        probe="filters",
        family="explain",
        verdict="info",
        title=f"{n} filters of {windows.shape[2]} x {windows.shape[3]} in the first of {len(layers)} convolutions; "
        + (
            f"{sum(dead.values())} of the maps drawn are zero everywhere"
            if sum(dead.values())
            else "no map is zero everywhere"
        ),
        measured={
            "convolutions": len(layers),
            "filters": n,
            "roughness": _roughness(windows),
            "zero_maps": sum(dead.values()),
        },
        why="A filter shows what a map answers to: an edge, a stroke, a spot. Where all look like noise (a roughness near 1) they were not "
        "needed, or not trained for long enough. The maps show where each is found; further layers show more of what and less of where.",
        tables=(table,),
        figures=(filter_figure(net), *_map_figures(drawn, maps, model)),
        seed=seed,
        seconds=time.monotonic() - begin,
    )


def _none(seed: int) -> Finding:
    return Finding(
        probe="filters",
        family="explain",
        verdict="info",
        title="not applicable: the network has no convolutions over images",
        seed=seed,
    )


def _kernels(layer: Convolution) -> Tensor:
    """Windows (outputs, inputs, H, W)."""
    return (layer.kernels() if isinstance(layer, PartialConv) else layer.weight).detach().float()


def _maps(model: Model, net: nn.Module, drawn: Drawn, layers: Mapping[str, Convolution]) -> dict[str, Tensor]:
    """What some convolutions, evenly from the first to the last, give for the drawn rows: (N, maps, H, W) each."""
    names = list(layers)
    chosen = {names[i] for i in np.linspace(0, len(names) - 1, min(MOST_LAYERS, len(names))).round().astype(int)}
    found: dict[str, Tensor] = {}
    handles = []
    for name in names:
        if name in chosen:

            def keep(module: nn.Module, given: object, maps: Tensor, name: str = name) -> None:
                found.setdefault(name, maps.detach().float())

            handles.append(layers[name].register_forward_hook(keep))
    try:
        with torch.no_grad():
            model.objective.predict(net, drawn.batch.x)
    finally:
        for handle in handles:
            handle.remove()
    return {name: maps for name, maps in found.items() if len(maps) == len(drawn)}


def _roughness(windows: Tensor) -> float:
    """Half the mean squared difference of neighbours over the variance of a window: 1 for noise, 0 for what does not change."""
    spread = windows.var((2, 3), correction=0).mean()
    steps = [windows.diff(dim=d).square().mean() / 2 for d in (2, 3) if windows.shape[d] > 1]
    return float(sum(steps) / len(steps) / spread.clamp(min=1e-12)) if steps else 0.0


def _row(name: str, layer: Convolution, maps: Tensor | None, dead: int | None) -> tuple[str | int | None, ...]:
    windows = _kernels(layer)
    inside = windows.shape[1] * (1 if isinstance(layer, PartialConv) else layer.groups)
    size = None if maps is None else f"{maps.shape[2]} x {maps.shape[3]}"
    weights = sum(p.numel() for p in layer.parameters())
    return name, inside, len(windows), f"{windows.shape[2]} x {windows.shape[3]}", weights, size, dead


def filter_figure(net: nn.Module) -> Figure:
    """The filters of the first convolution as pictures, each the mean over the channels that come in.

    Raises:
        UsageError: there is no convolution over images.
    """
    layers = [layer for layer in net.modules() if isinstance(layer, Convolution)]
    if not layers:
        raise UsageError("the network has no convolution over images")
    windows = _kernels(layers[0])
    pictures = tuple(
        Picture(png=signed_png(window.mean(0).numpy()), caption=f"{k}")
        for k, window in enumerate(windows[:MOST_FILTERS])
    )
    more = f"; {MOST_FILTERS} of {len(windows)} are shown" if len(windows) > MOST_FILTERS else ""
    return Figure(
        title="Filters of the first convolution",
        kind="pictures",
        pictures=pictures,
        caption=f"Orange: a bright spot here raises the map; blue: lowers it{more}.",
    )


def _map_figures(drawn: Drawn, maps: Mapping[str, Tensor], model: Model) -> list[Figure]:
    """A sheet for each drawn row: the image, then the maps of each layer."""
    field = next((f for f in model.spec.images), None)
    figures = []
    for i in range(len(drawn)):
        pictures = []
        if field is not None:
            png = to_png(drawn.batch.x[field.name][i].numpy(), field.low, field.high)
            pictures.append(Picture(png=png, caption=drawn.caption(i), mark=drawn.mark(i)))
        for name, found in maps.items():
            pictures += [
                Picture(png=signed_png(found[i, k].numpy()), caption=f"{_short(name)}, map {k}")
                for k in range(min(found.shape[1], MOST_MAPS))
            ]
        title = f"Feature maps of test row {drawn.rows[i]}"
        figures.append(
            Figure(title=title, kind="pictures", pictures=tuple(pictures), caption="Orange is above zero, blue below.")
        )
    return figures


def _short(name: str) -> str:
    """The end of a layer's name, which is what tells it from others.

    >>> _short("front.trunk.stages.0.0"), _short("c1")
    ('stages.0.0', 'c1')
    """
    parts = name.split(".")
    start = next((k for k in range(len(parts) - 1, -1, -1) if not parts[k].isdigit()), 0)
    return ".".join(parts[start:])


def signed_png(values: np.ndarray) -> str:
    """Numbers (H, W) as a picture: black at 0, to orange above and to blue below, as far as the largest of them.

    >>> signed_png(np.array([[1.0, -1.0]]))[:8]
    'iVBORw0K'
    """
    share = values / max(float(np.abs(values).max()), 1e-12)
    above, below = np.array([255.0, 150.0, 40.0]), np.array([60.0, 150.0, 255.0])
    colour = np.clip(share, 0, 1)[None] * above[:, None, None] + np.clip(-share, 0, 1)[None] * below[:, None, None]
    return to_png(colour)
