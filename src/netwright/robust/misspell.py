"""The search for the worst misspelling, and its control. What they return is not trusted: `texts.measured` measures it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from netwright.robust.edits import EditRules, Place, Texts, edit_distance, pieces_of

Ask = Callable[[list[int], list[Texts]], tuple[np.ndarray, np.ndarray]]
"""ask(numbers of the rows, their texts) -> how wrong each is (M,), and whether its class is wrong (M,); see `goal.judge`."""
Search = Callable[[Ask, Sequence[Texts], EditRules, np.random.Generator], list[list[Texts]]]
"""search(ask, texts, rules, rng) -> for each row its texts after one edit, after two, ..., as far as they go."""

WORDS, CANDIDATES = 4, 16
"""Words of a row that a step tries, the most important ones; spellings of each that are tried."""
_MOST_OPEN = 60
"""Words of a row that are looked at; a text may be long."""
_BROKEN = 1e6
_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


_AT = {key: (row, 2 * i + row) for row, keys in enumerate(_KEYS) for i, key in enumerate(keys)}
"""Where each key lies, in halves of a key: every row is shifted by one half against the row above."""


def _touch(a: str, b: str) -> bool:
    (row, place), (other, there) = _AT[a], _AT[b]
    return a != b and abs(row - other) <= 1 and abs(place - there) <= 2


NEIGHBOURS = {a: "".join(b for b in _AT if _touch(a, b)) for a in _AT}
"""For each letter those whose keys touch its own."""


def spellings(word: str) -> list[str]:
    """The word with one edit inside: neighbours swapped, a letter left out, doubled, mistyped, or one typed beside it.

    >>> spellings("big")[:2], "great" in spellings("gerat"), "grreat" in spellings("great")
    (['bg', 'bug'], True, True)
    """
    inner = range(1, len(word) - 1)
    found = [word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in inner[:-1] if word[i] != word[i + 1]]
    found += [word[:i] + word[i + 1 :] for i in inner]
    found += [word[:i] + key + word[i + 1 :] for i in inner for key in _beside(word[i])]
    found += [word[:i] + key + word[i:] for i in range(1, len(word)) for key in (word[i - 1], *_beside(word[i - 1]))]
    return list(dict.fromkeys(found))


def _beside(letter: str) -> str:
    keys = NEIGHBOURS.get(letter.lower(), "")
    return keys.upper() if letter.isupper() else keys


class Draft:
    """A row that is being edited: its texts in pieces, and which words may still change."""

    def __init__(self, texts: Texts, rules: EditRules) -> None:
        self.rules, self.before = rules, texts
        self.pieces = [pieces_of(text) for text in texts]
        self.open = rules.open_words(texts)[:_MOST_OPEN]
        self.words = {place: self.pieces[place[0]][place[1]] for place in self.open}
        self.most = rules.most_words(texts)
        self.changed: dict[Place, str] = {}

    def with_word(self, place: Place, spelling: str) -> Texts:
        """The texts with one word spelt otherwise."""
        column, number = place
        pieces = self.pieces[column]
        text = "".join([*pieces[:number], spelling, *pieces[number + 1 :]])
        return tuple(text if i == column else "".join(other) for i, other in enumerate(self.pieces))

    def put(self, place: Place, spelling: str) -> None:
        """Keep a spelling."""
        self.pieces[place[0]][place[1]] = self.changed[place] = spelling

    @property
    def texts(self) -> Texts:
        """The texts as they are now."""
        return tuple("".join(pieces) for pieces in self.pieces)

    def may_change(self) -> list[Place]:
        """Words that can have one more edit."""
        full = len(self.changed) >= self.most
        return [
            place
            for place in self.open
            if (not full or place in self.changed)
            and edit_distance(self.words[place], self.changed.get(place, self.words[place])) < self.rules.per_word
        ]

    def spellings(self, place: Place, most: int, rng: np.random.Generator) -> list[str]:
        """Allowed spellings of a word with one edit more, at most so many of them, drawn at random."""
        word, now = self.words[place], self.changed.get(place, self.words[place])
        every = spellings(now)
        order = rng.permutation(len(every))
        found: list[str] = []
        for i in order:
            if len(found) == most:
                break
            if self.rules.allows(place[0], word, every[i]):
                found.append(every[i])
        return found


def greedy(
    ask: Ask,
    texts: Sequence[Texts],
    rules: EditRules,
    rng: np.random.Generator,
    *,
    words: int = WORDS,
    candidates: int = CANDIDATES,
) -> list[list[Texts]]:
    """Word by word: those that matter most when they are left out are misspelt first, each time in the worst way that was tried.

    No gradient is needed, only answers. A row is left alone once its class is wrong.

    Args:
        words: how many words a step tries. candidates: how many spellings of each.

    Source: Gao et al. (2018), "Black-box generation of adversarial text sequences"; the edits of Pruthi, Dhingra and Lipton (2019).
    """
    drafts = [Draft(row, rules) for row in texts]
    weight = _importance(ask, drafts)
    price, wrong = ask(list(range(len(texts))), list(texts))
    price, wrong, paths = price.copy(), wrong.copy(), [list[Texts]() for _ in texts]
    for _ in range(rules.edits):
        tries: list[tuple[int, Place, str]] = []
        for i in np.flatnonzero(~wrong):
            first = sorted(drafts[i].may_change(), key=lambda place, i=i: -weight[i][place])[:words]  # type: ignore[misc]
            tries += [(int(i), place, s) for place in first for s in drafts[i].spellings(place, candidates, rng)]
        rows = np.array([i for i, _, _ in tries], dtype=np.int64)
        gain, turned = ask(rows.tolist(), [drafts[i].with_word(place, s) for i, place, s in tries])
        for i in np.unique(rows):
            mine = np.arange(*np.searchsorted(rows, (i, i + 1)))
            best = mine[np.argmax(gain[mine] + _BROKEN * turned[mine])]
            if turned[best] or gain[best] > price[i]:
                drafts[i].put(*tries[best][1:])
                price[i], wrong[i] = gain[best], turned[best]
        for draft, path in zip(drafts, paths, strict=True):
            path.append(draft.texts)
    return paths


def _importance(ask: Ask, drafts: list[Draft]) -> list[dict[Place, float]]:
    """For each row how wrong it is without each of its open words."""
    asked = [(i, place) for i, draft in enumerate(drafts) for place in draft.open]
    price, _ = ask([i for i, _ in asked], [drafts[i].with_word(place, "") for i, place in asked])
    weight: list[dict[Place, float]] = [{} for _ in drafts]
    for (i, place), value in zip(asked, price, strict=True):
        weight[i][place] = float(value)
    return weight


def random_edits(texts: Sequence[Texts], rules: EditRules, rng: np.random.Generator) -> list[list[Texts]]:
    """No attack but a control of as many edits: words and spellings are drawn at random, and the model is not asked."""
    paths = []
    for row in texts:
        draft, path = Draft(row, rules), list[Texts]()
        for _ in range(rules.edits):
            places = draft.may_change()
            while places:
                place = places.pop(int(rng.integers(len(places))))
                if found := draft.spellings(place, 1, rng):
                    draft.put(place, found[0])
                    break
            path.append(draft.texts)
        paths.append(path)
    return paths
