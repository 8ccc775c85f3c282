"""The attack on texts as a probe: which rows fit the time, search and control, a Finding."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from netwright.core.errors import UsageError
from netwright.core.finding import Cell, Finding
from netwright.core.seed import numpy_generator
from netwright.data.cells import counted
from netwright.data.data import Data
from netwright.data.text import texts_of
from netwright.model import Model, Subject
from netwright.robust.edits import EditRules, Texts, words_of
from netwright.robust.entries import ATTACKS
from netwright.robust.misspell import CANDIDATES, WORDS, Search, greedy, random_edits
from netwright.robust.outcome import finding
from netwright.robust.passages import text_details
from netwright.robust.shell import held
from netwright.robust.study import ROWS, not_applicable, unfit
from netwright.robust.texts import Asker, measured
from netwright.robust.trial import Trial

EDITS = (1, 2, 3, 4)
JUDGED_EDITS = 2
LONGEST = 10_000
"""Characters of a row; one that has more is left out, since every question about it would be as long."""
_TIMED = (16, 256)
_MAKING = 1.3
"""What a question costs beside the model: the spellings have to be made and checked."""
_ASKED = 0.5
"""Share of all questions that are asked: a row that turns wrong, or is wrong already, needs no more."""
_BLOCK = 64
"""Rows that are searched together at most; the clock is read between two blocks."""
_LEXICON = 200_000
"""Training rows whose words are looked up."""


def character_edits(
    subject: Subject,
    *,
    budget_seconds: float,
    seed: int,
    edits: Sequence[int] = EDITS,
    per_word: int = 1,
    share: float = 0.25,
    words: int = WORDS,
    candidates: int = CANDIDATES,
    rows: int | None = None,
    immutable: Sequence[str] = (),
) -> Finding:
    """Accuracy, or RMSE, under the worst misspellings that a search finds, against their number.

    The model is only asked, with raw texts, so that any model with any tokeniser can be attacked.

    Args:
        subject: a model and labelled data with raw texts; the test rows are attacked.
        budget_seconds: decides how many rows are attacked. seed: of the choice of rows and of what is tried.
        edits: how many letters of a row may be edited.
        per_word, share: the limits of `EditRules`.
        words: how many words a step tries. candidates: how many spellings of each.
        rows: how many test rows; None for at most 2,000 that fit the budget.
        immutable: names of columns that may not change.

    Source: Pruthi, Dhingra and Lipton (2019); the search of Gao et al. (2018).
    """
    begin, entry = time.monotonic(), ATTACKS["character-edits"]
    model: Model = subject.need("model")
    data: Data = subject.need("data")
    for name, value in (("words", words), ("candidates", candidates), ("rows", 1 if rows is None else rows)):
        if value < 1:
            raise UsageError(f"{name} must be at least 1, not {value!r}")
    if not len(edits):
        raise UsageError("edits must hold at least one number of edits, such as (1, 2, 4)")
    base = EditRules(model.spec, per_word=per_word, share=share, immutable=tuple(immutable))
    if reason := _obstacle(model, data, base):
        return not_applicable(entry, reason, seed)
    rules = _rising(base, data, edits)
    order, notes = _eligible(data, base, seed)
    with held(model.module, seed):
        cost = _seconds_per_row(model, data, rules[-1], order, words * candidates)
        n = rows or next((n for n in ROWS if min(n, len(order)) * cost <= budget_seconds), ROWS[-1])
        block = max(1, min(_BLOCK, int(0.1 * budget_seconds / cost)))
        search = partial(greedy, words=words, candidates=candidates)
        hunt = _Hunt(search, _asker(model, data, base, order[:n]), rules, seed, block)
        paths, reached = hunt.paths(begin + 2 * budget_seconds)
        if reached < (n := len(hunt.asker.y)):
            notes.append(f"The time was up after {counted(reached, 'row')} of {n:,}; the others are left out.")
        asker = _asker(model, data, base, order[:reached])
        results = measured(asker, paths, rules)
        drawn = random_edits(asker.texts, rules[-1], numpy_generator(seed, "edits"))
        control = measured(asker, dict(enumerate(drawn)), rules, carry=False)
        closed = float(np.mean([not base.open_words(texts) for texts in asker.texts]))
        extra: dict[str, Cell] = {"questions_per_row": hunt.asker.queries / reached, "share_without_open_word": closed}
        sizes, index = tuple(float(r.edits) for r in rules), order[:reached]
        trial = Trial(entry, model, asker.y, index, sizes, "edits", JUDGED_EDITS, results, control, seed, extra, notes)
        return finding(trial, text_details(trial, results[trial.judged], asker))


def _rising(base: EditRules, data: Data, edits: Sequence[int]) -> list[EditRules]:
    """Rules that allow more and more edits, and know all words of the training texts."""
    known = data.part("train").head(_LEXICON)
    lexicon = tuple(words_of(texts_of(known[f.name])) for f in base.fields)
    return [replace(base, edits=n, lexicon=lexicon) for n in sorted(set(edits))]


@dataclass(frozen=True)
class _Hunt:
    """A search, block of rows after block of rows."""

    search: Search
    asker: Asker
    rules: Sequence[EditRules]
    seed: int
    block: int

    def paths(self, deadline: float) -> tuple[dict[int, list[Texts]], int]:
        """What was found by row, and how many rows were reached before the deadline (one block in any case)."""
        texts, found = self.asker.texts, dict[int, list[Texts]]()
        _, _, wrong = self.asker.judged(range(len(texts)), texts)
        rng = numpy_generator(self.seed, "misspellings")
        for first in range(0, len(texts), self.block):
            if first and time.monotonic() > deadline:
                return found, first
            rows = np.arange(first, min(first + self.block, len(texts)))
            rows_right = rows[~wrong[rows]]
            if len(rows_right):
                paths = self.search(self.asker.among(rows_right), [texts[i] for i in rows_right], self.rules[-1], rng)
                found |= dict(zip(rows_right.tolist(), paths, strict=True))
        return found, len(texts)


def _obstacle(model: Model, data: Data, rules: EditRules) -> str:
    """Why there is nothing to attack; empty where there is."""
    if not model.spec.texts:
        return "there is no column of text"
    if not rules.fields:
        return "no text may change"
    if data.frame is None:
        return "the texts themselves are not there, only their tokens"
    return unfit(model, data.block("test"))


def _eligible(data: Data, rules: EditRules, seed: int) -> tuple[np.ndarray, list[str]]:
    """Test rows in random order without those that are too long, and what to say of these."""
    frame = data.part("test")
    length = sum((frame[f.name].fill_null("").str.len_chars().to_numpy() for f in rules.fields), np.zeros(len(frame)))
    order = numpy_generator(seed, "attack rows").permutation(len(frame))
    kept = order[length[order] <= LONGEST]
    lost = len(order) - len(kept)
    return kept, [f"{counted(lost, 'row')} of more than {LONGEST:,} characters left out."] if lost else []


def _asker(model: Model, data: Data, rules: EditRules, rows: np.ndarray) -> Asker:
    y = data.block("test").y
    assert y is not None
    return Asker(model, data.part("test")[rows], y[torch.from_numpy(rows)], [f.name for f in rules.fields])


def _seconds_per_row(model: Model, data: Data, rules: EditRules, order: np.ndarray, tries: int) -> float:
    """What a row costs: the time of a question, and about how many there are."""
    seconds = 0.0
    _asker(model, data, rules, order[:1]).judged([0], _asker(model, data, rules, order[:1]).texts)
    for n in _TIMED:  # a few first, in case they are dear
        asker = _asker(model, data, rules, order[:n])
        start = time.monotonic()
        asker.judged(range(len(asker.y)), asker.texts)
        seconds = (time.monotonic() - start) / len(asker.y)
        if seconds * _TIMED[-1] > 1.0:
            break
    some = [len(rules.open_words(texts)) for texts in asker.texts]
    return _MAKING * seconds * (float(np.mean(some)) + _ASKED * rules.edits * tries + 2 * rules.edits)
