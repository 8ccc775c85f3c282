"""Classic methods on trees and sets: edit distances against their definition, counts, neighbours, statistics of elements."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.baselines.counts import node_counts, pair_counts
from netwright.baselines.edit_distance import Forest, Nodes, edit_distance
from netwright.baselines.sets import names_of, pooled_statistics
from netwright.baselines.tables import fit_baseline
from netwright.baselines.trees import EditNeighbours
from netwright.core.seed import numpy_generator
from netwright.core.spec import ColumnKind, TreeField
from netwright.data.data import Data
from netwright.data.encode import fit_inputs, fit_target
from netwright.data.sets import column_of_sets, encode_set, fit_set
from netwright.data.tree_notation import from_brackets

_IDS: dict[str, int] = {}


def nodes(text: str) -> Nodes:
    labels, parents = from_brackets(text)
    return np.array([_IDS.setdefault(label, len(_IDS)) for label in labels]), parents


def by_definition(one: Nodes, other: Nodes) -> int:
    """The edit distance of forests as their right-most roots are deleted, inserted or matched."""

    def nested(tree: Nodes) -> Any:
        below: list[list[int]] = [[] for _ in tree[0]]
        for node, parent in enumerate(tree[1]):
            if parent >= 0:
                below[parent].append(node)

        def build(node: int) -> Any:
            return int(tree[0][node]), tuple(build(child) for child in below[node])

        return build(0)

    def size(forest: Any) -> int:
        return sum(1 + size(tree[1]) for tree in forest)

    @lru_cache(None)
    def distance(a: Any, b: Any) -> int:
        if not a or not b:
            return size(a) + size(b)
        v, w = a[-1], b[-1]
        return min(
            distance(a[:-1] + v[1], b) + 1,
            distance(a, b[:-1] + w[1]) + 1,
            distance(a[:-1], b[:-1]) + distance(v[1], w[1]) + (v[0] != w[0]),
        )

    return distance((nested(one),), (nested(other),))


@st.composite
def trees(draw: st.DrawFn, most: int = 8) -> Nodes:
    parents, path = [-1], [0]
    for node in range(1, draw(st.integers(1, most))):
        path = path[: draw(st.integers(1, len(path)))]
        parents.append(path[-1])
        path.append(node)
    return np.array(draw(st.lists(st.integers(0, 2), min_size=len(parents), max_size=len(parents)))), np.array(parents)


@settings(max_examples=100, deadline=None)
@given(st.lists(trees(), min_size=1, max_size=4), trees())
def test_edit_distances_are_those_of_the_definition(many: list[Nodes], one: Nodes) -> None:
    assert Forest(many).distances(one).tolist() == [by_definition(one, other) for other in many]


@settings(max_examples=50, deadline=None)
@given(trees(), trees(), trees())
def test_the_edit_distance_is_a_metric(a: Nodes, b: Nodes, c: Nodes) -> None:
    assert edit_distance(a, b) == edit_distance(b, a)
    assert edit_distance(a, a) == 0
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("(f (d a (c b)) e)", "(f (c (d a b)) e)", 2),  # the example of Zhang and Shasha (1989), figure 4
        ("(a b c)", "(a b c)", 0),
        ("(a b c)", "(a c b)", 2),
        ("(a)", "(b)", 1),
        ("(a (b (c (d e))))", "(a e)", 3),
        ("(a b c d)", "(a (x b c d))", 1),
    ],
)
def test_known_edit_distances(one: str, other: str, expected: int) -> None:
    assert edit_distance(nodes(one), nodes(other)) == expected


def test_neighbours_are_found_by_the_normalised_distance() -> None:
    known = [nodes("(a b c)"), nodes("(a b c d)"), nodes("(x (y z))"), nodes("(x (y w))")]
    near = EditNeighbours(known, np.array([0, 0, 1, 1]), None, 2, 2)
    asked = [nodes("(a b)"), nodes("(x (y z))")]
    assert near.nearest(asked).tolist() == [[0, 1], [2, 3]]
    assert near.predict_proba(asked).argmax(1).tolist() == [0, 1]
    assert near.distances([known[0]])[0, 0] == 0
    assert near.distances([known[0]])[0, 1] == pytest.approx(2 * 1 / (3 + 4 + 1))


def test_counts_are_those_of_a_loop() -> None:
    rng = numpy_generator(0, "counts")
    labels, parents = np.zeros((6, 9), dtype=np.int64), np.full((6, 9), -1)
    wanted = np.zeros((6, 5 + 25))
    for row in range(6):
        n = int(rng.integers(1, 10))
        labels[row, :n] = rng.integers(1, 5, n)
        for node in range(n):
            wanted[row, labels[row, node]] += 1
            if node:
                parents[row, node] = rng.integers(0, node)
                wanted[row, 5 + 5 * labels[row, parents[row, node]] + labels[row, node]] += 1
    assert (pair_counts(labels, parents, 5).toarray() == wanted).all()
    field = TreeField(labels=("a", "b", "c"), n_nodes=9)
    found = node_counts({"tree:labels": labels, "tree:parents": parents}, field)
    assert (found[:, 0] == (labels > 0).sum(1)).all() and (found[:, 2:] == wanted[:, 2:5]).all()


def tree_data(n: int, task: str, seed: int = 0) -> Data:
    """Trees whose class is whether a b comes below an a, which single labels do not tell; or how many nodes they have."""
    rng = numpy_generator(seed, "tree data")
    inner, texts = np.arange(n) % 2, []
    for pair in inner:
        other = " ".join("c" * int(rng.integers(1, 4)))
        texts.append(f"(r (a b) (c {other}))" if pair else f"(r (a {other}) (c b))")
    y = [f"class {k}" for k in inner] if task == "binary" else [float(len(t.replace("(", "").split())) for t in texts]
    frame = pl.DataFrame({"tree": texts, "y": y})
    order = rng.permutation(n)
    split = {"train": order[: n // 2], "valid": order[n // 2 : 3 * n // 4], "test": order[3 * n // 4 :]}
    train = frame[split["train"]]
    kinds: dict[str, ColumnKind] = {"tree": "tree"}
    return Data(frame, fit_inputs(train, kinds), fit_target(train["y"], task), split)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["tree-counts", "tree-edit-neighbours"])
@pytest.mark.parametrize("task", ["binary", "number"])
def test_both_methods_learn_what_pairs_of_parent_and_child_tell(name: str, task: str) -> None:
    data = tree_data(60, task)
    fitted = fit_baseline(name, data)
    found, y = fitted.predict("test"), data.y("test")
    if task == "binary":
        assert (found.argmax(1) == y).mean() >= 0.9
    else:
        assert np.abs(found - y).mean() < 0.5 * np.abs(y - y.mean()).mean()
    again = fitted.predict_frame(data.part("test").drop("y"))
    np.testing.assert_allclose(again, found)


def test_trees_among_other_columns_count_for_classic_methods() -> None:
    data = tree_data(240, "number")
    assert data.frame is not None
    frame = data.frame.with_columns(nothing=pl.Series(np.arange(240) % 3 * 1.5))
    train = frame[data.split["train"]]
    kinds: dict[str, ColumnKind] = {"tree": "tree", "nothing": "number"}
    table = Data(frame, fit_inputs(train, kinds), data.target, data.split)
    assert table.spec.kind == "table"
    for name in ("linear", "gradient-boosting"):
        found, y = fit_baseline(name, table).predict("test"), table.y("test")
        assert np.abs(found - y).mean() < 0.6 * np.abs(y - y.mean()).mean()


def test_statistics_are_those_of_a_loop_over_sets() -> None:
    rng, sizes = numpy_generator(1, "statistics"), np.array([3, 1, 4])
    values: list[float | None] = rng.normal(size=8).tolist()
    values[3] = None  # the only element of the second set
    elements = pl.DataFrame({"v": values, "c": list("xyxxyyxx")})
    column = column_of_sets(elements, sizes)
    field = fit_set(column)
    found = pooled_statistics(encode_set(column, field), field)
    assert names_of(field)[:3] == ["elements", "mean of v", "spread of v"] and len(names_of(field)) == found.shape[1]
    for row, cell in enumerate(column):
        v, c = (cell.struct.field(name) for name in ("v", "c"))
        wanted = [len(cell), v.mean(), v.std(ddof=0), v.min(), v.max(), v.sum(), v.is_null().mean()]
        wanted += [0.0, (c == "x").mean(), (c == "y").mean()]
        np.testing.assert_allclose(found[row], [np.nan if w is None else w for w in wanted], atol=1e-12)


@pytest.mark.parametrize("name", ["linear", "gradient-boosting"])
def test_classic_methods_on_sets_see_statistics_of_elements(name: str) -> None:
    rng = numpy_generator(2, "sets")
    sizes = rng.integers(1, 6, 160)
    elements = pl.DataFrame({"v": rng.normal(size=int(sizes.sum()))})
    column = column_of_sets(elements, sizes)
    y = [float(cell.struct.field("v").max()) for cell in column]  # type: ignore[arg-type]
    frame = pl.DataFrame([column, pl.Series("y", y)])
    order = rng.permutation(160)
    split = {"train": order[:100], "valid": order[100:130], "test": order[130:]}
    kinds: dict[str, ColumnKind] = {"set": "set"}
    data = Data(frame, fit_inputs(frame[split["train"]], kinds), fit_target(frame["y"], "number"), split)  # type: ignore[arg-type]
    found, wanted = fit_baseline(name, data).predict("test"), data.y("test")
    assert np.abs(found - wanted).mean() < 0.4 * np.abs(wanted - wanted.mean()).mean()
