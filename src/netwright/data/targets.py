"""Targets that come as arrays, with weights: what the estimators hold instead of a column of a frame."""

from __future__ import annotations

import numpy as np
import polars as pl

from netwright.core.spec import TargetSpec
from netwright.data.cells import to_labels


def class_target(name: str, codes: np.ndarray, classes: np.ndarray, weight: np.ndarray | None = None) -> TargetSpec:
    """The spec of class numbers, their shares by weight.

    Args:
        codes: (N,) class numbers. classes: (C,) labels of any type. weight: (N,) or None.

    >>> class_target("y", np.array([0, 1, 1, 1]), np.array([False, True])).classes
    ('false', 'true')
    """
    shares = np.bincount(codes, weights=weight, minlength=len(classes))
    return TargetSpec(
        name=name,
        task="binary" if len(classes) == 2 else "classes",
        classes=class_names(classes),
        priors=tuple((shares / shares.sum()).tolist()),
    )


def class_names(classes: np.ndarray) -> tuple[str, ...]:
    """Labels as a file would write them (1.0 as "1", True as "true"), or as Python does where that would merge two.

    >>> class_names(np.array([1.0, 2.0])), class_names(np.array(["a", "a "]))
    (('1', '2'), ('a', 'a '))
    """
    names = to_labels(pl.Series(classes.tolist(), strict=False)).to_list()
    plain = tuple(str(c) for c in classes.tolist())
    return tuple(names) if len(set(names)) == len(names) and None not in names else plain


def number_target(name: str, values: np.ndarray, weight: np.ndarray | None = None) -> TargetSpec:
    """The spec of values (N,), their mean and spread by weight.

    >>> number_target("y", np.array([0.0, 10.0]), np.array([3.0, 1.0])).center
    2.5
    """
    center = float(np.average(values, weights=weight))
    scale = float(np.sqrt(np.average((values - center) ** 2, weights=weight)))
    return TargetSpec(
        name=name,
        task="number",
        center=center,
        scale=scale if scale > 1e-12 * float(np.abs(values).max()) else 1.0,
        low=float(values.min()),
        high=float(values.max()),
    )
