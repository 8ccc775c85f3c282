"""What an attacker may change: a box or a ball around each row, in spreads of each column or in grey levels of an image, and
a number of category swaps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

from netwright.core.errors import UsageError, unknown
from netwright.core.spec import AudioField, ImageField, InputSpec, NumberField, SeriesField, VectorField
from netwright.data.batch import Inputs
from netwright.robust.box import Box, Norm, reached

On = Literal["numbers", "pixels", "samples"]
"""What moves by eps: the numbers of a table, of series or of plain tensors, the pixels of images, or the samples of sounds. One size
has one unit."""
_UNITS: Mapping[On, str] = {"numbers": "spreads", "pixels": "grey levels", "samples": "steps of 16 bits"}
Floats = VectorField | ImageField | SeriesField | AudioField


def pick(x: Inputs, rows: Tensor) -> dict[str, Tensor]:
    """The rows `rows` (int64) of every tensor, as copies."""
    return {name: tensor[rows] for name, tensor in x.items()}


@dataclass(frozen=True)
class Threat:
    """What an attacker may change.

    Values move by at most eps * scale of their field: under the norm "linf" each of them, under "l2" all values of a tensor
    together (their Euclidean norm). Numbers stay within the range of the training rows widened to the row's own value, pixels
    within what a pixel can be, samples between -1 and 1; nothing changes behind the end of a series or of a sound. Whole numbers
    and whole pixels stay whole, missing cells stay missing, dates stay fixed unless `dates`. Of the categories of a row at most
    `swaps` change, each to one seen in training, never to a missing one. Texts stay.

    Args:
        spec: what a row is made of.
        eps: size of a change, in spreads, grey levels or steps of 16 bits (`unit`); 0 fixes everything that is counted so.
        swaps: how many categories of a row may change.
        immutable: names of fields that may not change.
        dates: whether dates may change too.
        norm: how the size of a change is counted.
        on: what moves; None for numbers where there are any, else pixels where there are images, else samples where there are sounds.

    >>> from netwright.core.spec import NumberField
    >>> spec = InputSpec(fields=(NumberField(name="age", kind="integer", low=17, high=90, scale=10.0),))
    >>> threat, x = Threat(spec, eps=0.25), {"numbers": torch.tensor([[40.0], [18.0], [math.nan]], dtype=torch.float64)}
    >>> threat.project({"numbers": torch.tensor([[50.0], [1.0], [30.0]])}, x)["numbers"].flatten().tolist()
    [42.0, 17.0, nan]
    """

    spec: InputSpec
    eps: float = 0.0
    swaps: int = 0
    immutable: tuple[str, ...] = ()
    dates: bool = False
    norm: Norm = "linf"
    on: On | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.eps) and self.eps >= 0):
            raise UsageError(f"eps counts {self.unit} and must be finite and at least 0, not {self.eps!r}")
        if self.swaps < 0 or self.swaps != int(self.swaps):
            raise UsageError(f"swaps counts categories and must be a whole number from 0 on, not {self.swaps!r}")
        for what, value, known in (("norm", self.norm, get_args(Norm)), ("on", self.on, (None, *get_args(On)))):
            if value not in known:
                raise UsageError(unknown(what, str(value), [str(k) for k in known]))
        for name in self.immutable:
            if name not in self.spec.names:
                raise UsageError(unknown("input", name, self.spec.names))

    @property
    def moved(self) -> On:
        """What moves by eps."""
        fields = self.spec.fields
        has_numbers = any(
            isinstance(f, NumberField | SeriesField) or (isinstance(f, VectorField) and f.dtype == "float")
            for f in fields
        )
        alone: On = "pixels" if self.spec.images else "samples" if any(map(_is_sound, fields)) else "numbers"
        return self.on or ("numbers" if has_numbers else alone)

    @property
    def unit(self) -> str:
        """The unit of `eps`, in the plural."""
        return _UNITS[self.moved]

    @property
    def words(self) -> str:
        """What an attacker may do, in words.

        >>> from netwright.core.spec import CategoryField
        >>> Threat(InputSpec(fields=(CategoryField(name="sex", categories=("f", "m")),)), swaps=2).words
        'any 2 categories of a row may be swapped'
        >>> Threat(InputSpec(kind="image", fields=(ImageField(height=8, width=8),)), eps=8).words
        'every pixel may move by 8 grey levels of 255'
        """
        parts = []
        if self.swaps:
            which = "any one category" if self.swaps == 1 else f"any {self.swaps} categories"
            parts.append(f"{which} of a row may be swapped")
        if self.eps and self.moved == "pixels":
            what, norm = ("every pixel", "") if self.norm == "linf" else ("an image", " in Euclidean norm")
            parts.append(f"{what} may move by {self.eps:g} grey level{'s' * (self.eps != 1)} of 255{norm}")
        elif self.eps and self.moved == "samples":
            what, norm = ("every sample", "") if self.norm == "linf" else ("a sound", " in Euclidean norm")
            parts.append(f"{what} may move by {self.eps:g} step{'s' * (self.eps != 1)} of 65,536{norm}")
        elif self.eps and self.norm == "linf":
            parts.append(f"every number may move by {self.eps:g} of its spread")
        elif self.eps:
            parts.append(f"the numbers of a row may move by {self.eps:g} spreads in Euclidean norm")
        return " and ".join(parts)

    @property
    def axis(self) -> str:
        """What a curve over `eps`, or over `swaps`, has below."""
        if not self.eps:
            return "categories swapped per row"
        if self.moved == "pixels":
            return f"{'largest change of a pixel' if self.norm == 'linf' else 'Euclidean norm of the change'} (grey levels)"
        if self.moved == "samples":
            return f"{'largest change of a sample' if self.norm == 'linf' else 'Euclidean norm of the change'} (steps of 16 bits)"
        return (
            f"{'largest change' if self.norm == 'linf' else 'Euclidean norm of all changes'}, in spreads of each column"
        )

    @property
    def not_judged(self) -> str:
        """Why the outcome is not judged; empty where it is."""
        return "another category can rightly mean another answer" if self.swaps else ""

    def _is_fixed(self, field: NumberField | Floats) -> bool:
        kind: On = "pixels" if isinstance(field, ImageField) else "samples" if _is_sound(field) else "numbers"
        if kind != self.moved:
            return True
        date = isinstance(field, NumberField) and field.kind == "date" and not self.dates
        discrete = isinstance(field, VectorField) and field.dtype == "int"
        return date or discrete or field.name in self.immutable

    def boxes(self, x: Inputs) -> dict[str, Box]:
        """The boxes of all tensors in which something may move, by name of the tensor."""
        found: dict[str, Box] = {}
        numbers = self.spec.numbers
        if self.eps and not all(self._is_fixed(f) for f in numbers):
            spread = _column([0.0 if self._is_fixed(f) else f.scale for f in numbers])
            integers = torch.tensor([f.kind == "integer" for f in numbers])
            bottom, top = _column([f.low for f in numbers]), _column([f.high for f in numbers])
            found["numbers"] = self._box(x["numbers"], spread, bottom, top, integers if integers.any() else None)
        for field in self.spec.fields:
            if isinstance(field, SeriesField | AudioField) and self.eps and not self._is_fixed(field):
                found[field.tensors[0]] = self._sequence_box(field, x)
            elif isinstance(field, VectorField | ImageField) and self.eps and not self._is_fixed(field):
                bottom = _scalar(-math.inf if field.low is None else field.low)
                top = _scalar(math.inf if field.high is None else field.high)
                whole = torch.tensor(True) if field.dtype == "uint8" else None
                found[field.name] = self._box(x[field.name], _scalar(field.scale), bottom, top, whole)
        return found

    def _sequence_box(self, field: SeriesField | AudioField, x: Inputs) -> Box:
        """Of a series each channel counts in its own spread; behind the end nothing moves."""
        values, lengths = (x[name] for name in field.tensors)
        spread = _scalar(field.scale)
        if isinstance(field, SeriesField):
            spread = torch.tensor(field.spread, dtype=torch.float64)[:, None]
        box = self._box(values, spread, _scalar(field.low), _scalar(field.high), None)
        there = torch.arange(values.shape[-1]) < lengths.view(-1, *[1] * (values.dim() - 1))
        return replace(box, low=torch.where(there, box.low, values), high=torch.where(there, box.high, values))

    def _box(self, x: Tensor, spread: Tensor, bottom: Tensor, top: Tensor, whole: Tensor | None) -> Box:
        """max(x - eps * spread, min(bottom, x)) ... min(x + eps * spread, max(top, x)), whole numbers rounded inwards, though never past x.

        Whole pixels are taken as floats, so that a gradient has a meaning.
        """
        x = x if x.is_floating_point() else x.float()
        low = torch.maximum(reached(x, -self.eps * spread), torch.minimum(bottom.to(x.dtype), x))
        high = torch.minimum(reached(x, self.eps * spread), torch.maximum(top.to(x.dtype), x))
        if whole is not None:
            bottom, top = torch.where(whole, low.ceil(), low), torch.where(whole, high.floor(), high)
            some = (
                bottom <= top
            )  # then x too is inside, though it be no whole number: the ball is for changes that are made
            low, high = (
                torch.where(some, torch.minimum(bottom, x), bottom),
                torch.where(some, torch.maximum(top, x), top),
            )
        return Box(x, low, high, spread, whole, self.eps, self.norm)

    @cached_property
    def choices(self) -> list[list[int]]:
        """For each category column the codes that a row may be swapped to; none where nothing may change."""
        return [
            []
            if f.name in self.immutable or not self.swaps
            else [k + 1 for k, label in enumerate(f.categories) if label != ""]
            for f in self.spec.categories
        ]

    def project(self, point: Inputs, x: Inputs) -> dict[str, Tensor]:
        """The nearest thing to `point` that this attacker may make of the rows `x`; whatever else was changed goes back.

        Raises:
            UsageError: a tensor of `point` has not the shape of its rows.
        """
        for name, rows in x.items():
            if name in point and point[name].shape != rows.shape:
                raise UsageError(
                    f"an attack must return {name!r} in the shape {tuple(rows.shape)} of its rows, "
                    f"not {tuple(point[name].shape)}"
                )
        allowed = dict(x)
        allowed |= {name: box.clip(point.get(name, x[name])).to(x[name].dtype) for name, box in self.boxes(x).items()}
        if any(self.choices):
            allowed["codes"] = self._codes(point.get("codes", x["codes"]).to(torch.int64), x["codes"])
        return allowed

    def _codes(self, codes: Tensor, x: Tensor) -> Tensor:
        table = torch.zeros(len(self.choices), max(map(max, filter(None, self.choices))) + 1, dtype=torch.bool)
        for column, choices in enumerate(self.choices):
            table[column, choices] = True
        known = (codes >= 0) & (codes < table.shape[1])
        known &= table[torch.arange(len(table)), torch.where(known, codes, 0)]
        changed = known & (codes != x)
        changed &= changed.cumsum(1) <= self.swaps  # too many: the first columns keep theirs
        return torch.where(changed, codes, x)

    def distance(self, point: Inputs, x: Inputs) -> Tensor:
        """(N,) the size of the change of each row under the norm, of the tensor that changed most, fixed ones too."""
        total = torch.zeros(len(next(iter(x.values()))), dtype=torch.float64)
        if self.spec.numbers:
            scale = torch.tensor([f.scale for f in self.spec.numbers], dtype=torch.float64)
            total = torch.maximum(total, self._size((point["numbers"].double() - x["numbers"].double()) / scale))
        for field in self.spec.fields:
            if isinstance(field, VectorField | ImageField):
                change = (point[field.name].double() - x[field.name].double()) / field.scale
                total = torch.maximum(total, self._size(change))
            elif isinstance(field, SeriesField | AudioField):
                name = field.tensors[0]
                unit = (
                    torch.tensor(field.spread, dtype=torch.float64)[:, None]
                    if isinstance(field, SeriesField)
                    else field.scale
                )
                total = torch.maximum(total, self._size((point[name].double() - x[name].double()) / unit))
        return total

    def _size(self, change: Tensor) -> Tensor:
        flat = change.nan_to_num(nan=0.0).flatten(1)
        if not flat.shape[1]:
            return flat.sum(1)
        size: Tensor = torch.linalg.vector_norm(flat, 2 if self.norm == "l2" else math.inf, dim=1)
        return size

    def swapped(self, point: Inputs, x: Inputs) -> Tensor:
        """(N,) how many categories of each row differ."""
        if not self.spec.categories:
            return torch.zeros(len(next(iter(x.values()))), dtype=torch.int64)
        return (point["codes"] != x["codes"]).sum(1)


def _is_sound(field: object) -> bool:
    return isinstance(field, AudioField)


def _column(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)
