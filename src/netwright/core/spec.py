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
ColumnKind = Literal[
    "number",
    "integer",
    "category",
    "date",
    "text",
    "image",
    "series",
    "audio",
    "set",
    "tree",
    "volume",
    "identifier",
    "constant",
]
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
    `lemmas` is the language in whose base forms words are counted ("en": "were" is "be"), empty for words as they are.
    """

    kind: Literal["text"] = "text"
    name: str = "text"
    words: tuple[str, ...]
    chars: str
    n_words: int = Setting(ge=1)
    n_chars: int = Setting(ge=1)
    lower: bool = True
    lemmas: str = ""
    cut_words: float = 0.0
    cut_chars: float = 0.0

    @property
    def tensors(self) -> tuple[str, str]:
        """Names of its two tensors: of words, of characters."""
        return f"{self.name}:words", f"{self.name}:chars"


class SeriesField(Frozen):
    """A column of series: values in time, of one or several channels, of unequal lengths.

    Two tensors: `name` (N, channels, n_steps) float32 in the user's unit, 0 behind the end, and `name:length` (N,) int64, at
    least 1. A longer series is cut to its first `n_steps` values (`cut`: the share of training rows that were). Gaps are filled
    linearly in time (`gaps`: the share of training values). `center` and `spread` are mean and standard deviation of each channel
    over training values, `low` and `high` the range of all, `shortest` the fewest values of a training row. `rate` is in values a
    second, 0 where nothing is known of it. `labels` names the channels where that is known. Series that were made of the rows of a
    table: `by` is the column whose equal values make a series, `order` the one that orders them.
    """

    kind: Literal["series"] = "series"
    name: str = "series"
    channels: int = Setting(default=1, ge=1)
    n_steps: int = Setting(ge=1)
    shortest: int = 1
    low: float = 0.0
    high: float = 1.0
    center: tuple[float, ...] = (0.0,)
    spread: tuple[float, ...] = (1.0,)
    rate: float = 0.0
    cut: float = 0.0
    gaps: float = 0.0
    labels: tuple[str, ...] = ()
    by: str = ""
    order: str = ""

    @property
    def tensors(self) -> tuple[str, str]:
        """Names of its two tensors: of values, of lengths."""
        return self.name, f"{self.name}:length"

    @property
    def scale(self) -> float:
        """The mean spread of a channel, the unit in which attacks count."""
        return sum(self.spread) / len(self.spread)


class AudioField(Frozen):
    """A column of sounds, brought to one rate and one channel.

    Two tensors: `name` (N, n_steps) float32 from -1 to 1, 0 behind the end, and `name:length` (N,) int64, at least 1. `rate` is in
    samples a second; `cut` the share of training rows that were longer than `n_steps`; `rule` says how rates and channels were
    unified; `power` is the mean and the deviation of the logarithm of the power of training frames, in decibels.
    """

    kind: Literal["audio"] = "audio"
    name: str = "audio"
    rate: int = Setting(ge=1)
    n_steps: int = Setting(ge=1)
    power: tuple[float, float] = (-40.0, 20.0)
    cut: float = 0.0
    rule: str = ""
    low: float = -1.0
    high: float = 1.0
    scale: float = 1 / 32768
    """One step of 16 bits, the unit in which attacks count."""

    @property
    def tensors(self) -> tuple[str, str]:
        """Names of its two tensors: of samples, of lengths."""
        return self.name, f"{self.name}:length"


class SetField(Frozen):
    """A column of sets: each cell holds any number of elements without an order, each a row of numbers and categories.

    Three tensors: `name:numbers` (N, n_elements, P) float64 and `name:codes` (N, n_elements, Q) int64, as those of a table (absent
    where there are no such columns; NaN and 0 behind the end), and `name:length` (N,) int64, at least 1. Of larger sets the first
    `n_elements` are kept (`cut`: the share of training rows). `key` is the column by which the rows of a table were grouped to sets;
    empty where the cells came as sets.
    """

    kind: Literal["set"] = "set"
    name: str = "set"
    numbers: tuple[NumberField, ...] = ()
    categories: tuple[CategoryField, ...] = ()
    n_elements: int = Setting(ge=1)
    key: str = ""
    cut: float = 0.0

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of its tensors: of numbers, of codes, of lengths, as far as they are there."""
        parts = [f"{self.name}:numbers"] * bool(self.numbers) + [f"{self.name}:codes"] * bool(self.categories)
        return (*parts, f"{self.name}:length")


