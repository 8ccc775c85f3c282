"""The reference of all commands, made of their `--help`: python -m netwright.cli.reference > docs/commands.md"""

from __future__ import annotations

from typing import Any

import typer

from netwright.cli.app import app

WIDTH = 100


def reference() -> str:
    """`docs/commands.md`, whole: the help of the command and of each of its subcommands."""
    root: Any = typer.main.get_command(app)
    top = root.make_context("netwright", [], resilient_parsing=True, terminal_width=WIDTH)
    parts = [
        "# Commands",
        "The words of `--help`, written by `python -m netwright.cli.reference > docs/commands.md`; a test keeps them alike.",
        _block(top),
    ]
    for name, command in root.commands.items():
        context = command.make_context(name, [], parent=top, resilient_parsing=True, terminal_width=WIDTH)
        parts += [f"## netwright {name}", _block(context)]
    return "\n\n".join(parts) + "\n"


def _block(context: Any) -> str:
    lines = context.get_help().splitlines()
    return "\n".join(["```text", *(line.rstrip() for line in lines), "```"])


if __name__ == "__main__":
    print(reference(), end="")
