"""The promises of the main job on tables: quality, time and memory of whole commands, each in a process of its own."""

from __future__ import annotations

import json
import math
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.impute import SimpleImputer
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from benchmarks.data import SPLIT, write
from benchmarks.results import Result, Row, spread
from netwright.core.errors import SetupError
from netwright.core.files import read_json

WORK = Path(__file__).resolve().parent.parent / "runs" / "bench"
"""Where benchmarks leave their files and runs: out of version control, replaced by the next run."""
COMMAND = Path(sys.executable).parent / "netwright"
REPEATS_START, REPEATS_PREDICT, SEEDS_MLP = 9, 5, (0, 1, 2)
_MEBI = 2**20

LAUNCHER = """
import json, os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
with open(sys.argv[1], "w") as file:
    json.dump([time.perf_counter() - start, usage.ru_maxrss, process.returncode], file)
"""
"""Starts a command and measures it. A process of its own, since a child's peak memory counts that of the process it was forked
from, and this one has scikit-learn in it."""


@dataclass(frozen=True)
class Timed:
    """One finished command: wall-clock seconds, the largest resident memory of its largest process, what it printed."""

    seconds: float
    peak_bytes: int
    output: str


def timed(*command: str | Path) -> Timed:
    """Run a command to its end in the work folder.

    Raises:
        SetupError: it ended with another exit code than 0.
    """
    WORK.mkdir(parents=True, exist_ok=True)
    shown, log, measured = [str(c) for c in command], WORK / "last.log", WORK / "last.json"
    with log.open("w", encoding="utf-8") as file:
        launcher = [sys.executable, "-S", "-c", LAUNCHER, str(measured), *shown]
        subprocess.run(launcher, cwd=WORK, env=environment(), stdout=file, stderr=subprocess.STDOUT, check=True)
    seconds, peak, code = json.loads(measured.read_text(encoding="utf-8"))
    output = log.read_text(encoding="utf-8", errors="replace")
    if code:
        raise SetupError(f"{' '.join(shown)} ended with exit code {code}:\n{output[-2000:]}")
    return Timed(seconds, peak * (1 if sys.platform == "darwin" else 1024), output)


def environment() -> dict[str, str]:
    """The environment of a measured command: BLAS finds out by itself what machine it is on."""
    return {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}


def run(name: str, target: str, *options: str) -> tuple[Timed, dict[str, Any], pl.DataFrame]:
    """`netwright run` on a set with a split column: how it went, its summary.json, and the rows."""
    folder = WORK / name
    frame = write(name, WORK / f"{name}.csv")
    shutil.rmtree(folder, ignore_errors=True)
    done = timed(COMMAND, "run", f"{name}.csv", "--target", target, "--split-column", SPLIT, "--out", name, *options)
    return done, read_json(folder / "summary.json"), frame


def interval(score: dict[str, float], digits: int) -> str:
    """A score with its interval."""
    return f"{score['value']:.{digits}f} ({score['low']:.{digits}f} to {score['high']:.{digits}f})"


def adult() -> Result:
    """The whole main job on adult with its official split."""
    done, summary, _ = run("adult", "income")
    network, n_test = summary["network"]["network"], summary["n_test"]
    accuracy, auc = network["accuracy"], network["roc-auc"]
    gibi = done.peak_bytes / 2**30
    others = [
        Row(f"{name}: accuracy, ROC AUC", f"{interval(scores['accuracy'], 4)}, {interval(scores['roc-auc'], 4)}")
        for name, scores in summary["baselines"].items()
    ]
    return Result(
        "adult",
        "adult: the whole run",
        [
            Row(
                f"network: accuracy on {n_test:,} test rows",
                interval(accuracy, 4),
                ">= 0.857",
                accuracy["value"] >= 0.857,
            ),
            Row("network: ROC AUC", interval(auc, 4), ">= 0.911", auc["value"] >= 0.911),
            Row("whole run", f"{done.seconds:.0f} s", "<= 360 s", done.seconds <= 360),
            Row("peak memory", f"{gibi:.2f} GiB", "<= 3 GB", done.peak_bytes <= 3e9),
            *others,
        ],
        f"`netwright run adult.csv --target income --split-column split`, one run, seed {summary['seed']}; intervals: bootstrap "
        f"over the test rows, 95 %. Recommended by the run: {summary['recommended']}. "
        f"{summary['n_train']:,} training and {summary['n_valid']:,} validation rows.",
    )


def mlp_errors(frame: pl.DataFrame, target: str, *, scaled: bool) -> list[float]:
    """Test RMSE of scikit-learn's default MLP, a seed each, in a pipeline that scales numbers and one-hot encodes the rest.

    All rows of the training part train it (the network sets some aside to validate).

    Args:
        scaled: whether the target is standardised for it too, which its defaults do not do but need.
    """
    inputs = frame.drop(target, SPLIT)
    numbers = [c for c in inputs.columns if inputs[c].cast(pl.Float64, strict=False).null_count() <= 0.05 * len(frame)]
    inputs = inputs.with_columns(pl.col(numbers).cast(pl.Float64, strict=False))
    y = frame[target].cast(pl.Float64).to_numpy()
    train = (frame[SPLIT] == "train").to_numpy()
    rest = [c for c in inputs.columns if c not in numbers]
    x = np.column_stack(
        [inputs.select(numbers).to_numpy().astype(object), inputs.select(rest).to_numpy().astype(object)]
    )
    front = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), list(range(len(numbers)))),
            ("categories", OneHotEncoder(handle_unknown="ignore"), list(range(len(numbers), x.shape[1]))),
        ]
    )
    errors = []
    for seed in SEEDS_MLP:
        network = MLPRegressor(random_state=seed)
        model = make_pipeline(
            front, TransformedTargetRegressor(network, transformer=StandardScaler()) if scaled else network
        ).fit(x[train], y[train])
        errors.append(math.sqrt(np.mean((model.predict(x[~train]) - y[~train]) ** 2)))
    return errors


