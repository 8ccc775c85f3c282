"""`netwright run` and `netwright resume`: the main job from the command line."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from netwright.cli.galleries import galleries
from netwright.cli.gate import Gate
from netwright.cli.options import Debug, FailOn, Seed, Verbose, command
from netwright.cli.outcome import interrupted
from netwright.cli.paths import check_data, run_folder
from netwright.core.errors import SetupError, UsageError, nearest, unknown
from netwright.losses.entries import METRICS
from netwright.recipes.entries import RECIPES, TEMPLATES

if TYPE_CHECKING:
    from netwright.core.finding import Finding
    from netwright.workflow.main import Result

STEP_PROBES = (
    "columns",
    "split",
    "design",
    "choose-template",
    "overparametrise",
    "choose-augmentation",
    "regularise",
    "average-members",
    "members-on-test-rows",
    "restarts",
    "cross-validate",
    "train-on-all-rows",
)
"""Findings that the steps of a run make themselves, which are no members of a gallery."""


@command
def run(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="A table: .csv, .tsv, .txt, .jsonl (each also with .gz or .zst), .parquet, or a folder of .parquet; images: a "
            "folder with one folder per class (below train/, valid/ and test/, or at once), or an .npz with x_train, y_train, "
            "x_test, y_test; sounds (.wav, .flac, .ogg), series (a .csv each) and programs (.py): such a folder too; volumes and films: an "
            ".npz of arrays (N, depth, height, width) or (N, depth, height, width, channels).",
            show_default=False,
        ),
    ],
    target: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="The column to predict. By default what the data say: images have a class; a table needs it.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="The run's folder; an existing one is refused. By default runs/<data>-<time>."
        ),
    ] = None,
    minutes: Annotated[float, typer.Option(metavar="M", help="Time for the whole run.")] = 10.0,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"What drives every choice: {', '.join(METRICS)}. By default log-loss for classes and rmse for numbers.",
        ),
    ] = None,
    seed: Seed = 0,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=KIND",
            help="What a column holds, where the guess is wrong: number, integer, category, date, text, image, series, audio, "
            "set, tree, volume, identifier, constant. May be repeated. By default every kind is guessed and shown.",
        ),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="A column of text; short for --kind COLUMN=text. May be repeated. By default guessed.",
        ),
    ] = None,
    lemmas: Annotated[
        str,
        typer.Option(
            metavar="LANGUAGE",
            help="Count words of texts as their base forms in this language (en, de, fr, ...): 'were' as 'be'. By default as they "
            "are; needs pip install 'netwright[lemma]'.",
            show_default=False,
        ),
    ] = "",
    series: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A column of series; short for --kind NAME=series. In an .npz: x is read as series, (N, steps) or "
            "(N, steps, channels), and the column is called so. May be repeated. By default guessed.",
        ),
    ] = None,
    series_by: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="The rows of a table with the same value there are the steps of one series; columns of numbers that change within it are "
            "its channels. By default off.",
        ),
    ] = None,
    series_order: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="What orders the steps of --series-by. By default the order of the rows."),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Leave a column out. May be repeated. By default none is."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(metavar="TASK", help="binary, classes or number. By default guessed from the target and shown."),
    ] = None,
    split_column: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="The column that says which rows train, validate (valid, val, dev) and test. By default the split is "
            "random, the same share of each class in every part.",
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Rows with the same value stay in one part (patients, customers). By default off."
        ),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="The newest rows by this column are the test rows. By default off."),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The network's template (netwright list templates), or a recipe (netwright list recipes) with its options and the "
            "settings of its training. By default what suits the data.",
            show_default=False,
        ),
    ] = None,
    set_by: Annotated[
        str | None,
        typer.Option(
            "--set-by",
            metavar="COLUMN",
            help="Rows with the same value here are the elements of one set (items of an order, atoms of a molecule): one answer a "
            "set. Columns that are the same within each set stay columns of the row. By default off.",
        ),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STEP",
            help="Leave out a step: baselines, check, attack or explain. May be repeated. By default none is.",
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="A small budget, at most a minute, for a first look; the same steps. By default off."
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Go on where a failed check would stop the run. By default off.")
    ] = False,
    stream: Annotated[
        bool | None,
        typer.Option(
            "--stream/--no-stream",
            help="Whether the rows of a Parquet table stay on disk: all steps then work on a sample, and the last training reads "
            "all rows in shuffled blocks. By default where they take more than a quarter of the memory.",
            show_default=False,
        ),
    ] = None,
    fail_on: FailOn = None,
    members: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=64,
            help="Networks from different starts whose outputs are averaged where that helps; how the scores of each alone spread is "
            "reported. By default up to 5, as there is time.",
            show_default=False,
        ),
    ] = None,
    restarts: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=2,
            max=64,
            help="Starts of the kept recipe of which the best is kept, in place of averaging them. By default off.",
            show_default=False,
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            min=2,
            max=20,
            help="Cross-validate the kept recipe on training and validation rows. By default off.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Where networks are trained: 'cpu', an accelerator such as 'cuda', 'cuda:1' or 'mps', or 'auto' for one where there "
            "is one. All other steps use the processor. Accelerators are untested.",
        ),
    ] = "cpu",
    threads: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=1024,
            help="Threads of the processor that trainings use. By default one, or as many as torch takes by itself where a few timed "
            "steps are clearly faster with them.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Number format of products and convolutions in training: float32 or bfloat16. By default float32, or bfloat16 for "
            "convolutions where the processor computes it, it is clearly faster and it learns as well.",
            show_default=False,
        ),
    ] = None,
    compile: Annotated[
        bool | None,
        typer.Option(
            "--compile/--no-compile",
            help="Whether steps of the first stage are compiled, which takes half a minute and pays for small networks that are trained "
            "for long. By default where that should pay.",
            show_default=False,
        ),
    ] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHERE",
            help="Write the curves of every training, the settings and the scores for 'tensorboard' (into FOLDER/tensorboard) or "
            "'mlflow' (to MLFLOW_TRACKING_URI, or else FOLDER/mlflow.db) as well. May be repeated. By default for neither; needs "
            "pip install 'netwright[track]'.",
        ),
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The plan.json of an earlier run of the same data: its measured choices are replayed, so that the same seed "
            "gives the same weights. By default choices are measured.",
        ),
    ] = None,
    verbose: Verbose = False,
    debug: Debug = False,
) -> int:
    """The main job: from a table, images or texts to a network and a report.

    Looks at the data, splits it, trains classic methods first, designs a network, checks it, trains it in two stages,
    calibrates it, compares all of them on the same test rows, attacks and explains the network, and writes a report.
    Where a classic method is better, it says so.

    \b
    Examples:
      netwright run adult.csv --target income
      netwright run adult.csv --target income --split-column split --out runs/adult
      netwright run houses.parquet --target price --metric mae --drop id --kind rooms=integer
      netwright run data.csv --target y --quick                       a first look in a minute
      netwright run clicks.parquet --target y --minutes 60            larger than memory: it streams
      netwright run sst2.tsv --target label --text text --split-column split
      netwright run photos/                                           a folder per class
      netwright run mnist.npz --minutes 12
      netwright run words/ --minutes 5                                sounds, a folder per class
      netwright run ecg.npz --series x                                series (N, steps) of an .npz
      netwright run sensors.csv --target fault --series-by machine --series-order time
      netwright run mnist.npz --template lenet5 --members 1           a network by name
      netwright run items.csv --target late --set-by order            a set of rows an answer
      netwright run trees.jsonl --target label                        columns nodes and children
      netwright run parsed.tsv --target label --kind parse=tree       such as (S (NP dogs) (VP bark))
      netwright run programs/                                         .py files, a folder per class

    \b
    The folder then holds:
      report.html      all findings, for somebody who was not there
      summary.json     the figures, for programs
      model/           for: netwright predict FOLDER/model new.csv
      baseline.py      trains and applies the best classic method on the same split
    """
    if target is None and not data.is_dir() and data.suffix.lower() != ".npz":
        raise UsageError(f"--target is missing: say which column of {data} is to be predicted: --target COLUMN")
    if not 0 < minutes < float("inf"):
        raise UsageError(f"--minutes {minutes:g}: expected a number above 0, such as --minutes 10")
    settings: dict[str, Any] = {
        "metric": _one_of(metric, f"--metric {metric}", "metric", METRICS),
        "kinds": _kinds(
            [*(kind or []), *(f"{column}=text" for column in text or []), *(f"{name}=series" for name in series or [])]
        ),
        "task": _task(task),
        "drop": tuple(drop or ()),
        "template": _one_of(template, f"--template {template}", "template or recipe", [*TEMPLATES, *RECIPES]),
        "skip": tuple(skip or ()),
        "minutes": minutes,
        "seed": seed,
        "group": group,
        "time": time,
        "split_column": split_column,
        "series_by": series_by,
        "series_order": series_order,
        "set_by": set_by,
        "quick": quick,
        "force": force,
        "members": members,
        "restarts": restarts,
        "folds": folds,
        "lemmas": lemmas,
        "device": device,
        "threads": threads,
        "precision": _precision(precision),
        "compile": compile,
        "track": _trackers(track or []),
        "stream": stream,
    }
    gate = _gate(fail_on)
    if plan is not None:
        _check_plan(plan)
    check_data(data)

    def start(listener: Callable[[dict[str, Any]], None]) -> Result:
        from netwright.workflow.main import run as start_run

        return start_run(data, target=target, out=out, listener=listener, plan=plan, **settings)

    return _watch(start, gate, verbose)


@command
def resume(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder of a run that was interrupted.", show_default=False)
    ],
    fail_on: FailOn = None,
    verbose: Verbose = False,
    debug: Debug = False,
) -> int:
    """Go on with a run that was interrupted.

    At any moment, and by anything. It ends with the same weights as a run that was never interrupted. A finished run only
    writes its report again.

    \b
    Example:
      netwright resume runs/adult
    """
    gate, found = _gate(fail_on), run_folder(folder)

    def start(listener: Callable[[dict[str, Any]], None]) -> Result:
        from netwright.workflow.main import resume as go_on

        return go_on(found, listener=listener)

    return _watch(start, gate, verbose)


class _Watch:
    """Passes events on to the terminal, and remembers the run's folder, which an interrupted user must know."""

    def __init__(self, listener: Callable[[dict[str, Any]], None]) -> None:
        self.listener, self.folder = listener, ""

    def __call__(self, event: dict[str, Any]) -> None:
        self.folder = str(event.get("folder") or self.folder)
        self.listener(event)

    @property
    def advice(self) -> str:
        """How to go on; empty where there is no folder yet."""
        return f"go on with: netwright resume {self.folder}" if self.folder else "nothing was written"


