"""Some rows of a long Parquet table, drawn evenly over all of it: what specs are fitted on, and what validates and tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from netwright.core.errors import DataError
from netwright.data.cells import counted, to_labels
from netwright.data.data import PARTS
from netwright.data.frames import settled
from netwright.data.infer import pick_column
from netwright.data.parquet import ParquetTable
from netwright.data.parts import NO_PART, TEST, TRAIN, VALID, PartRule, uniform
from netwright.data.split import FRACTIONS, MIN_ROWS

SAMPLE_ROWS, HELD_OUT_ROWS = 200_000, 50_000
"""Training rows of a sample, and rows that validate and that test: about so many."""
MAX_LABELS, RARE_ROWS = 200, 20
"""Of a target with at most so many different cells, each gets about that many rows (or all) into the sample, however rare."""
_SCAN_ROWS = 1 << 17


@dataclass(frozen=True)
class Sample:
    """Rows of a table in their order.

    Args:
        frame: all columns but that which named the parts, and `part` with the part of each row.
        rule: which part any row of the table is in.
        n_train: training rows of the whole table.
        warnings: what was left out or changed.
    """

    frame: pl.DataFrame
    rule: PartRule
    n_train: int
    warnings: tuple[str, ...]
    part: str


def draw(
    table: ParquetTable,
    target: str,
    *,
    seed: int,
    split_column: str | None = None,
    rows: int = SAMPLE_ROWS,
    held_out: int = HELD_OUT_ROWS,
) -> Sample:
    """Draw a sample of the training, validation and test rows. Two passes: over the target, then over all columns.

    Without a split column 16 % of the rows validate and 20 % test, but at most about `held_out` each, so that all others train.
    Rows without a target are left out.

    Raises:
        DataError: no such column, a word that names no part, or no training row.
    """
    for name, what in ((target, "target column"), (split_column, "split column")):
        if name is not None:
            pick_column(pl.DataFrame(schema=table.schema), name, what)
    rule, sizes, labels = _plan(table, PartRule(target, seed, 0.0, 0.0, split_column), held_out)
    share = np.minimum(1.0, np.array([rows, held_out, held_out]) / np.maximum(sizes, 1))
    pieces, parts = [], []
    for start, codes, frame in _scan(table, rule):
        chance = np.where(codes == NO_PART, 0.0, share[codes])
        if labels:
            found = to_labels(frame[target])
            rare = found.replace_strict(list(labels), [RARE_ROWS / n for n in labels.values()], default=0.0)
            chance = np.where(codes == TRAIN, np.maximum(chance, rare.fill_null(0.0).to_numpy()), chance)
        taken = np.flatnonzero(uniform(np.arange(start, start + len(codes)), seed, "sample") < chance)
        if len(taken):
            lazy = table.read(start, start + len(codes))
            pieces.append(lazy[taken])
            parts.append(codes[taken])
    frame, warnings = settled(pl.concat(pieces).rechunk())
    missing = len(table) - int(sizes.sum())
    if missing:
        warnings = [f"{counted(missing, 'row')} without the target {target!r} left out", *warnings]
    part = "part"
    while part in frame.columns:
        part += " of the split"
    names = pl.Series(part, [PARTS[code] for code in np.concatenate(parts)], dtype=pl.String)
    frame = (frame.drop(split_column) if split_column else frame).with_columns(names)
    return Sample(frame, rule, int(sizes[TRAIN]), tuple(warnings), part)


def _plan(table: ParquetTable, named: PartRule, held_out: int) -> tuple[PartRule, np.ndarray, dict[str, int]]:
    """The rule with its shares, how many rows each part then has, about, and how many training rows each label has."""
    sizes, labels = np.zeros(3, dtype=np.int64), _Labels(table.schema[named.target])
    for _, codes, frame in _scan(table, named):
        sizes += np.bincount(codes[codes != NO_PART], minlength=3)
        labels.count(frame[named.target].filter(pl.Series(codes == TRAIN)))
    n = int(sizes[TRAIN])
    if n < MIN_ROWS:
        raise DataError(f"{table.path} has {counted(n, 'training row')} with a target; at least {MIN_ROWS} are needed")
    shares = {part: 0.0 if sizes[part] else min(FRACTIONS[part], held_out / n) for part in (VALID, TEST)}
    rule = replace(named, valid=shares[VALID], test=shares[TEST])
    for part in (VALID, TEST):
        sizes[part] += round(shares[part] * n)
        sizes[TRAIN] -= round(shares[part] * n)
    return rule, sizes, labels.counts


class _Labels:
    """Counts the labels of a target, as long as they are few; of fractions they never are."""

    def __init__(self, dtype: pl.DataType) -> None:
        self.counts: dict[str, int] = {}
        self.few = not (dtype.is_float() or dtype.is_decimal() or dtype.is_temporal())

    def count(self, target: pl.Series) -> None:
        if self.few:
            for cell, n in target.value_counts(name="n").iter_rows():
                label = to_labels(pl.Series([cell], dtype=target.dtype))[0]
                self.counts[label] = self.counts.get(label, 0) + n
                if len(self.counts) > MAX_LABELS:
                    self.few, self.counts = False, {}
                    return


def _scan(table: ParquetTable, rule: PartRule) -> Iterator[tuple[int, np.ndarray, pl.DataFrame]]:
    """First row, codes of the parts, and the columns that the rule looks at, piece by piece."""
    for start, stop in table.slices(_SCAN_ROWS):
        frame = settled(table.read(start, stop, rule.columns))[0]
        yield start, rule(frame, start), frame
