"""Where the numbers of a run may go: TensorBoard's event files, MLflow's runs. Neither is imported before it is asked for."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from netwright.core.files import read_json, write_json

Value = bool | int | float | str
Numbers = Mapping[str, float]

TOGETHER = 100
"""Numbers or settings that MLflow gets in one request; it takes no more settings than that."""


class Writer(Protocol):
    """Where the numbers of one run go; a training is called by its stage."""

    def there(self, stage: str) -> set[tuple[str, int]]:
        """The names and epochs of the numbers that are there already, from before an interruption."""

    def training(self, stage: str, about: str, settings: Mapping[str, Value], metric: str) -> None:
        """A training begins."""

    def epoch(self, stage: str, epoch: int, when: float, numbers: Numbers) -> None:
        """One epoch is over, at `when` seconds since 1970."""

    def result(self, settings: Mapping[str, Value], scores: Numbers, report: Path) -> None:
        """The run is over: its recipe, its scores on the test rows, its report."""

    def close(self, status: str) -> None:
        """Write what is left. The status is FINISHED, FAILED or KILLED."""


class TensorBoard:
    """Event files below RUN/tensorboard: a folder for each training, the scores beside them.

    Source: Abadi et al. (2016), "TensorFlow: A System for Large-Scale Machine Learning"; written by torch's `SummaryWriter`.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._make: Any = SummaryWriter
        self.folder = folder / "tensorboard"
        self._open: dict[str, Any] = {}

    def there(self, stage: str) -> set[tuple[str, int]]:
        """Read back from the folder of the training."""
        if not (self.folder / stage).is_dir():
            return set()
        from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

        stored = EventAccumulator(str(self.folder / stage), size_guidance={SCALARS: 0}).Reload()
        return {(name, scalar.step) for name in stored.Tags()[SCALARS] for scalar in stored.Scalars(name)}

    def training(self, stage: str, about: str, settings: Mapping[str, Value], metric: str) -> None:
        """The settings, for the table of hyperparameters, and the metric that they are compared by."""
        if (self.folder / stage).is_dir():
            return
        self._file(stage).add_text("about", about, 0)
        self._settings(stage, settings, [f"valid_{metric}"])

    def _settings(self, stage: str, settings: Mapping[str, Value], metrics: Sequence[str]) -> None:
        from torch.utils.tensorboard.summary import hparams

        for part in hparams(dict(settings), dict.fromkeys(metrics, 0.0)):  # type: ignore[no-untyped-call]
            self._file(stage).file_writer.add_summary(part)

    def epoch(self, stage: str, epoch: int, when: float, numbers: Numbers) -> None:
        """A point of each curve."""
        for name, value in numbers.items():
            self._file(stage).add_scalar(name, value, epoch, walltime=when)

    def result(self, settings: Mapping[str, Value], scores: Numbers, report: Path) -> None:
        """Scores as points at 0."""
        if not self.there("result"):
            self._settings("result", settings, list(scores))
            self.epoch("result", 0, time.time(), scores)

    def close(self, status: str) -> None:
        """Write what waits, and close the files."""
        for file in self._open.values():
            file.close()

    def _file(self, stage: str) -> Any:
        if stage not in self._open:
            self._open[stage] = self._make(str(self.folder / stage), flush_secs=5)
        return self._open[stage]


