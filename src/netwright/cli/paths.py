"""Paths on the command line: what is wrong with them is said before any work is done."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from netwright.core.errors import DataError, SetupError, UsageError, nearest


def check_data(path: Path) -> None:
    """Refuse data that cannot be any, before torch is imported: a misspelt name is answered at once.

    Raises:
        DataError: no such file, empty, of a format that is not known, or a folder of neither Parquet files nor
            pictures, sounds or series in folders of classes.
        SetupError: no permission.
    """
    from netwright.data.folder import list_folder
    from netwright.data.parquet import ParquetTable, parquet_files
    from netwright.data.raw import check_path, format_of  # polars, a quarter of a second
    from netwright.data.sequence_folders import files_in
    from netwright.data.tree_tables import holds_sources

    if parquet_files(path):
        ParquetTable(path)
        return
    if os.path.isdir(path):
        if not holds_sources(path):
            list_folder(path, files_in(path))
        return
    if path.suffix or path.is_file():
        format_of(path)
    check_path(path)


def check_output(path: Path | None, option: str, suffixes: Sequence[str], inputs: Sequence[Path | None] = ()) -> None:
    """Refuse a place where a file cannot be written.

    Args:
        suffixes: those that the command can write.
        inputs: files that the command reads, which it must not overwrite.

    Raises:
        UsageError: an unknown suffix, a folder, or a file that is read.
        SetupError: no such folder, or no permission.
    """
    if path is None:
        return
    if path.suffix.lower() not in suffixes:
        came = f"ends in {path.suffix!r}" if path.suffix else "has no suffix"
        raise UsageError(f"{option} {path}: it {came}; expected a name that ends in {' or '.join(suffixes)}")
    if path.is_dir():
        raise UsageError(f"{option} {path}: that is a folder; give the name of a file in it")
    if any(given is not None and given.exists() and path.exists() and path.samefile(given) for given in inputs):
        raise UsageError(f"{option} {path}: that is the file that is read; choose another name")
    folder = path.parent
    if not folder.is_dir():
        raise SetupError(f"cannot write {path}: there is no folder {folder}; make it with: mkdir -p {folder}")
    if not os.access(folder, os.W_OK):
        raise SetupError(f"cannot write {path}: no permission in {folder}; choose another place")


def model_folder(path: Path, *, alone: bool = False) -> Path:
    """The folder as given, once it is sure that there is a model in it.

    Args:
        path: a run folder, or a model folder.
        alone: no rows are given, so that it must be a run folder.

    Raises:
        DataError: it does not exist, is a file, or has no model (yet).
        UsageError: a model folder alone.
    """
    if path.is_file():
        raise DataError(
            f"{path} is a file; expected a run folder or its model folder, such as runs/adult or runs/adult/model "
            "(pickles are never opened)"
        )
    if not path.is_dir():
        raise DataError(f"there is no folder {path}" + _near(path))
    is_run, is_model = (path / "settings.json").is_file(), (path / "model.json").is_file()
    if is_run and not (path / "model" / "model.json").is_file():
        raise DataError(f"the run in {path} has no model yet; finish it with: netwright resume {path}")
    if not is_run and not is_model and not (path / "model" / "model.json").is_file():
        raise DataError(
            f"{path} is neither a run folder nor a model folder: it has no model.json; give RUN or RUN/model"
        )
    if alone and not is_run:
        raise UsageError(
            f"{path} is a model alone and knows no labelled rows; give a file with the target in it, or the run folder"
        )
    return path


def _near(path: Path) -> str:
    try:
        close = nearest(path.name, [p.name for p in path.parent.iterdir() if p.is_dir()])
    except OSError:
        return f": its folder {path.parent} does not exist" if path.parent != path else ""
    return f"; did you mean {' or '.join(str(path.parent / c) for c in close)}?" if close else "; check its name"


def run_folder(path: Path) -> Path:
    """The folder of a run; "RUN/model" is taken for RUN.

    Raises:
        DataError: it does not exist, or is no run.
    """
    if not path.is_dir():
        raise DataError(
            f"{path} is a file; give the run's folder" if path.exists() else f"there is no folder {path}{_near(path)}"
        )
    if not (path / "settings.json").is_file():
        if (path.parent / "settings.json").is_file():
            return path.parent
        raise DataError(
            f"{path} is not a run folder: it has no settings.json; start a run with: netwright run DATA --target COLUMN"
        )
    return path
