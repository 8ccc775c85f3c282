"""What an exported file says of itself: enough to read new rows and to name the answers. Needs no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field as Setting

from netwright.core.frozen import Frozen
from netwright.core.spec import AnyField, InputSpec, TargetSpec, TextField, VectorField

FORMAT: Literal[1] = 1
KEY = "netwright"
"""Where the card stands, as JSON, in the file's metadata_props."""

PortKind = Literal["number", "category", "image", "words", "chars", "tensor"]


class Port(Frozen):
    """One input of the graph.

    Args:
        name: in the graph. field: the column it is made of. tensor: of the network, the one it becomes or becomes part of.
        kind: "number" (N,) float64, NaN where missing, dates as days since 1970-01-01; "category" (N,) strings, "" where
            missing; "image" (N, C, H, W) raw pixels; "words", "chars" (N, T) int32 token ids; "tensor": as it is.
        length: of token ids, where the graph takes no other; None where T is free.
    """

    name: str
    field: str
    tensor: str
    kind: PortKind
    length: int | None = None


class Card(Frozen):
    """The metadata of an exported model.

    Args:
        version: of netwright that wrote it.
        spec: what a row is made of. target: what is predicted. margin: half the width of the 90 % interval of a value.
        ports: the graph's inputs. output: name of the answer: (N, C) calibrated probabilities, or (N,) values.
        further: names of what follows from it: the label (N,) of the most probable class, or lower and upper (N,) of a value.
        largest_difference: from the model's own answers, as measured when it was written.
    """

    format: Literal[1] = FORMAT
    version: str
    spec: InputSpec
    target: TargetSpec
    margin: float | None = None
    ports: tuple[Port, ...] = Setting(min_length=1)
    output: str
    further: tuple[str, ...] = ()
    largest_difference: float | None = None

    @property
    def by_tensors(self) -> bool:
        """Whether the graph takes the tensors of a user's own module, which no raw row can be turned into here."""
        return any(port.kind == "tensor" for port in self.ports)


def raw_ports(spec: InputSpec) -> list[Port]:
    """The inputs that a graph on raw columns has, in the order of the fields; their names are distinct and not empty.

    >>> from netwright.core.spec import NumberField
    >>> spec = InputSpec(fields=(NumberField(name="age"), TextField(name="note", words=("a",), chars="a", n_words=1, n_chars=1)))
    >>> [(port.name, port.kind) for port in raw_ports(spec)]
    [('age', 'number'), ('note:words', 'words'), ('note:chars', 'chars')]
    """
    taken: set[str] = set()
    ports = []
    for field in spec.fields:
        for name, kind in _inputs_of(field):
            tensor = {"number": "numbers", "category": "codes"}.get(kind, name)
            ports.append(Port(name=free_name(name or "column", taken), field=field.name, tensor=tensor, kind=kind))
    return ports


def _inputs_of(field: AnyField) -> list[tuple[str, PortKind]]:
    """Names and kinds of the graph's inputs for a field."""
    if isinstance(field, TextField):
        words, chars = field.tensors
        return [(words, "words"), (chars, "chars")]
    if isinstance(field, VectorField):
        return [(field.name, "tensor")]
    return [(field.name, field.kind if field.kind in ("category", "image") else "number")]


def free_name(name: str, taken: set[str]) -> str:
    """The name, with so many underscores behind it that it is not taken; it is then.

    >>> free_name("age", {"age"})
    'age_'
    """
    while name in taken:
        name += "_"
    taken.add(name)
    return name
