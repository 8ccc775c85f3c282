"""Deep sets: a function of a set is a function of a pooled sum, whatever the order of the elements."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl
import torch

from netwright.core.finding import Figure, Finding, Link, Node, Series, Table
from netwright.core.seed import numpy_generator
from netwright.data.sets import column_of_sets
from netwright.estimators.regressor import Regressor
from netwright.exhibits.program import main

MOST = 8
POOLS = ("sum", "mean", "max")
PLACES = "perceptron on places"
QUESTIONS: Mapping[str, Callable[[np.ndarray], float]] = {
    "sum of the digits": lambda digits: float(digits.sum()),
    "mean digit": lambda digits: float(digits.mean()),
    "largest digit": lambda digits: float(digits.max()),
    "different digits": lambda digits: float(len(np.unique(digits))),
}
"""What is asked of a set of digits."""


def drawn(n: int, seed: int, name: str) -> list[np.ndarray]:
    """Sets of 1 to 8 digits."""
    rng = numpy_generator(seed, "sets", name)
    return [rng.integers(0, 10, int(size)) for size in rng.integers(1, MOST + 1, n)]


def framed(sets: list[np.ndarray]) -> pl.DataFrame:
    """Sets of one category, the digit, as a column of sets."""
    digits = pl.DataFrame({"digit": [str(d) for digits in sets for d in digits]})
    return column_of_sets(digits, np.array([len(digits) for digits in sets])).to_frame()


def padded(sets: list[np.ndarray]) -> pl.DataFrame:
    """The same as a list of eight places, some of them empty: what a network sees that knows no sets."""
    rows = [[str(d) for d in digits] + [""] * (MOST - len(digits)) for digits in sets]
    return pl.DataFrame(rows, schema=[f"place {k}" for k in range(MOST)], orient="row")


def trained(x: pl.DataFrame, y: list[float], tiny: bool, seed: int, pool: str = "") -> Regressor:
    """Deep sets with one pooling; without one a perceptron on the places."""
    net = Regressor(
        template="deep-sets" if pool else None,
        options={"pool": pool, "width": 32} if pool else {"width": 64, "depth": 1},
        epochs=15 if tiny else 60,
        batch_size=50 if tiny else 64,
        learning_rate=1e-2 if tiny else 5e-3,
        dropout=0.0,
        random_state=seed,
    )
    return net.fit(x, y)


def error(net: Regressor, x: pl.DataFrame, y: list[float]) -> float:
    """Root mean square error over the spread of the answers: 1 is what the mean answer costs."""
    return float(np.sqrt(np.mean((net.predict(x) - y) ** 2)) / np.std(y))


def orders(
    net: Regressor, digits: np.ndarray, frame: Callable[[list[np.ndarray]], pl.DataFrame], seed: int
) -> np.ndarray:
    """Answers to one set in 40 orders."""
    rng = numpy_generator(seed, "sets", "orders")
    found: np.ndarray = net.predict(frame([rng.permutation(digits) for _ in range(40)]))
    return found


@torch.no_grad()
def diagram(net: Regressor, digits: np.ndarray) -> Figure:
    """Elements, their features, the sum, the answer: with the values of one feature."""
    module = net.model_.module
    parts = module.get_submodule("front")
    vectors, _ = parts.get_submodule("front")(net.model_.encode(framed([digits])))
    features = parts.get_submodule("trunk").element(vectors)[0, : len(digits)]  # type: ignore[operator]
    loudest = int(features.var(0).argmax())
    values = features[:, loudest]
    answer = float(net.predict(framed([digits]))[0])
    nodes = [Node(id=f"x{k}", label=str(d), level=0) for k, d in enumerate(digits)]
    nodes += [Node(id=f"f{k}", label="phi", note=f"{v:.2f}", level=1) for k, v in enumerate(values.tolist())]
    nodes += [
        Node(id="sum", label="sum", note=f"{float(values.sum()):.2f}", level=2),
        Node(id="y", label="rho", note=f"{answer:.2f}", level=3),
    ]
    links = [Link(source=f"x{k}", target=f"f{k}") for k in range(len(digits))]
    links += [Link(source=f"f{k}", target="sum") for k in range(len(digits))]
    return Figure(
        title="One set on its way through the network",
        kind="diagram",
        nodes=tuple(nodes),
        links=(*links, Link(source="sum", target="y")),
        caption=f"The same phi looks at every digit (shown: one of its {features.shape[1]} features). Equal digits give equal features, "
        f"and a sum has no order. Asked: the sum of the digits, {int(digits.sum())}.",
    )


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """A network on sets of digits: which pooling can answer what."""
    train, test = drawn(500 if tiny else 4_000, seed, "train"), drawn(400 if tiny else 2_000, seed, "test")
    asked = ["sum of the digits", "different digits"] if tiny else list(QUESTIONS)
    errors: dict[str, list[float]] = {}
    nets: dict[tuple[str, str], Regressor] = {}
    for question in asked:
        y, wanted = ([QUESTIONS[question](digits) for digits in sets] for sets in (train, test))
        errors[question] = []
        for pool in (*POOLS, ""):
            shape = framed if pool else padded
            nets[question, pool] = trained(shape(train), y, tiny, seed, pool)
            errors[question].append(error(nets[question, pool], shape(test), wanted))
    first, columns = asked[0], (*POOLS, PLACES)
    one = next(digits for digits in test if len(np.unique(digits)) >= 5)
    moved = {
        "deep sets": orders(nets[first, "sum"], one, framed, seed),
        PLACES: orders(nets[first, ""], one, padded, seed),
    }
    spreads = {name: float(np.ptp(found)) for name, found in moved.items()}
    best = {question: columns[int(np.argmin(row))] for question, row in errors.items()}
    return Finding(
        probe="sets",
        family="gallery",
        verdict="pass"
        if spreads["deep sets"] < 1e-3 < spreads[PLACES] and errors[first][0] < min(errors[first][1:3])
        else "fail",
        title=f"40 orders of one set move the answer of deep sets by {spreads['deep sets']:.1g}, of a perceptron on places by "
        f"{spreads[PLACES]:.2g}; best at the {first}: {best[first]}; at the number of different ones: {best['different digits']}",
        measured={
            f"error_{q} {name}".replace(" ", "_"): e
            for q, row in errors.items()
            for name, e in zip(columns, row, strict=True)
        }
        | {f"range_over_orders_{name}".replace(" ", "_"): spread for name, spread in spreads.items()},
        expected="the same answer to every order, and a sum of digits that a pooled sum knows better than a mean or a maximum",
        why="A set has no order, so a network on sets must give the same answer however its elements are listed. Deep sets do so by form: "
        "one perceptron phi looks at every element alone, what it says is pooled, another perceptron rho reads the pool. A sum can "
        "count and add, a mean forgets how many there were, a maximum forgets how often each came: which is best depends on the question "
        "(second figure: the lower the better; 1 is what the mean answer costs). A perceptron on eight places can add as well, but it "
        "sees a list: each place has weights of its own, and the same digits in another order get another answer (third figure).",
        figures=(
            diagram(nets[first, "sum"], one),
            Figure(
                title="Error by question and network",
                kind="heatmap",
                series=(Series(x=columns, y=tuple(asked), z=tuple(tuple(row) for row in errors.values())),),
                x_label="network",
                y_label="question",
                caption="Root mean square error on new sets over the spread of the answers.",
            ),
            Figure(
                title="The answer to one set in 40 orders",
                kind="scatter",
                series=tuple(
                    Series(name=name, x=tuple(range(1, 41)), y=tuple(found.tolist())) for name, found in moved.items()
                ),
                x_label="order",
                y_label=f"answer (right: {int(one.sum())})",
                caption=f"The digits {', '.join(map(str, one))}, listed in 40 ways.",
            ),
        ),
        tables=(
            Table(
                title="Error over the spread of the answers",
                columns=("question", *columns),
                rows=tuple((q, *row) for q, row in errors.items()),
            ),
        ),
        reference="Zaheer et al. (2017), Deep Sets",
        seed=seed,
    )


if __name__ == "__main__":
    main(exhibit)
