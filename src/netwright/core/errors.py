"""Errors that a user can act on. Each says what was expected, what came and what to do; each knows its exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NetwrightError(Exception):
    """Base of all errors that are a user's to mend; `exit_code` is what the command returns."""

    exit_code = 70


class GateError(NetwrightError):
    """A gating check failed, so the recipe stopped (exit code 1)."""

    exit_code = 1


class UsageError(NetwrightError):
    """An option or an argument makes no sense (exit code 2)."""

    exit_code = 2


class DataError(NetwrightError):
    """The data, or a model file, is not what was expected (exit code 3)."""

    exit_code = 3


class SetupError(NetwrightError):
    """Disk, permission, or a missing extra (exit code 4)."""

    exit_code = 4


class TrainingError(NetwrightError):
    """The training diverged or ran out of time with nothing usable (exit code 5)."""

    exit_code = 5


def nearest(name: str, options: Iterable[str], n: int = 3) -> list[str]:
    """The options most like `name`, best first, compared without regard to case.

    >>> nearest("incom", ["age", "income", "sex"])
    ['income']
    """
    by_lower = {option.lower(): option for option in options}
    return [by_lower[m] for m in difflib.get_close_matches(name.lower(), by_lower, n=n, cutoff=0.5)]


def unknown(what: str, name: str, options: Iterable[str]) -> str:
    """The sentence for a name that is not there: nearest names first, else the whole list.

    >>> unknown("column", "incom", ["age", "income"])
    "there is no column 'incom'; did you mean 'income'?"
    """
    options = list(options)
    close = nearest(name, options)
    if close:
        return f"there is no {what} {name!r}; did you mean {' or '.join(repr(c) for c in close)}?"
    shown = ", ".join(options[:20]) + (", ..." if len(options) > 20 else "")
    return f"there is no {what} {name!r}; known are: {shown}"
