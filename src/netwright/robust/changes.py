"""What an attack changed in a table, as a user reads it: columns that matter most, and cells before and after."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch

from netwright.core.finding import Cell, Figure, Series, Table
from netwright.core.spec import CategoryField, InputSpec, NumberField, VectorField
from netwright.data.batch import Inputs
from netwright.data.encode import decode_inputs

MAX_COLUMNS = 12
_MAX_PARTS = 4


@dataclass(frozen=True)
class Column:
    """One column of a table, or one element of a tensor, over some rows before and after.

    Args:
        name: of the field; elements of tensors add their place.
        changed: (N,) whether it differs. spreads: (N,) size of the change in spreads; None for categories.
        raw: (N,) change in raw units; None for categories. before, after: (N,) cells as written.
    """

    name: str
    changed: np.ndarray
    spreads: np.ndarray | None
    raw: np.ndarray | None
    before: list[str]
    after: list[str]

    @property
    def typical(self) -> str:
        """The change that is most typical of the rows that have one."""
        rows = np.flatnonzero(self.changed)
        if not len(rows):
            return ""
        if self.raw is not None:
            up = float((self.raw[rows] > 0).mean())
            return f"by {_written(float(np.median(np.abs(self.raw[rows]))))} (median), up in {up:.0%}"
        (swap, n), *_ = Counter(f"{self.before[i]} → {self.after[i]}" for i in rows).most_common(1)
        return f"{swap} ({n} of {len(rows)})"


def _written(value: float) -> str:
    return "missing" if np.isnan(value) else str(int(value)) if value == int(value) else f"{value:.6g}"


def columns_of(spec: InputSpec, x: Inputs, point: Inputs) -> list[Column]:
    """The columns of a table in order, then the most changed elements of every other tensor."""
    found: list[Column] = []
    before, after = decode_inputs(x, spec), decode_inputs(point, spec)
    for field in spec.fields:
        if isinstance(field, NumberField):
            tensor, place = spec.locate(field.name)
            was, now = x[tensor][:, place].double().numpy(), point[tensor][:, place].double().numpy()
            found.append(_number(field.name, was, now, field.scale))
        elif isinstance(field, CategoryField):
            labels = [["(missing)" if v == "" else str(v) for v in frame[field.name]] for frame in (before, after)]
            changed = np.array([a != b for a, b in zip(*labels, strict=True)], dtype=bool)
            found.append(Column(field.name, changed, None, None, *labels))
        elif isinstance(field, VectorField) and field.dtype == "float":
            found += _elements(field, x[field.name], point[field.name])
    return found


def _number(name: str, was: np.ndarray, now: np.ndarray, scale: float) -> Column:
    raw = np.nan_to_num(now - was)
    return Column(name, raw != 0, np.abs(raw) / scale, raw, [_written(v) for v in was], [_written(v) for v in now])


def _elements(field: VectorField, x: torch.Tensor, point: torch.Tensor) -> list[Column]:
    was, now = x.double().reshape(len(x), -1).numpy(), point.double().reshape(len(x), -1).numpy()
    size = np.nan_to_num(np.abs(now - was)).mean(0) if len(was) else np.zeros(was.shape[1])
    top = [int(i) for i in np.argsort(-size, kind="stable")[:MAX_COLUMNS]]
    place = {i: ",".join(str(int(k)) for k in np.unravel_index(i, field.shape or (1,))) for i in top}
    return [_number(f"{field.name}[{place[i]}]", was[:, i], now[:, i], field.scale) for i in top]


def columns_table(columns: list[Column], title: str, worth: dict[str, float], heading: str) -> Table:
    """The most affected columns, those first that are worth most to the attack.

    Args:
        worth: by column, what the attack has of its change; `heading` says what that is.
    """
    touched = sorted((c for c in columns if c.changed.any()), key=lambda c: -worth[c.name])[:MAX_COLUMNS]
    rows: list[tuple[Cell, ...]] = [
        (c.name, worth[c.name], None if c.spreads is None else float(c.spreads[c.changed].mean()), c.typical)
        for c in touched
    ]
    heads = ("column", heading, "mean change where changed (spreads)", "typical change")
    return Table(title=title, columns=heads, rows=tuple(rows))


def columns_figure(table: Table, caption: str) -> Figure:
    """Bars of the second column of a `columns_table`."""
    series = Series(x=tuple(r[0] for r in table.rows), y=tuple(r[1] for r in table.rows))
    label = table.columns[1]
    return Figure(title=table.title, kind="bar", series=(series,), x_label="column", y_label=label, caption=caption)


def change_words(columns: list[Column], i: int) -> str:
    """What was changed in row number i, in words."""
    changed = [c for c in columns if c.changed[i]]
    parts = [f"{c.name} {c.before[i]} → {c.after[i]}" for c in changed[:_MAX_PARTS]]
    more = [f"and {len(changed) - _MAX_PARTS} more"] if len(changed) > _MAX_PARTS else []
    return "; ".join(parts + more)
