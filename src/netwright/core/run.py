"""A Run is a folder: what was decided, what happened, what was found, and the model that came of it."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from netwright.core.errors import DataError, SetupError, UsageError
from netwright.core.files import read_json, write_json, writing
from netwright.core.finding import Finding

_FINDINGS = TypeAdapter(list[Finding])

Listener = Callable[[dict[str, Any]], None]


def _ends_whole(path: Path) -> bool:
    """Whether a file of lines is absent, empty, or ends with a whole line (a kill may have cut the last one)."""
    if not path.exists() or not path.stat().st_size:
        return True
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _finite(value: Any) -> Any:
    """What JSON can hold: None in place of a number that is not finite, however deep.

    >>> _finite({"loss": float("nan"), "each": [1.0, float("inf")]})
    {'loss': None, 'each': [1.0, None]}
    """
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Run:
    """The folder of one run.

    `settings.json` (what the user asked), `recipe.json`, `plan.json` (choices that were measured), `events.jsonl` (the live
    source of truth), `checkpoints/`, `findings.json`, `summary.json`, `model/`, `report.html`.

    Args:
        folder: an existing run folder; use `Run.create` for a new one.
        listener: called with every event (the terminal's progress).
    """

    def __init__(self, folder: str | Path, listener: Listener | None = None) -> None:
        self.folder = Path(folder)
        self.listener = listener
        if not (self.folder / "settings.json").is_file():
            raise DataError(f"{self.folder} is not a run folder: it has no settings.json")
        self.plan: dict[str, Any] = read_json(self.folder / "plan.json") if (self.folder / "plan.json").exists() else {}
        self._cut = b"" if _ends_whole(self.folder / "events.jsonl") else b"\n"
        self._findings: dict[str, list[Finding]] = {}
        if (self.folder / "findings.json").exists():
            stored = read_json(self.folder / "findings.json")
            try:
                self._findings = {step: _FINDINGS.validate_python(found) for step, found in stored.items()}
            except (ValidationError, AttributeError) as error:
                raise DataError(f"{self.folder / 'findings.json'} does not hold findings: {error}") from error

    @classmethod
    def create(cls, folder: str | Path, settings: dict[str, Any], listener: Listener | None = None) -> Run:
        """Make a new run folder.

        Raises:
            UsageError: the folder exists and is not empty.
            SetupError: it cannot be made.
        """
        folder = Path(folder)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(
                f"{folder} exists already; choose another --out, or continue it with: netwright resume {folder}"
            )
        try:
            (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SetupError(f"cannot make the run folder {folder}: {error.strerror}; choose another --out") from error
        write_json(folder / "settings.json", settings)
        return cls(folder, listener)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Within it no other process may work in this folder; a lock ends with its process, however that ends.

        Raises:
            SetupError: another process is at work in it.
        """
        try:
            import fcntl
        except ImportError:  # no such locks on this system
            yield
            return
        with (self.folder / ".lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise SetupError(
                    f"another process is at work in {self.folder}; wait until it ends, or end it"
                ) from error
            yield

    @property
    def settings(self) -> dict[str, Any]:
        """What the user asked for."""
        settings: dict[str, Any] = read_json(self.folder / "settings.json")
        return settings

    def event(self, event: str, **values: Any) -> None:
        """Append one line to `events.jsonl` and tell the listener; in both, null stands for a number that is not finite."""
        record = {
            "time": round(time.time(), 3),
            "event": event,
            **{name: _finite(value) for name, value in values.items()},
        }
        line = json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        line, self._cut = self._cut + line, b"\n"
        try:
            with (self.folder / "events.jsonl").open("ab") as file:
                file.write(line)
            self._cut = b""
        except OSError as error:
            raise SetupError(
                f"cannot write {self.folder / 'events.jsonl'}: {error.strerror}; free some room"
            ) from error
        if self.listener:
            self.listener(record)

    def events(self) -> list[dict[str, Any]]:
        """All events so far; a last line that was cut by a kill is left out."""
        path = self.folder / "events.jsonl"
        found = []
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else []:
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def decide(self, name: str, measure: Callable[[], Any]) -> Any:
        """The planned value of `name`; where the plan has none yet, measure it once and write it down."""
        if name not in self.plan:
            self.plan[name] = measure()
            write_json(self.folder / "plan.json", self.plan)
        return self.plan[name]

    def add(self, step: str, findings: list[Finding]) -> None:
        """Store the findings of a step (replacing those of an earlier, interrupted attempt)."""
        self._findings[step] = findings
        stored = {s: [json.loads(f.model_dump_json()) for f in found] for s, found in self._findings.items()}
        text = json.dumps(stored, ensure_ascii=False, allow_nan=False)
        with writing(self.folder / "findings.json") as temporary:
            temporary.write_text(text, encoding="utf-8")
        for finding in findings:
            self.event("finding", step=step, probe=finding.probe, verdict=finding.verdict, title=finding.title)

    @property
    def findings(self) -> dict[str, list[Finding]]:
        """Findings by step, in the order in which the steps ended."""
        return dict(self._findings)

    def has(self, step: str) -> bool:
        """Whether the findings of a step are stored."""
        return step in self._findings
