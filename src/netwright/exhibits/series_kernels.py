"""A small shape somewhere in a noisy series: kernels find it wherever it stands, a comparison of whole series does not.

Learned kernels, random kernels and the nearest neighbour on one problem.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from netwright.baselines.kernels import kernels
from netwright.baselines.tables import fit_baseline
from netwright.core.finding import Figure, Finding, Series, Table
from netwright.core.seed import numpy_generator
from netwright.core.spec import InputSpec, SeriesField, TargetSpec
from netwright.data.batch import Inputs
from netwright.data.data import Data
from netwright.data.encode import fit_inputs, fit_target
from netwright.data.sequences import SeriesFront
from netwright.data.series import column_of_series
from netwright.estimators.classifier import Classifier
from netwright.exhibits.program import main

WINDOW, N_KERNELS, N_STEPS = 15, 6, 120
N_TEST = 200
SHAPES = {
    "down then up": -np.sin(2 * np.pi * np.arange(WINDOW) / (WINDOW - 1)),
    "up then down": np.sin(2 * np.pi * np.arange(WINDOW) / (WINDOW - 1)),
}
"""In the order of the alphabet, which is that of the outputs."""


class KernelNet(nn.Module):
    """Kernels over a series, relu, the maximum of each over the steps, a linear head: (N, 1, T) -> (N, n_out)."""

    def __init__(self, field: SeriesField, n_out: int) -> None:
        super().__init__()
        self.front = SeriesFront(field)
        self.conv = nn.Conv1d(field.channels, N_KERNELS, WINDOW)
        self.head = nn.Linear(N_KERNELS, n_out)

    def forward(self, x: Inputs) -> Tensor:
        """Outputs (N, n_out)."""
        values, _ = self.front(x)
        outputs: Tensor = self.head(self.conv(values.transpose(1, 2)).relu().amax(2))
        return outputs


def _template(spec: InputSpec, target: TargetSpec) -> nn.Module:
    field = spec.fields[0]
    assert isinstance(field, SeriesField)
    return KernelNet(field, target.n_out)


def problem(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Series (N, T) of noise with one of two shapes at a random place, and which."""
    rng = numpy_generator(seed, "shapes")
    x, y = 0.35 * rng.normal(size=(n, N_STEPS)), np.arange(n) % 2
    for row, label in zip(x, y, strict=True):
        at = rng.integers(0, N_STEPS - WINDOW)
        row[at : at + WINDOW] += list(SHAPES.values())[label]
    return x.astype(np.float32), y


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """Random and learned kernels find a shape wherever it stands in a series."""
    n = 100 if tiny else 600
    x, y = problem(n + N_TEST, seed)
    names = np.array(list(SHAPES))[y]
    net = Classifier(
        kind="series", template=_template, epochs=50 if tiny else 40, learning_rate=0.02, random_state=seed
    )
    net.fit(x[:n], names[:n])
    scores = {"learned kernels": float(net.score(x[n:], names[n:]))}
    frame = pl.DataFrame([column_of_series(list(x)), pl.Series("y", names)])
    spec, target = fit_inputs(frame[:n], {"series": "series"}), fit_target(frame["y"][:n], "binary")
    data = Data(frame, spec, target, {"train": np.arange(n), "valid": np.arange(0), "test": np.arange(n, n + N_TEST)})
    for what, name in (("random kernels", "random-kernels"), ("nearest neighbour", "nearest-series")):
        fitted = fit_baseline(name, data, seed=seed, budget_seconds=5.0)
        scores[what] = float((fitted.predict("test").argmax(1) == data.y("test")).mean())
    module = net.model_.module
    learned = next(m for m in module.modules() if isinstance(m, KernelNet))
    shown = ", ".join(f"{what} {value:.1%}" for what, value in scores.items())
    return Finding(
        probe="series-kernels",
        family="gallery",
        verdict="info",
        title=f"right on {N_TEST} new series: {shown}",
        measured={what.replace(" ", "_"): value for what, value in scores.items()},
        why="Each series holds one of two shapes, at a place drawn at random, under noise. The nearest neighbour compares step by step, "
        "and a series whose shape merely stands elsewhere is far away. A kernel is the same window of weights at every step, and the "
        "maximum (or the share of steps above a threshold) forgets where it answered. Most kernels that are learned take the form of one "
        "of the two shapes; those of the random transform stay what they were, and a linear model picks among thousands of answers.",
        figures=(
            _series_figure(x, y),
            _learned_figure(learned),
            _random_figure(),
            _answers_figure(learned, net, x[n:], y[n:]),
        ),
        tables=(
            Table(title=f"Accuracy on {N_TEST} new series", columns=("method", "accuracy"), rows=tuple(scores.items())),
        ),
        reference="Waibel et al. (1989), time-delay networks; Dempster, Petitjean and Webb (2020), ROCKET",
    )


def _line(name: str, values: np.ndarray, first: int = 0) -> Series:
    return Series(name=name, x=tuple(range(first, first + len(values))), y=tuple(map(float, values)))


def _series_figure(x: np.ndarray, y: np.ndarray) -> Figure:
    lines = [
        _line(f"{name} ({k + 1})", x[np.flatnonzero(y == label)[k]] + 4.0 * (2 * label + k))
        for label, name in enumerate(SHAPES)
        for k in (0, 1)
    ]
    return Figure(
        title="Two series of each class",
        kind="line",
        series=tuple(lines),
        x_label="step",
        y_label="value, each series 4 higher than the one before",
        caption="The shape is 15 steps long and stands anywhere.",
    )


def _learned_figure(net: KernelNet) -> Figure:
    weights = net.conv.weight.detach()[:, 0].numpy()
    which = (net.head.weight[1] - net.head.weight[0]).detach().numpy()
    lines = [_line(f"{k + 1}, for {list(SHAPES)[int(which[k] > 0)]}", weights[k]) for k in np.argsort(-np.abs(which))]
    return Figure(
        title="Kernels that were learned",
        kind="line",
        series=tuple(lines),
        x_label="step of the window",
        y_label="weight",
        caption="Named by the class for which the head counts their answer; the first matters most.",
    )


def _random_figure() -> Figure:
    return Figure(
        title="Three of the 84 kernels of the random transform",
        kind="line",
        series=tuple(_line(f"kernel {k + 1}", kernels()[k]) for k in (0, 40, 83)),
        x_label="step of the window, at every dilation",
        y_label="weight",
        caption="Six weights of -1 and three of 2; what is drawn at random are their thresholds.",
    )


def _answers_figure(net: KernelNet, fitted: Classifier, x: np.ndarray, y: np.ndarray) -> Figure:
    """Where the strongest kernel of each class answers in one series."""
    with torch.no_grad():
        row = int(np.flatnonzero(y == 0)[0])
        some = fitted.model_.encode(pl.DataFrame([column_of_series([x[row]], fitted.model_.spec.names[0])]))
        values, _ = net.front(some)
        answers = net.conv(values.transpose(1, 2)).relu()[0].numpy()
    which = (net.head.weight[1] - net.head.weight[0]).detach().numpy()
    lines = [_line("the series", x[row])]
    lines += [
        _line(f"best kernel for {list(SHAPES)[label]}", answers[np.argmax(which * (1 if label else -1))], WINDOW // 2)
        for label in (0, 1)
    ]
    return Figure(
        title=f"Where kernels answer: a series with {next(iter(SHAPES))}",
        kind="line",
        series=tuple(lines),
        x_label="step (middle of the window)",
        y_label="value, or answer",
        caption="The maximum of an answer is what the head is given.",
    )


if __name__ == "__main__":
    main(exhibit)
