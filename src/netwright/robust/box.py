"""Where the values of one tensor may go: a box around each row, and a ball where all changes of a row count together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from netwright.robust.ball import reach, trimmed

_HUGE = 1e100
"""A change of more units than this counts as so many, so that squares remain finite."""
Norm = Literal["linf", "l2"]
"""How the size of a change is counted: by its largest value, or by its Euclidean norm over all values of a row."""


@dataclass(frozen=True)
class Box:
    """Where the values of one tensor may go.

    Args:
        x: (N, ...) where the rows stand; a value may always stay there.
        low, high: (N, ...) the least and the greatest value it may take; nothing may change where low > high or x is NaN.
        spread: the unit of a change, float64, broadcast against x; 0 where nothing may change.
        whole: which values must be whole numbers, broadcast against x; None for none.
        eps: size of a change in units. norm: how it is counted; under "linf" the box says it all.
    """

    x: Tensor
    low: Tensor
    high: Tensor
    spread: Tensor
    whole: Tensor | None = None
    eps: float = math.inf
    norm: Norm = "linf"

    def clip(self, point: Tensor) -> Tensor:
        """The nearest allowed values; a NaN goes back to where the row stands."""
        point = point.detach().to(self.x.dtype)
        same = (point == self.x) | point.isnan() | ~(self.low <= self.high)
        point = torch.where(same, self.x, self.hold(torch.where(same, self.x, point)))
        if self.whole is not None:
            rounded = torch.where(self.whole & ~same, point.round(), point)
            rounded = rounded if self.norm == "linf" else self._trimmed(point, rounded)
            point = torch.where(same, self.x, self._inside(rounded))
        return point

    def hold(self, point: Tensor) -> Tensor:
        """The nearest values within box and ball, whole numbers or not: where an attack stands between two steps."""
        inside = self._inside(point)
        if self.norm == "linf":
            return inside
        long = self._units(self._from_x(inside)).norm(dim=1) > self.eps
        return torch.where(self._wide(long), self._along(self._from_x(point), longest=1.0), inside)

    def far(self, gradient: Tensor) -> Tensor:
        """The allowed values that lie farthest along a gradient: the worst there are where a network is linear."""
        if self.norm == "linf":
            point = torch.where(gradient > 0, self.high, torch.where(gradient < 0, self.low, self.x))
        else:
            point = self._along(self._direction(gradient), longest=math.inf)
        return self.clip(point)

    def step(self, at: Tensor, gradient: Tensor, size: float) -> Tensor:
        """`size` units up a gradient: each value by as much, or all of a row together under "l2"; then held."""
        way = gradient.sign() * self.spread if self.norm == "linf" else self._direction(gradient)
        return self.hold(at + size * way.to(at.dtype))

    def anywhere(self, rng: torch.Generator) -> Tensor:
        """A point drawn evenly: from the box, or from the ball and then held to the box."""
        if self.norm == "linf":
            share = torch.rand(self.x.shape, generator=rng, dtype=self.x.dtype)
            return torch.where(self.low <= self.high, self.low + share * (self.high - self.low), self.x)
        way = self._random_direction(rng)
        radius = torch.rand(len(way), generator=rng) ** (1 / max(1, way[0].numel() if len(way) else 1))
        return self.hold(self.x + (self.eps * self._wide(radius) * way).to(self.x.dtype))

    def noise(self, rng: torch.Generator) -> Tensor:
        """A change of full size that knows nothing: each value up or down, or a random direction under "l2"; then clipped."""
        if self.norm == "l2":
            return self.clip(self.x + (self.eps * self._random_direction(rng)).to(self.x.dtype))
        sign = 2.0 * torch.randint(0, 2, self.x.shape, generator=rng) - 1
        return self.clip(self.x + (self.eps * self.spread * sign).to(self.x.dtype))

    def take(self, rows: Tensor) -> Box:
        """The boxes of some rows."""
        return Box(self.x[rows], self.low[rows], self.high[rows], self.spread, self.whole, self.eps, self.norm)

    @property
    def moves(self) -> Tensor:
        """(N, ...) whether a value can change at all."""
        return (self.low <= self.high) & ((self.low != self.x) | (self.high != self.x))

    def _inside(self, point: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(point, self.low), self.high)

    def _from_x(self, point: Tensor) -> Tensor:
        """How far values are from where the rows stand, float64."""
        return point.double() - self.x.double()

    def _units(self, change: Tensor) -> Tensor:
        """A change in units (N, P), float64; 0 where nothing may change."""
        units = torch.where(self.spread > 0, change / self.spread.clamp(min=1e-300), 0.0)
        return units.nan_to_num(nan=0.0, posinf=_HUGE, neginf=-_HUGE).clamp(-_HUGE, _HUGE).flatten(1)

    def _along(self, change: Tensor, longest: float) -> Tensor:
        """The rows moved by as much of a change as ball and box allow."""
        room = torch.where(change > 0, self._from_x(self.high), -self._from_x(self.low)).clamp(min=0.0)
        units, room = self._units(change), self._units(room)
        size = units.abs() / units.abs().amax(1, keepdim=True).clamp(min=1e-300) if longest == math.inf else units.abs()
        t = reach(size, room, self.eps, longest).unsqueeze(1)
        length = torch.where(size > 0, torch.minimum(t * size, room), 0.0)
        step = (length * units.sign()).reshape(self.x.shape) * self.spread
        return self._inside(reached(self.x, step))

    def _direction(self, gradient: Tensor) -> Tensor:
        """The way up a gradient that counts one unit, in raw values (N, ...), float64."""
        slopes = (gradient.double() * self.spread).nan_to_num(nan=0.0)
        slopes = slopes / self._wide(slopes.abs().flatten(1).amax(1).clamp(min=1e-300))
        return slopes / self._wide(slopes.flatten(1).norm(dim=1).clamp(min=1e-300)) * self.spread

    def _random_direction(self, rng: torch.Generator) -> Tensor:
        drawn = torch.randn(self.x.shape, generator=rng, dtype=torch.float64) * (self.spread > 0)
        drawn = torch.where(self.x.isnan(), 0.0, drawn)
        return drawn / self._wide(drawn.flatten(1).norm(dim=1).clamp(min=1e-300)) * self.spread

    def _trimmed(self, point: Tensor, rounded: Tensor) -> Tensor:
        """Rounded values of which some are rounded the other way, where rounding had led out of the ball."""
        change, held = self._from_x(rounded), self._from_x(point).abs()
        less = change - change.sign()
        less = torch.where(change.abs() <= held, change, torch.where(less.abs() <= held, less, 0.0))
        units, lost = self._units(change), self._units(change.abs() - held)
        step = trimmed(units, self._units(less), lost, self.eps).reshape(self.x.shape)
        return torch.where(step == units.reshape(self.x.shape), rounded, self.x + less.to(self.x.dtype))

    def _wide(self, values: Tensor) -> Tensor:
        """Values of rows (N,) in a shape that broadcasts against x."""
        return values.reshape(-1, *[1] * (self.x.dim() - 1))


def reached(x: Tensor, step: Tensor) -> Tensor:
    """x + step, rounded towards x, so that a float never stands outside its box."""
    there = (x.double() + step).to(x.dtype)
    beyond = (there.double() - x.double()).abs() > step.abs()
    return torch.where(beyond, torch.nextafter(there, x), there)
