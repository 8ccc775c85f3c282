"""From settings to labelled, split, encoded rows: the steps "look" and "split", the same in a run, a resume and a later probe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from netwright.core.errors import DataError, UsageError
from netwright.core.finding import Finding, Table
from netwright.core.run import Listener
from netwright.core.spec import ColumnKind, Task
from netwright.data.data import PARTS, Data, Part
from netwright.data.encode import fit_inputs, fit_target
from netwright.data.grouped import Grouped, keyed, look_grouped
from netwright.data.images import is_images
from netwright.data.infer import Guess, infer_kinds, infer_task, pick_column
from netwright.data.kinds import KINDS, kind_of_cells
from netwright.data.read import Look, look
from netwright.data.series import gaps_in
from netwright.data.series_rows import Steps, gather, told
from netwright.data.split import plan_split
from netwright.workflow.settings import Settings

USED: tuple[ColumnKind, ...] = ("number", "integer", "date", "category", "text", "image", *KINDS)
"""Kinds of column that go into a network."""


@dataclass(frozen=True)
class Looked:
    """What a first look at the file gave.

    Args:
        frame: all rows and columns. guesses: column -> kind and reason.
        task: of the target. reason: why that task.
        warnings: sentences for the user.
        format: of the file.
        steps: how rows were gathered to series; None where they were not.
        sets: how rows were grouped to sets; None where they were not.
    """

    frame: pl.DataFrame
    guesses: Mapping[str, Guess]
    task: Task
    reason: str
    warnings: tuple[str, ...]
    format: str
    steps: Steps | None = None
    sets: Grouped | None = None

    @property
    def kinds(self) -> dict[str, ColumnKind]:
        """Kinds of the columns that go into the network."""
        return {name: guess.kind for name, guess in self.guesses.items() if guess.kind in USED}


def read(settings: Settings, listener: Listener | None = None) -> Look:
    """The data as they stand in their file or folder; the listener is told how many files have been looked at."""

    def progress(done: int, total: int) -> None:
        if listener:
            listener({"event": "progress", "step": "look", "done": done, "total": total, "text": "files"})

    images, series = ([n for n, kind in settings.kinds.items() if kind == asked] for asked in ("image", "series"))
    volumes = "volume" in settings.kinds.values()
    return look(settings.data, images=images, series=series, volumes=volumes, progress=progress)


def completed(settings: Settings, seen: Look) -> Settings:
    """The settings with what the data say themselves where the user said nothing: images know their label and their split.

    Raises:
        UsageError: nobody says what is to be predicted.
    """
    if not settings.target and seen.target is None:
        raise UsageError(
            "say which column is to be predicted: --target COLUMN; the columns are: "
            + ", ".join(seen.frame.columns[:20])
        )
    ways = settings.split_column or settings.group or settings.time
    return settings.model_copy(
        update={
            "target": settings.target or seen.target,
            "split_column": settings.split_column if ways else seen.split_column,
            "kinds": {**seen.kinds, **settings.kinds},
        }
    )


def look_at(settings: Settings, looked: Look | None = None) -> Looked:
    """Read the file (unless it has been read), guess the kinds of its columns and the task.

    Raises:
        DataError: the file, the target or a named column is not as it must be.
    """
    looked = looked or read(settings)
    frame = looked.frame
    pick_column(frame, settings.target, "target column")
    roles = [c for c in (settings.group, settings.time, settings.split_column) if c]
    for column in (*settings.drop, *roles):
        pick_column(frame, column)
    steps, warnings = Steps("", labels=looked.labels) if looked.labels else None, looked.warnings
    if settings.series_by:
        frame, steps, warnings = _gathered(frame, settings, warnings)
    sets, kinds, drop = None, dict(settings.kinds), settings.drop
    if settings.set_by:
        looked = replace(looked, frame=frame.drop(drop))
        looked, sets = look_grouped(looked, settings.set_by, kinds=kinds, rows=[settings.target, *roles])
        frame, drop, warnings = looked.frame, (), looked.warnings
    known = {*(steps.labels if steps else ()), *(sets.elements if sets else ())}
    kinds = {name: kind for name, kind in kinds.items() if name not in known}
    task, reason = infer_task(frame[settings.target], settings.task)
    others = {settings.target, settings.split_column, settings.group}
    inputs = frame.drop([c for c in frame.columns if c in others or c in drop])
    guesses = infer_kinds(inputs, kinds, target=settings.target)
    told_of = [*warnings, *(w for guess in guesses.values() for w in guess.warnings)]
    unused = [f"{name} ({guess.kind})" for name, guess in guesses.items() if guess.kind not in USED]
    if unused:
        told_of.append(f"left out: {', '.join(unused)}; use one with --kind NAME=category")
    if not any(guess.kind in USED for guess in guesses.values()):
        raise DataError(
            "no column is left to learn from: every one is the target, dropped, or "
            + ", ".join(sorted({g.kind for g in guesses.values()}))
        )
    told_of += [w for name, guess in guesses.items() if guess.kind == "series" for w in gaps_in(frame[name])]
    return Looked(frame, guesses, task, reason, tuple(told_of), looked.format, steps, sets)


def _gathered(
    frame: pl.DataFrame, settings: Settings, warnings: tuple[str, ...]
) -> tuple[pl.DataFrame, Steps, tuple[str, ...]]:
    """A frame of series instead of their steps; the key goes, for it is no input, unless it is that of groups."""
    assert settings.series_by is not None
    roles = [settings.target, *filter(None, (settings.group, settings.time, settings.split_column))]
    constant = tuple(dict.fromkeys(c for c in roles if c != settings.series_by))
    asked = Steps(settings.series_by, settings.series_order or "", constant=constant, ignored=settings.drop)
    found = gather(frame, asked)
    frame = found.frame if settings.series_by in roles else found.frame.drop(settings.series_by)
    return frame, found.steps, (*warnings, *found.warnings)


def look_finding(looked: Looked, settings: Settings) -> Finding:
    """The table of columns with their guessed kinds, and how to overrule a guess."""
    rows = []
    for name, guess in looked.guesses.items():
        column = looked.frame[name]
        rows.append((name, guess.kind, guess.reason, *_cells(column)))
    n_used = len(looked.kinds)
    return Finding(
        probe="columns",
        family="look",
        verdict="warn" if looked.warnings else "info",
        title=f"{len(looked.frame):,} rows, {n_used} of {len(rows)} columns used; {settings.target}: {looked.task} ({looked.reason})",
        measured={
            "rows": len(looked.frame),
            "columns": len(rows),
            "used": n_used,
            "task": looked.task,
            "format": looked.format,
        },
        why="Everything that follows depends on what each column means; a wrong guess here is the cheapest mistake to mend.",
        todo=" ".join(f"{w[0].upper()}{w[1:]}." for w in looked.warnings)
        + " A guess is overruled with --kind NAME=KIND, --drop NAME or --task TASK.",
        tables=(
            Table(
                title="Columns and their guessed kinds",
                columns=("column", "kind", "reason", "different", "missing", "examples"),
                rows=tuple(rows),
            ),
        ),
    )


def _cells(column: pl.Series) -> tuple[int | None, int, str]:
    """Different cells, missing cells, and a few of them; of arrays only their shape."""
    if is_images(column):
        return None, column.null_count(), str(column.dtype)
    if whole := kind_of_cells(column):
        return None, column.null_count(), whole.describe(column)
    some = column.drop_nulls().head(200).unique(maintain_order=True).head(3)
    return (
        column.n_unique(),
        column.null_count(),
        ", ".join(str(v)[-20:] if len(str(v)) > 60 else str(v)[:20] for v in some),
    )


def split_and_encode(looked: Looked, settings: Settings, split: Mapping[Part, np.ndarray] | None = None) -> Data:
    """Split the rows (unless a split is given) and fit the specs on the training rows.

    Raises:
        DataError: the rows cannot be split as asked.
    """
    how = ""
    if split is None:
        planned = plan_split(
            looked.frame,
            target=settings.target,
            task=looked.task,
            seed=settings.seed,
            split_column=settings.split_column,
            group=settings.group,
            time=settings.time,
        )
        split, how = planned.rows, planned.how
    train = looked.frame[split["train"]]
    spec = told(fit_inputs(train, looked.kinds, lemmas=settings.lemmas), looked.steps)
    if looked.sets is not None and settings.set_by:
        spec = keyed(spec, settings.set_by, looked.sets.name)
    target = fit_target(train[settings.target], looked.task)
    name = Path(settings.given).name.split(".")[0]
    frame = looked.frame.drop(settings.split_column) if settings.split_column else looked.frame
    return Data(frame, spec, target, split, name=name, how=how)


def split_finding(data: Data, settings: Settings) -> Finding:
    """How many rows train, validate and test, and the target in each part."""
    sizes = {part: len(data.split[part]) for part in PARTS}
    if data.target.is_number:
        columns: tuple[str, ...] = ("part", "rows", "mean", "standard deviation", "lowest", "highest")
        rows = [
            (p, sizes[p], *(float(f(data.y(p))) if sizes[p] else None for f in (np.mean, np.std, np.min, np.max)))
            for p in PARTS
        ]
    else:
        shown = data.target.classes[:20]
        columns = ("part", "rows", *(f"share of {c}" for c in shown))
        rows = [
            (p, sizes[p], *(float((data.y(p) == i).mean()) if sizes[p] else None for i in range(len(shown))))
            for p in PARTS
        ]
    return Finding(
        probe="split",
        family="split",
        verdict="info",
        title=f"{sizes['train']:,} rows train, {sizes['valid']:,} validate, {sizes['test']:,} test ({data.how})",
        measured={**sizes, "fingerprint": data.fingerprint},
        why="Everything is fitted on training rows and chosen on validation rows; test rows are used once, at the end.",
        tables=(Table(title="The target in each part", columns=columns, rows=tuple(rows)),),
        seed=settings.seed,
    )
