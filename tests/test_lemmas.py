"""Words as their base forms: in fit and encoding alike, through files and the command line, and refused where that cannot be."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import netwright as nw
from netwright.core.errors import SetupError, UsageError
from netwright.core.seed import numpy_generator
from netwright.core.spec import FIRST_ID, PAD, UNKNOWN, TextField
from netwright.data.encode import encode_inputs, fit_inputs
from netwright.data.lemmas import lemmatiser
from netwright.data.text import decode_words, encode_text, fit_text, tokenizer_json
from netwright.export.write import export
from netwright.model import Model
from netwright.workflow.settings import Settings

simplemma = pytest.importorskip("simplemma")

TEXTS = ["The mice were running!", "a mouse runs", "THE MOUSE IS here, the mice are there"]
COLUMN = pl.Series("t", TEXTS)


def test_forms_of_a_word_are_one_word() -> None:
    plain, based = fit_text(COLUMN), fit_text(COLUMN, lemmas="en")
    assert "mice" in plain.words and "mouse" in based.words and "mice" not in based.words
    ids = encode_text(COLUMN, based)["t:words"]
    mouse = FIRST_ID + based.words.index("mouse")
    assert (ids == mouse).sum(1).tolist() == [1, 1, 2]
    assert decode_words(ids, based)[0].split()[1:4] == ["mouse", "be", "run"]


def test_characters_and_texts_without_lemmas_are_what_they_were() -> None:
    plain, based = fit_text(COLUMN), fit_text(COLUMN, lemmas="en")
    assert plain.chars == based.chars and plain.lemmas == ""
    assert (encode_text(COLUMN, plain)["t:chars"] == encode_text(COLUMN, based)["t:chars"]).all()
    assert (
        TextField.model_validate(plain.model_dump(exclude={"lemmas"})) == plain
    )  # of a model from before there were any


def test_ids_are_padded_cut_and_unknown_as_without() -> None:
    field = TextField(name="t", words=("mouse", "run"), chars="a", n_words=3, n_chars=2, lemmas="en")
    ids = encode_text(pl.Series("t", ["mice", "", None, "xyzzy ran mice mice", "\u200bMICE\x00 runs"]), field)[
        "t:words"
    ]
    mouse, run = FIRST_ID, FIRST_ID + 1
    assert ids.tolist() == [[mouse, PAD, PAD], [PAD] * 3, [PAD] * 3, [UNKNOWN, run, mouse], [mouse, run, PAD]]


@pytest.mark.parametrize("language", ["../en", "english", "", "EN"])
def test_a_language_without_a_dictionary_is_refused_with_those_there_are(language: str) -> None:
    with pytest.raises(UsageError, match="there is no language of lemmas"):
        lemmatiser(language)


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    lemmatiser.cache_clear()
    monkeypatch.setitem(sys.modules, "simplemma", None)
    with pytest.raises(SetupError, match=r"pip install 'netwright\[lemma\]'"):
        fit_text(COLUMN, lemmas="en")
    assert fit_text(COLUMN).words
    lemmatiser.cache_clear()


def test_an_estimator_and_its_file_read_new_texts_the_same_way(tmp_path: Path) -> None:
    texts = ["the mice were running", "a big house stood there"] * 20
    net = nw.Classifier(lemmas="en", epochs=2, random_state=0).fit(texts, [0, 1] * 20)
    assert net.model_.spec.texts[0].lemmas == "en"
    net.model_.save(tmp_path)
    new = ["mouse run", "houses stand", "mice ran"]
    again = Model.load(tmp_path)
    np.testing.assert_array_equal(again.predict_proba(new), net.predict_proba(new))
    words = encode_inputs(pl.DataFrame({again.spec.names[0]: new}), again.spec)[again.spec.texts[0].tensors[0]]
    assert (words[0] == words[2]).all()
    with pytest.raises(UsageError, match="count as their base forms, which neither an ONNX file"):
        export(again, tmp_path / "m.onnx")


def test_a_tokeniser_file_of_base_forms_is_refused_and_one_of_characters_is_not() -> None:
    field = fit_text(COLUMN, lemmas="en")
    with pytest.raises(UsageError, match="train without lemmas to export"):
        tokenizer_json(field, "words")
    assert tokenizer_json(field, "chars") == tokenizer_json(fit_text(COLUMN), "chars")


@pytest.mark.slow
def test_settings_and_all_text_columns_know_the_language() -> None:
    assert Settings(data="x", lemmas="de").lemmas == "de" and Settings(data="x").lemmas == ""
    frame = pl.DataFrame({"a": ["die Häuser waren alt"] * 3, "b": ["Das Haus ist alt"] * 3})
    spec = fit_inputs(frame, {"a": "text", "b": "text"}, lemmas="de")
    assert [f.lemmas for f in spec.texts] == ["de", "de"]
    assert set(spec.texts[0].words) & set(spec.texts[1].words) >= {"haus", "sein", "alt"}
    ids = encode_inputs(pl.DataFrame({"a": ["Häuser", "HÄUSER", "Haus"], "b": [""] * 3}), spec)["a:words"][:, 0]
    assert ids.tolist() == [FIRST_ID + spec.texts[0].words.index("haus")] * 3  # a noun is known by its capital


@pytest.mark.slow
def test_the_run_takes_lemmas_and_keeps_them_for_new_rows(tmp_path: Path) -> None:
    from commandline import call

    rng = numpy_generator(0, "rows")
    verbs = [
        "ran",
        "runs",
        "sat",
        "sits",
        "slept",
        "sleeps",
        "ate",
        "eats",
        "went",
        "goes",
        "stood",
        "stands",
        "fell",
        "falls",
    ]
    labels = ["m", "h"] * 80
    said = [" ".join(rng.choice(verbs, 6, replace=False)) for _ in labels]
    texts = [f"the {'mice' if y == 'm' else 'houses'} {words}" for y, words in zip(labels, said, strict=True)]
    rows = pl.DataFrame({"t": texts, "y": labels})
    rows.write_csv(tmp_path / "d.csv")
    options = ("--target", "y", "--text", "t", "--lemmas", "en", "--quick", "--skip", "attack", "--skip", "explain")
    ended = call("run", tmp_path / "d.csv", *options, "--out", tmp_path / "r")
    assert ended.code == 0, ended.err
    assert Model.load(tmp_path / "r" / "model").spec.texts[0].lemmas == "en"
    wrong = call("run", tmp_path / "d.csv", *options[:5], "englisch", "--out", tmp_path / "s")
    assert wrong.code == 2 and "language of lemmas" in wrong.error and not (tmp_path / "s").exists()
