"""Whether a simple property of images or texts gives the target away."""

from __future__ import annotations

import numpy as np

from netwright.checks.data import Column
from netwright.checks.leak import alone, mean_auc, r2_of, sampled
from netwright.checks.properties import properties
from netwright.core.finding import Figure, Finding, Series, Table
from netwright.core.seed import derive, numpy_generator
from netwright.data.data import Data, Part
from netwright.model import Subject

SUSPICIOUS = 0.95
"""AUC or R2 of one property alone from which it is suspicious."""
PARTS: tuple[Part, Part] = ("train", "valid")
_CELLS = 20_000_000


def shortcut(subject: Subject, *, budget_seconds: float, seed: int) -> Finding:
    """How well one simple property alone predicts the target: brightness, contrast, file size and the most telling pixel of
    images; length and shares of capitals, digits and signs of texts.

    A small tree is fitted on training rows and scored on validation rows by AUC (mean over one-against-rest) or R2. Warns from
    0.95.

    Source: Geirhos et al. (2020), "Shortcut learning in deep neural networks".
    """
    data: Data = subject.need("data")
    rng = numpy_generator(seed, "shortcut")
    keep = {part: sampled(len(data.split[part]), rng) for part in PARTS}
    y, z = (data.y(part)[keep[part]] for part in PARTS)
    n_classes = 0 if data.target.is_number else data.target.n_out
    train, valid = (properties(data, part) + _pixels(data, part, rng) for part in PARTS)
    rows: list[tuple[str, float]] = []
    for one, other in zip(train, valid, strict=True):
        known, new = one.values[keep["train"]], other.values[keep["valid"]]
        if len(known) > 10 and len(new) and known.min() < known.max():
            guess = alone(Column(one.name, known), y, new, n_classes, derive(seed, "shortcut"))
            rows.append((one.name, mean_auc(z, guess) if n_classes else r2_of(z, guess)))
    rows.sort(key=lambda r: -r[1])
    return _finding(data, rows, len(z))


def _pixels(data: Data, part: Part, rng: np.random.Generator) -> list[Column]:
    """The pixel of each image field that differs most between the classes, or goes most with the value, on training rows."""
    found = []
    for image in data.spec.images:
        of = f" of {image.name!r}" if len(data.spec.fields) > 1 else ""
        x = data.block("train").x[image.name]
        step = max(1, x.numel() // _CELLS)
        told = _explained(x[::step].flatten(1).float().numpy(), data.y("train")[::step], data.target.is_number)
        at = int(told.argmax()) if len(told) else 0
        values = data.block(part).x[image.name].flatten(1)[:, at].double().numpy()
        channel, row, column = np.unravel_index(at, image.shape)
        where = f"row {row}, column {column}" + (f", channel {channel}" if image.channels > 1 else "")
        found.append(Column(f"the pixel in {where}{of}", np.nan_to_num(values, posinf=0.0, neginf=0.0)))
    return found


def _explained(x: np.ndarray, y: np.ndarray, is_number: bool) -> np.ndarray:
    """Share (P,) of each pixel's variance that lies between the classes, or its squared correlation with the value."""
    x = np.nan_to_num(x, posinf=0.0, neginf=0.0)
    x = x - x.mean(0)
    total = (x**2).sum(0)
    if is_number:
        centred = (y - y.mean()).astype(np.float32)
        between = (centred @ x) ** 2 / max(float((centred**2).sum()), 1e-30)
    else:
        between = np.zeros_like(total)
        for c in np.unique(y):
            of_class = x[y == c]
            between += len(of_class) * of_class.mean(0) ** 2
    shares: np.ndarray = np.where(
        total > 1e-6 * max(float(total.max()), 1e-30), between / np.maximum(total, 1e-30), 0.0
    )
    return shares


def _finding(data: Data, rows: list[tuple[str, float]], n_valid: int) -> Finding:
    score = "R2" if data.target.is_number else "AUC"
    best = rows[0] if rows else ("nothing", 0.0)
    found = [r for r in rows if r[1] >= SUSPICIOUS]
    names = tuple(r[0] for r in rows[:20])
    return Finding(
        probe="shortcut",
        family="checks",
        verdict="warn" if found else "pass",
        title=f"{best[0]} alone predicts {data.target.name!r} with {score} {best[1]:.3f}"
        + ("" if found else ", the best of the simple properties"),
        measured={"best_property": best[0], f"best_{score.lower()}": round(best[1], 6), "valid_rows": n_valid},
        expected=f"{score} of one simple property below {SUSPICIOUS}",
        why="Where classes were collected in different ways, they differ in light, in size or in length, and a network learns that "
        "instead of what is shown or said. It is then right on this data only. Some honest properties are as good: only who knows "
        "how the data came about can tell.",
        todo=f"Look at rows of each class for why {best[0]} tells them apart; collect the classes in the same way, or level them."
        if found
        else "",
        tables=(
            Table(
                title="Score of one property alone, on validation rows",
                columns=("property", score),
                rows=tuple(rows[:20]),
            ),
        ),
        figures=(
            Figure(
                title=f"{score} of one property alone",
                kind="bar",
                series=(Series(x=names, y=tuple(r[1] for r in rows[:20])),),
                y_label=score,
            ),
        )
        if rows
        else (),
    )
