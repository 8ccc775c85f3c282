"""Columns of lists, arrays and structs."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import polars as pl


class Digest(Protocol):
    """A hash that takes bytes one after the other."""

    def update(self, data: bytes, /) -> None:
        """More bytes."""


def hash_nested(column: pl.Series, digest: Digest) -> None:
    """Let a hash take every cell of a column, however deep it is; equal cells give equal bytes on every machine.

    >>> import hashlib
    >>> one, two = hashlib.blake2b(), hashlib.blake2b()
    >>> hash_nested(pl.Series([[1, 2], [3]]), one), hash_nested(pl.Series([[1], [2, 3]]), two)
    (None, None)
    >>> one.digest() == two.digest()
    False
    """
    if isinstance(column.dtype, pl.List):
        digest.update(column.list.len().fill_null(0).to_numpy().astype("<u4").tobytes())
        hash_nested(column.drop_nulls().explode(), digest)
    elif isinstance(column.dtype, pl.Array):
        hash_nested(column.explode(), digest)
    elif isinstance(column.dtype, pl.Struct):
        for name in column.struct.fields:
            digest.update(name.encode())
            hash_nested(column.struct.field(name), digest)
    elif column.dtype.is_numeric() and not column.null_count():
        digest.update(np.ascontiguousarray(column.to_numpy()).tobytes())
    else:
        digest.update("\x1f".join(column.cast(pl.String, strict=False).fill_null("\0").to_list()).encode())
