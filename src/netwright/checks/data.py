"""Checks of labelled rows: copies of training rows among the test rows, and rows that contradict each other."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from netwright.core.finding import Finding, Table
from netwright.core.spec import CategoryField
from netwright.data.batch import Batch, Block
from netwright.data.cells import counted
from netwright.data.data import PARTS, Data, Part
from netwright.model import Subject

MASSIVE = 0.5
"""Share of test rows with a copy in training from which the test says nothing."""


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
    tensors = [block.x[name].numpy() for name in sorted(block.x)] + (
        [block.y.numpy()] if with_target and block.y is not None else []
    )
    pieces = []
    for array in tensors:
        if array.dtype.kind == "f":
            array = np.where(np.isnan(array), np.nan, array + 0.0).astype(array.dtype)
        pieces.append(np.ascontiguousarray(array.reshape(len(array), -1)).view(np.uint8).reshape(len(array), -1))
    table = np.ascontiguousarray(np.concatenate(pieces, 1))
    digests = b"".join(hashlib.blake2b(row, digest_size=8).digest() for row in table)
    return np.frombuffer(digests, np.uint64)


def noise_floor(data: Data, part: Part = "train") -> float:
    """The smallest error that any function of the inputs can have on the rows of one part, as they are encoded.

    Classes: the error rate sum_g (n_g - max_c n_gc) / N over groups g of rows with equal inputs. Numbers: the root mean square
    of what is left within groups, in the target's unit. Row weights do not count. 0 where no two rows contradict each other.
    """
    y, keys = data.y(part), row_keys(data.block(part))
    _, member = np.unique(keys, return_inverse=True)
    size = np.bincount(member)
    if data.target.is_number:
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
    """Shares of validation and test rows whose inputs (and target) are also those of a training row.

    Warns from 1 %. Fails (and stops a run) where half of the test rows are copies, target included: the test then measures
    memory. Neither where chance would make half as many copies, as with a few columns of a few values (see `copies_by_chance`).
    """
    data: Data = subject.need("data")
    keys = {part: row_keys(data.block(part)) for part in PARTS}
    full = {part: row_keys(data.block(part), with_target=True) for part in PARTS}
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
    found = columns(data)
    if not found:
        return 0.0
    agree = 1.0
    for column in found:
        _, counts = np.unique(column.values, return_counts=True)
        n = float(counts.sum())
        agree *= float((counts * (counts - 1.0)).sum() / max(n * (n - 1), 1))
    return float(1 - np.exp(-len(data.block("train")) * agree))


def contradictions(subject: Subject, *, budget_seconds: float, seed: int) -> Finding:
    """Training rows with equal inputs and different targets: how many there are, and the noise floor that they set."""
    data: Data = subject.need("data")
    floor = noise_floor(data)
    y, keys = data.y("train"), row_keys(data.block("train"))
    _, first, member, size = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    differs = np.zeros(len(size), bool)
    np.logical_or.at(differs, member, y != y[first][member])
    n_rows = int(size[differs].sum())
    number = data.target.is_number
    unit = f"an RMSE of {floor:.4g}" if number else f"an error of {floor:.2%}"
    relative = floor / (data.target.scale or 1.0) if number else floor
    worst = np.argsort(-size * differs, kind="stable")[:5]
    examples = [(int(first[g]), int(size[g]), len(np.unique(y[member == g]))) for g in worst if differs[g]]
    return Finding(
        probe="contradictions",
        family="checks",
        verdict="warn" if relative > 0.05 else "info" if n_rows else "pass",
        title=f"{counted(n_rows, 'training row')} contradict each other; no function of these columns gets below {unit} on them"
        if n_rows
        else "no two training rows have the same inputs and different targets",
        measured={"contradicting_rows": n_rows, "noise_floor_rmse" if number else "noise_floor_error": round(floor, 6)},
        expected="few rows with equal inputs and different targets",
        why="Where equal inputs have different targets, the columns do not say enough: that part of the error is not the network's.",
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
