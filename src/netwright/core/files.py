"""Files that are whole or not there: written under a temporary name, then renamed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from netwright.core.errors import DataError, SetupError


@contextmanager
def writing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes when it does not.

    Raises:
        SetupError: there is no room, no permission, or no such folder.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise SetupError(
            f"cannot write {path}: {error.strerror or error}; free some room or choose another place"
        ) from error
    finally:
        with suppress(OSError):  # or it would hide the error that is raised
            temporary.unlink(missing_ok=True)


def sweep(folder: str | Path) -> None:
    """Remove the temporary files that a killed process left below a folder of ours."""
    for path in Path(folder).rglob(".*.tmp"):
        with suppress(OSError):
            path.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file, whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path, *, limit: int = 256 * 1024 * 1024) -> Any:
    """Read a JSON file of at most `limit` bytes.

    Raises:
        DataError: it is missing, too large, or not JSON.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > limit:
            raise DataError(f"{path} has {size:,} bytes, more than the {limit:,} that such a file may have")
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}); it may be damaged or not ours") from error
