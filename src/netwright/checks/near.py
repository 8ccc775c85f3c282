"""Rows of the test part that are nearly those of the training part: pictures saved twice, texts from one form letter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from netwright.checks.data import content_keys, text_keys
from netwright.core.finding import Figure, Finding, Picture, Table
from netwright.core.seed import numpy_generator
from netwright.data.data import Data
from netwright.data.images import to_png
from netwright.data.shrink import shrink
from netwright.model import Subject

ALIKE = 0.995
"""Correlation of shrunk pixels from which two images count as nearly the same: handwritten digits hardly ever reach it."""
SHARE = 0.01
_ROWS = 2_000
_VALUES = 256
_MAX_CELLS = 50_000_000
_SHOWN = 8


@dataclass(frozen=True)
class _Pairs:
    """Test rows (n,), the training row nearest to each (n,), and how many test rows were looked at."""

    test: np.ndarray
    train: np.ndarray
    looked: int


def near_duplicates(subject: Subject, *, budget_seconds: float, seed: int) -> Finding:
    """Share of up to 2,000 test rows that are nearly a training row without being equal to one.

    Images: the correlation of pixels, shrunk to at most 256 values, is 0.995 or more, as after another compression, a change
    of brightness or of a few pixels. Texts: the letters are the same in order, whatever the digits, signs and space. Warns
    from 1 %.

    Source: Barz and Denzler (2020); for texts Lee et al. (2022).
    """
    data: Data = subject.need("data")
    n = len(data.split["test"])
    looked = np.sort(numpy_generator(seed, "near-duplicates").permutation(n)[:_ROWS])
    found = _images(data, looked) if data.spec.images else _texts(data, looked)
    equal = np.isin(content_keys(data, "test")[found.test], content_keys(data, "train"))
    found = _Pairs(found.test[~equal], found.train[~equal], len(looked))
    share = len(found.test) / max(found.looked, 1)
    what = "images" if data.spec.images else "texts"
    y = [data.y(part) for part in ("train", "test")]
    other = int((y[0][found.train] != y[1][found.test]).sum())
    return Finding(
        probe="near-duplicates",
        family="checks",
        verdict="warn" if share >= SHARE else "info" if share else "pass",
        title=f"{share:.1%} of {found.looked:,} test {what} are nearly, but not quite, those of a training row"
        + (f"; {other} of them with another target" if other else ""),
        measured={"near_copies_share": round(share, 6), "rows": found.looked, "with_another_target": other},
        expected=f"less than {SHARE:.0%}",
        why="A row that is hardly different from one in training is answered from memory, so that the score is too good for rows "
        "that are really new.",
        todo="Put rows of one origin into one part with --group COLUMN, or remove the copies before the split."
        if share >= SHARE
        else "",
        tables=_table(data, found) if data.spec.texts and len(found.test) else (),
        figures=_figure(data, found) if data.spec.images and len(found.test) else (),
    )


def _images(data: Data, looked: np.ndarray) -> _Pairs:
    """The nearest training image of each test image, where it is near enough."""
    name = data.spec.images[0].name
    known = _unit(shrink(data.block("train").x[name][: _MAX_CELLS // _VALUES], _VALUES))
    test, best = _unit(shrink(data.block("test").x[name], _VALUES, looked)), np.empty((2, len(looked)))
    for first in range(0, len(looked), 256):
        alike = test[first : first + 256] @ known.T
        best[0, first : first + len(alike)], best[1, first : first + len(alike)] = alike.argmax(1), alike.max(1)
    near = best[1] >= ALIKE
    return _Pairs(looked[near], best[0, near].astype(np.int64), len(looked))


def _unit(values: np.ndarray) -> np.ndarray:
    """Rows centred and of length 1, so that products are correlations; rows of one value stay 0."""
    values = values - values.mean(1, keepdims=True)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.where(length > 1e-6, length, 1.0)


def _texts(data: Data, looked: np.ndarray) -> _Pairs:
    """A training text of the same letters for each test text that has one; texts of a few letters do not count."""

    def letters(text: str) -> str:
        return "".join(c if c.isalpha() else " " for c in text)

    names = [t.name for t in data.spec.texts]
    train, test = data.texts("train"), data.texts("test")
    joined = [
        np.array([" ".join(part[n][i] for n in names) for i in rows], dtype=object)
        for part, rows in ((train, np.arange(len(data.split["train"]))), (test, looked))
    ]
    keys = [text_keys(list(cells), letters) for cells in joined]
    place = {int(key): i for i, key in reversed(list(enumerate(keys[0])))}
    long = np.array([sum(c.isalpha() for c in text) >= 20 for text in joined[1]], dtype=bool)
    near = np.array([int(key) in place for key in keys[1]], dtype=bool) & long
    return _Pairs(looked[near], np.array([place[int(key)] for key in keys[1][near]], dtype=np.int64), len(looked))


def _table(data: Data, found: _Pairs) -> tuple[Table, ...]:
    name = data.spec.texts[0].name
    train, test = data.texts("train")[name], data.texts("test")[name]
    rows = [
        (int(data.split["test"][i]), test[i][:120], int(data.split["train"][j]), train[j][:120])
        for i, j in zip(found.test[:_SHOWN], found.train[:_SHOWN], strict=True)
    ]
    return (Table(title="Some of them", columns=("test row", "text", "training row", "its text"), rows=tuple(rows)),)


def _figure(data: Data, found: _Pairs) -> tuple[Figure, ...]:
    field = data.spec.images[0]
    pictures = []
    for i, j in zip(found.test[:_SHOWN], found.train[:_SHOWN], strict=True):
        for words, part, row in (("test", "test", i), ("training", "train", j)):
            pixels = data.block(part).x[field.name][int(row)].numpy()  # type: ignore[arg-type]
            png = to_png(pixels, field.low, field.high)
            pictures.append(Picture(png=png, caption=f"{words} row {int(data.split[part][row])}"))  # type: ignore[index]
    return (Figure(title="Test images beside their training images", kind="pictures", pictures=tuple(pictures)),)
