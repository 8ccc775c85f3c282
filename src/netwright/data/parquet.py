"""A table in Parquet, of one file or of a folder of them, read slice by slice."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from netwright.core.errors import DataError, SetupError
from netwright.data.cells import counted
from netwright.data.raw import FORMATS, check_path


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet by its name."""
    return FORMATS.get(path.suffix.lower()) == "parquet"


def parquet_files(path: Path) -> list[Path]:
    """The Parquet file itself, or those of a folder in the order of their names; nothing where it is anything else.

    Hidden files, and those that begin with an underscore, are passed over, as other readers of such folders do.
    """
    if not os.path.isdir(path):
        return [path] if is_parquet(path) else []
    try:
        inside = sorted(Path(path).iterdir())
    except OSError as error:
        raise SetupError(
            f"the folder {path} cannot be read: {error.strerror}; allow it with: chmod u+rx {path}"
        ) from error
    return [p for p in inside if is_parquet(p) and p.name[0] not in "._" and p.is_file()]


class ParquetTable:
    """Rows of Parquet files that stay on disk; they are numbered through, file after file.

    Args:
        path: a file, or a folder of files with the same columns.

    Raises:
        DataError: no such file, one that is damaged or no Parquet, without rows, or with other columns than the first.
        SetupError: it may not be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.files = parquet_files(self.path)
        if not self.files:
            raise DataError(f"{path} holds no Parquet; expected a .parquet file, or a folder of them")
        self.schema = self._schema(self.files[0])
        sizes = []
        for file in self.files:
            self._check(file)
            sizes.append(int(_reading(file, pl.scan_parquet(file, glob=False).select(pl.len()))["len"][0]))
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        if not len(self):
            raise DataError(f"{path} has no rows; at least one was expected")
        if not self.schema:
            raise DataError(f"{path} has no columns; at least one was expected")

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def n_bytes(self) -> int:
        """What its cells take in memory, eight bytes each."""
        return len(self) * len(self.schema) * 8

    def slices(self, n: int) -> list[tuple[int, int]]:
        """First row, and last row + 1, of pieces of at most `n` rows, each within one file."""
        ends = zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True)
        return [(at, min(at + n, stop)) for start, stop in ends for at in range(start, stop, n)]

    def read(self, start: int, stop: int, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Rows `start` to `stop` (without it), which lie within one file.

        Raises:
            DataError: they cannot be read, or are no longer there.
        """
        k = int(np.searchsorted(self.starts, start, side="right")) - 1
        lazy = pl.scan_parquet(self.files[k], glob=False)
        if columns is not None:
            lazy = lazy.select(list(columns))
        frame = _reading(self.files[k], lazy.slice(start - int(self.starts[k]), stop - start))
        if frame.height != stop - start:
            raise DataError(
                f"{self.files[k]} has fewer rows than before: it was changed while it was read; start again"
            )
        return frame

    def _schema(self, file: Path) -> dict[str, pl.DataType]:
        check_path(file, limit=sys.maxsize)
        try:
            with file.open("rb") as opened:
                if opened.read(4) != b"PAR1":
                    raise DataError(
                        f"{file} is named Parquet but does not begin as one; take the right suffix, or get the file again"
                    )
            return dict(pl.scan_parquet(file, glob=False).collect_schema())
        except PermissionError as error:
            raise SetupError(f"no permission to read {file}; allow it with: chmod u+r {file}") from error
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(_damaged(file, error)) from error

    def _check(self, file: Path) -> None:
        schema = self._schema(file)
        differing = [n for n in {**self.schema, **schema} if self.schema.get(n) != schema.get(n)]
        if differing:
            name = differing[0]
            raise DataError(
                f"{file} has other columns than {self.files[0].name}: {name!r} is {schema.get(name, 'not there')}, not "
                f"{self.schema.get(name, 'there')} ({counted(len(differing), 'column')} in all); give them the same ones"
            )


def _reading(file: Path, lazy: pl.LazyFrame) -> pl.DataFrame:
    try:
        return lazy.collect()
    except PermissionError as error:
        raise SetupError(f"no permission to read {file}; allow it with: chmod u+r {file}") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(_damaged(file, error)) from error


def _damaged(file: Path, error: Exception) -> str:
    return f"{file} is damaged or no Parquet file ({error}); copy or download it again"
