"""An iterator that works ahead of its reader, in a thread of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from queue import Full, Queue
from threading import Event, Thread, main_thread
from typing import TypeVar

T = TypeVar("T")
_LOOK_UP = 0.05
"""Seconds after which a thread that waits for room looks whether anybody still reads."""


def ahead(items: Iterator[T], n: int = 1, name: str = "ahead") -> Iterator[T]:
    """The items, of which up to `n` are ready before they are asked for.

    What the thread raises is raised to the reader. The thread ends with the items, and when the reader ends: by an exception,
    by `close`, by being dropped, or with the program.

    >>> list(ahead(iter("abc")))
    ['a', 'b', 'c']
    """
    ready: Queue[tuple[T | None, BaseException | None]] = Queue(n)
    dropped = Event()

    def put(item: T | None, error: BaseException | None) -> bool:
        while not dropped.is_set() and main_thread().is_alive():
            with suppress(Full):
                ready.put((item, error), timeout=_LOOK_UP)
                return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item, None):
                    return
            put(None, StopIteration())
        except BaseException as error:
            put(None, error)

    thread = Thread(
        target=work, name=name
    )  # no daemon: it would hang in a dying interpreter, and who waits for it with it
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        dropped.set()
        thread.join()
