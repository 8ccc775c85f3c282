"""Details of an attack on texts: which words are fragile, and texts with their misspelt words marked."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np

from netwright.core.finding import Cell, Figure, Table, Tokens
from netwright.data.cells import counted
from netwright.robust.edits import Place, Texts, pieces_of
from netwright.robust.outcome import Details, clearest, examples_table, said, truth
from netwright.robust.texts import Asker, EditResult
from netwright.robust.trial import Trial

_MAX_ROWS = 300
"""Successful rows whose edits are looked at one by one."""
_MAX_EXAMPLES, _MAX_WORDS = 8, 15
_AROUND = 120
"""Characters that are shown on either side of a misspelt word."""

_WHY = (
    "people misspell by accident, and on purpose where they gain from a wrong answer; a reader understands the text all the same. "
    "The curve says how far misspellings can go at their worst, the dashed one how far they go by chance"
)
_ADVICE = "Correct misspellings before the model reads a text, or train with misspelt copies of the texts, and compare this curve."
Edits = dict[Place, tuple[str, str]]
"""Place of a word -> how it was spelt, and how it is now."""


def text_details(trial: Trial, judged: EditResult, asker: Asker) -> Details:
    """What was changed in texts.

    Args:
        judged: the result that is judged. asker: of the rows.
    """
    hit = np.flatnonzero(judged.success)[:_MAX_ROWS]
    before = {int(i): asker.texts[i] for i in hit}
    after = {int(i): judged.texts[i] for i in hit}
    if not trial.is_number:
        after = needed(asker, before, after)
    edits = {i: edits_of(before[i], after[i]) for i in before}
    limits = Table(title="What keeps a text readable", columns=("limit", "value"), rows=tuple(judged.threat.limits))
    rows = hit[clearest(judged, hit, trial.is_number, _MAX_EXAMPLES)]
    says = asker.predict(rows.tolist(), [after[int(i)] for i in rows]) if len(rows) else judged.after[:0]
    y, target = trial.y.numpy()[rows], trial.model.target
    changes = [_words(edits[int(i)]) for i in rows]
    examples = examples_table(trial.rows[rows], y, judged.before[rows], says, changes, target)
    fragile = _fragile(judged, asker.texts, edits, "made worse" if trial.is_number else "turned wrong")
    shown: list[Tokens] = []
    for k, i in enumerate(rows):
        first = f"row {trial.rows[i]}, true {truth(y[k], target)}: predicted {said(judged.before[i], target)}"
        caption = f"{first}, misspelt {said(says[k], target)}; {changes[k]}"
        pieces, weights = marked(after[int(i)], edits[int(i)])
        shown.append(Tokens(pieces=pieces, weights=weights, caption=caption, mark="bad"))
    figure = Figure(
        title=f"{counted(len(rows), 'text')} {'made worse' if trial.is_number else 'turned wrong'} by "
        f"{'an edit' if judged.threat.edits == 1 else f'at most {judged.threat.edits} edits'}",
        kind="tokens",
        texts=tuple(shown),
        caption="The misspelt words are marked. "
        + ("Shown are the largest errors." if trial.is_number else "Shown are those of which the model was surest."),
    )
    return Details(_WHY, _ADVICE, (fragile, examples, limits), (figure,) * bool(shown))


def needed(asker: Asker, before: dict[int, Texts], after: dict[int, Texts]) -> dict[int, Texts]:
    """Wrong rows with every edit put back that is not needed to keep them wrong, one word after another."""
    left, most = dict(after), max((len(edits_of(before[i], after[i])) for i in before), default=0)
    for k in range(most if most > 1 else 0):
        tries = {}
        for i in before:
            places = list(edits_of(before[i], after[i]))
            still = edits_of(before[i], left[i])
            if k < len(places) and len(still) > 1:
                tries[i] = _put_back(left[i], places[k], still[places[k]][0])
        _, _, wrong = asker.judged(list(tries), list(tries.values()))
        left |= {i: texts for (i, texts), stays in zip(tries.items(), wrong, strict=True) if stays}
    return left


def _put_back(texts: Texts, place: Place, word: str) -> Texts:
    pieces = pieces_of(texts[place[0]])
    pieces[place[1]] = word
    return tuple("".join(pieces) if i == place[0] else text for i, text in enumerate(texts))


def edits_of(before: Texts, after: Texts) -> Edits:
    """The words that differ.

    >>> edits_of(("so good",), ("so godo",))
    {(0, 3): ('good', 'godo')}
    """
    found: Edits = {}
    for column, (was, now) in enumerate(zip(before, after, strict=True)):
        for number, pair in enumerate(zip(pieces_of(was), pieces_of(now), strict=True)):
            if pair[0] != pair[1]:
                found[column, number] = pair
    return found


def _words(edits: Edits) -> str:
    return "; ".join(f"{was} → {now}" for was, now in edits.values())


def marked(texts: Texts, edits: Edits) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Pieces of the changed texts and their weights, 1 for a misspelt word; what is far from one is left out.

    >>> marked(("so godo!",), {(0, 3): ("good", "godo")})
    (('so ', 'godo', '!'), (0.0, 1.0, 0.0))
    """
    found: list[tuple[str, float]] = []
    for column, text in enumerate(texts):
        plain = "\n" if found else ""
        for number, piece in enumerate(pieces_of(text)):
            if (column, number) in edits:
                found += [(_shortened(plain, is_first=not found), 0.0), (piece, 1.0)]
                plain = ""
            else:
                plain += piece
        found.append((_shortened(plain, is_first=not found, is_last=True), 0.0))
    kept = [pair for pair in found if pair[0]]
    return tuple(piece for piece, _ in kept), tuple(weight for _, weight in kept)


def _shortened(plain: str, *, is_first: bool, is_last: bool = False) -> str:
    """A stretch without misspelt words, of which no more is left than what is near to one."""
    if len(plain) <= 2 * _AROUND:
        return plain
    return ("" if is_first else plain[:_AROUND]) + " … " + ("" if is_last else plain[-_AROUND:])


def _fragile(judged: EditResult, texts: list[Texts], edits: dict[int, Edits], after: str) -> Table:
    """The words whose misspelling did most harm."""
    spelt: dict[str, Counter[str]] = defaultdict(Counter)
    for changes in edits.values():
        for was, now in changes.values():
            spelt[was.lower()][now.lower()] += 1
    has: Counter[str] = Counter()
    for i in np.flatnonzero(~judged.wrong):
        has.update({piece.lower() for text in texts[i] for piece in pieces_of(text)[1::2]} & spelt.keys())
    ranked = sorted(spelt, key=lambda word: (-spelt[word].total(), has[word], word))[:_MAX_WORDS]
    rows: list[tuple[Cell, ...]] = [
        (word, spelt[word].total(), has[word], "{} ({})".format(*spelt[word].most_common(1)[0])) for word in ranked
    ]
    heads = ("word", f"rows {after} with it misspelt", "right rows that have it", "most frequent misspelling (rows)")
    title = f"Most fragile words, of {counted(len(edits), 'row')} {after} at {counted(judged.threat.edits, 'edit')}"
    return Table(title=title, columns=heads, rows=tuple(rows))
