"""The promises of the networks for digits: LeNet-5 in both forms, and the residual convolutional network, on MNIST."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.data import data_file
from benchmarks.main_job import Timed, timed
from benchmarks.results import Result, Row

SEEDS = (0, 1, 2)
PLAIN: Mapping[str, float] = {"shift": 0.0, "rotate": 0.0, "zoom": 0.0, "shear": 0.0}
"""Options that leave the images as they are."""
WITHOUT: Mapping[str, Mapping[str, Any]] = {
    "lenet5": {
        "options": {**PLAIN, "norm": True, "dropout": 0.4},
        "weight_decay": 0.2,
        "metric": "accuracy",
        "epochs": 20,
    },
    "lenet5-1998": {"options": PLAIN, "metric": "accuracy", "epochs": 30},
}
"""Settings without distortions: in today's form batch norm, dropout and decay take their place."""
MOST_ERRORS, MOST_PLAIN, MOST_CONVNET = 80, 95, 50
SECONDS_LENET, SECONDS_CONVNET, SECONDS_SHORT, SHORT_ACCURACY = 900, 480, 60, 0.989
SHORT_MINUTES = 0.78
"""What a training is given of a minute: the rest is for starting, reading and predicting."""

TRAINING = """
import json, sys
import numpy as np
import netwright as nw
asked = json.loads(sys.argv[2])
with np.load(sys.argv[1], allow_pickle=False) as arrays:
    x, y, x_test, y_test = (arrays[name] for name in ("x_train", "y_train", "x_test", "y_test"))
net = nw.Classifier(**asked).fit(x, y)
errors = int((net.predict(x_test) != y_test).sum())
valid = len(y) - round(len(y) * (1 - asked["validation_fraction"]))
print(json.dumps({"errors": errors, "epochs": net.n_iter_, "parameters": net.model_.n_parameters, "valid": valid}))
"""
"""A whole process: start, read, train, and predict the test images, once."""


def trained(**asked: Any) -> tuple[Timed, dict[str, int]]:
    """How a training went in a process of its own, and what it found."""
    settings = {"validation_fraction": 0.05, **asked}
    done = timed(sys.executable, "-c", TRAINING, data_file("mnist.npz"), json.dumps(settings))
    found: dict[str, int] = json.loads(done.output.strip().splitlines()[-1])
    print(f"  {asked}: {found['errors']} errors, {done.seconds:.0f} s", file=sys.stderr, flush=True)
    return done, found


def _rows(what: str, runs: list[tuple[Timed, dict[str, int]]], most: int | None, seconds: float) -> list[Row]:
    """Errors and seconds of each seed, and the promises for both."""
    errors, times = [found["errors"] for _, found in runs], [done.seconds for done, _ in runs]
    each = ", ".join(map(str, errors))
    return [
        Row(
            f"{what}: errors of 10,000, seeds {', '.join(map(str, SEEDS))}",
            each,
            "" if most is None else f"<= {most} each",
            None if most is None else max(errors) <= most,
        ),
        Row(
            f"{what}: seconds, whole process",
            ", ".join(f"{t:.0f}" for t in times),
            f"<= {seconds:g} each",
            max(times) <= seconds,
        ),
    ]


def _lenet(form: str, title: str, how: str) -> Result:
    """One form, with and without distortions, three seeds each."""
    distorted = [trained(template=form, random_state=seed) for seed in SEEDS]
    plain = [trained(template=form, random_state=seed, **WITHOUT[form]) for seed in SEEDS]
    return Result(
        form.replace("-", "_"),
        title,
        [
            *_rows("distorted images", distorted, MOST_ERRORS, SECONDS_LENET),
            *_rows("images as they are", plain, MOST_PLAIN, SECONDS_LENET),
            Row("parameters", f"{distorted[0][1]['parameters']:,}"),
        ],
        f'`nw.Classifier(template="{form}", random_state=SEED)`, whole processes: start, reading, training on 57,000 images, choice of '
        f"the epoch on 3,000, one look at the 10,000 test images. Images as they are: {how}. The promise of errors is kept where one "
        "of the two forms keeps it.",
    )


def lenet5() -> Result:
    """LeNet-5 in the form usual today."""
    return _lenet(
        "lenet5", "LeNet-5 of today on MNIST", "20 epochs with batch norm, dropout and decay in place of distortions"
    )


def lenet5_1998() -> Result:
    """LeNet-5 as published."""
    return _lenet("lenet5-1998", "LeNet-5 of 1998 on MNIST", "30 epochs without anything in their place")


def convnet() -> Result:
    """The residual convolutional network at its usual length, and within a minute of the start of the process."""
    runs = [trained(template="convnet", minutes=7.0, random_state=seed) for seed in SEEDS]
    short = [trained(template="convnet", minutes=SHORT_MINUTES, random_state=seed) for seed in SEEDS]
    accuracy = [1 - found["errors"] / 10_000 for _, found in short]
    return Result(
        "convnet",
        "A residual convolutional network on MNIST",
        [
            *_rows("convnet", runs, MOST_CONVNET, SECONDS_CONVNET),
            Row("convnet: epochs", ", ".join(str(found["epochs"]) for _, found in runs)),
            Row(
                f"convnet within a minute: accuracy, seeds {', '.join(map(str, SEEDS))}",
                ", ".join(f"{a:.4f}" for a in accuracy),
                f">= {SHORT_ACCURACY} each",
                min(accuracy) >= SHORT_ACCURACY,
            ),
            Row(
                "convnet within a minute: seconds, whole process",
                ", ".join(f"{done.seconds:.0f}" for done, _ in short),
                f"<= {SECONDS_SHORT} each",
                max(done.seconds for done, _ in short) <= SECONDS_SHORT,
            ),
            Row("parameters", f"{runs[0][1]['parameters']:,}"),
        ],
        f'`nw.Classifier(template="convnet", minutes=7, random_state=SEED)`, and `minutes={SHORT_MINUTES}` for the minute; whole '
        "processes: start, reading, training on 57,000 images, choice of the epoch on 3,000, one look at the 10,000 test images.",
    )


BENCHMARKS: dict[str, Callable[[], Result]] = {f.__name__: f for f in (lenet5, lenet5_1998, convnet)}
