"""`netwright cost`: what a training costs, against rows, weights and members."""

from __future__ import annotations

import shlex
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netwright.cli.options import Debug, Seed, command
from netwright.cli.outcome import interrupted
from netwright.cli.paths import check_data, model_folder
from netwright.core.errors import DataError, SetupError, UsageError

if TYPE_CHECKING:
    from netwright.workflow.curves import Cost


@command
def cost(
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DATA]",
            help="A run folder, whose rows and recipe are taken; or a table or images, as for netwright run. By default made-up "
            "rows of numbers and categories.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="The column to predict. By default what a run or images say; a table needs it."
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The recipe.json to measure. By default the run's, or the one designed for the rows."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where report.html and cost.json go; one that is not empty is refused. By default runs/cost-<time>.",
        ),
    ] = None,
    minutes: Annotated[
        float, typer.Option(metavar="M", help="About how long it may take; sizes that would take longer are left out.")
    ] = 2.0,
    seed: Seed = 0,
    debug: Debug = False,
) -> int:
    """Measure what a training costs: time against rows, weights and members.

    Times optimiser steps of a recipe on 1,000 to 1,000,000 rows, with three decades of weights, and for 1 to 1,000 networks
    trained side by side. Fits a straight line to each: what a step takes whatever the size, and what comes with size. A size
    that would take more than a quarter of the free memory is left out. Ctrl-C leaves what was measured.

    \b
    Examples:
      netwright cost                                   the designed recipe on made-up rows
      netwright cost runs/adult                        the recipe and the rows of a run
      netwright cost adult.csv --target income --minutes 5
      netwright cost adult.csv --target income --recipe recipe.json --out runs/cost
    """
    if not 0 < minutes < float("inf"):
        raise UsageError(f"--minutes {minutes:g}: expected a number above 0, such as --minutes 2")
    _check(data, target, recipe)
    folder = _new(out or Path("runs") / f"cost-{datetime.now():%Y%m%d-%H%M%S}")
    from netwright.report.terminal import Terminal
    from netwright.workflow.cost import Meter
    from netwright.workflow.cost_input import rows_and_recipe

    stopped = None
    with Terminal() as terminal:
        rows, found = rows_and_recipe(data, target, recipe, seed, terminal)
        meter = Meter(found, rows, minutes=minutes, seed=seed, listener=terminal)
        try:
            meter.run()
        except KeyboardInterrupt as error:
            stopped = error
    if stopped and not any(meter.points.values()):
        raise interrupted(stopped, "nothing was measured yet, and nothing was written") from stopped
    words = ["netwright", "cost", *([str(data)] if data else []), *(["--target", target] if target else [])]
    words += [*(["--recipe", str(recipe)] if recipe else []), "--minutes", f"{minutes:g}", "--seed", str(seed)]
    _write(folder, meter.cost, shlex.join(words))
    if stopped:
        raise interrupted(stopped, f"what was measured until then is in {folder / 'report.html'}") from stopped
    return 0


def _check(data: Path | None, target: str | None, recipe: Path | None) -> None:
    """Refuse what cannot be measured, before torch is imported."""
    if recipe is not None and not recipe.is_file():
        raise DataError(f"--recipe {recipe}: there is no such file; give the recipe.json of a run")
    if data is None:
        if target is not None:
            raise UsageError(
                f"--target {target}: made-up rows have no such column; name the data too: netwright cost DATA"
            )
        return
    if (data / "settings.json").is_file():
        if target is not None:
            raise UsageError(f"--target {target}: the run in {data} has a target already; leave --target out")
        model_folder(data, alone=True)
        return
    if target is None and not data.is_dir() and data.suffix.lower() != ".npz":
        raise UsageError(f"--target is missing: say which column of {data} is to be predicted: --target COLUMN")
    check_data(data)


def _new(folder: Path) -> Path:
    """A folder that may be written into, not made yet."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists already; choose another --out")
    return folder


def _write(folder: Path, measured: Cost, line: str) -> None:
    from netwright.core.files import write_text
    from netwright.report import page
    from netwright.report.terminal import print_findings
    from netwright.workflow import cost_report

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"cannot make the folder {folder}: {error.strerror}; choose another --out") from error
    write_text(folder / "cost.json", measured.model_dump_json(indent=1) + "\n")
    page.write(folder / "report.html", cost_report.page(measured, line))
    print_findings([cost_report.finding(curve, measured) for curve in measured.curves])
    print(f"The report: {folder / 'report.html'}")
