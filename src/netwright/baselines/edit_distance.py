"""The edit distance of ordered labelled trees: from one tree to many at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_FAR = 1 << 20
"""More than any distance: keeps the blocks of columns apart in a running minimum."""

Nodes = tuple[np.ndarray, np.ndarray]
"""Label ids (M,) and places of parents (M,), -1 over the root, parents before children, children in order."""


@dataclass(frozen=True)
class PostOrder:
    """A tree with its nodes in post-order.

    Args:
        labels: (M,) ids. first: (M,) the leftmost leaf below each node. keys: nodes that have a left sibling, and the root, rising.
    """

    labels: np.ndarray
    first: np.ndarray
    keys: np.ndarray


def post_order(nodes: Nodes) -> PostOrder:
    """Bring a tree into post-order.

    >>> tree = post_order((np.array([7, 8, 9]), np.array([-1, 0, 0])))
    >>> tree.labels.tolist(), tree.first.tolist(), tree.keys.tolist()
    ([8, 9, 7], [0, 1, 0], [1, 2])
    """
    labels, parents = nodes
    n = len(labels)
    size = np.ones(n, dtype=np.int64)
    for node in range(n - 1, 0, -1):
        size[parents[node]] += size[node]
    depth = np.zeros(n, dtype=np.int64)
    for node in range(1, n):
        depth[node] = depth[parents[node]] + 1
    place = (
        np.arange(n) - depth + size - 1
    )  # before a node in post-order: what is before it in depth-first order without those above it
    first = np.empty(n, dtype=np.int64)
    first[place] = place - size + 1
    ordered = np.empty(n, dtype=np.int64)
    ordered[place] = labels
    last = np.full(n, -1)
    last[first] = np.arange(n)  # the highest node of each leftmost leaf
    return PostOrder(ordered, first, np.sort(last[last >= 0]))


class Forest:
    """Trees to which distances are taken: their tables of sub-forests beside each other, in the order in which they are needed.

    Args:
        trees: at least one.

    >>> forest = Forest([(np.array([1, 2]), np.array([-1, 0])), (np.array([1]), np.array([-1]))])
    >>> forest.distances((np.array([1, 3]), np.array([-1, 0]))).tolist()
    [1, 1]
    """

    def __init__(self, trees: Sequence[Nodes]) -> None:
        ordered = [post_order(tree) for tree in trees]
        sizes = np.array([len(t.labels) for t in ordered])
        starts = np.cumsum(sizes) - sizes
        self.sizes, self.roots = sizes, starts + sizes - 1
        self.labels = np.concatenate([t.labels for t in ordered])
        first = np.concatenate([t.first + s for t, s in zip(ordered, starts, strict=True)])
        keys = np.concatenate([t.keys + s for t, s in zip(ordered, starts, strict=True)])
        ranks = _ranks(first, keys)
        keys = keys[np.argsort(ranks, kind="stable")]
        lengths = keys - first[keys] + 2  # the empty forest, then one column a node
        begins = np.cumsum(lengths) - lengths
        block = np.repeat(np.arange(len(keys)), lengths)
        self.place = np.arange(int(lengths.sum())) - begins[block]
        self.empty = self.place == 0
        self.node = np.where(self.empty, 0, first[keys][block] + self.place - 1)
        self.base = np.where(self.empty, 0, begins[block] + first[self.node] - first[keys][block])
        self.on_path = ~self.empty & (first[self.node] == first[keys][block])
        self.apart = block * _FAR
        per_rank = np.bincount(np.sort(ranks)[block])
        ends = np.cumsum(per_rank)
        self.ranks = [slice(int(e - n), int(e)) for e, n in zip(ends, per_rank, strict=True)]

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def n_cells(self) -> int:
        """Columns of all tables: what one row of the recursion costs."""
        return len(self.place)

    def distances(self, tree: Nodes) -> np.ndarray:
        """The edit distance (K,) int64 of a tree to each of these: fewest insertions, deletions and changes of labels, each costing 1.

        The recursion of Zhang and Shasha runs over the rows of one tree; a row is computed for all sub-forests of all other trees
        at once, insertions as a running minimum.

        Source: Zhang and Shasha (1989), "Simple fast algorithms for the editing distance between trees and related problems".
        """
        own = post_order(tree)
        found = np.zeros((len(own.labels), len(self.labels)), dtype=np.int64)
        for key in own.keys:
            self._table(own, int(key), found)
        distances: np.ndarray = found[-1, self.roots]
        return distances

    def _table(self, own: PostOrder, key: int, found: np.ndarray) -> None:
        """Distances of all sub-forests that end below one key node; fills the rows of `found` on its leftmost path."""
        start = int(own.first[key])
        table = np.empty((key - start + 2, len(self.place)), dtype=np.int64)
        table[0] = self.place
        whole = slice(0, len(self.place))
        for row, node in enumerate(range(start, key + 1), 1):
            back = int(own.first[node]) - start
            if back:
                self._row(table, row, whole, table[back][self.base] + found[node][self.node])
                continue
            other = own.labels[node] != self.labels[self.node]
            for cells in self.ranks:  # within a row, inner tables come before those that they are parts of
                path, places = self.on_path[cells], self.node[cells]
                aligned = table[row - 1][np.maximum(np.arange(cells.start, cells.stop) - 1, 0)] + other[cells]
                self._row(table, row, cells, np.where(path, aligned, table[0][self.base[cells]] + found[node][places]))
                found[node][places[path]] = table[row][cells][path]

    def _row(self, table: np.ndarray, row: int, cells: slice, matched: np.ndarray) -> None:
        """One row of some columns: the best of deleting, matching and inserting."""
        best = np.minimum(table[row - 1][cells] + 1, np.where(self.empty[cells], row, matched))
        slope = self.place[cells] + self.apart[cells]
        table[row][cells] = np.minimum.accumulate(best - slope) + slope


def _ranks(first: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """For each key node 1 + the highest rank of the key nodes strictly within its sub-tree, 0 where there are none."""
    ranks = np.zeros(len(keys), dtype=np.int64)
    open_keys: list[int] = []
    for k, node in enumerate(keys):  # in post-order: what lies within a sub-tree comes just before its root
        while open_keys and keys[open_keys[-1]] >= first[node]:
            ranks[k] = max(ranks[k], ranks[open_keys.pop()] + 1)
        open_keys.append(k)
    return ranks


def edit_distance(one: Nodes, other: Nodes) -> int:
    """The edit distance of two ordered labelled trees.

    >>> edit_distance((np.array([1, 2, 3]), np.array([-1, 0, 1])), (np.array([1, 3]), np.array([-1, 0])))
    1
    """
    return int(Forest([other]).distances(one)[0])
