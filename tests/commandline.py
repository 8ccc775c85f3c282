"""The command line under test: called in this process for speed, or as a process of its own where that matters."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from netwright.cli.main import main


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The line that says what went wrong."""
        return next(line for line in self.err.splitlines() if line.startswith("error: "))


def call(*arguments: object) -> Ended:
    """A command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(a) for a in arguments])
    return Ended(code, out.getvalue(), err.getvalue())


def command(*arguments: object) -> list[str]:
    """The command line of a process of its own."""
    return [sys.executable, "-m", "netwright.cli.main", *map(str, arguments)]


def spawn(*arguments: object, cwd: Path | None = None) -> Ended:
    """A command in a process of its own."""
    ended = subprocess.run(command(*arguments), cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def buffered() -> dict[str, str]:
    """The environment without PYTHONUNBUFFERED: stdout is written when its buffer is full or the command ends."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def refused(ended: Ended, code: int, *words: str) -> None:
    """A mistake of the user: that exit code, one sentence with these words on stderr, no traceback, nothing on stdout."""
    assert "Traceback" not in ended.err, ended.err
    assert ended.code == code, ended
    for word in words:
        assert word in ended.error, ended.error
    assert ended.out == ""


def tree(folder: Path) -> set[Path]:
    """All files and folders below a folder."""
    return set(folder.rglob("*"))


@contextlib.contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """Nothing is made, removed or left half-written below the folder in this block."""
    before = {path: path.read_bytes() for path in tree(folder) if path.is_file()}
    folders = {path for path in tree(folder) if path.is_dir()}
    yield
    assert {path: path.read_bytes() for path in tree(folder) if path.is_file()} == before
    assert {path for path in tree(folder) if path.is_dir()} == folders
