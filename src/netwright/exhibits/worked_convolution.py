"""The worked example of a convolution: four linear units with one window of 4 x 4 weights look at a "3" of 5 x 5 pixels."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from netwright.core.finding import Figure, Finding, Link, Node, Picture, Series, Table
from netwright.data.images import to_png
from netwright.exhibits.program import main

THREE = np.array(
    [
        [0, 1, 1, 1, 0],
        [0, 0, 0, 1, 0],
        [0, 1, 1, 1, 0],
        [0, 0, 0, 1, 0],
        [0, 1, 1, 1, 0],
    ]
)
"""The image: 1 where there is ink."""
WEIGHTS = np.array(
    [
        [1, 1, 1, 0],
        [0, 0, 1, 0],
        [1, 1, 1, 0],
        [0, 0, 1, 0],
    ]
)
"""The window that all four units share: the upper part of a "3"."""
UNITS = {"h1": (0, 0), "h2": (0, 1), "h3": (1, 0), "h4": (1, 1)}
"""Unit -> row and column, from 0, of the upper left pixel that it sees."""
PLACES = {"h1": "upper left", "h2": "upper right", "h3": "lower left", "h4": "lower right"}


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """The worked example of a convolution: one window, four places, a "3".

    There is nothing to be made smaller and nothing drawn at random: `tiny` and `seed` change nothing.
    """
    seen = {unit: THREE[top : top + 4, left : left + 4] for unit, (top, left) in UNITS.items()}
    answers = {unit: int((WEIGHTS * patch).sum()) for unit, patch in seen.items()}
    image, window = (torch.tensor(part, dtype=torch.float64)[None, None] for part in (THREE, WEIGHTS))
    by_torch = F.conv2d(image, window).flatten().tolist()
    wrong = max(abs(a - b) for a, b in zip(answers.values(), by_torch, strict=True))
    shown = ", ".join(f"{unit} = {value}" for unit, value in answers.items())
    best = max(answers, key=lambda unit: answers[unit])
    return Finding(
        probe="worked-convolution",
        family="gallery",
        verdict="pass" if wrong == 0 else "fail",
        title=f"four units with the same 16 weights answer {shown}",
        measured={
            **answers,
            "largest_difference_from_torch": wrong,
            "weights": WEIGHTS.size,
            "without_sharing": 4 * WEIGHTS.size,
        },
        expected="the same as torch's conv2d",
        why=f"The window is laid on the image at four places, and at each the weights under ink are added up. The units differ in nothing "
        f"but where they look, so 16 weights do the work of 64. {best} ({PLACES[best]}) answers most, because there the window lies on "
        "the very figure that it holds; moved by one pixel the same figure is met by half or less.",
        tables=(_sums(seen, answers),),
        figures=(_sheet(seen, answers), _network(answers), _map(answers)),
        reference="Fukushima (1980), Neocognitron; LeCun et al. (1989), Backpropagation applied to handwritten zip code recognition",
    )


def _sums(seen: dict[str, np.ndarray], answers: dict[str, int]) -> Table:
    """Weight times pixel, row by row of each unit's patch."""
    rows = []
    for unit, patch in seen.items():
        parts = [
            " + ".join(f"{w}·{x}" for w, x in zip(*pair, strict=True)) for pair in zip(WEIGHTS, patch, strict=True)
        ]
        rows.append((unit, PLACES[unit], *parts, answers[unit]))
    columns = ("unit", "sees", "row 1", "row 2", "row 3", "row 4", "sum")
    return Table(title="Weight times pixel, added up", columns=columns, rows=tuple(rows))


def _sheet(seen: dict[str, np.ndarray], answers: dict[str, int]) -> Figure:
    """The image, the window, and for each unit what it sees, with the weights that meet ink."""
    pictures = [
        Picture(png=_dots(THREE), caption="the image, 5 x 5: a 3"),
        Picture(png=_dots(WEIGHTS, colour=True), caption="the window of 4 x 4 weights"),
    ]
    for unit, patch in seen.items():
        pictures.append(
            Picture(
                png=_dots(patch, met=WEIGHTS * patch),
                caption=f"{unit} sees the {PLACES[unit]} part: {answers[unit]} weights meet ink",
            )
        )
    return Figure(
        title="What each unit sees",
        kind="pictures",
        pictures=tuple(pictures),
        caption="White: ink. Orange: a weight of 1, and in the patches such a weight on ink.",
    )


def _dots(values: np.ndarray, met: np.ndarray | None = None, colour: bool = False) -> str:
    """Zeros and ones as a picture of squares with lines between them."""
    orange, white, ground = np.array([245, 130, 30]), np.array([235, 235, 235]), np.array([40, 40, 48])
    side = 16
    canvas = np.full((3, values.shape[0] * side + 1, values.shape[1] * side + 1), 110.0)
    for (i, j), value in np.ndenumerate(values):
        ink = ground if not value else orange if colour or (met is not None and met[i, j]) else white
        canvas[:, i * side + 1 : (i + 1) * side, j * side + 1 : (j + 1) * side] = ink[:, None, None]
    return to_png(canvas)


def _network(answers: dict[str, int]) -> Figure:
    nodes = [Node(id="image", label="image", note="5 x 5", level=0)]
    nodes += [Node(id=f"p{unit}", label=f"{PLACES[unit]} 4 x 4", level=1) for unit in answers]
    best = max(answers.values())
    nodes += [
        Node(id=unit, label=unit, note=str(value), level=2, mark="good" if value == best else "")
        for unit, value in answers.items()
    ]
    links = [Link(source="image", target=f"p{unit}") for unit in answers]
    links += [Link(source=f"p{unit}", target=unit, label="w11 ... w44") for unit in answers]
    return Figure(
        title="The same weights at four places",
        kind="diagram",
        nodes=tuple(nodes),
        links=tuple(links),
        caption="All four arrows to the right carry the same 16 weights; the units are linear and have no bias.",
    )


def _map(answers: dict[str, int]) -> Figure:
    values = list(answers.values())
    z = ((float(values[0]), float(values[1])), (float(values[2]), float(values[3])))
    return Figure(
        title="The feature map",
        kind="heatmap",
        series=(Series(x=("left", "right"), y=("upper", "lower"), z=z),),
        caption="The four answers, each where its unit looks.",
    )


if __name__ == "__main__":
    main(exhibit)
