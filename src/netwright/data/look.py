"""What reading data gave, whatever they were read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from netwright.core.spec import ColumnKind


@dataclass(frozen=True)
class Look:
    """What reading a file, or a folder of pictures, gave.

    Args:
        frame: all rows in the file's order; numbers as numbers, everything else as strings, missing cells as null. Images are
            arrays of pixels, or absolute paths of picture files; labels that are surely classes are of the type Categorical.
        warnings: what was noticed or changed, one sentence each.
        format: such as "CSV (comma)", "JSON lines", "Parquet", "NumPy arrays", "folder of pictures".
        target, split_column: columns that the data name by themselves, as images do; None where the user must.
        kinds: of columns whose kind is certain.
        kept: numbers of the frame's rows in the file where rows were left out (bad pictures); None where none was.
        labels: names of the channels of series, where the data name them.
    """

    frame: pl.DataFrame
    warnings: tuple[str, ...]
    format: str
    target: str | None = None
    split_column: str | None = None
    kinds: Mapping[str, ColumnKind] = field(default_factory=dict)
    kept: np.ndarray | None = None
    labels: tuple[str, ...] = ()
