"""An Elman net and a Hopfield net unrolled in time: feedback becomes levels that share their weights.

A net whose outputs come back as inputs has a circle in its diagram. Drawn once for each step in time, the circle is gone: what is
left is a deep feed-forward net with one level a step, whose levels have the same weights.
"""

from __future__ import annotations

from typing import Any

import torch

from netwright.core.finding import Figure, Finding, Link, Node, Table
from netwright.core.seed import derive
from netwright.exhibits.program import main
from netwright.nn.hopfield import Hopfield
from netwright.nn.recurrent import Recurrent

STEPS = 4


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """Feedback nets unrolled in time."""
    x = torch.randn(8, STEPS, 1, generator=torch.Generator().manual_seed(derive(seed, "inputs")))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "weights"))
        plain, jumping = Recurrent(1, 2, cell="elman"), Recurrent(1, 2, cell="elman", depth=2, skip=True)
    levels = unrolled_by_hand(plain, x)
    gap = float((plain(x)[0] - levels).abs().max().detach())
    patterns = torch.tensor([[1, 1, -1, -1, 1], [-1, 1, 1, -1, -1]])
    feedback = Hopfield(patterns)
    states = [torch.tensor([[1.0, 1.0, -1.0, -1.0, -1.0]]).double()]
    for _ in range(STEPS - 1):
        states.append(feedback(states[-1]))
    shared = sum(p.numel() for p in plain.parameters())
    rows = (("one set of weights for all steps", shared), ("weights of its own for each step", STEPS * shared))
    return Finding(
        probe="unrolled",
        family="gallery",
        verdict="pass" if gap < 1e-6 else "fail",
        title=f"{STEPS} levels with {shared} shared weights give the recurrent net's outputs, apart by {gap:.1g}",
        measured={"largest_difference": gap, "steps": STEPS, "weights": shared, "weights_unshared": STEPS * shared},
        expected="at most 1e-6",
        why="In the first diagram the links from left to right are the feedback of the Elman net: U carries the state to the next step, W "
        "brings in the input of each step, and all columns have the same W, U and V. In the second the upper level also sees the "
        "inputs, and the output sees both levels: these links jump a level. In the third, a Hopfield net, all units answer all "
        "others, and after a few steps nothing changes any more: it has remembered a stored pattern.",
        tables=(Table(title="Weights", columns=("net", "numbers"), rows=rows),),
        figures=(elman_diagram(), jumping_diagram(jumping), hopfield_diagram(feedback, states)),
        reference="Elman (1990); Hopfield (1982); Werbos (1990)",
    )


def unrolled_by_hand(net: Recurrent, x: torch.Tensor) -> torch.Tensor:
    """The outputs of a feed-forward net with a level for each step, all with the recurrent net's weights: (N, T, width)."""
    layer: Any = net.layers[0][0]  # type: ignore[index]
    w, u, b, c = layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0
    h, outputs = x.new_zeros(len(x), u.shape[1]), []
    for t in range(x.shape[1]):
        h = torch.tanh(x[:, t] @ w.T + b + h @ u.T + c)
        outputs.append(h)
    return torch.stack(outputs, 1)


def elman_diagram() -> Figure:
    """Input, state and output of each step; the state goes on to the next."""
    nodes, links = [Node(id="h0", label="h0", note="0", level=0)], []
    for t in range(1, STEPS + 1):
        nodes += [
            Node(id=f"y{t}", label=f"y{t}", level=t),
            Node(id=f"h{t}", label=f"h{t}", note="tanh", level=t),
            Node(id=f"x{t}", label=f"x{t}", level=t),
        ]
        links += [
            Link(source=f"h{t - 1}", target=f"h{t}", label="U"),
            Link(source=f"x{t}", target=f"h{t}", label="W"),
            Link(source=f"h{t}", target=f"y{t}", label="V"),
        ]
    return Figure(
        title="An Elman net, unrolled",
        kind="diagram",
        nodes=tuple(nodes),
        links=tuple(links),
        caption="Each column is a step in time, and all columns have the same W, U and V.",
    )


def jumping_diagram(net: Recurrent) -> Figure:
    """Two levels of states; inputs reach both, and both reach the output."""
    nodes, links = [], []
    steps = STEPS - 1
    for t in range(1, steps + 1):
        nodes += [
            Node(id=f"y{t}", label=f"y{t}", level=t),
            Node(id=f"k{t}", label=f"k{t}", note="upper", level=t),
            Node(id=f"h{t}", label=f"h{t}", note="lower", level=t),
            Node(id=f"x{t}", label=f"x{t}", level=t),
        ]
        links += [
            Link(source=f"x{t}", target=f"h{t}"),
            Link(source=f"h{t}", target=f"k{t}"),
            Link(source=f"k{t}", target=f"y{t}"),
            Link(source=f"x{t}", target=f"k{t}", label="jumps", mark="good"),
            Link(source=f"h{t}", target=f"y{t}", label="jumps", mark="good"),
        ]
        if t > 1:
            links += [Link(source=f"{s}{t - 1}", target=f"{s}{t}") for s in "hk"]
    sizes = [level[0].input_size for level in net.layers]  # type: ignore[index]
    return Figure(
        title="Connections that jump a level",
        kind="diagram",
        nodes=tuple(nodes),
        links=tuple(links),
        caption=f"The upper level reads {sizes[1]} numbers a step, the input's {sizes[0]} among them; the output reads {net.n_out}.",
    )


def hopfield_diagram(net: Hopfield, states: list[torch.Tensor]) -> Figure:
    """All units at each step; a unit is marked while it differs from what it ends as."""
    nodes, links = [], []
    n, ended = net.n_units, states[-1][0]
    for t, state in enumerate(states):
        for i in range(n):
            value = int(state[0, i])
            mark = "good" if value == int(ended[i]) else "bad"
            nodes.append(Node(id=f"s{i}-{t}", label=f"s{i + 1}", note=f"{value:+d}", level=t, mark=mark))
        if t:
            links += [
                Link(source=f"s{j}-{t - 1}", target=f"s{i}-{t}")
                for i in range(n)
                for j in range(n)
                if abs(float(net.weight[i, j])) > 1e-9
            ]
    energies = ", ".join(f"{float(net.energy(state)) + 0.0:.2g}" for state in states)
    return Figure(
        title="A Hopfield net, unrolled",
        kind="diagram",
        nodes=tuple(nodes),
        links=tuple(links),
        caption=f"Each column is a step of all units at once. Units that will still change are marked. Energies: {energies}.",
    )


if __name__ == "__main__":
    main(exhibit)
