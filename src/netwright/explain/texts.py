"""What the answer to a text rests on, word by word: what happens when a word is left out of the text as it was written."""

from __future__ import annotations

import math
import re
import time
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
import torch

from netwright.core.finding import Cell, Figure, Finding, Series, Table, Tokens
from netwright.core.spec import TargetSpec, TextField
from netwright.data.text import encode_text
from netwright.explain.columns import not_applicable
from netwright.explain.drawn import Drawn, answer_words, both_ends, drawn_rows, in_time, readable, repeated, text_field
from netwright.model import Model, Subject

MAX_PARTS = 100
"""Parts of a text that are left out in turn: single words, or in a longer text runs of as many words as it takes."""
LEAST = 3
"""A word that comes less often is not ranked."""
TOP = 10
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
"""Letters of scripts without spaces between words (Thai, Lao, Burmese, Khmer, Japanese, Chinese): each stands for itself."""
_PIECE = re.compile(rf"\s*(?:[{_UNSPACED}]|[^\s{_UNSPACED}]+)\s*")


def pieces_of(text: str) -> list[str]:
    """A text in words, each with the white space behind it (the first also with that before), so that together they are the text.

    >>> pieces_of(" so  good! "), pieces_of("")
    ([' so  ', 'good! '], [])
    """
    return _PIECE.findall(text)


def parts_of(text: str, most: int = MAX_PARTS) -> list[str]:
    """A text in at most so many runs of words, all but the last of one length.

    >>> parts_of("a b c d e", 3)
    ['a b ', 'c d ', 'e']
    """
    pieces = pieces_of(text)
    run = math.ceil(len(pieces) / most)
    return ["".join(pieces[k : k + run]) for k in range(0, len(pieces), max(run, 1))]


def deletion(
    subject: Subject, *, budget_seconds: float, seed: int, column: str | None = None, rows: int = 200
) -> Finding:
    """By how much the answer falls when a word is left out of the text as it was written, word after word.

    Texts of more than `MAX_PARTS` words are asked without one run of words after the other.

    Args:
        budget_seconds: decides how many texts are asked.
        column: the text column; None for the first.
        rows: right texts, and wrong ones, that are asked, at most; the first 12 of each are drawn.

    Source: Li, Monroe and Jurafsky (2016), "Understanding Neural Networks through Representation Erasure".
    """
    begin, model, data = time.monotonic(), subject.need("model"), subject.need("data")
    if finding := not_applicable(model, "deletion", seed):
        return finding
    field = text_field(model.spec, column)
    drawn = drawn_rows(subject, "deletion", seed, right=rows, wrong=rows)
    texts = data.texts("test")[field.name]
    shown: dict[int, Tokens] = {}
    effects: dict[str, list[np.ndarray]] = defaultdict(list)
    for i in both_ends(len(drawn)):
        if shown and time.monotonic() - begin > budget_seconds:
            break
        text, tail = readable(texts[drawn.rows[i]])
        parts = parts_of(text)
        change = _without_each(model, drawn, i, field, parts)
        own = change if change.ndim == 1 else change[:, drawn.chosen[i]]
        shown[i] = Tokens(
            pieces=(*parts, *tail),
            weights=(*own.tolist(), *[0.0] * len(tail)),
            caption=drawn.caption(i),
            mark=drawn.mark(i),
        )
        for part, effect in zip(parts, change, strict=True):
            effects[plain(part)].append(np.atleast_1d(effect))
    ranked = {word: np.mean(found, 0) for word, found in effects.items() if word and len(found) >= LEAST}
    largest = [max(t.weights, default=0.0) for t in shown.values()]
    return Finding(
        probe="deletion",
        family="explain",
        verdict="info",
        title=f"leaving out the word that counts most lowers {answer_words(model.target)} by {np.median(largest):.2g} "
        f"(median of {len(shown)} texts)" + in_time(len(shown), len(drawn), "texts"),
        measured={
            "texts": len(shown),
            "median_of_largest_falls": float(np.median(largest)),
            "largest_fall": max(largest),
            "words_ranked": len(ranked),
        },
        why="The words that carry an answer should be words that mean it. A name, a date or a word of form that does is a shortcut.",
        tables=_tables(ranked, effects, model.target),
        figures=(
            *_bars(ranked, model.target),
            sheet(shown, drawn, f"Orange: leaving the word out lowers {answer_words(model.target)}; blue: raises it."),
        ),
        seed=seed,
    )


def _without_each(model: Model, drawn: Drawn, i: int, field: TextField, parts: Sequence[str]) -> np.ndarray:
    """(parts, C) or (parts,) by how much the prediction falls without each of the parts."""
    texts = ["".join(parts), *("".join([*parts[:k], *parts[k + 1 :]]) for k in range(len(parts)))]
    column = pl.Series(field.name, texts, dtype=pl.String)
    if model.encoder is not None:  # a user's own, of this one column
        x = model.encode(column.to_frame())
    else:  # the other columns are encoded already: pictures in files are not opened again
        ids = {name: torch.from_numpy(tensor) for name, tensor in encode_text(column, field).items()}
        x = {**repeated(drawn.batch, torch.full((len(texts),), i)), **ids}
    prediction = model.predict_encoded(x)
    found: np.ndarray = prediction[0] - prediction[1:]
    return found


def plain(word: str) -> str:
    """A word as it is ranked: lower case, without signs around it; accents and vowel signs are part of it.

    >>> plain(" “Good!” "), plain("की,"), plain("...")
    ('good', 'की', '')
    """
    word = word.lower()
    inner = [k for k, sign in enumerate(word) if sign == "_" or unicodedata.category(sign)[0] in "LMN"]
    return word[inner[0] : inner[-1] + 1] if inner else ""


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
                caption=f"Means over the words that come at least {LEAST} times.",
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
