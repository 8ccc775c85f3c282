"""What an attacker may change: a box around each row in units of each column's spread, and a number of category swaps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from netwright.core.errors import UsageError, unknown
from netwright.core.spec import InputSpec, NumberField, VectorField
from netwright.data.batch import Inputs


def pick(x: Inputs, rows: Tensor) -> dict[str, Tensor]:
    """The rows `rows` (int64) of every tensor, as copies."""
    return {name: tensor[rows] for name, tensor in x.items()}


@dataclass(frozen=True)
class Box:
    """Where the values of one tensor may go.

    Args:
        x: (N, ...) where the rows stand; a value may always stay there.
        low, high: (N, ...) the least and the greatest value it may take; nothing may change where low > high or x is NaN.
        spread: the unit of a change, broadcast against x; 0 where nothing may change.
        whole: which values must be whole numbers, broadcast against x; None for none.
    """

    x: Tensor
    low: Tensor
    high: Tensor
    spread: Tensor
    whole: Tensor | None = None

    def clip(self, point: Tensor) -> Tensor:
        """The nearest allowed values; a NaN goes back to where the row stands."""
        point = point.detach().to(self.x.dtype)
        same = (point == self.x) | point.isnan() | ~(self.low <= self.high)
        if self.whole is not None:
            point = torch.where(self.whole, point.round(), point)
        return torch.where(same, self.x, torch.minimum(torch.maximum(point, self.low), self.high))

    def hold(self, point: Tensor) -> Tensor:
        """Clipped to the box, whole numbers or not: where an attack stands between two steps."""
        return torch.minimum(torch.maximum(point, self.low), self.high)

    def take(self, rows: Tensor) -> Box:
        """The boxes of some rows."""
        return Box(self.x[rows], self.low[rows], self.high[rows], self.spread, self.whole)

    @property
    def moves(self) -> Tensor:
        """(N, ...) whether a value can change at all."""
        return (self.low <= self.high) & ((self.low != self.x) | (self.high != self.x))


@dataclass(frozen=True)
class Threat:
    """What an attacker may change.

    Numbers move by at most eps * scale of their field (L-infinity in units of spread), within the range of the training
    rows widened to the row's own value. Whole numbers stay whole, missing cells stay missing, dates stay fixed unless
    `dates`. Of the categories of a row at most `swaps` change, each to one seen in training, never to a missing one.

    Args:
        spec: what a row is made of.
        eps: size of a change in spreads; 0 fixes all numbers.
        swaps: how many categories of a row may change.
        immutable: names of fields that may not change.
        dates: whether dates may change too.

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

    def __post_init__(self) -> None:
        if not (math.isfinite(self.eps) and self.eps >= 0):
            raise UsageError(f"eps counts spreads of a column and must be finite and at least 0, not {self.eps!r}")
        if self.swaps < 0 or self.swaps != int(self.swaps):
            raise UsageError(f"swaps counts categories and must be a whole number from 0 on, not {self.swaps!r}")
        for name in self.immutable:
            if name not in self.spec.names:
                raise UsageError(unknown("input", name, self.spec.names))

    def _is_fixed(self, field: NumberField | VectorField) -> bool:
        date = isinstance(field, NumberField) and field.kind == "date" and not self.dates
        discrete = isinstance(field, VectorField) and field.dtype == "int"
        return date or discrete or field.name in self.immutable

    def boxes(self, x: Inputs) -> dict[str, Box]:
        """The boxes of all tensors in which something may move, by name of the tensor."""
        found: dict[str, Box] = {}
        numbers = self.spec.numbers
        if self.eps and not all(self._is_fixed(f) for f in numbers):
            spread = _column([0.0 if self._is_fixed(f) else f.scale for f in numbers])
            whole = torch.tensor([f.kind == "integer" for f in numbers])
            low, high = _column([f.low for f in numbers]), _column([f.high for f in numbers])
            found["numbers"] = _box(x["numbers"], spread, self.eps, low, high, whole if whole.any() else None)
        for field in self.spec.fields:
            if isinstance(field, VectorField) and self.eps and not self._is_fixed(field):
                low = torch.tensor(-math.inf if field.low is None else field.low, dtype=torch.float64)
                high = torch.tensor(math.inf if field.high is None else field.high, dtype=torch.float64)
                spread = torch.tensor(field.scale, dtype=torch.float64)
                found[field.name] = _box(x[field.name], spread, self.eps, low, high, None)
        return found

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
        allowed |= {name: box.clip(point.get(name, x[name])) for name, box in self.boxes(x).items()}
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
        """(N,) the largest change of a number of each row, in spreads, over all fields, fixed ones too."""
        total = torch.zeros(len(next(iter(x.values()))), dtype=torch.float64)
        if self.spec.numbers:
            scale = torch.tensor([f.scale for f in self.spec.numbers], dtype=torch.float64)
            total = torch.maximum(total, _largest((point["numbers"].double() - x["numbers"].double()) / scale))
        for field in self.spec.fields:
            if isinstance(field, VectorField):
                change = (point[field.name].double() - x[field.name].double()) / field.scale
                total = torch.maximum(total, _largest(change))
        return total

    def swapped(self, point: Inputs, x: Inputs) -> Tensor:
        """(N,) how many categories of each row differ."""
        if not self.spec.categories:
            return torch.zeros(len(next(iter(x.values()))), dtype=torch.int64)
        return (point["codes"] != x["codes"]).sum(1)


def _column(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _largest(change: Tensor) -> Tensor:
    flat = change.abs().nan_to_num(nan=0.0).flatten(1)
    return flat.amax(1) if flat.shape[1] else flat.sum(1)


def _box(x: Tensor, spread: Tensor, eps: float, bottom: Tensor, top: Tensor, whole: Tensor | None) -> Box:
    """max(x - eps * spread, min(bottom, x)) ... min(x + eps * spread, max(top, x)), whole numbers rounded inwards."""
    low = torch.maximum(_reached(x, -eps * spread), torch.minimum(bottom.to(x.dtype), x))
    high = torch.minimum(_reached(x, eps * spread), torch.maximum(top.to(x.dtype), x))
    if whole is not None:
        low, high = torch.where(whole, low.ceil(), low), torch.where(whole, high.floor(), high)
    return Box(x, low, high, spread.to(x.dtype), whole)


def _reached(x: Tensor, step: Tensor) -> Tensor:
    """x + step, rounded towards x, so that a float never stands outside its box."""
    reached = (x.double() + step).to(x.dtype)
    beyond = (reached.double() - x.double()).abs() > step.abs()
    return torch.where(beyond, torch.nextafter(reached, x), reached)
