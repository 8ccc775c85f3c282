"""What exhibits on problems of few numbers share: data of arrays, a watch on a training, maps over a square."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import polars as pl
from torch import Tensor, nn

from netwright.core.finding import Series
from netwright.data.data import Data
from netwright.data.encode import fit_inputs, fit_target
from netwright.train.hooks import Quiet
from netwright.train.state import State


def data_of(columns: Mapping[str, np.ndarray], y: np.ndarray, n_test: int = 0) -> Data:
    """Data of columns of numbers; whole numbers in y are classes. The last `n_test` rows are kept for the test.

    The rows that train also choose the epoch: these are problems in which nothing is to be chosen.
    """
    frame, n = pl.DataFrame(dict(columns)), len(y)
    is_class = np.issubdtype(y.dtype, np.integer)
    answers = pl.Series("y", [str(v) for v in y] if is_class else y)
    train = np.arange(n - n_test)
    test = np.arange(n - n_test, n) if n_test else train
    spec = fit_inputs(frame[train], dict.fromkeys(frame.columns, "number"))
    task = ("binary" if len(np.unique(y)) == 2 else "classes") if is_class else "number"
    split = {"train": train, "valid": train, "test": test}
    return Data(frame.with_columns(answers), spec, fit_target(answers[train], task), split)  # type: ignore[arg-type]


class Watch(Quiet):
    """Calls a function with the network, in evaluation mode, at the start and after some epochs.

    Args:
        look: takes the network and the number of epochs done. at: those numbers.
    """

    def __init__(self, look: Callable[[nn.Module, int], None], at: Sequence[int]) -> None:
        self.look, self.at = look, set(at)

    def on_start(self, state: State) -> None:
        """The untrained network."""
        self._look(state)

    def on_epoch(self, state: State) -> None:
        """The network after an epoch."""
        self._look(state)

    def _look(self, state: State) -> None:
        if state.epoch in self.at:
            was_training = state.net.training
            self.look(state.net.eval(), state.epoch)
            state.net.train(was_training)


def grid(low: float, high: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The points (n * n,) of a square row by row from the top: their x1 and their x2."""
    x1, x2 = np.meshgrid(np.linspace(low, high, n), np.linspace(high, low, n))
    return x1.ravel(), x2.ravel()


def as_map(name: str, values: np.ndarray | Tensor, n: int) -> Series:
    """Values at the points of `grid` as a heat map."""
    rows = np.asarray(values, dtype=np.float64).reshape(n, n)
    return Series(name=name, z=tuple(tuple(round(float(v), 3) for v in row) for row in rows))


def line_of(weights: Sequence[float], bias: float, low: float, high: float, name: str) -> Series | None:
    """The part of the line w1 x1 + w2 x2 + b = 0 inside a square, dashed; None where it passes by."""
    (w1, w2), found = weights, []
    for edge in (low, high):
        if w2 and low <= (at := -(w1 * edge + bias) / w2) <= high:
            found.append((edge, at))
        if w1 and low <= (at := -(w2 * edge + bias) / w1) <= high:
            found.append((at, edge))
    if len(found) < 2:
        return None
    (a, b), (c, d) = min(found), max(found)
    return Series(name=name, x=(a, c), y=(b, d), dashed=True)
