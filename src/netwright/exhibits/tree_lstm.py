"""A tree LSTM learns to compute: boolean expressions as trees, their value from the values of their parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch

from netwright.baselines.tables import fit_baseline
from netwright.core.finding import Figure, Finding, Link, Node, Series, Table
from netwright.core.seed import numpy_generator
from netwright.data.data import Data, Part
from netwright.data.encode import fit_inputs, fit_target
from netwright.data.tree_front import TreeVector
from netwright.data.tree_notation import Tree, from_brackets
from netwright.estimators.classifier import Classifier
from netwright.exhibits.program import main
from netwright.recipes.templates import Fronted

MOST_OPERATORS = 8


@dataclass(frozen=True)
class Expressions:
    """Expressions in brackets, whether each is true, and how many operators it has."""

    texts: list[str]
    true: np.ndarray
    operators: np.ndarray

    @property
    def frame(self) -> pl.DataFrame:
        """One column of trees in writing."""
        return pl.DataFrame({"expression": self.texts})


def expression(rng: np.random.Generator, operators: int) -> str:
    """A random expression: (and x y), (or x y), (not x) over the constants 0 and 1."""
    if not operators:
        return str(rng.integers(2))
    name = str(rng.choice(["and", "or", "not"], p=[0.4, 0.4, 0.2]))
    if name == "not":
        return f"(not {expression(rng, operators - 1)})"
    left = int(rng.integers(operators))
    return f"({name} {expression(rng, left)} {expression(rng, operators - 1 - left)})"


def values_of(tree: Tree) -> np.ndarray:
    """Whether the part below each node is true."""
    labels, parents = tree
    below: list[list[bool]] = [[] for _ in labels]
    value = np.zeros(len(labels), dtype=bool)
    for node in range(len(labels) - 1, -1, -1):
        parts = below[node]
        value[node] = {"1": True, "0": False, "and": all(parts), "or": any(parts), "not": not all(parts)}[labels[node]]
        if node:
            below[parents[node]].append(bool(value[node]))
    return value


def drawn(n: int, seed: int, name: str) -> Expressions:
    """As many true as false expressions of each number of operators."""
    rng = numpy_generator(seed, "tree-lstm", name)
    texts, true, operators = list[str](), list[bool](), list[int]()
    for k in range(n):
        size, wanted = 1 + k // 2 % MOST_OPERATORS, bool(k % 2)
        while True:
            text = expression(rng, size)
            if values_of(from_brackets(text))[0] == wanted:
                break
        texts.append(text)
        true.append(wanted)
        operators.append(size)
    return Expressions(texts, np.array(true), np.array(operators))


def counts_right(train: Expressions, test: Expressions) -> np.ndarray:
    """Which test expressions a linear model on counts of labels and of pairs gets right."""
    rows = len(train.texts) + len(test.texts)
    frame = pl.concat([train.frame, test.frame]).with_columns(true=pl.Series([*train.true, *test.true]))
    n = len(train.texts)
    split: dict[Part, np.ndarray] = {
        "train": np.arange(n * 4 // 5),
        "valid": np.arange(n * 4 // 5, n),
        "test": np.arange(n, rows),
    }
    data = Data(frame, fit_inputs(frame[:n], {"expression": "tree"}), fit_target(frame["true"], "binary"), split)
    right: np.ndarray = fit_baseline("tree-counts", data).predict("test").argmax(1) == data.y("test")
    return right


@torch.no_grad()
def reading(net: Classifier, text: str) -> np.ndarray:
    """What the network thinks of the part below each node: the probability that it is true, by the head that it has for the root."""
    module = net.model_.module
    assert isinstance(module, Fronted) and isinstance(module.front, TreeVector)
    labels, parents, there = module.front.inputs(net.model_.encode(pl.DataFrame({"expression": [text]})))
    states = module.front.recursion(module.front.vectors(labels), parents, there)[0][there[0]]
    found: np.ndarray = module.body(states).softmax(1)[:, 1].numpy()
    return found


def diagram(net: Classifier, text: str) -> Figure:
    """A tree with the value that the network has at each node, right or wrong."""
    tree = from_brackets(text)
    labels, parents = tree
    depth = [0] * len(labels)
    for node in range(1, len(labels)):
        depth[node] = depth[parents[node]] + 1
    right, found = values_of(tree), reading(net, text)
    nodes = tuple(
        Node(
            id=str(k),
            label=label,
            note=f"{found[k]:.2f}",
            level=max(depth) - depth[k],
            mark="good" if (found[k] > 0.5) == right[k] else "bad",
        )
        for k, label in enumerate(labels)
    )
    links = tuple(Link(source=str(k), target=str(parents[k])) for k in range(1, len(labels)))
    return Figure(
        title="An expression, and what the network has at each node",
        kind="diagram",
        nodes=nodes,
        links=links,
        caption=f"{text}. Under each node: the probability that the part below it is true, read off its state with the weights that read "
        "the root. Only the value of the whole was ever told.",
    )


def _variety(text: str) -> tuple[int, int]:
    """How many different operators an expression has, and how long it is."""
    return sum(f"({name}" in text for name in ("and", "or", "not")), len(text)


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """A tree LSTM learns the value of boolean expressions."""
    train, test = drawn(480 if tiny else 3_000, seed, "train"), drawn(320 if tiny else 1_600, seed, "test")
    epochs, width = (10, 24) if tiny else (30, 32)
    right: dict[str, np.ndarray] = {}
    nets: dict[str, Classifier] = {}
    for name, options in (("tree-lstm", {"width": width}), ("tree-esn", {"width": 128 if tiny else 512})):
        nets[name] = Classifier(
            template=name,
            options={**options, "pool": "root"},
            kinds={"expression": "tree"},
            epochs=epochs,
            batch_size=32,
            learning_rate=1e-2,
            dropout=0.0,
            random_state=seed,
        ).fit(train.frame, train.true)
        right[name] = nets[name].predict(test.frame) == test.true
    right["counts"] = counts_right(train, test)
    sizes = np.arange(1, MOST_OPERATORS + 1)
    series = tuple(
        Series(name=name, x=tuple(sizes.tolist()), y=tuple(float(r[test.operators == s].mean()) for s in sizes))
        for name, r in right.items()
    )
    shares = {name: float(r.mean()) for name, r in right.items()}
    texts = [t for t, n in zip(test.texts, test.operators, strict=True) if n == 5]
    inner = [(reading(nets["tree-lstm"], t) > 0.5) == values_of(from_brackets(t)) for t in texts]
    parts = float(np.concatenate(inner).mean())
    return Finding(
        probe="tree-lstm",
        family="gallery",
        verdict="pass" if shares["tree-lstm"] > shares["counts"] + 0.05 else "fail",
        title=f"{shares['tree-lstm']:.1%} of {len(test.texts):,} new expressions are evaluated rightly by a tree LSTM, "
        f"{shares['counts']:.1%} by counts of labels and pairs",
        measured={f"accuracy_{name}": share for name, share in shares.items()} | {"accuracy_of_inner_nodes": parts},
        expected="the tree LSTM at least 5 points above the counts",
        why="An expression is a tree: its value follows from the values of its parts, from the leaves up. The tree LSTM has the same "
        "shape as each expression, and one cell with the same weights at every node, so what it learns of `and` holds at every depth. "
        f"It is told the value of the whole alone; yet its states also read rightly at {parts:.0%} of all nodes (first figure). Counts "
        "see how often each label and each pair of parent and child comes, but not what stands below what further down. In the echo "
        "state network the recursion is random and never trained, only the read-out is (second figure).",
        figures=(
            diagram(nets["tree-lstm"], max(texts, key=_variety)),
            Figure(
                title="Accuracy by the size of the expression",
                kind="line",
                series=series,
                x_label="operators",
                y_label="accuracy on new expressions",
                caption="Half of the expressions of each size are true: guessing gives 0.5.",
            ),
        ),
        tables=(
            Table(title="Accuracy on new expressions", columns=("method", "accuracy"), rows=tuple(shares.items())),
        ),
        reference="Tai, Socher and Manning (2015); Gallicchio and Micheli (2013)",
        seed=seed,
    )


if __name__ == "__main__":
    main(exhibit)
