"""Checks of single columns and of the target: constants, identifiers, missing cells, unequal classes, too few rows."""

from __future__ import annotations

import numpy as np
import polars as pl

from netwright.checks.data import columns
from netwright.core.finding import Figure, Finding, Series, Table
from netwright.data.cells import counted, to_labels
from netwright.data.data import PARTS, Data
from netwright.data.images import is_images
from netwright.data.infer import guess_kind
from netwright.model import Subject

NEARLY = 0.999
"""Share of one value from which a column is nearly constant."""
FEW_PER_CLASS = 20
"""Fewer training rows of a class than this teach little, fewer test rows measure little."""


def constant_columns(subject: Subject, *, budget_seconds: float, seed: int) -> Finding:
    """Columns that have one value on all training rows, or on 99.9 % of them; whether the network is fed with them."""
    data: Data = subject.need("data")
    rows: list[tuple[str, str, float, int, bool]] = []
    for column in columns(data, ("train",)):
        values, counts = np.unique(column.values, return_counts=True)
        if counts.max() >= NEARLY * counts.sum():
            value = float(values[counts.argmax()])
            if column.n_codes:
                value_text = str(dict(enumerate(_categories(data, column.name), 1)).get(int(value), "(unknown)"))
            else:
                value_text = "(missing)" if np.isnan(value) else f"{value:g}"
            rows.append((column.name, value_text, float(counts.max() / counts.sum()), len(values), True))
    for name in _left_out(data):
        cells = data.part("train")[name]
        if not is_images(cells) and cells.n_unique() == 1:
            rows.append((name, str(cells[0])[:40], 1.0, 1, False))
    constant = [r[0] for r in rows if r[3] == 1 and r[4]]
    nearly = [r[0] for r in rows if r[3] > 1]
    left_out = [r[0] for r in rows if not r[4]]
    said = [
        f"{len(constant)} constant" if constant else "",
        f"{len(nearly)} nearly constant" if nearly else "",
        f"{len(left_out)} constant and left out already" if left_out else "",
    ]
    named = ", ".join(repr(r[0]) for r in rows[:4]) + (", ..." if len(rows) > 4 else "")
    return Finding(
        probe="constant-columns",
        family="checks",
        verdict="warn" if constant else "info" if rows else "pass",
        title=f"columns: {', '.join(filter(None, said))} ({named})"
        if rows
        else "no column is constant on the training rows",
        measured={"constant": len(constant), "nearly_constant": len(nearly), "left_out": len(left_out)},
        expected="no input that has one value on all training rows",
        why="A constant input teaches nothing, and a value of it that training never saw meets weights that never learnt.",
        todo=f"Leave it out with --drop {constant[0]}." if constant else "",
        tables=(
            Table(
                title="Constant columns", columns=("column", "value", "share", "different", "used"), rows=tuple(rows)
            ),
        )
        if rows
        else (),
    )


def _categories(data: Data, name: str) -> tuple[str, ...]:
    return next(f.categories for f in data.spec.categories if f.name == name)


def _left_out(data: Data) -> list[str]:
    """Raw columns that do not go into the network."""
    if data.frame is None:
        return []
    return [c for c in data.frame.columns if c not in data.spec.names and c != data.target.name]


def identifier_columns(subject: Subject, *, budget_seconds: float, seed: int) -> Finding:
    """Columns that are guessed to be identifiers (`infer.infer_kinds`), and whether the network is fed with them."""
    data: Data = subject.need("data")
    frame = pl.concat([data.part(part) for part in PARTS], how="vertical_relaxed") if data.frame is None else data.frame
    rows = []
    seen = {f.name for f in data.spec.fields if f.kind in ("image", "text")}
    for column in frame.iter_columns():
        if column.name != data.target.name and column.name not in seen and not is_images(column):
            guess = guess_kind(column)
            if guess.kind == "identifier":
                rows.append((column.name, guess.reason, column.name in data.spec.names))
    used = [r[0] for r in rows if r[2]]
    left_out = [r[0] for r in rows if not r[2]]
    title = "no column looks like an identifier"
    if used:
        looks = "looks like an identifier and is" if len(used) == 1 else "look like identifiers and are"
        title = f"{', '.join(map(repr, used[:4]))} {looks} fed to the network"
    elif left_out:
        title = f"{', '.join(map(repr, left_out[:4]))}: identifier{'' if len(left_out) == 1 else 's'}, left out"
    return Finding(
        probe="identifier-columns",
        family="checks",
        verdict="warn" if used else "info" if left_out else "pass",
        title=title,
        measured={"used": len(used), "left_out": len(left_out)},
        expected="no identifier among the inputs",
        why="A network can learn identifiers by heart, which helps on training rows only; and where they were given out in the "
        "order of events, they leak the target.",
        todo=f"Leave it out with --drop {used[0]}." if used else "",
        tables=(Table(title="Identifiers", columns=("column", "why", "used"), rows=tuple(rows)),) if rows else (),
    )


