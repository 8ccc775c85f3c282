"""A table larger than memory: how much memory an epoch over 20 million rows takes, and what streaming costs in speed."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from benchmarks.main_job import timed
from benchmarks.results import Result, Row, spread
from netwright.core.errors import SetupError
from netwright.core.files import writing
from netwright.core.spec import ColumnKind
from netwright.data.batch import Block, Source
from netwright.data.data import Data
from netwright.data.encode import fit_inputs, fit_target
from netwright.data.parquet import ParquetTable
from netwright.data.sample import draw
from netwright.data.stream import ParquetStream
from netwright.recipes.recipe import Recipe
from netwright.train.loop import train

ROWS, PIECE, NUMBERS = 20_000_000, 1_000_000, 20
PART_ROWS, REPEATS = 1_000_000, 5
FOLDER = Path(__file__).resolve().parent.parent / "build" / "streaming"
RECIPE = Recipe(
    name="streaming", template="residual-mlp", options={"width": 64, "depth": 1, "number_dim": 4}, loss="cross-entropy"
).with_training(batch_size=1024, epochs=1)


def made(rows: int) -> Path:
    """A Parquet file of so many rows: 20 numbers, two categories, and a target of two classes that depends on them."""
    path = FOLDER / f"{rows}.parquet"
    if path.is_file():
        return path
    pieces = FOLDER / "pieces"
    pieces.mkdir(parents=True, exist_ok=True)
    for k in range(rows // PIECE):
        rng = np.random.default_rng([0, k])
        x = rng.standard_normal((NUMBERS, PIECE), dtype=np.float32)
        shop, town = rng.integers(0, 20, PIECE), rng.integers(0, 1000, PIECE)
        score = x[0] * x[1] + np.sin(2 * x[2]) + 0.3 * (shop % 5) - 0.6 + 0.5 * rng.standard_normal(PIECE)
        columns = {f"x{i}": x[i] for i in range(NUMBERS)}
        labels = pl.Series("y", score > 0).replace_strict([False, True], ["no", "yes"], return_dtype=pl.String)
        frame = pl.DataFrame(columns).with_columns(shop=_named("shop", shop), town=_named("town", town), y=labels)
        frame.write_parquet(pieces / f"{k:03d}.parquet")
    with writing(path) as temporary:
        pl.scan_parquet(pieces / "*.parquet").sink_parquet(temporary)
    for file in pieces.iterdir():
        file.unlink()
    return path


def _named(name: str, codes: np.ndarray) -> pl.Series:
    return name + " " + pl.Series(name, codes).cast(pl.String)


def opened(path: Path) -> tuple[ParquetStream, Data]:
    """The training rows of a file as a stream, and the sample that its specs are fitted on."""
    table = ParquetTable(path)
    sample = draw(table, "y", seed=0)
    frame = sample.frame.filter(pl.col(sample.part) == "train")
    kinds: dict[str, ColumnKind] = {
        c: "number" if c.startswith("x") else "category" for c in frame.columns if c not in ("y", sample.part)
    }
    spec, target = fit_inputs(frame, kinds), fit_target(frame["y"], "binary")
    return ParquetStream(table, sample.rule, spec, target), Data(frame, spec, target, {})


def trained(source: Source, data: Data) -> float:
    """Rows a second of one epoch."""
    torch.set_num_threads(1)
    net = RECIPE.build(data.spec, data.target, 0)
    objective = RECIPE.make_objective(RECIPE.make_loss(data.target))
    began = time.perf_counter()
    state = train(net, objective, source, RECIPE.training, seed=0)
    return state.step * RECIPE.training.batch_size / (time.perf_counter() - began)


def epoch(rows: int) -> dict[str, Any]:
    """One epoch over all rows, from the file to the trained network."""
    began = time.perf_counter()
    stream, data = opened(made(rows))
    ready = time.perf_counter() - began
    return {"rows": len(stream), "ready": ready, "rate": trained(stream, data)}


def speeds(rows: int) -> dict[str, Any]:
    """Rows a second, streaming and in memory, turn by turn; the rows in memory are those of the stream."""
    stream, data = opened(made(rows))
    batch = stream.take(torch.arange(len(stream)))
    block = Block(batch.x, batch.y)
    rates: dict[str, list[float]] = {"stream": [], "memory": []}
    for k in range(REPEATS):
        for name, source in (("stream", stream), ("memory", block))[:: 1 if k % 2 else -1]:
            rates[name].append(trained(source, data))
    return {"rows": len(stream), **rates}


def streaming() -> Result:
    """Memory of an epoch over 20 million rows, and throughput beside rows in memory."""
    for rows in (ROWS, PART_ROWS):
        made(rows)
    done, found = _apart("epoch", ROWS)
    _, part = _apart("speeds", PART_ROWS)
    ratios = [s / m for s, m in zip(part["stream"], part["memory"], strict=True)]
    size = made(ROWS).stat().st_size
    return Result(
        "streaming",
        "A table larger than memory",
        [
            Row(
                f"peak memory of an epoch over {found['rows']:,} training rows of {ROWS:,}",
                f"{done.peak_bytes / 2**30:.2f} GiB",
                "<= 3 GB",
                done.peak_bytes <= 3e9,
            ),
            Row("the same: sample, specs and stream ready after", f"{found['ready']:.1f} s"),
            Row("the same: rows a second", f"{found['rate']:,.0f}"),
            Row(
                f"rows a second of {part['rows']:,}, streaming over in memory",
                spread(ratios, "of it"),
                ">= 0.70",
                statistics.median(ratios) >= 0.7,
            ),
            Row("streaming", spread(part["stream"], "rows/s", 0)),
            Row("in memory", spread(part["memory"], "rows/s", 0)),
        ],
        f"One Parquet file of {size / 1e9:.1f} GB: {NUMBERS} numbers (float32), categories of 20 and 1,000 labels, a target of "
        f"two classes. Residual perceptron of width 64 on one thread, batches of {RECIPE.training.batch_size:,}, one epoch, each "
        "measurement a process of its own; the two speeds turn by turn in one process, the first batch included.",
    )


def _apart(what: str, rows: int) -> tuple[Any, dict[str, Any]]:
    """A measurement in a process of its own."""
    root = Path(__file__).resolve().parent.parent
    program = f"import sys; sys.path.insert(0, {str(root)!r}); from benchmarks import streaming as s; s.show(s.{what}({rows}))"
    done = timed(sys.executable, "-c", program)
    try:
        found: dict[str, Any] = json.loads(done.output.strip().splitlines()[-1])
    except (ValueError, IndexError):
        raise SetupError(f"the measurement {what!r} printed no result:\n{done.output[-2000:]}") from None
    return done, found


def show(found: dict[str, Any]) -> None:
    """Hand a result to the process that asked for it."""
    print(json.dumps(found), flush=True)


BENCHMARKS: dict[str, Callable[[], Result]] = {"streaming": streaming}