class MLflow:
    """A run of MLflow with a run below it for each training: at MLFLOW_TRACKING_URI where that is set, else in RUN/mlflow.db.

    Source: Zaharia et al. (2018), "Accelerating the Machine Learning Lifecycle with MLflow".
    """

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # seven take minutes, in which nothing is trained
        import mlflow
        from mlflow.entities import Metric, Param

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        self._metric, self._param = Metric, Param
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        self.client = mlflow.MlflowClient(uri or f"sqlite:///{(folder / 'mlflow.db').absolute()}")
        self.experiment = self._experiment(None if uri else (folder / "mlflow").absolute().as_uri())
        self.parent = self._parent(folder / "mlflow.json", folder.resolve().name)
        below = self.client.search_runs([self.experiment], f"tags.mlflow.parentRunId = '{self.parent}'")
        self.runs = {r.info.run_name: r.info.run_id for r in below}
        self._running = {r.info.run_name for r in below if r.info.status == "RUNNING"}
        self._waiting: list[tuple[str, Any]] = []
        self._last = time.monotonic()

    def _experiment(self, artifacts: str | None) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "netwright")
        found = self.client.get_experiment_by_name(name)
        return str(found.experiment_id if found else self.client.create_experiment(name, artifacts))

    def _parent(self, place: Path, name: str) -> str:
        """The run of before an interruption where this store has it, or else a new one."""
        from mlflow.exceptions import MlflowException

        if place.exists():
            try:
                run = self.client.get_run(str(read_json(place)["run_id"])).info.run_id
                self.client.update_run(run, status="RUNNING")
                return str(run)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
        made = self.client.create_run(self.experiment, run_name=name).info.run_id
        write_json(place, {"run_id": made})
        return str(made)

    def there(self, stage: str) -> set[tuple[str, int]]:
        """Asked of the store."""
        run = self.runs.get(stage)
        if run is None:
            return set()
        names = self.client.get_run(run).data.metrics
        return {(name, metric.step) for name in names for metric in self.client.get_metric_history(run, name)}

    def training(self, stage: str, about: str, settings: Mapping[str, Value], metric: str) -> None:
        """A run below the run, with the settings as parameters; trainings come one after the other."""
        self._end(self._running - {stage}, "FINISHED")
        if stage not in self.runs:
            tags = {"mlflow.parentRunId": self.parent, "mlflow.note.content": about, "metric": f"valid_{metric}"}
            self.runs[stage] = self.client.create_run(self.experiment, run_name=stage, tags=tags).info.run_id
            self._running.add(stage)
            self._params(self.runs[stage], settings)

    def _params(self, run: str, settings: Mapping[str, Value]) -> None:
        params = [self._param(name, str(value)) for name, value in settings.items()]
        for k in range(0, len(params), TOGETHER):
            self.client.log_batch(run, params=params[k : k + TOGETHER])

    def epoch(self, stage: str, epoch: int, when: float, numbers: Numbers) -> None:
        """A point of each curve; points are sent together every two seconds."""
        if stage not in self._running:  # it was interrupted
            self.client.update_run(self.runs[stage], status="RUNNING")
            self._running.add(stage)
        for name, value in numbers.items():
            self._waiting.append((self.runs[stage], self._metric(name, value, int(1000 * when), epoch)))
        if time.monotonic() - self._last > 2 or len(self._waiting) >= TOGETHER:
            self._write()

    def _write(self) -> None:
        waiting, self._waiting, self._last = self._waiting, [], time.monotonic()
        for run in dict.fromkeys(run for run, _ in waiting):
            metrics = [metric for of, metric in waiting if of == run]
            for k in range(0, len(metrics), TOGETHER):
                self.client.log_batch(run, metrics=metrics[k : k + TOGETHER])

    def result(self, settings: Mapping[str, Value], scores: Numbers, report: Path) -> None:
        """Parameters and scores of the run itself, and its report as an artifact."""
        there, now = self.client.get_run(self.parent).data, int(1000 * time.time())
        self._params(self.parent, {k: v for k, v in settings.items() if k not in there.params})
        new = [self._metric(name, value, now, 0) for name, value in scores.items() if name not in there.metrics]
        self.client.log_batch(self.parent, metrics=new)
        self.client.log_artifact(self.parent, str(report))

    def close(self, status: str) -> None:
        """Send what waits, and end the runs."""
        self._end(self._running, status)
        self.client.set_terminated(self.parent, status)

    def _end(self, stages: set[str], status: str) -> None:
        self._write()
        for stage in stages:
            self.client.set_terminated(self.runs[stage], status)
        self._running = self._running - stages
