"""Words as their base forms ("were" as "be"), by the `simplemma` library, whose dictionaries are in its package. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache

from netwright.core.errors import SetupError, UsageError, unknown

KEPT = 1 << 17
"""Words whose base form is remembered."""


@cache
def lemmatiser(language: str) -> Callable[[str], str]:
    """The function from a word to its base form. It is looked up as it is written, then in lower case; a word that the dictionary does
    not have stays as it is.

    Args:
        language: code of two or three letters, such as "en", "de" or "la".

    Raises:
        SetupError: the library is not installed.
        UsageError: it has no dictionary of this language.

    Source: Barbaresi (2021), "Simplemma: a simple multilingual lemmatizer for Python".

    >>> [lemmatiser("en")(word) for word in ("were", "MICE", "xyzzy")]
    ['be', 'mouse', 'xyzzy']
    """
    try:
        import simplemma
        from simplemma.strategies.dictionaries.dictionary_factory import SUPPORTED_LANGUAGES
    except ImportError as error:
        raise SetupError(
            "base forms of words need simplemma, which this Python does not have; "
            "install it: pip install 'netwright[lemma]', or leave lemmas out"
        ) from error
    if language not in SUPPORTED_LANGUAGES:
        raise UsageError(unknown("language of lemmas", language, sorted(SUPPORTED_LANGUAGES)))

    @lru_cache(maxsize=KEPT)
    def lemma(word: str) -> str:
        known = simplemma.is_known(word, lang=language)
        found: str = simplemma.lemmatize(word if known else word.lower(), lang=language)
        return found

    return lemma
