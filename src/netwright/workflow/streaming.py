"""Tables larger than memory: every step works on a sample, and the recipe that was kept is trained on all rows at the end."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from netwright.core.errors import UsageError
from netwright.core.finding import Finding, Table
from netwright.data.data import Data
from netwright.data.look import Look
from netwright.data.memory import SHARE, in_words, memory
from netwright.data.parquet import ParquetTable, parquet_files
from netwright.data.parts import PartRule
from netwright.data.sample import draw
from netwright.data.stream import ParquetStream
from netwright.losses.metrics import greater_is_better
from netwright.workflow.bench import Trial, Workbench
from netwright.workflow.plans import StreamPlan
from netwright.workflow.settings import Settings, Streamed
from netwright.workflow.stages import learning_figure


def long_table(settings: Settings) -> ParquetTable | None:
    """The table, where it is to stay on disk: as `--stream` says, else where its cells take more than a quarter of the memory.

    Raises:
        UsageError: it is to stream and cannot.
        DataError, SetupError: as of `ParquetTable`.
    """
    files = parquet_files(Path(settings.data))
    if settings.stream is False or (not files and not settings.stream):
        return None
    if not files:
        raise UsageError(
            f"--stream: {settings.data} is no Parquet file, nor a folder of them; save the table as Parquet first"
        )
    by = ("group", "time", "series_by", "set_by")
    table, ways = ParquetTable(settings.data), [w for w in by if getattr(settings, w)]
    if settings.stream is None and (table.n_bytes <= memory() // SHARE or ways):
        return None
    if ways:
        raise UsageError(
            f"--stream and --{ways[0].replace('_', '-')} were given together, but a row of a table that streams cannot see the others"
            + ("" if ways[0] in ("series_by", "set_by") else "; name the parts in a column: --split-column COLUMN")
        )
    return table


def sampled(settings: Settings, table: ParquetTable) -> tuple[Settings, Look]:
    """A sample with a column that names the parts, and the settings of a run on it.

    Raises:
        UsageError: no target is named. DataError: as of `draw`.
    """
    if not settings.target:
        raise UsageError(
            "say which column is to be predicted: --target COLUMN; the columns are: "
            + ", ".join(list(table.schema)[:20])
        )
    sample = draw(table, settings.target, seed=settings.seed, split_column=settings.split_column)
    streamed = Streamed(
        path=settings.data, valid=sample.rule.valid, test=sample.rule.test, split_column=settings.split_column
    )
    sizes = dict(sample.frame[sample.part].value_counts().iter_rows())
    note = (
        f"{len(table):,} rows ({in_words(table.n_bytes)} in memory) stay on disk: everything but the last training works on a "
        f"sample of {sizes.get('train', 0):,} of {sample.n_train:,} training rows; {sizes.get('valid', 0):,} rows validate, "
        f"{sizes.get('test', 0):,} test"
    )
    look = Look(sample.frame, (note, *sample.warnings), "Parquet, sampled", split_column=sample.part)
    return settings.model_copy(update={"streamed": streamed, "split_column": None}), look


def open_stream(settings: Settings, data: Data) -> ParquetStream:
    """All training rows of a run whose data is a sample, encoded as the sample is."""
    streamed = settings.streamed
    assert streamed is not None
    rule = PartRule(settings.target, settings.seed, streamed.valid, streamed.test, streamed.split_column)
    return ParquetStream(ParquetTable(streamed.path), rule, data.spec, data.target)


def train_on_stream(bench: Workbench, source: ParquetStream, best: Trial, plan: StreamPlan) -> tuple[Trial, Finding]:
    """The recipe that was kept, trained on all rows; that network becomes the model if its validation metric is better."""
    source.shards = plan.shards
    recipe = best.recipe.single.with_training(epochs=plan.epochs, patience=max(4, plan.epochs // 2), stop_error=None)
    passes = plan.epochs / plan.shards
    bench.tell("note", text=f"all {source.n_rows:,} training rows, from disk: at most {passes:.2g} passes")
    bench = replace(bench, data=replace(bench.data, stream=source))
    what = f"{source.n_rows:,} rows that stream"
    trial = bench.train("stream", what, recipe, plan.epoch_seconds * plan.epochs)
    sign = -1.0 if greater_is_better(bench.metric) else 1.0
    gain = sign * (best.value - trial.value)
    kept = math.isfinite(trial.value) and not gain <= 0
    finding = Finding(
        probe="train-on-all-rows",
        family="train",
        verdict="pass" if kept else "info",
        title="no time for one epoch on all rows"
        if not trial.history.rows
        else f"trained on {source.n_rows:,} rows: validation {bench.metric} {trial.value:.4g}, on the sample {best.value:.4g}",
        measured={
            "train_rows": source.n_rows,
            "rows_seen": len(trial.history.rows) * len(source),
            f"valid_{bench.metric}": trial.value,
            "gain": gain,
            "kept": kept,
        },
        expected="a better validation metric than the sample gives",
        why="More rows teach more, where the network is large enough and the time suffices to see them.",
        todo=""
        if kept
        else "Give it more time with --minutes: one pass over all rows takes "
        f"{plan.epoch_seconds * plan.shards:,.0f} s.",
        tables=(
            Table(
                title="Sample and all rows",
                columns=("trained on", f"validation {bench.metric}", "rows seen", "decision"),
                rows=(
                    (
                        "the sample",
                        best.value,
                        len(best.history.rows) * len(bench.data.split["train"]),
                        "" if kept else "kept",
                    ),
                    ("all rows", trial.value, len(trial.history.rows) * len(source), "kept" if kept else "dropped"),
                ),
            ),
        ),
        figures=(learning_figure("Training on all rows", trial.history, bench.metric),),
        reference="Banko and Brill (2001), Scaling to very very large corpora for natural language disambiguation",
        seed=bench.seed,
    )
    return (trial if kept else best), finding
