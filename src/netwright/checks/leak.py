"""Checks for columns that give the target away."""

from __future__ import annotations

import time

import numpy as np

from netwright.checks.data import Column, columns
from netwright.core.finding import Figure, Finding, Series, Table
from netwright.core.seed import derive, numpy_generator
from netwright.data.cells import counted
from netwright.data.data import PARTS, Data
from netwright.model import Subject

CERTAIN = 0.9999
"""Share of rows (or R2) from which two columns count as the same in other words."""
LEAKS, SUSPICIOUS = 0.999, 0.98
"""AUC or R2 of one column alone."""
FEW = 50
"""Fewer validation rows than this prove no leak."""
_MAX_ROWS = 50_000


def target_copy(subject: Subject, *, budget_seconds: float, seed: int) -> Finding:
    """A column that is the target in other words: over all rows each value goes with one class and each class with one value,
    or, for numbers, one is a straight line or a rising (falling) function of the other.

    Fails (and stops a run) at 99.99 % of the rows: what a network would learn is known already.
    """
    data: Data = subject.need("data")
    y = np.concatenate([data.y(part) for part in PARTS])
    rows = [(c.name, *_sameness(c, y, data.target.is_number)) for c in columns(data)]
    rows.sort(key=lambda r: -r[1])
    copies = [r for r in rows if r[1] >= CERTAIN]
    name = data.target.name
    best = rows[0] if rows else ("", 0.0, "")
    return Finding(
        probe="target-copy",
        family="checks",
        verdict="fail" if copies else "pass",
        title=f"{_list([r[0] for r in copies])} {'is' if len(copies) == 1 else 'are'} the target {name!r} in other words: {copies[0][2]}"
        if copies
        else f"no column is a copy of the target {name!r}",
        measured={"copies": len(copies), "nearest_column": best[0], "nearest_sameness_share": round(best[1], 6)},
        expected=f"no column with a sameness of {CERTAIN:.2%} or more",
        why="Where a column and the target determine each other, the column is mostly the answer written down a second time, "
        "and it will not be there when predictions are wanted. The score would be perfect and worth nothing.",
        todo=f"Leave it out with --drop {copies[0][0]}. If it really is known before the target is, go on with --force."
        if copies
        else "",
        tables=(
            Table(title="Nearest to a copy of the target", columns=("column", "sameness", "how"), rows=tuple(rows[:5])),
        ),
    )


def _sameness(column: Column, y: np.ndarray, is_number: bool) -> tuple[float, str]:
    """From 0 to 1: how far column and target determine each other; and in which way."""
    if is_number and not column.n_codes:
        seen = ~np.isnan(column.values)
        x, z = column.values[seen], y[seen]
        if seen.mean() < CERTAIN or len(np.unique(x)) < 3 or len(np.unique(z)) < 3:
            return 0.0, ""
        line = float(np.corrcoef(x, z)[0, 1] ** 2)
        x_rank, z_rank = (np.unique(v, return_inverse=True)[1].astype(float) for v in (x, z))
        order = float(np.corrcoef(x_rank, z_rank)[0, 1] ** 2)
        return (line, "a straight line of the target") if line >= order else (order, "in the target's order")
    codes, classes = column.codes, np.unique(y, return_inverse=True)[1]
    ways = [(codes, "each of its values goes with one value of the target, and the other way round")]
    if not column.n_codes and np.isnan(column.values).any():
        ways.append(
            (np.isnan(column.values).astype(np.int64), "its cells are missing for one value of the target only")
        )
    best = (0.0, "")
    for coded, how in ways:
        n_values, n_classes = int(coded.max()) + 1, int(classes.max()) + 1
        if 10 * max(n_values, n_classes) > len(y) or len(np.unique(coded)) < 2:
            continue
        table = np.bincount(coded * n_classes + classes, minlength=n_values * n_classes).reshape(n_values, n_classes)
        mutual = (table == table.max(1, keepdims=True)) & (table == table.max(0, keepdims=True))
        best = max(best, (float((table * mutual).sum() / len(y)), how))
    return best


