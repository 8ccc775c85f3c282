"""NumPy archives (.npz), read without unpickling: the headers of all arrays first, cells only once their size is known."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from netwright.core.errors import DataError, SetupError
from netwright.data.memory import in_words, memory

EXPECTED = "x_train, y_train, x_test and y_test (also x_valid and y_valid), or x and y, or images and labels"
_PIECE = 1 << 24


@dataclass(frozen=True)
class Stored:
    """An array in an archive, by its header alone."""

    name: str
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Bytes of its cells."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.name} {self.shape}"


class Archive:
    """An open .npz: headers first, cells on demand.

    Raises:
        DataError: no archive, damaged, or an array that says it is larger than the file allows.
        SetupError: it may not be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _readable(path):
            self.zip = zipfile.ZipFile(path)
            self.arrays = {
                name: self._stored(name, info.file_size)
                for info in self.zip.infolist()
                if info.filename.endswith(".npy") and (name := info.filename.removesuffix(".npy"))
            }
        if not self.arrays:
            raise DataError(f"{path} holds no arrays; expected {EXPECTED}")

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.zip.close()

    def _stored(self, name: str, size: int) -> Stored:
        with self._open(name) as file:
            shape, fortran, dtype = _header(file)
            stored = Stored(name, shape, fortran, dtype)
            if min(shape, default=0) < 0 or (not dtype.hasobject and file.tell() + stored.size != size):
                raise ValueError(f"the array {name!r} is not as large as it says")
        return stored

    def _open(self, name: str) -> IO[bytes]:
        return self.zip.open(f"{name}.npy")

    def check(self, arrays: list[Stored], limit: int) -> None:
        """Refuse arrays of objects, and more bytes than may be read, before anything is allocated.

        Raises:
            DataError: they are refused.
        """
        for array in arrays:
            if array.dtype.hasobject:
                raise DataError(
                    f"{self.path}: the array {array.name!r} holds Python objects, which are pickled, and pickles are never "
                    "unpickled here: one can run any program. Save it with one number type, say x.astype('uint8')"
                )
            if array.dtype.kind not in "biufUS":
                raise DataError(f"{self.path}: the array {array.name!r} holds {array.dtype}; expected numbers or words")
        size, most = sum(array.size for array in arrays), min(limit, memory() // 2)
        if size > most:
            raise DataError(
                f"{self.path} unpacks to {in_words(size)}, more than the {in_words(most)} that are read at once; take a part of "
                "the rows, or save the images as a folder of pictures, which is read piece by piece"
            )

    def read(self, array: Stored, out: np.ndarray | None = None) -> np.ndarray:
        """The cells of an array, into `out` where one is given.

        Raises:
            DataError: the archive is damaged.
        """
        out = np.empty(array.shape, array.dtype) if out is None else out
        straight = out if not array.fortran else np.empty(array.shape[::-1], array.dtype)
        with _readable(self.path), self._open(array.name) as file:
            _header(file)
            _fill(file, straight)
        if array.fortran:
            out[...] = straight.T
        return out

    def pieces(self, array: Stored, rows: int) -> Iterator[np.ndarray]:
        """The cells of an array, so many rows at a time.

        Raises:
            DataError: the archive is damaged.
        """
        if array.fortran:
            whole = self.read(array)
            yield from (whole[first : first + rows] for first in range(0, len(whole), rows))
            return
        with _readable(self.path), self._open(array.name) as file:
            _header(file)
            for first in range(0, array.shape[0], rows):
                piece = np.empty((min(rows, array.shape[0] - first), *array.shape[1:]), array.dtype)
                _fill(file, piece)
                yield piece


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"arrays of format {version} are not read")


def _fill(file: IO[bytes], out: np.ndarray) -> None:
    cells = memoryview(out.reshape(-1).view(np.uint8).data)
    for first in range(0, len(cells), _PIECE):
        piece = file.read(min(_PIECE, len(cells) - first))
        if len(piece) != min(_PIECE, len(cells) - first):
            raise EOFError("an array ends early")
        cells[first : first + len(piece)] = piece


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What goes wrong in reading an archive, in words."""
    try:
        yield
    except PermissionError as error:
        raise SetupError(f"no permission to read {path}; allow it with: chmod u+r {path}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, NotImplementedError) as error:
        raise DataError(
            f"{path} is damaged, cut short or no .npz archive ({error}); copy it again, or save it with numpy.savez_compressed"
        ) from error
