"""Raw columns -> specs (fitted on training rows) -> tensors in the user's units. Scaling happens later, inside the network."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import polars as pl
import torch
from torch import Tensor

from netwright.core.errors import DataError
from netwright.core.spec import AnyField, ColumnKind, InputSpec, TargetSpec, Task, kind_of
from netwright.data.batch import Inputs
from netwright.data.cells import numbers_of, require_columns, to_labels
from netwright.data.images import encode_images, fit_images
from netwright.data.kinds import KINDS, kind_of_field
from netwright.data.plain import codes_of, fit_category, fit_number, spread
from netwright.data.text import decode_words, encode_text, fit_text


def fit_inputs(train: pl.DataFrame, kinds: Mapping[str, ColumnKind], *, lemmas: str = "") -> InputSpec:
    """The spec of rows, fitted on training rows.

    Args:
        train: training rows only.
        kinds: kind of each column that goes into the network, in order.
        lemmas: the language in whose base forms words of texts are counted; empty for words as they are.
    """
    fields: list[AnyField] = []
    for name, kind in kinds.items():
        if kind == "category":
            fields.append(fit_category(train[name]))
        elif kind in ("number", "integer", "date"):
            fields.append(fit_number(train[name], kind))
        elif kind == "text":
            fields.append(fit_text(train[name], lemmas=lemmas))
        elif kind == "image":
            fields.append(fit_images(train[name]))
        elif kind in KINDS:
            fields.append(KINDS[kind].fit(train[name]))
        else:
            raise DataError(
                f"column {name!r} is of kind {kind!r}, which no network can eat; drop it or set --kind {name}=category"
            )
    if not fields:
        raise DataError(
            "no column is left that a network could learn from; every one was dropped, constant, or an identifier"
        )
    return InputSpec(kind=kind_of(fields), fields=tuple(fields))


def encode_inputs(frame: pl.DataFrame, spec: InputSpec) -> Inputs:
    """Raw rows as tensors: `numbers` (N, P) float64 with NaN where a cell is missing, `codes` (N, Q) int64; an image column as
    pixels (N, C, H, W) under its name; a text column as token ids (N, T) int32 under `name:words` and `name:chars`; series, sounds,
    sets, trees and volumes as their fields say.

    Raises:
        DataError: a column of the spec is not in the frame.
    """
    require_columns(frame, spec.names)
    inputs: dict[str, Tensor] = {}
    if spec.numbers:
        inputs["numbers"] = torch.from_numpy(np.stack([numbers_of(frame[f.name], f.kind) for f in spec.numbers], 1))
    if spec.categories:
        inputs["codes"] = torch.from_numpy(np.stack([codes_of(frame[f.name], f) for f in spec.categories], 1))
    for image in spec.images:
        inputs[image.name] = torch.from_numpy(encode_images(frame[image.name], image))
    for text in spec.texts:
        inputs |= {name: torch.from_numpy(ids) for name, ids in encode_text(frame[text.name], text).items()}
    for whole in spec.wholes:
        arrays = kind_of_field(whole).encode(frame[whole.name], whole)
        inputs |= {name: torch.from_numpy(array) for name, array in arrays.items()}
    return inputs


def decode_inputs(inputs: Inputs, spec: InputSpec) -> pl.DataFrame:
    """Tensors back to raw columns (dates as days, texts as their words): what an attack changed, as the user would read it."""
    columns: dict[str, pl.Series] = {}
    for i, f in enumerate(spec.numbers):
        columns[f.name] = pl.Series(f.name, inputs["numbers"][:, i].detach().cpu().numpy()).fill_nan(None)
    for i, c in enumerate(spec.categories):
        labels = np.array(["(unknown)", *c.categories], dtype=object)
        columns[c.name] = pl.Series(c.name, labels[inputs["codes"][:, i].cpu().numpy()].tolist(), dtype=pl.String)
    for t in spec.texts:
        columns[t.name] = pl.Series(t.name, decode_words(inputs[t.tensors[0]].cpu().numpy(), t), dtype=pl.String)
    for image in spec.images:
        pixels = inputs[image.name].detach().cpu().numpy().transpose(0, 2, 3, 1)
        columns[image.name] = pl.Series(image.name, np.ascontiguousarray(pixels))
    for whole in spec.wholes:
        arrays = {name: inputs[name].detach().cpu().numpy() for name in whole.tensors}
        columns[whole.name] = kind_of_field(whole).decode(arrays, whole)
    return pl.DataFrame([columns[n] for n in spec.names if n in columns])


def fit_target(train: pl.Series, task: Task) -> TargetSpec:
    """The spec of a target, fitted on its training rows (which have no missing cell)."""
    if task == "number":
        values = numbers_of(train, "number")
        if not np.isfinite(values).all():
            raise DataError(
                f"target {train.name!r} holds cells that are no finite number; remove those rows or set --task classes"
            )
        return TargetSpec(
            name=train.name,
            task=task,
            center=float(values.mean()),
            scale=spread(values),
            low=float(values.min()),
            high=float(values.max()),
        )
    labels = to_labels(train).rename("label")
    counts = labels.value_counts(name="rows")
    table = dict(zip(counts["label"].to_list(), counts["rows"].to_list(), strict=True))
    classes = sorted(table, key=_label_order)
    return TargetSpec(
        name=train.name, task=task, classes=tuple(classes), priors=tuple(table[c] / len(labels) for c in classes)
    )


def _label_order(label: str) -> tuple[int, float, str]:
    try:
        number = float(label)
    except ValueError:
        number = math.nan
    return (0, number, label) if math.isfinite(number) else (1, 0.0, label)


def encode_target(column: pl.Series, target: TargetSpec) -> Tensor:
    """Class numbers (N,) int64, or values (N,) float64.

    Raises:
        DataError: a class that training rows do not have, or a cell that is no number.
    """
    if target.is_number:
        values = numbers_of(column, "number")
        if not np.isfinite(values).all():
            raise DataError(
                f"target {target.name!r} holds {int((~np.isfinite(values)).sum())} cells that are no finite number"
            )
        return torch.from_numpy(values)
    labels = to_labels(column)
    codes = labels.replace_strict(list(target.classes), range(len(target.classes)), default=None, return_dtype=pl.Int64)
    if codes.null_count():
        strange = labels.filter(codes.is_null()).unique().sort().to_list()[:5]
        raise DataError(
            f"target {target.name!r} holds classes that the training rows do not have: {strange}; known are {list(target.classes)[:20]}"
        )
    return torch.from_numpy(codes.to_numpy().astype(np.int64))
