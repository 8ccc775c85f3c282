"""`netwright predict`: new rows in, predictions out. Imports no more than that needs."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netwright.cli.options import Debug, command
from netwright.cli.paths import check_output, model_folder

if TYPE_CHECKING:
    import polars as pl

    from netwright.export.runtime import Exported
    from netwright.model import Model

_PIECE = 1 << 15
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


@command
def predict(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="A run folder, the model folder in it, or a file that `netwright export` wrote (.onnx), which needs no torch.",
        ),
    ],
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Rows to predict (CSV, TSV, JSON lines, Parquet), with the columns of the training file in any order; "
            "further columns are ignored; rows of sets are grouped as in the training. For images: a folder of pictures, one picture, or "
            "an .npz with x_test or x. For programs: a folder of .py files, or one.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help=f"Where the predictions go: a file that ends in {', '.join(SUFFIXES)}. An existing one is replaced, whole or "
            "not at all. By default they are printed as CSV.",
        ),
    ] = None,
    debug: Debug = False,
) -> int:
    """Predict new rows.

    Classes: columns row, prediction and p_<class> for each class (calibrated probabilities). Numbers: row, prediction,
    lower and upper (an interval that covers 90 %). Rows are numbered from 0 in the order of DATA; pictures and programs of a
    folder also have a column file, sets the column of their key, and a picture that cannot be read has no row. What was strange in the
    rows is said on stderr.

    \b
    Examples:
      netwright predict runs/adult new.csv -o predictions.csv
      netwright predict runs/adult/model new.parquet -o predictions.parquet
      netwright predict runs/adult new.csv | head
      netwright predict runs/photos/model holiday/ -o predictions.csv
      netwright predict adult.onnx new.csv -o predictions.csv
    """
    check_output(output, "--output", SUFFIXES, inputs=(data, model))
    exported = model.suffix.lower() == ".onnx" and not model.is_dir()
    folder = model if exported else model_folder(model)
    from netwright.cli.notes import notes
    from netwright.cli.rows import answer, check_rows
    from netwright.report.text import plain

    check_rows(data)
    trained = _exported(folder) if exported else _trained(folder)  # after a look at the rows, which costs no torch
    answered = answer(trained, data)
    strange = notes(answered.looked, trained.spec, trained.target) if answered.looked else []
    for note in (*map(plain, answered.notes), *strange):
        print(f"note: {note}", file=sys.stderr)
    table = answered.table
    if output is None:
        print_csv(table)
    else:
        write_table(table, output)
        print(f"{len(table):,} predictions written to {output}", file=sys.stderr)
    return 0


def _trained(folder: Path) -> Model:
    from netwright.model import Model

    return Model.load(folder)


def _exported(path: Path) -> Exported:
    from netwright.export.runtime import Exported

    return Exported.load(path)


def print_csv(table: pl.DataFrame) -> None:
    """On stdout, piece by piece: one large write to an unbuffered stdout would not notice that its reader went away."""
    text = table.write_csv()
    for start in range(0, len(text), _PIECE):
        sys.stdout.write(text[start : start + _PIECE])


def write_table(table: pl.DataFrame, path: Path) -> None:
    """Write a table in the format that the suffix names, whole or not at all."""
    from netwright.core.files import writing

    suffix = path.suffix.lower()
    with writing(path) as temporary, temporary.open("wb") as file:
        if suffix == ".parquet":
            whole = io.BytesIO()  # written straight to a full disk, polars would raise an error of its own
            table.write_parquet(whole)
            file.write(whole.getbuffer())
        elif suffix in (".jsonl", ".ndjson"):
            table.write_ndjson(file)
        else:
            table.write_csv(file, separator="\t" if suffix == ".tsv" else ",")
