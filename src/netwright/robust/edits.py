"""What a misspeller may do to a text, so that a reader still gives it the same label. Whoever changed it: it is measured here."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from netwright.core.errors import UsageError, unknown
from netwright.core.spec import InputSpec, TextField

Texts = tuple[str, ...]
"""The texts of one row, a string for each column of text that may change."""
Place = tuple[int, int]
"""Where a word stands: its column, and its number among the pieces of that text."""

_LETTERS = re.compile(r"([^\W\d_]+)")
_WORDS = re.compile(r"\w+")
_CHUNKS = re.compile(r"\S+")
_KEPT = re.compile(r"[\d_@#/\\]|\w[.'’]\w")
"""What stands between spaces is left alone with one of these: digits, addresses, marks, an apostrophe or a dot inside a word."""
_NEGATIONS = (
    "no not nor none never neither nothing nobody nowhere cannot without hardly barely scarcely nicht kein keine keinen nie "
    "niemals ohne weder nichts pas jamais aucun aucune rien sans nunca ninguno ninguna nada tampoco senza nessuno niente"
)
NEGATIONS = frozenset(_NEGATIONS.split())
"""Words that turn a meaning round, of English, German, French, Spanish and Italian."""


@lru_cache(maxsize=200_000)
def edit_distance(a: str, b: str) -> int:
    """Letters inserted, deleted, replaced, or swapped with their neighbour, each place edited once.

    It is never below the distance of Damerau (1964) and Levenshtein (1966). Source: optimal string alignment, Boytsov (2011).

    >>> edit_distance("great", "graet"), edit_distance("great", "gret"), edit_distance("great", "greats")
    (1, 1, 1)
    """
    same = _shared(a, b)
    a, b = a[same:], b[same:]
    same = _shared(a[::-1], b[::-1])
    a, b = a[: len(a) - same], b[: len(b) - same]
    above: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, last, row = row, above, [i]
        for j, y in enumerate(b, 1):
            least = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                least = min(least, last[j - 2] + 1)
            row.append(least)
    return row[-1]


def _shared(a: str, b: str) -> int:
    """How many letters two words begin with alike."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def pieces_of(text: str) -> list[str]:
    """A text in pieces: what stands between words at even places, words (runs of letters) at odd ones.

    >>> pieces_of("so good!")
    ['', 'so', ' ', 'good', '!']
    """
    return _LETTERS.split(text)


def words_of(texts: Iterable[str]) -> frozenset[str]:
    """All words of some texts, in lower case.

    >>> sorted(words_of(["So good!", "so-so"]))
    ['good', 'so']
    """
    return frozenset(word.lower() for text in texts for word in _LETTERS.findall(text))