def leak(subject: Subject, *, budget_seconds: float, seed: int) -> Finding:
    """How well each column alone predicts the target: a small tree (numbers) or the class shares of each category, fitted on
    training rows, scored on validation rows by AUC (mean over one-against-rest) or R2.

    Fails from 0.999, warns from 0.98.
    """
    data: Data = subject.need("data")
    rng = numpy_generator(seed, "leak")
    keep = {part: sampled(len(data.block(part)), rng) for part in ("train", "valid")}
    y, z = data.y("train")[keep["train"]], data.y("valid")[keep["valid"]]
    rows: list[tuple[str, float]] = []
    pairs = list(zip(columns(data, ("train",)), columns(data, ("valid",)), strict=True))
    began = 0.0
    for train, valid in pairs:
        if len(rows) == 1:  # the first column pays for imports and is always examined
            began = time.monotonic()
        if rows and time.monotonic() - began > budget_seconds:
            break
        fitted = Column(train.name, train.values[keep["train"]], train.n_codes)
        prediction = alone(
            fitted,
            y,
            valid.values[keep["valid"]],
            0 if data.target.is_number else data.target.n_out,
            derive(seed, "leak"),
        )
        rows.append((train.name, r2_of(z, prediction) if data.target.is_number else mean_auc(z, prediction)))
    rows.sort(key=lambda r: -r[1])
    return _leak_finding(data, rows, len(pairs) - len(rows), len(z))


def _leak_finding(data: Data, rows: list[tuple[str, float]], n_skipped: int, n_valid: int) -> Finding:
    score = "R2" if data.target.is_number else "AUC"
    certain = [r for r in rows if r[1] >= LEAKS and n_valid >= FEW]
    suspicious = [r for r in rows if r[1] >= SUSPICIOUS]
    found = certain or suspicious
    best = rows[0] if rows else ("", 0.0)
    verb = "predicts" if len(found) == 1 else "predict"
    left = f" ({counted(n_skipped, 'column')} not examined: out of time)" if n_skipped else ""
    return Finding(
        probe="leak",
        family="checks",
        verdict="fail" if certain else "warn" if suspicious else "pass",
        title=(
            f"{_list([r[0] for r in found])} alone {verb} {data.target.name!r} almost perfectly ({score} {best[1]:.4f})"
            if found
            else f"no single column predicts {data.target.name!r} almost perfectly; the best is {best[0]!r} with {score} {best[1]:.3f}"
        )
        + left,
        measured={
            "best_column": best[0],
            f"best_{score.lower()}": round(best[1], 6),
            "valid_rows": n_valid,
            "columns": len(rows),
        },
        expected=f"{score} of one column alone below {SUSPICIOUS} (a leak from {LEAKS})",
        why="A column that was filled in after the target was known gives a perfect score now and nothing later. "
        "Some honest columns are as good: only who knows how the data came about can tell.",
        todo=f"Ask when {found[0][0]!r} is known: if only with or after the target, leave it out with --drop {found[0][0]}."
        if found
        else "",
        tables=(
            Table(
                title="Score of one column alone, on validation rows", columns=("column", score), rows=tuple(rows[:20])
            ),
        ),
        figures=(
            Figure(
                title=f"{score} of one column alone",
                kind="bar",
                series=(Series(x=tuple(r[0] for r in rows[:20]), y=tuple(r[1] for r in rows[:20])),),
                y_label=score,
            ),
        ),
    )


def alone(train: Column, y: np.ndarray, valid: np.ndarray, n_classes: int, seed: int) -> np.ndarray:
    """Predictions from one column: class shares (N, C), or values (N,) where `n_classes` is 0."""
    if train.n_codes:
        by_category: np.ndarray = _means(train, y, n_classes)[valid]
        return by_category
    return _tree(train.values, y, valid, n_classes, seed) if n_classes else _curve(train.values, y, valid, seed)


