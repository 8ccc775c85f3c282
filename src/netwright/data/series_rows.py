"""Series in the long form: a table with one row for each step -> one row for each series."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from netwright.core.errors import DataError, UsageError
from netwright.core.spec import InputSpec, SeriesField
from netwright.data.cells import counted, to_days, to_numbers
from netwright.data.infer import guess_kind, pick_column
from netwright.data.series import column_of_series, gaps_in
from netwright.report.text import number

NAME = "series"
"""What the column of series is called."""
_SHOWN = 8
UNEVEN = 1.5
"""A gap is a step of more than this many usual ones: a month of 31 days is none behind one of 28, a day that is left out is one."""


@dataclass(frozen=True)
class Steps:
    """How the rows of a table make series.

    Args:
        by: the column whose equal values make one series. order: the column that orders its steps; empty for the order of the rows.
        labels: the columns that are channels; empty where they are to be found out.
        constant: columns that must be the same within a series, such as the target.
        ignored: columns that are not looked at.
    """

    by: str
    order: str = ""
    labels: tuple[str, ...] = ()
    constant: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gathered:
    """Series that were gathered from rows.

    Args:
        frame: one row a series, in the order in which they first come: the key, the columns that are the same within each, the series.
        steps: how, with the channels that were found. warnings: sentences on what was noticed or changed.
    """

    frame: pl.DataFrame
    steps: Steps
    warnings: tuple[str, ...]


def gather(frame: pl.DataFrame, steps: Steps) -> Gathered:
    """Gather the rows of each series.

    Columns of numbers that change within a series are its channels; columns that never do belong to the row. Steps are sorted by
    the column of order; several rows of one time become one step, the mean of their values. Steps are taken as they follow each
    other, however much time lies between them: a warning names the largest gap. Values that are missing stay so (NaN), and are
    filled linearly in time, level at the ends, where series are encoded.

    Raises:
        DataError: a key or a time is missing, a column that must be the same within a series is not, or no column is a channel.
        UsageError: key, order and target are not different columns.

    >>> rows = pl.DataFrame({"id": [1, 1, 2], "t": [2, 1, 1], "v": [5.0, 4.0, 7.0], "y": ["a", "a", "b"]})
    >>> gather(rows, Steps("id", "t", constant=("y",))).frame.to_dicts()
    [{'id': 1, 'y': 'a', 'series': [[4.0], [5.0]]}, {'id': 2, 'y': 'b', 'series': [[7.0]]}]
    """
    for column in filter(None, (steps.by, steps.order, *steps.labels, *steps.constant)):
        pick_column(frame, column)
    if steps.by == steps.order or steps.by in steps.constant or steps.order in steps.constant:
        raise UsageError(
            f"--series-by {steps.by}: the key, the order and the target must be different columns; name another one"
        )
    _complete(frame[steps.by], "key")
    frame = frame.drop([c for c in steps.ignored if c not in (steps.by, steps.order, *steps.constant)])
    frame, notes = _sorted(frame, steps)
    labels, row_columns, more = _parts(frame, steps)
    channels = [_numbers(frame[c]) for c in labels]
    frame = frame.with_columns(channels)
    frame, doubled = _one_a_time(frame, steps, labels)
    if doubled:
        notes.append(doubled)
    groups = frame.group_by(steps.by, maintain_order=True).agg(
        pl.len().alias("_steps"), *(pl.col(c).drop_nulls().first() for c in row_columns)
    )
    values = frame.select(labels).to_numpy().astype(np.float32)
    order = frame.select(pl.col(steps.by).rank("dense").over(pl.lit(1)).alias("k"))["k"].to_numpy()
    ends = np.flatnonzero(np.diff(order)) + 1
    series = column_of_series(np.split(values, ends), _free(NAME, groups.columns))
    found = Steps(steps.by, steps.order, tuple(labels), steps.constant, steps.ignored)
    note = (
        f"{frame.height:,} rows make {counted(len(series), 'series')} by {steps.by}: {_listed(labels)} "
        f"{'is' if len(labels) == 1 else 'are'} the channel{'' if len(labels) == 1 else 's'}"
        + (f", {_listed(row_columns)} of the row" if row_columns else "")
        + (f", in the order of {steps.order}" if steps.order else ", in the order of the rows")
    )
    return Gathered(groups.drop("_steps").with_columns(series), found, (note, *notes, *more))


def gathered_again(frame: pl.DataFrame, spec: InputSpec) -> pl.DataFrame:
    """New rows gathered as those that a model was trained on; as they are where those were not, or where series come as cells.

    Raises:
        DataError: a column is not there.
    """
    return gathered_and_told(frame, spec)[0]


def gathered_and_told(frame: pl.DataFrame, spec: InputSpec) -> tuple[pl.DataFrame, list[str]]:
    """As `gathered_again`, and sentences on what is strange about the new rows.

    Raises:
        DataError: a column is not there.
    """
    field = next((f for f in spec.wholes if isinstance(f, SeriesField) and f.by), None)
    if field is None or field.name in frame.columns:
        return frame, []
    steps = Steps(field.by, field.order, field.labels)
    found = _known(frame, steps, [c for c in spec.names if c != field.name])
    return found.frame.rename({NAME: field.name}), [*found.warnings[1:], *gaps_in(found.frame[NAME])]


def gather_known(frame: pl.DataFrame, steps: Steps, others: Collection[str]) -> pl.DataFrame:
    """Rows gathered in a way that is known, with those of the other columns that are there; all else is ignored.

    Raises:
        DataError: as `gather`.
    """
    return _known(frame, steps, others).frame


def _known(frame: pl.DataFrame, steps: Steps, others: Collection[str]) -> Gathered:
    there = tuple(c for c in others if c in frame.columns)
    ignored = tuple(c for c in frame.columns if c not in {steps.by, steps.order, *steps.labels, *there})
    return gather(frame, replace(steps, constant=there, ignored=ignored))


def told(spec: InputSpec, steps: Steps | None) -> InputSpec:
    """A spec whose series know how they were made of rows."""
    if steps is None:
        return spec
    update = {"by": steps.by, "order": steps.order, "labels": steps.labels}
    fields = tuple(
        f.model_copy(update=update) if isinstance(f, SeriesField) and f.channels == len(steps.labels) else f
        for f in spec.fields
    )
    return spec.model_copy(update={"fields": fields})


def _complete(column: pl.Series, what: str) -> None:
    if column.null_count():
        row = int(column.is_null().arg_true()[0])
        missing = counted(column.null_count(), "row")
        raise DataError(
            f"the {what} {column.name!r} is missing in {missing} (first: row {row}); fill it in, or take them out"
        )


def _sorted(frame: pl.DataFrame, steps: Steps) -> tuple[pl.DataFrame, list[str]]:
    """Rows with those of each series together, in the order of its first row, and sorted by time."""
    first = pl.col("_row").min().over(steps.by)
    frame = frame.with_row_index("_row")
    if not steps.order:
        return frame.sort(first, "_row", maintain_order=True).drop("_row"), []
    times, in_days = frame[steps.order], frame[steps.order].dtype.is_temporal()
    if times.dtype == pl.String:
        read = to_numbers(times)
        in_days = read.null_count() > times.null_count()
        times = to_days(times) if in_days else read
    _complete(times.alias(steps.order), "order")
    frame = frame.with_columns(times.alias("_time"))
    backwards = frame.filter((pl.col("_time").diff() < 0).over(steps.by).fill_null(False))
    n = backwards[steps.by].n_unique()
    notes = (
        [f"the steps of {counted(n, 'series')} were not in the order of {steps.order}, and were sorted"] if n else []
    )
    frame = frame.sort(first, "_time", "_row", maintain_order=True).drop("_row")
    return frame, [*notes, *_uneven(frame, steps, in_days)]


def _uneven(frame: pl.DataFrame, steps: Steps, in_days: bool) -> list[str]:
    """The sentence on gaps in time: the series with the largest one, and what is done; none where steps are about even."""
    moved = to_days(frame["_time"]) if in_days else frame["_time"].cast(pl.Float64)
    taken = frame.select(
        pl.col(steps.by).alias("by"),
        pl.col(steps.order).shift(1).over(steps.by).alias("from"),
        pl.col(steps.order).alias("to"),
        moved.diff().alias("step"),
    ).filter(pl.col("from").is_not_null() & pl.col("step").is_finite() & (pl.col("step") > 0))
    usual = float(taken["step"].median() or 0.0)  # type: ignore[arg-type]
    gaps = taken.filter(pl.col("step") > UNEVEN * usual)
    if not gaps.height:
        return []
    worst = gaps.row(int(gaps["step"].arg_max() or 0), named=True)
    largest, normal = (_span(v, in_days) for v in (worst["step"], usual))
    return [
        f"steps in {steps.order} are uneven in {counted(gaps['by'].n_unique(), 'series')}: the largest gap is {largest} in series "
        f"{worst['by']!r}, from {worst['from']} to {worst['to']}, where {normal} is usual; steps are taken as they follow each other, "
        "however much time lies between them (to show it, fill the gaps in, or add a column with the time since the step before)"
    ]


def _span(step: float, in_days: bool) -> str:
    """A length of time in words.

    >>> _span(847.0, False), _span(2.0, True), _span(0.5, True), _span(90 / 86400, True)
    ('847', '2 days', '12 h', '90 s')
    """
    if not in_days:
        return number(step)
    for size, unit in ((1.0, "days"), (24.0, "h"), (1440.0, "min")):
        if step * size >= 2 or step == size == 1:
            return f"{number(round(step * size, 3))} {unit if step != 1 or unit != 'days' else 'day'}"
    return f"{number(round(step * 86_400, 3))} s"


def _parts(frame: pl.DataFrame, steps: Steps) -> tuple[list[str], list[str], list[str]]:
    """Channels, columns of the row, and sentences on columns that are neither."""
    others = [c for c in frame.columns if c not in (steps.by, steps.order, "_time", *steps.constant, *steps.labels)]
    most = frame.group_by(steps.by).agg(pl.col(c).n_unique() for c in (*others, *steps.constant))
    for column in steps.constant:
        values = frame.group_by(steps.by, maintain_order=True).agg(pl.col(column).drop_nulls().unique())
        bad = values.filter(pl.col(column).list.len() > 1)
        if bad.height:
            shown = ", ".join(map(repr, bad[column][0].to_list()[:3]))
            raise DataError(
                f"column {column!r} must be the same in all rows of a series, but differs in {counted(bad.height, 'series')}, such as "
                f"{bad[steps.by][0]!r} ({shown}); mend it, or name another key"
            )
    if steps.labels:
        return list(steps.labels), list(steps.constant), []
    changing = [c for c in others if int(most[c].max() or 0) > 1]  # type: ignore[arg-type]
    kinds = {c: guess_kind(frame[c]) for c in changing}
    labels = [c for c in changing if kinds[c].kind in ("number", "integer") or frame[c].dtype.is_numeric()]
    if not labels:
        raise DataError(
            f"no column of numbers changes within the series of {steps.by!r} ({most.height:,} in {frame.height:,} rows), so they have no "
            "values; name another key"
        )
    left = [f"{c} ({kinds[c].kind})" for c in changing if c not in labels]
    notes = [f"left out, for they change within a series and are no numbers: {', '.join(left)}"] if left else []
    return labels, [*(c for c in others if c not in changing), *steps.constant], notes


def _numbers(column: pl.Series) -> pl.Series:
    return to_numbers(column).cast(pl.Float64)


def _one_a_time(frame: pl.DataFrame, steps: Steps, labels: Sequence[str]) -> tuple[pl.DataFrame, str]:
    """Rows of which each has a time of its own within its series, and the sentence on those that had not."""
    if "_time" not in frame.columns:
        return frame, ""
    key = [steps.by, "_time"]
    n = frame.height - frame.select(key).n_unique()
    if not n:
        return frame.drop("_time"), ""
    rest = [c for c in frame.columns if c not in (*key, *labels)]
    found = frame.group_by(key, maintain_order=True).agg(
        *(pl.col(c).mean() for c in labels), *(pl.col(c).drop_nulls().first() for c in rest)
    )
    note = f"{counted(n, 'row')} had the {steps.order} of another row of the same series; each such step is the mean of its rows"
    return found.drop("_time"), note


def _free(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _listed(names: Collection[str]) -> str:
    some = list(names)
    return ", ".join(some[:_SHOWN]) + (f" and {len(some) - _SHOWN} more" if len(some) > _SHOWN else "")
