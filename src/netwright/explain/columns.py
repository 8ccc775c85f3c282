"""What explanations share: the columns that a question is asked of, the rows that answer it, and the answer as one number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from netwright.core.errors import DataError
from netwright.core.finding import Finding
from netwright.core.seed import generator
from netwright.core.spec import (
    AnyField,
    CategoryField,
    ImageField,
    InputSpec,
    NumberField,
    SetField,
    TargetSpec,
    TextField,
    TreeField,
    VectorField,
)
from netwright.data.batch import Batch, Block, Inputs
from netwright.model import Model, Subject

MAX_COMPONENTS = 200
"""Components of a vector that are asked one by one, at most; a larger one, or an image, is one column."""


@dataclass(frozen=True)
class Column:
    """A column, a component of a vector, or a whole tensor.

    Args:
        name: as a reader knows it: the column's name, or "x[3]".
        tensor: its tensor among the inputs. index: its place there; None for the whole tensor.
        field: of the spec.
        also: further tensors of the same column, which go with the first (a text's characters with its words).
    """

    name: str
    tensor: str
    index: int | None
    field: AnyField
    also: tuple[str, ...] = ()

    @property
    def is_category(self) -> bool:
        """Whether it holds category codes."""
        return isinstance(self.field, CategoryField)

    @property
    def is_smooth(self) -> bool:
        """Whether a gradient with respect to it has a meaning."""
        return isinstance(self.field, NumberField) or (
            isinstance(self.field, VectorField) and self.field.dtype == "float"
        )

    @property
    def scale(self) -> float:
        """Spread of its values, in its unit; 1 for categories."""
        return 1.0 if isinstance(self.field, CategoryField | TextField | SetField | TreeField) else self.field.scale

    def of(self, x: Inputs) -> Tensor:
        """Its values: (N,), or (N, ...) for a whole tensor."""
        return x[self.tensor] if self.index is None else x[self.tensor][:, self.index]

    def put(self, x: Inputs, values: Tensor | float) -> dict[str, Tensor]:
        """The same inputs with other values in this column."""
        changed = x[self.tensor].clone()
        changed[(...,) if self.index is None else (slice(None), self.index)] = values
        return {**x, self.tensor: changed}

    def shuffled(self, x: Inputs, order: Tensor) -> dict[str, Tensor]:
        """The same inputs with this column's values in another order of rows."""
        return {**self.put(x, self.of(x)[order]), **{name: x[name][order] for name in self.also}}


def columns_of(spec: InputSpec) -> list[Column]:
    """All columns in the order of the spec; vectors of up to `MAX_COMPONENTS` components are taken apart.

    >>> [c.name for c in columns_of(InputSpec(kind="vector", fields=(VectorField(name="x", shape=(2,)),)))]
    ['x[0]', 'x[1]']
    """
    places = {f.name: ("numbers", i) for i, f in enumerate(spec.numbers)}
    places |= {f.name: ("codes", i) for i, f in enumerate(spec.categories)}
    found: list[Column] = []
    for field in spec.fields:
        if isinstance(field, TextField):
            found.append(Column(field.name, field.tensors[0], None, field, also=field.tensors[1:]))
        elif isinstance(field, ImageField):
            found.append(Column(field.name, field.name, None, field))
        elif not isinstance(field, VectorField):
            found.append(Column(field.name, *places[field.name], field))
        elif len(field.shape) == 1 and field.shape[0] <= MAX_COMPONENTS:
            found += [Column(f"{field.name}[{i}]", field.name, i, field) for i in range(field.shape[0])]
        else:
            found.append(Column(field.name, field.name, None, field))
    return found


def rows_for(subject: Subject, n: int, seed: int, *names: str) -> Batch:
    """At most `n` test rows, drawn without replacement, in their order.

    Raises:
        DataError: there are none, or they have no target.
    """
    block: Block = subject.need("data").block("test")
    if not len(block) or block.y is None:
        raise DataError("an explanation needs labelled test rows, and there are none")
    index = torch.randperm(len(block), generator=generator(seed, "rows", *names))[:n]
    return block.take(index.sort().values)


def answer(prediction: np.ndarray, chosen: np.ndarray | None = None) -> np.ndarray:
    """The one number (N,) that questions are asked of: a value, the second of two classes, or each row's chosen class.

    >>> answer(np.array([[0.2, 0.8]])).tolist(), answer(np.array([[0.2, 0.5, 0.3]]), np.array([2])).tolist()
    ([0.8], [0.3])
    """
    if prediction.ndim == 1:
        return prediction
    if prediction.shape[1] == 2:
        second: np.ndarray = prediction[:, 1]
        return second
    picked: np.ndarray = prediction[np.arange(len(prediction)), prediction.argmax(1) if chosen is None else chosen]
    return picked


def answer_words(target: TargetSpec) -> str:
    """What `answer` is, in words."""
    if target.is_number:
        return f"the predicted {target.name}" + (f" in {target.unit}" if target.unit else "")
    if len(target.classes) == 2:
        return f"the probability of {target.classes[1]!r}"
    return "the probability of the class predicted"


def among(spec: InputSpec) -> str:
    """The beginning of a sentence on numbers and categories, where a row has images or texts too, of which it says nothing.

    >>> among(InputSpec(fields=(NumberField(name="age"),)))
    ''
    """
    return "among numbers and categories, " if spec.images or spec.texts else ""


def not_applicable(model: Model, probe: str, seed: int) -> Finding | None:
    """The finding where nobody knows what an output means; None where it is known."""
    if model.loss.link != "unknown":
        return None
    return Finding(
        probe=probe,
        family="explain",
        verdict="info",
        title="not applicable: what an output means is not known for this loss",
        todo='Say it: Model.wrap(module, loss=function, link="softmax"), or "sigmoid" or "identity".',
        seed=seed,
    )
