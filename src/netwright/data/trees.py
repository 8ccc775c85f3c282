"""Trees: columns whose cells are ordered trees of labelled nodes, as labels and parents or in writing. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from netwright.core.errors import DataError
from netwright.core.spec import FIRST_ID, PAD, UNKNOWN, TreeField
from netwright.data.cells import counted, span_of
from netwright.data.kind import Arrays, Kind
from netwright.data.tree_notation import NOTATIONS, Tree, notation_of, to_brackets

MOST_NODES = 4096
"""Most nodes that are kept of a tree."""
MAX_LABELS = 10_000
"""The most frequent labels that get an id of their own; the rest share "unknown"."""
_PATH = 6


def tree_of(labels: Sequence[str], parents: Sequence[int | None], where: str = "the tree") -> Tree:
    """A tree from the parent of each node (-1 or None over the root), its nodes in any order, brought into depth-first order.

    Children keep the order in which they are given.

    Raises:
        DataError: no nodes, no root or two, a parent that is no node, a cycle; the node (counted from 0) is told.

    >>> labels, parents = tree_of(["b", "a", "c"], [1, -1, 1])
    >>> labels, parents.tolist()
    (['a', 'b', 'c'], [-1, 0, 0])
    """
    above = [-1 if p is None else int(p) for p in parents]
    if len(labels) != len(above):
        raise DataError(f"{where} has {counted(len(labels), 'label')} but {len(above):,} parents; expected one a node")
    if not labels:
        raise DataError(f"{where} has no nodes; take it out, or give it at least one")
    for node, parent in enumerate(above):
        if not -1 <= parent < len(above):
            raise DataError(
                f"{where}: the parent of node {node} is node {parent}, but there are only the nodes 0 to {len(above) - 1}"
            )
    if _is_ordered(above):
        return list(labels), np.array(above, dtype=np.int32)
    children: list[list[int]] = [[] for _ in above]
    for node, parent in enumerate(above):
        if parent >= 0:
            children[parent].append(node)
    return _walked(labels, above, children, where)


def tree_of_children(labels: Sequence[str], children: Sequence[Sequence[int]], where: str = "the tree") -> Tree:
    """A tree from the children of each node, in order.

    Raises:
        DataError: as `tree_of`, or a child that is no node, or has two parents.

    >>> labels, parents = tree_of_children(["S", "NP", "VP", "dogs"], [[1, 2], [3], [], []])
    >>> labels, parents.tolist()
    (['S', 'NP', 'dogs', 'VP'], [-1, 0, 1, 0])
    """
    if len(labels) != len(children):
        raise DataError(
            f"{where} has {counted(len(labels), 'label')} but {len(children):,} lists of children; expected one a node"
        )
    if not labels:
        raise DataError(f"{where} has no nodes; take it out, or give it at least one")
    above = [-1] * len(labels)
    for node, below in enumerate(children):
        for child in below:
            if not 0 <= child < len(labels):
                raise DataError(
                    f"{where}: node {node} has the child {child}, but there are only the nodes 0 to {len(labels) - 1}"
                )
            if above[child] >= 0:
                raise DataError(f"{where}: node {child} has two parents, {above[child]} and {node}; a tree allows one")
            above[child] = node
    return _walked(labels, above, children, where)


def _is_ordered(above: Sequence[int]) -> bool:
    """Whether nodes stand in depth-first order under one root."""
    if above[0] != -1:
        return False
    path = [0]
    for node in range(1, len(above)):
        while path and path[-1] != above[node]:
            path.pop()
        if not path:
            return False
        path.append(node)
    return True


def _walked(labels: Sequence[str], above: Sequence[int], children: Sequence[Sequence[int]], where: str) -> Tree:
    """The nodes from the root down, depth first."""
    roots = [node for node, parent in enumerate(above) if parent < 0]
    if len(roots) > 1:
        raise DataError(
            f"{where} has {len(roots):,} roots, nodes {roots[0]} and {roots[1]}{', ...' if len(roots) > 2 else ''}; expected one"
        )
    order: list[int] = []
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        order.append(node)
        waiting += reversed(children[node])
    if len(order) < len(labels):
        raise DataError(f"{where} has a cycle: {_cycle(above, set(order))}; a tree has none")
    place = {node: k for k, node in enumerate(order)}
    parents = [place[above[node]] if above[node] >= 0 else -1 for node in order]
    return [labels[node] for node in order], np.array(parents, dtype=np.int32)


def _cycle(above: Sequence[int], reached: set[int]) -> str:
    """A cycle among the nodes that no root reaches, as a way from parent to child."""
    node = next(n for n in range(len(above)) if n not in reached)
    seen: dict[int, int] = {}
    while node not in seen:
        seen[node] = len(seen)
        node = above[node]
    way = [*seen][seen[node] :][::-1]
    shown = [way[-1], *way][: _PATH + 1]
    return " -> ".join(f"node {n}" for n in shown) + (" -> ..." if len(way) > _PATH else "")


def column_of_trees(trees: Iterable[Tree], name: str = "tree") -> pl.Series:
    """Trees as a column of structs: labels (strings) and parents (int32), in depth-first order.

    >>> column_of_trees([tree_of(["a", "b"], [-1, 0])]).to_list()
    [{'labels': ['a', 'b'], 'parents': [-1, 0]}]
    """
    found = list(trees)
    labels = pl.Series("labels", [t[0] for t in found], dtype=pl.List(pl.String))
    parents = pl.Series("parents", [t[1].tolist() for t in found], dtype=pl.List(pl.Int32))
    return pl.DataFrame([labels, parents]).to_struct(name)


def is_tree(column: pl.Series) -> bool:
    """Whether the cells are structs of labels and parents."""
    kind = column.dtype
    if not isinstance(kind, pl.Struct) or [field.name for field in kind.fields] != ["labels", "parents"]:
        return False
    labels, parents = (field.dtype for field in kind.fields)
    if not isinstance(labels, pl.List) or not isinstance(parents, pl.List):
        return False
    return labels.inner == pl.String and isinstance(parents.inner, pl.DataType) and parents.inner.is_integer()


def trees_of(column: pl.Series, notation: str = "") -> list[Tree]:
    """The cells as trees in depth-first order.

    Args:
        notation: "brackets" or "python" of cells that are strings; by default what most of them look like.

    Raises:
        DataError: a missing cell, one that is no tree, cells that are neither trees nor strings.
    """
    if column.null_count():
        row = int(column.is_null().arg_true()[0])
        raise DataError(
            f"column {column.name!r}, row {row}: {counted(column.null_count(), 'tree')} missing; take those rows out"
        )
    if column.dtype == pl.String:
        cells = column.to_list()
        read = NOTATIONS[notation or notation_of(cells)]
        return [read(cell, f"column {column.name!r}, row {row}") for row, cell in enumerate(cells)]
    if not is_tree(column):
        raise DataError(
            f"column {column.name!r} holds cells of type {column.dtype}; expected trees: labels and parents of the nodes, text in "
            "brackets, or the source of Python programs"
        )
    pairs = zip(column.struct.field("labels").to_list(), column.struct.field("parents").to_list(), strict=True)
    return [
        tree_of([label or "" for label in labels or []], parents or [], f"column {column.name!r}, row {row}")
        for row, (labels, parents) in enumerate(pairs)
    ]


def depths(parents: np.ndarray) -> np.ndarray:
    """Depth (M,) of each node, 0 for the root, where parents stand before their children.

    >>> depths(np.array([-1, 0, 1, 0])).tolist()
    [0, 1, 2, 1]
    """
    depth = np.zeros(len(parents), dtype=np.int64)
    for node in range(1, len(parents)):
        depth[node] = depth[parents[node]] + 1
    return depth


def cut_to(tree: Tree, most: int) -> Tree:
    """The first nodes of a tree in breadth-first order, left in depth-first order."""
    labels, parents = tree
    if len(labels) <= most:
        return tree
    kept = np.sort(np.argsort(depths(parents), kind="stable")[:most])
    place = np.full(len(labels), -1)
    place[kept] = np.arange(most)
    above = np.where(parents[kept] < 0, -1, place[parents[kept]])
    return [labels[k] for k in kept], above.astype(np.int32)


def fit_tree(column: pl.Series) -> TreeField:
    """The labels, the most frequent first, and the number of nodes of the largest tree, from training rows only."""
    notation = notation_of(column.drop_nulls().to_list()) if column.dtype == pl.String else ""
    trees = trees_of(column, notation)
    sizes = np.array([len(labels) for labels, _ in trees])
    most = int(min(sizes.max(), MOST_NODES))
    names = pl.Series("label", [label for labels, _ in trees for label in labels], dtype=pl.String)
    counts = names.value_counts(name="nodes").sort(["nodes", "label"], descending=[True, False])
    return TreeField(
        name=column.name,
        labels=tuple(counts["label"].to_list()[:MAX_LABELS]),
        n_nodes=most,
        notation=notation,
        cut=float((sizes > most).mean()),
    )


def encode_tree(column: pl.Series, field: TreeField) -> Arrays:
    """Ids of labels (N, n_nodes) and places of parents (N, n_nodes), both int32."""
    trees = [cut_to(tree, field.n_nodes) for tree in trees_of(column, field.notation)]
    ids = {label: FIRST_ID + k for k, label in enumerate(field.labels)}
    labels = np.full((len(trees), field.n_nodes), PAD, dtype=np.int32)
    parents = np.full((len(trees), field.n_nodes), -1, dtype=np.int32)
    for row, (names, above) in enumerate(trees):
        labels[row, : len(names)] = [ids.get(name, UNKNOWN) for name in names]
        parents[row, : len(names)] = above
    return {field.tensors[0]: labels, field.tensors[1]: parents}


def _decode(arrays: Arrays, field: TreeField) -> pl.Series:
    names = ["", "(unknown)", *field.labels]
    trees: list[Tree] = []
    for labels, parents in zip(*(arrays[name] for name in field.tensors), strict=True):
        n = int((labels != PAD).sum())
        trees.append(([names[k] for k in labels[:n]], parents[:n]))
    if field.notation == "brackets":
        return pl.Series(field.name, [to_brackets(names, above.tolist()) for names, above in trees], dtype=pl.String)
    return column_of_trees(trees, field.name)


def _two_rows(field: TreeField) -> Arrays:
    """A root with as many children as there is room for, and a tree of one node whose label is unknown."""
    labels = np.full((2, field.n_nodes), PAD, dtype=np.int32)
    parents = np.full((2, field.n_nodes), -1, dtype=np.int32)
    labels[0] = FIRST_ID + np.arange(field.n_nodes) % max(1, len(field.labels)) if field.labels else UNKNOWN
    parents[0, 1:] = 0
    labels[1, 0] = UNKNOWN
    return {field.tensors[0]: labels, field.tensors[1]: parents}


def _describe(column: pl.Series) -> str:
    sizes = column.struct.field("labels").list.len().drop_nulls()
    if not len(sizes):
        return "trees"
    span = span_of(sizes)
    n = column.struct.field("labels").explode().n_unique()
    return f"trees of {span} node{'s' * (span != '1')} with {counted(n, 'different label')}"


TREES = Kind("tree", TreeField, is_tree, fit_tree, encode_tree, _decode, _two_rows, _describe)
