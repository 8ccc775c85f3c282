"""What classic methods see of a set: statistics over its elements, each a number."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from netwright.core.spec import SetField

MOST_CATEGORIES = 50
"""The most frequent categories of a column of elements whose shares are counted."""


def pooled_statistics(arrays: Mapping[str, np.ndarray], field: SetField) -> np.ndarray:
    """Statistics of each set (N, F) float64: the number of elements; of each number the mean, standard deviation, lowest, highest, sum
    and share of missing cells over the elements; the share of each category. NaN where all cells of a number are missing.

    Args:
        arrays: the tensors of the field, by name.

    >>> from netwright.core.spec import NumberField
    >>> field = SetField(numbers=(NumberField(name="price"),), n_elements=3)
    >>> arrays = {"set:numbers": np.array([[[1.0], [3.0], [np.nan]]]), "set:length": np.array([2])}
    >>> pooled_statistics(arrays, field).tolist()
    [[2.0, 2.0, 1.0, 1.0, 3.0, 4.0, 0.0]]
    """
    lengths = arrays[f"{field.name}:length"]
    parts = [lengths[:, None].astype(np.float64)]
    if field.numbers:
        parts.append(_of_numbers(arrays[f"{field.name}:numbers"], lengths))
    if field.categories:
        codes = arrays[f"{field.name}:codes"]
        there = np.arange(codes.shape[1]) < lengths[:, None]
        for i, category in enumerate(field.categories):
            most = min(category.n_codes, 1 + MOST_CATEGORIES)
            shares = [((codes[:, :, i] == k) & there).sum(1) / np.maximum(lengths, 1) for k in range(most)]
            parts.append(np.stack(shares, 1))
    return np.concatenate(parts, 1)


def _of_numbers(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(N, 6 P) of numbers (N, M, P), NaN where a cell is missing and behind the end."""
    there = (np.arange(values.shape[1]) < lengths[:, None])[:, :, None]
    known = np.isfinite(values) & there
    count = known.sum(1)
    n = np.where(count, count, np.nan)
    total = np.where(known, values, 0.0).sum(1)
    mean = total / n
    spread = np.sqrt(np.where(known, (values - mean[:, None]) ** 2, 0.0).sum(1) / n)
    low, high = np.where(known, values, np.inf).min(1), np.where(known, values, -np.inf).max(1)
    missing = 1 - count / np.maximum(lengths, 1)[:, None]
    found = [mean, spread, np.where(count, low, np.nan), np.where(count, high, np.nan), total, missing]
    return np.stack(found, 2).reshape(len(values), -1)


def names_of(field: SetField) -> list[str]:
    """What the columns of `pooled_statistics` are, in order."""
    names = ["elements"]
    for number in field.numbers:
        names += [
            f"{what} of {number.name}" for what in ("mean", "spread", "lowest", "highest", "sum", "missing share")
        ]
    for category in field.categories:
        names += [
            f"share of {category.name}={label}" for label in ("(unknown)", *category.categories)[: 1 + MOST_CATEGORIES]
        ]
    return names
