"""Misspellings: what the rules allow, a search that finds what brute force finds, and a shell that measures again."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from netwright.core.errors import UsageError
from netwright.core.finding import Finding
from netwright.core.spec import InputSpec, TargetSpec, TextField
from netwright.data.data import Data
from netwright.data.encode import fit_inputs, fit_target
from netwright.data.text import fit_text
from netwright.losses.loss import adapt
from netwright.losses.standard import CrossEntropy, SquaredError
from netwright.model import Model, Subject
from netwright.report.pictures import sheet
from netwright.robust.edits import EditRules, edit_distance, pieces_of, words_of
from netwright.robust.entries import ATTACKS
from netwright.robust.misspell import NEIGHBOURS, greedy, random_edits, spellings
from netwright.robust.passages import edits_of, marked, needed
from netwright.robust.texts import Asker, measured
from netwright.workflow.probing import load_subject

LETTERS = "abcdefghijklmnopqrstuvwxyz' .!"


def rules_of(
    edits: int = 1, words: tuple[str, ...] = ("great", "awful"), chars: str = LETTERS, **options: Any
) -> EditRules:
    field = TextField(words=words, chars=chars, n_words=50, n_chars=400)
    return EditRules(InputSpec(kind="text", fields=(field,)), edits=edits, **options)


# Distances


def true_distance(a: str, b: str, letters: str = "abc") -> int:
    """Fewest edits that lead from a to b, by trying all of them."""
    reached, steps = {a}, 0
    while b not in reached:
        more = set()
        for word in reached:
            for i in range(len(word) + 1):
                more |= {word[:i] + c + word[i:] for c in letters}
                more |= {word[:i] + word[i + 1 :], *(word[:i] + c + word[i + 1 :] for c in letters)}
                more.add(word[:i] + word[i : i + 2][::-1] + word[i + 2 :])
        reached, steps = reached | {w for w in more if len(w) <= max(len(a), len(b)) + 1}, steps + 1
    return steps


@pytest.mark.parametrize(
    "pair", list(itertools.product(["abc", "aabb", "ba", "", "cabca"], ["acb", "abab", "ca", "bacac"]))
)
def test_the_distance_is_never_below_the_fewest_edits_and_equal_to_it_for_one(pair):
    fewest = true_distance(*pair)
    assert edit_distance(*pair) >= fewest
    assert (edit_distance(*pair) == 1) == (fewest == 1)


@settings(max_examples=50, deadline=None)
@given(a=st.text("abc", max_size=7), b=st.text("abc", max_size=7))
def test_the_distance_is_symmetric_and_zero_for_equal_words_only(a: str, b: str) -> None:
    assert edit_distance(a, b) == edit_distance(b, a) and (edit_distance(a, b) == 0) == (a == b)
    assert abs(len(a) - len(b)) <= edit_distance(a, b) <= max(len(a), len(b))


# Rules


@pytest.mark.parametrize(
    ("after", "edits"),
    [
        ("this flim was a joy", 1),
        ("this fim was a joy", 1),
        ("this fiilm was a joy", 1),
        ("this fklm was a joy", 1),
        ("this film was a joy", 0),
        ("thos film was a joy", 1),
        ("this filmm was a joy", 1),
        ("this filn was a joy", None),  # the last letter
        ("this vilm was a joy", None),  # the first letter
        ("this film was a jjoy", None),  # a short word
        ("this fillmm was a joy", None),  # two in a word
        ("thos flim was a joy", None),  # two in a text
        ("this film was  a joy", None),  # a space
        ("this film was a joy!", None),  # a mark
        ("this f1lm was a joy", None),  # a digit
        ("this fi\u0456lm was a joy", None),  # a look-alike of another script
        ("this fiélm was a joy", None),  # a letter that training texts do not have
        ("this firm was a joy", None),  # another word of the training texts
        ("this", None),
        ("", None),
    ],
)
def test_what_one_edit_may_be(after, edits):
    assert rules_of(words=("great", "firm")).measure(("this film was a joy",), (after,)) == edits


@pytest.mark.parametrize(
    "word", ["never", "Without", "don't", "it’s", "r2d2", "www.film.org", "a@film.org", "films/books", "#film"]
)
def test_negations_digits_addresses_and_apostrophes_are_left_alone(word):
    rules = rules_of(edits=9, share=1.0)
    text = f"some {word} here"
    assert rules.open_words((text,)) == [(0, 1), (0, len(pieces_of(text)) - 2)]


def test_words_of_scripts_without_capitals_are_left_alone_and_cyrillic_ones_are_not():
    rules = rules_of(chars=LETTERS + "мирный")
    assert rules.open_words(("这部电影非常好 فيلم جميل जीवन",)) == []
    assert rules.measure(("мирный",), ("мриный",)) == 1
    assert rules.measure(("мирный",), ("мирaный",)) is None, "a Latin letter in a Cyrillic word"


def test_no_more_than_a_share_of_the_words_changes_and_one_in_any_case():
    text = "some film with many fine people here"
    two = "smoe flim with many fine people here"
    assert rules_of(2).measure((text,), (two,)) is None
    assert rules_of(2, share=0.3).measure((text,), (two,)) == 2
    assert rules_of(2).measure((text,), ("smoe film with many fine people here",)) == 1


def test_words_that_training_texts_have_only_once_count_as_known_too():
    before, after = ("some pretty film",), ("some petty film",)
    assert rules_of().measure(before, after) == 1
    assert rules_of(lexicon=(words_of(["A petty crime"]),)).measure(before, after) is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"edits": 0}, "edits"),
        ({"per_word": 0}, "per_word"),
        ({"share": 0.0}, "share"),
        ({"immutable": ("txt",)}, "text"),
    ],
)
def test_senseless_rules_are_refused(options, words):
    with pytest.raises(UsageError, match=words):
        rules_of(**options)


def test_a_spelling_is_one_edit_away_with_the_ends_kept_and_keys_are_beside_each_other():
    for word in ("film", "Great", "banana"):
        found = spellings(word)
        assert len(found) == len(set(found)) > 10
        assert all(edit_distance(word, s) == 1 and s[0] == word[0] and s[-1] == word[-1] for s in found if s != word)
    assert set(NEIGHBOURS["g"]) == set("tyfhvb") and all(a in NEIGHBOURS[b] for a in NEIGHBOURS for b in NEIGHBOURS[a])


@settings(max_examples=60, deadline=None)
@given(
    text=st.text(st.sampled_from("abcdefgh.-' \n\t1éя@\u0301\u202e\x00"), max_size=120),
    edits=st.integers(1, 5),
    per_word=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_whatever_the_control_and_the_search_give_is_allowed(text, edits, per_word, seed):
    rules = rules_of(edits, per_word=per_word, share=0.5)
    ask = lambda rows, texts: (np.array([float(len(t[0])) for t in texts]), np.zeros(len(rows), dtype=bool))  # noqa: E731
    for paths in (
        random_edits([(text,)], rules, np.random.default_rng(seed)),
        greedy(ask, [(text,)], rules, np.random.default_rng(seed), candidates=5),
    ):
        assert len(paths[0]) == edits
        for k, after in enumerate(paths[0], 1):
            size = rules.measure((text,), after)
            assert size is not None and size <= k


# A model of words whose answer is known: it is right as long as it reads enough good words


class Counting(nn.Module):
    """Class 1 where the known words "great", "lovely" outweigh a half; 1.0 and 0.6 are their weights."""

    def __init__(self, field: TextField) -> None:
        super().__init__()
        self.tensor, self.weight = field.tensors[0], torch.zeros(len(field.words) + 2)
        for word, weight in (("great", 1.0), ("lovely", 0.6), ("awful", -1.0), ("boring", -0.6)):
            if word in field.words:
                self.weight[2 + field.words.index(word)] = weight

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        lead = self.weight[x[self.tensor].long()].sum(1)
        return torch.stack([-lead, lead], 1)


TEXTS = [
    "a great film with people",
    "a great and lovely film with all people",
    "an awful film of people who talk",
    "boring and awful from beginning until the very end",
    "boring people who talk too much",
    "a lovely film",
    "it is so bad",
    "we do not go",
]
"""In order: one word decides; two; one; two; one; one; words too short to be changed decide; nothing can be changed."""
LABELS = ["good", "good", "bad", "bad", "bad", "good", "bad", "bad"]


def counting_subject(repeat: int = 1) -> Subject:
    frame = pl.DataFrame({"text": TEXTS * repeat, "y": LABELS * repeat})
    field = fit_text(frame["text"]).model_copy(
        update={"words": ("great", "lovely", "awful", "boring", "film", "people")}
    )
    spec, target = InputSpec(kind="text", fields=(field,)), fit_target(frame["y"], "binary")
    every = np.arange(len(frame))
    data = Data(frame, spec, target, dict.fromkeys(("train", "valid", "test"), every))  # type: ignore[arg-type]
    return Subject(model=Model(Counting(field).eval(), spec, target, CrossEntropy()), data=data)


def asker_of(subject: Subject) -> Asker:
    data: Data = subject.need("data")
    return Asker(subject.need("model"), data.part("test"), data.block("test").y, ["text"])


def probe(subject: Subject, **options: Any) -> Finding:
    return ATTACKS["character-edits"].load()(subject, budget_seconds=30, **{"seed": 0, **options})


@pytest.fixture(scope="module")
def counting() -> Subject:
    return counting_subject()


def test_a_row_falls_exactly_when_as_many_words_are_misspelt_as_decide_it(counting):
    """Ties go to the first class, "bad": texts of good words fall once none is left, bad ones never do."""
    found = probe(counting, edits=(1, 2, 3), share=0.4)
    scores = [row[1] for row in found.tables[0].rows]
    assert scores == [1.0, 6 / 8, 5 / 8, 5 / 8]
    assert found.measured["share_without_open_word"] == pytest.approx(2 / 8)


def test_the_search_finds_what_brute_force_finds_for_one_edit():
    subject = counting_subject()
    asker = asker_of(subject)
    rules = rules_of(words=subject.model.spec.texts[0].words, share=1.0)
    search = partial(greedy, words=20, candidates=200)
    _, _, wrong = asker.judged(range(8), asker.texts)
    paths = dict(enumerate(search(asker.among(np.arange(8)), asker.texts, rules, np.random.default_rng(0))))
    (result,) = measured(asker, paths, [rules])
    for row, texts in enumerate(asker.texts):
        every = [texts]
        for column, number in rules.open_words(texts):
            pieces = pieces_of(texts[column])
            tries = [("".join([*pieces[:number], s, *pieces[number + 1 :]]),) for s in spellings(pieces[number])]
            every += [after for after in tries if rules.measure(texts, after) is not None]
        assert result.price_after[row] == pytest.approx(asker.judged([row] * len(every), every)[1].max())
    assert result.success.any() and not wrong.any()


def test_the_search_asks_only_what_it_needs_and_stops_where_a_row_is_wrong(counting):
    asker = asker_of(counting)
    rows, rules = np.array([0, 1]), rules_of(4, words=counting.model.spec.texts[0].words, share=1.0)
    texts = [asker.texts[i] for i in rows]
    paths = greedy(asker.among(rows), texts, rules, np.random.default_rng(0), words=2, candidates=3)
    n_open = sum(len(rules.open_words(t)) for t in texts)
    assert asker.queries <= n_open + 2 + (2 + 1) * 2 * 3, "one step for the first row, two for the second"
    assert paths[0][0] == paths[0][3] and paths[1][0] != paths[1][1] == paths[1][3]


def test_a_search_that_cheats_is_measured_and_does_not_count(counting):
    asker = asker_of(counting)
    rules = [rules_of(k, words=counting.model.spec.texts[0].words) for k in (1, 2)]
    cheats = {
        0: [("awful awful awful",)] * 2,
        1: [("a grat and lvely film with all people",)] * 2,  # two edits where one may be
        5: [("a lvely film",)] * 2,
    }
    one, two = measured(asker, cheats, rules)
    assert one.success.tolist() == [False] * 5 + [True] + [False] * 2 and one.n_clipped == 2
    assert (
        one.texts[0] == (TEXTS[0],) and one.texts[5] == ("a lvely film",) and one.edits.tolist() == [0] * 5 + [1, 0, 0]
    )
    assert two.success.tolist() == [False, True, False, False, False, True, False, False]
    assert two.edits.tolist() == [0, 2, 0, 0, 0, 1, 0, 0] and two.n_clipped == 3


def test_what_fewer_edits_achieve_more_edits_achieve_too_and_predictions_are_those_of_the_model(counting):
    asker = asker_of(counting)
    rules = [rules_of(k, words=counting.model.spec.texts[0].words, share=1.0) for k in (1, 2, 3)]
    paths = dict(enumerate(greedy(asker.among(np.arange(8)), asker.texts, rules[-1], np.random.default_rng(1))))
    results = measured(asker, paths, rules)
    for a, b in itertools.pairwise(results):
        assert (b.success >= a.success).all() and (b.price_after >= a.price_after).all()
    for result in results:
        says = counting.model.predict_proba(pl.DataFrame({"text": [t[0] for t in result.texts]}))
        assert np.array_equal(says, result.after)
        assert all(
            r.measure(a, b) is not None for r in [result.threat] for a, b in zip(asker.texts, result.texts, strict=True)
        )


def test_random_edits_do_less_than_the_attack():
    found = probe(counting_subject(repeat=15), edits=(1, 2), share=0.4, rows=100)
    for row in found.tables[0].rows[1:]:
        assert row[6] > row[1] + 0.05


# The Finding


def test_the_finding_marks_words_names_the_fragile_ones_and_states_its_limits(counting):
    found = probe(counting, edits=(2,), share=0.4)
    curve, fragile, examples, limits = found.tables
    assert found.probe == "character-edits" and found.verdict == "warn" and "Correct misspellings" in found.todo
    assert found.measured["judged_size_edits"] == 2 and "2 misspelt letters" in found.title
    assert curve.columns[0] == "edits" and curve.columns[-1] == "accuracy under random edits"
    assert {row[0] for row in fragile.rows} == {"great", "lovely"} and fragile.rows[0][:3] == ("great", 2, 2)
    assert (
        len(examples.rows) == 3
        and "first and the last letter" in str(limits.rows)
        and "at most 40%" in str(limits.rows)
    )
    figure = found.figures[1]
    assert figure.kind == "tokens" and len(figure.texts) == 3
    for text, row in zip(figure.texts, examples.rows, strict=True):
        was = TEXTS[int(row[0])]
        now = "".join(text.pieces)
        words = [piece for piece, weight in zip(text.pieces, text.weights, strict=True) if weight]
        assert (
            row[6] == "; ".join(f"{a} → {b}" for a, b in edits_of((was,), (now,)).values())
            and str(row[6]) in text.caption
        )
        assert words == [b for _, b in edits_of((was,), (now,)).values()]
        assert counting.model.predict(pl.DataFrame({"text": [now]}))[0] == row[4] == "bad" != row[1]
    assert all(len(t.pieces) == len(t.weights) for t in figure.texts)
    assert "darker" not in sheet(figure, "f"), "marks have no sizes that a key could explain"


def test_edits_that_are_not_needed_are_put_back_before_they_are_shown():
    asker = asker_of(counting_subject())
    before = {0: (TEXTS[0],), 1: (TEXTS[1],)}
    after = {0: ("a grreat flim with people",), 1: ("a grreat and lovvely film with all people",)}
    left = needed(asker, before, after)
    assert left == {0: ("a grreat film with people",), 1: after[1]}


def test_long_texts_are_shown_around_their_misspelt_words_only():
    text = "word " * 400 + "flim " + "word " * 400
    pieces, weights = marked((text,), edits_of((text.replace("flim", "film"),), (text,)))
    assert pieces[1] == "flim" and weights == (0.0, 1.0, 0.0) and len("".join(pieces)) < 300


def test_a_probe_is_deterministic_and_leaves_model_and_generators_as_they_were(counting):
    state = torch.random.get_rng_state()
    assert probe(counting, seed=3) == probe(counting, seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_little_time_means_few_rows_and_what_was_not_reached_is_left_out():
    subject = counting_subject(repeat=40)
    found = ATTACKS["character-edits"].load()(subject, budget_seconds=1e-9, seed=0)
    assert found.measured["rows"] == 1 and "The time was up after 1 row of 50" in found.todo


def test_a_text_of_a_book_is_left_out_and_said_so(counting):
    data = counting.data
    frame = pl.concat([data.frame, pl.DataFrame({"text": ["great " * 5000], "y": ["good"]})])
    longer = Data(frame, data.spec, data.target, dict.fromkeys(("train", "valid", "test"), np.arange(9)))
    found = probe(Subject(model=counting.model, data=longer))
    assert found.measured["rows"] == 8 and "1 row of more than 10,000 characters left out." in found.todo


# Tables, several columns, other people's tokenisers


def test_in_a_table_only_its_texts_are_misspelt_and_everything_else_reaches_the_model():
    n = 40
    frame = pl.DataFrame(
        {
            "stars": [4.0, 1.0] * (n // 2),
            "title": ["great people", "awful people"] * (n // 2),
            "text": ["lovely film", "boring film"] * (n // 2),
            "y": ["good", "bad"] * (n // 2),
        }
    )
    spec = fit_inputs(frame, {"stars": "number", "title": "text", "text": "text"})
    assert spec.kind == "table"
    seen: list[Tensor] = []

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = [Counting(f) for f in spec.texts]

        def forward(self, x: dict[str, Tensor]) -> Tensor:
            seen.append(x["numbers"][:, 0].unique())
            return sum(part(x) for part in self.parts)  # type: ignore[return-value]

    data = Data(frame, spec, fit_target(frame["y"], "binary"), dict.fromkeys(("train", "valid", "test"), np.arange(n)))  # type: ignore[arg-type]
    subject = Subject(model=Model(Both().eval(), spec, data.target, CrossEntropy()), data=data)
    found = probe(subject, edits=(1, 2), share=0.5)
    assert [row[1] for row in found.tables[0].rows] == [1.0, 1.0, 0.5]
    assert set(torch.cat(seen).tolist()) == {1.0, 4.0}
    example = next(row for row in found.tables[2].rows)
    assert "great → " in example[6] and "lovely → " in example[6]
    only = probe(subject, edits=(2,), share=0.5, immutable=("title",))
    assert only.tables[0].rows[1][1] == 1.0, "the title alone keeps the class"


def test_a_wrapped_model_is_asked_through_its_own_tokeniser():
    good = {"great", "lovely"}

    def encode(texts: list[str]) -> Tensor:
        longest = max(len(text.split()) for text in texts)
        return torch.tensor([[float(w in good) for w in t.split()] + [0.0] * (longest - len(t.split())) for t in texts])

    class Foreign(nn.Module):
        def forward(self, ids: Tensor) -> Tensor:
            lead = ids.sum(1) - 0.5
            return torch.stack([-lead, lead], 1)

    y = [1, 1, 0, 0, 0, 1, 0, 0]
    model = Model.wrap(Foreign(), loss="cross-entropy", x=TEXTS, y=y, encode=encode)
    found = probe(load_subject(model, TEXTS, y), edits=(1, 2), share=0.4)
    assert [row[1] for row in found.tables[0].rows] == [1.0, 6 / 8, 5 / 8]


def test_numbers_as_target_are_made_worse():
    subject = counting_subject()
    frame = subject.data.frame.with_columns(y=pl.Series([2.0, 3.0, -2.0, -3.0, -1.0, 1.0, 0.0, 0.0]))
    target = TargetSpec(name="y", task="number", scale=1.0)
    field = subject.data.spec.texts[0]

    class Lead(Counting):
        def forward(self, x: dict[str, Tensor]) -> Tensor:
            return super().forward(x)[:, 1:]

    data = Data(frame, subject.data.spec, target, subject.data.split)
    model = Model(Lead(field).eval(), data.spec, target, SquaredError())
    found = probe(Subject(model=model, data=data), edits=(1, 2), share=0.4)
    scores = [row[1] for row in found.tables[0].rows]
    assert scores[0] < scores[1] < scores[2] and "made worse" in found.figures[1].title


# Not applicable


def not_applicable(found: Finding, words: str) -> None:
    assert found.verdict == "info" and found.title.startswith("not applicable: ") and words in found.title


def test_what_has_no_texts_or_no_known_link_is_not_attacked(counting, binary_data):
    model = Model(nn.Identity(), binary_data.spec, binary_data.target, CrossEntropy())
    not_applicable(probe(Subject(model=model, data=binary_data)), "there is no column of text")
    not_applicable(probe(counting, immutable=("text",)), "no text may change")
    block = counting.data.block("test")
    tensors = Data.from_tensors(block.x, block.y, counting.model.spec, counting.model.target)
    not_applicable(probe(Subject(model=counting.model, data=tensors)), "only their tokens")
    unknown = Model(
        counting.model.module, counting.model.spec, counting.model.target, adapt(nn.functional.cross_entropy)
    )
    not_applicable(probe(Subject(model=unknown, data=counting.data)), "what an output means")


def test_attacks_on_numbers_do_not_fit_texts_and_this_one_fits_tables_with_texts():
    fits = {kind: [e.name for e in ATTACKS.values() if e.fits(kind=kind, task="binary")] for kind in ("text", "vector")}
    assert fits == {"text": ["character-edits"], "vector": ["fgsm", "pgd"]}
    assert ATTACKS["character-edits"].fits(kind="table", task="number")


@pytest.mark.parametrize(
    ("options", "words"),
    [({"edits": ()}, "edits"), ({"edits": (0,)}, "edits"), ({"words": 0}, "words"), ({"rows": 0}, "rows")],
)
def test_senseless_options_are_refused(options, words, counting):
    with pytest.raises(UsageError, match=words):
        probe(counting, **options)
