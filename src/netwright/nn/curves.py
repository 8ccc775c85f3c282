"""An activation looked at: its curve and that of its derivative, as a figure and in numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from netwright.core.finding import Figure, Finding, Series, Table
from netwright.nn.activations import Activation
from netwright.nn.entries import ACTIVATIONS
from netwright.report.text import number

REACH, BEYOND = 5.0, 2.0
"""Curves are drawn from -5 to 5, and at least 2 beyond each kink."""
POINTS = 201
BESIDE = 1e-3
"""By how much the points of a curve lie beside round numbers, where the kinks are."""


def curve(name: str) -> Finding:
    """f and f' of a named activation over the range where they bend.

    Returns:
        A finding with the range of f, the largest f' and where it is, a table of both, and a figure with both curves.

    Raises:
        UsageError: there is no activation of that name.

    >>> found = curve("tanh")
    >>> found.title
    'tanh: from -1 to 1, its derivative at most 1'
    >>> [series.name for series in found.figures[0].series]
    ['f(x)', "f'(x)"]
    """
    entry = ACTIVATIONS[name]
    f: Activation = entry.load()
    reach = max([REACH, *(abs(kink) + BEYOND for kink in f.kinks)])
    x = torch.linspace(-reach, reach, POINTS, dtype=torch.float64)
    slopes = f.derivative(x + BESIDE)
    round_x = torch.arange(-math.floor(reach), math.floor(reach) + 1, dtype=torch.float64)
    rows = tuple(zip(*(v.tolist() for v in (round_x, f(round_x), f.derivative(round_x))), strict=True))
    high = round(float(slopes.max()), 4)
    return Finding(
        probe=name,
        family="nn",
        verdict="info",
        title=f"{name}: from {_end(f.low)} to {_end(f.high)}, its derivative at most {number(high)}",
        measured={
            "lowest": None if math.isinf(f.low) else f.low,
            "highest": None if math.isinf(f.high) else f.high,
            "largest_derivative": high,
            "largest_derivative_at": round(float(x[slopes.argmax()]), 2),
            "gradient_passes": "yes" if f.learns else "no",
        },
        why=f"f(x) = {f.formula}; f'(x) = {f.slope}. Backpropagation multiplies by f'(x): where that is near 0, a unit hardly learns.",
        tables=(Table(title="At whole numbers", columns=("x", "f(x)", "f'(x)"), rows=rows),),
        figures=(
            Figure(
                title=f"{name} and its derivative",
                kind="line",
                series=(_line("f(x)", x, f(x + BESIDE), reach), _line("f'(x)", x, slopes, reach, dashed=True)),
                x_label="x",
                y_label="value",
            ),
        ),
        reference=entry.reference,
    )


def _line(name: str, x: Tensor, y: Tensor, reach: float, *, dashed: bool = False) -> Series:
    """A curve, with gaps where it leaves a square."""
    values = tuple(round(v, 4) if abs(v) <= reach + BESIDE else None for v in y.tolist())
    return Series(name=name, x=tuple(round(v, 4) for v in x.tolist()), y=values, dashed=dashed)


def _end(value: float) -> str:
    return number(value) if math.isfinite(value) else ("-" if value < 0 else "") + "infinity"
