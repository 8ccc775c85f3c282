"""What makes an exhibit a program: `python examples/NAME.py --tiny --out page.html`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

from netwright.core.finding import Finding
from netwright.report.page import Page, Section, write
from netwright.report.terminal import print_findings

Exhibit = Callable[..., Finding]
"""exhibit(*, tiny: bool, seed: int) -> Finding: what was seen, `why` the paragraph that says what to look at."""


def main(exhibit: Exhibit, arguments: Sequence[str] | None = None) -> None:
    """Run an exhibit from the command line: print what it found, and write its page where asked.

    Raises:
        SystemExit: with code 1, the exhibit did not show what was expected; after its page was written.
    """
    about = (exhibit.__doc__ or "").strip().splitlines()[0]
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--tiny", action="store_true", help="a small size that takes seconds; by default the full one")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn at random; by default 0")
    parser.add_argument("--out", metavar="FILE.html", help="write the page with the figures there; by default none")
    given = parser.parse_args(arguments)
    began = time.monotonic()
    finding = exhibit(tiny=given.tiny, seed=given.seed)
    finding = finding.model_copy(update={"seconds": round(time.monotonic() - began, 3), "seed": given.seed})
    print_findings([finding])
    if given.out:
        write(
            given.out,
            Page(title=about.rstrip("."), sections=(Section(id="exhibit", title="Exhibit", findings=(finding,)),)),
        )
        print(f"page: {given.out}")
    if finding.verdict == "fail":
        raise SystemExit(f"failed: {finding.title}; expected: {finding.expected or 'another outcome'}")
