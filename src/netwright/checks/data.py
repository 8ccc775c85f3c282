"""Checks of labelled rows: copies of training rows among the test rows, and rows that contradict each other."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from netwright.core.finding import Finding, Table
from netwright.core.spec import CategoryField
from netwright.data.batch import Batch, Block
from netwright.data.cells import counted
from netwright.data.data import PARTS, Data, Part
from netwright.data.shrink import pieces
from netwright.model import Subject

MASSIVE = 0.5
"""Share of test rows with a copy in training from which the test says nothing."""


_WHAT = {
    "image": ("the pixels", "the pixels do"),
    "text": ("the words", "the words do"),
    "set": ("the elements", "the elements do"),
    "tree": ("these trees", "the trees do"),
}


@dataclass(frozen=True)
class Column:
    """One encoded input column over some rows: floats with NaN where missing, or codes with 0 where unknown."""

    name: str
    values: np.ndarray
    n_codes: int = 0

    @property
    def codes(self) -> np.ndarray:
        """Equal cells, equal code (int64), missing ones included."""
        if self.n_codes:
            return self.values
        _, codes = np.unique(self.values, return_inverse=True)
        return codes.astype(np.int64)


def columns(data: Data, parts: tuple[Part, ...] = PARTS) -> list[Column]:
    """The input columns of some parts, one after the other, as the network gets them."""
    blocks = [data.block(part) for part in parts]
    found = []
    for field in data.spec.fields:
        tensor, place = data.spec.locate(field.name)
        if place is not None:
            values = np.concatenate([b.x[tensor][:, place].numpy() for b in blocks])
            found.append(Column(field.name, values, field.n_codes if isinstance(field, CategoryField) else 0))
    return found


def row_keys(block: Block | Batch, *, with_target: bool = False) -> np.ndarray:
    """A 64-bit hash (N,) of each row's inputs: equal rows, equal keys (-0 equals 0, missing equals missing).

    >>> import torch
    >>> keys = row_keys(Block({"x": torch.tensor([[1.0, 0.0], [1.0, -0.0], [2.0, 0.0]])}))
    >>> bool(keys[0] == keys[1]), bool(keys[0] == keys[2])
    (True, False)
    """
    return _digests([block.x[name] for name in sorted(block.x)] + _target(block, with_target))


def content_keys(data: Data, part: Part, *, with_target: bool = False) -> np.ndarray:
    """A 64-bit hash (N,) of what each row says: as `row_keys`, but texts count as they were written, whatever their case and
    the space in them (two texts that differ in unknown words only are no copies)."""
    block = data.block(part)
    names = [n for n in ("numbers", "codes") if n in block.x] + [f.name for f in data.spec.fields if f.name in block.x]
    names += [n for f in data.spec.wholes for n in f.tensors if n in block.x and n not in names]
    texts = [torch.from_numpy(text_keys(cells)) for cells in data.texts(part).values()]
    return _digests([block.x[n] for n in names] + texts + _target(block, with_target))


def text_keys(texts: Sequence[str], same: Callable[[str], str] = lambda text: text) -> np.ndarray:
    """A 64-bit hash (N,) int64 of each text, whatever its case and the space in it, after `same` has been done to it.

    >>> keys = text_keys(["Two  words", "two words ", "twowords"])
    >>> bool(keys[0] == keys[1]), bool(keys[0] == keys[2])
    (True, False)
    """
    plain = (" ".join(same(unicodedata.normalize("NFC", text).casefold()).split()) for text in texts)
    digests = b"".join(hashlib.blake2b(text.encode(errors="replace"), digest_size=8).digest() for text in plain)
    return np.frombuffer(digests, np.int64).copy()


def _target(block: Block | Batch, wanted: bool) -> list[Tensor]:
    return [block.y] if wanted and block.y is not None else []


def _digests(tensors: list[Tensor]) -> np.ndarray:
    """A 64-bit hash of each row of some tensors, a piece of the rows after the other (images may be most of the memory)."""
    digests = []
    for some in pieces(len(tensors[0]), sum(t[:1].numel() for t in tensors)):
        parts = []
        for tensor in tensors:
            array = tensor[some].numpy()
            if array.dtype.kind == "f":
                array = np.where(np.isnan(array), np.nan, array + 0.0).astype(array.dtype)
            parts.append(np.ascontiguousarray(array.reshape(len(array), -1)).view(np.uint8).reshape(len(array), -1))
        table = np.ascontiguousarray(np.concatenate(parts, 1))
        digests += [hashlib.blake2b(row, digest_size=8).digest() for row in table]
    return np.frombuffer(b"".join(digests), np.uint64)


def noise_floor(data: Data, part: Part = "train") -> float:
    """The smallest error that any function of the inputs can have on the rows of one part, as they are encoded.

    Classes: the error rate sum_g (n_g - max_c n_gc) / N over groups g of rows with equal inputs. Numbers: the root mean square
    of what is left within groups, in the target's unit. Row weights do not count. 0 where no two rows contradict each other.
    """
    return _floor(row_keys(data.block(part)), data.y(part), data.target.is_number)


def _floor(keys: np.ndarray, y: np.ndarray, is_number: bool) -> float:
    """The smallest error of any function of the keys."""
    if not len(y):
        return 0.0
    _, member = np.unique(keys, return_inverse=True)
    size = np.bincount(member)
    if is_number:
        mean = np.bincount(member, y) / size
        return float(np.sqrt(np.mean((y - mean[member]) ** 2)))
    return float(1 - _largest(member, y, len(size)).sum() / len(y))


def _largest(member: np.ndarray, y: np.ndarray, n_groups: int) -> np.ndarray:
    """How many rows the most frequent class of each group has."""
    pairs, counts = np.unique(np.stack([member, y], 1), axis=0, return_counts=True)
    largest = np.zeros(n_groups, np.int64)
    np.maximum.at(largest, pairs[:, 0], counts)
    return largest


def duplicates(subject: Subject, *, budget_seconds: float, seed: int) -> Finding:
    """Shares of validation and test rows whose inputs (and target) are also those of a training row: equal cells, equal pixels,
    equal texts but for case and space.

    Warns from 1 %. Fails (and stops a run) where half of the test rows are copies, target included: the test then measures
    memory. Neither where chance would make half as many copies, as with a few columns of a few values (see `copies_by_chance`).
    """
    data: Data = subject.need("data")
    keys = {part: content_keys(data, part) for part in PARTS}
    full = {part: content_keys(data, part, with_target=True) for part in PARTS}
    rows = []
    for part in ("valid", "test"):
        inputs, both = (float(np.isin(k[part], k["train"]).mean()) if len(k[part]) else 0.0 for k in (keys, full))
        rows.append((part, len(keys[part]), inputs, both))
    within = 1 - len(np.unique(full["train"])) / max(len(full["train"]), 1)
    share = max(r[3] for r in rows)
    expected = copies_by_chance(data)
    by_chance = expected >= share / 2
    massive = rows[1][3] >= MASSIVE and not by_chance
    note = " (chance alone makes as many: the columns allow few different rows)" if by_chance and share >= 0.01 else ""
    return Finding(
        probe="duplicates",
        family="checks",
        verdict="fail"
        if massive
        else "warn"
        if share >= 0.01 and not by_chance
        else "info"
        if share >= 0.01
        else "pass",
        title=f"{rows[1][3]:.1%} of the test rows and {rows[0][3]:.1%} of the validation rows are copies of training rows{note}",
        measured={
            "test_copies_share": round(rows[1][3], 6),
            "valid_copies_share": round(rows[0][3], 6),
            "test_same_inputs_share": round(rows[1][2], 6),
            "train_repeated_share": round(within, 6),
            "copies_by_chance_share": round(expected, 6),
        },
        expected=f"less than 1 % copies; at {MASSIVE:.0%} the run stops",
        why="A row that training has seen is answered from memory, so that the score is too good for rows that are really new.",
        todo="Remove repeated rows before the split; keep repeated measurements of one thing in one part with --group COLUMN."
        + (" Where new rows will also be repeats of old ones, go on with --force." if massive else "")
        if share >= 0.01
        else "",
        tables=(
            Table(
                title="Copies of training rows",
                columns=("part", "rows", "same inputs", "same inputs and target"),
                rows=tuple(rows),
            ),
        ),
    )


def copies_by_chance(data: Data) -> float:
    """Share of rows that would have a copy in training if columns were independent: 1 - exp(-n_train P), where P is the
    probability that two rows agree, the product over columns of sum_v n_v (n_v - 1) / (N (N - 1))."""
    cells = [column.values for column in columns(data)]
    if not cells:
        return 0.0
    texts = [data.texts(part) for part in PARTS]
    cells += [np.concatenate([text_keys(part[t.name]) for part in texts]) for t in data.spec.texts]
    for image in data.spec.images:
        cells.append(np.concatenate([_digests([data.block(part).x[image.name]]) for part in PARTS]))
    for whole in data.spec.wholes:
        cells.append(np.concatenate([_digests([data.block(part).x[n] for n in whole.tensors]) for part in PARTS]))
    agree = 1.0
    for values in cells:
        _, counts = np.unique(values, return_counts=True)
        n = float(counts.sum())
        agree *= float((counts * (counts - 1.0)).sum() / max(n * (n - 1), 1))
    return float(1 - np.exp(-len(data.block("train")) * agree))


def contradictions(subject: Subject, *, budget_seconds: float, seed: int) -> Finding:
    """Training rows with equal inputs and different targets: how many there are, and the noise floor that they set."""
    data: Data = subject.need("data")
    y, keys = data.y("train"), content_keys(data, "train")
    floor = _floor(keys, y, data.target.is_number)
    _, first, member, size = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    differs = np.zeros(len(size), bool)
    np.logical_or.at(differs, member, y != y[first][member])
    n_rows = int(size[differs].sum())
    number = data.target.is_number
    unit = f"an RMSE of {floor:.4g}" if number else f"an error of {floor:.2%}"
    relative = floor / (data.target.scale or 1.0) if number else floor
    worst = np.argsort(-size * differs, kind="stable")[:5]
    examples = [(int(first[g]), int(size[g]), len(np.unique(y[member == g]))) for g in worst if differs[g]]
    of_columns, the_columns = _WHAT.get(data.spec.kind, ("these columns", "the columns do"))
    return Finding(
        probe="contradictions",
        family="checks",
        verdict="warn" if relative > 0.05 else "info" if n_rows else "pass",
        title=f"{counted(n_rows, 'training row')} contradict each other; no function of {of_columns} gets below {unit} on them"
        if n_rows
        else "no two training rows have the same inputs and different targets",
        measured={"contradicting_rows": n_rows, "noise_floor_rmse" if number else "noise_floor_error": round(floor, 6)},
        expected="few rows with equal inputs and different targets",
        why=f"Where equal inputs have different targets, {the_columns} not say enough: that part of the error is not the network's.",
        todo="Look for a column that tells these rows apart, or for mistakes in the target." if relative > 0.05 else "",
        tables=(
            Table(
                title="Largest groups of equal rows with different targets",
                columns=("first of them (place among training rows)", "rows", "different targets"),
                rows=tuple(examples),
            ),
        )
        if examples
        else (),
    )
