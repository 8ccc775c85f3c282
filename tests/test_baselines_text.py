"""Classic methods on texts, alone and as columns of a table: n-grams are counted as said, and what is in them is learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from netwright.baselines.entries import BASELINES
from netwright.baselines.tables import describe, fit_baseline, rows_of
from netwright.baselines.text import fit_tfidf
from netwright.core.seed import numpy_generator
from netwright.data.data import PARTS, Data
from netwright.data.encode import fit_inputs, fit_target
from netwright.data.read import read_table
from netwright.data.split import split_rows
from netwright.losses.metrics import score

TEXTS = [name for name, entry in BASELINES.items() if entry.fits(kind="text", task="binary")]
FILLER = [f"word{i}" for i in range(60)]


def texts(n: int = 300, seed: int = 0, *, denied: bool = True) -> tuple[list[str], np.ndarray]:
    """Texts of filler; those of class 1 say "good" (or "not bad"), those of class 0 "bad" (or "not good")."""
    rng = numpy_generator(seed, "texts")
    y = rng.integers(0, 2, n)
    said = [["bad", "not good"], ["good", "not bad"]]
    found = []
    for label in y:
        words = list(rng.choice(FILLER, rng.integers(3, 12)))
        words.insert(int(rng.integers(0, len(words) + 1)), said[label][rng.integers(0, 2) if denied else 0])
        found.append(" ".join(words))
    return found, y


def split(frame: pl.DataFrame, kinds: dict[str, Any], task: Any = "binary") -> Data:
    n = len(frame)
    rows = dict(zip(PARTS, np.split(np.arange(n), [n * 6 // 10, n * 8 // 10]), strict=True))
    train = frame[rows["train"]]
    return Data(frame, fit_inputs(train, kinds), fit_target(train["y"], task), rows)


def text_data(n: int = 300, task: str = "binary", *, denied: bool = True) -> Data:
    said, y = texts(n, denied=denied)
    noise = numpy_generator(0, "noise").normal(size=n)
    labels = 3 * y + 0.1 * noise if task == "number" else np.array(["no", "yes"])[y]
    return split(pl.DataFrame({"text": said, "y": labels}), {"text": "text"}, task)


def test_texts_alone_have_three_baselines() -> None:
    assert TEXTS == ["dummy", "word-tfidf", "char-tfidf"]


@pytest.mark.parametrize("task", ["binary", "number"])
@pytest.mark.parametrize("name", TEXTS)
def test_predictions_repeat_themselves_and_come_from_raw_rows_too(name: str, task: str) -> None:
    data = text_data(task=task)
    fitted, again = (fit_baseline(name, data, seed=1, budget_seconds=5) for _ in range(2))
    p = fitted.predict("test")
    assert p.shape == ((60,) if task == "number" else (60, 2)) and np.isfinite(p).all()
    assert np.array_equal(p, again.predict("test"))
    assert fitted.predict_frame(data.part("test").drop("y")) == pytest.approx(p, rel=1e-6)
    assert fitted.predict_frame(data.part("test")[3:4])[0] == pytest.approx(p[3], rel=1e-5)


@pytest.mark.parametrize("name", ["word-tfidf", "char-tfidf"])
def test_what_texts_say_is_learned_also_from_tensors(name: str) -> None:
    data = text_data(1200, denied=name == "word-tfidf")
    fitted = fit_baseline(name, data, budget_seconds=5)
    found = describe(fitted)
    assert found.verdict == "pass" and float(found.measured["accuracy"] or 0) > 0.95
    encoded = fitted.predict_encoded(data.block("test").x)
    assert score("accuracy", data.y("test"), encoded) > 0.95
    tensors = {k: np.concatenate([data.block(p).x[k].numpy() for p in PARTS]) for k in data.block("test").x}
    import torch

    y = torch.from_numpy(np.concatenate([data.y(p) for p in PARTS]))
    bare = Data.from_tensors(
        {k: torch.from_numpy(v) for k, v in tensors.items()}, y, data.spec, data.target, data.split
    )
    assert score("accuracy", bare.y("test"), fit_baseline(name, bare).predict("test")) > 0.95


def test_word_tfidf_is_scikit_learns() -> None:
    data = text_data(400)
    fitted = fit_baseline("word-tfidf", data, budget_seconds=30)
    train, test = (rows_of(data, part).texts["text"] for part in ("train", "test"))
    tool = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+|[^\w\s]+")
    x = tool.fit_transform(train)
    reference = LogisticRegression(C=fitted.chosen["inverse_penalty_C"], max_iter=1000, tol=1e-8).fit(
        x, data.y("train")
    )
    assert fitted.chosen["features"] == x.shape[1]
    assert fitted.predict("test") == pytest.approx(reference.predict_proba(tool.transform(test)), abs=0.05)


def test_pairs_of_words_signs_and_case_are_counted_as_said() -> None:
    data = split(
        pl.DataFrame({"text": ["Not bad!", "bad :-)", "x", "y", "z"] * 4, "y": ["n", "y"] * 10}), {"text": "text"}
    )
    words = fit_tfidf(rows_of(data, "train"), "words")
    names = set(words.tools["text"].get_feature_names_out())
    assert {"not", "bad", "not bad", "!", "bad !", ":-)", "x"} <= names
    chars = fit_tfidf(rows_of(data, "train"), "chars").tools["text"].get_feature_names_out()
    assert {len(c) for c in chars} == {2, 3, 4, 5} and " bad " in chars


@pytest.mark.parametrize("name", TEXTS)
def test_blank_missing_strange_and_endless_texts_are_no_error(name: str) -> None:
    data = text_data(200)
    fitted = fit_baseline(name, data)
    rows = pl.DataFrame({"text": ["", None, "\0", "🙂" * 10, "مرحبا بالعالم", "e\u0301" * 50, "good " * 200_000]})
    p = fitted.predict_frame(rows)
    assert np.isfinite(p).all() and p.sum(1) == pytest.approx(np.ones(7))


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("cells", [[""] * 20, [f"{c}" for c in "abcdefghijklmnopqrst"]], ids=["blank", "all different"])
def test_texts_without_a_common_word_tell_nothing(name: str, cells: list[str]) -> None:
    data = split(pl.DataFrame({"text": cells, "y": ["n", "y"] * 10}), {"text": "text"})
    assert fit_baseline(name, data).predict("test") == pytest.approx(np.full((4, 2), 0.5), abs=0.2)


@pytest.mark.slow
def test_a_short_budget_thins_the_training_rows() -> None:
    data = text_data(4000)
    fitted = fit_baseline("char-tfidf", data, budget_seconds=0.3)
    assert fitted.chosen["training_rows"] == 1000 and "of the 2,400 training rows" in describe(fitted).why
    again = fit_baseline("char-tfidf", data, budget_seconds=0.3)
    assert np.array_equal(fitted.predict("test"), again.predict("test"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dummy", "linear", "gradient-boosting"])
def test_texts_beside_numbers_and_categories_go_through_the_methods_of_tables(name: str) -> None:
    said, y = texts(900, denied=False)
    rng = numpy_generator(0, "beside")
    a, c = rng.normal(size=900), rng.choice(["p", "q"], 900)
    z = 2 * y + a + (c == "p")
    frame = pl.DataFrame({"a": a, "said": said, "also": texts(900, seed=1)[0], "c": c, "y": z})
    kinds: dict[str, Any] = {"a": "number", "said": "text", "also": "text", "c": "category"}
    both, alone = split(frame, kinds, "number"), split(frame, {"a": "number", "c": "category"}, "number")
    assert both.spec.kind == "table"
    r2 = [score("r2", d.y("test"), fit_baseline(name, d, budget_seconds=5).predict("test")) for d in (both, alone)]
    assert name == "dummy" or r2[0] > r2[1] + 0.05
    p = fit_baseline(name, both, budget_seconds=5)
    assert p.predict_frame(both.part("test")) == pytest.approx(p.predict("test"), rel=1e-5)


def test_several_columns_of_text_alone_are_one_kind() -> None:
    said, y = texts(400, denied=False)
    frame = pl.DataFrame({"title": [FILLER[i % 60] for i in range(400)], "body": said, "y": np.array(["n", "y"])[y]})
    data = split(frame, {"title": "text", "body": "text"})
    assert data.spec.kind == "text"
    assert score("accuracy", data.y("test"), fit_baseline("word-tfidf", data).predict("test")) > 0.9


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "column", "least"), [("sst2.tsv.gz", "split", 0.805), ("sms_spam.tsv.gz", None, 0.978)]
)
def test_real_texts_are_learned_as_well_as_these_methods_can(
    real_data: Any, file: str, column: str | None, least: float
) -> None:
    if not (real_data / "text" / file).is_file():
        pytest.skip(f"no {file}")
    frame = read_table(real_data / "text" / file).with_columns(pl.col("label").cast(pl.String))
    rows = split_rows(frame, target="label", task="binary", seed=0, split_column=column)
    train = frame[rows["train"]]
    data = Data(frame, fit_inputs(train, {"text": "text"}), fit_target(train["label"], "binary"), rows)
    for name in ("word-tfidf", "char-tfidf"):
        assert score("accuracy", data.y("test"), fit_baseline(name, data, budget_seconds=12).predict("test")) > least
