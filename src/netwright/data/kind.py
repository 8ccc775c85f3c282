"""What the rest of the house must know of a kind of data whose cells are whole things: series, sounds, sets, trees, volumes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from netwright.core.spec import ColumnKind

Arrays = Mapping[str, np.ndarray]
"""Tensors of a field by name, as arrays whose first dimension counts rows."""


@dataclass(frozen=True)
class Kind:
    """One kind of data.

    Args:
        name: of the kind.
        field: the class of its fields.
        holds: whether the cells of a column are of this kind, by its type (and where that is not enough by its cells).
        fit: (column of training rows) -> the fitted field.
        encode: (column, field) -> the tensors of the field (`field.tensors`) as arrays.
        decode: (arrays, field) -> a column: what an attack changed, as the user would read it.
        two_rows: (field) -> arrays of two rows that the field could hold: one as large as it can be, one as small.
        describe: (column) -> what the cells are, in a few words.
    """

    name: ColumnKind
    field: type[Any]
    holds: Callable[[pl.Series], bool]
    fit: Callable[[pl.Series], Any]
    encode: Callable[[pl.Series, Any], Arrays]
    decode: Callable[[Arrays, Any], pl.Series]
    two_rows: Callable[[Any], Arrays]
    describe: Callable[[pl.Series], str]
