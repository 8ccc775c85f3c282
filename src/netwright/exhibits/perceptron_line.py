"""The perceptron learns a line from its mistakes: the line after each update, and the mistakes against their bound."""

from __future__ import annotations

import numpy as np

from netwright.core.finding import Figure, Finding, Series, Table
from netwright.core.seed import numpy_generator
from netwright.exhibits.program import main
from netwright.linear.drawn import line_path
from netwright.linear.perceptron import Perceptron
from netwright.linear.rule import perceptron_loss
from netwright.linear.separate import signed

GAPS = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
"""Half the width of the strip without rows around the line that was drawn."""


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """A perceptron learns a line, with fewer mistakes than the bound allows."""
    x, y = problem(60, 0.04, seed)
    net = Perceptron().fit(x, y)
    rows = mistakes_by_margin(200 if tiny else 1000, 5 if tiny else 20, seed)
    over = sum(most > bound for _, _, _, most, bound in rows) + (net.n_mistakes_ > net.bound_)
    return Finding(
        probe="perceptron-line",
        family="gallery",
        verdict="fail" if over or net.n_errors_ else "pass",
        title=f"{net.n_mistakes_} mistakes, then no error on {len(x)} rows; the bound allows {net.bound_:,.0f}",
        measured={
            "mistakes": net.n_mistakes_,
            "bound": net.bound_,
            "margin": net.margin_,
            "training_errors": net.n_errors_,
            "runs_over_the_bound": int(over),
        },
        expected="no training error, and never more mistakes than (R / margin)^2",
        why="The first figure is an animation: play it, or go step by step. Each step is one row on the wrong side, which turns and "
        "shifts the line towards that row. Early steps are wild because the weights are short; later ones are small against them, and "
        "after the last one every row is on its side. The second figure has the perceptron loss after each update, which need not fall "
        "at every step, and ends at zero. The third has the number of mistakes for problems with ever narrower gaps: it grows as "
        "the margin shrinks, and stays below the bound in any order of the rows, by far for most of them.",
        figures=(line_path(net, x, y), _loss(net, x, y), _against_the_bound(rows)),
        tables=(
            Table(
                title="Mistakes against the bound",
                columns=("margin", "orders", "mistakes, median", "mistakes, most", "bound"),
                rows=tuple(rows),
            ),
        ),
        reference="Rosenblatt (1958), The perceptron; Novikoff (1962), On convergence proofs on perceptrons",
    )


def problem(n: int, gap: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n, 2) in a square, labels by the side of a line, and no row nearer to it than `gap`."""
    rng = numpy_generator(seed, "line", str(gap))
    angle = rng.uniform(0.2, 1.3)
    across = np.array([np.cos(angle), np.sin(angle)])
    x = np.empty((0, 2))
    while len(x) < n:
        some = rng.uniform(-1, 1, (4 * n, 2))
        x = np.concatenate([x, some[np.abs(some @ across - 0.2) > gap]])[:n]
    return x, np.where(x @ across > 0.2, "above", "below")


def mistakes_by_margin(n: int, orders: int, seed: int) -> list[tuple[float, int, float, int, float]]:
    """For each gap: margin, number of orders, median and largest number of mistakes, bound."""
    rows = []
    for gap in GAPS:
        x, y = problem(n, gap, seed)
        nets = [Perceptron(shuffle=True, random_state=seed + k).fit(x, y) for k in range(orders)]
        counts = [net.n_mistakes_ for net in nets]
        rows.append((nets[0].margin_, orders, float(np.median(counts)), max(counts), nets[0].bound_))
    return sorted(rows, reverse=True)


def _loss(net: Perceptron, x: np.ndarray, y: np.ndarray) -> Figure:
    z = signed(x, np.where(y == net.classes_[1], 1, -1), bias=True)
    losses = [perceptron_loss(z, w) / len(z) for w in net.path_]
    errors = [float((z @ w <= 0).mean()) for w in net.path_]
    updates = tuple(range(len(losses)))
    return Figure(
        title="Loss and errors after each update",
        kind="line",
        series=(
            Series(name="perceptron loss, mean", x=updates, y=tuple(losses)),
            Series(name="rows on the wrong side, share", x=updates, y=tuple(errors)),
        ),
        x_label="update",
        y_label="loss, share of rows",
        caption="Before the first update all weights are 0: the loss is 0 there and says nothing, for every row is on the line.",
    )


def _against_the_bound(rows: list[tuple[float, int, float, int, float]]) -> Figure:
    margins = tuple(margin for margin, *_ in rows)
    return Figure(
        title="Mistakes against the margin",
        kind="line",
        series=(
            Series(name="mistakes, most of all orders", x=margins, y=tuple(most for _, _, _, most, _ in rows)),
            Series(name="mistakes, median", x=margins, y=tuple(median for _, _, median, _, _ in rows)),
            Series(name="bound (R / margin)²", x=margins, y=tuple(bound for *_, bound in rows), dashed=True),
        ),
        x_label="largest margin",
        y_label="mistakes",
        log_x=True,
        log_y=True,
    )


if __name__ == "__main__":
    main(exhibit)