def _watch(start: Callable[[Callable[[dict[str, Any]], None]], Result], gate: Gate, verbose: bool) -> int:
    """Run with progress on the terminal; gives the exit code."""
    from netwright.report.terminal import Terminal

    watch = None
    try:
        with Terminal(verbose=verbose) as terminal:
            watch = _Watch(terminal)
            result = start(watch)
    except KeyboardInterrupt as error:
        raise interrupted(error, watch.advice if watch else "") from error
    except (SetupError, OSError, MemoryError) as error:
        if watch and watch.folder:
            error.add_note(f"what was done so far is kept; when this is mended, {watch.advice}")
        raise
    print(f"Predict new rows: {_predict_line(result)}", file=sys.stderr)
    findings: list[Finding] = [f for found in result.findings.values() for f in found]
    return gate.code(findings)


def _predict_line(result: Result) -> str:
    """The command that follows the recommendation."""
    if result.recommended in result.summary.baselines and (result.folder / "baseline.py").is_file():
        return f"python {shlex.quote(str(result.folder / 'baseline.py'))} {result.new_rows} -o predictions.csv"
    return f"netwright predict {shlex.quote(str(result.folder / 'model'))} {result.new_rows} -o predictions.csv"


def _gate(fail_on: list[str] | None) -> Gate:
    return Gate(fail_on, [*STEP_PROBES, *(name for entries in galleries().values() for name in entries)])


