"""SIGTERM as an exception, so that files are left whole when a scheduler ends us."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM, treated as Ctrl-C is."""


@contextmanager
def sigterm() -> Iterator[None]:
    """Raise `Terminated` where the signal arrives inside the block (in the main thread only; elsewhere nothing changes)."""

    def raise_it(signum: int, frame: Any) -> None:
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, raise_it)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
