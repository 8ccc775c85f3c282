"""What a column is, and what task a target asks for: guesses with their reason, each of which the user can override."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

import polars as pl

from netwright.core.errors import DataError, UsageError, unknown
from netwright.core.spec import ColumnKind, Task
from netwright.data.arrays import holds_pixels
from netwright.data.cells import counted, is_missing_word, to_days, to_labels, to_numbers, to_text, two_marks
from netwright.data.kinds import kind_of_cells
from netwright.data.picture import is_picture

UNIQUE_SHARE = 0.95
"""Share of different cells from which a column counts as nearly unique."""
MIN_IDENTIFIERS = 20
"""Fewer cells than this are never called identifiers: a short column is easily unique."""
MAX_STRAY = 0.05
"""Share of cells that may be no number (no date) in a column that is still read as numbers (dates)."""
MAX_CLASSES = 20
"""Most different whole numbers in a target that are taken for classes."""
ROWS_PER_CLASS = 10

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}
"""Words of a split column, in lower case, and the part that each names."""

_ID_WORDS = {
    "id",
    "ids",
    "uid",
    "uuid",
    "guid",
    "pk",
    "key",
    "index",
    "idx",
    "rowid",
    "rownum",
    "rownumber",
    "unnamed",
    "serial",
}
_DATE_WORDS = {"date", "day", "time", "timestamp", "datetime", "dt", "year", "month", "week", "hour"}
_LOOKS_DATED = r"^\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T]|$)|^(19|20)\d{6}$"
_WITH_UNIT = r"^([$€£]\s?[+-]?[\d.,]+|[+-]?[\d.,]+\s?[%$€£])$"
_TOKEN = r"^\S{1,64}$"
_LOOKS_LIKE_TREES = r"(?s)^\s*\(\S*\s.*\(.*\)\s*\)\s*$"


@dataclass(frozen=True)
class Guess:
    """A column's kind, why, and what the user should know."""

    kind: ColumnKind
    reason: str
    warnings: tuple[str, ...] = ()


def infer_kinds(
    frame: pl.DataFrame, overrides: Mapping[str, ColumnKind] | None = None, *, target: str | None = None
) -> dict[str, Guess]:
    """The kind of every column but the target, by the first rule that fits:

    1. an override (`--kind NAME=KIND`);
    2. *image*: arrays of pixels, or absolute paths of picture files that are there; *series*, *audio*, *set*, *tree* and *volume*: cells
       of the type that holds such things;
    3. *constant*: one value and nothing missing, or nothing but missing cells;
    4. *date*: typed so, or at least 95 % of the cells read as dates;
    5. *identifier*: nearly unique (95 %, 20 cells or more) whole numbers that count up without gaps or are named like an id,
       or nearly unique strings without spaces; never a column with fractions;
    6. *integer* and *number*: at least 95 % of the cells are numbers (integer where all are whole);
    7. *text*: long strings, or strings of several words that are mostly unique;
    8. *category*: everything else.

    Args:
        frame: raw rows.
        overrides: kinds that the user has set.
        target: name of the column that is to be predicted; it gets no guess.

    Raises:
        UsageError: an override names no column or no kind.
        DataError: every column is constant; an override that the cells forbid; a column of numbers in which a mark has
            two meanings.

    >>> guesses = infer_kinds(pl.DataFrame({"age": [39, 50, 38], "sex": ["f", "m", "f"], "one": [1, 1, 1]}))
    >>> [(name, g.kind) for name, g in guesses.items()]
    [('age', 'integer'), ('sex', 'category'), ('one', 'constant')]
    """
    overrides = overrides or {}
    for name, kind in overrides.items():
        if name not in frame.columns:
            raise UsageError(unknown("column", name, frame.columns) + f" (in --kind {name}={kind})")
        if kind not in get_args(ColumnKind):
            raise UsageError(unknown("kind of column", kind, get_args(ColumnKind)) + f" (in --kind {name}={kind})")
    guesses = {}
    for column in frame.iter_columns():
        if column.name == target:
            continue
        name = column.name
        guesses[name] = _overridden(column, overrides[name]) if name in overrides else guess_kind(column)
    kinds = {g.kind for g in guesses.values()}
    if kinds == {"constant"} and not overrides:
        columns = f"all {counted(len(guesses), 'column')} but the target are constant"
        raise DataError(f"{columns}, so there is nothing to learn from; is this the right file?")
    if kinds and kinds <= {"constant", "identifier"}:
        guesses = {n: _counting(frame[n], g) if n not in overrides else g for n, g in guesses.items()}
    return guesses


