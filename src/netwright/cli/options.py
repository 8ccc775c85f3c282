"""Options that several commands share, and the decorator that all commands wear."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ParamSpec

import typer

from netwright.cli.outcome import interrupted

P = ParamSpec("P")

Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and the warnings of libraries.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Also show every epoch of every training.")]
Seed = Annotated[
    int, typer.Option(metavar="N", min=0, help="Seed of everything random; the same seed, the same numbers.")
]
FailOn = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WHAT",
        help="End with exit code 1 if something was found: 'fail', 'warn' (warnings and failures), or the name of a probe "
        "(its warning or failure). May be repeated. By default only a failed check that stops the job does.",
    ),
]
ModelPath = Annotated[Path, typer.Argument(metavar="MODEL", help="A run folder, or the model folder in it.")]


def command(function: Callable[P, int]) -> Callable[P, int]:
    """Ctrl-C and SIGTERM inside the command end it with a sentence (typer would swallow them)."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return function(*args, **kwargs)
        except KeyboardInterrupt as error:
            raise interrupted(error) from error

    return wrapped
