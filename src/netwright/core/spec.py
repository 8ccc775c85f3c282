"""What a network eats (`InputSpec`) and must give (`TargetSpec`): frozen data, fitted on training rows only.

A spec is all that an encoder remembers, so whoever holds the spec can encode new raw rows, build the network's front
and draw the axes of a figure. A new kind of data is a new class of field.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field as Setting

from netwright.core.errors import UsageError, unknown
from netwright.core.frozen import Frozen

Task = Literal["binary", "classes", "number"]
ColumnKind = Literal["number", "integer", "category", "date", "text", "identifier", "constant"]


class NumberField(Frozen):
    """A numeric column, in the user's unit.

    `low` and `high` are the range seen on training rows, `center` and `scale` a location and a spread (never 0),
    `knots` rising quantiles for piecewise-linear embeddings. `kind` "integer" holds whole numbers in order; "date" holds
    days since 1970-01-01 (fractions are the time of day).
    """

    kind: Literal["number", "integer", "date"] = "number"
    name: str
    unit: str = ""
    low: float = 0.0
    high: float = 1.0
    center: float = 0.0
    scale: float = 1.0
    knots: tuple[float, ...] = ()
    missing: bool = False
    """Whether training rows had missing cells."""


class CategoryField(Frozen):
    """A column of categories. Code 0 is "unknown" (never seen in training); category k has code k + 1.

    A missing cell is the category "" where training rows had missing cells, else unknown.
    """

    kind: Literal["category"] = "category"
    name: str
    categories: tuple[str, ...]

    @property
    def n_codes(self) -> int:
        """Number of codes, unknown included."""
        return len(self.categories) + 1


class VectorField(Frozen):
    """One tensor per row of the given shape, passed through as it is: what a wrapped foreign module eats."""

    kind: Literal["vector"] = "vector"
    name: str = "x"
    shape: tuple[int, ...]
    low: float | None = None
    high: float | None = None
    scale: float = 1.0
    """Spread of the values, the unit in which attacks count for this field."""
    dtype: Literal["float", "int"] = "float"


AnyField = Annotated[NumberField | CategoryField | VectorField, Setting(discriminator="kind")]


class InputSpec(Frozen):
    """What one row is made of.

    >>> spec = InputSpec(kind="table", fields=(NumberField(name="age"), CategoryField(name="sex", categories=("f", "m"))))
    >>> spec["age"].kind, [f.name for f in spec.categories]
    ('number', ['sex'])
    """

    kind: str = "table"
    fields: tuple[AnyField, ...]

    def __getitem__(self, name: str) -> AnyField:
        for field in self.fields:
            if field.name == name:
                return field
        raise UsageError(unknown("input", name, [f.name for f in self.fields]))

    def locate(self, name: str) -> tuple[str, int | None]:
        """Where a field lives in the network's inputs: the tensor's name, and its column there (None: the whole tensor)."""
        field = self[name]
        if isinstance(field, NumberField):
            return "numbers", [f.name for f in self.numbers].index(name)
        if isinstance(field, CategoryField):
            return "codes", [f.name for f in self.categories].index(name)
        return name, None

    @property
    def names(self) -> list[str]:
        """Names of the fields in order."""
        return [f.name for f in self.fields]

    @property
    def numbers(self) -> list[NumberField]:
        """Fields that share the tensor `numbers` (N, P), in the order of its columns."""
        return [f for f in self.fields if isinstance(f, NumberField)]

    @property
    def categories(self) -> list[CategoryField]:
        """Fields that share the tensor `codes` (N, Q), in the order of its columns."""
        return [f for f in self.fields if isinstance(f, CategoryField)]


class TargetSpec(Frozen):
    """What is to be predicted.

    For classes: `classes` in the order of the probabilities, `priors` their shares on training rows.
    For numbers: `center` and `scale` are mean and standard deviation on training rows, `low` and `high` their range.
    """

    name: str
    task: Task
    classes: tuple[str, ...] = ()
    priors: tuple[float, ...] = ()
    unit: str = ""
    center: float = 0.0
    scale: float = 1.0
    low: float = 0.0
    high: float = 0.0

    @property
    def n_out(self) -> int:
        """Outputs of a network under the task's usual loss."""
        return len(self.classes) if self.classes else 1

    @property
    def is_number(self) -> bool:
        """Whether this is a regression."""
        return self.task == "number"
