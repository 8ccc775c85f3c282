"""What the answer to a text rests on, word by word: what happens when a word is left out of the text as it was written."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from netwright.core.finding import Cell, Figure, Finding, Series, Table, Tokens
from netwright.core.spec import TargetSpec
from netwright.data.data import Data
from netwright.explain.columns import not_applicable
from netwright.explain.drawn import Drawn, answer_words, drawn_rows
from netwright.model import Model, Subject

MAX_WORDS = 80
"""Words of a text that are left out in turn; the rest of a longer one is shown without colour."""
LEAST = 3
"""A word that comes in fewer texts is not ranked."""
TOP = 10
_PIECE = re.compile(r"\s*\S+\s*")


def pieces_of(text: str) -> list[str]:
    """A text in words, each with the white space before it (and behind the last), so that together they are the text.

    >>> pieces_of(" so  good! "), pieces_of("")
    ([' so  ', 'good! '], [])
    """
    return _PIECE.findall(text)


def deletion(
    subject: Subject, *, budget_seconds: float, seed: int, column: str | None = None, rows: int = 200
) -> Finding:
    """By how much the answer falls when a word is left out of the text as it was written, word after word.

    Args:
        budget_seconds: decides how many texts are asked.
        column: the text column; None for the first.
        rows: right texts, and wrong ones, that are asked, at most; the first 12 of each are drawn.

    Source: Li, Monroe and Jurafsky (2016), "Understanding Neural Networks through Representation Erasure".
    """
    begin, model, data = time.monotonic(), subject.need("model"), subject.need("data")
    if finding := not_applicable(model, "deletion", seed):
        return finding
    name = column or model.spec.texts[0].name
    drawn = drawn_rows(subject, "deletion", seed, right=rows, wrong=rows)
    frame, texts = _frame(data, drawn), data.texts("test")[name]
    shown: dict[int, Tokens] = {}
    effects: dict[str, list[np.ndarray]] = defaultdict(list)
    order = [i for pair in zip(range(len(drawn)), reversed(range(len(drawn))), strict=True) for i in pair]
    for i in dict.fromkeys(order):
        if shown and time.monotonic() - begin > budget_seconds:
            break
        pieces = pieces_of(texts[drawn.rows[i]])
        change = _without_each(model, frame, i, name, pieces[:MAX_WORDS], drawn.prediction[i])
        own = change if change.ndim == 1 else change[:, drawn.chosen[i]]
        weights = [*own.tolist(), *[0.0] * (len(pieces) - len(own))]
        shown[i] = Tokens(pieces=tuple(pieces), weights=tuple(weights), caption=drawn.caption(i), mark=drawn.mark(i))
        for word, effect in zip(pieces, change, strict=False):
            effects[_plain(word)].append(np.atleast_1d(effect))
    ranked = {word: np.mean(found, 0) for word, found in effects.items() if word and len(found) >= LEAST}
    largest = max((max(t.weights, default=0.0) for t in shown.values()), default=0.0)
    return Finding(
        probe="deletion",
        family="explain",
        verdict="info",
        title=f"leaving one word out lowers {answer_words(model.target)} by up to {largest:.2g}, over {len(shown)} texts of {name!r}",
        measured={"texts": len(shown), "largest_fall": largest, "words_ranked": len(ranked)},
        why="The words that carry an answer should be words that mean it.",
        tables=_tables(ranked, effects, model.target),
        figures=(
            *_bars(ranked, model.target),
            sheet(shown, drawn, f"Orange: leaving the word out lowers {answer_words(model.target)}; blue: raises it."),
        ),
        seed=seed,
    )


def _frame(data: Data, drawn: Drawn) -> pl.DataFrame:
    """The raw rows that are drawn, in the columns of the spec."""
    frame = data.part("test")
    return frame.select([n for n in data.spec.names if n in frame.columns])[drawn.rows]


def _without_each(
    model: Model, frame: pl.DataFrame, i: int, name: str, pieces: Sequence[str], full: np.ndarray
) -> np.ndarray:
    """(words, C) or (words,) by how much each prediction falls without each of the words."""
    if not pieces:
        return np.zeros((0, *full.shape)) if full.ndim else np.zeros(0)
    texts = ["".join([*pieces[:k], *pieces[k + 1 :]]) for k in range(len(pieces))]
    rows = frame[[i] * len(texts)].with_columns(pl.Series(name, texts, dtype=pl.String))
    found: np.ndarray = full - model.predict_encoded(model.encode(rows))
    return found


def _plain(word: str) -> str:
    """A word as it is ranked: lower case, without marks around it."""
    return re.sub(r"^\W+|\W+$", "", word.lower())


def _directions(target: TargetSpec, n: int) -> list[tuple[int, str]]:
    """What words can push towards: the value, the second of two classes, or each of the first classes."""
    if target.is_number:
        return [(0, target.name)]
    return [(1, target.classes[1])] if n == 2 else [(k, c) for k, c in enumerate(target.classes[:6])]


def _bars(ranked: Mapping[str, np.ndarray], target: TargetSpec) -> tuple[Figure, ...]:
    """The words that push most towards each class, and for two classes (or a number) also away from it."""
    if not ranked:
        return ()
    figures = []
    for k, name in _directions(target, len(next(iter(ranked.values())))):
        words = sorted(ranked, key=lambda w: -ranked[w][k])
        both = target.is_number or len(target.classes) == 2
        top = [w for w in words[:TOP] if ranked[w][k] > 0]
        top += [w for w in words[-TOP:] if ranked[w][k] < 0 and w not in top] if both else []
        series = Series(x=tuple(top), y=tuple(float(ranked[w][k]) for w in top))
        title = f"Words that push towards {name!r}" + (" (above 0) and away from it" if both else "")
        figures.append(
            Figure(
                title=title,
                kind="bar",
                series=(series,),
                x_label="word",
                y_label="mean fall of the answer without it",
                caption=f"Words in at least {LEAST} of the texts.",
            )
        )
    return tuple(figures)


def _tables(
    ranked: Mapping[str, np.ndarray], effects: Mapping[str, list[np.ndarray]], target: TargetSpec
) -> tuple[Table, ...]:
    if not ranked:
        return ()
    rows: list[tuple[Cell, ...]] = []
    for k, name in _directions(target, len(next(iter(ranked.values())))):
        words = sorted(ranked, key=lambda w: -abs(ranked[w][k]))[:TOP]
        rows += [(name, w, float(ranked[w][k]), len(effects[w])) for w in words]
    heads = ("towards", "word", "mean fall of the answer without it", "times")
    return (Table(title="Words with the largest effect", columns=heads, rows=tuple(rows)),)


def sheet(shown: Mapping[int, Tokens], drawn: Drawn, caption: str, n: int = 12) -> Figure:
    """Some right texts, then the worst wrong ones."""
    right = [i for i in sorted(shown) if not drawn.wrong[i]][:n]
    wrong = [i for i in sorted(shown) if drawn.wrong[i]][:n]
    title = "Right answers, then those wrong ones that the network is most sure of"
    return Figure(title=title, kind="tokens", texts=tuple(shown[i] for i in [*right, *wrong]), caption=caption)
