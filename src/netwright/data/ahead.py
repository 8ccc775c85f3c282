"""An iterator that works ahead of its reader, in a thread of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")
_LOOK_UP = 0.05
"""Seconds after which a thread that waits for room looks whether anybody still reads."""


def ahead(items: Iterator[T], n: int = 1, name: str = "ahead") -> Iterator[T]:
    """The items, of which up to `n` are ready before they are asked for.

    What the thread raises is raised to the reader. The thread ends with the items, and when the reader ends: by an exception,
    by `close`, or by being dropped.

    >>> list(ahead(iter("abc")))
    ['a', 'b', 'c']
    """
    ready: Queue[tuple[T | None, BaseException | None]] = Queue(n)
    dropped = Event()

    def put(item: T | None, error: BaseException | None) -> None:
        while not dropped.is_set():
            with suppress(Full):
                ready.put((item, error), timeout=_LOOK_UP)
                break

    def work() -> None:
        try:
            for item in items:
                put(item, None)
                if dropped.is_set():
                    return
            put(None, StopIteration())
        except BaseException as error:
            put(None, error)

    thread = Thread(target=work, name=name, daemon=True)
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
