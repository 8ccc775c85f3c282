"""An answer at each step of a sequence: labels or numbers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from netwright.core.errors import DataError, UsageError
from netwright.core.seed import derive, numpy_generator
from netwright.data.batch import Block
from netwright.losses.standard import CrossEntropy, SquaredError
from netwright.losses.steps import NO_LABEL, OverSteps, labelled
from netwright.model import check_count
from netwright.nn.recurrent import Recurrent
from netwright.recipes.recipe import member_seed
from netwright.sequences.given import Reader, listed, padded
from netwright.sequences.net import PerStep, judged, kept, members_of
from netwright.train.hooks import Clock, Quiet, Report
from netwright.train.judging import outputs_of
from netwright.train.members import Judge, train_members
from netwright.train.objectives import Supervised
from netwright.train.settings import Training
from netwright.train.stack import Member
from netwright.train.state import Row

STEPS = 1500
"""Steps of a training where `epochs` is not given, within 10 to 200 passes."""
MIN_VALID = 4
"""With fewer sequences held out than this, training sequences choose the epoch."""


class Tagger(BaseEstimator):  # type: ignore[misc]
    """A recurrent network that answers at each step of sequences of any lengths: a tagger, or a regression of each step.

    X is a list of sequences: arrays (T,) or (T, C) of numbers, or lists of T tokens (strings). y is a list with as many sequences of
    the same lengths: labels (strings, whole numbers, booleans; None where there is none), or fractional numbers (NaN where there
    is none).

    Args:
        cell, width, depth, directions, dropout, variational, skip, truncate: of `netwright.nn.recurrent.Recurrent`. With two directions
            an answer knows what comes later; with one it does not.
        dim: size of a token's vector.
        members: networks from different starts whose probabilities, or numbers, are averaged at each step; trained as one computation
            where that works. One that diverges is left out, with a warning.
        epochs, batch_size, learning_rate, weight_decay: of the training; None for designed epochs.
        validation_fraction: share of sequences that choose the epoch. patience: epochs without a better one after which to stop.
        random_state: an int for the same network each time, a RandomState, or None.
        minutes: a limit for the training. verbose: 1 prints a line an epoch.

    Fitted: `classes_` (None for numbers), `net_`, `history_`, `validated_on_`, `member_scores_` (the log loss, or the RMSE, of each
    network (1, members) over validation steps; infinite for one without a good epoch), `in_turn_` (why several networks were
    trained in turn; empty where they were one computation).

    >>> words = [["the", "dog", "barks"], ["a", "cat", "sleeps", "now"], ["the", "cat", "barks", "now"]] * 20
    >>> tags = [["det", "noun", "verb"], ["det", "noun", "verb", "adverb"], ["det", "noun", "verb", "adverb"]] * 20
    >>> tagger = Tagger(width=16, epochs=15, batch_size=8, random_state=0).fit(words, tags)
    >>> tagger.predict([["a", "dog", "sleeps"]])[0].tolist()
    ['det', 'noun', 'verb']
    """

    def __init__(
        self,
        *,
        cell: str = "gru",
        width: int = 64,
        depth: int = 1,
        directions: int = 2,
        dropout: float = 0.1,
        variational: bool = False,
        skip: bool = False,
        truncate: int = 0,
        dim: int = 32,
        members: int = 1,
        epochs: int | None = None,
        batch_size: int = 32,
        learning_rate: float = 5e-3,
        weight_decay: float = 0.01,
        validation_fraction: float = 0.15,
        patience: int | None = None,
        random_state: Any = None,
        minutes: float | None = None,
        verbose: int = 0,
    ) -> None:
        self.cell = cell
        self.width = width
        self.depth = depth
        self.directions = directions
        self.dropout = dropout
        self.variational = variational
        self.skip = skip
        self.truncate = truncate
        self.dim = dim
        self.members = members
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state
        self.minutes = minutes
        self.verbose = verbose

    classes_: np.ndarray | None
    net_: nn.Module
    history_: list[Row]
    validated_on_: str
    member_scores_: np.ndarray
    in_turn_: str

    def fit(self, X: Any, y: Any) -> Self:
        """Train on sequences X and their targets y, a list with one sequence each, of the same length.

        Raises:
            UsageError: X is no list of sequences, or y does not fit it, or an option makes no sense. DataError: a sequence is empty
                or of another kind. TrainingError: all networks diverged.
        """
        check_count("members", self.members)
        rows, seed = listed(X), int(check_random_state(self.random_state).randint(2**31 - 1))
        targets = self._targets(rows, y)
        order = numpy_generator(seed, "validation").permutation(len(rows))
        n_valid = round(self.validation_fraction * len(rows))
        held = n_valid >= MIN_VALID and any(_has_target(targets[k]) for k in order[:n_valid])
        self.validated_on_ = "validation sequences" if held else "training sequences"
        train_rows, valid_rows = (np.sort(order[n_valid:]), np.sort(order[:n_valid])) if held else (np.sort(order),) * 2
        self._reader = Reader.of([rows[k] for k in train_rows])
        self._loss = OverSteps(self._step_loss([targets[k] for k in train_rows]))
        blocks = [self._block([rows[k] for k in some], [targets[k] for k in some]) for some in (train_rows, valid_rows)]
        steps = max(1, len(train_rows) // min(self.batch_size, len(train_rows)))
        epochs = self.epochs or int(np.clip(STEPS // steps, 10, 200))
        settings = Training(
            epochs=epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            warmup=min(50, epochs * steps // 10),
            patience=self.patience,
        )
        seeds = [member_seed(seed, k) for k in range(self.members)]
        members = [Member(self._net(own), own, settings) for own in seeds]
        loss, valid = judged(self._loss, blocks[1])
        judge = Judge(loss, "rmse" if self.classes_ is None else "log-loss", [valid])
        hooks: list[Quiet] = [Clock(time.monotonic() + 60 * self.minutes)] if self.minutes is not None else []
        hooks += [Report(_print)] if self.verbose else []
        trained, why = train_members(members, Supervised(self._loss), blocks[0], judge, lambda k: hooks)
        self.in_turn_ = why if self.members > 1 else ""
        if self.verbose and self.in_turn_:
            print(f"{self.members} networks were trained in turn: {why}")
        self.net_, first, self.member_scores_ = kept(trained)
        self.history_ = first.history.rows
        return self

    def predict(self, X: Any) -> list[np.ndarray]:
        """The label, or the number, of each step: a list with an array (T,) for each sequence."""
        if self._classes() is None:
            return self._answers(X)
        return [self._classes()[p.argmax(1)] for p in self._answers(X)]  # type: ignore[index]

    def predict_proba(self, X: Any) -> list[np.ndarray]:
        """Probabilities of the classes (`classes_`) at each step: a list with an array (T, C) for each sequence.

        Raises:
            UsageError: the targets were numbers.
        """
        if self._classes() is None:
            raise UsageError("the targets are numbers and have no probabilities; use predict")
        return self._answers(X)

    def score(self, X: Any, y: Any) -> float:
        """The share of right labels over all steps with a label; of numbers the share of their variance that is explained."""
        answers, rows = self.predict(X), listed(X)
        _check_lengths(rows, y)
        found = np.concatenate(answers)
        wanted = np.concatenate([np.asarray(row, dtype=object) for row in y])
        if self.classes_ is not None:
            known = np.array([label is not None for label in wanted])
            return float(np.mean(found[known] == wanted[known]))
        values = wanted.astype(float)
        known = np.isfinite(values)
        rest = ((found - values)[known] ** 2).mean()
        return float(1 - rest / max(values[known].var(), 1e-30))

    def gates(self, X: Any) -> dict[str, np.ndarray]:
        """What each gate was at each step, (N, T, width) by name; of the first of several networks. See
        `netwright.nn.recurrent.Recurrent.gates`."""
        check_is_fitted(self)
        net: Any = members_of(self.net_)[0]
        with torch.no_grad():
            vectors, lengths = net.front(self._reader.encode(listed(X)))
            return {name: gate.numpy() for name, gate in net.body.gates(vectors, lengths).items()}

    def _classes(self) -> np.ndarray | None:
        check_is_fitted(self)
        return self.classes_

    def _answers(self, x: Any) -> list[np.ndarray]:
        rows = listed(x)
        block = Block(self._reader.encode(rows))
        each = [outputs_of(net, Supervised(self._loss), block).double() for net in members_of(self.net_)]
        answers = torch.stack([self._loss.predict(outputs) for outputs in each]).mean(0).numpy()
        return [answer[: len(row)] for answer, row in zip(answers, rows, strict=True)]

    def _targets(self, rows: Sequence[Any], y: Any) -> list[np.ndarray]:
        """Class numbers (T,) int64, or values (T,) float32; sets `classes_`."""
        _check_lengths(rows, y)
        cells = [list(np.asarray(row, dtype=object).reshape(len(row), -1)[:, 0]) for row in y]
        flat = [cell for row in cells for cell in row]
        if all(isinstance(cell, float | np.floating) for cell in flat):
            self.classes_ = None
            return [np.array(row, dtype=np.float32) for row in cells]
        labels = sorted({cell for cell in flat if cell is not None}, key=lambda label: (str(type(label)), label))
        if len(labels) < 2:
            raise UsageError(f"y holds {len(labels)} different labels; a tagger needs at least two")
        self.classes_ = np.array(labels)
        codes = {label: k for k, label in enumerate(labels)} | {None: NO_LABEL}
        return [np.array([codes[cell] for cell in row], dtype=np.int64) for row in cells]

    def _step_loss(self, targets: list[np.ndarray]) -> CrossEntropy | SquaredError:
        if self.classes_ is not None:
            return CrossEntropy()
        values = np.concatenate(targets)
        values = values[np.isfinite(values)]
        if not len(values):
            raise DataError("y holds no number at all")
        return SquaredError(center=float(values.mean()), scale=float(values.std()) or 1.0)

    def _net(self, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "weights"))
            front = self._reader.front(self.dim)
            body = Recurrent(
                int(front.n_out),  # type: ignore[arg-type]
                self.width,
                cell=self.cell,
                depth=self.depth,
                directions=self.directions,
                dropout=self.dropout,
                variational=self.variational,
                skip=self.skip,
                truncate=self.truncate,
            )
            return PerStep(front, body, 1 if self.classes_ is None else len(self.classes_), dropout=self.dropout)

    def _block(self, rows: list[Any], targets: list[np.ndarray]) -> Block:
        y: Tensor = padded(targets, float("nan") if self.classes_ is None else NO_LABEL)
        return Block(self._reader.encode(rows), y)


def _has_target(target: np.ndarray) -> bool:
    return bool(labelled(torch.from_numpy(target)).any())


def _check_lengths(rows: Sequence[Any], y: Any) -> None:
    if len(y) != len(rows):
        raise UsageError(f"y has {len(y)} sequences, and X has {len(rows)}; expected one for each")
    for k, (row, own) in enumerate(zip(rows, y, strict=True)):
        if len(row) != len(own):
            raise UsageError(
                f"sequence {k} has {len(row)} steps in X and {len(own)} in y; expected a target for each step"
            )


def _print(row: Row) -> None:
    shown = ", ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in row.items() if "loss" in k or "valid" in k)
    print(f"epoch {row['epoch']}: {shown}, {row['seconds']:.2f} s")
