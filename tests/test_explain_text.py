"""Explanations of texts: on networks that one word decides the largest weight must lie on it, and sums must add up."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import UsageError
from netwright.core.finding import Finding, Tokens
from netwright.core.seed import numpy_generator
from netwright.core.spec import FIRST_ID, InputSpec, TargetSpec
from netwright.data.data import PARTS, Data
from netwright.data.encode import fit_inputs, fit_target
from netwright.data.fronts import TextVector
from netwright.explain.drawn import drawn_rows
from netwright.explain.entries import EXPLANATIONS
from netwright.explain.permutation import permutation_importance
from netwright.explain.texts import parts_of, pieces_of, plain
from netwright.explain.tokens import laid_over, shared, worths_of
from netwright.losses.standard import CrossEntropy, SquaredError
from netwright.model import Model, Subject, fit
from netwright.nn.ensemble import Ensemble
from netwright.nn.text import NgramBag
from netwright.recipes.recipe import Recipe
from netwright.recipes.templates import Fronted
from netwright.report.pictures import sheet
from netwright.train.settings import Training

FILLERS = [a + b for a in ("ka", "lo", "mi", "nu", "pe") for b in ("ra", "si", "to", "vu", "za")]
GLAD, SAD = "wonderful", "dreadful"
ODD = [
    "",
    "   ",
    "!!!",
    "wonderful " + "lora " * 30_000,
    "הסרט wonderful מאוד",
    "\u202eفيلم\u200f جميل wonderful",
    "cafe\u0301 wonderful 电影",
]
"""Texts that give trouble: empty, blank, without a word, of a book's length, written from right to left, of several scripts."""
BOTH = ("deletion", "token-gradients")


def frame_of(n: int = 240, seed: int = 0, odd: bool = False) -> pl.DataFrame:
    """Sentences of fillers with one word that decides the class "good" or "bad", and the value 10 or -10."""
    rng = numpy_generator(seed, "sentences")
    glad, texts = rng.integers(0, 2, n), []
    for g in glad:
        words = [str(w) for w in rng.choice(FILLERS, rng.integers(3, 8))]
        words.insert(int(rng.integers(0, len(words) + 1)), GLAD if g else SAD)
        texts.append(" ".join(words))
    if odd:
        texts[-len(ODD) :], glad[-len(ODD) :] = ODD, 1
    value = 20.0 * glad - 10 + rng.normal(size=n)
    return pl.DataFrame({"text": texts, "y": np.where(glad, "good", "bad"), "value": value})


