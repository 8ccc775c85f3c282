"""Members of a gallery: one frozen line each, beside the code and free of torch. Every list is derived from them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from netwright.core.errors import UsageError, unknown


@dataclass(frozen=True)
class Whole:
    """Whole numbers of a shape, from `least` to `below` - 1: ids of tokens, codes of categories, lengths of sequences."""

    shape: tuple[int, ...]
    below: int
    least: int = 0


@dataclass(frozen=True)
class Example:
    """A small instance of a member, so that it can be built and looked at; without torch.

    Args:
        arguments: of its class (a layer), or options of it (a template, a recipe), beside those that the entry fixes.
        inputs: of a layer, rows first: a tuple of sizes is a tensor of normal numbers, `Whole` one of whole numbers, None nothing.
        make: "package.module:name" of a function without arguments that returns (module, inputs), where plain data cannot
            say it; then `arguments` and `inputs` are empty.
        kind: of a template or a recipe, the kind of rows that it is shown with; by default the first that fits.

    >>> Example({"n_in": 5, "n_out": 3}, inputs=((4, 5),)).inputs
    ((4, 5),)
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[tuple[int, ...] | Whole | None, ...] = ()
    make: str = ""
    kind: str = ""


def load(target: str) -> Any:
    """What stands at "package.module:name" (imports it)."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True)
class Entry:
    """One member: a name, one sentence, its source, and where its code is.

    Args:
        name: what the user writes, lower case with dashes.
        summary: one sentence, no full stop.
        reference: paper and year, or the book.
        target: "package.module:name" of the code.
        needs: what a probe needs of its Subject ("model", "data", "history", "link", ...), or what a recipe needs of a spec.
        kinds: kinds of input that it handles; empty means any.
        tasks: tasks that it handles; empty means any.
        gate: for a probe, whether its `fail` stops a recipe.
        options: arguments fixed by the entry: a variant is a call.
        example: a small instance, for `netwright show`.
    """

    name: str
    summary: str
    reference: str
    target: str
    needs: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    gate: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    example: Example | None = None

    def load(self) -> Any:
        """The code behind the entry (imports it)."""
        return load(self.target)

    def fits(self, *, kind: str, task: str) -> bool:
        """Whether it handles this kind of input and this task."""
        return (not self.kinds or kind in self.kinds) and (not self.tasks or task in self.tasks)


class Gallery(Mapping[str, Entry]):
    """The members of one package by name.

    >>> gallery = Gallery("fruit", [Entry("apple", "grows on trees", "", "m:apple")])
    >>> list(gallery), gallery["aple"]
    Traceback (most recent call last):
    netwright.core.errors.UsageError: there is no fruit 'aple'; did you mean 'apple'?
    """

    def __init__(self, what: str, entries: list[Entry]) -> None:
        self.what = what
        self._entries = {e.name: e for e in entries}
        if len(self._entries) != len(entries):
            raise ValueError(f"two entries of the gallery {what!r} share a name")

    def __getitem__(self, name: str) -> Entry:
        try:
            return self._entries[name]
        except KeyError:
            raise UsageError(unknown(self.what, name, self._entries)) from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
