"""The shell around the search for misspellings: it asks the model with raw texts, and measures again whatever was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from netwright.data.text import texts_of
from netwright.model import Model
from netwright.robust.edits import EditRules, Texts
from netwright.robust.goal import judge
from netwright.robust.misspell import Ask
from netwright.robust.result import Result

_BATCH = 2048
"""Texts that go through a model at once."""


class Asker:
    """Asks a model about rows whose texts were changed; all else in a row stays. It counts how often it was asked.

    Args:
        frame: raw rows. y: (N,) their targets. columns: names of the columns of text that may change.
    """

    def __init__(self, model: Model, frame: pl.DataFrame, y: Tensor, columns: Sequence[str]) -> None:
        self.model, self.y, self.columns = model, y, list(columns)
        self.frame = frame.select(model.spec.names)
        self.queries = 0

    @property
    def texts(self) -> list[Texts]:
        """The texts of all rows as they are."""
        return list(zip(*(texts_of(self.frame[name]) for name in self.columns), strict=True))

    def predict(self, rows: Sequence[int], texts: Sequence[Texts]) -> np.ndarray:
        """Predictions (M, C) or (M,) on rows whose texts are others."""
        self.queries += len(rows)
        parts = [self._predict(rows[i : i + _BATCH], texts[i : i + _BATCH]) for i in range(0, len(rows), _BATCH)]
        return np.concatenate(parts)

    def _predict(self, rows: Sequence[int], texts: Sequence[Texts]) -> np.ndarray:
        cells = zip(self.columns, zip(*texts, strict=True), strict=True)
        series = [pl.Series(name, list(column), dtype=pl.String) for name, column in cells]
        rest = self.frame.drop(self.columns)
        frame = pl.DataFrame(series) if not rest.width else rest[list(rows)].with_columns(series)
        return self.model.predict_encoded(self.model.encode(frame.select(self.frame.columns)))

    def judged(self, rows: Sequence[int], texts: Sequence[Texts]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Predictions, how wrong each is (M,), and whether its class is wrong (M,)."""
        if not len(rows):
            return np.zeros(0), np.zeros(0), np.zeros(0, dtype=bool)
        prediction = self.predict(rows, texts)
        price, wrong = judge(torch.from_numpy(prediction), self.y[torch.tensor(rows, dtype=torch.int64)])
        return prediction, price.numpy(), wrong.numpy()

    def among(self, rows: np.ndarray) -> Ask:
        """A function for a search over some rows, which it numbers from 0 on."""

        def ask(numbers: list[int], texts: list[Texts]) -> tuple[np.ndarray, np.ndarray]:
            return self.judged(rows[numbers].tolist(), texts)[1:]

        return ask


@dataclass(frozen=True, kw_only=True)
class EditResult(Result):
    """What misspellings came to.

    Args:
        texts: the worst allowed texts of each row that were found; a row stays as it was where nothing worse was found.
        edits: (N,) how many edits they have.
    """

    threat: EditRules
    texts: list[Texts]
    edits: np.ndarray

    @property
    def change(self) -> np.ndarray:
        """(N,) the number of edits."""
        return self.edits


def measured(
    asker: Asker, paths: dict[int, list[Texts]], rules: Sequence[EditRules], *, carry: bool = True
) -> list[EditResult]:
    """What the paths of a search really achieve, for rules that allow more and more edits.

    Whatever stands on a path is measured against the rules and predicted again with the whole model; it counts only if the
    rules allow it and it is worse than what was known before.

    Args:
        paths: by row its texts after one edit, after two, ... (`misspell.Search`); other rows stay as they are.
        carry: whether what fewer edits achieved counts for more of them too; a control of one random draw does not.
    """
    before_texts = asker.texts
    before, price, wrong = asker.judged(range(len(before_texts)), before_texts)
    clean = EditResult(
        threat=rules[0],
        before=before,
        after=before,
        price_before=price,
        price_after=price,
        wrong=wrong,
        success=np.zeros(len(wrong), dtype=bool),
        texts=before_texts,
        edits=np.zeros(len(wrong), dtype=np.int64),
    )
    results: list[EditResult] = []
    for rule in rules:
        start = results[-1] if results and carry else clean
        results.append(_grown(asker, clean, start, paths, rule))
    return results


def _grown(
    asker: Asker, clean: EditResult, start: EditResult, paths: dict[int, list[Texts]], rules: EditRules
) -> EditResult:
    """`start` with what the paths have for these rules."""
    after, price, success = start.after.copy(), start.price_after.copy(), start.success.copy()
    is_number = asker.y.is_floating_point()
    finished = clean.wrong | (success & (not is_number))
    texts, edits, clipped = list(start.texts), start.edits.copy(), start.n_clipped
    found: dict[int, tuple[Texts, int]] = {}
    for row, path in paths.items():
        now = path[min(rules.edits, len(path)) - 1] if path else texts[row]
        if not finished[row] and now != texts[row]:
            size = rules.measure(clean.texts[row], now)
            if size is None:
                clipped += 1
            else:
                found[row] = now, size
    rows = list(found)
    prediction, prices, broken = asker.judged(rows, [found[row][0] for row in rows])
    for i, row in enumerate(rows):
        if broken[i] or prices[i] > price[row]:
            after[row], price[row], success[row] = prediction[i], prices[i], broken[i] or is_number
            texts[row], edits[row] = found[row]
    return EditResult(
        threat=rules,
        before=clean.before,
        after=after,
        price_before=clean.price_before,
        price_after=price,
        wrong=clean.wrong,
        success=success,
        n_clipped=clipped,
        texts=texts,
        edits=edits,
    )
