"""What scikit-learn hands to `fit` and `predict`: rows of any kind, labels and weights, checked as its conventions ask."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import narwhals.stable.v2 as nw
import numpy as np
import polars as pl
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.validation import validate_data

from netwright.core.errors import UsageError
from netwright.core.spec import ImageField, InputSpec, TextField
from netwright.data.alone import Alone, column_of_kind, unequal
from netwright.data.arrays import column_of, holds_pixels
from netwright.data.frames import from_any

What = Literal["texts", "images", "series", "sounds", "volumes", "rows of a table"]
_WHAT: Mapping[str, What] = {
    "text": "texts",
    "image": "images",
    "series": "series",
    "audio": "sounds",
    "volume": "volumes",
}
"""Name of a column that came alone -> what it holds. One is never taken for another; a column of a table may come alone."""
_KIND: Mapping[str, Alone] = {"series": "series", "sounds": "audio"}


@dataclass(frozen=True)
class Given:
    """Rows as they came.

    Args:
        frame: the rows.
        what: what they are.
        plain: whether they came as an array of plain numbers.
    """

    frame: pl.DataFrame
    what: What
    plain: bool = False


def rows_given(estimator: BaseEstimator, x: Any, kind: Alone | None = None) -> Given:
    """The X of `fit`; sets what scikit-learn expects of a fitted estimator (`n_features_in_`, `feature_names_in_`).

    Args:
        kind: what X holds where its shape does not say it; see `data.alone.column_of_kind`.
    """
    x = from_any(x) if type(x) is dict else x
    column = _column_of(x, kind)
    if column is None:
        return _table(estimator, x, reset=True)
    estimator.n_features_in_ = 1
    if hasattr(estimator, "feature_names_in_"):
        del estimator.feature_names_in_
    return Given(column.to_frame(), _WHAT[column.name])


def rows_again(estimator: BaseEstimator, x: Any, spec: InputSpec, what: What, columns: Sequence[str]) -> pl.DataFrame:
    """The X of `predict` as a frame with the columns of `fit`.

    Args:
        spec: of the fitted model. what, columns: what the rows of `fit` were, and the names of their columns.

    Raises:
        UsageError: they are of another kind than those of `fit`: texts and not images, other sizes, bytes and not fractions.
        ValueError: a table with other columns.
    """
    x = from_any(x) if type(x) is dict else x
    usual = None if nw.dependencies.is_into_dataframe(x) else column_of(x)
    texts = what != "sounds" and usual is not None and usual.name == "text"  # names of sounds are strings as well
    column = usual if texts else _column_of(x, _KIND.get(what))
    came: What = "rows of a table" if column is None else _WHAT[column.name]
    if came == what == "rows of a table":
        frame = _table(estimator, x, reset=False).frame
    elif (
        len(columns) == 1
        and (column is not None or nw.dependencies.is_into_dataframe(x))
        and (came == what or "rows of a table" in (came, what))
    ):
        frame = from_any(x) if column is None else column.to_frame()
    else:
        raise UsageError(f"X holds {came}, but {type(estimator).__name__} was fitted on {what}; pass {what} again")
    if frame.width != len(columns):
        raise UsageError(f"X has {frame.width} columns, but {type(estimator).__name__} was fitted on {what}")
    frame.columns = list(columns)
    for field in spec.fields:
        if isinstance(field, ImageField | TextField):
            _must_be_like(frame[field.name], field)
    return frame


def _column_of(x: Any, kind: Alone | None = None) -> pl.Series | None:
    """Texts, images, series, sounds or volumes as a column; None for a table."""
    if nw.dependencies.is_into_dataframe(x):
        return None
    return column_of_kind(x, kind) if kind or unequal(x) else column_of(x)


def _table(estimator: BaseEstimator, x: Any, *, reset: bool) -> Given:
    if nw.dependencies.is_into_dataframe(x):
        validate_data(estimator, x, reset=reset, skip_check_array=True)
        return Given(from_any(x), "rows of a table")
    array = validate_data(estimator, x, reset=reset, dtype=None, ensure_all_finite=False)
    plain = array.dtype.kind in "biuf"
    if plain:
        array = check_array(array, dtype=np.float64, ensure_all_finite="allow-nan", input_name="X", estimator=estimator)
    return Given(from_any(array), "rows of a table", plain)


def _must_be_like(column: pl.Series, field: ImageField | TextField) -> None:
    """Refuse a column that is not of the kind, and images that are not of the size and type, of a fitted field."""
    if isinstance(field, TextField):
        if column.dtype not in (pl.String, pl.Null):
            raise UsageError(f"X has {_shown(column)} where texts were fitted; pass strings")
        return
    if column.dtype == pl.String:  # paths of picture files, which are made like those of fit
        return
    shape = (field.height, field.width) + ((field.channels,) if field.channels > 1 else ())
    inner: Any = column.dtype
    while isinstance(inner, pl.Array):
        inner = inner.inner
    came = column.dtype.shape if isinstance(column.dtype, pl.Array) else ()
    if not holds_pixels(column.dtype) or came != shape or (inner == pl.UInt8) != (field.dtype == "uint8"):
        kind = "whole bytes" if field.dtype == "uint8" else "fractions"
        raise UsageError(
            f"X has {_shown(column)} where images {' x '.join(map(str, shape))} of {kind} were fitted; pass such ones"
        )


def _shown(column: pl.Series) -> str:
    if not isinstance(column.dtype, pl.Array):
        return f"cells of type {column.dtype}"
    inner: Any = column.dtype
    while isinstance(inner, pl.Array):
        inner = inner.inner
    return f"images {' x '.join(map(str, column.dtype.shape))} of {'whole bytes' if inner == pl.UInt8 else 'fractions'}"


def weights_given(sample_weight: Any, n: int) -> np.ndarray | None:
    """(N,) weights, or None for 1.

    Raises:
        ValueError: they are negative, all zero, not finite, or not one a row.
    """
    if sample_weight is None:
        return None
    if isinstance(sample_weight, numbers.Number):
        sample_weight = np.full(n, sample_weight)
    weight: np.ndarray = check_array(sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight")
    if weight.ndim != 1:
        raise ValueError(f"Sample weights must be 1D array or scalar, got {weight.ndim}D")
    if len(weight) != n:
        raise ValueError(f"sample_weight.shape == {weight.shape}, expected {(n,)}!")
    if (weight < 0).any() or not weight.any():
        raise ValueError("sample_weight must not be negative, and not all zero")
    return weight


def labels_given(y: Any, estimator: BaseEstimator) -> np.ndarray:
    """The y of `fit` (N,).

    Raises:
        ValueError: there is none, or it is no column.
    """
    if y is None:
        raise ValueError(f"{type(estimator).__name__} requires y to be passed, but the target y is None")
    column: np.ndarray = column_or_1d(y, warn=True)
    return column


def name_of(y: Any) -> str:
    """The name of a series, or "target"."""
    return str(getattr(y, "name", None) or "target")
