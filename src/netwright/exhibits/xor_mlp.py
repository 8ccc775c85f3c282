"""XOR by a perceptron with hidden units: what they do to the square, and how often a start fails."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from netwright.core.finding import Figure, Finding, Series, Table
from netwright.estimators.classifier import Classifier
from netwright.exhibits.plane import as_map, grid, line_of
from netwright.exhibits.program import main
from netwright.nn.mlp import MLP
from netwright.recipes.templates import Fronted
from netwright.workflow.topology import Tried, search_topology

POINTS, ANSWERS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.array([0, 1, 1, 0])
LOW, HIGH = -0.25, 1.25
SOLVED = 0.1
"""Log loss below which all four answers are right; where two corners cannot be told apart it is at least ln(2) / 2 = 0.35."""


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """XOR, learned by a multi-layer perceptron."""
    starts, epochs, n = (8, 40, 25) if tiny else (32, 120, 41)
    x, y = np.tile(POINTS, (20, 1)), np.tile(ANSWERS, 20)  # an epoch goes over the four rows twenty times
    net = Classifier(
        template="mlp",
        options={"activation": "tanh"},
        training={"optimizer": "sgd", "schedule": "constant", "warmup": 0, "average": None},
        epochs=epochs,
        batch_size=8,
        learning_rate=0.2,
        patience=epochs,
        validation_fraction=0.0,
        random_state=seed,
    )
    tried = search_topology(net, x, y, topologies=["1", "2", "4"], starts=starts).tried
    solved = {f"2-{one.hidden}-1": sum(score < SOLVED for score in one.scores) for one in tried}
    table = Table(
        title="Topologies",
        columns=("network", "weights", "starts", "solved", "best_log_loss", "worst_log_loss"),
        rows=tuple(
            (
                f"2-{one.hidden}-1",
                4 * int(one.hidden) + 1,
                starts,
                solved[f"2-{one.hidden}-1"],
                min(one.scores),
                max(one.scores),
            )
            for one in tried
        ),
    )
    small = tried[1]
    return Finding(
        probe="xor-mlp",
        family="gallery",
        verdict="pass" if min(small.scores) < SOLVED and not solved["2-1-1"] else "fail",
        title="XOR solved by "
        + ", ".join(f"{n} of {starts} starts of a {shape} network" for shape, n in solved.items()),
        measured={f"solved_by_{shape}": n for shape, n in solved.items()}
        | {"best_log_loss_of_2-2-1": min(small.scores)},
        expected=f"no start of 2-1-1, and at least one of 2-2-1, below a log loss of {SOLVED}",
        why=(
            "No line separates the corners of XOR. Each hidden unit draws a line of its own (second figure); the maps show what it gives "
            "on either side, and the output that is made of them. In the space of the two hidden units (third figure) the four corners "
            "lie so that one line suffices: that is what a hidden layer is for. One unit is never enough. Two are just enough, and a "
            "start that ends at a loss of 0.35 has set two corners apart, cannot tell the other two from each other, and stays there: "
            "start again, or take more units than are needed, with which it happens less."
        ),
        tables=(table,),
        figures=(_maps(tried[1:], n), _lines(small), _hidden_space(small), _losses(tried)),
        reference="Minsky and Papert (1969); Rumelhart, Hinton and Williams (1986)",
        seed=seed,
    )


def _units(one: Tried, points: np.ndarray) -> tuple[Tensor, Tensor]:
    """What the hidden units give at points, (N, units), and the probability of class 1 there, (N,)."""
    net = one.net.model_.module
    assert isinstance(net, Fronted) and isinstance(net.body, MLP)
    with torch.no_grad():
        inputs = net.front({"numbers": torch.from_numpy(np.ascontiguousarray(points))})
        return net.body.units(inputs)[-1], net.body(inputs).softmax(1)[:, 1]


def _maps(tried: tuple[Tried, ...], n: int) -> Figure:
    """Hidden units and outputs over the square."""
    points = np.stack(grid(LOW, HIGH, n), 1)
    series = []
    for one in tried:
        units, answer = _units(one, points)
        series += [as_map(f"2-{one.hidden}-1: output", 2 * answer - 1, n)]
        series += [as_map(f"unit {k + 1}", column, n) for k, column in enumerate(units.T)]
    return Figure(
        title="Outputs and hidden units over the square",
        kind="heatmap",
        series=tuple(series),
        caption=(
            f"{LOW} to {HIGH} in both inputs, x1 to the right, x2 upwards. Hidden units give -1 to 1; the output is shown as "
            "twice the probability of a 1, less 1. The best start of each network."
        ),
    )


def _lines(one: Tried) -> Figure:
    """The corners, and the line of each hidden unit."""
    body = one.net.model_.module.body
    assert isinstance(body, MLP)
    weight, bias = (p.tolist() for p in body.hidden[0].parameters())
    found = [line_of(w, b, LOW, HIGH, f"unit {k + 1}") for k, (w, b) in enumerate(zip(weight, bias, strict=True))]
    corners = [_corners(POINTS, c) for c in (0, 1)]
    return Figure(
        title="Where the hidden units change sides",
        kind="scatter",
        series=(*corners, *(line for line in found if line)),
        x_label="x1",
        y_label="x2",
    )


def _corners(places: np.ndarray, answer: int) -> Series:
    mine = np.equal(ANSWERS, answer)
    hover = tuple(f"x = ({a:.0f}, {b:.0f})" for a, b in POINTS[mine])
    return Series(
        name=f"answer {answer}", x=tuple(places[mine, 0].tolist()), y=tuple(places[mine, 1].tolist()), hover=hover
    )


def _hidden_space(one: Tried) -> Figure:
    """The corners where the hidden units put them, and the line of the output."""
    units, _ = _units(one, POINTS)
    body = one.net.model_.module.body
    assert isinstance(body, MLP)
    weights, bias = body.head.weight.diff(dim=0)[0].tolist(), body.head.bias.diff()[0].item()
    line = line_of(weights, bias, -1.1, 1.1, "output changes sides")
    corners = [_corners(units.double().numpy(), c) for c in (0, 1)]
    return Figure(
        title="The corners as the hidden units see them",
        kind="scatter",
        series=(*corners, *([line] if line else [])),
        x_label="unit 1",
        y_label="unit 2",
    )


def _losses(tried: tuple[Tried, ...]) -> Figure:
    """Where each start ended."""
    series = tuple(
        Series(name=f"2-{one.hidden}-1", x=tuple(range(1, len(one.scores) + 1)), y=tuple(sorted(one.scores)))
        for one in tried
    )
    return Figure(
        title="Where each start ended, from the best to the worst",
        kind="line",
        series=series,
        x_label="start",
        y_label="log loss",
        caption=(
            "At 0.35 two corners are set apart and the other two look alike to the network, at 0.48 one is set apart from three, "
            "at 0.69 nothing is known."
        ),
    )


if __name__ == "__main__":
    main(exhibit)
