"""Raw cells of a column -> numbers, days or labels: the one place that says how a cell is read.

What a cell means never depends on the other cells of its column, so that a row reads the same in training and at
prediction, alone or among others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from netwright.core.errors import DataError, nearest

MISSING_WORDS = ("", "na", "n/a", "nan", "null", "none", "?", "-", ".", "missing", "unknown")
"""Cells that mean "missing" in a column of numbers or dates, whatever their case. In a category column only "" and null do."""

_STRINGS = (pl.String, pl.Categorical, pl.Enum, pl.Object)
_LEADING_ZERO = r"^[+-]?0\d"
_MANY_DIGITS = r"^[+-]?\d{16,}$"
_THOUSANDS = r"^[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?$"
_POINT_GROUPS = r"^[+-]?[1-9]\d{0,2}(\.\d{3})+$"
_DECIMAL_COMMA = r"^[+-]?(\d*|[1-9]\d{0,2}(\.\d{3})+),\d+([eE][+-]?\d+)?$"
_EXACT = 2.0**53


def counted(n: int, noun: str) -> str:
    """A number and its noun.

    >>> counted(1, "cell"), counted(2000, "category")
    ('1 cell', '2,000 categories')
    """
    if n != 1 and noun != "series":
        noun = noun[:-1] + "ies" if noun.endswith("y") else noun + ("es" if noun.endswith(("s", "x", "ch")) else "s")
    return f"{n:,} {noun}"


def span_of(sizes: pl.Series) -> str:
    """Least and largest of some sizes, or the one size that all have.

    >>> span_of(pl.Series([3, 3])), span_of(pl.Series([1, 2000]))
    ('3', '1 to 2,000')
    """
    values = sizes.to_numpy()
    least, most = int(values.min()), int(values.max())
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def to_text(column: pl.Series) -> pl.Series:
    """Cells as strings without spaces around them; empty ones are null.

    >>> to_text(pl.Series([" Rome ", "", None])).to_list()
    ['Rome', None, None]
    """
    if column.dtype == pl.Object:
        column = pl.Series(column.name, [None if v is None else str(v) for v in column.to_list()], dtype=pl.String)
    text = column.cast(pl.String).str.strip_chars()
    return text.set(text == "", None)


def is_missing_word(text: pl.Series) -> pl.Series:
    """Whether each string is one of `MISSING_WORDS` (null is)."""
    return text.str.to_lowercase().is_in(MISSING_WORDS).fill_null(True)


def to_numbers(column: pl.Series) -> pl.Series:
    """Cells as Float64; missing, unreadable and infinite cells become null.

    Reads "1,5" as 1.5, "1,234.5" and "1.234,5" as 1234.5, "1,234" as 1234 (see `two_marks`); booleans as 0 and 1; dates as
    days since 1970-01-01.

    >>> to_numbers(pl.Series(["1", "1,5", "1,234.5", "n/a", "inf"])).to_list()
    [1.0, 1.5, 1234.5, None, None]
    """
    if column.dtype.is_temporal():
        return to_days(column)
    if column.dtype in _STRINGS:
        text = to_text(column)
        column = text.cast(pl.Float64, strict=False)
        unread = column.is_null() & text.is_not_null()
        if unread.any():
            column = column.zip_with(~unread, _with_commas(text))
    numbers = column.cast(pl.Float64, strict=False)
    return numbers.set(~numbers.is_finite().fill_null(True), None)


def _with_commas(text: pl.Series) -> pl.Series:
    thousands = text.str.contains(_THOUSANDS).fill_null(False)
    grouped = text.str.replace_all(",", "", literal=True).cast(pl.Float64, strict=False)
    return grouped.zip_with(thousands, _with_decimal_comma(text))


def _with_decimal_comma(text: pl.Series) -> pl.Series:
    point = text.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    return point.set(~text.str.contains(_DECIMAL_COMMA).fill_null(False), None).cast(pl.Float64, strict=False)


def two_marks(column: pl.Series) -> tuple[str, str] | None:
    """Two cells of a column of strings that cannot both be read: one where a mark groups thousands or is a decimal mark
    (who knows), one that uses the comma as decimal mark; None where all is clear.

    >>> two_marks(pl.Series(["1,5", "1,234", "7"])), two_marks(pl.Series(["1,234", "12,345.5"])), two_marks(pl.Series(["1,5", "2.5"]))
    (('1,234', '1,5'), None, None)
    """
    text = to_text(column)
    comma = text.filter(text.str.contains(",", literal=True).fill_null(False))
    decimal = comma.filter(comma.str.contains(_DECIMAL_COMMA) & ~comma.str.contains(_THOUSANDS))
    if not len(decimal):
        return None
    unclear = text.filter((text.str.contains(_THOUSANDS) | text.str.contains(_POINT_GROUPS)).fill_null(False))
    return (unclear[0], decimal[0]) if len(unclear) else None


def typed(column: pl.Series, *, decimal_comma: bool = False) -> tuple[pl.Series, list[str]]:
    """A column of strings as Int64 or Float64 where every cell that is not missing is a number, else as it stands.

    Stays a string: a column with a leading zero ("01234" names something) or with whole numbers too long for 64 bits.

    Args:
        column: strings.
        decimal_comma: whether "1,5" is 1.5 and "1.234,5" is 1234.5, as in files separated by semicolons.

    Returns:
        The column, and warnings.

    >>> typed(pl.Series("x", ["1", "n/a", " 3"]))[0].to_list(), typed(pl.Series("zip", ["01234", "10115"]))[0].to_list()
    ([1, None, 3], ['01234', '10115'])
    """
    text = to_text(column)
    if decimal_comma and text.str.contains(_DECIMAL_COMMA).any() and not text.str.contains(_POINT_GROUPS).any():
        read = _with_decimal_comma(text)
        text = read.cast(pl.String).zip_with(read.is_not_null(), text)
    whole = text.cast(pl.Int64, strict=False)
    number = whole if whole.null_count() == text.null_count() else text.cast(pl.Float64, strict=False)
    unread = text.filter(number.is_null() & text.is_not_null())
    if not is_missing_word(unread).all() or text.filter(number.is_not_null()).str.contains(_LEADING_ZERO).any():
        return column, []
    kept = text if not len(unread) else text.set(number.is_null(), None)
    if len(unread) or number is not whole:
        whole = kept.cast(pl.Int64, strict=False)
    if whole.null_count() == kept.null_count():
        return (whole, []) if whole.null_count() < len(whole) else (column, [])
    if kept.str.contains(_MANY_DIGITS).any():
        return column, []
    number = number.cast(pl.Float64)
    infinite = number.is_infinite().fill_null(False)
    warnings = []
    if infinite.any():
        shown = text.filter(infinite)[0]
        count = counted(int(infinite.sum()), "infinite cell")
        warnings.append(f"column {column.name!r}: {count} ({shown!r}) treated as missing")
    number = number.set(infinite, None).fill_nan(None)
    return (number, warnings) if number.null_count() < len(number) else (column, [])


def to_days(column: pl.Series) -> pl.Series:
    """Dates and times as days since 1970-01-01 in UTC (Float64); cells that are no date become null.

    Whole numbers such as 20240131 are read as year, month, day; smaller ones are days already.

    >>> to_days(pl.Series(["1970-01-02", "1970-01-01 12:00:00", "1970-01-01T02:00:00+02:00", "soon"])).to_list()
    [1.0, 0.5, 0.0, None]
    """
    if column.dtype.is_integer():
        numbers = column.cast(pl.Float64)
        large = (numbers.abs() >= 1e7).fill_null(False)
        parsed = (
            to_days(column.set(~large, None).cast(pl.String).str.to_date("%Y%m%d", strict=False))
            if large.any()
            else numbers
        )
        return parsed.zip_with(large, numbers)
    if column.dtype in _STRINGS:
        column = _parse_dates(to_text(column))
    if column.dtype == pl.Time:
        return column.cast(pl.Int64).cast(pl.Float64) / 86_400e9
    if column.dtype == pl.Duration:
        return column.cast(pl.Duration("us")).cast(pl.Int64).cast(pl.Float64) / 86_400e6
    if not column.dtype.is_temporal():
        return column.cast(pl.Float64, strict=False)
    if isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone:
        column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return column.cast(pl.Datetime("us")).cast(pl.Int64).cast(pl.Float64) / 86_400e6


def _parse_dates(text: pl.Series) -> pl.Series:
    """Strings as UTC times: the first format that reads a cell decides."""
    text = text.str.replace("T", " ", literal=True)
    zoned = text.str.contains(r"\d(Z|[+-]\d\d:?\d\d)$").fill_null(False) & text.str.contains(":", literal=True)
    times = pl.Series(text.name, [None] * len(text), dtype=pl.Datetime("us"))
    if zoned.any():
        offset = text.str.replace(r"Z$", "+00:00").str.replace(r" ([+-]\d\d:?\d\d)$", "${1}")
        for form in ("%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%d %H:%M%z"):
            parsed = offset.str.to_datetime(form, strict=False, time_unit="us", time_zone="UTC").dt.replace_time_zone(
                None
            )
            times = times.zip_with(times.is_not_null(), parsed)
    for form in (*_DATE_TIMES, *_DATES):
        if times.null_count() == text.null_count():
            break
        if form in _DATES:
            parsed = text.str.to_date(form, strict=False).cast(pl.Datetime("us"))
        else:
            parsed = text.str.to_datetime(form, strict=False, time_unit="us")
        times = times.zip_with(times.is_not_null(), parsed)
    return times


def numbers_of(column: pl.Series, kind: str) -> np.ndarray:
    """Cells of a column of kind "number", "integer" or "date" as float64 (N,), NaN where one is missing.

    >>> numbers_of(pl.Series(["1,5", None]), "number").tolist()
    [1.5, nan]
    """
    cells = to_days(column) if kind == "date" else to_numbers(column)
    return cells.to_numpy().astype(np.float64)


def require_columns(frame: pl.DataFrame, names: Sequence[str]) -> None:
    """Refuse rows without a column that a model needs.

    Raises:
        DataError: with the names that are absent, and the nearest that are there.
    """
    absent = [n for n in names if n not in frame.columns]
    if absent:
        hints = [
            f"{n!r}" + (f" (is it {near[0]!r}?)" if (near := nearest(n, frame.columns, 1)) else "") for n in absent
        ]
        raise DataError(
            f"the data lacks {len(absent)} of the columns that the model was trained on: {', '.join(hints)}"
        )


def to_labels(column: pl.Series) -> pl.Series:
    """Cells as strings, missing ones as null, written alike whether they come from a file or from a frame.

    Spaces around a label go; "3.0", 3.0 and 3 all read "3"; true, "True" and "TRUE" read "true"; "01234" stays.

    >>> to_labels(pl.Series([1.0, 2.5, None])).to_list(), to_labels(pl.Series(["1.0", " 2.50", "", "01", "True"])).to_list()
    (['1', '2.5', None], ['1', '2.5', None, '01', 'true'])
    """
    if column.dtype.is_float():
        return _number_labels(column.fill_nan(None))
    labels = to_text(column)
    if column.dtype in _STRINGS:
        seen = labels.unique().drop_nulls()
        same = _canonical(seen)
        changed = seen != same
        if changed.any():
            labels = labels.replace(seen.filter(changed), same.filter(changed))
    return labels


def _canonical(text: pl.Series) -> pl.Series:
    """The label that the same cell would have in a column of numbers or of booleans."""
    plain = text.str.contains(r"^[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)$") & ~text.str.contains(_MANY_DIGITS)
    number = text.cast(pl.Float64, strict=False)
    written = _number_labels(number).zip_with(plain & number.is_finite().fill_null(False), text)
    return written.str.to_lowercase().zip_with(text.is_in(["True", "TRUE", "False", "FALSE"]), written)


def _number_labels(column: pl.Series) -> pl.Series:
    whole = ((column == column.round(0)) & (column.abs() < _EXACT)).fill_null(False)
    digits = column.set(~whole, None).cast(pl.Int64, strict=False).cast(pl.String)
    return digits.zip_with(whole, column.cast(pl.String))


_DATE_TIMES = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%d.%m.%Y %H:%M", "%m/%d/%Y %H:%M")
_DATES = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%Y%m%d")
