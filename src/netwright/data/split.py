"""Which rows train, validate and test: named by a column, by whole groups, by time, or stratified by the target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from netwright.core.errors import DataError, UsageError
from netwright.core.seed import numpy_generator
from netwright.core.spec import Task
from netwright.data.cells import counted, to_days, to_labels, to_numbers, to_text
from netwright.data.data import PARTS, Part
from netwright.data.infer import SPLIT_NAMES, pick_column

MIN_ROWS = 10
"""Fewer rows than this are not split."""
FRACTIONS = (0.64, 0.16, 0.20)
_BINS = 20
_TRIES = 64


@dataclass(frozen=True)
class Split:
    """Row numbers of each part (int64, rising, disjoint) and how they were chosen, in one sentence."""

    rows: dict[Part, np.ndarray]
    how: str


def split_rows(
    frame: pl.DataFrame,
    *,
    target: str,
    task: Task,
    seed: int,
    split_column: str | None = None,
    group: str | None = None,
    time: str | None = None,
    fractions: tuple[float, float, float] = FRACTIONS,
) -> dict[Part, np.ndarray]:
    """The rows of `plan_split`.

    >>> frame = pl.DataFrame({"y": ["a", "b"] * 50})
    >>> {part: len(rows) for part, rows in split_rows(frame, target="y", task="binary", seed=0).items()}
    {'train': 64, 'valid': 16, 'test': 20}
    """
    return plan_split(
        frame,
        target=target,
        task=task,
        seed=seed,
        split_column=split_column,
        group=group,
        time=time,
        fractions=fractions,
    ).rows


def plan_split(
    frame: pl.DataFrame,
    *,
    target: str,
    task: Task,
    seed: int,
    split_column: str | None = None,
    group: str | None = None,
    time: str | None = None,
    fractions: tuple[float, float, float] = FRACTIONS,
) -> Split:
    """Cut rows into train, valid and test; each row goes into one part, and every class has a training row.

    Args:
        frame: all rows.
        target: column to stratify by: classes as they are, numbers by their order (rows alike in target are spread evenly).
        task: "number" or classes.
        seed: same seed, same rows.
        split_column: a column of the words train, valid (validation, val, dev) and test, whatever their case. A part that it
            lacks is taken from the training rows: 20 % of them.
        group: a column whose equal cells stay together in one part; a missing cell is a group of its own.
        time: a column of dates or numbers: the oldest rows train, the newest test, equal times stay together.
        fractions: shares of train, valid, test (without `split_column`); their sum is 1.

    Raises:
        UsageError: `group` together with `time`, or fractions that are no shares.
        DataError: no such column; fewer than 10 rows; words that name no part; too few groups or times; a class that only
            newer rows have.
    """
    if group and time:
        raise UsageError(
            "--group and --time were given together; choose one: whole groups apart, or oldest before newest"
        )
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise UsageError(
            f"fractions are {fractions}; expected three positive shares of train, valid and test whose sum is 1"
        )
    y = pick_column(frame, target, "target column")
    for option, name in (("--split-column", split_column), ("--group", group), ("--time", time)):
        if name == target:
            raise UsageError(f"{option} {name} is the target itself; choose another column")
    if frame.height < MIN_ROWS:
        raise DataError(
            f"the data has {counted(frame.height, 'row')}; at least {MIN_ROWS} are needed to train, validate and test"
        )
    cut = _Cutter(_ranks(y, task), seed, _groups(frame, group), _times(frame, time))
    if split_column:
        rows, how = _named(pick_column(frame, split_column, "split column"), cut)
    else:
        everyone = np.arange(frame.height)
        rest, test = cut(everyone, fractions[2], "test")
        train, valid = cut(rest, fractions[1] / (fractions[0] + fractions[1]), "valid")
        rows, how = {"train": train, "valid": valid, "test": test}, cut.how
    if task != "number":
        _every_class_in_train(rows, to_labels(y), movable=not (group or time or split_column))
    return Split({part: np.sort(rows[part]).astype(np.int64) for part in PARTS}, how)


@dataclass(frozen=True)
class _Cutter:
    """Cuts a share off some rows."""

    ranks: np.ndarray
    seed: int
    groups: np.ndarray | None
    times: np.ndarray | None

    @property
    def how(self) -> str:
        if self.times is not None:
            return "by time: the oldest rows train, the newest test"
        if self.groups is not None:
            return f"whole groups apart ({int(self.groups.max()) + 1:,} of them), stratified as far as groups allow"
        return "at random, stratified by the target"

    def __call__(self, rows: np.ndarray, share: float, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The rows that stay, and those that are cut off."""
        if self.times is not None:
            taken = _newest(self.times[rows], share)
        elif self.groups is not None:
            taken = self._whole_groups(rows, share, name)
        else:
            taken = self._stratified(rows, share, name)
        return rows[~taken], rows[taken]

    def _stratified(self, rows: np.ndarray, share: float, name: str) -> np.ndarray:
        """Every k-th row of the rows in order of target, ties in random order: each class, each range gets its share."""
        rng = numpy_generator(self.seed, "split", name)
        order = np.lexsort((rng.random(len(rows)), self.ranks[rows]))
        n_taken = min(max(round(share * len(rows)), 1), len(rows) - 1)
        places = np.floor((np.arange(n_taken) + rng.random()) * len(rows) / n_taken).astype(np.int64)
        taken = np.zeros(len(rows), bool)
        if len(np.unique(self.ranks)) > _BINS:  # numbers: any row of each stretch, not its k-th
            edges = np.floor(np.arange(n_taken + 1) * len(rows) / n_taken).astype(np.int64)
            places = rng.integers(edges[:-1], edges[1:])
        taken[order[places]] = True
        return taken

    def _whole_groups(self, rows: np.ndarray, share: float, name: str) -> np.ndarray:
        """Of many random cuts between groups, the one whose size and mix of targets is nearest to the wanted ones.

        Scikit-learn's StratifiedGroupKFold places group after group, which takes minutes for 100,000 of them.
        """
        assert self.groups is not None
        rng = numpy_generator(self.seed, "split", name)
        _, member = np.unique(self.groups[rows], return_inverse=True)
        n_groups = int(member.max()) + 1
        if n_groups < 2:
            raise DataError(
                f"--group leaves {counted(n_groups, 'group')} to cut the {name} rows from; at least 3 groups are needed in all"
            )
        size = np.bincount(member)
        _, strata = np.unique(self.ranks[rows], return_inverse=True)
        bins = strata if strata.max() < _BINS else np.argsort(np.argsort(strata, kind="stable")) * _BINS // len(rows)
        table = np.zeros((n_groups, int(bins.max()) + 1))
        np.add.at(table, (member, bins), 1)
        wanted = share * table.sum(0)
        best, best_cost = np.zeros(0, np.int64), np.inf
        for _ in range(_TRIES):
            order = rng.permutation(n_groups)
            total = np.cumsum(size[order])
            n_taken = min(max(int(np.argmin(np.abs(total - share * len(rows)))) + 1, 1), n_groups - 1)
            counts = table[order[:n_taken]].sum(0)
            cost = float(np.abs(counts - wanted).sum()) + len(rows) * float(
                ((counts == table.sum(0)) & (counts > 0)).sum()
            )
            if cost < best_cost:
                best, best_cost = order[:n_taken], cost
        return np.isin(member, best)


