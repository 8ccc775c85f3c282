"""Gradient descent on all rows, on a few, on one at a time, with momentum, with Adam, and with a rate that is halved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor

from netwright.core.finding import Figure, Finding, Series, Table
from netwright.core.seed import numpy_generator
from netwright.data.data import Data
from netwright.exhibits.plane import data_of
from netwright.exhibits.program import main
from netwright.losses.loss import Loss
from netwright.recipes.mlp import mlp_classifier
from netwright.train.hooks import Quiet
from netwright.train.loop import train
from netwright.train.objectives import Supervised
from netwright.train.schedules import rate_at
from netwright.train.settings import Training
from netwright.train.state import State

WAYS: Mapping[str, dict[str, Any]] = {
    "all rows a step": {"batch_size": 10**6, "learning_rate": 2.0},
    "16 rows a step": {"batch_size": 16, "learning_rate": 0.5},
    "1 row a step": {"batch_size": 1, "learning_rate": 0.05},
    "16 rows, momentum 0.9": {"batch_size": 16, "optimizer": "sgd", "learning_rate": 0.1},
    "16 rows, Adam": {"batch_size": 16, "optimizer": "adam", "learning_rate": 0.01},
    "16 rows, halved every 3 epochs": {"batch_size": 16, "learning_rate": 2.0, "schedule": "step", "halve_every": 3},
}
"""What is set otherwise than plain gradient descent at a constant rate."""
HIDDEN = "32"


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """Gradient descent by the book: batch, mini-batch, single rows, momentum, Adam, a halved rate."""
    n_train, epochs = (300, 9) if tiny else (1397, 24)
    data = _data(n_train, seed)
    paths = {way: _path(data, epochs, settings, seed) for way, settings in WAYS.items()}
    n, rows = len(data.block("train")), []
    for way, path in paths.items():
        rows.append((way, path.steps[-1], math.ceil(path.steps[-1] / epochs), path.losses[-1], path.right))
    best = min(paths, key=lambda way: paths[way].losses[-1])
    slow = paths["all rows a step"].losses[-1]
    return Finding(
        probe="learning-by-the-book",
        family="gallery",
        verdict="pass" if paths[best].losses[-1] < slow / 2 else "fail",
        title=(
            f"after {epochs} epochs on {n:,} digits the training loss is {slow:.2g} with one step an epoch, and "
            f"{paths[best].losses[-1]:.2g} with {best}"
        ),
        measured={f"loss_{way}": path.losses[-1] for way, path in paths.items()},
        expected="the best way at half of the loss of gradient descent on all rows, or less",
        why=(
            f"A step moves the weights once against the gradient; an epoch shows every one of the {n:,} rows once. On all rows "
            "the gradient is exact but there is one step an epoch. On a few rows it is rough, and there are many steps for the "
            "same work: the loss falls much faster for each epoch (first figure) although each step gains less (second figure). "
            "On single rows it is so rough that the rate must be small. Momentum adds up what the steps have in common; Adam "
            "gives each weight a rate of its own; a rate that starts high and is halved is fast first and calm at the end. "
            "Pixels are brought to 0 to 1, and there is one output a class."
        ),
        tables=(
            Table(
                title="After the last epoch",
                columns=("way", "steps", "steps_an_epoch", "training_loss", "test_accuracy"),
                rows=tuple(rows),
            ),
        ),
        figures=(
            _figure("Training loss over epochs", paths, "passes over the rows", by_epoch=True),
            _figure("Training loss over steps", paths, "steps", by_epoch=False),
            _rates(epochs, n),
        ),
        reference="Robbins and Monro (1951); Polyak (1964); Kingma and Ba (2015); Bottou (2012)",
        seed=seed,
    )


@dataclass(frozen=True)
class Path:
    """Losses of all training rows after some steps; per: steps an epoch; right: share of the test rows in the end."""

    steps: tuple[int, ...]
    losses: tuple[float, ...]
    per: int
    right: float


class _Record(Quiet):
    """The loss of all training rows at the start, after steps that grow by a fifth, and after each epoch."""

    def __init__(self, data: Data, loss: Loss) -> None:
        self.block, self.loss, self.next = data.block("train"), loss, 1
        self.steps: list[int] = []
        self.losses: list[float] = []

    def on_start(self, state: State) -> None:
        """Before the first step."""
        self._measure(state)

    def on_step(self, state: State) -> None:
        """After some steps."""
        if state.step >= self.next or state.step % state.steps_per_epoch == 0:
            self.next = math.ceil(1.2 * self.next + 1)
            self._measure(state)

    def _measure(self, state: State) -> None:
        assert self.block.y is not None
        with torch.no_grad():
            values: Tensor = self.loss.values(state.net(self.block.x), self.block.y)
        self.steps.append(state.step)
        self.losses.append(values.mean().item())


def _data(n_train: int, seed: int) -> Data:
    """Digits of 8 x 8 pixels in a random order, 400 of them for the test."""
    bunch = load_digits()
    order = numpy_generator(seed, "order").permutation(len(bunch.target))[: n_train + 400]
    columns = {f"x{k}": bunch.data[order, k] for k in range(bunch.data.shape[1])}
    return data_of(columns, bunch.target[order], n_test=400)


def _path(data: Data, epochs: int, settings: dict[str, Any], seed: int) -> Path:
    """One training from the same start in the same order of rows."""
    plain = Training(epochs=epochs, optimizer="plain-sgd", schedule="constant", warmup=0, clip_norm=None)
    recipe = mlp_classifier(hidden=HIDDEN).with_options(activation="sigmoid")
    recipe = recipe.model_copy(update={"training": plain.model_copy(update=settings)})
    net, loss = recipe.build(data.spec, data.target, seed), recipe.make_loss(data.target)
    record = _Record(data, loss)
    state = train(net, Supervised(loss), data.source, recipe.training, seed=seed, hooks=[record])
    test = data.block("test")
    with torch.no_grad():
        right = (net(test.x).argmax(1) == test.y).double().mean().item()
    return Path(tuple(record.steps), tuple(record.losses), state.steps_per_epoch, right)


def _figure(title: str, paths: Mapping[str, Path], x_label: str, *, by_epoch: bool) -> Figure:
    series = []
    for way, path in paths.items():
        kept = [
            (s, v) for s, v in zip(path.steps, path.losses, strict=True) if (s % path.per == 0 if by_epoch else s > 0)
        ]
        x = tuple(s // path.per for s, _ in kept) if by_epoch else tuple(s for s, _ in kept)
        series.append(Series(name=way, x=x, y=tuple(round(v, 5) for _, v in kept)))
    return Figure(
        title=title,
        kind="line",
        series=tuple(series),
        x_label=x_label,
        y_label="cross-entropy",
        log_x=not by_epoch,
        log_y=True,
    )


def _rates(epochs: int, n: int) -> Figure:
    """The rate of each way at the end of each epoch."""
    series = []
    for way, settings in WAYS.items():
        training = Training(**{"epochs": epochs, "schedule": "constant", "warmup": 0, **settings})
        per = max(1, n // min(training.batch_size, n))
        rates = tuple(rate_at(k * per, epochs * per, training) for k in range(epochs))
        series.append(Series(name=way, x=tuple(range(epochs)), y=rates))
    return Figure(
        title="Learning rates", kind="line", series=tuple(series), x_label="epochs done", y_label="rate", log_y=True
    )


if __name__ == "__main__":
    main(exhibit)
