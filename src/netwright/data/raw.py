"""A data file -> its text, with everything refused that is no table: nothing is ever unpickled, guessed or read without a limit."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import re
import zlib
from pathlib import Path

import polars as pl

from netwright.core.errors import DataError, SetupError, nearest

MAX_BYTES = 8 * 2**30
"""The largest file, decompressed, that is read."""

FORMATS = {
    ".csv": "delimited",
    ".tsv": "delimited",
    ".tab": "delimited",
    ".txt": "delimited",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".npz": "npz",
}
KNOWN = ".csv, .tsv, .tab, .txt, .jsonl, .ndjson (each also with .gz or .zst), .parquet, .pq, .npz"

_PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".dill")
_PICKLE_BYTES = re.compile(rb"\x80[\x02-\x05](\x95|[c}\](K\x8a])|\(?[dl]p0\n|c[\w.]+\n\w+\n")
_MAGIC = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a zip archive (or an Excel or PyTorch file); unpack it, or export its sheet as CSV",
    b"PAR1": "a Parquet file; rename it to .parquet",
    b"ARROW1": "an Arrow file; save it as Parquet",
    b"SQLite format 3": "an SQLite database; export the table as CSV",
    b"\x89HDF": "an HDF5 file; save the table as Parquet",
    b"\x93NUMPY": "a NumPy array; save it with its labels: numpy.savez('name.npz', x=..., y=...)",
    b"\x7fELF": "a program",
    b"BZh": "bzip2-compressed; compress it with gzip or zstd instead",
    b"\xfd7zXZ": "xz-compressed; compress it with gzip or zstd instead",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file; export the sheet as CSV",
    b"\xff\xfe": "text in UTF-16; save it as UTF-8: iconv -f UTF-16 -t UTF-8 IN > OUT",
    b"\xfe\xff": "text in UTF-16; save it as UTF-8: iconv -f UTF-16 -t UTF-8 IN > OUT",
}
_GZIP, _ZSTD, _PIECE = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", 1 << 24


def format_of(path: Path) -> str:
    """What a file's name says that it is: "delimited", "jsonl", "parquet" or "npz".

    Raises:
        DataError: a suffix that is not known, or one of pickles.
    """
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] in (".gz", ".zst"):
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    if suffix in _PICKLES:
        raise DataError(_pickled(path))
    if suffix not in FORMATS:
        came = f"ends in {suffix!r}" if suffix else "has no suffix"
        raise DataError(f"{path} {came}, so its format is not known; known are {KNOWN}. Convert or rename it")
    return FORMATS[suffix]


def check_path(path: Path, limit: int = MAX_BYTES) -> None:
    """Refuse what cannot be a data file before a byte of it is read.

    Raises:
        DataError: no such file, a folder, an empty file, a device, or one that is too large.
        SetupError: no permission.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        raise DataError(_absent(path)) from None
    except (OSError, ValueError) as error:
        raise SetupError(f"{path} cannot be opened ({error}); check the path and its permissions") from error
    if path.is_dir():
        inside = (
            sorted(p.name for p in path.iterdir() if any(s in FORMATS for s in p.suffixes))[:5]
            if os.access(path, os.R_OK)
            else []
        )
        hint = f"; it holds {', '.join(inside)}" if inside else ""
        raise DataError(f"{path} is a folder, expected one data file ({KNOWN}){hint}")
    if not path.is_file():
        raise DataError(f"{path} is no regular file; expected one of {KNOWN}")
    if not os.access(path, os.R_OK):
        raise SetupError(f"no permission to read {path}; allow it with: chmod u+r {path}")
    if not status.st_size:
        raise DataError(f"{path} is empty (0 bytes); expected a line of column names and at least one row")
    if status.st_size > limit:
        raise DataError(_too_large(path, limit))


