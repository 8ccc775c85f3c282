"""The next values of a series, from its last ones."""

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
from netwright.core.seed import derive
from netwright.data.batch import Block, Inputs
from netwright.losses.standard import SquaredError
from netwright.model import check_count
from netwright.nn.lengths import at_last
from netwright.nn.recurrent import RecurrentVector
from netwright.recipes.recipe import member_seed
from netwright.sequences.given import numbers_of
from netwright.sequences.net import kept
from netwright.sequences.windows import Windows, naive, windows_of
from netwright.train.hooks import Clock, Quiet
from netwright.train.judging import outputs_of
from netwright.train.members import Judge, train_members
from netwright.train.objectives import Supervised
from netwright.train.settings import Training
from netwright.train.stack import Member
from netwright.train.state import Row

STEPS = 1500
"""Steps of a training where `epochs` is not given, within 5 to 200 passes."""


class Forecast(nn.Module):
    """Windows of standardised series -> what comes next: the naive forecast and what recurrent layers add to it.

    y = base + d W (h, last change), h of the windows' values, of their distances to the last one in units of r, and of their changes
    over a season (or a step) in units of d, which are the errors of the naive forecast. W starts at zero, so the network starts at
    the naive forecast.

    Shapes: "window" and "changes" (N, C, T), "length" (N,), "base" (N, horizon * C) -> (N, horizon * C).

    Args:
        spread: d, that of what the naive forecast leaves. reach: r, that of the distances.
    """

    def __init__(
        self, body: RecurrentVector, channels: int, horizon: int, *, spread: float, reach: float, dropout: float
    ) -> None:
        super().__init__()
        self.body, self.spread, self.reach = body, spread, reach
        self.drop, self.head = nn.Dropout(dropout), nn.Linear(body.n_out + channels, horizon * channels)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Inputs) -> Tensor:
        """Standardised forecasts (N, horizon * C)."""
        rows, changes, lengths = x["window"].transpose(1, 2), x["changes"].transpose(1, 2) / self.spread, x["length"]
        distances = (rows - at_last(rows, lengths).unsqueeze(1)) / self.reach
        remembered = self.drop(self.body(torch.cat([rows, distances, changes], -1), lengths))
        added: Tensor = self.head(torch.cat([remembered, at_last(changes, lengths)], -1))
        return x["base"] + self.spread * added


