"""The exhibits as a course: run one after the other, and shown on one page by chapter."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from netwright.core.entry import Entry
from netwright.core.finding import Finding
from netwright.exhibits.entries import CHAPTERS
from netwright.report.figures import drawable, to_html
from netwright.report.page import Page, Section
from netwright.report.text import duration, plain

Chapters = Mapping[str, tuple[str, Sequence[Entry]]]


class Broken(Finding):
    """What stands in the place of an exhibit that ended with an error."""


def exhibited(
    entries: Sequence[Entry], *, tiny: bool, seed: int, tell: Callable[[Mapping[str, Any]], None], debug: bool = False
) -> Iterator[Finding]:
    """What each exhibit shows, as soon as it is done. One that breaks gives a `Broken`, and the others go on.

    Args:
        entries: of exhibits. tiny: their small size. seed: of all of them.
        tell: is told the progress, as a run tells its listeners.
        debug: print the traceback of what breaks.
    """
    for done, entry in enumerate(entries):
        tell({"event": "progress", "step": "gallery", "done": done, "total": len(entries), "text": entry.name})
        began = time.monotonic()
        try:
            finding = _shown(entry.load()(tiny=tiny, seed=seed))
        except Exception as error:
            if debug:
                traceback.print_exc()
            finding = broken(entry, error)
        seconds = round(time.monotonic() - began, 3)
        update = {
            "probe": entry.name,
            "seconds": seconds,
            "seed": seed,
            "reference": finding.reference or entry.reference,
        }
        finding = finding.model_copy(update=update)
        tell({"event": "finding", "verdict": finding.verdict, "title": f"{entry.name}: {finding.title}"})
        yield finding
    tell({"event": "progress", "step": "gallery", "done": len(entries), "total": len(entries), "text": ""})


def _shown(finding: object) -> Finding:
    """What an exhibit returned, once it is sure that its figures can be drawn: one that cannot would take the page with it.

    Raises:
        TypeError: it is no finding.
    """
    if not isinstance(finding, Finding):
        raise TypeError(f"a Finding was expected, and the exhibit returned a {type(finding).__name__}")
    for figure in finding.figures:
        to_html(drawable(figure), "figure")
    return finding


def broken(entry: Entry, error: Exception) -> Broken:
    """The finding of an exhibit that ended with an error."""
    reason = plain(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
    return Broken(
        probe=entry.name,
        family="gallery",
        verdict="fail",
        title=f"broke with {reason[:300]}",
        why=f"This exhibit should have shown {entry.summary}.",
        todo=f"See where it broke: netwright gallery {entry.name} --debug",
    )


def in_order(names: Sequence[str], chapters: Chapters | None = None) -> list[Entry]:
    """The entries of these names in the order of the course; all of them where no name is given."""
    return [
        entry for _, entries in (chapters or CHAPTERS).values() for entry in entries if not names or entry.name in names
    ]


def page_of(
    findings: Sequence[Finding],
    *,
    wanted: int,
    tiny: bool,
    seed: int,
    command: str,
    chapters: Chapters | None = None,
) -> Page:
    """The page of what was exhibited: a chapter a section, an exhibit a finding.

    Args:
        findings: of the exhibits that are done. wanted: how many were to be run.
        tiny, seed: how they were run. command: that does it again.
    """
    by_name = {finding.probe: finding for finding in findings}
    sections = []
    for title, (lead, entries) in (chapters or CHAPTERS).items():
        shown = tuple(by_name[entry.name] for entry in entries if entry.name in by_name)
        if shown:
            sections.append(Section(id=title, title=title, lead=lead, findings=shown, listed=True))
    n, gone = len(findings), sum(isinstance(finding, Broken) for finding in findings)
    verdict = "" if n == wanted else f"Not all: {n} of {wanted} exhibits were run before the gallery was interrupted."
    if gone:
        verdict += f" {gone} of the exhibits broke."
    if failed := sum(finding.verdict == "fail" for finding in findings) - gone:
        verdict += f" {failed} of the exhibits did not show what was expected."
    size = "small (--tiny): figures are rougher than those of the full size" if tiny else "full"
    return Page(
        title="From one neuron to attention",
        subtitle="A course in pictures: each exhibit is a small program that trains or computes what it shows",
        verdict=verdict.strip(),
        facts={"exhibits": n, "size": size, "seed": seed, "time": duration(sum(f.seconds for f in findings))},
        sections=tuple(sections),
        commands=(command,),
        reproduce="One exhibit alone: netwright gallery NAME. Each is also a program in the folder examples.",
    )
