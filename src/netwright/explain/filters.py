"""What the convolutions of a network look for, and where they find it: filters and feature maps of images, series and volumes."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from netwright.core.errors import UsageError
from netwright.core.finding import Figure, Finding, Picture, Series, Table
from netwright.core.spec import SeriesField, VolumeField
from netwright.data.images import to_png
from netwright.explain.columns import not_applicable
from netwright.explain.drawn import Drawn, drawn_rows
from netwright.model import Model, Subject
from netwright.nn.lenet import PartialConv

MOST_FILTERS, MOST_MAPS, MOST_LAYERS = 64, 16, 3
"""Filters of the first layer that are drawn, maps of each layer, and layers."""
MOST_SLICES, MOST_CHANNELS = 4, 4
"""Slices of a volume, and channels of a series, that are drawn."""
Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d | PartialConv
KINDS: Mapping[int, type[nn.Module] | tuple[type[nn.Module], ...]] = {
    1: nn.Conv1d,
    2: (nn.Conv2d, PartialConv),
    3: nn.Conv3d,
}
"""Convolutions by the number of their dimensions."""
PROBES = {1: "filters-in-time", 2: "filters", 3: "filters-of-volumes"}
OVER = {1: "series", 2: "images", 3: "volumes"}


def filters(subject: Subject, *, budget_seconds: float, seed: int, rows: int = 2, dims: int = 2) -> Finding:
    """The windows that the first convolution has learned, and the maps that its layers make of some test rows.

    The first convolution is the first whose window has more than one place. A filter of images or volumes is drawn as its weights,
    averaged over the channels that come in; one of series as channels x window. A map is what the convolution gives, before any
    activation, of a row that goes through the network alone: so padding has no part in it. Orange is above zero, blue below; each
    picture has a scale of its own.

    Args:
        budget_seconds: not needed, it takes no time worth planning. rows: those whose maps are drawn.
        dims: of the convolutions: 1 for those in time, 2 for images, 3 for volumes, which are drawn slice by slice.

    Source: Zeiler and Fergus (2014), "Visualizing and Understanding Convolutional Networks"; the maps: LeCun et al. (1998).
    """
    model, probe = subject.need("model"), PROBES[dims]
    if finding := not_applicable(model, probe, seed):
        return finding
    net = copy.deepcopy(model.module).eval()
    layers = _layers(net, dims)
    if not layers:
        title = f"not applicable: the network has no convolutions over {OVER[dims]}"
        return Finding(probe=probe, family="explain", verdict="info", title=title, seed=seed)
    begin, drawn = time.monotonic(), drawn_rows(subject, probe, seed, right=rows, wrong=0)
    maps = maps_of(model, net, drawn, layers, dims)
    windows = _kernels(_first(layers.values()))
    dead = {
        name: int((torch.stack([m.flatten(1).abs().amax(1) for m in found]).amax(0) < 1e-6).sum())
        for name, found in maps.items()
    }
    table = Table(
        title="Convolutions",
        columns=(
            "layer",
            "maps in",
            "maps out",
            "window",
            "weights",
            "map",
            f"maps that are zero on these {OVER[dims]}",
        ),
        rows=tuple(_row(name, layer, maps.get(name), dead.get(name)) for name, layer in layers.items()),
    )
    n = len(windows)
    return Finding(
        probe=probe,
        family="explain",
        verdict="info",
        title=f"{n} filters of {_size(windows.shape[2:])} in the first of {len(layers)} convolutions; "
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
        why="A filter shows what a map answers to: an edge, a stroke, a spot; in time a rise, a peak, a beat. Where all look like noise (a "
        "roughness near 1) they were not needed, or not trained for long enough. The maps show where each is found; further layers "
        "show more of what and less of where.",
        tables=(table,),
        figures=(filter_figure(net, dims), *_map_figures(drawn, maps, model, dims)),
        seed=seed,
        seconds=time.monotonic() - begin,
    )


def _layers(net: nn.Module, dims: int) -> dict[str, Convolution]:
    return {name: layer for name, layer in net.named_modules() if isinstance(layer, KINDS[dims])}  # type: ignore[misc]


def _first(layers: Iterable[Convolution]) -> Convolution:
    """The first whose window has more than one place; where none has, the first."""
    several = list(layers)
    return next((layer for layer in several if _is_wide(layer)), several[0])


def _is_wide(layer: Convolution) -> bool:
    """Whether its window has more than one place."""
    return _kernels(layer)[0, 0].numel() > 1


def _size(sizes: Sequence[int]) -> str:
    """Sizes in words.

    >>> _size((7,)), _size((3, 5))
    ('7 steps', '3 x 5')
    """
    return f"{sizes[0]} step{'s' * (sizes[0] > 1)}" if len(sizes) == 1 else " x ".join(map(str, sizes))


def _kernels(layer: Convolution) -> Tensor:
    """Windows (outputs, inputs, *window)."""
    return (layer.kernels() if isinstance(layer, PartialConv) else layer.weight).detach().float()


def maps_of(
    model: Model, net: nn.Module, drawn: Drawn, layers: Mapping[str, Convolution], dims: int
) -> dict[str, list[Tensor]]:
    """What some convolutions, evenly from the first to the last, give for each of the drawn rows alone: (maps, *sizes) each.

    Those of one place, which only mix maps, are left out where there are others. Maps in time end where the row does, in proportion
    where a layer has fewer steps than the row.
    """
    names = [name for name, layer in layers.items() if _is_wide(layer)] or list(layers)
    chosen = {names[i] for i in np.linspace(0, len(names) - 1, min(MOST_LAYERS, len(names))).round().astype(int)}
    found: dict[str, list[Tensor]] = {}
    series = next((f for f in model.spec.wholes if isinstance(f, SeriesField)), None)
    for i in range(len(drawn)):
        x = {name: tensor[i : i + 1] for name, tensor in drawn.batch.x.items()}
        given, seen = _passed(model, net, x, layers)
        length = int(x[series.tensors[1]]) if series and dims == 1 else 0
        for name in names:
            if name in chosen and name in seen and len(seen[name]) == 1:
                maps = seen[name][0]
                steps = -(-maps.shape[-1] * min(length, given) // given) if length else maps.shape[-1]
                found.setdefault(name, []).append(maps[..., :steps])
    return {name: maps for name, maps in found.items() if len(maps) == len(drawn)}


def _passed(
    model: Model, net: nn.Module, x: Mapping[str, Tensor], layers: Mapping[str, Convolution]
) -> tuple[int, dict[str, Tensor]]:
    """The length along the last dimension of what the first convolution that is called is given, and what each gives."""
    found: dict[str, Tensor] = {}
    lengths: list[int] = []
    handles = []
    for name, layer in layers.items():

        def keep(module: nn.Module, given: tuple[Tensor, ...], maps: Tensor, name: str = name) -> None:
            lengths.append(given[0].shape[-1])
            found.setdefault(name, maps.detach().float())

        handles.append(layer.register_forward_hook(keep))
    try:
        with torch.no_grad():
            model.objective.predict(net, x)
    finally:
        for handle in handles:
            handle.remove()
    return (lengths or [1])[0], found


def _roughness(windows: Tensor) -> float:
    """Half the mean squared difference of neighbours over the variance of a window: 1 for noise, 0 for what does not change."""
    dims = tuple(range(2, windows.dim()))
    spread = windows.var(dims, correction=0).mean()
    steps = [windows.diff(dim=d).square().mean() / 2 for d in dims if windows.shape[d] > 1]
    return float(sum(steps) / len(steps) / spread.clamp(min=1e-12)) if steps else 0.0


def _row(
    name: str, layer: Convolution, maps: Sequence[Tensor] | None, dead: int | None
) -> tuple[str | int | None, ...]:
    windows = _kernels(layer)
    inside = windows.shape[1] * (1 if isinstance(layer, PartialConv) else layer.groups)
    size = None if maps is None else _size(maps[0].shape[1:])
    weights = sum(p.numel() for p in layer.parameters())
    return name, inside, len(windows), _size(windows.shape[2:]), weights, size, dead


def filter_figure(net: nn.Module, dims: int = 2) -> Figure:
    """The filters of the first convolution: of images and volumes pictures, each the mean over the channels that come in; of series
    pictures of channels x window, or for one channel the windows below each other.

    Raises:
        UsageError: there is no convolution of so many dimensions.
    """
    layers = _layers(net, dims)
    if not layers:
        raise UsageError(f"the network has no convolution over {OVER[dims]}")
    windows = _kernels(_first(layers.values()))
    shown, title = windows[:MOST_FILTERS].numpy(), "Filters of the first convolution"
    more = f"; {MOST_FILTERS} of {len(windows)} are shown" if len(windows) > MOST_FILTERS else ""
    if dims == 1 and windows.shape[1] == 1:
        return Figure(
            title=title,
            kind="heatmap",
            series=(
                Series(
                    x=tuple(k - windows.shape[2] // 2 for k in range(windows.shape[2])),
                    y=tuple(f"filter {k}" for k in range(len(shown))),
                    z=tuple(tuple(map(float, window[0])) for window in shown),
                ),
            ),
            x_label="steps from the middle",
            caption=f"Each row is the window of one filter{more}.",
        )
    what = "a high value" if dims == 1 else "a bright spot"
    how = {1: " Across: steps; down: channels.", 2: "", 3: " Slices of depth from the top down."}[dims]
    drawn = [window if dims == 1 else _flat(window.mean(0)) for window in shown]
    pictures = tuple(Picture(png=signed_png(window), caption=f"{k}") for k, window in enumerate(drawn))
    return Figure(
        title=title,
        kind="pictures",
        pictures=pictures,
        caption=f"Orange: {what} here raises the map; blue: lowers it{more}.{how}",
    )


def _map_figures(drawn: Drawn, maps: Mapping[str, Sequence[Tensor]], model: Model, dims: int) -> list[Figure]:
    """For each drawn row: what was given, then the maps of each layer."""
    if dims == 1:
        return [figure for i in range(len(drawn)) for figure in _in_time(drawn, maps, model, i)]
    fields = model.spec.images if dims == 2 else [f for f in model.spec.wholes if isinstance(f, VolumeField)]
    figures = []
    for i in range(len(drawn)):
        pictures = []
        for field in fields[:1]:
            values = drawn.batch.x[field.name][i].double().numpy()
            pixels = values if dims == 2 else strip(values, gap=(field.low + field.high) / 2)
            png = to_png(pixels, field.low, field.high)
            pictures.append(Picture(png=png, caption=drawn.caption(i), mark=drawn.mark(i)))
        for name, found in maps.items():
            pictures += [
                Picture(png=signed_png(_flat(found[i][k].numpy())), caption=f"{_short(name)}, map {k}")
                for k in range(min(len(found[i]), MOST_MAPS))
            ]
        title = f"Feature maps of test row {drawn.rows[i]}"
        caption = "Orange is above zero, blue below." + " Slices of depth from the top down." * (dims == 3)
        figures.append(Figure(title=title, kind="pictures", pictures=tuple(pictures), caption=caption))
    return figures


def _in_time(drawn: Drawn, maps: Mapping[str, Sequence[Tensor]], model: Model, i: int) -> list[Figure]:
    """A series as lines, and below it the maps of each layer over its own steps."""
    figures = []
    for field in [f for f in model.spec.wholes if isinstance(f, SeriesField)][:1]:
        values, n = (drawn.batch.x[name][i] for name in field.tensors)
        steps = tuple(range(1, int(n) + 1))
        labels = field.labels or tuple(f"channel {c + 1}" for c in range(len(values)))
        lines = tuple(
            Series(name=labels[c] if len(values) > 1 else field.name, x=steps, y=tuple(row[: int(n)].double().tolist()))
            for c, row in enumerate(values[:MOST_CHANNELS])
        )
        title = f"Test row {drawn.rows[i]}: {drawn.caption(i)}"
        figures.append(Figure(title=title, kind="line", series=lines, x_label="step", y_label="value"))
    for name, found in maps.items():
        shown = found[i][:MOST_MAPS].double()
        series = Series(
            x=tuple(range(1, shown.shape[1] + 1)),
            y=tuple(f"map {k}" for k in range(len(shown))),
            z=tuple(map(tuple, shown.tolist())),
        )
        more = f" {len(shown)} of {len(found[i])} maps." if len(shown) < len(found[i]) else ""
        figures.append(
            Figure(
                title=f"Maps of {name.removeprefix('front.trunk.')} of test row {drawn.rows[i]}",
                kind="heatmap",
                series=(series,),
                x_label="step of the map",
                caption=f"What the convolution gives at each step, before any activation.{more}",
            )
        )
    return figures


def _flat(values: np.ndarray) -> np.ndarray:
    """A picture (H, W) as it is, and of (D, H, W) its slices."""
    return values if values.ndim == 2 else strip(values)


def strip(values: np.ndarray, gap: float = np.nan) -> np.ndarray:
    """Some slices of depth, evenly from the first to the last, below each other with a line of `gap` between them:
    (..., D, H, W) -> (..., n (H + 1) - 1, W).

    >>> strip(np.array([[[1.0]], [[2.0]]]), gap=0.0).tolist()
    [[1.0], [0.0], [2.0]]
    """
    chosen = np.linspace(0, values.shape[-3] - 1, min(MOST_SLICES, values.shape[-3])).round().astype(int)
    line = np.full((*values.shape[:-3], 1, values.shape[-1]), gap)
    pieces = [piece for k in chosen for piece in (values[..., k, :, :], line)]
    return np.concatenate(pieces[:-1], -2)


def _short(name: str) -> str:
    """The end of a layer's name, which is what tells it from others.

    >>> _short("front.trunk.stages.0.0"), _short("c1")
    ('stages.0.0', 'c1')
    """
    parts = name.split(".")
    start = next((k for k in range(len(parts) - 1, -1, -1) if not parts[k].isdigit()), 0)
    return ".".join(parts[start:])


def signed_png(values: np.ndarray) -> str:
    """Numbers (H, W) as a picture: black at 0, to orange above and to blue below, as far as the largest of them; grey where NaN.

    >>> signed_png(np.array([[1.0, -1.0]]))[:8]
    'iVBORw0K'
    """
    share = np.nan_to_num(values / max(float(np.nanmax(np.abs(values))), 1e-12))
    above, below = np.array([255.0, 150.0, 40.0]), np.array([60.0, 150.0, 255.0])
    colour = np.clip(share, 0, 1)[None] * above[:, None, None] + np.clip(-share, 0, 1)[None] * below[:, None, None]
    return to_png(np.where(np.isnan(values), 128.0, colour))