def missing_cells(subject: Subject, *, budget_seconds: float, seed: int) -> Finding:
    """Share of missing cells of each column and part; warns where training and test differ by 5 points and more than chance
    (two shares, |z| > 4), or where more than half of a column is missing."""
    data: Data = subject.need("data")
    sizes = [len(data.block(part)) for part in PARTS]
    rows: list[tuple[str, float, float, float]] = []
    for i, field in enumerate(data.spec.numbers):
        counts = [int(data.block(part).x["numbers"][:, i].isnan().sum()) for part in PARTS]
        rows.append((field.name, *_shares(counts, sizes)))
    for category in data.spec.categories:
        counts = [to_labels(data.part(part)[category.name]).null_count() for part in PARTS]
        rows.append((category.name, *_shares(counts, sizes)))
    for text in data.spec.texts:
        counts = [sum(not cell.strip() for cell in data.texts(part)[text.name]) for part in PARTS]
        rows.append((text.name, *_shares(counts, sizes)))
    share = sum(s * n for r in rows for s, n in zip(r[1:], sizes, strict=True)) / max(sum(sizes) * len(rows), 1)
    rows = sorted((r for r in rows if any(r[1:])), key=lambda r: -max(r[1:]))
    differ = [r[0] for r in rows if _differ(r[1], sizes[0], r[3], sizes[2])]
    mostly = [r[0] for r in rows if r[1] > 0.5]
    title = f"{share:.1%} of the cells are missing, in {counted(len(rows), 'column')}" if rows else "no cell is missing"
    if differ:
        title += f"; {', '.join(map(repr, differ[:3]))} differ between training and test"
    return Finding(
        probe="missing-cells",
        family="checks",
        verdict="warn" if differ or mostly else "info" if rows else "pass",
        title=title,
        measured={
            "missing_share": round(share, 6),
            "columns": len(rows),
            "differing": len(differ),
            "mostly_missing": len(mostly),
        },
        expected="the same shares in all parts, no column more than half missing",
        why="The network is told that a cell is missing. Where cells are missing more often in one part, that knowledge does not "
        "carry over; where the gaps depend on the target, they leak it.",
        todo="Find out why the cells are missing."
        + (f" {mostly[0]!r} is mostly missing: consider --drop {mostly[0]}." if mostly else "")
        if differ or mostly
        else "",
        tables=(Table(title="Missing cells", columns=("column", *PARTS), rows=tuple(rows)),) if rows else (),
    )


def _shares(counts: list[int], sizes: list[int]) -> tuple[float, float, float]:
    train, valid, test = (count / n if n else 0.0 for count, n in zip(counts, sizes, strict=True))
    return train, valid, test


def _differ(p: float, n: int, q: float, m: int) -> bool:
    """Whether two shares differ by 5 points and by more than chance."""
    if not n or not m:
        return False
    pooled = (p * n + q * m) / (n + m)
    error = (pooled * (1 - pooled) * (1 / n + 1 / m)) ** 0.5
    return abs(p - q) >= 0.05 and abs(p - q) > 4 * error


def imbalance(subject: Subject, *, budget_seconds: float, seed: int) -> Finding:
    """Shares of the classes on training rows; warns where the largest has 10 times the rows of the smallest."""
    data: Data = subject.need("data")
    counts = np.bincount(data.y("train"), minlength=data.target.n_out)
    order = np.argsort(-counts, kind="stable")
    names = [data.target.classes[i] for i in order]
    ratio = float(counts.max() / max(counts.min(), 1))
    share = float(counts.min() / counts.sum())
    top = float(counts.max() / counts.sum())
    return Finding(
        probe="imbalance",
        family="checks",
        verdict="warn" if ratio >= 10 else "pass",
        title=f"class {names[0]!r} has {top:.1%} of the training rows, {names[-1]!r} {share:.1%} ({ratio:.1f} to 1)",
        measured={
            "largest_share": round(top, 6),
            "smallest_share": round(share, 6),
            "ratio": round(ratio, 3),
            "classes": len(names),
        },
        expected="a ratio below 10 to 1",
        why=f"Whoever always says {names[0]!r} is right in {top:.1%} of the cases, so accuracy says little about the rare classes.",
        todo="Judge by --metric log-loss, roc-auc or balanced-accuracy rather than by accuracy; in Python, class_weight weighs them up."
        if ratio >= 10
        else "",
        tables=(
            Table(
                title="Classes on training rows",
                columns=("class", "rows", "share"),
                rows=tuple(
                    (names[k], int(counts[i]), float(counts[i] / counts.sum())) for k, i in enumerate(order[:50])
                ),
            ),
        ),
        figures=(
            Figure(
                title="Classes on training rows",
                kind="bar",
                series=(Series(x=tuple(names[:50]), y=tuple(int(counts[i]) for i in order[:50])),),
                y_label="rows",
            ),
        ),
    )


