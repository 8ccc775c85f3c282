"""What each hidden unit of a perceptron responds to, on two classes shaped like moons."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import make_moons
from torch import Tensor, nn

from netwright.core.finding import Figure, Finding, Series, Table
from netwright.core.seed import derive
from netwright.data.batch import Inputs
from netwright.data.unit import UnitFront
from netwright.exhibits.plane import Watch, as_map, data_of, grid, line_of
from netwright.exhibits.program import main
from netwright.model import fit
from netwright.nn.mlp import MLP
from netwright.recipes.mlp import mlp_classifier
from netwright.recipes.templates import Fronted

UNITS = 7
LOW, HIGH = -1.5, 2.5


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """Hidden units of a perceptron on two moons."""
    rows, epochs, n = (400, 60, 20) if tiny else (1200, 100, 36)
    x, y = make_moons(rows + 1000, noise=0.15, random_state=derive(seed, "moons") % 2**32)
    data = data_of({"x1": x[:, 0], "x2": x[:, 1]}, y, n_test=1000)
    recipe = mlp_classifier(hidden=str(UNITS), epochs=epochs).with_options(activation="tanh")
    recipe = recipe.with_training(optimizer="adam", learning_rate=0.03, schedule="cosine", batch_size=16)
    points = torch.from_numpy(np.stack(grid(LOW, HIGH, n), 1))
    frames: list[tuple[Series, ...]] = []
    at = sorted({0, *(round(epochs ** (k / 8)) for k in range(9))})
    model, _ = fit(
        recipe,
        data,
        seed=seed,
        metric="log-loss",
        hooks=[Watch(lambda net, _: frames.append(_maps(net, points, n)), at)],
    )
    test = data.block("test")
    assert test.y is not None and isinstance(model.module, Fronted)
    right = (model.outputs(test.x).argmax(1) == test.y).double().mean().item()
    lost = _lost(model.module, test.x, test.y)
    table = Table(
        title="What each unit is good for",
        columns=("unit", "accuracy_without_it"),
        rows=tuple((k + 1, v) for k, v in enumerate(lost)),
    )
    return Finding(
        probe="hidden-units",
        family="gallery",
        verdict="pass" if right > 0.95 else "fail",
        title=f"{right:.1%} of 1,000 new rows right with {UNITS} hidden units; without unit {1 + int(np.argmin(lost))} {min(lost):.1%}",
        measured={"accuracy": right, "least_accuracy_without_a_unit": min(lost)},
        expected="more than 95 %",
        why=(
            "Every hidden unit sees the plane as two half-planes with a soft edge: on one side it gives -1, on the other 1. The "
            "frames show how the edges wander during training until they stand where the classes meet. The output is a weighted "
            "sum of these maps, and so its border can bend once for each of them. A unit whose map is flat, or like another's, "
            "adds nothing: the table says what is lost without each."
        ),
        tables=(table,),
        figures=(
            Figure(
                title="The output and each hidden unit over the plane",
                kind="heatmap",
                series=_maps(model.module, points, n),
                frames=tuple(frames),
                steps=tuple(f"after {k} epochs" if k else "start" for k in at),
                caption=(
                    f"{LOW} to {HIGH} in both inputs, x1 to the right, x2 upwards. The output is twice the probability of class 1, "
                    "less 1."
                ),
            ),
            _edges(model.module, x[:300], y[:300]),
        ),
        reference="Rumelhart, Hinton and Williams (1986)",
        seed=seed,
    )


def _seen(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden units (N, units) and probability of class 1 (N,)."""
    assert isinstance(net, Fronted) and isinstance(net.body, MLP)
    with torch.no_grad():
        inputs = net.front({"numbers": x})
        return net.body.units(inputs)[-1], net.body(inputs).softmax(1)[:, 1]


def _maps(net: nn.Module, points: Tensor, n: int) -> tuple[Series, ...]:
    units, answer = _seen(net, points)
    return (as_map("output", 2 * answer - 1, n), *(as_map(f"unit {k + 1}", u, n) for k, u in enumerate(units.T)))


def _lost(net: Fronted, x: Inputs, y: Tensor) -> list[float]:
    """Accuracy where one unit always gives its mean."""
    assert isinstance(net.body, MLP)
    units, _ = _seen(net, x["numbers"])
    found = []
    for k in range(units.shape[1]):
        without = units.clone()
        without[:, k] = units[:, k].mean()
        with torch.no_grad():
            found.append((net.body.head(without).argmax(1) == y).double().mean().item())
    return found


def _edges(net: Fronted, x: np.ndarray, y: np.ndarray) -> Figure:
    """Rows, and where each unit gives 0, in the units of the inputs."""
    assert isinstance(net.body, MLP) and isinstance(net.front, UnitFront)
    weight, bias = (p.detach().double() for p in net.body.hidden[0].parameters())
    raw = weight / net.front.width  # the front brings inputs to 0 to 1
    offset = bias - raw @ net.front.low
    lines = [line_of(raw[k].tolist(), offset[k].item(), LOW, HIGH, f"unit {k + 1}") for k in range(len(raw))]
    classes = [
        Series(name=f"class {c}", x=tuple(x[y == c, 0].tolist()), y=tuple(x[y == c, 1].tolist())) for c in (0, 1)
    ]
    return Figure(
        title="Rows, and where each hidden unit changes sides",
        kind="scatter",
        series=(*classes, *(line for line in lines if line)),
        x_label="x1",
        y_label="x2",
    )


if __name__ == "__main__":
    main(exhibit)
