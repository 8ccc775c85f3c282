"""Slices of rows by one column or one property each, and those on which a loss is clearly above its mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from netwright.core.spec import PAD, UNKNOWN, CategoryField, InputSpec, NumberField, VectorField
from netwright.data.batch import Inputs
from netwright.data.data import Data
from netwright.data.properties import of_images, of_texts
from netwright.report.text import number

MIN_ROWS = 30
MAX_ELEMENTS = 64


@dataclass(frozen=True)
class Slice:
    """Rows that agree in one column.

    Args:
        column: its name. cells: which cells. rows: (n,) where the rows stand in their part.
        loss: mean loss on them. excess: lower 95 % bound (one-sided) of their mean loss minus that of all rows.
    """

    column: str
    cells: str
    rows: np.ndarray
    loss: float
    excess: float


def worst_slices(
    x: Inputs,
    spec: InputSpec,
    losses: np.ndarray,
    *,
    more: Mapping[str, np.ndarray] | None = None,
    top: int = 15,
    least: int = MIN_ROWS,
) -> list[Slice]:
    """Slices whose mean loss is above that of all rows by more than chance easily gives, largest sure excess first.

    Every category with enough rows, and fifths of the rows by each number, are tried; of a hundred slices of pure chance
    about five would be listed.

    Args:
        x: encoded rows. losses: (N,) loss of each.
        more: numbers (N,) of the rows that are no columns, by name (`properties`).
        top: the most that are given. least: the fewest rows of a slice.

    Source: Chung et al. (2019), Slice Finder.
    """
    found, mean = [], float(losses.mean()) if len(losses) else 0.0
    for column, cells, inside in _slices(x, spec, more or {}):
        rows = np.flatnonzero(inside)
        if not least <= len(rows) < len(losses):
            continue
        inner = losses[rows]
        bound = float(inner.mean() - mean - 1.645 * inner.std(ddof=1) / np.sqrt(len(rows)))
        if bound > 0:
            found.append(Slice(column, cells, rows, float(inner.mean()), bound))
    return sorted(found, key=lambda s: -s.excess)[:top]


def properties(data: Data) -> dict[str, np.ndarray]:
    """Numbers (N,) of the test rows that their images and texts have, by name: brightness and contrast; lengths, and shares of
    capitals, digits, signs and words that training texts did not have.
    """
    found: dict[str, np.ndarray] = {}
    x, texts = data.block("test").x, data.texts("test")
    for image in data.spec.images:
        if image.name in x:
            found |= {f"{name}{_of(image.name, data)}": v for name, v in of_images(x[image.name]).items()}
    for text in data.spec.texts:
        for name, values in of_texts(texts[text.name]).items():
            what = "number" if name in ("characters", "words") else "share"
            found[f"{what} of {name}{_of(text.name, data)}"] = values
        if text.tensors[0] in x:
            ids = x[text.tensors[0]].cpu().numpy()
            shares = (ids == UNKNOWN).sum(1) / np.maximum((ids != PAD).sum(1), 1)
            found[f"share of unknown words{_of(text.name, data)}"] = shares
    return found


def _of(name: str, data: Data) -> str:
    return f" in {name!r}" if len(data.spec.fields) > 1 else ""


def _slices(x: Inputs, spec: InputSpec, more: Mapping[str, np.ndarray]) -> Iterator[tuple[str, str, np.ndarray]]:
    """Column, cells and membership (N,) of every slice."""
    for field in spec.fields:
        if isinstance(field, CategoryField):
            yield from _by_category(field, _numbers(x, spec, field.name))
        elif isinstance(field, NumberField):
            yield from _by_number(field.name, _numbers(x, spec, field.name), is_date=field.kind == "date")
        elif isinstance(field, VectorField) and x[field.name][:1].numel() <= MAX_ELEMENTS:
            for i, element in enumerate(_numbers(x, spec, field.name).reshape(len(x[field.name]), -1).T):
                yield from _by_number(f"{field.name}[{i}]", element)
    for name, values in more.items():
        yield from _by_number(name, values)


def _numbers(x: Inputs, spec: InputSpec, name: str) -> np.ndarray:
    tensor, column = spec.locate(name)
    values = x[tensor] if column is None else x[tensor][:, column]
    found: np.ndarray = values.detach().cpu().double().numpy()
    return found


def _by_category(field: CategoryField, codes: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    present, counts = np.unique(codes, return_counts=True)
    for code in present[counts >= MIN_ROWS].astype(int):
        label = "(not seen in training)" if code == 0 else field.categories[code - 1] or "(missing)"
        yield field.name, label, codes == code


def _by_number(name: str, values: np.ndarray, *, is_date: bool = False) -> Iterator[tuple[str, str, np.ndarray]]:
    known = np.isfinite(values)
    if not known.all():
        yield name, "(missing)", ~known
    if not known.any():
        return
    edges, times = np.unique(np.quantile(values[known], np.linspace(0, 1, 6), method="nearest"), return_counts=True)
    words = _day if is_date else number
    fifths = 2 * np.clip(np.searchsorted(edges, values, side="right") - 1, 0, max(0, len(edges) - 2))
    for i in np.flatnonzero(times > 1):  # a value that a fifth of the rows or more have is a slice by itself
        fifths[values == edges[i]] = 2 * i + 1
    for i in np.unique(fifths[known]):
        inside = known & (fifths == i)
        low, high = float(values[inside].min()), float(values[inside].max())
        yield name, words(low) if low == high else f"{words(low)} to {words(high)}", inside


def _day(days: float) -> str:
    """Days since 1970 as a date, where there is such a date.

    >>> _day(19753.0), _day(1e9)
    ('2024-01-31', 'day 1000000000')
    """
    try:
        return str(date(1970, 1, 1) + timedelta(days=days))
    except OverflowError:
        return f"day {days:.0f}"
