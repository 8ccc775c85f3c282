"""Text -> token ids of words and of characters, by the `tokenizers` library. Needs no torch.

A text is read in this order: soft hyphens, marks of direction and other invisible signs are dropped; NFC joins a letter and its
accents; lower case; a run of white space, NUL bytes or other control characters is one space, none at either end; a sign that
comes more than three times in a row (not a digit) counts three times, so that "soooooo" and "soooo" are one word. Where the field
says so, a word then counts as its base form (`data/lemmas.py`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from netwright.core.errors import UsageError
from netwright.core.spec import FIRST_ID, PAD, UNKNOWN, TextField
from netwright.data.lemmas import lemmatiser

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Level = Literal["words", "chars"]

MAX_WORDS = 50_000
"""Most words of a vocabulary, the most frequent ones."""
MAX_CHARS = 2_000
"""Most characters of a vocabulary."""
MAX_LETTERS = 64
"""A longer word is always unknown: it is a link, a key or a picture in disguise."""
MIN_COUNT = 2
"""A word that training rows have less often counts as unknown, so that the network learns what an unknown word is; of what
letters it is made, the level of characters says."""
LONGEST: dict[Level, int] = {"words": 400, "chars": 1014}
"""Most tokens that are kept of a row, whatever the training rows have."""
COVERED = 0.995
"""Share of training rows that are kept whole, unless they are longer than `LONGEST`."""
_READ: dict[Level, int] = {"words": 32, "chars": 8}
"""So many characters a token are read of a text at most: a text of megabytes costs no more than a page."""

_INVISIBLE = r"[\u00AD\u200B\u200E\u200F\u202A-\u202E\u2060-\u206F\uFEFF]"
_SPACES = r"[\s\p{Cc}]+"
_MORE_THAN_THREE = r"([^\s\d])\1\1\K\1+"
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORD = rf"[{_UNSPACED}]|[\w&&[^{_UNSPACED}]]+|([^\w\s])\1*"
_ANY = r"[\s\S]"


def texts_of(column: pl.Series) -> list[str]:
    """Cells as strings; a missing one is the empty text.

    >>> texts_of(pl.Series(["Rome", None]))
    ['Rome', '']
    """
    cells: list[str] = column.cast(pl.String).fill_null("").to_list()
    return cells


def fit_text(column: pl.Series, *, lower: bool = True, lemmas: str = "") -> TextField:
    """Vocabularies and lengths of a column of text, from training rows only.

    Args:
        lower: read texts in lower case. lemmas: the language in whose base forms words are counted; empty for words as they are.

    Raises:
        SetupError, UsageError: of `netwright.data.lemmas.lemmatiser`.

    >>> field = fit_text(pl.Series("t", ["to be or not to be", "to do"]))
    >>> field.words, field.n_words
    (('to', 'be'), 6)
    """
    texts = texts_of(column)
    words, words_in = _count_words(texts, lower, lemmas)
    chars, chars_in = _count_chars(texts, lower)
    n_words, cut_words = _length(words_in, "words")
    n_chars, cut_chars = _length(chars_in, "chars")
    return TextField(
        name=column.name,
        words=tuple(_frequent({w: n for w, n in words.items() if len(w) <= MAX_LETTERS}, MAX_WORDS)),
        chars="".join(_frequent(chars, MAX_CHARS)),
        n_words=n_words,
        n_chars=n_chars,
        lower=lower,
        lemmas=lemmas,
        cut_words=cut_words,
        cut_chars=cut_chars,
    )


def _count_words(texts: list[str], lower: bool, lemmas: str) -> tuple[Counter[str], np.ndarray]:
    """How often each word comes, and the number of words of each text."""
    words_of, counts, lengths = _reader(lower, lemmas), Counter[str](), []
    for text in texts:
        words = words_of(text[: _READ["words"] * LONGEST["words"]])
        lengths.append(len(words))
        counts.update(words)
    return counts, np.array(lengths, dtype=np.int64)


def _reader(lower: bool, lemmas: str) -> Callable[[str], list[str]]:
    """The function from a text to its words, or to their base forms."""
    tool = _tool("words", lower and not lemmas, ())  # dictionaries know German nouns by their capitals
    normal, cut = tool.normalizer.normalize_str, tool.pre_tokenizer.pre_tokenize_str
    if not lemmas:
        return lambda text: [word for word, _ in cut(normal(text))]
    lemma, cased = lemmatiser(lemmas), str.lower if lower else str
    return lambda text: [cased(lemma(word)) for word, _ in cut(normal(text))]


def _count_chars(texts: list[str], lower: bool) -> tuple[Counter[str], np.ndarray]:
    """How often each character comes, and the number of characters of each text."""
    normal = _tool("chars", lower, ()).normalizer.normalize_str
    counts, lengths = Counter[str](), []
    for text in texts:
        chars = normal(text[: _READ["chars"] * LONGEST["chars"]])
        lengths.append(len(chars))
        counts.update(chars)
    return counts, np.array(lengths, dtype=np.int64)


def _frequent(counts: dict[str, int], most: int) -> list[str]:
    """Tokens by falling count, those of `MIN_COUNT` and more; all of them where none comes so often."""
    least = MIN_COUNT if any(n >= MIN_COUNT for n in counts.values()) else 1
    return sorted((t for t, n in counts.items() if n >= least), key=lambda t: (-counts[t], t))[:most]


def _length(lengths: np.ndarray, level: Level) -> tuple[int, float]:
    """Tokens that are kept of a row, and the share of rows that have more."""
    covered = int(np.quantile(lengths, COVERED, method="higher")) if len(lengths) else 1
    kept = min(max(covered, 1), LONGEST[level])
    return kept, float((lengths > kept).mean()) if len(lengths) else 0.0


def _tool(level: Level, lower: bool, vocabulary: tuple[str, ...]) -> Tokenizer:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from tokenizers.normalizers import NFC, Lowercase, Replace, Sequence, Strip

    ids = {"[PAD]": PAD, "[UNK]": UNKNOWN} | {token: FIRST_ID + k for k, token in enumerate(vocabulary)}
    tool = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    steps = [Replace(Regex(_INVISIBLE), ""), NFC(), *([Lowercase()] if lower else [])]
    tool.normalizer = Sequence([*steps, Replace(Regex(_SPACES), " "), Strip(), Replace(Regex(_MORE_THAN_THREE), "")])
    pattern, behaviour = (_WORD, "removed") if level == "words" else (_ANY, "isolated")
    tool.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behaviour, invert=level == "words")
    return tool


@lru_cache(maxsize=16)
def tokenizer(field: TextField, level: Level) -> Tokenizer:
    r"""The tokeniser of a field: what the head of this module says, then words or single characters.

    A word is a run of letters, digits, accents and underscores; a run of one punctuation mark; or a single character of a
    script without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese). It pads and cuts behind, to the field's length. Of a field
    with lemmas it cuts words where they are, but knows none of their base forms: ids come from `encode_text` alone.

    Source: Whistler, Unicode Standard Annex 15 (2023), for NFC.
    """
    vocabulary = field.words if level == "words" else tuple(field.chars)
    length = _kept(field, level)
    tool = _tool(level, field.lower, vocabulary)
    tool.enable_truncation(length)
    tool.enable_padding(length=length, pad_id=PAD, pad_token="[PAD]")
    return tool


def tokenizer_json(field: TextField, level: Level) -> str:
    """The tokeniser as JSON, as the `tokenizers` library (and Hugging Face's in other languages) reads it.

    Its ids are those of `encode_text` for a text of up to `characters_read` characters, and for the head of a longer one.

    Raises:
        UsageError: the words of the field are base forms, for which such a file has no step.
    """
    if level == "words" and field.lemmas:
        raise UsageError(
            f"the words of {field.name!r} count as their base forms ({field.lemmas}), which a tokeniser file cannot hold; "
            "train without lemmas to export the model"
        )
    return json.dumps(json.loads(tokenizer(field, level).to_str()), ensure_ascii=False)


def characters_read(field: TextField, level: Level) -> int:
    """How many characters of a text are looked at; what comes behind them is not read.

    >>> characters_read(TextField(words=("a",), chars="a", n_words=10, n_chars=50), "words")
    320
    """
    return _READ[level] * _kept(field, level)


def _kept(field: TextField, level: Level) -> int:
    return field.n_words if level == "words" else field.n_chars


def encode_text(column: pl.Series, field: TextField) -> dict[str, np.ndarray]:
    """Token ids (N, n_words) and (N, n_chars), int32, by name of the field's tensors.

    >>> field = fit_text(pl.Series("t", ["a b a b", "a"]))
    >>> {name: ids.tolist() for name, ids in encode_text(pl.Series("t", ["a new b"]), field).items()}
    {'t:words': [[2, 1, 3, 0]], 't:chars': [[3, 2, 1, 1, 1, 2, 4]]}
    """
    texts, (words, chars) = texts_of(column), field.tensors
    return {words: _word_ids(texts, field), chars: _char_ids(texts, field)}


def _word_ids(texts: list[str], field: TextField) -> np.ndarray:
    read, tool = characters_read(field, "words"), tokenizer(field, "words")
    ids = np.zeros((len(texts), field.n_words), dtype=np.int32)
    if field.lemmas:
        words_of, number = (
            _reader(field.lower, field.lemmas),
            {word: FIRST_ID + k for k, word in enumerate(field.words)},
        )
        for row, text in zip(ids, texts, strict=True):
            words = words_of(text[:read])[: field.n_words]
            row[: len(words)] = [number.get(word, UNKNOWN) for word in words]
        return ids
    for first in range(0, len(texts), 4096):
        piece = [text[:read] for text in texts[first : first + 4096]]
        ids[first : first + len(piece)] = [encoding.ids for encoding in tool.encode_batch_fast(piece)]
    return ids


def _char_ids(texts: list[str], field: TextField) -> np.ndarray:
    """What the tokeniser of characters gives, without an object for every character."""
    read, length = characters_read(field, "chars"), field.n_chars
    normal = tokenizer(field, "chars").normalizer.normalize_str
    known = np.array([ord(char) for char in field.chars], dtype=np.uint32)
    order = np.argsort(known)
    ids = np.zeros((len(texts), length), dtype=np.int32)
    for row, text in enumerate(texts):
        codes = np.frombuffer(normal(text[:read])[:length].encode("utf-32-le"), dtype=np.uint32)
        if len(known):
            at = order[np.minimum(np.searchsorted(known, codes, sorter=order), len(known) - 1)]
            ids[row, : len(codes)] = np.where(known[at] == codes, at + FIRST_ID, UNKNOWN)
        else:
            ids[row, : len(codes)] = UNKNOWN
    return ids


def decode_words(ids: np.ndarray, field: TextField) -> list[str]:
    """Word ids (N, T) as texts, words joined by spaces, an unknown word as "[UNK]"."""
    words = np.array(["", "[UNK]", *field.words], dtype=object)
    return [" ".join(words[row[row != PAD]]) for row in ids]