def _one_of(value: str | None, option: str, what: str, known: Any) -> str | None:
    if value is not None and value not in known:
        raise UsageError(f"{option}: " + unknown(what, value, known))
    return value


def _task(task: str | None) -> str | None:
    from netwright.core.spec import Task

    return _one_of(task, f"--task {task}", "task", get_args(Task))


def _precision(name: str | None) -> str | None:
    from netwright.train.precision import Precision

    return _one_of(name, f"--precision {name}", "precision", get_args(Precision))


def _trackers(names: list[str]) -> tuple[str, ...]:
    """Those asked for, once each.

    Raises:
        SetupError: what one of them needs is not installed.
    """
    from netwright.workflow.track import MODULES, require

    for name in names:
        _one_of(name, f"--track {name}", "writer", MODULES)
    require(names)
    return tuple(dict.fromkeys(names))


def _kinds(pairs: list[str]) -> dict[str, str]:
    """`age=number` as a mapping; a column's name may hold "=", a kind never does."""
    from netwright.core.spec import ColumnKind

    kinds: dict[str, str] = {}
    for pair in pairs:
        column, equals, value = pair.rpartition("=")
        if not equals or not column:
            raise UsageError(f"--kind {pair}: expected COLUMN=KIND, such as --kind age=number")
        if kinds.get(column, value) != value:
            raise UsageError(f"--kind {pair}: {column!r} is already set to {kinds[column]!r}; give one kind")
        _one_of(value, f"--kind {column}={value}", "kind of column", get_args(ColumnKind))
        kinds[column] = value
    return kinds


def _check_plan(path: Path) -> None:
    """Refuse what is no plan before a folder is made."""
    from netwright.core.errors import DataError
    from netwright.core.files import read_json

    if path.is_dir():
        close = path / "plan.json"
        raise UsageError(f"--plan {path}: that is a folder" + (f"; did you mean {close}?" if close.is_file() else ""))
    if not path.exists() and path.parent.is_dir():
        close_names = nearest(path.name, [p.name for p in path.parent.iterdir()])
        raise DataError(
            f"--plan {path}: there is no such file"
            + (f"; did you mean {path.parent / close_names[0]}?" if close_names else "")
        )
    if not isinstance(read_json(path), dict):
        raise DataError(f"--plan {path}: that is JSON, but no plan; expected the plan.json of a run")
