"""Computational graphs: values forward, partial derivatives on the edges, and the derivative as a sum over paths."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from netwright.core.finding import Figure, Finding, Series, Table
from netwright.core.seed import derive
from netwright.exhibits.program import main
from netwright.nn.computation import Graph
from netwright.nn.graph import graph

U = 2.0
EXPRESSION = "w1 = u**2; w2 = 4*u; v = log(w1) * w2"
NEURON = "s = w1*x1 + w2*x2 + b; y = sigmoid(s); loss = (y - t)**2"
AT = {"w1": 0.5, "x1": 1.0, "w2": -1.0, "x2": 0.0, "b": 0.25, "t": 1.0}
DEPTHS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20)


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """The computational graph of v = log(u^2) * 4u, of a neuron, and of a small network."""
    drawn, neuron = graph(EXPRESSION, u=U), graph(NEURON, **AT)
    wanted = 4 * math.log(U**2) + 8  # by hand
    gaps = [_gap(drawn, {"u": U}, _by_torch), _gap(neuron, AT, _neuron_by_torch)]
    network, gap = _network(seed)
    dv_du = float(drawn.gradient()["u"])
    error = max(*gaps, gap, abs(dv_du - wanted))
    rows = tuple((" -> ".join(p.nodes), p.shown) for p in drawn.paths("u"))
    chain, left = _chains(DEPTHS[:6] if tiny else DEPTHS)
    return Finding(
        probe="computational-graph",
        family="gallery",
        verdict="pass" if error < 1e-6 else "fail",
        title=(
            f"dv/du = {dv_du:.5g} as the sum of {len(rows)} products along paths; it, a neuron and a network differ from "
            f"autograd and from central differences by at most {error:.1g}"
        ),
        measured={
            "dv_du": dv_du,
            "by_hand": wanted,
            "largest_error": error,
            "left_after_longest_chain": left,
        },
        expected="below 1e-6",
        why=(
            "Values go along the arrows, each node from those that point at it. On an edge stands how much its head changes "
            "for a small change of its tail alone. For the change of v with u multiply along each path from u to v and add the "
            "products: that is the chain rule, and backpropagation is the same sum from the output back, where every edge is used "
            "once. In the second figure the loss of a neuron depends on each weight in one way only; in the third a node is a "
            "whole layer and an edge a matrix. The last figure is one path that gets longer: where every factor is below 1 the "
            "product vanishes."
        ),
        tables=(Table(title="Paths from u to v", columns=("path", "product"), rows=rows),),
        figures=(
            drawn.figure("v = log(u^2) * 4u at u = 2"),
            neuron.figure("A neuron of two inputs and its squared error"),
            network.figure("A network with three hidden units: a node is a layer, an edge a matrix"),
            chain,
        ),
        reference="Linnainmaa (1970); Werbos (1974); Rumelhart, Hinton and Williams (1986)",
    )


def _by_torch(u: Tensor) -> Tensor:
    return torch.log(u**2) * (4 * u)


def _neuron_by_torch(x1: Tensor, x2: Tensor, w1: Tensor, w2: Tensor, b: Tensor, t: Tensor) -> Tensor:
    return (torch.sigmoid(w1 * x1 + w2 * x2 + b) - t) ** 2


def _gap(drawn: Graph, at: dict[str, float], function: Callable[..., Tensor], h: float = 1e-5) -> float:
    """Largest difference of the sums over paths from autograd, and from central differences."""
    leaves = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in at.items()}
    slopes = torch.autograd.grad(function(**leaves), list(leaves.values()))
    sums = {name: float(value) for name, value in drawn.gradient().items()}
    gaps = [abs(sums[name] - float(slope)) for name, slope in zip(leaves, slopes, strict=True)]
    for name, value in at.items():
        left, right = (function(**{**leaves, name: torch.tensor(value + s * h, dtype=torch.float64)}) for s in (-1, 1))
        gaps.append(abs(sums[name] - (right - left).item() / (2 * h)))
    return max(gaps)


def _network(seed: int) -> tuple[Graph, float]:
    """A perceptron with a hidden layer, and the largest difference of its Jacobian from autograd's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "weights"))
        net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    x = torch.tensor([0.5, -1.0], dtype=torch.float64)
    found = graph(net, x)
    leaf = x.clone().requires_grad_()
    leaves = {"x": leaf, **dict(net.named_parameters())}
    slopes = torch.autograd.grad(net(leaf).sum(), list(leaves.values()))
    gradient = found.gradient()
    gaps = [
        (torch.as_tensor(gradient[n]).reshape(s.shape) - s).abs().max().item()
        for n, s in zip(leaves, slopes, strict=True)
    ]
    return found, max(gaps)


def _chains(depths: tuple[int, ...]) -> tuple[Figure, float]:
    """dv/du of neurons one behind the other, each with weight 1, against their number; the smallest."""
    series = []
    for name in ("sigmoid", "tanh", "relu"):
        slopes = []
        for depth in depths:
            steps = "; ".join(f"h{k} = {name}({f'h{k - 1}' if k > 1 else 'u'})" for k in range(1, depth + 1))
            slopes.append(float(graph(steps, u=0.5).gradient()["u"]))
        series.append(Series(name=name, x=depths, y=tuple(slopes)))
    figure = Figure(
        title="Derivative through neurons one behind the other",
        kind="line",
        series=tuple(series),
        x_label="neurons",
        y_label="d output / d input",
        log_y=True,
    )
    return figure, min(float(y) for s in series for y in s.y if isinstance(y, float))


if __name__ == "__main__":
    main(exhibit)
