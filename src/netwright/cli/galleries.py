"""All galleries of the house, found in the `entries` modules of its packages. There is no second list."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import netwright
from netwright.core.entry import Entry, Gallery
from netwright.core.errors import UsageError, unknown

PROBES = {"check": "checks", "attack": "attacks", "explain": "explanations"}
"""Command -> the gallery of the probes that it runs."""


def galleries() -> dict[str, Gallery]:
    """Every gallery by the name of its variable in lower case ("checks", "attacks", "losses", ...), sorted by it.

    Needs no torch: entries modules are free of it.

    >>> "losses" in galleries()
    True
    """
    found: dict[str, Gallery] = {}
    for package in _packages():
        module = importlib.import_module(f"netwright.{package}.entries")
        found |= {name.lower(): value for name, value in vars(module).items() if isinstance(value, Gallery)}
    return dict(sorted(found.items()))


def _packages() -> Iterator[str]:
    for place in netwright.__path__:
        for module in pkgutil.iter_modules([place]):
            if module.ispkg and (Path(place) / module.name / "entries.py").is_file():
                yield module.name


def gallery(name: str) -> Gallery:
    """One gallery by its name.

    Raises:
        UsageError: there is none of that name; the nearest are named.
    """
    known = galleries()
    if name not in known:
        raise UsageError(unknown("list", name, known))
    return known[name]


def find(name: str) -> list[tuple[str, Entry]]:
    """Every entry of that name, with its gallery's name; "gallery/name" takes one gallery only.

    Raises:
        UsageError: there is none; the nearest names are given.
    """
    known = galleries()
    family, slash, wanted = name.rpartition("/")
    if slash:
        return [(family, gallery(family)[wanted])]
    found = [(family, entries[name]) for family, entries in known.items() if name in entries]
    if not found:
        raise UsageError(unknown("entry", name, sorted({n for entries in known.values() for n in entries})))
    return found
