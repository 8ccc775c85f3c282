"""A net of threshold units for people: as text, a unit a line, and as a diagram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from netwright.core.errors import UsageError
from netwright.core.finding import Figure, Link, Mark, Node
from netwright.nn.circuit import Unit

MOST_DRAWN = 64
"""Variables and units of a diagram."""
MOST_SUMMED = 40
"""Terms of a sum that are written out."""


def text_of(names: Sequence[str], units: Sequence[Unit], depth: int, most: int) -> str:
    """A unit a line: its name, its sum and its threshold."""
    places = [*names, *(unit.name for unit in units)]
    width = max((len(unit.name) for unit in units[:most]), default=0)
    inputs = ", ".join(names[:MOST_SUMMED]) + (", ..." if len(names) > MOST_SUMMED else "")
    head = f"{len(units):,} unit{'s' * (len(units) != 1)}, depth {depth}, " + (
        f"inputs {inputs}" if names else "no inputs"
    )
    lines = [f"  {unit.name:<{width}} = [{_sum(unit, places)} >= {unit.threshold}]" for unit in units[:most]]
    left = [f"  and {len(units) - most:,} more"] if len(units) > most else []
    return "\n".join([head, *lines, *left])


def _sum(unit: Unit, places: Sequence[str]) -> str:
    if not unit.sources:
        return "0"
    pairs = list(zip(unit.sources, unit.weights, strict=True))
    written = "".join(f" {'+' if weight > 0 else '-'} {places[source]}" for source, weight in pairs[:MOST_SUMMED])
    left = f" and {len(pairs) - MOST_SUMMED:,} more" if len(pairs) > MOST_SUMMED else ""
    return ("-" + written[3:] if pairs[0][1] < 0 else written[3:]) + left


def diagram_of(
    names: Sequence[str], units: Sequence[Unit], levels: Sequence[int], values: Mapping[str, int] | None
) -> Figure:
    """Nodes with thresholds and links with weights; with values, what is on and what each unit sums up."""
    if len(levels) > MOST_DRAWN:
        raise UsageError(
            f"the net has {len(names):,} inputs and {len(units):,} units; a diagram shows {MOST_DRAWN} in all. print(net) lists them"
        )
    places = [*names, *(unit.name for unit in units)]
    nodes = [_node(name, f"{values[name]}" if values else "", 0, values) for name in names]
    links = []
    for place, unit in enumerate(units, start=len(names)):
        pairs = list(zip(unit.sources, unit.weights, strict=True))
        note = f"θ = {unit.threshold}"
        if values:
            total = sum(weight * values[places[source]] for source, weight in pairs)
            note = f"{total} {'≥' if total >= unit.threshold else '<'} {unit.threshold} gives {values[unit.name]}"
        nodes.append(_node(unit.name, note, levels[place], values))
        for source, weight in pairs:
            active: Mark = ("good" if weight > 0 else "bad") if values and values[places[source]] else ""
            links.append(Link(source=places[source], target=unit.name, label="+1" if weight > 0 else "−1", mark=active))
    shown = ", ".join(f"{name} = {values[name]}" for name in names) if values else ""
    return Figure(
        title=f"Threshold units for {shown}" if shown else "Threshold units",
        kind="diagram",
        nodes=tuple(nodes),
        links=tuple(links),
        caption="A unit gives 1 where the weighted sum of its inputs reaches its threshold θ.",
    )


def _node(name: str, note: str, level: int, values: Mapping[str, int] | None) -> Node:
    mark: Mark = ("good" if values[name] else "bad") if values else ""
    return Node(id=name, label=name, note=note, level=level, mark=mark)