def _newest(times: np.ndarray, share: float) -> np.ndarray:
    """The newest rows, cut where the time changes, as near to the share as can be."""
    different, count = np.unique(times, return_counts=True)
    if len(different) < 2:
        raise DataError(
            "--time leaves rows of one single time to cut, but at least 3 different times are needed in all"
        )
    newer = np.cumsum(count[::-1])[:-1]
    first = different[::-1][int(np.argmin(np.abs(newer - share * len(times))))]
    taken: np.ndarray = times >= first
    return taken


def _ranks(y: pl.Series, task: Task) -> np.ndarray:
    """Numbers by which rows with a like target come to lie together."""
    values = to_numbers(y) if task == "number" else to_labels(y)
    return values.rank("dense").fill_null(0).to_numpy().astype(np.int64)


def _groups(frame: pl.DataFrame, name: str | None) -> np.ndarray | None:
    if name is None:
        return None
    labels = to_labels(pick_column(frame, name, "group column"))
    codes = labels.rank("dense").to_numpy().astype(np.float64)
    alone = np.isnan(codes)
    codes[alone] = np.nanmax(codes, initial=0) + 1 + np.arange(alone.sum())
    _, members = np.unique(codes, return_inverse=True)
    if members.max() < 2:
        raise DataError(
            f"--group {name}: the column holds {counted(int(members.max()) + 1, 'group')}; at least 3 are needed, one for each part"
        )
    grouped: np.ndarray = members
    return grouped