def _means(train: Column, y: np.ndarray, n_classes: int) -> np.ndarray:
    """Mean target, or class shares, of each category, drawn towards those of all rows by one row's worth."""
    size = np.bincount(train.values, minlength=train.n_codes).astype(float)
    if not n_classes:
        means: np.ndarray = (np.bincount(train.values, y, minlength=train.n_codes) + y.mean()) / (size + 1)
        return means
    table = np.bincount(train.values * n_classes + y, minlength=train.n_codes * n_classes).reshape(-1, n_classes)
    shares: np.ndarray = (table + np.bincount(y, minlength=n_classes) / len(y)) / (size[:, None] + 1)
    return shares


def _tree(x: np.ndarray, y: np.ndarray, valid: np.ndarray, n_classes: int, seed: int) -> np.ndarray:
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_leaf_nodes=64, min_samples_leaf=3, random_state=seed % 2**32)
    tree.fit(x.reshape(-1, 1), y)
    probability = np.zeros((len(valid), n_classes))
    probability[:, tree.classes_] = tree.predict_proba(valid.reshape(-1, 1))
    return probability


def _curve(x: np.ndarray, y: np.ndarray, valid: np.ndarray, seed: int) -> np.ndarray:
    """A tree's steps or a bent line, whichever is nearer to the training rows."""
    from sklearn.tree import DecisionTreeRegressor

    tree = DecisionTreeRegressor(max_leaf_nodes=256, min_samples_leaf=3, random_state=seed % 2**32)
    tree.fit(x.reshape(-1, 1), y)
    both = np.concatenate([x, valid])
    fits = [np.asarray(tree.predict(both.reshape(-1, 1))), _bent_line(x, y, both)]
    best = min(fits, key=lambda fit: float(((y - fit[: len(y)]) ** 2).sum()))
    return best[len(y) :]


def _bent_line(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The line through the means of at most 256 ranges of x, straight on beyond the outer ones; gaps get their own mean."""
    seen = ~np.isnan(x)
    gap = y[~seen].mean() if (~seen).any() else y.mean()
    values, ranks = np.unique(x[seen], return_inverse=True)
    if len(values) < 2:
        return np.full(len(at), y.mean())
    ranges = ranks * min(256, len(values)) // len(values)
    size = np.bincount(ranges)
    knots, heights = np.bincount(ranges, x[seen]) / size, np.bincount(ranges, y[seen]) / size
    z = np.nan_to_num(at)
    left = np.clip(np.searchsorted(knots, z) - 1, 0, len(knots) - 2)
    slope = np.diff(heights) / np.diff(knots)
    line: np.ndarray = np.where(np.isnan(at), gap, heights[left] + slope[left] * (z - knots[left]))
    return line


def mean_auc(y: np.ndarray, probability: np.ndarray) -> float:
    """Area under the ROC curve of each class against the rest, averaged over the classes that are there; 0.5 where only one is.

    Source: Hand and Till (2001); Mann and Whitney (1947) for the ranks.

    >>> round(mean_auc(np.array([0, 0, 1, 1]), np.array([[0.9, 0.1], [0.6, 0.4], [0.65, 0.35], [0.2, 0.8]])), 6)
    0.75
    """
    areas = []
    for c in np.unique(y):
        positive = y == c
        n, m = int(positive.sum()), int((~positive).sum())
        if n and m:
            _, place, ties = np.unique(probability[:, c], return_inverse=True, return_counts=True)
            ranks = (np.cumsum(ties) - (ties - 1) / 2)[place]
            areas.append((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))
    return float(np.mean(areas)) if areas else 0.5


def r2_of(y: np.ndarray, prediction: np.ndarray) -> float:
    spread = ((y - y.mean()) ** 2).sum()
    return float(1 - ((y - prediction) ** 2).sum() / spread) if spread > 0 else 0.0


def sampled(n: int, rng: np.random.Generator) -> np.ndarray:
    return np.arange(n) if n <= _MAX_ROWS else np.sort(rng.choice(n, _MAX_ROWS, replace=False))


def _list(names: list[str]) -> str:
    shown = ", ".join(repr(n) for n in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")