def regression() -> Result:
    """The network against scikit-learn's default MLP on the same rows."""
    rows = []
    for name, target, digits in (("california_housing", "median_house_value", 0), ("wine_quality", "quality", 4)):
        done, summary, frame = run(name, target, "--task", "number")
        rmse = summary["network"]["network"]["rmse"]
        plain, scaled = (mlp_errors(frame, target, scaled=s) for s in (False, True))
        best = min(statistics.median(plain), statistics.median(scaled))
        rows += [
            Row(
                f"{name}: RMSE of the network on {summary['n_test']:,} test rows",
                interval(rmse, digits),
                f"<= {best:.{digits}f}",
                rmse["value"] <= best,
            ),
            Row(f"{name}: scikit-learn's MLP", spread(plain, "", digits).replace("  ", " ")),
            Row(f"{name}: scikit-learn's MLP, target scaled too", spread(scaled, "", digits).replace("  ", " ")),
            *(Row(f"{name}: {b}", interval(s["rmse"], digits)) for b, s in summary["baselines"].items()),
            Row(f"{name}: whole run", f"{done.seconds:.0f} s"),
        ]
    return Result(
        "regression",
        "Regression against scikit-learn's MLP",
        rows,
        "`netwright run NAME.csv --target ... --split-column split --task number`, one run, seed 0, 80/20; the MLP with its "
        f"defaults in a scaling and one-hot pipeline, same rows, median of the seeds {', '.join(map(str, SEEDS_MLP))}. The target is "
        "the better of its two medians. Intervals of networks and classic methods: bootstrap over the test rows, 95 %.",
    )


def start() -> Result:
    """How long the command and the package take to start, and that they do so without torch."""
    helps = [timed(COMMAND, "--help").seconds for _ in range(REPEATS_START)]
    imports = [timed(sys.executable, "-c", "import netwright").seconds for _ in range(REPEATS_START)]
    python = [timed(sys.executable, "-c", "pass").seconds for _ in range(REPEATS_START)]
    free = {
        "--help": "import netwright.cli.main as m; m.main(['--help'])",
        "import": "import netwright",
    }
    check = "import sys; sys.stderr.write('TORCH' if 'torch' in sys.modules else 'FREE')"
    clean = [
        name for name, code in free.items() if timed(sys.executable, "-c", f"{code}\n{check}").output.endswith("FREE")
    ]
    return Result(
        "start",
        "Start",
        [
            Row("`netwright --help`", spread(helps, "s"), "<= 0.4 s", statistics.median(helps) <= 0.4),
            Row("`import netwright`", spread(imports, "s"), "<= 0.4 s", statistics.median(imports) <= 0.4),
            Row(
                "torch not imported",
                f"{len(clean)} of {len(free)}",
                f"{len(free)} of {len(free)}",
                len(clean) == len(free),
            ),
            Row("`python -c pass`, for comparison", spread(python, "s")),
        ],
        "Whole processes, start of Python included: median (smallest to largest).",
    )


def predict() -> Result:
    """`netwright predict` of adult's test rows with a model of adult."""
    if not (WORK / "adult" / "model" / "model.json").is_file():
        run("adult", "income", "--quick")
    rows = write("adult", WORK / "adult.csv").filter(pl.col(SPLIT) == "test").drop(SPLIT, "income")
    rows.write_csv(WORK / "new.csv")
    command = (COMMAND, "predict", "adult/model", "new.csv", "-o", "predictions.csv")
    runs = []
    for _ in range(REPEATS_PREDICT):
        (WORK / "predictions.csv").unlink(missing_ok=True)
        runs.append(timed(*command))
    n = len(pl.read_csv(WORK / "predictions.csv"))
    if n != len(rows):
        raise SetupError(f"{len(rows):,} rows went in, and {n:,} predictions came out")
    seconds = [r.seconds for r in runs]
    return Result(
        "predict",
        "Predict",
        [
            Row(
                f"`netwright predict` of {n:,} adult rows",
                spread(seconds, "s"),
                "<= 5 s",
                statistics.median(seconds) <= 5,
            ),
            Row("peak memory", f"{max(r.peak_bytes for r in runs) / _MEBI:,.0f} MiB"),
        ],
        f"`netwright {' '.join(map(str, command[1:]))}`, whole processes; the model is that of the last run on adult.",
    )


BENCHMARKS: dict[str, Callable[[], Result]] = {f.__name__: f for f in (adult, regression, start, predict)}
