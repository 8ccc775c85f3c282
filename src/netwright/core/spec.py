"""What a network eats (`InputSpec`) and must give (`TargetSpec`): frozen data, fitted on training rows only.

A spec is all that an encoder remembers, so whoever holds the spec can encode new raw rows, build the network's front
and draw the axes of a figure. A new kind of data is a new class of field.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field as Setting

from netwright.core.errors import UsageError, unknown
from netwright.core.frozen import Frozen

Task = Literal["binary", "classes", "number"]
ColumnKind = Literal["number", "integer", "category", "date", "text", "image", "identifier", "constant"]
PAD, UNKNOWN, FIRST_ID = 0, 1, 2
"""Token ids: 0 pads, 1 stands for what training rows never or hardly ever had, the vocabulary begins at 2."""


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


class ImageField(Frozen):
    """A column of images, unified to one size and mode: its tensor `name` is (N, channels, height, width) in pixel values.

    `dtype` "uint8" holds whole pixel values, "float" fractions too. `low` and `high` are what a pixel can be (0 and 255 for
    uint8). `center` and `spread` are mean and standard deviation of each channel over training pixels. `rule` says in one
    sentence how sizes and modes were unified.
    """

    kind: Literal["image"] = "image"
    name: str = "image"
    height: int = Setting(ge=1)
    width: int = Setting(ge=1)
    channels: int = Setting(default=1, ge=1)
    dtype: Literal["uint8", "float"] = "uint8"
    low: float = 0.0
    high: float = 255.0
    center: tuple[float, ...] = (0.0,)
    spread: tuple[float, ...] = (1.0,)
    rule: str = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.channels, self.height, self.width

    @property
    def scale(self) -> float:
        """One grey level of 256, the unit in which attacks count."""
        return (self.high - self.low) / 255


class TextField(Frozen):
    """A column of text as two tensors of token ids, each padded behind: `name:words` (N, n_words), `name:chars` (N, n_chars).

    Word k of `words` (character k of `chars`) has the id k + 2; 0 pads, 1 is whatever is not in the vocabulary. `n_words` and
    `n_chars` are the most that are kept of a row; `cut_words` and `cut_chars` the shares of training rows that had more.
    """

    kind: Literal["text"] = "text"
    name: str = "text"
    words: tuple[str, ...]
    chars: str
    n_words: int = Setting(ge=1)
    n_chars: int = Setting(ge=1)
    lower: bool = True
    cut_words: float = 0.0
    cut_chars: float = 0.0

    @property
    def tensors(self) -> tuple[str, str]:
        """Names of its two tensors: of words, of characters."""
        return f"{self.name}:words", f"{self.name}:chars"


AnyField = Annotated[NumberField | CategoryField | VectorField | ImageField | TextField, Setting(discriminator="kind")]


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
        """Where a field lives in the network's inputs: the tensor's name, and its column there (None: the whole tensor).

        A text field lives in two tensors (`TextField.tensors`); of those the words are named.
        """
        field = self[name]
        if isinstance(field, NumberField):
            return "numbers", [f.name for f in self.numbers].index(name)
        if isinstance(field, CategoryField):
            return "codes", [f.name for f in self.categories].index(name)
        return (field.tensors[0] if isinstance(field, TextField) else name), None

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

    @property
    def images(self) -> list[ImageField]:
        """Fields of images, in order."""
        return [f for f in self.fields if isinstance(f, ImageField)]

    @property
    def texts(self) -> list[TextField]:
        """Fields of text, in order."""
        return [f for f in self.fields if isinstance(f, TextField)]


def kind_of(fields: Sequence[AnyField]) -> str:
    """What to call rows of these fields: "image" for one image alone, "text" for texts alone, "vector", else "table".

    >>> kind_of([ImageField(height=8, width=8)]), kind_of([ImageField(height=8, width=8), NumberField(name="age")])
    ('image', 'table')
    """
    kinds = {f.kind for f in fields}
    if kinds == {"image"} and len(fields) == 1:
        return "image"
    return next((kind for kind in ("text", "vector") if kinds == {kind}), "table")


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
