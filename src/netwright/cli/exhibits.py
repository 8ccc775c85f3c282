"""`netwright gallery`: the exhibits, and the page that shows them as a course."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Annotated

import typer

from netwright.cli.options import Debug, Seed, command
from netwright.cli.outcome import interrupted
from netwright.cli.paths import check_output
from netwright.core.errors import UsageError
from netwright.exhibits.entries import EXHIBITS

PAGES = (".html", ".htm")


@command
def gallery(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...", help="Exhibits to run; netwright list exhibits names them. By default all."
        ),
    ] = None,
    tiny: Annotated[bool, typer.Option("--tiny", help="A small size of each, which takes seconds.")] = False,
    out: Annotated[
        Path, typer.Option(metavar="PLACE", help="The page, a name that ends in .html; or a folder for gallery.html.")
    ] = Path("gallery.html"),
    seed: Seed = 0,
    debug: Debug = False,
) -> int:
    """Run the exhibits and write one page that shows them as a course.

    Every classic system as a small program with its pictures: neuron, perceptron, graph, layers, recurrence, convolution,
    attention. The page opens offline in any browser. One that breaks, or does not show what it should, is named, the others go
    on, and the exit code is 1; Ctrl-C leaves a page of those that are done.

    Where NETWRIGHT_DATA names a folder, the full size takes real data from there: handwritten digits (mnist.npz), spoken digits
    (fsdd.npz), surnames (text/names_nationality.tsv.gz). In place of a file that is not there, and with --tiny, it takes what
    comes with scikit-learn or is made by a formula.

    \b
    Examples:
      netwright gallery --tiny                       all of them in their small size, into gallery.html
      netwright gallery --out course/                in full size, into course/gallery.html
      netwright gallery shift-invariance --seed 1    one of them
      netwright list exhibits                        what there is
    """
    for name in names or ():
        EXHIBITS[name]  # an unknown one is refused, with the nearest names
    place = _place(out)
    return _run(list(names or ()), place, tiny=tiny, seed=seed, debug=debug)


def _place(out: Path) -> Path:
    """The file of the page; a folder that is not there is made.

    Raises:
        UsageError: a file whose name is no page's.
    """
    if out.is_dir() or not out.suffix:
        if out.is_file():
            raise UsageError(f"--out {out}: that is a file; give a folder, or a name that ends in .html")
        out.mkdir(parents=True, exist_ok=True)
        out = out / "gallery.html"
    check_output(out, "--out", PAGES)
    return out


def _run(names: list[str], place: Path, *, tiny: bool, seed: int, debug: bool) -> int:
    from netwright.core.finding import Finding
    from netwright.exhibits.course import Broken, exhibited, in_order, page_of
    from netwright.report.page import write
    from netwright.report.terminal import Terminal

    entries = in_order(names)
    again = shlex.join(["netwright", "gallery", *names, *["--tiny"] * tiny, "--seed", str(seed)])
    findings: list[Finding] = []
    shown = 0

    def keep() -> None:
        nonlocal shown
        write(place, page_of(findings, wanted=len(entries), tiny=tiny, seed=seed, command=again))
        shown = len(findings)

    try:
        with Terminal() as terminal:
            next_time = 0.0
            for finding in exhibited(entries, tiny=tiny, seed=seed, tell=terminal, debug=debug):
                findings.append(finding)
                if (
                    began := time.monotonic()
                ) >= next_time:  # what is done outlives whatever comes, for a tenth of the time
                    keep()
                    next_time = time.monotonic() + 10 * (time.monotonic() - began)
    except KeyboardInterrupt as error:
        if not findings:
            raise interrupted(error, "no exhibit was done yet, and no page was written") from error
        keep()
        raise interrupted(error, f"{len(findings)} of {len(entries)} exhibits are on the page {place}") from error
    if shown < len(entries) or not entries:
        keep()
    gone = [finding.probe for finding in findings if isinstance(finding, Broken)]
    print(f"{len(findings)} exhibit{'s' * (len(findings) != 1)}: {place}")
    failed = [finding.probe for finding in findings if finding.verdict == "fail" and finding.probe not in gone]
    if gone:
        print(f"broken: {', '.join(gone)}; see where with --debug")
    if failed:
        print(f"failed: {', '.join(failed)}; the page says what was expected and what was measured")
    return int(bool(gone or failed))