def _counting(column: pl.Series, guess: Guess) -> Guess:
    """Identifiers of whole numbers as integers, where nothing else is left to learn from."""
    if guess.kind != "identifier" or not column.dtype.is_numeric():
        return guess
    note = f"column {column.name!r} counts up like row numbers, but is used since nothing else is left"
    return Guess("integer", "whole numbers, the only input", (note,))


def _overridden(column: pl.Series, kind: ColumnKind) -> Guess:
    if kind == "image" and (pictures := _pictures(column)):
        return pictures
    name, reason = column.name, f"set by --kind {column.name}={kind}"
    if kind not in ("number", "integer", "date"):
        return Guess(kind, reason)
    cells = to_text(column).drop_nulls() if column.dtype == pl.String else column.drop_nulls()
    read = to_days(cells) if kind == "date" else to_numbers(cells)
    if len(cells) and read.null_count() == len(cells):
        came = f"no cell of that column is a {'date' if kind == 'date' else 'number'} (first: {cells[0]!r})"
        raise DataError(f"--kind {name}={kind}: {came}; choose another kind, or --drop {name}")
    return Guess(kind, reason, _strays(name, cells, read, kind) if column.dtype == pl.String else ())


def guess_kind(column: pl.Series) -> Guess:
    """The kind of one column by its cells and its name, as `infer_kinds` says."""
    if pictures := _pictures(column):
        return pictures
    if whole := kind_of_cells(column):
        return Guess(whole.name, whole.describe(column))
    cells = (to_text(column) if column.dtype == pl.String else column).drop_nulls()
    n_missing, n_different = len(column) - len(cells), cells.n_unique()
    if not len(cells):
        return Guess("constant", "every cell is missing")
    if n_different == 1:
        shown = f"{str(cells[0])[:40]!r}"
        return Guess("category", f"{shown} or missing") if n_missing else Guess("constant", f"always {shown}")
    if column.dtype in (pl.Date, pl.Datetime):
        return Guess("date", "typed as dates")
    if column.dtype == pl.Boolean:
        return Guess("category", "true or false")
    if column.dtype.is_numeric() or column.dtype.is_temporal():
        return _guess_numbers(column.name, cells, n_missing)
    return _guess_strings(column.name, cells, n_different)


def _pictures(column: pl.Series) -> Guess | None:
    """Of a column of images; None of any other."""
    if holds_pixels(column.dtype):
        return Guess("image", f"arrays of {' x '.join(map(str, getattr(column.dtype, 'shape', ())))} pixels")
    if column.dtype != pl.String or column.null_count() or not len(column):
        return None
    if all(is_picture(path) and os.path.isabs(path) for path in column) and os.path.isfile(column[0]):
        return Guess("image", f"names of picture files, such as {os.path.basename(column[0])[-40:]}")
    return None


