"""Text -> token ids of words and of characters, by the `tokenizers` library. Needs no torch."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from netwright.core.spec import FIRST_ID, PAD, UNKNOWN, TextField

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Level = Literal["words", "chars"]

MAX_WORDS = 50_000
"""Most words of a vocabulary, the most frequent ones."""
MAX_CHARS = 2_000
"""Most characters of a vocabulary."""
MIN_COUNT = 2
"""A word that training rows have less often counts as unknown, so that the network learns what an unknown word is."""
LONGEST: dict[Level, int] = {"words": 400, "chars": 1014}
"""Most tokens that are kept of a row, whatever the training rows have."""
COVERED = 0.995
"""Share of training rows that are kept whole, unless they are longer than `LONGEST`."""
_CHARS_PER_TOKEN: dict[Level, int] = {"words": 64, "chars": 4}
"""A text is cut to so many characters a token before it is taken apart: a text of megabytes costs no more than a page."""


def texts_of(column: pl.Series) -> list[str]:
    """Cells as strings; a missing one is the empty text.

    >>> texts_of(pl.Series(["Rome", None]))
    ['Rome', '']
    """
    cells: list[str] = column.cast(pl.String).fill_null("").to_list()
    return cells


def fit_text(column: pl.Series, *, lower: bool = True) -> TextField:
    """Vocabularies and lengths of a column of text, from training rows only.

    >>> field = fit_text(pl.Series("t", ["to be or not to be", "to do"]))
    >>> field.words, field.n_words
    (('to', 'be'), 6)
    """
    texts = texts_of(column)
    counts = {level: _counts(texts, level, lower) for level in LONGEST}
    words = _frequent(counts["words"][0], MIN_COUNT, MAX_WORDS)
    chars = _frequent(counts["chars"][0], MIN_COUNT, MAX_CHARS)
    (n_words, cut_words), (n_chars, cut_chars) = (_length(counts[level][1], level) for level in LONGEST)
    return TextField(
        name=column.name,
        words=tuple(words),
        chars="".join(chars),
        n_words=n_words,
        n_chars=n_chars,
        lower=lower,
        cut_words=cut_words,
        cut_chars=cut_chars,
    )


def _counts(texts: list[str], level: Level, lower: bool) -> tuple[dict[str, int], np.ndarray]:
    """How often each token comes, and the number of tokens of each text."""
    tool, counts, lengths = _tool(level, lower, ("",)), dict[str, int](), []
    longest = _CHARS_PER_TOKEN[level] * LONGEST[level]
    for text in texts:
        tokens = [
            token for token, _ in tool.pre_tokenizer.pre_tokenize_str(tool.normalizer.normalize_str(text[:longest]))
        ]
        lengths.append(len(tokens))
        for token in tokens:
            counts[token] = counts.get(token, 0) + 1
    return counts, np.array(lengths)


def _frequent(counts: dict[str, int], least: int, most: int) -> list[str]:
    """Tokens by falling count; all of them where none comes so often."""
    least = least if any(n >= least for n in counts.values()) else 1
    return sorted((t for t, n in counts.items() if n >= least), key=lambda t: (-counts[t], t))[:most]


def _length(lengths: np.ndarray, level: Level) -> tuple[int, float]:
    """Tokens that are kept of a row, and the share of rows that have more."""
    covered = int(np.quantile(lengths, COVERED, method="higher")) if len(lengths) else 1
    kept = min(max(covered, 1), LONGEST[level])
    return kept, float((lengths > kept).mean()) if len(lengths) else 0.0


def _tool(level: Level, lower: bool, vocabulary: tuple[str, ...]) -> Tokenizer:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    ids = {"[PAD]": PAD, "[UNK]": UNKNOWN} | {token: FIRST_ID + k for k, token in enumerate(vocabulary)}
    tool = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    steps: list[normalizers.Normalizer] = [normalizers.NFC()] + ([normalizers.Lowercase()] if lower else [])
    tool.normalizer = normalizers.Sequence(steps)
    if level == "words":
        tool.pre_tokenizer = pre_tokenizers.Whitespace()
    else:
        tool.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    return tool


@lru_cache(maxsize=16)
def tokenizer(field: TextField, level: Level) -> Tokenizer:
    """The tokeniser of a field: NFC, lower case where the field says so, then words (`\\w+|[^\\w\\s]+`) or single characters.

    It pads and cuts behind, to the field's length.
    """
    vocabulary = field.words if level == "words" else tuple(field.chars)
    length = field.n_words if level == "words" else field.n_chars
    tool = _tool(level, field.lower, vocabulary)
    tool.enable_truncation(length)
    tool.enable_padding(length=length, pad_id=PAD, pad_token="[PAD]")
    return tool


def tokenizer_json(field: TextField, level: Level) -> str:
    """The tokeniser as JSON, as the `tokenizers` library (and Hugging Face's in other languages) reads it."""
    return json.dumps(json.loads(tokenizer(field, level).to_str()), ensure_ascii=False)


def encode_text(column: pl.Series, field: TextField) -> dict[str, np.ndarray]:
    """Token ids (N, n_words) and (N, n_chars), int32, by name of the field's tensors.

    >>> field = fit_text(pl.Series("t", ["a b a b", "a"]))
    >>> {name: ids.tolist() for name, ids in encode_text(pl.Series("t", ["a new b"]), field).items()}
    {'t:words': [[2, 1, 3, 0]], 't:chars': [[3, 2, 1, 1, 1, 2, 4]]}
    """
    texts = texts_of(column)
    levels: tuple[Level, Level] = ("words", "chars")
    return {name: _ids(texts, field, level) for name, level in zip(field.tensors, levels, strict=True)}


def _ids(texts: list[str], field: TextField, level: Level) -> np.ndarray:
    length = field.n_words if level == "words" else field.n_chars
    longest, tool = _CHARS_PER_TOKEN[level] * length, tokenizer(field, level)
    ids = np.zeros((len(texts), length), dtype=np.int32)
    for first in range(0, len(texts), 4096):
        piece = [text[:longest] for text in texts[first : first + 4096]]
        ids[first : first + len(piece)] = [encoding.ids for encoding in tool.encode_batch_fast(piece)]
    return ids


def decode_words(ids: np.ndarray, field: TextField) -> list[str]:
    """Word ids (N, T) as texts, words joined by spaces, an unknown word as "[UNK]"."""
    words = np.array(["", "[UNK]", *field.words], dtype=object)
    return [" ".join(words[row[row != PAD]]) for row in ids]