class Forecaster(BaseEstimator):  # type: ignore[misc]
    """A recurrent network that forecasts series, of one or several channels, one or several steps ahead.

    It learns what to add to the naive forecast: to the last value, or with `season` to the value a season before.

    Args:
        horizon: steps that are forecast at once. window: last values that it sees; shorter histories do as well.
        season: length of a season in steps, such as 12 for months; None where there is none.
        log: forecast logarithms, where ups and downs grow with the level; all values must be above 0.
        cell, width, depth, dropout, variational, skip, truncate: of `netwright.nn.recurrent.Recurrent`.
        members: networks from different starts whose forecasts are averaged; trained as one computation where that works. One that
            diverges is left out, with a warning.
        epochs, batch_size, learning_rate, weight_decay: of the training; None for designed epochs.
        validation_fraction: the last part of each series, which chooses the epoch. patience: as of `nw.Regressor`.
        random_state: an int for the same network each time, a RandomState, or None. minutes: a limit for the training.

    Fitted: `net_`, `history_`, `n_windows_`, `member_scores_` (the RMSE of each network (1, members) on validation windows, in
    spreads of the series; infinite for one without a good epoch), `in_turn_` (why several networks were trained in turn; empty
    where they were one computation).

    >>> t = np.arange(200)
    >>> wave = np.sin(2 * np.pi * t / 20)
    >>> model = Forecaster(horizon=5, window=20, width=16, epochs=40, random_state=0).fit(wave[:180])
    >>> model.predict().shape, bool(np.abs(model.predict() - wave[180:185]).max() < 0.3)
    ((5,), True)
    """

    def __init__(
        self,
        *,
        horizon: int = 1,
        window: int = 32,
        season: int | None = None,
        log: bool = False,
        cell: str = "gru",
        width: int = 32,
        depth: int = 1,
        dropout: float = 0.0,
        variational: bool = False,
        skip: bool = False,
        truncate: int = 0,
        members: int = 1,
        epochs: int | None = None,
        batch_size: int = 32,
        learning_rate: float = 0.01,
        weight_decay: float = 0.01,
        validation_fraction: float = 0.15,
        patience: int | None = None,
        random_state: Any = None,
        minutes: float | None = None,
    ) -> None:
        self.horizon = horizon
        self.window = window
        self.season = season
        self.log = log
        self.cell = cell
        self.width = width
        self.depth = depth
        self.dropout = dropout
        self.variational = variational
        self.skip = skip
        self.truncate = truncate
        self.members = members
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state
        self.minutes = minutes

    net_: nn.Module
    history_: list[Row]
    n_windows_: int
    member_scores_: np.ndarray
    in_turn_: str

    def fit(self, series: Any, y: Any = None) -> Self:
        """Train on a series, an array (T,) or (T, C), or on a list of them, of any lengths.

        Raises:
            UsageError: an option is out of range, or the series are too short. DataError: a series has a gap, or with `log` a value
                that is not above 0. TrainingError: all networks diverged.
        """
        check_count("members", self.members)
        for name, value in (("horizon", self.horizon), ("window", self.window), ("season", self.season or 1)):
            if value < 1:
                raise UsageError(f"{name} is {value}; expected 1 or more")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        rows = [self._logged(row) for row in numbers_of(series)]
        whole = np.concatenate(rows)
        self._center, self._spread = whole.mean(0), np.where(whole.std(0) > 0, whole.std(0), 1.0)
        self._one, self._rows = np.ndim(series[0]) == 0, rows
        self._flat = rows[0].shape[1] == 1 and np.ndim(series if self._one else series[0]) == 1
        rows = [self._standard(row) for row in rows]
        cuts = [len(row) - max(round(self.validation_fraction * len(row)), self.horizon) for row in rows]
        train = windows_of(rows, self.window, self.horizon, self.season, until=cuts)
        valid = windows_of(rows, self.window, self.horizon, self.season, since=cuts)
        valid = valid if len(valid) and self.validation_fraction else train
        if not len(train):
            least = self.horizon + (self.season or 1) + 1
            raise UsageError(
                f"the series are too short: each horizon of {self.horizon} needs about {2 * least} values; give longer ones"
            )
        self.n_windows_ = len(train)
        self._train(train, valid, rows[0].shape[1], seed)
        return self

    def predict(self, history: Any = None, steps: int | None = None) -> Any:
        """What comes after a history, (horizon,) or (horizon, C); after each of a list of them, a list.

        Args:
            history: None for the series of `fit`. steps: how far; beyond the horizon forecasts are fed back as if they were values.
        """
        check_is_fitted(self)
        given = self._rows if history is None else [self._logged(row) for row in numbers_of(history)]
        one = self._one if history is None else np.ndim(history[0]) == 0
        futures = [np.zeros((0, given[0].shape[1]))] * len(given)
        one = one or isinstance(history, np.ndarray)
        while len(futures[0]) < (steps or self.horizon):
            known = [np.concatenate(both) for both in zip(given, futures, strict=True)]
            windows = windows_of(
                [self._standard(row) for row in known], self.window, self.horizon, self.season, last=True
            )
            futures = [np.concatenate(both) for both in zip(futures, self._answers(windows), strict=True)]
        ended = [np.exp(f) if self.log else f for f in (future[: steps or self.horizon] for future in futures)]
        ended = [f[:, 0] if self._flat else f for f in ended]
        return ended[0] if one else ended

    def rolled(self, series: Any, first: int) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
        """Forecasts from every step of a series from `first` on, as one would have made them then.

        Returns:
            The steps at which they were made (N,), the forecasts (N, horizon, C) of the "network", of "naive" (the last value) and,
            with a season, of "seasonal-naive", and what came (N, horizon, C).
        """
        (row,) = [self._logged(r) for r in numbers_of(series)]
        windows = windows_of([self._standard(row)], self.window, self.horizon, self.season, since=[first])
        origins = windows.origins
        made = {"network": self._answers(windows)}
        made["naive"] = np.stack([naive(row[:t], self.horizon, None) for t in origins])
        if self.season:
            made["seasonal-naive"] = np.stack([naive(row[:t], self.horizon, self.season) for t in origins])
        came = np.stack([row[t : t + self.horizon] for t in origins])
        back = np.exp if self.log else np.asarray
        return origins, {name: back(f) for name, f in made.items()}, back(came)

    def _train(self, train: Windows, valid: Windows, channels: int, seed: int) -> None:
        steps = max(1, len(train) // min(self.batch_size, len(train)))
        epochs = self.epochs or int(np.clip(STEPS // steps, 5, 200))
        settings = Training(
            epochs=epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            warmup=min(50, epochs * steps // 10),
            patience=self.patience,
        )
        spread, reach = (float(np.sqrt(np.mean(d**2))) or 1.0 for d in (train.y - train.base, train.distances))
        seeds = [member_seed(seed, k) for k in range(self.members)]
        members = [Member(self._net(channels, spread, reach, s), s, settings) for s in seeds]
        loss = SquaredError()
        judge = Judge(loss, "rmse", [_block(valid)])
        hooks: Sequence[Quiet] = [Clock(time.monotonic() + 60 * self.minutes)] if self.minutes is not None else []
        trained, why = train_members(members, Supervised(loss), _block(train), judge, lambda k: hooks)
        self.in_turn_ = why if len(members) > 1 else ""
        self.net_, first, self.member_scores_ = kept(trained)
        self.history_ = first.history.rows

    def _net(self, channels: int, spread: float, reach: float, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "weights"))
            body = RecurrentVector(
                3 * channels,
                self.width,
                cell=self.cell,
                depth=self.depth,
                dropout=self.dropout,
                variational=self.variational,
                skip=self.skip,
                truncate=self.truncate,
            )
            return Forecast(body, channels, self.horizon, spread=spread, reach=reach, dropout=self.dropout)

    def _answers(self, windows: Windows) -> np.ndarray:
        """Forecasts (N, horizon, C) in the unit of the series (of its logarithms)."""
        outputs = outputs_of(self.net_, Supervised(SquaredError()), _block(windows)).double().numpy()
        values: np.ndarray = outputs.reshape(len(outputs), self.horizon, -1) * self._spread + self._center
        return values

    def _standard(self, row: np.ndarray) -> np.ndarray:
        if row.shape[1] != len(self._center):
            raise DataError(
                f"the series has {row.shape[1]} channels, but {len(self._center)} were fitted; give those again"
            )
        standard: np.ndarray = (row - self._center) / self._spread
        return standard

    def _logged(self, row: np.ndarray) -> np.ndarray:
        if self.log and (row <= 0).any():
            raise DataError("log=True needs values above 0, and there are others; leave it out")
        return np.log(row) if self.log else row


def _block(windows: Windows) -> Block:
    x = {
        "window": torch.from_numpy(windows.x).float(),
        "changes": torch.from_numpy(windows.changes).float(),
        "length": torch.from_numpy(windows.lengths),
        "base": torch.from_numpy(windows.base.reshape(len(windows), -1)).float(),
    }
    y = torch.from_numpy(windows.y.reshape(len(windows), -1))
    return Block(x, y[:, 0] if y.shape[1] == 1 else y)
