"""Whether test rows come from the same place as training rows."""

from __future__ import annotations

import numpy as np

from netwright.checks.data import Column, columns
from netwright.checks.leak import mean_auc
from netwright.checks.properties import properties
from netwright.core.finding import Finding, Table
from netwright.core.seed import derive, numpy_generator
from netwright.data.data import Data, Part
from netwright.data.shrink import shrink
from netwright.model import Subject

_MAX_ROWS = 6_000
_LONGEST = 10_000
FAR = 0.1
"""Distance of two distributions (0 to 1) from which a column counts as moved."""
RARE = 10
SIDES: tuple[Part, Part] = ("train", "test")
PIXELS, TOPICS = 64, 16
"""What a classifier is given of an image and of a text."""


def shift(subject: Subject, *, budget_seconds: float, seed: int) -> Finding:
    """Can a classifier tell test rows from training rows? Gradient boosting learns on half of the rows and is scored by AUC on
    the other half (0.5: cannot tell). Beside it, each column's distance between training and test (Kolmogorov-Smirnov for
    numbers, total variation for categories), and the share of test cells whose category training never saw, against the
    share that is to be expected (of categories with one training row: Good, 1953).

    Images are given to the classifier as 64 shrunk pixels, texts as 16 directions of their TF-IDF; their simple properties
    (brightness, length, ...) count as columns.

    Warns where the AUC is above 0.55 by more than three standard errors, a column has moved by 0.1 and more than chance, or
    5 % of the test cells are new and twice as many as expected. Categories with fewer than 10 training rows count as one.
    """
    data: Data = subject.need("data")
    sides = [columns(data, (part,)) + properties(data, part) for part in SIDES]
    pairs = list(zip(*sides, strict=True))
    rows = sorted((_distance(a, b, len(pairs)) for a, b in pairs), key=lambda r: -r[1])
    auc, error = _told_apart(data, pairs, seed)
    moved = [r[0] for r in rows if r[3]]
    unseen = [r[0] for r in rows if r[4] >= 0.05 and r[4] > 2 * r[5]]
    apart = auc - 3 * error > 0.55
    said = f"a classifier tells test rows from training rows with AUC {auc:.3f}"
    if moved:
        said += f"; {', '.join(map(repr, moved[:3]))} {'has' if len(moved) == 1 else 'have'} moved"
    if unseen:
        said += f"; {unseen[0]!r} holds categories that training never saw"
    return Finding(
        probe="shift",
        family="checks",
        verdict="warn" if apart or moved or unseen else "pass",
        title=said,
        measured={
            "two_sample_auc": round(auc, 4),
            "standard_error": round(error, 4),
            "moved_columns": len(moved),
            "columns": len(rows),
        },
        expected="an AUC of 0.5: both come from the same place",
        why="Scores hold for rows like the test rows. Where these differ from what the network learnt on, it must extrapolate; "
        "where new rows will be like neither, no score here holds.",
        todo="Look at how the columns above came to differ: time, place, or the way the file was put together. "
        "With a split by time this is what will happen in use; otherwise split anew without --split-column."
        if apart or moved or unseen
        else "",
        tables=(
            Table(
                title="Distance between training and test",
                columns=("column", "distance", "p", "moved", "new in test", "new expected"),
                rows=tuple(rows[:30]),
            ),
        ),
    )


def _distance(a: Column, b: Column, n_columns: int) -> tuple[str, float, float, bool, float, float]:
    """Name, distance, p-value, whether it moved (p below 0.001 for all columns together), new test cells and those expected."""
    from scipy.stats import chi2_contingency, ks_2samp

    if a.n_codes:
        counts = np.bincount(a.values, minlength=a.n_codes)
        new = float((counts[b.values] == 0).mean())
        expected = float((counts == 1).sum() / len(a.values))
        table = np.stack([np.bincount(_common(v, counts), minlength=a.n_codes) for v in (a.values, b.values)])
        table = table[:, table.sum(0) > 0]
        shares = table / table.sum(1, keepdims=True)
        distance = float(np.abs(shares[0] - shares[1]).sum() / 2)
        p = float(chi2_contingency(table).pvalue) if table.shape[1] > 1 else 1.0
    else:
        new = expected = 0.0
        x, z = a.values[~np.isnan(a.values)], b.values[~np.isnan(b.values)]
        if not len(x) or not len(z):
            return a.name, 0.0, 1.0, False, 0.0, 0.0
        test = ks_2samp(x, z, method="asymp")
        distance, p = float(test.statistic), float(test.pvalue)
    return a.name, distance, p, distance >= FAR and p * n_columns < 0.001, new, expected


def _common(codes: np.ndarray, train_counts: np.ndarray) -> np.ndarray:
    """Codes with those that training hardly knows as 0: test rows cannot be known by what the encoder never saw."""
    common: np.ndarray = np.where(train_counts[codes] < RARE, 0, codes)
    return common


def _told_apart(data: Data, pairs: list[tuple[Column, Column]], seed: int) -> tuple[float, float]:
    """AUC of telling test rows from training rows on rows that the classifier did not learn on, and its standard error."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    if not pairs:
        return 0.5, 0.0
    rng = numpy_generator(seed, "shift")
    known = [np.bincount(a.values, minlength=a.n_codes) if a.n_codes else None for a, _ in pairs]
    keep = [rng.permutation(len(column.values))[:_MAX_ROWS] for column in pairs[0]]
    sides = []
    for side in (0, 1):
        cells = [pair[side].values[keep[side]] for pair in pairs]
        sides.append(
            np.stack([c.astype(float) if k is None else _common(c, k) for c, k in zip(cells, known, strict=True)], 1)
        )
    x, y = np.concatenate(sides), np.repeat([0, 1], [len(s) for s in sides])
    x = np.concatenate([x, *_pixels(data, keep), *_topics(data, keep, derive(seed, "shift"))], 1)
    half = rng.permutation(len(x)) % 2 == 0
    n, m = (int(((y == side) & ~half).sum()) for side in (0, 1))
    if min(n, m) < 10 or len(np.unique(y[half])) < 2:
        return 0.5, 0.5
    model = HistGradientBoostingClassifier(
        max_iter=30, early_stopping=False, random_state=derive(seed, "shift") % 2**32
    )
    probability = model.fit(x[half], y[half]).predict_proba(x[~half])
    return mean_auc(y[~half], probability), float(np.sqrt((n + m + 1) / (12 * n * m)))


def _pixels(data: Data, keep: list[np.ndarray]) -> list[np.ndarray]:
    """Shrunk pixels of the kept rows of both sides, for each image field."""
    found = []
    for image in data.spec.images:
        both = [shrink(data.block(part).x[image.name], PIXELS, k) for part, k in zip(SIDES, keep, strict=True)]
        found.append(np.concatenate(both))
    return found


def _topics(data: Data, keep: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """The directions in which TF-IDF of words spreads most over the kept rows of both sides together, for each text field."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    found = []
    parts = [data.texts(part) for part in SIDES]
    for text in data.spec.texts:
        cells = [part[text.name][i][:_LONGEST] for part, k in zip(parts, keep, strict=True) for i in k]
        if sum(any(c.isalnum() for c in cell) for cell in cells) < 2:
            continue
        counts = TfidfVectorizer(sublinear_tf=True, max_features=5_000, token_pattern=r"\w+").fit_transform(cells)
        n = min(TOPICS, *(size - 1 for size in counts.shape))
        if n > 0:
            found.append(TruncatedSVD(n, random_state=seed % 2**32).fit_transform(counts))
    return found
