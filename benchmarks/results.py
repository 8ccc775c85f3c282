"""What was measured, and its place in RESULTS.md: one dated block per benchmark, each rewritten on its own."""

from __future__ import annotations

import datetime
import os
import platform
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch

from netwright.core.files import write_text
from netwright.train.precision import native_bfloat16

RESULTS = Path(__file__).parent / "RESULTS.md"
HEAD = """# Measured promises

Written by `make bench` (all) and `make bench ONLY=name` (one block); never by hand. Times are wall-clock times of whole commands,
start of Python included, on the machine that each block names.
"""


@dataclass(frozen=True)
class Row:
    """One measured value.

    Args:
        what: was measured.
        measured: the value with its unit and its spread or interval.
        target: the promise; empty for a value that only puts others in proportion.
        met: whether the promise is kept; None where there is none.
    """

    what: str
    measured: str
    target: str = ""
    met: bool | None = None


@dataclass(frozen=True)
class Result:
    """What one benchmark found: its rows, how it was measured, and remarks."""

    name: str
    title: str
    rows: Sequence[Row]
    how: str
    notes: Sequence[str] = field(default_factory=tuple)


def machine() -> str:
    """The machine in one line, without its name; its instructions decide which precision pays."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    instructions = torch.backends.cpu.get_cpu_capability() + (" with bfloat16" if native_bfloat16() else "")
    return (
        f"{cores} cores, {platform.system()} {platform.machine()} ({instructions}), Python {platform.python_version()}, "
        f"torch {version('torch')}, scikit-learn {version('scikit-learn')}"
    )


def spread(values: Sequence[float], unit: str, digits: int = 2) -> str:
    """Median, smallest and largest of repeated measurements.

    >>> spread([0.3, 0.1, 0.2], "s")
    '0.20 s (0.10 to 0.30, 3 times)'
    """
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} {unit} ({low:.{digits}f} to {high:.{digits}f}, {len(values)} times)"


def block(result: Result, when: datetime.date, where: str) -> str:
    """A benchmark's block, its markers included."""
    lines = [
        f"<!-- {result.name} -->",
        f"## {result.title}",
        "",
        f"{when.isoformat()}; {where}.",
        "",
        "| what | measured | target | met |",
        "| --- | --- | --- | --- |",
        *(
            f"| {r.what} | {r.measured} | {r.target} | {'' if r.met is None else 'yes' if r.met else '**no**'} |"
            for r in result.rows
        ),
        "",
        result.how,
        *(f"\n{note}" for note in result.notes),
        f"<!-- /{result.name} -->",
    ]
    return "\n".join(lines)


def rewritten(text: str, name: str, new: str, order: Sequence[str]) -> str:
    """The text with one block replaced, or put in its place by `order`; every other block stays as it is, byte for byte."""
    pattern = re.compile(rf"<!-- {re.escape(name)} -->.*?<!-- /{re.escape(name)} -->", re.DOTALL)
    if pattern.search(text):
        return pattern.sub(lambda _: new, text, count=1)
    text = text.strip("\n") or HEAD.strip("\n")
    for later in order[order.index(name) + 1 :]:
        start = text.find(f"<!-- {later} -->")
        if start >= 0:
            return f"{text[:start]}{new}\n\n{text[start:]}\n"
    return f"{text}\n\n{new}\n"


def store(result: Result, order: Sequence[str], path: Path = RESULTS, when: datetime.date | None = None) -> None:
    """Write one benchmark's block into the file."""
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    new = block(result, when or datetime.date.today(), machine())
    write_text(path, rewritten(old, result.name, new, order))
