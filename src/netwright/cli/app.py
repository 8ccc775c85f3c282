"""The commands and the reading of the command line. Needs no torch: each command imports what it needs when it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from netwright import __version__
from netwright.cli.browse import list_entries, show
from netwright.cli.cost import cost
from netwright.cli.exhibits import gallery
from netwright.cli.export import export
from netwright.cli.predict import predict
from netwright.cli.probes import attack, check, explain
from netwright.cli.run import resume, run
from netwright.core.errors import UsageError, unknown

app = typer.Typer(
    name="netwright",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
_COMMANDS: dict[str, Callable[..., int]] = {
    "run": run,
    "resume": resume,
    "predict": predict,
    "check": check,
    "attack": attack,
    "explain": explain,
    "export": export,
    "cost": cost,
    "gallery": gallery,
    "list": list_entries,
    "show": show,
}
for _name, _command in _COMMANDS.items():
    app.command(_name)(_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"netwright {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def netwright(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """From labelled data to a neural network that you can trust: designed, compared with classic methods on the same
    rows, checked, attacked, explained and reported.

    \b
    Examples:
      netwright run adult.csv --target income          the main job: one command, one report, one model
      netwright predict RUN/model new.csv -o out.csv   predictions for new rows
      netwright export RUN --onnx model.onnx           one file that predicts without torch
      netwright attack RUN                             attack the model on its own test rows
      netwright cost RUN                               what a training costs: time against rows, weights, members
      netwright gallery --tiny                         the classic systems, each with its pictures
      netwright list checks                            what there is

    \b
    Exit codes:
      0   done (a recommended baseline is a success)
      1   a check failed that stops the job, or what --fail-on asked for was found
      2   wrong use: an option or an argument makes no sense
      3   bad data, or a damaged model
      4   the environment: no room, no permission, no memory, a missing package
      5   the training diverged, or ran out of time with nothing usable
      70  a bug of netwright
      130 interrupted by Ctrl-C, 143 ended by SIGTERM, 141 the reader of the output went away
    """
    if context.invoked_subcommand is None:
        print(context.get_help())


_ClickError: Any = typer.BadParameter.__mro__[2]  # click's own exception, wherever this version of typer keeps it


def call(arguments: Sequence[str]) -> int:
    """Run the command that the arguments name; gives its exit code.

    Raises:
        UsageError: the arguments make no sense.
    """
    command: Any = typer.main.get_command(app)
    first = next(iter(arguments), "")
    if first and not first.startswith("-") and first not in command.commands:
        raise UsageError(unknown("command", first, command.commands) + "; see: netwright --help")
    try:
        code = command.main(args=list(arguments), prog_name="netwright", standalone_mode=False)
    except _ClickError as error:
        raise UsageError(_usage(error)) from error
    return int(code or 0)


def _usage(error: Any) -> str:
    """What click found wrong, in our words: what was expected, the nearest option, where to look."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "netwright"
    name = getattr(error, "option_name", None)
    if name and context and not name.startswith("-" * 3) and "No such" in str(error.format_message()):
        options = sorted({o for p in context.command.params for o in p.opts if o.startswith("--")} | {"--help"})
        message = unknown("option", name, options)
    else:
        message = str(error.format_message()).rstrip(".")
        message = message[:1].lower() + message[1:]
    return f"{message}; see: {path} --help"
