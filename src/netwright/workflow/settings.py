"""What `netwright run` was asked for: frozen, checked, stored as `settings.json`."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from netwright.core.errors import unknown
from netwright.core.frozen import Frozen
from netwright.core.spec import ColumnKind, Task
from netwright.train.precision import Precision

STEPS = ("look", "split", "baselines", "design", "check", "train", "compare", "attack", "explain", "report")
Tracker = Literal["tensorboard", "mlflow"]
SKIPPABLE = ("baselines", "check", "attack", "explain")


class Streamed(Frozen):
    """Where the rows are of which a run's data is a sample, and how their parts are told (see `data.parts.PartRule`)."""

    path: str
    valid: float
    test: float
    split_column: str | None = None


class Settings(Frozen):
    """Settings of a run.

    Args:
        data: path of the table, or of the images. target: the column to predict; empty where the data say it.
        minutes: bound of the whole run.
        metric: drives every choice; None for log loss or RMSE.
        seed: of splits, weights, orders and probes.
        kinds: column -> kind, where the guess is not right.
        drop: columns to leave out.
        task: where the guess is not right.
        group: column whose equal values stay in one part. time: column by which the newest rows become the test part.
        split_column: column that names each row's part.
        series_by: column whose equal values make one series of several rows of the table. series_order: column that orders its steps.
        template: of the network, or the name of a recipe, in place of the designed one.
        set_by: column whose equal values make one set of several rows of the table.
        skip: steps to leave out.
        quick: a small budget, the same steps.
        force: go on after a failed gate.
        members: networks that are averaged; None for as many as there is time for, up to five.
        restarts: starts of the kept recipe of which the best is kept instead. folds: cross-validate the kept recipe so often.
        lemmas: language in whose base forms words are counted ("en"); empty for words as they are; needs the extra `lemma`.
        device: where networks are trained: "cpu", an accelerator such as "cuda", or "auto".
        threads, precision, compile: how trainings are computed (`compile`: the steps of the first stage); None for what is fastest.
        track: where the curves of all trainings go as well; needs the extra `track`.
        stream: leave the rows of a Parquet table on disk; None where they take more than a quarter of the memory.
        streamed: set by the run where they do: `data` is then a sample.
    """

    data: str
    target: str = ""
    minutes: float = Field(default=10.0, gt=0)
    metric: str | None = None
    seed: int = Field(default=0, ge=0)
    kinds: dict[str, ColumnKind] = {}
    drop: tuple[str, ...] = ()
    task: Task | None = None
    group: str | None = None
    time: str | None = None
    split_column: str | None = None
    series_by: str | None = None
    series_order: str | None = None
    template: str | None = None
    set_by: str | None = None
    skip: tuple[str, ...] = ()
    quick: bool = False
    force: bool = False
    members: int | None = Field(default=None, ge=1, le=64)
    restarts: int | None = Field(default=None, ge=2, le=64)
    folds: int | None = Field(default=None, ge=2, le=20)
    lemmas: str = ""
    device: str = "cpu"
    threads: int | None = Field(default=None, ge=1, le=1024)
    precision: Precision | None = None
    compile: bool | None = None
    track: tuple[Tracker, ...] = ()
    stream: bool | None = None
    streamed: Streamed | None = None

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        for step in self.skip:
            if step not in SKIPPABLE:
                reason = "cannot be left out" if step in STEPS else "is no step: " + unknown("step", step, SKIPPABLE)
                raise ValueError(f"--skip {step}: {step!r} {reason}; steps that can: {', '.join(SKIPPABLE)}")
        ways = [w for w in ("split_column", "group", "time") if getattr(self, w)]
        if "split_column" in ways and len(ways) > 1:
            raise ValueError(
                "--split-column already says which rows are tested, so --group and --time cannot; give one of them"
            )
        if self.members and self.restarts:
            raise ValueError("--members averages several starts, --restarts keeps the best of them; give one of both")
        if self.folds and (self.group or self.time):
            raise ValueError("--folds draws rows at random, which --group and --time forbid; leave --folds out")
        if self.series_order and not self.series_by:
            raise ValueError(
                "--series-order orders the steps of series, so --series-by must say which rows make one; give both"
            )
        if self.series_by and self.series_by in (*self.drop, self.target, self.series_order):
            raise ValueError(f"--series-by {self.series_by}: the key can have no other part; name another column")
        if self.set_by and self.set_by in (*self.drop, self.target, self.group, self.time, self.split_column):
            raise ValueError(f"--set-by {self.set_by}: the key of the sets can have no other part; name another column")
        if self.target and self.target in self.drop:
            raise ValueError(f"--drop {self.target}: the target cannot be dropped")
        return self

    @property
    def way(self) -> dict[str, Any]:
        """What was asked for of how trainings are computed, by the names of `train.way.Way`."""
        asked = {"threads": self.threads, "precision": self.precision, "compiled": self.compile}
        return {name: value for name, value in asked.items() if value is not None}

    @property
    def given(self) -> str:
        """Path of the data as the user gave it."""
        return self.streamed.path if self.streamed else self.data

    @property
    def seconds(self) -> float:
        """Bound of the whole run in seconds; a quick run takes at most one minute."""
        return min(self.minutes, 1.0) * 60 if self.quick else self.minutes * 60
