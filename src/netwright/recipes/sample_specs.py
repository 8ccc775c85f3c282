"""Made-up inputs of every kind, small, so that a template or a recipe can be built and looked at without data."""

from __future__ import annotations

import string
from collections.abc import Mapping

from netwright.core.entry import Entry
from netwright.core.errors import UsageError
from netwright.core.spec import (
    AnyField,
    AudioField,
    CategoryField,
    ImageField,
    InputSpec,
    NumberField,
    SeriesField,
    SetField,
    TargetSpec,
    Task,
    TextField,
    TreeField,
    VectorField,
    VolumeField,
)

_NUMBERS = tuple(NumberField(name=name, knots=(-2.0, -0.5, 0.5, 2.0), low=-2.0, high=2.0) for name in ("a", "b", "c"))
_CATEGORIES = tuple(CategoryField(name=name, categories=("red", "green", "blue")) for name in ("d", "e"))
_WORDS = tuple(f"word{i}" for i in range(1000))
_CHARS = string.ascii_lowercase + string.digits + string.punctuation + " \n"

_FIELDS: Mapping[str, tuple[AnyField, ...]] = {
    "table": (*_NUMBERS, *_CATEGORIES),
    "vector": (VectorField(shape=(8,)),),
    "image": (ImageField(height=28, width=28),),
    "text": (TextField(words=_WORDS, chars=_CHARS, n_words=200, n_chars=1014),),
    "series": (SeriesField(channels=2, n_steps=64, center=(0.0, 0.0), spread=(1.0, 1.0)),),
    "audio": (AudioField(rate=8000, n_steps=8000),),
    "set": (SetField(numbers=_NUMBERS, categories=_CATEGORIES, n_elements=10),),
    "tree": (TreeField(labels=("sum", "product", "leaf"), n_nodes=15),),
    "volume": (VolumeField(depth=16, height=16, width=16),),
}
_CLASSES = {"image": 10, "audio": 10, "text": 4}
"""Classes of digits, of spoken digits, and of news; of other kinds three."""
_WORDS_FOR = {
    "table": "a table of three numbers and two categories",
    "vector": "vectors of eight numbers",
    "image": "grey images of 28 x 28 pixels",
    "text": "texts of up to 200 words and 1,014 letters, 1,000 words in all",
    "series": "series of 64 steps in two channels",
    "audio": "sounds of one second at 8 kHz",
    "set": "sets of up to ten elements, each of three numbers and two categories",
    "tree": "trees of up to 15 nodes with three labels",
    "volume": "volumes of 16 x 16 x 16",
}


def kind_for(entry: Entry) -> str:
    """The kind of rows with which a template or a recipe is shown: that of its example, that which it needs, or the first it fits."""
    if entry.example and entry.example.kind:
        return entry.example.kind
    needed = [kind for kind in entry.needs if kind in _FIELDS]
    return next(iter((*needed, *entry.kinds)), "table")


def sample_spec(kind: str) -> InputSpec:
    """Made-up inputs of a kind.

    Raises:
        UsageError: there is no such kind.

    >>> sample_spec("image").images[0].shape
    (1, 28, 28)
    """
    if kind not in _FIELDS:
        raise UsageError(f"there are no made-up inputs of kind {kind!r}, only of: {', '.join(_FIELDS)}")
    return InputSpec(kind=kind, fields=_FIELDS[kind])


def sample_target(kind: str, task: Task) -> TargetSpec:
    """Something to predict from them: ten classes of images and sounds, four of texts, three of other rows, two, or a number."""
    if task == "number":
        return TargetSpec(name="y", task="number", center=0.0, scale=1.0, low=-2.0, high=2.0)
    n = 2 if task == "binary" else _CLASSES.get(kind, 3)
    return TargetSpec(name="y", task=task, classes=tuple(str(k) for k in range(n)), priors=(1 / n,) * n)


def in_words(kind: str, target: TargetSpec) -> str:
    """What goes in and what must come out, in words.

    >>> in_words("image", sample_target("image", "classes"))
    'grey images of 28 x 28 pixels in, 10 classes out'
    """
    return f"{_WORDS_FOR[kind]} in, {'a number' if target.is_number else f'{len(target.classes)} classes'} out"
