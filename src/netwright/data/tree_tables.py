"""Trees in files: nodes and children in JSON lines or Parquet, and folders of programs, one folder a class. Needs no torch."""

from __future__ import annotations

import io
import os
import tokenize
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import polars as pl

from netwright.core.errors import DataError, SetupError
from netwright.data.cells import counted
from netwright.data.infer import SPLIT_NAMES
from netwright.data.look import Look
from netwright.data.tree_notation import MAX_CHARS, NOTATIONS
from netwright.data.trees import column_of_trees, is_tree, tree_of, tree_of_children

LABELS, CHILDREN, PARENTS = ("nodes", "labels"), ("adj", "children"), ("parents",)
"""Names of columns that hold the labels of a tree's nodes, the children of each node, the parent of each node."""
SOURCES: Mapping[str, str] = {".py": "python", ".tree": "brackets"}
"""Suffix of a file that holds one tree -> its notation."""
_LOOKED_AT = 5_000


def with_trees(frame: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """The frame in which labels and children (or parents) of nodes have become a column of trees, and notes.

    Two columns of lists, such as nodes and adj (or nodes and parents), or one of objects that hold them.

    Raises:
        DataError: a cell is no tree; row and node are told, both counted from 0.

    >>> with_trees(pl.DataFrame({"nodes": [["a", "b"]], "children": [[[1], []]]}))[0].to_dicts()
    [{'tree': {'labels': ['a', 'b'], 'parents': [-1, 0]}}]
    """
    notes: list[str] = []
    if pair := _pair(frame):
        name = "tree"
        while name in frame.columns and name not in pair:
            name += "_"
        tree = _trees(frame[pair[0]], frame[pair[1]], name)
        at = frame.columns.index(pair[0])
        notes.append(f"columns {pair[0]!r} and {pair[1]!r} are read as the trees {name!r}")
        frame = frame.drop(pair).insert_column(min(at, frame.width - 2), tree)
    for column in frame.iter_columns():
        if isinstance(column.dtype, pl.Struct) and not is_tree(column) and (inner := _pair(column.struct.unnest())):
            parts = column.struct.unnest()
            frame = frame.with_columns(_trees(parts[inner[0]], parts[inner[1]], column.name))
    return frame, notes


def _pair(frame: pl.DataFrame) -> tuple[str, str] | None:
    """The columns of labels and of children or parents."""
    labels = [c for c in LABELS if c in frame.columns and _depth(frame[c].dtype) == 1]
    children = [c for c in CHILDREN if c in frame.columns and _depth(frame[c].dtype) == 2]
    parents = [c for c in PARENTS if c in frame.columns and _depth(frame[c].dtype) == 1]
    ends = children or parents
    return (labels[0], ends[0]) if labels and ends else None


def _depth(kind: pl.DataType) -> int:
    """How many lists are in each other."""
    inner = kind.inner if isinstance(kind, pl.List) else None
    return 1 + _depth(inner) if isinstance(inner, pl.DataType) else 0


def _trees(labels: pl.Series, ends: pl.Series, name: str) -> pl.Series:
    are_children = _depth(ends.dtype) == 2
    trees = []
    for row, (names, links) in enumerate(zip(labels.to_list(), ends.to_list(), strict=True)):
        where = f"the tree of row {row} ({labels.name!r} and {ends.name!r})"
        if names is None or links is None:
            raise DataError(f"{where} is missing; take that row out")
        words = ["" if word is None else str(word) for word in names]
        try:
            found = (
                tree_of_children(words, [list(map(int, below or [])) for below in links], where)
                if are_children
                else tree_of(words, links, where)
            )
        except (TypeError, ValueError) as error:
            raise DataError(f"{where}: nodes are named by whole numbers, from 0 on ({error})") from error
        trees.append(found)
    return column_of_trees(trees, name)


def holds_sources(folder: Path) -> bool:
    """Whether a folder is one of programs (or of trees in brackets): most of its files are, by their names."""
    names = list(islice(_names(folder), _LOOKED_AT))
    return 2 * sum(Path(name).suffix.lower() in SOURCES for name in names) > len(names)


def _names(folder: Path) -> Iterator[str]:
    """Names of all files of a folder and of those below it."""
    for _, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__pycache__")
        yield from sorted(files)


def look_sources(folder: Path) -> Look:
    """Programs of a folder, one folder a class (below train/, valid/ and test/, or at once): columns source, label, and split.

    Raises:
        DataError: a program that cannot be parsed, with file, line and column; fewer than two classes; files of two notations.
    """
    tops = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith((".", "__"))]
    named = {path: SPLIT_NAMES[path.name.lower()] for path in tops if path.name.lower() in SPLIT_NAMES}
    parts = list(named.items()) if len(named) == len(tops) and "train" in named.values() else [(folder, "")]
    rows: dict[str, list[str]] = {"source": [], "label": [], "split": []}
    files: list[Path] = []
    for below, part in parts:
        for label in sorted(p for p in below.iterdir() if p.is_dir() and not p.name.startswith((".", "__"))):
            for path in files_of(label):
                files.append(path)
                rows["source"].append(read_source(path))
                rows["label"].append(label.name)
                rows["split"].append(part)
    if len(set(rows["label"])) < 2:
        only = f"only the class {rows['label'][0]!r}" if rows["label"] else "no folders of classes"
        raise DataError(
            f"{folder} has {only}; expected one folder for each class, such as {folder / 'sorting'} with .py files"
        )
    notation = one_notation(files)
    frame = pl.DataFrame(rows, schema_overrides=dict.fromkeys(rows, pl.String)).with_columns(
        pl.col("label").cast(pl.Categorical)
    )
    loose = sum(p.suffix.lower() in SOURCES for p in folder.iterdir() if p.is_file())
    return Look(
        frame if parts[0][1] else frame.drop("split"),
        (f"{counted(loose, 'file')} in no class folder left out",) if loose else (),
        "folder of programs" if notation == "python" else "folder of trees",
        target="label",
        split_column="split" if parts[0][1] else None,
        kinds={"source": "tree"},
    )


def files_of(path: Path) -> list[Path]:
    """The files of trees in a folder and in those below it, in order; of a file itself."""
    if path.is_file():
        return [path]
    found: list[Path] = []
    for where, folders, files in os.walk(path):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__pycache__")
        found += [Path(where) / name for name in sorted(files) if Path(name).suffix.lower() in SOURCES]
    return found


def one_notation(files: list[Path]) -> str:
    """The notation of all files.

    Raises:
        DataError: there are two.
    """
    kinds = sorted({path.suffix.lower() for path in files})
    if len(kinds) > 1:
        raise DataError(f"there are files of {' and '.join(kinds)}; give those of one kind")
    return SOURCES[kinds[0]]


def read_source(path: Path) -> str:
    """The text of a file that holds one tree, once it is sure that it can be parsed.

    Raises:
        DataError: it is too long, not in the encoding that it states (else UTF-8), or no tree.
        SetupError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(4 * MAX_CHARS + 1)
    except OSError as error:
        raise SetupError(f"{path} cannot be read: {error.strerror or error}; check its permissions") from error
    try:
        encoding = (
            tokenize.detect_encoding(io.BytesIO(data).readline)[0] if path.suffix.lower() == ".py" else "utf-8-sig"
        )
        text = data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise DataError(f"{path} is no text in UTF-8 ({error}); save it as UTF-8") from error
    NOTATIONS[SOURCES[path.suffix.lower()]](text, str(path))
    return text
