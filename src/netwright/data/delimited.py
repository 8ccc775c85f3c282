"""Delimited text -> a frame of strings. Polars splits the cells; the structure is measured first, since polars pads short
rows without a word and misnames an unclosed quotation mark."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

import numpy as np
import polars as pl

from netwright.core.errors import DataError
from netwright.data.cells import counted

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_PIECE = 1 << 26
_SAMPLE = 1 << 16
_NEWLINE, _RETURN, _QUOTE = 10, 13, 34
_LITERAL = (
    "quotation marks are taken as text, as they are wherever tabs alone cut every line into the same number of cells"
)


@dataclass(frozen=True)
class Records:
    """Where the records of a text end (byte of the newline), and how many cells each has."""

    ends: np.ndarray
    cells: np.ndarray

    @property
    def starts(self) -> np.ndarray:
        """First byte of each record."""
        starts: np.ndarray = np.concatenate([[0], self.ends[:-1] + 1])
        return starts


def records(data: bytes, delimiter: str, quoted: bool) -> Records:
    """Cut text into records; delimiters and newlines between quotation marks do not count.

    >>> r = records(b'a,b\\n"1,2",3\\n', ",", quoted=True)
    >>> r.ends.tolist(), r.cells.tolist()
    ([3, 11], [2, 2])
    """
    ends, marks, inside, waiting = [], [], 0, 0
    for start in range(0, len(data), _PIECE):
        piece = np.frombuffer(data, np.uint8, min(_PIECE, len(data) - start), start)
        newline, mark = piece == _NEWLINE, piece == ord(delimiter)
        if quoted:
            between = np.bitwise_xor.accumulate((piece == _QUOTE).view(np.uint8)) ^ inside
            inside = int(between[-1])
            newline, mark = newline & (between == 0), mark & (between == 0)
        at = np.flatnonzero(newline)
        before = np.searchsorted(np.flatnonzero(mark), at)
        counts = np.diff(before, prepend=0)
        if len(counts):
            counts[0] += waiting
            waiting = 0
        waiting += int(mark.sum()) - (int(before[-1]) if len(at) else 0)
        ends.append(at + start)
        marks.append(counts)
    found = np.concatenate(ends), np.concatenate(marks) + 1
    if not data.endswith(b"\n") or inside:
        found = np.append(found[0], len(data)), np.append(found[1], waiting + 1)
    return Records(found[0], found[1])


def well_quoted(data: bytes, delimiter: str) -> bool:
    """Whether every quotation mark opens, closes or is doubled as RFC 4180 has it."""
    at = np.concatenate(
        [
            np.flatnonzero(np.frombuffer(data, np.uint8, min(_PIECE, len(data) - s), s) == _QUOTE) + s
            for s in range(0, len(data), _PIECE)
        ]
    )
    if len(at) % 2:
        return False
    text = np.frombuffer(data, np.uint8)
    opening, closing = at[::2], at[1::2]
    before = text[np.maximum(opening - 1, 0)]
    after = text[np.minimum(closing + 1, len(text) - 1)]
    edges = (ord(delimiter), _NEWLINE)
    opens = (opening == 0) | np.isin(before, edges) | (before == _QUOTE)
    closes = (closing == len(text) - 1) | np.isin(after, (*edges, _RETURN, _QUOTE))
    return bool(opens.all() and closes.all())


def sniff(data: bytes) -> str:
    """The delimiter that cuts the first lines into the same number of cells, more than one; a comma where none does.

    >>> sniff(b"a;b\\n1,5;2\\n"), sniff(b"a\\tb\\n1\\t2\\n")
    (';', '\\t')
    """
    sample = data[:_SAMPLE]
    if len(data) > _SAMPLE:
        sample = sample[: sample.rfind(b"\n") + 1] or sample
    best, score = ",", (0.0, 0)
    for delimiter in DELIMITERS:
        quoted = b'"' in sample and well_quoted(sample[: sample.rfind(b"\n") + 1] or sample, delimiter)
        found = records(sample, delimiter, quoted)
        cells = found.cells[found.ends - found.starts > 1]
        if len(cells) and cells[0] > 1:
            same = float((cells == cells[0]).mean())
            if (same, int(cells[0])) > score:
                best, score = delimiter, (same, int(cells[0]))
    return best


def read_delimited(data: bytes, name: str, delimiter: str | None = None) -> tuple[pl.DataFrame, str, list[str]]:
    """All cells as strings (null where empty), the delimiter, and warnings.

    Args:
        data: text in UTF-8. Quotation marks quote, as RFC 4180 has it; between tabs they are text, unless the text was plainly
            written with quotes (see `_is_literal`).
        name: of the file, for messages.
        delimiter: one character, or None to find it out.

    Raises:
        DataError: ragged rows, an unclosed quotation mark, no rows.
    """
    delimiter = delimiter or sniff(data)
    warnings: list[str] = []
    quoted = b'"' in data
    if quoted and delimiter == "\t" and _is_literal(data):
        quoted = False
        warnings += [_LITERAL] if b'\n"' in data or b'\t"' in data else []
    elif quoted and not well_quoted(data, delimiter):
        data, quoted, note = _mend_quotes(data, name, delimiter)
        warnings.append(note)
    found = records(data, delimiter, quoted)
    blank = _blank(data, found)
    if len(found.ends) - int(blank.sum()) < 2:
        raise DataError(f"{name} has a line of column names but no rows; at least one row was expected")
    _check_even(data, name, delimiter, found, blank)
    first = int(np.argmin(blank))
    header = data[found.starts[first] : found.ends[first]].decode()
    names, notes = column_names(_cells(header, delimiter, quoted))
    if found.cells[first] > 1 and blank.any():
        data = _without(data, found, blank)
        n_rows = len(blank) - int(blank.sum()) - 1
    else:
        n_rows = len(blank) - first - 1 - int(np.argmin(blank[::-1]))
        data = data[found.starts[first] : found.ends[first + n_rows] + 1]
    try:
        frame = pl.read_csv(
            data, separator=delimiter, quote_char='"' if quoted else None, infer_schema=False, new_columns=names
        )
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{name} cannot be read as delimited text: {error}") from error
    if frame.height != n_rows:
        raise DataError(
            f"{name} has {n_rows:,} rows but {frame.height:,} were read; save it anew as CSV, or as Parquet"
        )
    return frame, delimiter, warnings + notes


def column_names(raw: list[str]) -> tuple[list[str], list[str]]:
    """Names without spaces around them; empty and repeated ones get a name of their own, with a warning.

    >>> column_names([" a", "", "a"])[0]
    ['a', 'column_2', 'a (2)']
    """
    names: list[str] = []
    warnings = []
    for place, cell in enumerate(raw, 1):
        name = cell.strip()
        if not name:
            name = _free(f"column_{place}", names)
            warnings.append(f"column {place} has no name and is called {name!r}")
        elif name in names:
            new = _free(f"{name} (2)", names)
            warnings.append(f"column {place} is the second called {name!r} and is renamed {new!r}")
            name = new
        names.append(name)
    numbers = [n for n in names if n.replace(".", "", 1).lstrip("+-").isdigit()]
    if len(numbers) * 2 > len(names):
        warnings.append(
            f"most column names are numbers ({', '.join(numbers[:3])}, ...): does the file lack its line of column names?"
        )
    return names, warnings


def _free(name: str, taken: list[str]) -> str:
    base, n = name.removesuffix(" (2)"), 2
    while name in taken:
        n += 1
        name = f"{base} ({n})"
    return name


def _blank(data: bytes, found: Records) -> np.ndarray:
    length = found.ends - found.starts
    first = np.frombuffer(data, np.uint8)[np.minimum(found.starts, len(data) - 1)]
    blank: np.ndarray = (length == 0) | ((length == 1) & (first == _RETURN))
    return blank


def _even(data: bytes, found: Records) -> bool:
    cells = found.cells[~_blank(data, found)]
    return bool(len(cells) and cells[0] > 1 and (cells == cells[0]).all())


def _is_literal(data: bytes) -> bool:
    """Whether quotation marks between tabs are text, as IANA has it: tabs alone cut all lines alike, and nothing shows that a
    program quoted the cells (all marks open and close, and the first name stands in them or some mark is doubled).

    >>> _is_literal(b'a\\tb\\n1\\t"so"\\n'), _is_literal(b'a\\tb\\n1\\t"so ""so"" so"\\n')
    (True, False)
    """
    if not _even(data, records(data, "\t", False)):
        return False
    shown = data.startswith(b'"') or b'""' in data
    return not (shown and well_quoted(data, "\t") and _even(data, records(data, "\t", True)))


def _cells(line: str, delimiter: str, quoted: bool) -> list[str]:
    line = line.removesuffix("\r")
    return next(csv.reader(io.StringIO(line, newline=""), delimiter=delimiter)) if quoted else line.split(delimiter)


def _without(data: bytes, found: Records, blank: np.ndarray) -> bytes:
    keep = np.ones(len(data), bool)
    for start, end in zip(found.starts[blank], found.ends[blank], strict=True):
        keep[start : end + 1] = False
    return np.frombuffer(data, np.uint8)[keep].tobytes()


def _line(data: bytes, start: int) -> int:
    return data.count(b"\n", 0, start) + 1


def _check_even(data: bytes, name: str, delimiter: str, found: Records, blank: np.ndarray) -> None:
    """Refuse rows that are longer or shorter than the header."""
    width = int(found.cells[int(np.argmin(blank))])
    wrong = np.flatnonzero((found.cells != width) & ~blank)
    if not len(wrong):
        return
    lines = [_line(data, int(found.starts[r])) for r in wrong[:5]]
    first = int(found.cells[wrong[0]])
    more = f" ({counted(len(wrong), 'such line')}: {', '.join(map(str, lines))}{', ...' if len(wrong) > 5 else ''})"
    if width == 1:
        advice = "no delimiter (comma, semicolon, tab, bar) cuts the lines into equal numbers of cells, so this does not look like a table"
    elif len(wrong) == len(found.cells) - 1 - int(blank.sum()) and first == width + 1:
        advice = "every row has one cell more than there are names: give the first column (row numbers?) a name"
    else:
        advice = f"mend the lines; a cell that holds a {DELIMITERS[delimiter]} must stand in quotation marks"
    raise DataError(
        f"{name}: line {lines[0]:,} has {counted(first, 'cell')}, but the header has {width}{more}; {advice}"
    )


def _mend_quotes(data: bytes, name: str, delimiter: str) -> tuple[bytes, bool, str]:
    """Text whose quotation marks do not follow RFC 4180, quoted anew.

    Returns:
        The text, whether quotation marks still quote in it, and what was done.
    """
    rewritten, problem = _rewrite(data, delimiter)
    if rewritten is None:
        raise DataError(f"{name}: {problem}; close it, or double a quotation mark that belongs to the text")
    return rewritten, True, "some quotation marks stand inside cells that are not quoted; they are kept as text"


def _rewrite(data: bytes, delimiter: str) -> tuple[bytes | None, str]:
    """The text quoted anew by Python's strict reader, which allows marks inside unquoted cells; or None and the problem."""
    reader = csv.reader(io.StringIO(data.decode(), newline=""), delimiter=delimiter, strict=True)
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    line, width = 1, 0
    try:
        for row in reader:
            width = width or len(row)
            if row and len(row) != width:
                return None, f"a quotation mark near line {line:,} is not closed, or stands inside a cell"
            writer.writerow(row)
            line = reader.line_num + 1
    except csv.Error as error:
        if "unexpected end" in str(error) or "field larger" in str(error):
            return None, f"the quotation mark opened on line {line:,} is never closed"
        return None, f"line {line:,}: after a closing quotation mark a {DELIMITERS[delimiter]} was expected"
    return out.getvalue().encode(), ""