def _times(frame: pl.DataFrame, name: str | None) -> np.ndarray | None:
    if name is None:
        return None
    column = pick_column(frame, name, "time column")
    days = to_days(column)
    if column.dtype == pl.String and days.null_count():
        days = to_numbers(column)
    if days.null_count():
        at = int(days.is_null().arg_true()[0])
        came = f"--time {name}: {counted(days.null_count(), 'cell')} no date or number (row {at + 1}: {column[at]!r})"
        raise DataError(f"{came}; fill them in, or remove those rows")
    if days.n_unique() < 3:
        raise DataError(
            f"--time {name}: the column holds {counted(days.n_unique(), 'different time')}; at least 3 are needed"
        )
    times: np.ndarray = days.to_numpy()
    return times


def _named(column: pl.Series, cut: _Cutter) -> tuple[dict[Part, np.ndarray], str]:
    """Parts by the words of a column; those that it lacks are cut off the training rows."""
    words = to_text(column.cast(pl.String)).str.to_lowercase()
    if words.null_count():
        raise DataError(
            f"--split-column {column.name}: {counted(words.null_count(), 'cell')} missing; expected train, valid or test in each row"
        )
    strange = sorted(set(words.unique().to_list()) - SPLIT_NAMES.keys())
    if strange:
        shown = ", ".join(map(repr, strange[:5])) + (", ..." if len(strange) > 5 else "")
        raise DataError(
            f"--split-column {column.name} holds {shown}; recognised are {', '.join(SPLIT_NAMES)} (in any case)"
        )
    parts = words.replace(SPLIT_NAMES).to_numpy()
    rows: dict[Part, np.ndarray] = {part: np.flatnonzero(parts == part) for part in PARTS}
    notes = []
    for part in ("test", "valid"):
        if not len(rows["train"]) or (not len(rows[part]) and len(rows["train"]) < MIN_ROWS):
            n = counted(len(rows["train"]), "training row")
            raise DataError(
                f"--split-column {column.name} names {n}; at least {MIN_ROWS} are needed to take {part} rows from them"
            )
        if not len(rows[part]):
            rows["train"], rows[part] = cut(rows["train"], 0.2, part)
            notes.append(f"{part} is {len(rows[part]):,} of its training rows, {cut.how}")
    return rows, "; ".join([f"as column {column.name!r} says", *notes])


def _every_class_in_train(rows: dict[Part, np.ndarray], labels: pl.Series, *, movable: bool) -> None:
    """Give training one row of every class, or say which class it lacks."""
    codes = labels.rank("dense").fill_null(0).to_numpy().astype(np.int64)
    absent = np.setdiff1d(codes, codes[rows["train"]])
    if len(absent) and not movable:
        shown = ", ".join(repr(labels[int(np.argmax(codes == c))]) for c in absent[:5])
        raise DataError(
            f"no training row has the target's {'class' if len(absent) == 1 else 'classes'} {shown}; drop those rows, or split otherwise"
        )
    for code in absent:
        part: Part = "valid" if (codes[rows["valid"]] == code).any() else "test"
        at = int(np.argmax(codes[rows[part]] == code))
        rows["train"] = np.append(rows["train"], rows[part][at])
        rows[part] = np.delete(rows[part], at)
