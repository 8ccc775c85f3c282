"""Whether an exported graph answers as the model does, on made-up rows that hold what real ones seldom do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from netwright.core.errors import SetupError
from netwright.core.seed import numpy_generator
from netwright.core.spec import PAD, UNKNOWN, CategoryField, ImageField, NumberField, TextField, VectorField
from netwright.data.answers import answers
from netwright.data.batch import Inputs
from netwright.export.card import Port
from netwright.export.runtime import Exported, Feed
from netwright.model import Model

TOLERANCE = 1e-4
"""Most that a probability may differ, or a value, in spreads of the target."""
SIZES = ((1, None), (7, 0.5), (7, 0.0), (1000, 0.1))
"""Batch sizes, and the share of a text field's length that the longest text has; None: all of it."""
_SEVERAL = 64
"""Tokens of the longest text in a batch of a thousand."""
_MOST_VALUES = 1 << 24
"""Pixels, tokens and numbers of a batch; where a row has very many, fewer rows are tried."""


@dataclass(frozen=True)
class Verified:
    """What was compared.

    Args:
        difference: the largest one, in probability or in spreads of the target.
        batches: their sizes. lengths: of the texts, in tokens; empty where there are none.
    """

    difference: float
    batches: tuple[int, ...]
    lengths: tuple[int, ...] = ()


def verify(model: Model, exported: Exported, seed: int = 0) -> Verified:
    """Compare the answers of a graph with those of its model.

    Raises:
        SetupError: they differ by more than `TOLERANCE`.
        DataError: the graph cannot be run on one of the batches.
    """
    unit = model.target.scale if model.target.is_number else 1.0
    worst, batches, lengths = 0.0, [], set[int]()
    for number, (rows, share) in enumerate(SIZES):
        made = _made_up(model, exported.card.ports, rows, share, numpy_generator(seed, "export", number))
        expected, found = model.predict_encoded(made.tensors), exported.run(made.feed)
        worst = max(worst, _difference(expected, found) / unit, 0.0 if _follows(exported, made.feed, found) else np.inf)
        batches.append(len(expected))
        lengths |= made.lengths
        if not worst <= TOLERANCE:
            raise SetupError(
                f"onnxruntime answers otherwise than the model on a batch of {len(expected)} made-up rows: the largest difference is "
                f"{worst:.2g}, and {TOLERANCE:g} is allowed; nothing was written. Another version of torch or onnxruntime may do better"
            )
    return Verified(worst, tuple(sorted(set(batches))), tuple(sorted(lengths)))


def _follows(exported: Exported, feed: Feed, found: np.ndarray) -> bool:
    """Whether the graph's label, or its bounds, are those that its answers say."""
    further = exported.card.further
    table = answers(found, exported.target, exported.card.margin).drop("row")
    wanted = table.columns[1:] if exported.target.is_number else table.columns[:1]
    given = exported.outputs(feed, further) if further else []
    return all(np.array_equal(a, table[name].to_numpy()) for a, name in zip(given, wanted, strict=True))


def _difference(expected: np.ndarray, found: np.ndarray) -> float:
    """The largest absolute difference; infinite where only one is no number."""
    if expected.shape != found.shape or (np.isnan(expected) != np.isnan(found)).any():
        return float("inf")
    with np.errstate(invalid="ignore"):
        apart = np.where(expected == found, 0.0, np.abs(expected - found))
    return float(np.nanmax(apart, initial=0.0))


@dataclass(frozen=True)
class _MadeUp:
    tensors: Inputs
    feed: dict[str, np.ndarray]
    lengths: set[int]