@dataclass(frozen=True)
class EditRules:
    """What a misspeller may do to the texts of a row.

    At most `edits` letters are inserted, deleted, replaced, or swapped with their neighbour, at most `per_word` of them in a word,
    in at most the share `share` of the words (one in any case). The first and the last letter of a word stay, and words of fewer
    than `shortest` letters; negations, digits, addresses and words with an apostrophe or a dot inside; and words of
    scripts without capital letters, where a stroke more can be another word. An added letter is one of the training
    texts and of the word's own script. What comes out is no word of the training texts.

    Args:
        spec: what a row is made of.
        edits: how many edits a row may have.
        per_word, share, shortest: as above.
        immutable: names of columns that may not change.
        lexicon: for each column that may change the words of the training texts, in lower case, beside its vocabulary.

    >>> column = TextField(words=("good", "food"), chars="abdefgo ", n_words=9, n_chars=40)
    >>> rules = EditRules(InputSpec(kind="text", fields=(column,)), edits=1)
    >>> [rules.measure(("so good",), (text,)) for text in ("so godo", "so goood", "so food", "so good!")]
    [None, 1, None, None]
    """

    spec: InputSpec
    edits: int = 1
    per_word: int = 1
    share: float = 0.25
    shortest: int = 4
    immutable: tuple[str, ...] = ()
    lexicon: tuple[frozenset[str], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        for name, value, least in (
            ("edits", self.edits, 1),
            ("per_word", self.per_word, 1),
            ("shortest", self.shortest, 3),
        ):
            if value < least or value != int(value):
                raise UsageError(f"{name} must be a whole number from {least} on, not {value!r}")
        if not 0 < self.share <= 1:
            raise UsageError(f"share is a share of the words, above 0 and at most 1, not {self.share!r}")
        for name in self.immutable:
            if name not in self.spec.names:
                raise UsageError(unknown("input", name, self.spec.names))

    @cached_property
    def fields(self) -> list[TextField]:
        """The columns whose texts may change."""
        return [f for f in self.spec.texts if f.name not in self.immutable]

    @cached_property
    def _known(self) -> list[tuple[frozenset[str], frozenset[str]]]:
        """For each column the letters, and the words, of the training texts, in lower case."""
        more = self.lexicon or (frozenset[str](),) * len(self.fields)
        letters = [frozenset(c.lower() for c in f.chars if c.isalpha()) for f in self.fields]
        words = [frozenset(w.lower() for w in f.words) | extra for f, extra in zip(self.fields, more, strict=True)]
        return list(zip(letters, words, strict=True))

    @property
    def words(self) -> str:
        """What may be done, in words."""
        return f"a text may have {self.edits} misspelt letter{'s' * (self.edits != 1)}"

    @property
    def axis(self) -> str:
        """What a curve over `edits` has below."""
        return "misspelt letters per text"

    @property
    def not_judged(self) -> str:
        """A misspelling that keeps to the rules keeps the label."""
        return ""

    @property
    def limits(self) -> list[tuple[str, str]]:
        """All that is kept to, as names and values."""
        return [
            (
                "edits of a text",
                f"at most {self.edits}: a letter inserted, deleted, replaced, or swapped with its neighbour",
            ),
            ("edits of a word", f"at most {self.per_word}"),
            ("words that change", f"at most {self.share:.0%} of a text's words, one in any case"),
            ("short words", f"words of fewer than {self.shortest} letters stay"),
            ("ends of words", "the first and the last letter stay"),
            ("letters", "an added letter is one of the training texts, and of the word's own script (no look-alikes)"),
            ("other words", "what comes out is no word of the training texts, so it reads as a misspelling"),
            (
                "left alone",
                "negations, digits, addresses, words with an apostrophe or a dot inside, scripts without capitals",
            ),
        ]

    def most_words(self, texts: Texts) -> int:
        """How many words of these texts may change."""
        return max(1, int(self.share * sum(len(_WORDS.findall(text)) for text in texts)))

    def open_words(self, texts: Texts) -> list[Place]:
        """Where the words stand that may change."""
        found: list[Place] = []
        for column, text in enumerate(texts):
            kept = [m.span() for m in _CHUNKS.finditer(text) if _KEPT.search(m.group())]
            for number, start, word in _placed(text):
                if self._is_open(word) and not any(a <= start < b for a, b in kept):
                    found.append((column, number))
        return found

    def _is_open(self, word: str) -> bool:
        long = len(word) >= self.shortest and word.lower() not in NEGATIONS
        return long and all(c.lower() != c.upper() for c in word)

    def allows(self, column: int, word: str, changed: str) -> bool:
        """Whether an open word of a column may be spelt like this."""
        letters, words = self._known[column]
        if changed == word or len(changed) < 2 or (changed[0], changed[-1]) != (word[0], word[-1]):
            return False
        if changed.lower() in words or changed.lower() in NEGATIONS:
            return False
        added = Counter(changed) - Counter(word)
        scripts = {script(c) for c in word}
        known = all(c.lower() in letters and script(c) in scripts for c in added)
        return known and edit_distance(word, changed) <= self.per_word

    def measure(self, before: Texts, after: Texts) -> int | None:
        """How many edits lead from one to the other; None where the rules do not allow them."""
        total, touched, is_open = 0, 0, set(self.open_words(before))
        for column, (was, now) in enumerate(zip(before, after, strict=True)):
            if was == now:
                continue
            old, new = pieces_of(was), pieces_of(now)
            if len(old) != len(new) or old[::2] != new[::2]:
                return None
            for number in range(1, len(old), 2):
                if old[number] != new[number]:
                    if (column, number) not in is_open or not self.allows(column, old[number], new[number]):
                        return None
                    total, touched = total + edit_distance(old[number], new[number]), touched + 1
        return total if total <= self.edits and touched <= self.most_words(before) else None


@lru_cache(maxsize=5_000)
def script(letter: str) -> str:
    """The script of a letter, by the first word of its name in Unicode.

    >>> script("a"), script("\\u0430")
    ('LATIN', 'CYRILLIC')
    """
    return unicodedata.name(letter, "").split(" ")[0]


def _placed(text: str) -> Iterator[tuple[int, int, str]]:
    """Number among the pieces, start, and letters of every word."""
    for k, match in enumerate(_LETTERS.finditer(text)):
        yield 2 * k + 1, match.start(), match.group()
