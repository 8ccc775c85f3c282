"""One run in memory: its folder, its settings, its clock, and what the steps have made so far."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from netwright.core.run import Run
from netwright.data.data import Data
from netwright.model import Model, Subject
from netwright.recipes.recipe import Recipe
from netwright.train.hooks import Clock
from netwright.train.state import State
from netwright.workflow.prepare import Looked
from netwright.workflow.settings import Settings

SHARES: Mapping[str, float] = {
    "baselines": 0.10,
    "check": 0.06,
    "try": 0.10,
    "memorise": 0.25,
    "regularise": 0.16,
    "average": 0.10,
    "attack": 0.06,
    "explain": 0.06,
}
"""Shares of the whole budget. What is left covers reading, comparing, reporting, and noise of the machine."""
IMAGE_SHARES: Mapping[str, float] = {**SHARES, "memorise": 0.10, "try": 0.12, "regularise": 0.26, "average": 0.22}
"""The same for images, which are learned by heart in few epochs, but gain by many where they are changed at random."""
STREAM_SHARES: Mapping[str, float] = {**SHARES, "memorise": 0.10, "regularise": 0.10, "average": 0.05, "stream": 0.30}
"""The same where the last training goes over more rows than are in memory."""
RESERVE = 0.12
"""Share of the budget that training must leave to the steps after it."""


@dataclass
class Job:
    """What the steps share.

    Args:
        run: the folder. settings: what was asked for. deadline: on `time.monotonic()`'s clock.
    """

    run: Run
    settings: Settings
    deadline: float
    metric: str = ""
    looked: Looked | None = None
    data: Data | None = None
    recipe: Recipe | None = None
    reason: str = ""
    model: Model | None = None
    predictions: dict[str, np.ndarray] = field(default_factory=dict)
    """Baseline -> its predictions of the test rows."""
    valid_predictions: dict[str, np.ndarray] = field(default_factory=dict)
    """Baseline -> its predictions of the validation rows."""

    @property
    def subject(self) -> Subject:
        """What probes may look at."""
        return Subject(self.model, self.recipe, self.data, self.predictions, self.metric)

    @property
    def rows(self) -> Data:
        """The data, once it is there."""
        assert self.data is not None, "the step 'split' makes the data"
        return self.data

    def seconds(self, share: str) -> float:
        """Seconds that a part of the job may take, never past the deadline."""
        left = max(self.deadline - time.monotonic(), 1.0)
        shares = IMAGE_SHARES if self.data is not None and self.data.spec.kind == "image" else SHARES
        shares = STREAM_SHARES if self.settings.streamed else shares
        return min(shares[share] * self.settings.seconds, left)

    @property
    def left(self) -> float:
        """Seconds until all training must have ended; what is left then is for the steps after it."""
        return self.deadline - RESERVE * self.settings.seconds - time.monotonic()

    def tell(self, event: str, **values: Any) -> None:
        """Progress goes to the listener only; everything else is an event of the run."""
        if event != "progress":
            self.run.event(event, **values)
        elif self.run.listener:
            self.run.listener({"event": event, **values})

    def clock(self, name: str, seconds: float) -> Clock:
        """The guard of a training that was planned to take `seconds`."""
        return PlannedClock(self.run, name, time.monotonic() + min(self.left, 1.5 * seconds + 5))

    def late(self, name: str) -> bool:
        """Whether there is no time to begin a training; once said it is part of the plan."""
        key = f"too_late_for/{name}"
        if key not in self.run.plan and self.left > 0:
            return False
        return bool(self.run.decide(key, lambda: True))


class PlannedClock(Clock):
    """A clock whose verdict becomes part of the plan, so that a replay ends at the same step."""

    def __init__(self, run: Run, name: str, deadline: float) -> None:
        self.key, self.run = f"stopped_at_step/{name}", run
        super().__init__(deadline, run.plan.get(self.key))

    def on_step(self, state: State) -> None:
        """Look at the clock."""
        super().on_step(state)
        if state.values.get("stopped_by_clock") == state.step:
            self.run.decide(self.key, lambda: state.step)
