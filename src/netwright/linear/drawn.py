"""Figures of the perceptron on two inputs: its line after each update, and the point that proves that there is none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from netwright.core.errors import UsageError
from netwright.core.finding import Figure, Series
from netwright.linear.certificate import Certificate
from netwright.linear.perceptron import Perceptron

MARGIN = 0.15
"""Share of the range of the data that is drawn around it."""
MOST_FRAMES = 60
"""Of an animation; of more updates the first ones and the last are drawn."""


def line_path(net: Perceptron, x: np.ndarray, y: np.ndarray, names: Sequence[str] = ("x1", "x2")) -> Figure:
    """The line w x + b = 0 after each update as an animation, with the row that each update was for.

    Args:
        net: fitted on x (N, 2) and y (N,), two classes.

    Raises:
        UsageError: there are other than two inputs or two classes.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y)
    if x.shape[1:] != (2,) or len(net.classes_) != 2:
        raise UsageError(f"a line is drawn for two inputs and two classes; came {x.shape[1]} and {len(net.classes_)}")
    points = [points_of(f"{c}", x[y == c]) for c in net.classes_]
    box = box_of(x)
    rows, path, n = net.lines_[0].learned.path_rows, net.path_, net.n_mistakes_
    numbers = sorted({0, *range(1, min(len(path), MOST_FRAMES)), len(path) - 1})
    frames, steps = [], []
    for k in numbers:
        row = None if k == 0 else int(rows[k - 1])
        frames.append((*points, _line(path[k], box), points_of("row of this update", x[[] if row is None else [row]])))
        steps.append("before the first update" if row is None else f"update {k} of {n}, row {row}")
    return Figure(
        title=f"The line after each of {n} updates",
        kind="scatter",
        series=frames[-1],
        frames=tuple(frames),
        steps=tuple(steps),
        x_label=names[0],
        y_label=names[1],
        caption="Each update turns and shifts the line by one row that was on the wrong side; what is seen at first is the last line.",
    )


def certificate_drawn(
    certificate: Certificate, x: np.ndarray, y: np.ndarray, names: Sequence[str] = ("x1", "x2")
) -> Figure:
    """The rows of a certificate, joined class by class, and the point that both classes surround; x (N, 2), y (N,)."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y)
    if x.shape[1:] != (2,):
        raise UsageError(f"a certificate is drawn for two inputs; came {x.shape[1]}")
    series = [points_of(f"{c}", x[y == c]) for c in np.unique(y)]
    for sign in (1, -1):
        corners = x[[row for row, its in zip(certificate.rows, certificate.signs, strict=True) if its == sign]]
        middle = corners.mean(0)
        corners = corners[np.argsort(np.arctan2(*(corners - middle).T), kind="stable")]
        ring = np.vstack([corners, corners[:1]])
        name = f"between rows of {y[certificate.rows[certificate.signs.index(sign)]]}"
        series.append(points_of(name, ring).model_copy(update={"dashed": True}))
    series.append(points_of("in both", certificate.sums(x)[0].astype(float)[None]))
    return Figure(
        title="A point that both classes surround",
        kind="scatter",
        series=tuple(series),
        x_label=names[0],
        y_label=names[1],
        caption=f"{certificate}: a line that had each class on its own side would have this point on both.",
    )


def points_of(name: str, x: np.ndarray) -> Series:
    """Points (N, 2) as a series."""
    return Series(name=name, x=tuple(x[:, 0].tolist()), y=tuple(x[:, 1].tolist()))


def box_of(x: np.ndarray) -> np.ndarray:
    """Lowest and highest values (2, D) that are drawn."""
    low, high = x.min(0), x.max(0)
    around = MARGIN * np.where(high > low, high - low, 1.0)
    return np.stack([low - around, high + around])


def _line(weights: np.ndarray, box: np.ndarray) -> Series:
    """The part of w1 x1 + w2 x2 + b = 0 within a box; empty where it does not cross it."""
    w, b = weights[:2], weights[2]
    ends = []
    for axis in (0, 1):
        other = 1 - axis
        for edge in box[:, axis]:
            if w[other]:
                value = -(b + w[axis] * edge) / w[other]
                if box[0, other] <= value <= box[1, other]:
                    ends.append((edge, value) if axis == 0 else (value, edge))
    ends = sorted(set(ends))
    corners = np.array([ends[0], ends[-1]]) if len(ends) > 1 else np.empty((0, 2))
    return points_of("decision line", corners).model_copy(update={"dashed": True})