def target_shape(subject: Subject, *, budget_seconds: float, seed: int) -> Finding:
    """Heaps (one value with 2 % of the training rows where values are otherwise fine-grained), and long tails (skewness > 2)."""
    data: Data = subject.need("data")
    y = data.y("train")
    values, counts = np.unique(y, return_counts=True)
    spread = y.std() or 1.0
    skewness = float((((y - y.mean()) / spread) ** 3).mean())
    heap, share = float(values[counts.argmax()]), float(counts.max() / len(y))
    heaped = share >= 0.02 and share > 10 / len(values)
    capped = heaped and heap in (values[0], values[-1])
    tailed = abs(skewness) > 2
    said = []
    if heaped:
        end = "highest" if heap == values[-1] else "lowest"
        said.append(f"{share:.1%} of the rows have the {f'{end} value, ' if capped else 'value '}{heap:g}")
    if tailed:
        said.append(f"a long {'upper' if skewness > 0 else 'lower'} tail (skewness {skewness:.1f})")
    bars, edges = np.histogram(y, bins=min(40, len(values)))
    middles = (edges[:-1] + edges[1:]) / 2
    todo = (
        "Values that were cut off say 'at least' (or 'at most'): predict classes, or leave those rows out. "
        if capped
        else ""
    )
    if tailed:
        todo += (
            "Consider predicting the logarithm, and judge by MAE beside RMSE."
            if values[0] > 0
            else "Judge by MAE beside RMSE."
        )
    return Finding(
        probe="target-shape",
        family="checks",
        verdict="warn" if capped or tailed else "info" if heaped else "pass",
        title=f"target {data.target.name!r}: {'; '.join(said)}"
        if said
        else f"target {data.target.name!r} has neither heaps nor long tails",
        measured={
            "skewness": round(skewness, 4),
            "most_frequent_value": heap,
            "most_frequent_share": round(share, 6),
            "different": len(values),
        },
        expected="skewness within -2 and 2, no heap at an end",
        why="Squared error is ruled by the far tail, and values that were cut off cannot be predicted right by any smooth function.",
        todo=todo.strip(),
        figures=(
            Figure(
                title=f"{data.target.name} on training rows",
                kind="bar",
                series=(Series(x=tuple(float(m) for m in middles), y=tuple(int(b) for b in bars)),),
                x_label=data.target.name,
                y_label="rows",
            ),
        ),
    )


def few_rows(subject: Subject, *, budget_seconds: float, seed: int) -> Finding:
    """Rows for each class in each part, and training rows for each column; warns below 20 rows of a class in training or test
    and, in a table, below 10 training rows (of the rarest class) a column."""
    data: Data = subject.need("data")
    n_columns, n_train, n_test = len(data.spec.fields), len(data.block("train")), len(data.block("test"))
    said: list[str] = []
    rows: list[tuple[str, int, int, int]] = []
    rarest = n_train
    if not data.target.is_number:
        counts = {part: np.bincount(data.y(part), minlength=data.target.n_out) for part in PARTS}
        rarest = int(counts["train"].min())
        for i, name in enumerate(data.target.classes):
            rows.append((name, int(counts["train"][i]), int(counts["valid"][i]), int(counts["test"][i])))
        rows.sort(key=lambda r: r[1])
        for part in ("train", "test"):
            few = [data.target.classes[i] for i in np.flatnonzero(counts[part] < FEW_PER_CLASS)]
            if few:
                said.append(
                    f"{counted(len(few), 'class')} with fewer than {FEW_PER_CLASS} {part} rows ({', '.join(map(repr, few[:3]))})"
                )
    elif n_test < FEW_PER_CLASS:
        said.append(f"{counted(n_test, 'test row')}")
    per_column = rarest / max(n_columns, 1)
    is_table = data.spec.kind in ("table", "vector")
    enough_for = (
        counted(n_columns, "column")
        if is_table
        else "a numeric target"
        if data.target.is_number
        else counted(data.target.n_out, "class")
    )
    if per_column < 10 and data.spec.kind == "table":
        of = "" if data.target.is_number else " of the rarest class"
        said.append(f"{per_column:.1f} training rows{of} for each of {counted(n_columns, 'column')}")
    return Finding(
        probe="few-rows",
        family="checks",
        verdict="warn" if said else "pass",
        title="; ".join(said)
        if said
        else f"{n_train:,} training rows and {n_test:,} test rows are enough for {enough_for}",
        measured={
            "train_rows": n_train,
            "test_rows": n_test,
            "rarest_class_rows": rarest,
        }
        | ({"rows_per_column": round(per_column, 3)} if is_table else {}),
        expected=f"{FEW_PER_CLASS} rows of each class in training and test"
        + (", 10 training rows a column" if is_table else ""),
        why="With few rows a network learns them by heart, and the test score has a wide interval.",
        todo=f"Merge rare classes, {'leave columns out, ' if is_table else ''}or get more rows; trust the intervals of the scores "
        "more than the scores."
        if said
        else "",
        tables=(Table(title="Rows of each class, rarest first", columns=("class", *PARTS), rows=tuple(rows[:50])),)
        if rows
        else (),
    )