def data_of(frame: pl.DataFrame, target: str = "y", **kinds: Any) -> Data:
    n = len(frame)
    split = dict(zip(PARTS, np.split(np.arange(n), [n // 2, n * 3 // 4]), strict=True))
    train = frame[split["train"]]
    task = "binary" if target == "y" else "number"
    spec = fit_inputs(train, {"text": "text", **kinds})
    return Data(frame.select(*spec.names, target), spec, fit_target(train[target], task), split)  # type: ignore[arg-type]


OPTIONS = {"ngram-bag": {"buckets": 2048}, "word-conv": {"width": 8, "dim": 8}, "char-conv": {"width": 16, "dim": 8}}


def trained(template: str, members: int = 1, target: str = "y", odd: bool = False) -> Subject:
    data = data_of(frame_of(odd=odd), target)
    training = Training(epochs=14, batch_size=8, learning_rate=1e-2)
    loss = "cross-entropy" if target == "y" else "squared-error"
    recipe = Recipe(name="quick", template=template, options=OPTIONS[template], loss=loss, training=training)
    metric = "log-loss" if target == "y" else "rmse"
    models = [fit(recipe, data, seed=k, metric=metric)[0] for k in range(members)]
    if members == 1:
        return Subject(model=models[0], data=data)
    net = Ensemble([m.module for m in models]).eval()
    both = Model(net, data.spec, data.target, models[0].loss, recipe.model_copy(update={"members": members}))
    return Subject(model=both, data=data)


MAKERS = {
    "ngram-bag": lambda: trained("ngram-bag", odd=True),
    "word-conv": lambda: trained("word-conv"),
    "char-conv": lambda: trained("char-conv"),
    "two bags together": lambda: trained("ngram-bag", members=2),
    "numbers": lambda: trained("ngram-bag", target="value"),
}
_MADE: dict[str, Subject] = {}


def subject_of(kind: str) -> Subject:
    """Trained once."""
    if kind not in _MADE:
        _MADE[kind] = MAKERS[kind]()
    return _MADE[kind]


def ask(name: str, subject: Subject, seconds: float = 60.0, **options: Any) -> Finding:
    found: Finding = EXPLANATIONS[name].load()(subject, budget_seconds=seconds, seed=0, **options)
    return found


def shown(finding: Finding) -> tuple[Tokens, ...]:
    return finding.figures[-1].texts


def heaviest(tokens: Tokens) -> str:
    return tokens.pieces[int(np.abs(tokens.weights).argmax())].strip()


def usual(text: str) -> bool:
    return text in frame_of()["text"].to_list()


# The planted word


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("kind", MAKERS)
def test_the_largest_weight_lies_on_the_word_that_decides(kind: str, name: str) -> None:
    subject = subject_of(kind)
    found = ask(name, subject, rows=10)
    texts = [t for t in shown(found) if usual("".join(t.pieces)) and t.mark == "good"]
    assert len(texts) >= 8
    assert np.mean([heaviest(t) in (GLAD, SAD) for t in texts]) >= 0.9
    if kind != "numbers":
        assert all(t.weights[int(np.abs(t.weights).argmax())] > 0 for t in texts), "the word speaks for the answer"


@pytest.mark.parametrize("kind", ["ngram-bag", "numbers"])
def test_words_are_ranked_by_what_they_push_towards(kind: str) -> None:
    found = ask("deletion", subject_of(kind))
    towards = "value" if kind == "numbers" else "good"
    bars = {f.title: f.series[0] for f in found.figures if f.kind == "bar"}
    (series,) = bars.values()
    assert repr(towards) in next(iter(bars))
    assert series.x[0] == GLAD and series.x[-1] == SAD and float(series.y[0] or 0) > 0 > float(series.y[-1] or 0)
    assert {row[1] for row in found.tables[0].rows[:2]} == {GLAD, SAD}
    assert all(int(row[3] or 0) >= 3 for row in found.tables[0].rows)


# Deletion


class Counting(nn.Module):
    """The value is 3 for each "wonderful", -2 for each "dreadful"; of two classes, half of it is the logit of the second."""

    def __init__(self, spec: InputSpec, task: str) -> None:
        super().__init__()
        (field,) = spec.texts
        self.tensor, self.task = field.tensors[0], task
        weight = torch.zeros(FIRST_ID + len(field.words))
        for word, value in ((GLAD, 3.0), (SAD, -2.0)):
            weight[FIRST_ID + field.words.index(word)] = value
        self.weight = nn.Parameter(weight)

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        value = self.weight[x[self.tensor].long()].sum(1)
        return value.unsqueeze(1) if self.task == "number" else torch.stack([torch.zeros_like(value), value / 2], 1)


def counting(target: str = "y", texts: list[str] | None = None) -> Subject:
    frame = frame_of()
    if texts:
        frame = frame.with_columns(text=pl.Series([*frame["text"][: -len(texts)], *texts]))
    data = data_of(frame, target)
    task = data.target.task
    loss = CrossEntropy() if task == "binary" else SquaredError()
    return Subject(model=Model(Counting(data.spec, task).eval(), data.spec, data.target, loss), data=data)


def test_a_weight_is_by_how_much_the_value_falls_without_the_word() -> None:
    texts = [f"ra {GLAD} {SAD}, {GLAD.upper()}! lora"] * 30
    found = ask("deletion", counting("value", texts))
    (tokens,) = {t.pieces: t for t in shown(found) if "".join(t.pieces) == texts[0]}.values()
    weights = dict(zip((p.strip() for p in tokens.pieces), tokens.weights, strict=True))
    assert weights == pytest.approx({"ra": 0, GLAD: 3, f"{SAD},": -2, f"{GLAD.upper()}!": 3, "lora": 0})
    effects = {row[1]: row[2] for row in found.tables[0].rows}
    assert effects[GLAD] == pytest.approx(3) and effects[SAD] == pytest.approx(-2)


def test_what_is_left_out_of_a_class_is_measured_in_its_probability() -> None:
    subject = counting()
    model = subject.need("model")
    for tokens in shown(ask("deletion", subject, rows=4)):
        text = "".join(tokens.pieces)
        p = model.predict_proba([text])[0]
        for k, weight in enumerate(tokens.weights):
            rest = "".join(piece for i, piece in enumerate(tokens.pieces) if i != k)
            assert weight == pytest.approx(p.max() - model.predict_proba([rest])[0][p.argmax()], abs=1e-9)


def test_long_texts_are_left_out_in_runs_of_words_and_shown_up_to_a_limit() -> None:
    text = "lora " * 300 + GLAD + " lora" * 30_000
    found = ask("deletion", counting("value", [text] * 20))
    tokens = next(t for t in shown(found) if len(t.pieces) > 20)
    assert len(tokens.pieces) <= 101 and tokens.pieces[-1] == "…" and tokens.weights[-1] == 0
    assert "".join(tokens.pieces[:-1]) == text[: len("".join(tokens.pieces)) - 1]
    assert all(len(pieces_of(p)) == len(pieces_of(tokens.pieces[0])) for p in tokens.pieces[:-2])


@pytest.mark.parametrize("text", [*ODD, "a", "电影很好 ok", "ภาพยนตร์ ดี", "a\u00a0b\tc\n"])
def test_pieces_are_the_text_again_and_none_is_blank(text: str) -> None:
    for pieces in (pieces_of(text), parts_of(text), parts_of(text, 1)):
        assert "".join(pieces) == text or not text.strip()
        assert all(piece.strip() for piece in pieces)
    assert len(parts_of(text)) <= 100


@pytest.mark.parametrize(
    ("word", "ranked"),
    [
        ("«Good»,", "good"),
        ("don't", "don't"),
        ("की।", "की"),
        ("café.", "café"),
        ("cafe\u0301", "cafe\u0301"),
        ("?!", ""),
    ],
)
def test_a_word_is_ranked_without_signs_around_it_but_with_its_accents(word: str, ranked: str) -> None:
    assert plain(word) == ranked


# Gradients of tokens


@pytest.mark.parametrize("kind", ["ngram-bag", "word-conv", "char-conv", "two bags together", "numbers"])
def test_all_worths_add_up_to_the_way_from_vectors_of_zero(kind: str) -> None:
    subject = subject_of(kind)
    model, field = subject.need("model"), subject.need("data").spec.texts[0]
    blank = copy.deepcopy(model.module)
    for part in blank.modules():
        if isinstance(part, nn.Embedding):
            nn.init.zeros_(part.weight)
    zero = replace(model, module=blank)
    drawn = drawn_rows(subject, "token-gradients", 0, right=6, wrong=6)
    base = zero.predict_encoded(drawn.batch.x)
    for i in range(len(drawn)):
        worths, miss = worths_of(model, copy.deepcopy(model.module), field, drawn, i, 400)
        start = base[i] if base.ndim == 1 else base[i, drawn.chosen[i]]
        change, total = float(drawn.answer[i] - start), sum(float(w.sum()) for w in worths.values())
        assert total == pytest.approx(change, abs=0.01 * max(1.0, abs(change))) and miss < 0.01 * max(1.0, abs(change))
        for level, ids in zip(("words", "chars"), field.tensors, strict=True):
            if level in worths:
                assert len(worths[level]) == int((drawn.batch.x[ids][i] != 0).sum())


@pytest.mark.parametrize(("length", "least", "longest"), [*product([1, 2, 5, 9], [1, 3], [3, 5])])
def test_the_worth_of_an_ngram_is_shared_alike_among_its_tokens(length: int, least: int, longest: int) -> None:
    rng = numpy_generator(0, "shared", length)
    table = rng.normal(size=(longest - least + 1, length))
    expected = np.zeros(length)
    for run, n in zip(table, range(least, longest + 1), strict=True):
        for start in range(length):
            if start + n > length:
                run[start] = 0.0  # n-grams that reach beyond the text are not there
            else:
                expected[start : start + n] += run[start] / n
    found = shared(table.flatten(), length, least)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert found.sum() == pytest.approx(table.sum())


@pytest.mark.parametrize(("level", "least", "n"), [("words", 1, 2), ("chars", 3, 3), ("chars", 2, 4)])
def test_one_ngram_that_counts_lends_its_worth_to_its_own_tokens_only(level: str, least: int, n: int) -> None:
    data = data_of(frame_of(), "value")
    (field,) = data.spec.texts
    tensor = field.tensors[level == "chars"]
    bag = NgramBag(
        FIRST_ID + len(field.words if level == "words" else field.chars), 1, n=n, least=least, buckets=1 << 16
    )
    net = Fronted(TextVector(tensor, bag), nn.Linear(1, 1)).eval()
    row = data.block("test").x[tensor][:1]
    length = int((row != 0).sum())
    numbers, there = bag.grams(row[:, :length])
    at = numbers.view(-1, length)[-1][1]  # the second of the longest n-grams
    with torch.no_grad():
        bag.table.weight.zero_()[at] = 1.0
        net.body.weight.fill_(2.0)  # type: ignore[operator, union-attr]
    subject = Subject(model=Model(net, data.spec, data.target, SquaredError()), data=data)
    drawn = drawn_rows(subject, "token-gradients", 0, right=99, wrong=99)
    worths, miss = worths_of(subject.need("model"), net, field, drawn, list(drawn.rows).index(0), 8)
    expected = np.zeros(length)
    expected[1 : 1 + n] = 2.0 / np.sqrt(float(there.sum())) / n
    np.testing.assert_allclose(worths[level], expected, atol=1e-6)  # type: ignore[index]
    assert miss < 1e-5 and not any(m._forward_hooks for m in net.modules())


def test_worths_are_laid_over_the_words_on_which_their_tokens_stand() -> None:
    text = f"\u200fשלום  cafe\u0301 {GLAD}!"
    field = data_of(
        pl.concat([frame_of(), pl.DataFrame({"text": [text] * 9, "y": ["good"] * 9, "value": [0.0] * 9})])
    ).spec.texts[0]
    pieces, weights = laid_over(text, {"words": np.array([1.0, 2.0, 4.0, 8.0])}, field)
    assert "".join(pieces) == text and [p.strip() for p in pieces] == ["\u200fשלום", "cafe\u0301", f"{GLAD}!"]
    assert weights == pytest.approx((1.0, 2.0, 12.0))
    ones = np.ones(len(f"שלום café {GLAD}!"))
    _, weights = laid_over(text, {"chars": ones, "words": np.zeros(4)}, field)
    assert sum(weights) == pytest.approx(ones.sum()) and weights[0] == pytest.approx(5, abs=1)


# Laws


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("kind", ["ngram-bag", "char-conv", "numbers"])
def test_an_explanation_repeats_itself_leaves_all_as_it_was_and_can_be_shown(kind: str, name: str) -> None:
    subject = subject_of(kind)
    module = subject.need("model").module
    for p in module.parameters():
        p.grad = None
    before, state = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    found = ask(name, subject, rows=12)
    assert torch.equal(torch.get_rng_state(), state) and not any(m._forward_hooks for m in module.modules())
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in module.parameters()) and not module.training
    assert ask(name, subject, rows=12) == found
    assert Finding.model_validate_json(found.model_dump_json()) == found
    assert all(len(t.pieces) == len(t.weights) and np.isfinite(t.weights).all() for t in shown(found))
    assert sheet(found.figures[-1], "f").count("<li>") == len(shown(found)) > 5


@pytest.mark.parametrize("name", BOTH)
def test_every_kind_of_text_is_explained_and_shown_as_it_was_written(name: str) -> None:
    texts = ODD * 3
    subject = subject_of("ngram-bag")
    frame = frame_of(len(texts) * 4).head(len(texts)).with_columns(text=pl.Series(texts))
    data: Data = subject.need("data")
    rows = {part: np.arange(len(texts)) for part in PARTS}
    odd = replace(subject, data=Data(frame.drop("value"), data.spec, data.target, rows))  # type: ignore[arg-type]
    found = ask(name, odd, rows=30)
    written = {"".join(t.pieces) for t in shown(found)}
    assert written == {t if len(t) <= 12_000 else t[:12_000] + "…" for t in ODD if t.strip()} | {""}
    assert all(np.isfinite(t.weights).all() for t in shown(found))


@pytest.mark.parametrize("name", BOTH)
def test_little_time_means_few_texts_and_an_unknown_column_is_an_error(name: str) -> None:
    subject = subject_of("word-conv")
    found = ask(name, subject, seconds=0.0, rows=4)
    assert len(shown(found)) == 1 and "out of time after 1 of" in found.title
    with pytest.raises(UsageError, match="tect"):
        ask(name, subject, column="tect")


# Other people's networks, and tables


def test_a_foreign_network_with_its_own_tokeniser_goes_through_explain() -> None:
    frame, vocabulary = frame_of(80), sorted({GLAD, SAD, *FILLERS})

    def encode(texts: list[str]) -> Tensor:
        ids = [[1 + vocabulary.index(w) if w in vocabulary else 0 for w in t.split()][:12] for t in texts]
        return torch.tensor([row + [0] * (12 - len(row)) for row in ids])

    net = nn.EmbeddingBag(len(vocabulary) + 1, 2, mode="sum")
    nn.init.zeros_(net.weight)
    with torch.no_grad():
        net.weight[1 + vocabulary.index(GLAD), 1] = net.weight[1 + vocabulary.index(SAD), 0] = 3.0
    y = (frame["y"] == "good").to_numpy().astype(int)
    given = {"loss": "cross-entropy", "encode": encode, "kind": "text", "classes": ("bad", "good")}
    deletion, gradients = nw.explain(net, frame["text"].to_list(), y, budget_seconds=20, **given)
    assert {heaviest(t) for t in shown(deletion)} == {GLAD, SAD}
    assert "the tokeniser is a user's own" in gradients.title
    assert gradients.verdict == "info" and not gradients.figures


def test_in_a_table_only_the_asked_text_changes_and_pictures_are_not_read_again() -> None:
    n = 120
    rng = numpy_generator(0, "table")
    frame = frame_of(n).with_columns(other=pl.Series(rng.choice(FILLERS, n)), a=pl.Series(rng.normal(size=n)))
    data = data_of(frame, other="text", a="number")

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = Counting(InputSpec(kind="text", fields=(data.spec.texts[0],)), "binary")

        def forward(self, x: dict[str, Tensor]) -> Tensor:
            outputs: Tensor = self.first(x) + x["numbers"] * torch.tensor([0.0, 1.0])
            return outputs

    subject = Subject(model=Model(Sum().eval(), data.spec, data.target, CrossEntropy()), data=data)
    calls: list[int] = []
    subject.need("model").encode = lambda rows: calls.append(1)
    found = ask("deletion", subject, rows=6)
    assert {heaviest(t) for t in shown(found)} <= {GLAD, SAD} and not calls
    assert all(w == 0 for t in shown(ask("deletion", subject, column="other")) for w in t.weights)


def test_words_and_characters_of_a_column_are_shuffled_together() -> None:
    """A network that is right only where both tensors of a text belong to the same row."""
    texts = [w * k for w in ("a ", "b ") for k in range(1, 41)]
    spec = fit_inputs(pl.DataFrame({"text": texts}), {"text": "text"})

    class Agree(nn.Module):
        def forward(self, x: dict[str, Tensor]) -> Tensor:
            words, chars = (x[t] != 0 for t in spec.texts[0].tensors)
            agree = (chars.sum(1) == 2 * words.sum(1) - 1).float()
            return torch.stack([1 - agree, agree], 1)

    target = TargetSpec(name="y", task="binary", classes=("no", "yes"), priors=(0.5, 0.5))
    frame = pl.DataFrame({"text": texts, "y": ["yes"] * 80})
    data = Data(frame, spec, target, {part: np.arange(80) for part in PARTS})
    model = Model(Agree().eval(), spec, target, CrossEntropy())
    assert (model.predict_encoded(data.block("test").x)[:, 1] > 0.5).all()
    found = permutation_importance(Subject(model=model, data=data))
    assert found.tables[0].rows[0][1:4] == (0.0, 0.0, 0.0)