def _absent(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"there is no file {path}: its folder {folder} does not exist"
    try:
        close = nearest(path.name, [p.name for p in folder.iterdir()])
    except OSError:
        close = []
    return f"there is no file {path}" + (
        f"; did you mean {' or '.join(str(folder / c) for c in close)}?" if close else "; check its name and folder"
    )


def _too_large(path: Path, limit: int) -> str:
    return f"{path} has more than the {limit:,} bytes that are read (decompressed); take a sample of its rows, or drop columns"


def _pickled(path: Path) -> str:
    return (
        f"{path} is a pickle, and pickles are never unpickled here: one can run any program. "
        "Load it yourself where you trust it, and save the table as Parquet or CSV"
    )


def read_text(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The bytes of a text file, decompressed: valid UTF-8 without byte-order mark, lines ended by "\\n" or "\\r\\n".

    Raises:
        DataError: binary, not UTF-8, damaged, or larger than `limit` bytes.
        SetupError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4)
        if path.suffix.lower() == ".gz" and not head.startswith(_GZIP):
            raise DataError(
                f"{path} ends in .gz but is not gzip-compressed; take the suffix away, or get the file again"
            )
        if path.suffix.lower() == ".zst" and not head.startswith(_ZSTD) and head[1:4] != b"*M\x18":
            raise DataError(
                f"{path} ends in .zst but is not zstd-compressed; take the suffix away, or get the file again"
            )
        if head.startswith(_GZIP):
            data = _gunzip(path, limit)
        elif path.suffix.lower() == ".zst" or head == _ZSTD:
            data = _unzstd(path, limit)
        else:
            data = path.read_bytes()
    except OSError as error:
        raise SetupError(
            f"{path} cannot be read: {error.strerror or error}; check the disk and its permissions"
        ) from error
    _check_text(path, data)
    data = data.removeprefix(codecs.BOM_UTF8)
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    return data


def _gunzip(path: Path, limit: int) -> bytes:
    pieces, size = [], 0
    try:
        with gzip.open(path) as file:
            while piece := file.read(_PIECE):
                size += len(piece)
                if size > limit:
                    raise DataError(_too_large(path, limit))
                pieces.append(piece)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged or cut short ({error}); copy or download it again") from error
    return b"".join(pieces)


def _unzstd(path: Path, limit: int) -> bytes:
    packed = path.read_bytes()
    bound = zstd_bound(packed)
    if bound is None:
        raise DataError(f"{path} is damaged or cut short (its zstd frames do not end); copy or download it again")
    if bound > limit:
        raise DataError(_too_large(path, limit))
    if not bound:
        return b""
    lines = {"separator": "\x01", "quote_char": None, "has_header": False, "infer_schema": False}
    try:
        frame = pl.read_csv(packed, new_columns=["line"], **lines)  # type: ignore[arg-type]
    except (pl.exceptions.PolarsError, OSError) as error:
        if "utf" in str(error).lower():
            frame = pl.read_csv(packed, new_columns=["line"], encoding="utf8-lossy", **lines)  # type: ignore[arg-type]
            at = int(frame["line"].str.contains("\ufffd", literal=True).fill_null(False).arg_true()[0])
            raise DataError(_not_utf8(path, f"line {at + 1}", None)) from error
        raise DataError(f"{path} cannot be decompressed as text ({error}); copy or download it again") from error
    text = io.BytesIO()
    frame.write_csv(text, include_header=False, quote_style="never")
    return text.getvalue()


def zstd_bound(packed: bytes) -> int | None:
    """The most bytes that zstd frames can hold, read off their block headers without decompressing; None where cut short.

    A compressed block holds at most 128 KiB, so that the bound is near for large files. Source: RFC 8878, section 3.1.
    """
    at, total = 0, 0
    while at < len(packed):
        magic = int.from_bytes(packed[at : at + 4], "little")
        if 0x184D2A50 <= magic <= 0x184D2A5F:  # a skippable frame
            at += 8 + int.from_bytes(packed[at + 4 : at + 8], "little")
            continue
        if magic != 0xFD2FB528 or at + 5 > len(packed):
            return None
        flags = packed[at + 4]
        single = flags >> 5 & 1
        at += 5 + (1 - single) + (0, 1, 2, 4)[flags & 3] + (single, 2, 4, 8)[flags >> 6]
        last = False
        while not last:
            header = int.from_bytes(packed[at : at + 3], "little")
            last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
            if at + 3 > len(packed) or kind == 3:
                return None
            total += min(size, 1 << 17) if kind < 2 else 1 << 17
            at += 3 + (1 if kind == 1 else size)
        at += 4 * (flags >> 2 & 1)
    return total if at == len(packed) else None


def _check_text(path: Path, data: bytes) -> None:
    if not data or data.isspace():
        raise DataError(f"{path} is empty; expected a line of column names and at least one row")
    head = data[:4096]
    if _PICKLE_BYTES.match(head):
        raise DataError(_pickled(path))
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            raise DataError(f"{path} is not a table in text: it is {what}")
    if b"\0" in data:
        raise DataError(
            f"{path} is not a table: it holds binary data (a zero byte at offset {data.index(0):,}); expected text in UTF-8"
        )
    if re.match(rb"\s*<(!doctype|html|\?xml)", head, re.IGNORECASE):
        raise DataError(f"{path} is not a table: it is a web page or XML; was the right file downloaded?")
    if not data.isascii():
        _check_utf8(path, data)


def _check_utf8(path: Path, data: bytes) -> None:
    decoder, view = codecs.getincrementaldecoder("utf-8")(), memoryview(data)
    for start in range(0, len(data), _PIECE):
        waiting = len(decoder.getstate()[0])
        try:
            decoder.decode(view[start : start + _PIECE], final=start + _PIECE >= len(data))
        except UnicodeDecodeError as error:
            at = start - waiting + error.start
            line = data.count(b"\n", 0, at) + 1
            place = f"byte 0x{data[at]:02X} at offset {at:,}, line {line:,}"
            raise DataError(
                _not_utf8(path, place, data[:at].rpartition(b"\n")[2][-20:] + data[at : at + 20])
            ) from error


def _not_utf8(path: Path, place: str, around: bytes | None) -> str:
    guess = ""
    if around:
        line = around.partition(b"\n")[0].decode("cp1252", errors="replace")
        guess = f" If the text there should read {line!r}, it is Windows-1252:"
    advice = f"convert it with: iconv -f WINDOWS-1252 -t UTF-8 {path.name} > converted.csv"
    return f"{path} is not UTF-8 text ({place}), and encodings are not guessed.{guess} {advice}"