class TreeField(Frozen):
    """A column of ordered trees whose nodes have labels.

    Two tensors: `name:labels` (N, n_nodes) int32 and `name:parents` (N, n_nodes) int32. Nodes stand in depth-first order, parents before
    their children, children in order, so that node 0 is the root and has parent -1. A label k of `labels` has the id k + 2; 1 is an
    unknown label, 0 stands behind the last node (with parent -1). Of larger trees the first `n_nodes` in breadth-first order are
    kept (`cut`: the share of training rows). `notation` is "brackets" or "python" where the cells are trees in writing.
    """

    kind: Literal["tree"] = "tree"
    name: str = "tree"
    labels: tuple[str, ...]
    n_nodes: int = Setting(ge=1)
    notation: Literal["", "brackets", "python"] = ""
    cut: float = 0.0

    @property
    def tensors(self) -> tuple[str, str]:
        """Names of its two tensors: of labels, of parents."""
        return f"{self.name}:labels", f"{self.name}:parents"


class VolumeField(Frozen):
    """A column of volumes or of films: its tensor `name` is (N, channels, depth, height, width); of films depth is time.

    `dtype`, `low`, `high`, `center` and `spread` as of `ImageField`.
    """

    kind: Literal["volume"] = "volume"
    name: str = "volume"
    depth: int = Setting(ge=1)
    height: int = Setting(ge=1)
    width: int = Setting(ge=1)
    channels: int = Setting(default=1, ge=1)
    dtype: Literal["uint8", "float"] = "uint8"
    low: float = 0.0
    high: float = 255.0
    center: tuple[float, ...] = (0.0,)
    spread: tuple[float, ...] = (1.0,)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(channels, depth, height, width)."""
        return self.channels, self.depth, self.height, self.width

    @property
    def tensors(self) -> tuple[str]:
        """The name of its tensor."""
        return (self.name,)

    @property
    def scale(self) -> float:
        """One grey level of 256, the unit in which attacks count."""
        return (self.high - self.low) / 255


WholeField = SeriesField | AudioField | SetField | TreeField | VolumeField
"""Fields whose code lies behind one `Kind` each (`netwright.data.kinds`)."""
AnyField = Annotated[
    NumberField | CategoryField | VectorField | ImageField | TextField | WholeField, Setting(discriminator="kind")
]


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

        A field with several tensors (`tensors`) is named by the first: a text by its words, a series by its values.
        """
        field = self[name]
        if isinstance(field, NumberField):
            return "numbers", [f.name for f in self.numbers].index(name)
        if isinstance(field, CategoryField):
            return "codes", [f.name for f in self.categories].index(name)
        return (field.tensors[0] if isinstance(field, TextField | WholeField) else name), None

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

    @property
    def wholes(self) -> list[WholeField]:
        """Series, sounds, sets, trees and volumes, in order."""
        return [f for f in self.fields if isinstance(f, WholeField)]


def kind_of(fields: Sequence[AnyField]) -> str:
    """What to call rows of these fields: the kind of a field that is alone, "text" or "vector" for several of those, else "table".

    >>> kind_of([ImageField(height=8, width=8)]), kind_of([ImageField(height=8, width=8), NumberField(name="age")])
    ('image', 'table')
    """
    kinds = {f.kind for f in fields}
    alone = next(iter(kinds)) if len(fields) == 1 else ""
    if alone in ("image", "series", "audio", "set", "tree", "volume"):
        return alone
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
