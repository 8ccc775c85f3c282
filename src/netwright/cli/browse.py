"""`netwright list` and `netwright show`: what there is, derived from the galleries."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netwright.cli.galleries import PROBES, find, galleries, gallery
from netwright.cli.options import Debug, Seed, command
from netwright.cli.paths import check_output
from netwright.core.entry import Entry
from netwright.core.errors import UsageError

if TYPE_CHECKING:
    from netwright.core.finding import Finding


@command
def list_entries(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[WHAT]", help="checks, attacks, recipes, and so on. By default the lists that there are."
        ),
    ] = None,
    debug: Debug = False,
) -> int:
    """List checks, attacks, recipes, losses, and so on.

    \b
    Examples:
      netwright list                 the lists, and how many members each has
      netwright list attacks         one list
    """
    if what is None:
        families = galleries()
        width = max(map(len, families))
        for name, entries in families.items():
            print(f"{name:<{width}}  {len(entries):>3}   netwright list {name}")
        print("\nOne member in full: netwright show NAME")
    else:
        from netwright.report.terminal import print_entries

        print_entries({what: gallery(what)})
    return 0


@command
def show(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="A member of a list, such as fgsm; or list/member, such as metrics/f1."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="Also write a page with the diagram of a layer, a template or a recipe, with the curve of an activation, or with "
            "what an exhibit shows. By default none is written.",
        ),
    ] = None,
    seed: Seed = 0,
    debug: Debug = False,
) -> int:
    """Show one member of a list in full.

    What it does, where it comes from, what it needs, and its options. A layer, a template or a recipe is built small,
    on made-up rows, and its parts are drawn in order, with shapes, parameters and what a row costs. An activation is drawn
    as a curve, with its derivative.

    \b
    Examples:
      netwright show log-loss
      netwright show metrics/f1
      netwright show residual-conv --out net.html    the diagram on a page
    """
    check_output(out, "--out", (".html", ".htm"))
    found = find(name)
    if out and not any(family in DRAWN for family, _ in found):
        raise UsageError(f"{name} has no figure to write; those of the lists {', '.join(DRAWN)} have")
    from netwright.report.terminal import print_entry, print_finding

    sections = []
    for i, (family, entry) in enumerate(found):
        if i:
            print()
        print_entry(entry, gallery=f"in the list {family}", documentation=_documentation(entry.load()))
        use = [c for c, probes in PROBES.items() if probes == family]
        if use:
            print(f"\n  netwright {use[0]} RUN --only {entry.name}")
        if family == "exhibits":
            print(f"\n  netwright gallery {entry.name} --tiny")
        if finding := _drawn(family, entry, seed, wanted=bool(out), debug=debug):
            print()
            print_finding(finding, max_rows=60)
            if family == "activations":
                _plot(finding)
            sections.append((family, finding))
    if out and sections:
        _write(out, name, sections)
    return 0


DRAWN = ("layers", "templates", "recipes", "exhibits", "activations")
"""Lists whose members have a figure."""


def _drawn(family: str, entry: Entry, seed: int, *, wanted: bool, debug: bool) -> Finding | None:
    """The network of an entry, looked at from inside; of an activation its curve; of an exhibit, where a page is wanted, what it
    shows in its small size."""
    if family == "exhibits":
        from netwright.exhibits.course import exhibited

        return next(exhibited([entry], tiny=True, seed=seed, tell=lambda event: None, debug=debug)) if wanted else None
    if family not in DRAWN:
        return None
    if family == "activations":
        from netwright.nn.curves import curve

        return curve(entry.name)
    from netwright.recipes.built import shown

    try:
        return shown(family, entry, seed)
    except UsageError as error:
        print(f"\n  not drawn: {error}")
        return None


def _plot(finding: Finding) -> None:
    """The charts of a finding, in letters."""
    from netwright.report.textplot import plotted

    for figure in finding.figures:
        print(f"  {figure.title}")
        for line in plotted(figure):
            print(f"    {line}")
        print()


def _write(out: Path, name: str, found: list[tuple[str, Finding]]) -> None:
    from netwright.report.page import Page, Section, write

    sections = tuple(
        Section(id=family, title=f"In the list {family}", findings=(finding,)) for family, finding in found
    )
    write(out, Page(title=name, sections=sections, commands=(f"netwright show {name}",)))
    print(f"\npage: {out}")


def _documentation(code: Any) -> str:
    """Signature and docstring; of another library's code only the first paragraph."""
    text = inspect.getdoc(code) or ""
    if not str(getattr(code, "__module__", "")).startswith("netwright"):
        text = text.partition("\n\n")[0]
    return f"{_signature(code)}\n\n{text}".rstrip()


class _Bare(str):
    """An annotation that is shown without quotation marks."""

    __repr__ = str.__str__


def _signature(code: Any) -> str:
    name = str(getattr(code, "__name__", type(code).__name__))
    try:
        found = inspect.signature(code)
    except (TypeError, ValueError):
        return name
    parameters = [p.replace(annotation=_bare(p.annotation)) for p in found.parameters.values()]
    return name + str(found.replace(parameters=parameters, return_annotation=_bare(found.return_annotation)))


def _bare(annotation: Any) -> Any:
    return _Bare(annotation) if isinstance(annotation, str) else annotation
