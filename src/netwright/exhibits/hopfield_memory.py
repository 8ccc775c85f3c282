"""A Hopfield net restores pictures from noise, and forgets when it has to keep too many.

Pictures are stored in the weights between all pairs of units. Started at a noisy one, the units are updated one at a time; each update
lowers the energy or leaves it, until the net rests in a valley: a stored picture, where there are not too many of them.
"""

from __future__ import annotations

import numpy as np

from netwright.core.finding import Figure, Finding, Mark, Picture, Series, Table
from netwright.core.seed import numpy_generator
from netwright.data.images import to_png
from netwright.exhibits.program import main
from netwright.nn.hopfield import CAPACITY, RULES, Hopfield

NOISE = 0.15
"""Share of units that are turned round."""


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """Pictures restored from noise by a Hopfield net."""
    pictures, names = digits(7)
    rng = numpy_generator(seed, "noise")
    noisy = pictures ^ (rng.random(pictures.shape) < NOISE)
    nets = {rule: Hopfield(pictures, rule=rule) for rule in RULES}  # type: ignore[arg-type]
    restored = {rule: net.recall(noisy, seed=seed) for rule, net in nets.items()}
    wrong = {rule: float((back != pictures).mean()) for rule, back in restored.items()}
    walk = nets["storkey"].walk(noisy, seed=seed)
    n_units = nets["hebb"].n_units
    loads, curves = capacity(80 if tiny else 400, seed)
    return Finding(
        probe="hopfield-memory",
        family="gallery",
        verdict="pass" if wrong["storkey"] < wrong["hebb"] or wrong["storkey"] == 0 else "fail",
        title=f"{len(names)} pictures of {n_units} units, {NOISE:.0%} turned round: {wrong['storkey']:.1%} wrong by Storkey's rule, "
        f"{wrong['hebb']:.1%} by Hebb's",
        measured={
            "wrong_given": float((noisy != pictures).mean()),
            **{f"wrong_{rule}": share for rule, share in wrong.items()},
            **{f"overlap_{rule} at load {loads[-1]}": curve[-1] for rule, curve in curves.items()},
        },
        expected="fewer wrong units than were given",
        why="The first sheet shows what was stored, what was given and what came back. The digits are alike, and Hebb's rule mixes them "
        "up; Storkey's takes off what the net knows already. The energy of each picture only falls, one unit after the other, and "
        f"then rests. The last figure stores random patterns: by Hebb's rule they are lost beyond about {CAPACITY} patterns a unit.",
        tables=(
            Table(
                title="Wrong units",
                columns=("picture", "given", *RULES),
                rows=tuple(
                    (name, *(float((some[k] != pictures[k]).mean()) for some in (noisy, *restored.values())))
                    for k, name in enumerate(names)
                ),
            ),
        ),
        figures=(
            sheet(pictures, names, noisy, restored),
            energy_figure(walk.energies.numpy(), names),
            capacity_figure(loads, curves),
        ),
        reference="Hopfield (1982); Storkey (1997); Amit, Gutfreund and Sompolinsky (1985)",
    )


def digits(n: int) -> tuple[np.ndarray, list[str]]:
    """Handwritten digits of 16 x 16 black and white pixels, (n, 16, 16) bool, one of each class, and their names."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    first = [int(np.flatnonzero(labels == k)[0]) for k in range(n)]
    small = images[first].reshape(n, 8, 8) >= 8
    return small.repeat(2, axis=1).repeat(2, axis=2), [str(k) for k in range(n)]


def capacity(n_units: int, seed: int) -> tuple[list[float], dict[str, list[float]]]:
    """Loads (patterns a unit), and for each rule how much of random patterns is left where recall begins at them."""
    loads = [0.04, 0.08, 0.12, 0.14, 0.16, 0.2, 0.3]
    rng = numpy_generator(seed, "patterns")
    curves: dict[str, list[float]] = {rule: [] for rule in RULES}
    for load in loads:
        patterns = rng.integers(0, 2, (round(load * n_units), n_units)) * 2.0 - 1
        for rule in RULES:
            ended = Hopfield(patterns, rule=rule).recall(patterns, seed=seed)  # type: ignore[arg-type]
            curves[rule].append(float((ended * patterns).mean()))
    return loads, curves


def sheet(pictures: np.ndarray, names: list[str], noisy: np.ndarray, restored: dict[str, np.ndarray]) -> Figure:
    """Stored, given and restored pictures, row by row."""
    shown = [
        Picture(
            png=to_png(np.where(picture, 30, 235)[None]),
            caption=f"{name}, {what}",
            mark=_mark(picture, pictures[k], what),
        )
        for what, some in (("stored", pictures), ("given", noisy), *restored.items())
        for k, (picture, name) in enumerate(zip(some, names, strict=True))
    ]
    return Figure(
        title="Stored, given, and what came back",
        kind="pictures",
        pictures=tuple(shown),
        caption="Green where a picture came back exactly, red where it did not.",
    )


def _mark(picture: np.ndarray, stored: np.ndarray, what: str) -> Mark:
    if what not in RULES:
        return ""
    return "good" if (picture == stored).all() else "bad"


def energy_figure(energies: np.ndarray, names: list[str]) -> Figure:
    """Energy over updates, a line for each picture."""
    updates = tuple(range(len(energies)))
    series = tuple(Series(name=name, x=updates, y=tuple(map(float, energies[:, k]))) for k, name in enumerate(names))
    return Figure(
        title="Energy over updates",
        kind="line",
        series=series,
        x_label="updates of one unit",
        y_label="energy",
        caption="By Storkey's rule, from the pictures that were given.",
    )


def capacity_figure(loads: list[float], curves: dict[str, list[float]]) -> Figure:
    """How much is left of random patterns over their number a unit."""
    series = [Series(name=rule, x=tuple(loads), y=tuple(curve)) for rule, curve in curves.items()]
    series.append(Series(name=f"{CAPACITY} a unit", x=(CAPACITY, CAPACITY), y=(0.0, 1.0), dashed=True))
    return Figure(
        title="What is left of stored patterns",
        kind="line",
        series=tuple(series),
        x_label="random patterns a unit",
        y_label="overlap with the stored ones",
    )


if __name__ == "__main__":
    main(exhibit)
