"""A digit is the same digit two pixels further on: a perceptron does not know that, a convolutional network half, a trained one fully."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import netwright as nw
from netwright.core.finding import Figure, Finding, Series, Table
from netwright.core.spec import InputSpec, TargetSpec
from netwright.exhibits.program import main

MOST = 3
"""Pixels by which digits of 8 x 8 are moved, on a ground of 14 x 14."""


def perceptron(spec: InputSpec, target: TargetSpec) -> nn.Module:
    """One hidden layer on all pixels."""
    pixels = spec.images[0].height * spec.images[0].width
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, 128), nn.ReLU(), nn.Linear(128, target.n_out))


NETS: dict[str, dict[str, Any]] = {
    "perceptron": {"template": perceptron},
    "convolution": {"template": "conv", "options": {"channels": "16,32"}},
    "convolution, moved in training": {"template": "conv", "options": {"channels": "16,32", "shift": 0.21}},
}


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """Accuracy on digits that were moved: perceptron against convolution."""
    digits = load_digits()
    x = np.pad(digits.images, ((0, 0), (MOST, MOST), (MOST, MOST))).astype(np.uint8) * 15
    x_train, x_test, y_train, y_test = train_test_split(x, digits.target, test_size=0.25, random_state=seed)
    n, rows = (400, 100) if tiny else (len(x_train), len(x_test))
    found: dict[str, Finding] = {}
    for name, net in NETS.items():
        fresh = nw.Classifier(**net, epochs=4 if tiny else 40, batch_size=16, learning_rate=5e-3, random_state=seed)
        model = fresh.fit(x_train[:n], y_train[:n])
        found[name] = nw.explain(model, x_test[:rows], y_test[:rows], names=["shifts"], seed=seed, budget_seconds=60)[0]
    curves = {name: finding.figures[1].series[0] for name, finding in found.items()}
    far = {name: float(finding.measured["accuracy_moved_most"] or 0) for name, finding in found.items()}
    here = {name: float(finding.measured["accuracy_here"] or 0) for name, finding in found.items()}
    first, second, third = NETS
    return Finding(
        probe="shift-invariance",
        family="gallery",
        verdict="pass" if far[third] > far[first] else "fail",
        title=f"moved by {MOST} pixels, digits are known by the perceptron in {far[first]:.0%} of the cases, by convolution in "
        f"{far[second]:.0%}, and in {far[third]:.0%} if it saw moved ones in training",
        measured={f"{name.replace(', ', '_').replace(' ', '_')}_moved": value for name, value in far.items()},
        expected="the network that saw moved digits is better than the perceptron",
        why="Each square of the heat maps is the accuracy on all test digits moved by so many pixels. The perceptron's hill is steep: it "
        "has learned which pixels are dark, not which shape. Convolution moves its maps along with the digit, and the mean and maximum "
        "over all positions at its end forget where: the hill is wide. But pooling looks at windows of two: moved by an odd number of "
        "pixels a digit falls otherwise into them than in training, and one sees the grid. For a network that saw moved digits the hill is "
        "a plateau.",
        tables=(
            Table(
                title="Accuracy",
                columns=("network", "where digits lie", f"moved by {MOST} pixels"),
                rows=tuple((name, here[name], far[name]) for name in NETS),
            ),
        ),
        figures=(
            Figure(
                title="Accuracy against the size of the move",
                kind="line",
                series=tuple(Series(name=name, x=curve.x, y=curve.y) for name, curve in curves.items()),
                x_label="pixels along the longer of both axes",
                y_label="mean accuracy",
            ),
            *(
                finding.figures[0].model_copy(update={"title": f"Accuracy on moved digits: {name}"})
                for name, finding in found.items()
            ),
        ),
        reference="Fukushima (1980); LeCun et al. (1998); Azulay and Weiss (2019)",
    )


if __name__ == "__main__":
    main(exhibit)