def _guess_numbers(name: str, cells: pl.Series, n_missing: int, warnings: tuple[str, ...] = ()) -> Guess:
    values = to_numbers(cells).drop_nulls()
    if not bool((values == values.round(0)).all()):
        return Guess("number", "numbers with fractions", warnings)
    words, n, n_different = _words(name), len(cells), cells.n_unique()
    if words & _DATE_WORDS and _is_dates(values):
        return Guess("date", "whole numbers that read as year, month, day", warnings)
    named = bool(words & _ID_WORDS)
    low, high = values.to_numpy().min(), values.to_numpy().max()
    gapless = n_different == n and not n_missing and high - low + 1 <= 1.05 * n
    if _unique(n_different, n) and (named or (gapless and not words & _DATE_WORDS)):
        how = "named like one" if named else f"counting from {low:,.0f} to {high:,.0f}"
        return Guess("identifier", f"{counted(n_different, 'different whole number')} in {n:,} cells, {how}", warnings)
    if named and n_different <= MAX_STRAY * n:
        note = f"column {name!r} names groups of rows: if rows of one group belong together, add --group {name}"
        reason = f"named like an identifier, {counted(n_different, 'different value')}"
        return Guess("category", reason, (*warnings, note))
    return Guess("integer", f"whole numbers from {low:,.0f} to {high:,.0f}", warnings)


def _guess_strings(name: str, cells: pl.Series, n_different: int) -> Guess:
    n, known = len(cells), cells.filter(~is_missing_word(cells))
    numbers = to_numbers(known).drop_nulls()
    n_stray = len(known) - len(numbers)
    coded = bool(known.str.contains(r"^[+-]?0\d+$|^\d{16,}$").any())
    if not coded and len(numbers) and (not n_stray or (_few(n_stray, len(known)) and numbers.n_unique() > 10)):
        _refuse_two_marks(name, known)
        return _guess_numbers(name, numbers, n - len(numbers), _strays(name, cells, to_numbers(cells), "number"))
    if len(known) and _share(known.head(200), _LOOKS_LIKE_TREES) >= 1 - MAX_STRAY:
        note = f"column {name!r} looks like trees in brackets ({known[0][:40]!r}): to read them as such add --kind {name}=tree"
        return Guess("text", "text in brackets", (note,))
    dated = len(known) > 0 and _share(known.head(200), _LOOKS_DATED) >= 1 - MAX_STRAY
    if dated and _few((days := to_days(known)).null_count(), len(known)):
        return Guess("date", f"reads as dates, such as {known[0]!r}", _strays(name, known, days, "date"))
    notes = _split_note(name, cells)
    if _unique(n_different, n) and _share(cells, _TOKEN) >= UNIQUE_SHARE:
        return Guess("identifier", f"{counted(n_different, 'different string')} in {n:,} cells", notes)
    n_words, length = cells.str.count_matches(r"\S+").sum() / n, cells.str.len_chars().sum() / n
    if (n_words >= 2.5 and n_different >= 0.5 * n and n >= MIN_IDENTIFIERS) or length > 80:
        reason = f"{n_words:.0f} words a cell, {counted(n_different, 'different string')} in {n:,} cells"
        return Guess("text", reason, notes)
    if dated:
        note = f"looks like dates ({known[0]!r}) but not as year-month-day or day.month.year; write them as 2024-01-31"
    elif coded:
        note = f"has leading zeros or very long numbers, so its cells are labels; for numbers add --kind {name}=number"
    elif len(known) and _share(known, _WITH_UNIT) >= 1 - MAX_STRAY:
        note = f"holds numbers with a sign ({known[0]!r}), taken as labels; remove the sign to have numbers"
    elif n_different > 0.5 * n and n >= MIN_IDENTIFIERS:
        note = (
            f"has {n_different:,} labels in {n:,} cells, most of them rare: it can teach little; consider --drop {name}"
        )
    else:
        return Guess("category", counted(n_different, "different label"), notes)
    return Guess("category", counted(n_different, "different label"), (*notes, f"column {name!r} {note}"))


def _unique(n_different: int, n: int) -> bool:
    return n >= MIN_IDENTIFIERS and n_different >= UNIQUE_SHARE * n


def _few(n_stray: int, n: int) -> bool:
    return n_stray <= max(1, MAX_STRAY * n) and n_stray < n


def _share(cells: pl.Series, pattern: str) -> float:
    return int(cells.str.contains(pattern).sum()) / len(cells)


