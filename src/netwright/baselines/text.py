"""Classic methods on texts: how often n-grams of words or of characters come, weighted by how rare they are (TF-IDF)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from netwright.baselines.penalty import fit_linear
from netwright.baselines.task import Method, Rows, Task

Level = Literal["words", "chars"]

PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0)
"""Inverse penalties C: rows of TF-IDF have length 1, so that they bear weaker ones than standardised numbers."""
LONGEST = 10_000
"""Characters of a text that count; what stands behind them is left out."""
MAX_FEATURES = 200_000
_GRAMS: Mapping[Level, dict[str, Any]] = {
    "words": {"ngram_range": (1, 2), "token_pattern": r"\w+|[^\w\s]+"},
    "chars": {"ngram_range": (2, 5), "analyzer": "char_wb", "min_df": 2},
}
_CHARS_PER_SECOND: Mapping[Level, float] = {"words": 1.5e6, "chars": 0.5e6}
"""What counting costs on one slow core: fixed, so that a plan never depends on the clock."""
_FIT_ROWS = 20_000


@dataclass(frozen=True)
class Tfidf:
    """Fitted TF-IDF vectorizers: column of text -> vectorizer; rows of all columns beside each other, sparse float32."""

    tools: Mapping[str, Any]
    scale: float = 1.0

    def __call__(self, rows: Rows) -> Any:
        """(N, F) sparse."""
        from scipy.sparse import hstack

        parts = [tool.transform(_cut(rows.texts[name])) for name, tool in self.tools.items()]
        found = hstack(parts, format="csr") if len(parts) > 1 else parts[0]
        return found * np.float32(self.scale)


def fit_tfidf(rows: Rows, level: Level, *, scale: float = 1.0, **options: Any) -> Tfidf:
    """TF-IDF of the text columns, fitted on training rows.

    Words are what the networks are given too (letters, or signs, in a row), lower case, alone and in pairs; characters are 2 to 5
    in a row inside words with the space around them. Counts are damped to 1 + log(count).

    Args:
        level: n-grams of what. scale: by which all features are multiplied.
        options: others than the usual ones of the vectorizer.

    Source: Spärck Jones (1972); Salton and Buckley (1988).
    """
    return Tfidf({name: _fit(cells, level, options) for name, cells in rows.texts.items()}, scale)


def _fit(texts: Sequence[str], level: Level, options: Mapping[str, Any]) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    usual = {"sublinear_tf": True, "dtype": np.float32, "max_features": MAX_FEATURES}
    given: dict[str, Any] = {**usual, **_GRAMS[level], **options}
    try:
        return TfidfVectorizer(**given).fit(_cut(texts))
    except ValueError:  # no n-gram at all, or none that comes twice
        pass
    try:
        return TfidfVectorizer(**(given | {"min_df": 1})).fit(_cut(texts))
    except ValueError:
        return TfidfVectorizer(**(given | {"min_df": 1})).fit(["a"])  # one column that tells nothing


def _cut(texts: Sequence[str]) -> list[str]:
    return [text[:LONGEST] for text in texts]


def _tfidf(task: Task, level: Level) -> Method:
    """TF-IDF of one level and a linear model; training rows thinned to what half of the budget affords to count."""
    lengths = [[min(len(t), LONGEST) for t in cells] for cells in task.train.texts.values()]
    chars = sum(map(sum, lengths)) / max(1, len(task.train))
    affordable = task.budget_seconds / 2 * _CHARS_PER_SECOND[level] / max(1.0, chars)
    task = task.thinned(max(1000, int(affordable) - 2 * len(task.valid)))
    features = fit_tfidf(task.train, level)
    x = features(task.train)
    model, chosen = fit_linear(x, features(task.valid) if len(task.valid) else None, task, PENALTIES)
    return Method(model, {**chosen, "training_rows": len(task.train)}, features)


def word_tfidf(task: Task) -> Method:
    """TF-IDF of words and pairs of words, and logistic or ridge regression. Source: Salton and Buckley (1988)."""
    return _tfidf(task, "words")


def char_tfidf(task: Task) -> Method:
    """TF-IDF of 2 to 5 characters in a row, and logistic or ridge regression. Source: Cavnar and Trenkle (1994)."""
    return _tfidf(task, "chars")


def topics(rows: Rows, n: int, seed: int) -> Callable[[Rows], np.ndarray]:
    """The `n` directions in which the TF-IDF of words of training rows spreads most: what trees can take of texts.

    Source: Deerwester et al. (1990), latent semantic analysis.
    """
    from sklearn.decomposition import TruncatedSVD

    step = max(1, len(rows) // _FIT_ROWS)
    some = rows if step == 1 else rows.take(np.arange(0, len(rows), step))
    words = fit_tfidf(some, "words", ngram_range=(1, 1), min_df=2, max_features=20_000)
    counts = words(some)
    if min(counts.shape) <= n:
        return lambda rows: np.asarray(words(rows).toarray())
    turn = TruncatedSVD(n, random_state=seed % 2**32).fit(counts)
    return lambda rows: np.asarray(turn.transform(words(rows)))
