"""The kinds of data whose cells are whole things, in one list from which reading, encoding and guessing are derived."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from netwright.core.spec import ColumnKind, WholeField
from netwright.data.audio import AUDIO
from netwright.data.kind import Kind
from netwright.data.series import SERIES
from netwright.data.sets import SETS
from netwright.data.trees import TREES
from netwright.data.volumes import VOLUMES

KINDS: Mapping[ColumnKind, Kind] = {kind.name: kind for kind in (SERIES, AUDIO, SETS, TREES, VOLUMES)}


def kind_of_field(field: WholeField) -> Kind:
    """The kind of a field."""
    return KINDS[field.kind]


def kind_of_cells(column: pl.Series) -> Kind | None:
    """The kind of a column's cells; None for numbers, words, dates and pixels."""
    return next((kind for kind in KINDS.values() if kind.holds(column)), None)
