"""The command `netwright`. Whatever happens inside ends here as one sentence and one exit code."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence

from netwright.cli.signals import sigterm


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; gives its exit code.

    0 done, 1 a check failed, 2 wrong use, 3 bad data, 4 environment, 5 no usable training, 70 a bug of ours,
    130 interrupted, 141 the reader of the output went away, 143 ended by SIGTERM.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    try:
        with sigterm(), _quiet(debug):
            from netwright.cli.app import call  # here, so that Ctrl-C while it is imported is no traceback

            code = call(arguments)
            sys.stdout.flush()
            return code
    except BaseException as error:
        code = _ending(error, debug)
        _settle_stdout()
        return code


def _ending(error: BaseException, debug: bool) -> int:
    if BrokenPipeError in (type(error), type(error.__context__)):  # rich raises SystemExit from the one
        return 141
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if debug:
        import traceback

        traceback.print_exception(error)
    try:
        from netwright.cli.outcome import outcome

        lines, code = outcome(error, debug)
    except MemoryError:
        lines, code = ["error: out of memory"], 4
    _say(lines)
    return code


def _say(lines: Sequence[str]) -> None:
    """Lines on stderr, the first in red where it is a terminal."""
    red = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    first, *rest = lines
    with contextlib.suppress(OSError):  # where nobody listens, the exit code still says it
        print(f"\x1b[31m{first}\x1b[0m" if red else first, *rest, sep="\n", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _quiet(debug: bool) -> Iterator[None]:
    """No Python warnings of libraries on the user's terminal, unless they debug."""
    with warnings.catch_warnings():
        if not debug:
            warnings.simplefilter("ignore")
        yield


def _settle_stdout() -> None:
    """Where stdout is a closed pipe or a full disk, keep the interpreter from failing on it once more when it exits."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
