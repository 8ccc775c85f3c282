"""`netwright list` and `netwright show`: what there is, derived from the galleries."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from netwright.cli.galleries import PROBES, find, galleries, gallery
from netwright.cli.options import Debug, command


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
    debug: Debug = False,
) -> int:
    """Show one member of a list in full.

    What it does, where it comes from, what it needs, and its options.

    \b
    Examples:
      netwright show log-loss
      netwright show metrics/f1
    """
    found = find(name)
    from netwright.report.terminal import print_entry

    for i, (family, entry) in enumerate(found):
        if i:
            print()
        print_entry(entry, gallery=f"in the list {family}", documentation=_documentation(entry.load()))
        use = [c for c, probes in PROBES.items() if probes == family]
        if use:
            print(f"\n  netwright {use[0]} RUN --only {entry.name}")
    return 0


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
