"""Data: raw columns, what they mean (specs), and which rows train, validate and test."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import polars as pl
import torch
from torch import Tensor

from netwright.core.errors import DataError
from netwright.core.spec import InputSpec, TargetSpec
from netwright.data.batch import Block, Inputs, Source
from netwright.data.encode import decode_inputs, encode_inputs, encode_target
from netwright.data.images import hash_files, is_images
from netwright.data.nested import hash_nested
from netwright.data.text import decode_words, texts_of

Part = Literal["train", "valid", "test"]
PARTS: tuple[Part, ...] = ("train", "valid", "test")


@dataclass(frozen=True)
class Data:
    """Labelled rows, split. Probes use `block` and `y`, which exist whatever the rows came from.

    Args:
        frame: all raw columns, target included, one row per example; None where the rows came as tensors (`from_tensors`).
        spec: the inputs, fitted on training rows.
        target: the target, fitted on training rows.
        split: row numbers (int64 arrays, disjoint) for "train", "valid", "test".
        weight: (N,) sample weights over all rows, or None.
        name: what to call it in reports.
        how: how the split was chosen, in one sentence.
        stream: where a network is to be trained on more rows than these, which are then a sample: those rows.
    """

    frame: pl.DataFrame | None
    spec: InputSpec
    target: TargetSpec
    split: Mapping[Part, np.ndarray]
    weight: np.ndarray | None = None
    name: str = "data"
    how: str = ""
    stream: Source | None = None
    _blocks: dict[Part, Block] = field(default_factory=dict, repr=False)

    @classmethod
    def from_tensors(
        cls, x: Inputs, y: Tensor, spec: InputSpec, target: TargetSpec, split: Mapping[Part, np.ndarray] | None = None
    ) -> Data:
        """Rows that are tensors already; without a split every part is all rows."""
        split = split or {part: np.arange(len(y)) for part in PARTS}
        block = Block(x, y)
        parts = {part: block.take(torch.from_numpy(index)) for part, index in split.items()}
        return cls(None, spec, target, split, _blocks={part: Block(b.x, b.y) for part, b in parts.items()})

    def part(self, part: Part) -> pl.DataFrame:
        """The raw rows of one part (decoded from the tensors where there is no frame)."""
        if self.frame is None:
            return decode_inputs(self.block(part).x, self.spec)
        return self.frame[self.split[part]]

    def texts(self, part: Part) -> dict[str, list[str]]:
        """The texts of one part as they were written, by column (put together from their words where there is no frame)."""
        if self.frame is None:
            x = self.block(part).x
            return {t.name: decode_words(x[t.tensors[0]].cpu().numpy(), t) for t in self.spec.texts}
        return {t.name: texts_of(self.frame[t.name][self.split[part]]) for t in self.spec.texts}

    def block(self, part: Part) -> Block:
        """The encoded rows of one part (encoded once)."""
        if part not in self._blocks:
            frame = self.part(part)
            weight = None if self.weight is None else torch.tensor(self.weight[self.split[part]], dtype=torch.float32)
            y = encode_target(frame[self.target.name], self.target)
            self._blocks[part] = Block(encode_inputs(frame, self.spec), y, weight)
        return self._blocks[part]

    @property
    def source(self) -> Source:
        """What a network is trained on: the stream where there is one, else the block of the training rows."""
        return self.block("train") if self.stream is None else self.stream

    def y(self, part: Part) -> np.ndarray:
        """The target of one part: class numbers (int64) or values (float64)."""
        y = self.block(part).y
        if y is None:
            raise DataError(f"the {part} rows of {self.name} have no target")
        values: np.ndarray = y.numpy()
        return values

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all cells and of the split: equal data, equal fingerprint, on every machine.

        Of a file of a picture or of a sound it takes the size and the first 64 KiB, not the path.
        """
        digest = hashlib.blake2b(digest_size=16)
        if self.frame is None:
            for part in PARTS:
                block = self.block(part)
                for name, tensor in sorted(block.x.items()):
                    digest.update(name.encode())
                    digest.update(np.ascontiguousarray(tensor.numpy()).data)
                digest.update(b"" if block.y is None else block.y.numpy().tobytes())
        else:
            files = {f.name for f in self.spec.fields if f.kind in ("image", "audio")}
            digest.update(repr(list(zip(self.frame.columns, self.frame.dtypes, strict=True))).encode())
            for column in self.frame.iter_columns():
                if is_images(column):
                    digest.update(np.ascontiguousarray(column.to_numpy()).data)
                    continue
                if column.name in files and column.dtype == pl.String:
                    hash_files(column, digest)
                    continue
                if column.dtype.is_nested():
                    hash_nested(column, digest)
                    continue
                text = column.cast(pl.String, strict=False).fill_null("\0")
                digest.update("\x1f".join(text.to_list()).encode())
        for part in PARTS:
            digest.update(self.split[part].astype("<i8").tobytes())
        return digest.hexdigest()
