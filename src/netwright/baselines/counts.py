"""What classic methods see of a tree: how often labels, and pairs of parent and child, come in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from netwright.core.spec import FIRST_ID, PAD, TreeField

MOST_LABELS = 64
"""The most frequent labels that are counted where trees are one column of a table."""


def node_counts(arrays: Mapping[str, np.ndarray], field: TreeField) -> np.ndarray:
    """Of each tree (N, F) float64: the number of nodes and of leaves, and how often each of the 64 most frequent labels comes.

    Args:
        arrays: the tensors of the field, by name.

    >>> field = TreeField(labels=("a", "b"), n_nodes=3)
    >>> node_counts({"tree:labels": np.array([[2, 3, 3]]), "tree:parents": np.array([[-1, 0, 0]])}, field).tolist()
    [[3.0, 2.0, 1.0, 2.0]]
    """
    labels, parents = (arrays[name] for name in field.tensors)
    there = labels != PAD
    size = there.sum(1)
    row = np.repeat(np.arange(len(labels)), parents.shape[1]).reshape(parents.shape)
    inner = np.zeros(labels.shape, bool)
    linked = there & (parents >= 0)
    inner[row[linked], parents[linked]] = True
    counts = [(labels == FIRST_ID + k).sum(1) for k in range(min(len(field.labels), MOST_LABELS))]
    return np.stack([size, size - inner.sum(1), *counts], 1).astype(np.float64)


def pair_counts(labels: np.ndarray, parents: np.ndarray, n_ids: int) -> Any:
    """How often each label, and each pair of parent and child, comes in each tree: sparse (N, n_ids + n_ids ** 2).

    Args:
        labels: (N, M) ids, 0 where there is no node. parents: (N, M) places of parents, -1 over a root. n_ids: number of ids.

    >>> counts = pair_counts(np.array([[1, 2, 2]]), np.array([[-1, 0, 0]]), 3)
    >>> counts.indices.tolist(), counts.data.tolist()
    ([1, 2, 8], [1.0, 2.0, 2.0])
    """
    from scipy.sparse import csr_matrix

    row, place = np.nonzero(labels != PAD)
    own = labels[row, place].astype(np.int64)
    above = parents[row, place]
    linked = above >= 0
    over = labels[row[linked], above[linked]].astype(np.int64)
    rows = np.concatenate([row, row[linked]])
    columns = np.concatenate([own, n_ids + over * n_ids + own[linked]])
    found = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(labels), n_ids + n_ids**2))
    found.sum_duplicates()
    return found
