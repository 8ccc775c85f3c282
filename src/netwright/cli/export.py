"""`netwright export`: a model as one ONNX file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netwright import __version__
from netwright.cli.options import Debug, ModelPath, Seed, command
from netwright.cli.paths import check_output, model_folder

if TYPE_CHECKING:
    from netwright.export.card import Card
    from netwright.export.verify import Verified


@command
def export(
    model: ModelPath,
    onnx: Annotated[
        Path,
        typer.Option(
            "--onnx",
            metavar="FILE.onnx",
            help="Where the graph goes. An existing file is replaced, whole or not at all. The tokenisers of texts go beside it, "
            "as <name>.<column>.words.json or .chars.json.",
        ),
    ],
    seed: Seed = 0,
    debug: Debug = False,
) -> int:
    """Write a model as one ONNX file that needs no torch.

    The file takes raw rows: an input for each column of a table (numbers as float64 with NaN where one is missing, dates as days
    since 1970-01-01, categories as strings), raw pixels of an image, token ids of a text. It gives calibrated probabilities and
    the label of the most probable class, or the value and the bounds of its 90 % interval. Before it is written, its answers are
    compared with the model's on made-up rows, among them missing cells, unknown categories, empty texts and black images; a
    difference above 0.0001 (of probability, or in spreads of the target) ends the export.

    \b
    Examples:
      netwright export runs/adult --onnx adult.onnx
      netwright export runs/adult/model --onnx adult.onnx
      netwright predict adult.onnx new.csv             predictions from the file, without torch
    """
    folder = model_folder(model)
    read = [place / name for place in (folder, folder / "model") for name in ("model.json", "weights.safetensors")]
    check_output(onnx, "--onnx", (".onnx",), inputs=read)
    from netwright.export.write import export as write
    from netwright.model import Model
    from netwright.report.text import plain

    def tell(what: str) -> None:
        print(f"{what} ...", file=sys.stderr, flush=True)

    tell("loading the model")
    written = write(Model.load(folder), onnx, version=__version__, seed=seed, tell=tell)
    print(f"{onnx}: {onnx.stat().st_size:,} bytes")
    for path in written.tokenizers:
        print(f"{path}: tokeniser")
    print(plain(f"inputs: {_inputs(written.card)}"))
    print(plain(f"outputs: {', '.join((written.card.output, *written.card.further))}"))
    print(_compared(written.verified, written.card.target.is_number))
    print(f"predict with: netwright predict {onnx} ROWS")
    return 0


def _inputs(card: Card, most: int = 12) -> str:
    """Names and kinds of the graph's inputs."""
    shown = ", ".join(f"{port.name} ({port.kind})" for port in card.ports[:most])
    more = len(card.ports) - most
    return shown + (f", and {more} more" if more > 0 else "")


def _compared(verified: Verified, is_number: bool) -> str:
    """What was compared, and how large the largest difference was."""
    unit = "spreads of the target" if is_number else "probability"
    batches = ", ".join(f"{n:,}" for n in verified.batches)
    lengths = f" and texts of {', '.join(map(str, verified.lengths))} tokens" if verified.lengths else ""
    return f"largest difference from the model: {verified.difference:.1e} ({unit}) on batches of {batches} made-up rows{lengths}"
