"""`netwright check`, `attack` and `explain`: one family of probes asked about a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from netwright.cli.galleries import PROBES, galleries
from netwright.cli.gate import Gate
from netwright.cli.options import Debug, FailOn, ModelPath, Seed, command
from netwright.cli.paths import check_data, check_output, model_folder
from netwright.core.errors import UsageError

Rows = Annotated[
    Path | None,
    typer.Argument(
        metavar="[DATA]",
        help="Rows with the target in them (CSV, TSV, JSON lines, Parquet). By default the run's own test rows; "
        "needed where MODEL is a model folder.",
        show_default=False,
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME", help="Run only this one. May be repeated. By default all that fit the model and the rows."
    ),
]
Budget = Annotated[float, typer.Option(metavar="SECONDS", help="About how long it may take in all.")]
Json = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Also write the findings as JSON. By default none is written."),
]
Report = Annotated[
    Path | None,
    typer.Option(metavar="FILE.html", help="Also write a page with tables and figures. By default none is written."),
]


@command
def check(
    model: ModelPath,
    data: Rows = None,
    only: Only = None,
    budget: Budget = 60.0,
    seed: Seed = 0,
    json_file: Json = None,
    report: Report = None,
    fail_on: FailOn = None,
    debug: Debug = False,
) -> int:
    """Check that a model is sound.

    Does it start, learn and answer as a sound network must?

    \b
    Examples:
      netwright check runs/adult                       on the run's own rows
      netwright check runs/adult/model new.csv         on other labelled rows
      netwright check runs/adult --only gradients-flow --json findings.json
      netwright list checks                            what there is
    """
    return _ask("check", model, data, only, budget, seed, json_file, report, fail_on)


@command
def attack(
    model: ModelPath,
    data: Rows = None,
    only: Only = None,
    budget: Budget = 60.0,
    seed: Seed = 0,
    json_file: Json = None,
    report: Report = None,
    fail_on: FailOn = None,
    debug: Debug = False,
) -> int:
    """Find small changes that fool a model.

    How far must the inputs be changed, within their bounds, before the answer is wrong?

    \b
    Examples:
      netwright attack runs/adult                      on the run's own test rows
      netwright attack runs/adult/model new.csv --budget 120 --report attack.html
      netwright list attacks                           what there is
    """
    return _ask("attack", model, data, only, budget, seed, json_file, report, fail_on)


@command
def explain(
    model: ModelPath,
    data: Rows = None,
    only: Only = None,
    budget: Budget = 60.0,
    seed: Seed = 0,
    json_file: Json = None,
    report: Report = None,
    fail_on: FailOn = None,
    debug: Debug = False,
) -> int:
    """Show what a model's answers rest on.

    Which columns does it use, and how does its answer move with each of them?

    \b
    Examples:
      netwright explain runs/adult                     on the run's own test rows
      netwright explain runs/adult/model new.csv --report explain.html
      netwright list explanations                      what there is
    """
    return _ask("explain", model, data, only, budget, seed, json_file, report, fail_on)


_TITLES = {"check": "Checks of", "attack": "Attacks on", "explain": "Explanations of"}


def _ask(
    name: str,
    model: Path,
    data: Path | None,
    only: list[str] | None,
    budget: float,
    seed: int,
    json_file: Path | None,
    report: Path | None,
    fail_on: list[str] | None,
) -> int:
    entries = galleries()[PROBES[name]]
    for wanted in only or ():
        entries[wanted]  # an unknown one is refused, with the nearest names
    if not 0 < budget < float("inf"):
        raise UsageError(f"--budget {budget:g}: expected a number of seconds above 0, such as --budget 60")
    gate = Gate(fail_on, entries)
    check_output(json_file, "--json", (".json",), inputs=(data,))
    check_output(report, "--report", (".html", ".htm"), inputs=(data,))
    folder = model_folder(model, alone=data is None)
    if data is not None:
        check_data(data)
    from netwright.report.terminal import Terminal, print_findings
    from netwright.workflow import probing

    ask: Any = getattr(probing, name)
    with Terminal() as terminal:
        findings = ask(folder, data, names=only, budget_seconds=budget, seed=seed, listener=terminal)
    if json_file:
        from netwright.core.files import write_json

        write_json(json_file, [json.loads(finding.model_dump_json()) for finding in findings])
    if report:
        from netwright.report.page import Page, Section, write

        title = f"{_TITLES[name]} {folder}"
        write(report, Page(title=title, sections=(Section(id=name, title=title, findings=tuple(findings)),)))
    print_findings(findings)
    return gate.code(findings)
