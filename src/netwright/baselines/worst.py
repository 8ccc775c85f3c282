"""The worst rows: a table with their raw cells, and for images a sheet of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time
from typing import Any

import numpy as np
import torch

from netwright.core.finding import Cell, Figure, Picture, Table
from netwright.data.answers import told
from netwright.data.data import Data
from netwright.data.images import is_images, to_png

N_WORST = 20
N_PICTURES = 40
"""Largest errors of numbers, and wrong answers to large images, that are shown."""
N_WRONG, SMALL = 300, 64 * 64
"""Wrong answers to images of up to `SMALL` pixels that are shown: of a good classifier all of them."""
MAX_COLUMNS = 12
MAX_TEXT = 400
"""Characters of a text that a table shows."""
_CAPTION = (
    "Rows count from 0 in the data as read. A picture that you would answer like the network may be labelled wrongly."
)


def worst_table(data: Data, order: np.ndarray, names: tuple[str, ...], answers: Sequence[tuple[Cell, ...]]) -> Table:
    """The worst test rows with their raw cells; `row` counts from 0 in the data as read. Pixels are left to the sheet.

    Args:
        order: (n,) where they stand in the test part, the worst first.
        names: of the columns of `answers`, which hold what is true and what was said of each row.
    """
    frame = data.part("test")
    columns = [n for n in data.spec.names if n in frame.columns and not is_images(frame[n])]
    left = len(columns[MAX_COLUMNS:])
    columns = columns[:MAX_COLUMNS]
    rows = [
        (int(data.split["test"][i]), *answer, *(plain_cell(frame[n][int(i)]) for n in columns))
        for i, answer in zip(order, answers, strict=True)
    ]
    title = f"The {len(rows)} worst errors" + (f" ({left} further columns are not shown)" if left else "")
    return Table(title=title, columns=("row", *names, *columns), rows=tuple(rows))


def plain_cell(value: Any) -> Cell:
    """A raw cell as a finding can hold it.

    >>> plain_cell(date(2024, 1, 31)), plain_cell(float("nan")), plain_cell(3)
    ('2024-01-31', None, 3)
    """
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else f"{value[:MAX_TEXT]}…"
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value.isoformat() if isinstance(value, date | datetime | time) else str(value)


def sheets(data: Data, order: np.ndarray, prediction: np.ndarray) -> tuple[Figure, ...]:
    """For each column of images the worst errors as pictures, with what is true of them and what was said.

    Args:
        order: (n,) where the wrong rows (for numbers: all) stand in the test part, the worst first.
        prediction: of all test rows.
    """
    y, block = data.y("test"), data.block("test")
    large = any(field.height * field.width > SMALL for field in data.spec.images)
    first = order[: N_PICTURES if large or data.target.is_number else N_WRONG]
    if not len(first):
        return ()
    captions = [f"row {data.split['test'][i]}: {told(data.target, y[i], prediction[i])}" for i in first]
    found = []
    for field in data.spec.images:
        if field.name not in block.x:
            continue
        pixels = block.x[field.name][torch.from_numpy(first)].cpu().numpy()
        pictures = tuple(
            Picture(png=to_png(image, field.low, field.high), caption=caption, mark="bad")
            for image, caption in zip(pixels, captions, strict=True)
        )
        what = f"{len(first)} largest errors" if data.target.is_number else _how_many(len(first), len(order))
        of = f" (column {field.name!r})" if len(data.spec.fields) > 1 else ""
        found.append(Figure(title=f"{what}{of}", kind="pictures", pictures=pictures, caption=_CAPTION))
    return tuple(found)


def _how_many(shown: int, wrong: int) -> str:
    """Title of a sheet of wrong answers.

    >>> _how_many(3, 3), _how_many(40, 1200)
    ('All 3 wrong answers, the worst first', 'The 40 worst of 1,200 wrong answers')
    """
    if shown < wrong:
        return f"The {shown} worst of {wrong:,} wrong answers"
    return f"All {wrong} wrong answers, the worst first" if wrong > 1 else "The only wrong answer"
