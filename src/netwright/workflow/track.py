"""Curves elsewhere: a run's events, passed on to writers (`workflow/writers.py`), each number once, however often a run is resumed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from netwright.core.errors import SetupError
from netwright.core.files import read_json
from netwright.core.run import Run
from netwright.workflow.settings import Tracker
from netwright.workflow.writers import MLflow, TensorBoard, Value, Writer

WRITERS: Mapping[Tracker, Callable[[Path], Writer]] = {"tensorboard": TensorBoard, "mlflow": MLflow}
MODULES: Mapping[Tracker, tuple[str, ...]] = {
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
}
"""What the extra `track` installs for each."""
NO_NUMBER = ("time", "epoch", "step")
"""Of an epoch's event: what is the axis of its curves."""


def require(names: Sequence[str]) -> None:
    """Refuse what is not installed.

    Raises:
        SetupError: with what to install.
    """
    for name, modules in MODULES.items():
        missing = [m for m in modules if importlib.util.find_spec(m) is None] if name in names else []
        if missing:
            raise SetupError(
                f"--track {name} needs {' and '.join(missing)}, which this Python does not have; "
                "install what is missing: pip install 'netwright[track]'"
            )


@contextmanager
def tracked(run: Run, names: Sequence[Tracker]) -> Iterator[None]:
    """Within it the run's events go to the named writers too, those of before an interruption first.

    A writer that fails is left out with a warning: a training is worth more than its curves, and `resume` fills them in.

    Raises:
        SetupError: a writer cannot begin.
    """
    listener, past = run.listener, run.events() if names else []
    receivers: dict[str, Receiver] = {name: _opened(run, name) for name in dict.fromkeys(names)}

    def tell(name: str, what: Any, *arguments: Any) -> None:
        try:
            what(*arguments)
        except Exception as error:  # what a client of a server may raise is not ours to list
            receivers.pop(name, None)
            run.event("warning", text=f"nothing more goes to {name}: {_line(error)}; netwright resume fills it in")

    def everybody(event: dict[str, Any]) -> None:
        if listener:
            listener(event)
        for name, receive in list(receivers.items()):
            tell(name, receive, event)

    for event in past:
        for name, receive in list(receivers.items()):
            tell(name, receive, event)
    run.listener, status = everybody, "FAILED"
    try:
        yield
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        for name, receive in list(receivers.items()):
            tell(name, receive.writer.close, status)
        run.listener = listener


def _opened(run: Run, name: Tracker) -> Receiver:
    try:
        return Receiver(run.folder, WRITERS[name](run.folder))
    except Exception as error:
        raise SetupError(
            f"--track {name} cannot begin: {_line(error)}; mend that and go on with: netwright resume {run.folder}, "
            f"or start another run without --track {name}"
        ) from error


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


class Receiver:
    """Receives the events of a run, in any number of attempts, and has a writer write each number once."""

    def __init__(self, folder: Path, writer: Writer) -> None:
        self.folder, self.writer = folder, writer
        self._there: dict[str, set[tuple[str, int]]] = {}

    def __call__(self, event: Mapping[str, Any]) -> None:
        """One event; those of no interest are passed over."""
        if event["event"] == "training" and event["stage"] not in self._there:
            self._there[event["stage"]] = self.writer.there(event["stage"])
            self.writer.training(event["stage"], event["change"], dict(flat(event["recipe"])), event["metric"])
        elif event["event"] == "epoch" and event["stage"] in self._there:
            there, epoch = self._there[event["stage"]], int(event["epoch"])
            numbers = {k: float(v) for k, v in event.items() if isinstance(v, int | float) and k not in NO_NUMBER}
            numbers = {k: v for k, v in numbers.items() if (k, epoch) not in there}
            there |= {(name, epoch) for name in numbers}
            if numbers:
                self.writer.epoch(event["stage"], epoch, event["time"], numbers)
        elif event["event"] == "run_done":
            asked, recipe = (read_json(self.folder / f"{name}.json") for name in ("settings", "recipe"))
            settings = {**{k: str(v) for k, v in asked.items()}, **dict(flat(recipe, "recipe."))}
            scores = scores_of(read_json(self.folder / "summary.json"))
            self.writer.result(settings, scores, self.folder / "report.html")


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Value]]:
    """Settings within settings as single values; what is not set as text.

    >>> dict(flat({"name": "x", "training": {"epochs": 3, "average": None}}))
    {'name': 'x', 'training.epochs': 3, 'training.average': 'None'}
    """
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value if isinstance(value, bool | int | float | str) else str(value)


def scores_of(summary: Mapping[str, Any]) -> dict[str, float]:
    """The scores on the test rows in a `summary.json`, with the ends of their intervals.

    >>> scores_of({"network": {"network": {"mae": {"value": 2.0, "low": 1.5, "high": 2.5}}}, "baselines": {}})
    {'test/network/mae': 2.0, 'test/network/mae/low': 1.5, 'test/network/mae/high': 2.5}
    """
    return {
        f"test/{who}/{metric}" + ("" if end == "value" else f"/{end}"): float(score[end])
        for who, found in {**summary["network"], **summary["baselines"]}.items()
        for metric, score in found.items()
        for end in ("value", "low", "high")
        if score.get(end) is not None
    }
