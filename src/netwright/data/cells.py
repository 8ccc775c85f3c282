"""Raw cells of a column -> numbers, days or labels: the one place that says how a cell is read."""

from __future__ import annotations

import polars as pl

MISSING_WORDS = ("", "na", "n/a", "nan", "null", "none", "?", "-", ".", "missing", "unknown")
"""Cells that mean "missing" in a column of numbers or dates, whatever their case. In a category column only "" and null do."""


def to_numbers(column: pl.Series) -> pl.Series:
    """Cells as Float64; missing, unreadable and infinite cells become null.

    Reads "1,5" as 1.5 and "1,234.5" as 1234.5; booleans as 0 and 1; dates as days since 1970-01-01.

    >>> to_numbers(pl.Series(["1", "1,5", "1,234.5", "n/a", "inf"])).to_list()
    [1.0, 1.5, 1234.5, None, None]
    """
    if column.dtype.is_temporal():
        return to_days(column)
    if column.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Object):
        text = column.cast(pl.String).str.strip_chars()
        plain = text.cast(pl.Float64, strict=False)
        thousands = text.str.contains(r"^[+-]?\d{1,3}(,\d{3})+(\.\d+)?$")
        grouped = text.str.replace_all(",", "").cast(pl.Float64, strict=False)
        comma = text.str.replace(",", ".").cast(pl.Float64, strict=False)
        frame = pl.DataFrame({"plain": plain, "thousands": thousands, "grouped": grouped, "comma": comma})
        column = frame.select(
            pl.coalesce("plain", pl.when("thousands").then("grouped"), "comma").alias(column.name)
        ).to_series()
    numbers = column.cast(pl.Float64, strict=False)
    return numbers.set(~numbers.is_finite().fill_null(True), None)


def to_days(column: pl.Series) -> pl.Series:
    """Dates and times as days since 1970-01-01 (Float64); cells that are no date become null.

    >>> to_days(pl.Series(["1970-01-02", "1970-01-01 12:00:00", "soon"])).to_list()
    [1.0, 0.5, None]
    """
    if column.dtype in (pl.String, pl.Categorical, pl.Enum):
        text = column.cast(pl.String).str.strip_chars().str.replace("T", " ", literal=True)
        tries = [text.str.to_datetime(f, strict=False, time_unit="us") for f in _DATE_TIMES]
        tries += [text.str.to_date(f, strict=False).cast(pl.Datetime("us")) for f in _DATES]
        column = pl.DataFrame({str(i): t for i, t in enumerate(tries)}).select(pl.coalesce(pl.all())).to_series()
    if column.dtype == pl.Time:
        return column.cast(pl.Int64).cast(pl.Float64) / 86_400e9
    if column.dtype == pl.Duration:
        return column.cast(pl.Duration("us")).cast(pl.Int64).cast(pl.Float64) / 86_400e6
    if not column.dtype.is_temporal():
        return column.cast(pl.Float64, strict=False)
    return column.cast(pl.Datetime("us")).dt.replace_time_zone(None).cast(pl.Int64).cast(pl.Float64) / 86_400e6


def to_labels(column: pl.Series) -> pl.Series:
    """Cells as strings, missing ones as null; 3.0 in a column of whole floats reads "3", so that files and frames agree.

    >>> to_labels(pl.Series([1.0, 2.0, None])).to_list()
    ['1', '2', None]
    """
    if column.dtype.is_float():
        column = column.fill_nan(None)
        if bool((column.drop_nulls() == column.drop_nulls().round(0)).all()) and bool((column.drop_nulls().abs() < 2**53).all()):
            column = column.cast(pl.Int64)
    if column.dtype == pl.Object:
        column = pl.Series(column.name, [None if v is None else str(v) for v in column.to_list()], dtype=pl.String)
    labels = column.cast(pl.String)
    return labels.set(labels == "", None)


_DATE_TIMES = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%d.%m.%Y %H:%M", "%m/%d/%Y %H:%M")
_DATES = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%Y%m%d")
