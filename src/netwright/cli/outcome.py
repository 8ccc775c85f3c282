"""From an exception to what the user reads and to the exit code."""

from __future__ import annotations

import errno

from netwright.cli.signals import Terminated
from netwright.core.errors import NetwrightError

BUG = 70
ENVIRONMENT = 4
_HINTS = {
    errno.ENOSPC: "free some room, or choose another place",
    errno.EDQUOT: "free some room, or choose another place",
    errno.EACCES: "choose another place, or ask for the permission",
    errno.EPERM: "choose another place, or ask for the permission",
    errno.EROFS: "choose another place",
    errno.EMFILE: "raise the limit of open files: ulimit -n",
}


class Interrupted(Exception):
    """Ctrl-C or SIGTERM, with what to do next. `exit_code` is 130 or 143."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def interrupted(by: KeyboardInterrupt, advice: str = "") -> Interrupted:
    """What Ctrl-C and SIGTERM become once it is known what to advise."""
    terminated = isinstance(by, Terminated)
    what = "ended by SIGTERM" if terminated else "interrupted"
    return Interrupted(what + (f"; {advice}" if advice else ""), 143 if terminated else 130)


def outcome(error: BaseException, debug: bool = False) -> tuple[list[str], int]:
    """Lines to show, and the exit code.

    >>> outcome(FileNotFoundError(2, "No such file or directory", "x.csv"))
    (['error: x.csv: No such file or directory'], 4)
    """
    if isinstance(error, KeyboardInterrupt):
        error = interrupted(error)
    if isinstance(error, Interrupted):
        return [_clean(error)], error.exit_code
    if isinstance(error, NetwrightError) and error.exit_code != BUG:
        notes = [_plain(note) for note in getattr(error, "__notes__", ())]
        return ["error: " + _clean(error), *notes], error.exit_code
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error)):
        advice = "close other programs, take fewer rows, or use a machine with more memory"
        return [f"error: there is not enough memory; {advice}"], ENVIRONMENT
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        hint = _HINTS.get(error.errno or 0, "")
        return ["error: " + _plain(f"{where}{error.strerror or error}" + (f"; {hint}" if hint else ""))], ENVIRONMENT
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("netwright"):
        return [
            f"error: the package {error.name!r} is not installed; install it: pip install {error.name}"
        ], ENVIRONMENT
    advice = "" if debug else "; run again with --debug to see the traceback"
    what = f"{type(error).__name__}: {_clean(error)}" if str(error) else type(error).__name__
    return [f"error: this is a bug of netwright ({what}){advice}"], BUG


def _clean(error: BaseException) -> str:
    return _plain(str(error))


def _plain(text: str) -> str:
    """One line, without control characters: names of columns and cells come from files that may be hostile."""
    from netwright.report.text import plain  # only here: it costs an import of pydantic

    return plain(text)