def _refuse_two_marks(name: str, cells: pl.Series) -> None:
    marks = two_marks(cells)
    if marks:
        raise DataError(
            f"column {name!r} holds {marks[0]!r} and {marks[1]!r}: is the mark a decimal mark or does it group thousands? "
            f"Write numbers as 1234.5, or --drop {name}"
        )


def _strays(name: str, cells: pl.Series, read: pl.Series, kind: str) -> tuple[str, ...]:
    """What was made of cells that are not plain numbers (dates): missing, or a comma taken as decimal mark."""
    stray = cells.filter(read.is_null())
    odd = stray.filter(~is_missing_word(stray))
    notes = []
    if len(odd):
        what = "no date" if kind == "date" else "no finite number"
        notes.append(f"column {name!r}: {_are(len(odd), what)} and treated as missing: {_shown(odd)}")
    if kind != "date":
        commas = cells.filter(cells.str.contains(",", literal=True) & read.is_not_null())
        if len(commas):
            example = f"{commas[0]!r} read as {to_numbers(commas)[0]:g}"
            notes.append(f"column {name!r}: {counted(len(commas), 'cell')} with a comma, such as {example}")
    return tuple(notes)


def _are(n: int, what: str) -> str:
    return f"{counted(n, 'cell')} {'is' if n == 1 else 'are'} {what}"


def _shown(cells: pl.Series, n: int = 3) -> str:
    different = cells.unique(maintain_order=True)
    return ", ".join(repr(str(v)[:30]) for v in different.head(n)) + (", ..." if len(different) > n else "")


