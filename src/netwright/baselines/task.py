"""What a classic method is given (`Task`), what it gives back (`Method`), and what it sees of rows (`Rows`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netwright.baselines.counts import node_counts
from netwright.baselines.sets import pooled_statistics
from netwright.core.errors import DataError
from netwright.core.finding import Cell
from netwright.core.seed import numpy_generator
from netwright.core.spec import InputSpec, SetField, TreeField
from netwright.data.batch import Inputs

_LARGEST = {np.dtype(np.float32): 1e30, np.dtype(np.float64): 1e100}
_CHUNK = 1 << 22


@dataclass(frozen=True)
class Rows:
    """Rows as classic methods see them.

    Args:
        x: (N, F) numbers, codes and plain tensors, NaN where a cell is missing; the columns `categories` of a task hold codes.
            Without such columns F is 0.
        y: (N,) class numbers or values; empty where they are not known.
        weight: (N,) or None.
        texts: column -> its N texts as they were written.
        pixels: column -> images (M, C, H, W) in pixel values, of these and maybe of other rows.
        wholes: the tensors of series, sounds, sets, trees and volumes by name, of these and maybe of other rows; see `whole`.
        places: (N,) where these rows stand in `pixels` and `wholes`; None where they are all of them. These may be most of the
            memory, so that a part of the rows shares those of all.
    """

    x: np.ndarray
    y: np.ndarray = field(default_factory=lambda: np.zeros(0))
    weight: np.ndarray | None = None
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    pixels: Mapping[str, Tensor] = field(default_factory=dict)
    wholes: Mapping[str, Tensor] = field(default_factory=dict)
    places: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x)

    def whole(self, name: str) -> np.ndarray:
        """One of the tensors `wholes` at these rows, (N, ...)."""
        found: np.ndarray = self.wholes[name].numpy()
        return found if self.places is None else found[self.places]

    def take(self, index: np.ndarray) -> Rows:
        """The rows `index`."""
        return Rows(
            self.x[index],
            self.y[index],
            None if self.weight is None else self.weight[index],
            {name: [cells[i] for i in index] for name, cells in self.texts.items()},
            self.pixels,
            self.wholes,
            index if self.places is None else self.places[index],
        )


@dataclass(frozen=True)
class Task:
    """What a classic method is asked to do.

    Args:
        train: rows to fit on. valid: rows to choose and to stop on; may be empty.
        categories: columns of x that hold codes, not amounts.
        n_classes: 0 for a regression.
        spec: of the inputs.
        seed: of whatever is drawn.
        budget_seconds: bounds the work through fixed prices, not through the clock.
    """

    train: Rows
    valid: Rows
    categories: tuple[int, ...] = ()
    n_classes: int = 0
    spec: InputSpec = field(default_factory=lambda: InputSpec(fields=()))
    seed: int = 0
    budget_seconds: float = 60.0

    @property
    def numbers(self) -> list[int]:
        """Columns that hold amounts."""
        return [i for i in range(self.train.x.shape[1]) if i not in set(self.categories)]

    def thinned(self, n: int) -> Task:
        """The task with `n` training rows, drawn at random, and one of each class at the least; itself where it has no more."""
        if n >= len(self.train):
            return self
        order = numpy_generator(self.seed, "thinned").permutation(len(self.train))
        kept = order[: max(n, 2)]
        if self.n_classes:
            _, first = np.unique(self.train.y[order], return_index=True)
            kept = np.union1d(kept, order[first])
        return replace(self, train=self.train.take(np.sort(kept)))


@dataclass(frozen=True)
class Method:
    """A fitted pipeline, what was chosen on the way, and what of `Rows` the pipeline takes (by default the matrix `x`)."""

    pipeline: Any
    chosen: Mapping[str, Cell] = field(default_factory=dict)
    features: Callable[[Rows], Any] = lambda rows: rows.x


@dataclass(frozen=True)
class Beside:
    """Features of several kinds beside each other, sparse where one of them is."""

    parts: Sequence[Callable[[Rows], Any]]

    def __call__(self, rows: Rows) -> Any:
        """(N, F) of rows."""
        from scipy.sparse import hstack, issparse

        found = [part(rows) for part in self.parts]
        if len(found) == 1:
            return found[0]
        return hstack(found, format="csr") if any(issparse(f) for f in found) else np.concatenate(found, 1)


def mean_loss(found: np.ndarray, classes: np.ndarray, rows: Rows) -> float:
    """Mean log loss of probabilities (N, C) of `classes`, or mean squared error of values (N,)."""
    if found.ndim == 1:
        return float(np.average((found - rows.y) ** 2, weights=rows.weight))
    p = found[np.arange(len(rows)), np.searchsorted(classes, rows.y)]
    return float(np.average(-np.log(np.clip(p, 1e-15, 1.0)), weights=rows.weight))


def matrix(x: Inputs, spec: InputSpec) -> np.ndarray:
    """Inputs (named tensors) as one matrix (N, F): numbers, codes, then plain tensors flattened, statistics over the elements of sets,
    counts of the nodes of trees; infinities as NaN.

    It is float32 where there are plain tensors of that kind only, else float64. Images and texts have no part in it.

    >>> matrix({"text:words": torch.zeros(3, 5)}, InputSpec(fields=())).shape
    (3, 0)
    """
    names = [n for n in ("numbers", "codes") if n in x] + [
        f.name for f in spec.fields if f.kind == "vector" and f.name in x
    ]
    pooled = [_pooled(x, field) for field in spec.wholes if isinstance(field, SetField | TreeField)]
    if not names and not pooled:
        return np.zeros((len(next(iter(x.values()))), 0))
    tensors = [*(x[n].detach().cpu() for n in names), *pooled]
    kind = torch.float32 if all(t.dtype == torch.float32 for t in tensors) else torch.float64
    found = torch.cat([t.to(kind).flatten(1) if t.dim() > 1 else t.to(kind)[:, None] for t in tensors], 1).numpy()
    most, step = _LARGEST[found.dtype], max(1, _CHUNK // max(1, found.shape[1]))
    for first in range(0, len(found), step):  # in place: these may be most of the memory
        piece = found[first : first + step]
        piece[~np.isfinite(piece)] = np.nan
        np.clip(piece, -most, most, out=piece)
    return found


def _pooled(x: Inputs, field: SetField | TreeField) -> Tensor:
    """What is a number of a whole thing in a cell."""
    arrays = {name: x[name].detach().cpu().numpy() for name in field.tensors if name in x}
    return torch.from_numpy(
        pooled_statistics(arrays, field) if isinstance(field, SetField) else node_counts(arrays, field)
    )


def category_columns(spec: InputSpec) -> tuple[int, ...]:
    """Columns of `matrix` that hold codes."""
    start = len(spec.numbers)
    return tuple(range(start, start + len(spec.categories)))


def check(task: Task) -> None:
    """Refuse what no method can be fitted on.

    Raises:
        DataError: no rows, or a single class.
    """
    if not len(task.train):
        raise DataError("there are no training rows to fit a baseline on; give the split at least one")
    if task.n_classes and len(np.unique(task.train.y)) < 2:
        raise DataError(
            "the training rows hold one class only, so that there is nothing to tell apart; add rows of another"
        )