def _made_up(model: Model, ports: Sequence[Port], rows: int, share: float | None, rng: np.random.Generator) -> _MadeUp:
    """Rows as the model's tensors and as the graph's arrays."""
    if model.encoder is not None:
        field = model.spec.texts[0]
        tensors = model.encode(pl.DataFrame({field.name: _texts(field, rows, share, rng)}))
        feed = {port.name: tensors[port.tensor].numpy() for port in ports}
        return _MadeUp(tensors, feed, {t.shape[1] for t in tensors.values() if t.dim() == 2})
    in_row = sum(int(np.prod(f.shape)) for f in model.spec.fields if isinstance(f, ImageField | VectorField))
    rows = max(1, min(rows, _MOST_VALUES // max(1, in_row)))
    columns: dict[str, np.ndarray] = {}
    tensors = _tensors(model, rows, share, rng, columns, {p.tensor: p.length for p in ports})
    feed = {p.name: columns[p.tensor if p.kind in ("words", "chars") else p.field] for p in ports}
    return _MadeUp(tensors, feed, {feed[p.name].shape[1] for p in ports if p.kind in ("words", "chars")})


def _tensors(
    model: Model,
    rows: int,
    share: float | None,
    rng: np.random.Generator,
    columns: dict[str, np.ndarray],
    fixed: dict[str, int | None],
) -> Inputs:
    """The model's tensors; what the graph takes for each goes into `columns`."""
    tensors: dict[str, Tensor] = {}
    numbers, codes = [], []
    for field in model.spec.fields:
        if isinstance(field, NumberField):
            numbers.append(_numbers(field, rows, rng))
            columns[field.name] = numbers[-1]
        elif isinstance(field, CategoryField):
            labels, coded = _labels(field, rows, rng)
            codes.append(coded)
            columns[field.name] = labels
        elif isinstance(field, TextField):
            for name, most, known in zip(
                field.tensors, (field.n_words, field.n_chars), (len(field.words), len(field.chars)), strict=True
            ):
                length = fixed.get(name) or _length(most, rows, share)
                columns[name] = _ids(rows, length, UNKNOWN + known, rng)
                tensors[name] = torch.from_numpy(columns[name])
        else:
            columns[field.name] = (_pixels if isinstance(field, ImageField) else _vectors)(field, rows, rng)  # type: ignore[arg-type]
            tensors[field.name] = torch.from_numpy(columns[field.name])
    if numbers:
        tensors["numbers"] = torch.from_numpy(np.stack(numbers, 1))
    if codes:
        tensors["codes"] = torch.from_numpy(np.stack(codes, 1))
    return tensors


def _numbers(field: NumberField, rows: int, rng: np.random.Generator) -> np.ndarray:
    """Cells within the range, three ranges beyond it, at the knots, and missing."""
    span = max(field.high - field.low, field.scale)
    kinds = rng.integers(0, 5, rows)
    within = field.low + span * rng.random(rows)
    beyond = field.center + 3 * span * rng.choice([-1.0, 1.0], rows)
    knots = rng.choice(field.knots or (field.center,), rows)
    cells = np.select([kinds == 0, kinds == 1, kinds == 2], [beyond, knots, np.full(rows, np.nan)], within)
    return np.where(np.isinf(cells), field.center, cells)


def _labels(field: CategoryField, rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Labels and their codes: known ones, the missing one, and one that no training row had."""
    codes = {label: code for code, label in enumerate(field.categories, 1)}
    strange = "strange"
    while strange in codes:
        strange += "r"
    labels = np.array([*field.categories, "", strange], dtype=object)
    drawn = labels[np.where(rng.random(rows) < 0.2, -rng.integers(1, 3, rows), rng.integers(0, len(labels), rows))]
    return drawn, np.array([codes.get(label, 0) for label in drawn], dtype=np.int64)


def _pixels(field: ImageField, rows: int, rng: np.random.Generator) -> np.ndarray:
    """Noise; every third image is as dark, every third as bright as can be."""
    pixels = field.low + (field.high - field.low) * rng.random((rows, *field.shape), dtype=np.float32)
    pixels[1::3], pixels[2::3] = field.low, field.high
    return pixels.round().astype(np.uint8) if field.dtype == "uint8" else pixels.astype(np.float32)


def _vectors(field: VectorField, rows: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of the field's spread, or whole numbers of its range, within its bounds."""
    if field.dtype == "int":
        return rng.integers(int(field.low or 0), int(field.high or 1) + 1, (rows, *field.shape))
    drawn = field.scale * rng.normal(size=(rows, *field.shape))
    return (
        np.clip(drawn, field.low, field.high).astype(np.float32)
        if (field.low, field.high) != (None, None)
        else drawn.astype(np.float32)
    )


def _length(most: int, rows: int, share: float | None) -> int:
    length = most if share is None else max(1, round(share * most))
    return min(length, _SEVERAL) if rows > _SEVERAL else length


def _ids(rows: int, length: int, last: int, rng: np.random.Generator) -> np.ndarray:
    """Token ids (rows, length) int32 up to `last`: texts of all lengths, every fifth one empty."""
    ids = rng.integers(UNKNOWN, last + 1, (rows, length))
    lengths = rng.integers(0, length + 1, rows)
    lengths[::5] = length
    lengths[1::5] = 0
    return np.where(np.arange(length) < lengths[:, None], ids, PAD).astype(np.int32)


def _texts(field: TextField, rows: int, share: float | None, rng: np.random.Generator) -> list[str]:
    """Texts of known words for a user's own tokeniser."""
    most = _length(field.n_words, rows, share)
    words = np.array([*field.words, "unheardof"], dtype=object)
    return [
        " ".join(rng.choice(words, most if row % 5 == 0 else int(rng.integers(1, most + 1)))) for row in range(rows)
    ]