def _words(name: str) -> set[str]:
    """The words of a column's name in lower case.

    >>> sorted(_words("PassengerId")), sorted(_words("row_id"))
    (['id', 'passenger'], ['id', 'row'])
    """
    return {w.lower() for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def _is_dates(values: pl.Series) -> bool:
    return bool(values.is_between(17_000_000, 22_000_000).all()) and to_days(values.cast(pl.Int64)).null_count() == 0


def _split_note(name: str, cells: pl.Series) -> tuple[str, ...]:
    words = {str(v).lower() for v in cells.unique().head(9)}
    if "train" not in {SPLIT_NAMES.get(w) for w in words} or not words <= SPLIT_NAMES.keys():
        return ()
    parts = ", ".join(sorted(words))
    return (f"column {name!r} names the parts of a split ({parts}): add --split-column {name}, or --drop {name}",)


def pick_column(frame: pl.DataFrame, name: str, what: str = "column") -> pl.Series:
    """A column by name.

    Raises:
        DataError: there is none; the nearest names are offered.
    """
    if name not in frame.columns:
        raise DataError(unknown(what, name, frame.columns))
    return frame[name]


def infer_task(target: pl.Series, override: str | None = None) -> tuple[Task, str]:
    """What kind of prediction a target asks for, and why.

    Strings, booleans and categories (the classes of images) are classes; numbers with fractions are numbers; whole numbers are
    classes where at most 20 differ and each comes in 10 rows on average, else numbers; two different values of any but fractions
    are binary.

    Raises:
        UsageError: `override` is no task.
        DataError: missing or infinite cells, fewer than two rows, one class only, a class with one row, or an override that the
            cells forbid.

    >>> infer_task(pl.Series("income", ["low", "high"] * 5))
    ('binary', 'two classes: high, low')
    """
    name, n = target.name, len(target)
    if override is not None and override not in get_args(Task):
        raise UsageError(unknown("task", override, get_args(Task)))
    if n < 2:
        raise DataError(
            f"the data has {counted(n, 'row')}; at least two are needed to learn anything, and some hundreds to learn it well"
        )
    labels = to_labels(target)
    n_missing = labels.null_count()
    if n_missing:
        rows = ", ".join(str(i + 1) for i in labels.is_null().arg_true().head(3)) + (", ..." if n_missing > 3 else "")
        came = f"target {name!r} is missing in {n_missing:,} of {n:,} rows (rows {rows})"
        raise DataError(f"{came}; remove those rows, or fill them in")
    task, reason = _task_of(target, labels) if override is None else _task_set(target, labels, override)
    if task != "number":
        _check_classes(name, labels, whole=target.dtype.is_numeric())
    elif labels.n_unique() == 1:
        raise DataError(
            f"target {name!r} is always {labels[0]!r}, so there is nothing to predict; was the right column named?"
        )
    return task, reason


def _task_of(target: pl.Series, labels: pl.Series) -> tuple[Task, str]:
    if isinstance(target.dtype, pl.Categorical):
        return _named_classes(labels)
    name, n, n_different = target.name, len(target), labels.n_unique()
    numbers = to_numbers(target)
    n_stray = numbers.null_count()
    if target.dtype == pl.Boolean or (n_stray and (n_stray > MAX_STRAY * n or n_different <= MAX_CLASSES)):
        return _named_classes(labels)
    if n_stray:
        came = f"target {name!r} is a number, but {_are(n_stray, 'none')}: {_shown(labels.filter(numbers.is_null()))}"
        raise DataError(f"{came}; mend or remove those rows, or set --task classes")
    if target.dtype == pl.String:
        _refuse_two_marks(name, target)
    if target.dtype.is_temporal():
        return "number", "dates, predicted as days since 1970-01-01"
    values = numbers.to_numpy()
    if not bool((values == values.round()).all()):
        return "number", f"numbers with fractions from {values.min():g} to {values.max():g}"
    span = f"from {values.min():,.0f} to {values.max():,.0f}"
    if n_different == 2:
        return "binary", f"two whole numbers: {values.min():,.0f}, {values.max():,.0f}"
    if n_different <= MAX_CLASSES and n_different * ROWS_PER_CLASS <= n:
        seen = f"{n_different} different whole numbers {span} in {n:,} rows"
        return "classes", f"{seen} look like classes; if they are amounts, set --task number"
    return "number", f"{n_different:,} different whole numbers {span}; if they are classes, set --task classes"


def _named_classes(labels: pl.Series) -> tuple[Task, str]:
    classes = labels.unique().sort()
    words = classes.filter(classes.str.to_lowercase().is_in(["na", "n/a", "nan", "null", "none", "?"]))
    note = f"; {words[0]!r} counts as a class here, remove those rows if it means missing" if len(words) else ""
    shown = ", ".join(c[:20] for c in classes.head(8)) + (", ..." if len(classes) > 8 else "")
    if len(classes) == 2:
        return "binary", f"two classes: {shown}{note}"
    return "classes", f"{len(classes):,} classes: {shown}{note}"


def _task_set(target: pl.Series, labels: pl.Series, override: str) -> tuple[Task, str]:
    reason = f"set by --task {override}"
    if override == "number":
        odd = labels.filter(to_numbers(target).is_null())
        if len(odd):
            came = f"--task number: in target {target.name!r} {_are(len(odd), 'no number')}: {_shown(odd)}"
            raise DataError(f"{came}; mend or remove those rows, or leave --task out")
        if target.dtype == pl.String:
            _refuse_two_marks(target.name, target)
        return "number", reason
    n_classes = labels.n_unique()
    if override == "binary" and n_classes > 2:
        raise DataError(
            f"--task binary: target {target.name!r} has {n_classes:,} classes, expected two; set --task classes"
        )
    return ("binary" if n_classes == 2 else "classes"), reason


def _check_classes(name: str, labels: pl.Series, *, whole: bool) -> None:
    counts = labels.value_counts(sort=False).sort(["count", name])
    if counts.height == 1:
        came = f"target {name!r} has one class only ({counts[name][0]!r})"
        raise DataError(f"{came}, so there is nothing to tell apart; was the file filtered by it?")
    single = counts.filter(pl.col("count") == 1)[name]
    if len(single):
        has = "a class with one row" if len(single) == 1 else f"{len(single):,} classes with one row each"
        advice = "merge it with another class, drop the row, or get more rows" + (
            "; or set --task number" if whole else ""
        )
        raise DataError(
            f"target {name!r} has {has} ({_shown(single, 5)}), which cannot be both learnt and tested; {advice}"
        )
