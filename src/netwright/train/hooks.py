"""Hooks that watch: checkpoints, the clock, progress, and the base of all. Each does one thing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from netwright.train.checkpoint import save_checkpoint
from netwright.train.state import State


class Quiet:
    """A hook that does nothing: the base of those that act on a few occasions."""

    def on_start(self, state: State) -> None:
        """Nothing."""

    def on_step(self, state: State) -> None:
        """Nothing."""

    def on_epoch(self, state: State) -> None:
        """Nothing."""

    def on_end(self, state: State) -> None:
        """Nothing."""


class Checkpoint(Quiet):
    """Stores the state every few seconds and at the end. When it is stored has no influence on what is computed."""

    def __init__(self, path: Path, every_seconds: float = 5.0) -> None:
        self.path, self.every = path, every_seconds
        self.last = time.monotonic()

    def on_step(self, state: State) -> None:
        """Store, if it is time."""
        if time.monotonic() - self.last >= self.every and state.step % state.steps_per_epoch:
            save_checkpoint(self.path, state)
            self.last = time.monotonic()

    def on_epoch(self, state: State) -> None:
        """Store, if it is time; must come last among the hooks."""
        if time.monotonic() - self.last >= self.every:
            save_checkpoint(self.path, state)
            self.last = time.monotonic()

    def on_end(self, state: State) -> None:
        """Store the end, so that a finished training is not done again."""
        save_checkpoint(self.path, state)


class Clock(Quiet):
    """A guard: ends a training at a deadline and says so. Plans are made to need it never.

    Args:
        deadline: on `time.monotonic()`'s clock.
        steps: a step at which an earlier attempt was ended by the clock; a replay ends there too.
    """

    def __init__(self, deadline: float, steps: int | None = None) -> None:
        self.deadline, self.steps = deadline, steps

    def on_step(self, state: State) -> None:
        """Look at the clock."""
        late = time.monotonic() >= self.deadline if self.steps is None else state.step >= self.steps
        if late and not state.stop:
            state.stop = f"out of time at step {state.step} of {state.total_steps}"
            state.values["stopped_by_clock"] = state.step


def _mean(value: Any, live: Sequence[int]) -> Any:
    """Of a list the mean of the live members' finite values, NaN where there is none."""
    if not isinstance(value, list):
        return value
    finite = [v for v in (float(value[k]) for k in live) if math.isfinite(v)]
    return sum(finite) / len(finite) if finite else math.nan


class Report(Quiet):
    """Passes each epoch's row (of a stack the means over the members that still train), and now and then the step, to a function."""

    def __init__(
        self, on_row: Callable[[dict[str, Any]], None], on_progress: Callable[[int, int], None] | None = None
    ) -> None:
        self.on_row, self.on_progress = on_row, on_progress
        self.last = 0.0

    def on_step(self, state: State) -> None:
        """At most five times a second."""
        if self.on_progress is not None and time.monotonic() - self.last > 0.2:
            self.last = time.monotonic()
            self.on_progress(state.step, state.total_steps)

    def on_epoch(self, state: State) -> None:
        """Every row."""
        self.on_row({name: _mean(value, state.live) for name, value in state.row.items()})
