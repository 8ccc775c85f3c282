"""A folder of pictures -> a frame of their paths: one folder per class, below train/, valid/ and test/ or at once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from netwright.core.errors import DataError, SetupError
from netwright.data.cells import counted
from netwright.data.images import left_out
from netwright.data.infer import SPLIT_NAMES
from netwright.data.look import Look
from netwright.data.picture import SMALL, BadPicture, decode, for_each, is_picture
from netwright.data.raw import FORMATS

Progress = Callable[[int, int], None]
"""Told how many pictures are done, and of how many."""
MAX_BAD = 0.2
"""Share of pictures that may be bad; of more than that something is wrong with all of them."""
_LITTER = ("__MACOSX", "@eaDir")
_SHOWN = 5
_LOOSE = "one of them"


@dataclass(frozen=True)
class Files:
    """What the files of a folder are: what one is called, and which names are theirs."""

    one: str
    holds: Callable[[str], bool]

    @property
    def many(self) -> str:
        """What several are called."""
        return self.one if self.one.endswith("s") else f"{self.one}s"


PICTURES = Files("picture", is_picture)


@dataclass(frozen=True)
class Listing:
    """The pictures of a folder by their names alone, in the order of part, class and path.

    Args:
        root: absolute path of the folder.
        paths: below the root, with "/".
        labels: class of each. parts: "train", "valid" or "test" of each; None where the folder has no parts.
        warnings: what was left out.
    """

    root: str
    paths: list[str]
    labels: list[str]
    parts: list[str] | None
    warnings: tuple[str, ...]


def list_folder(folder: Path, files: Files = PICTURES) -> Listing:
    """Find parts, classes and their files, by default pictures; nothing is opened.

    Files in folders below a class's belong to that class. Hidden files are passed over; other files that are no pictures, and
    classes without any, are left out with a warning.

    Raises:
        DataError: no pictures, no folders of classes, or fewer than two classes.
        SetupError: the folder may not be read.
    """
    root = os.path.abspath(folder)
    top = _folders(root)
    parts = _parts(root, top)
    other: Counter[str] = Counter(_suffix(name, files) for name in _files(root))
    found: list[tuple[str, str, str]] = []
    empty = []
    for part, below in parts:
        for label in _folders(os.path.join(root, below)):
            inside = os.path.join(below, label) if below else label
            pictures = list(_below(root, inside, other, files))
            found += [(part, label, path) for path in pictures]
            empty += [] if pictures else [inside]
        other.update(_suffix(name, files) for name in _files(os.path.join(root, below)) if below)
    used = {below for _, below in parts}
    warnings = [*_strays(other, files)]
    if empty:
        warnings.append(
            f"no {files.one} in {_some(empty)}, so there is no such class" + (" there" if parts[0][0] else "")
        )
    if parts[0][0] and (unused := [name for name in top if name not in used]):
        warnings.append(f"folders beside train, valid and test are left out: {_some(unused)}")
    _check(folder, found, top, files)
    names = [part for part, _, _ in found]
    return Listing(
        root,
        [path for _, _, path in found],
        [label for _, label, _ in found],
        names if parts[0][0] else None,
        tuple(warnings),
    )


def _folders(path: str) -> list[str]:
    """Names of the folders in a folder, sorted; hidden ones are passed over."""
    with _listed(path) as entries:
        names = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith(".") and e.name not in _LITTER)
    for name in names:
        if not _is_utf8(name):
            raise DataError(f"the name of the folder {os.fsencode(name)!r} in {path} is not UTF-8; rename it")
    return names


def _files(path: str) -> list[str]:
    """Names of what is no folder in a folder; hidden ones are passed over."""
    with _listed(path) as entries:
        return sorted(e.name for e in entries if not e.is_dir() and not e.name.startswith("."))


def _listed(path: str) -> os._ScandirIterator[str]:
    try:
        return os.scandir(path)
    except OSError as error:
        raise SetupError(
            f"the folder {path} cannot be read: {error.strerror}; allow it with: chmod u+rx {path}"
        ) from error


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _suffix(name: str, files: Files) -> str:
    return os.path.splitext(name)[1].lower() if not files.holds(name) else _LOOSE


def _parts(root: str, top: Sequence[str]) -> list[tuple[str, str]]:
    """Parts and their folders below the root; one part "" where the folders are classes.

    Folders named train (and valid, test) are parts where train holds folders itself, and either another part is there or nothing
    else: "train" may be a class beside "bus" and "tram".
    """
    named = [(SPLIT_NAMES[name.lower()], name) for name in top if name.lower() in SPLIT_NAMES]
    train = [name for part, name in named if part == "train"]
    if not train or (len(named) == 1 and len(top) > 1) or not _folders(os.path.join(root, train[0])):
        return [("", "")]
    twice = [part for part, n in Counter(part for part, _ in named).items() if n > 1]
    if twice:
        both = " and ".join(name for part, name in named if part == twice[0])
        raise DataError(f"{root} holds {both}, which mean the same part of the split; keep one of them")
    order = ("train", "valid", "test")
    return sorted(named, key=lambda pair: order.index(pair[0]))


def _below(root: str, inside: str, other: Counter[str], files: Files) -> Iterator[str]:
    """Files of a folder and of those below it, in order; what else is there is counted in `other`."""
    waiting = [inside]
    while waiting:
        below = waiting.pop()
        with _listed(os.path.join(root, below)) as entries:
            here = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
        for entry in here:
            if files.holds(entry.name) and entry.is_file() and _is_utf8(entry.name):
                yield f"{below}/{entry.name}" if below else entry.name
            elif not entry.is_dir():
                other[_suffix(entry.name, files) if not files.holds(entry.name) else "with an unreadable name"] += 1
        folders = [e for e in reversed(here) if e.is_dir(follow_symlinks=False)]  # a link may lead to a folder above
        waiting += [os.path.join(below, e.name) for e in folders if e.name not in _LITTER]


def _strays(other: Counter[str], files: Files) -> Iterator[str]:
    loose = other.pop(_LOOSE, 0)
    if loose:
        yield f"{counted(loose, files.one)} in no class folder {'is' if loose == 1 else 'are'} left out"
    if n := sum(other.values()):
        kinds = ", ".join(f"{k} {kind or 'without suffix'}" for kind, k in other.most_common(3))
        yield f"{counted(n, 'file')} that {'is' if n == 1 else 'are'} no {files.one} by name {'is' if n == 1 else 'are'} left out ({kinds})"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f", and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")


def _check(folder: Path, found: Sequence[tuple[str, str, str]], top: Sequence[str], files: Files) -> None:
    expected = f"expected one folder for each class, such as {folder / 'cat'} and {folder / 'dog'}"
    if not found:
        here = _files(str(folder))
        tables = [name for name in here if any(part in FORMATS for part in Path(name).suffixes)]
        loose = sum(map(files.holds, here))
        what = (
            f"{counted(loose, files.one)} but no folders of classes"
            if loose
            else f"no {files.many} in folders of classes"
        )
        more = f"; it holds {_some(tables)}: give one of those" if tables else ""
        raise DataError(f"{folder} is a folder with {what}; {expected}{more}")
    train = {label for part, label, _ in found if part in ("train", "")}
    if len(train) < 2:
        only = f"only {next(iter(train))!r}" if train else "no class"
        deeper = f"; should it be {folder / top[0]}?" if len(top) == 1 else ""
        raise DataError(
            f"{folder} has {only} with training {files.many}, so there is nothing to tell apart; {expected}{deeper}"
        )
    unknown = sorted({label for _, label, _ in found} - train)
    if unknown:
        raise DataError(
            f"{folder}: the class {_some(unknown)} has no training {files.many}; add some to its train folder, or remove it elsewhere"
        )


def look_folder(folder: Path, progress: Progress | None = None) -> Look:
    """Pictures of a folder as a frame of columns image (absolute path), label, and split where the folder has parts.

    Each picture is decoded once: what cannot be read is left out, with a warning.

    Raises:
        DataError: as `list_folder`, or as `kept`.
    """
    listing = list_folder(folder)
    if not _is_utf8(listing.root):
        raise DataError(f"the path {os.fsencode(listing.root)!r} is not UTF-8; rename its folders")
    reasons, notes = inspect([f"{listing.root}/{path}" for path in listing.paths], progress)
    return kept(folder, listing, reasons, notes, "image", PICTURES)


def kept(
    folder: Path,
    listing: Listing,
    reasons: Sequence[str],
    notes: Sequence[str],
    kind: Literal["image", "audio", "series"],
    files: Files,
    cells: pl.Series | None = None,
) -> Look:
    """What is left of a folder without the files that cannot be read.

    Args:
        reasons: why each file cannot be read; empty where it can. notes: sentences on the others.
        kind: of the first column, which has its name. cells: of it, of the good files; None for their paths.

    Raises:
        DataError: more than a fifth of the files, or a whole class of them, cannot be read.
    """
    bad = [i for i, reason in enumerate(reasons) if reason]
    warnings = [*listing.warnings, *notes]
    if bad:
        named = [(listing.paths[i], reasons[i]) for i in bad]
        warnings.insert(0, left_out(named, len(reasons), files.one))
        refuse_bad(str(folder), named, len(reasons), files.one)
    good = np.array([i for i, reason in enumerate(reasons) if not reason], dtype=np.int64)
    train = [listing.parts is None or listing.parts[i] == "train" for i in range(len(reasons))]
    lost = {listing.labels[i] for i in bad if train[i]} - {listing.labels[i] for i in good if train[i]}
    if lost:
        raise DataError(f"{folder}: no training {files.one} of {_some(sorted(lost))} can be read; {warnings[0]}")
    if cells is None:
        cells = pl.Series([f"{listing.root}/{listing.paths[i]}" for i in good], dtype=pl.String)
    labels = pl.Series("label", [listing.labels[i] for i in good], dtype=pl.String)
    columns = [cells.alias(kind), labels.cast(pl.Categorical)]  # classes, even where their names are numbers
    if listing.parts:
        columns.append(pl.Series("split", [listing.parts[i] for i in good], dtype=pl.String))
    return Look(
        pl.DataFrame(columns),
        tuple(warnings),
        f"folder of {files.many}",
        target="label",
        split_column="split" if listing.parts else None,
        kinds={kind: kind},
        kept=good if bad else None,
    )


def inspect(paths: Sequence[str], progress: Progress | None = None) -> tuple[list[str], list[str]]:
    """Decode each picture once: why it cannot be read (empty where it can), and sentences on what is changed in the others."""

    def see(_: int, path: str) -> tuple[str, tuple[str, ...]]:
        try:
            return "", decode(path, SMALL).treated
        except BadPicture as error:
            return str(error), ()

    seen = for_each(paths, see, progress)
    treated = Counter(what for _, treatments in seen for what in treatments)
    notes = [f"{counted(n, 'picture')}: {what}" for what, n in sorted(treated.items())]
    return [reason for reason, _ in seen], notes


def refuse_bad(name: str, bad: Sequence[tuple[str, str]], total: int, one: str = "picture") -> None:
    """Refuse data of which too many pictures (or what `one` calls them) cannot be read.

    Raises:
        DataError: more than a fifth.
    """
    if len(bad) > MAX_BAD * total:
        raise DataError(
            f"{name}: {left_out(bad, total, one)}; that is more than a fifth, so is this the right data? Mend or remove them"
        )


def pictures_below(path: Path) -> list[str]:
    """All pictures of a folder and of those below it, as paths below it, in order; of a picture file its own name.

    Raises:
        DataError: there is none.
    """
    return files_below(path, PICTURES, "cat.jpg")


def files_below(path: Path, files: Files, example: str) -> list[str]:
    """The same of files of any kind."""
    if path.is_file():
        return [path.name]
    other: Counter[str] = Counter()
    found = list(_below(os.path.abspath(path), "", other, files))
    if not found:
        what = ", ".join(_strays(other, files)) or "it is empty"
        raise DataError(f"{path} holds no {files.many} ({what}); expected files such as {example}")
    return found
