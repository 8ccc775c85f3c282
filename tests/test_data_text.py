"""Texts: how they are read, what becomes of bad ones, and that the stored tokeniser says the same as the encoder."""

from __future__ import annotations

import gzip
import unicodedata
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from netwright.core.spec import PAD, UNKNOWN, InputSpec, TextField
from netwright.data import text as module
from netwright.data.encode import decode_inputs, encode_inputs, fit_inputs
from netwright.data.infer import guess_kind, infer_kinds
from netwright.data.read import look
from netwright.data.text import (
    LONGEST,
    MAX_LETTERS,
    Level,
    characters_read,
    decode_words,
    encode_text,
    fit_text,
    texts_of,
    tokenizer_json,
)

LEVELS: tuple[Level, Level] = ("words", "chars")


def column(*texts: str | None) -> pl.Series:
    return pl.Series("t", texts, dtype=pl.String)


def words_of(text: str, *, lower: bool = True) -> list[str]:
    """The words of a text, whatever the vocabulary."""
    field = seen(text, lower)
    return decode_words(encode_text(column(text), field)["t:words"], field)[0].split()


def seen(text: str, lower: bool = True) -> TextField:
    """A field that was fitted on this very text."""
    return fit_text(column(text, text), lower=lower)


def chars_of(text: str, *, lower: bool = True) -> str:
    field = seen(text, lower)
    ids = encode_text(column(text), field)["t:chars"][0]
    return "".join(field.chars[i - 2] for i in ids if i != PAD)


def stored_ids(field: TextField, level: Level, texts: list[str]) -> np.ndarray:
    tool = Tokenizer.from_str(tokenizer_json(field, level))
    return np.array([e.ids for e in tool.encode_batch(texts)], dtype=np.int32).reshape(len(texts), -1)


# --- what a word and a character are ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's GOOD", ["it", "'", "s", "good"]),
        ("soooooo good!!!!!!", ["sooo", "good", "!!!"]),
        ("soo good!!", ["soo", "good", "!!"]),
        ('he said: "no?!"', ["he", "said", ":", '"', "no", "?", "!", '"']),
        ("1000000 of 10/10", ["1000000", "of", "10", "/", "10"]),
        ("a_b c-d", ["a_b", "c", "-", "d"]),
        ("我喜欢 this电影", ["我", "喜", "欢", "this", "电", "影"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("שלום עולם", ["שלום", "עולם"]),
    ],
)
def test_words_are_runs_of_letters_of_one_mark_or_single_signs_of_scripts_without_spaces(
    text: str, words: list[str]
) -> None:
    assert words_of(text) == words


def test_case_is_kept_where_the_field_says_so() -> None:
    assert words_of("Rome ROME", lower=False) == ["Rome", "ROME"] and words_of("Rome ROME") == ["rome", "rome"]
    assert chars_of("Ab", lower=False) == "Ab" and chars_of("Ab") == "ab"


def test_white_space_nul_and_control_characters_are_one_space_and_none_at_the_ends() -> None:
    assert chars_of("\n  a\x00b \t\r\n c\x1b ") == "a b c"
    assert words_of("a\x00b\x85c\u3000d") == ["a", "b", "c", "d"]


def test_a_letter_and_its_accent_are_one_character() -> None:
    apart = unicodedata.normalize("NFD", "très élégant")
    assert len(apart) > len("très élégant") and chars_of(apart) == "très élégant"
    field = fit_text(column("très élégant", "très"))
    for name, ids in encode_text(column(apart), field).items():
        np.testing.assert_array_equal(ids, encode_text(column("très élégant"), field)[name])


def test_marks_of_direction_and_invisible_signs_change_nothing() -> None:
    field = fit_text(column("שלום עולם good movie", "good"))
    plain = encode_text(column("שלום עולם good"), field)
    marked = encode_text(column("\u202bשלום\u200f עולם\u202c go\u200bo\u00add\ufeff"), field)
    for name, ids in plain.items():
        assert (ids > UNKNOWN).any()
        np.testing.assert_array_equal(marked[name], ids)


# --- vocabularies -------------------------------------------------------------------------------------------------------


def test_words_that_come_once_are_unknown_so_that_unknown_is_learned() -> None:
    field = fit_text(column("good bad good", "bad new"))
    assert field.words == ("bad", "good")
    assert encode_text(column("new good unseen"), field)["t:words"].tolist() == [[1, 3, 1]]


def test_a_vocabulary_of_words_that_all_come_once_keeps_them() -> None:
    assert set(fit_text(column("one two", "three")).words) == {"one", "two", "three"}


def test_the_most_frequent_words_are_kept_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WORDS", 2)
    monkeypatch.setattr(module, "MAX_CHARS", 1)
    field = fit_text(column("c c c b b b a a", "c b"))
    assert field.words == ("b", "c") and len(field.chars) == 1


def test_very_long_words_are_unknown() -> None:
    link = "x1" * MAX_LETTERS
    field = fit_text(column(f"see {link}", f"see {link}"))
    assert field.words == ("see",)


def test_a_language_unlike_the_training_text_is_all_unknown() -> None:
    field = fit_text(column("a good film", "a bad film"))
    ids = encode_text(column("Ένα κακό έργο"), field)
    assert set(ids["t:words"][0]) == {UNKNOWN}
    assert {UNKNOWN} <= set(ids["t:chars"][0]) <= {PAD, UNKNOWN, field.chars.index(" ") + 2}


# --- lengths --------------------------------------------------------------------------------------------------------------


def test_the_share_of_rows_that_are_cut_is_stated_and_right() -> None:
    texts = ["a b"] * 996 + ["a " * 50] * 4
    field = fit_text(column(*texts))
    assert field.n_words == 2 and field.cut_words == 0.004
    assert field.n_chars == 3 and field.cut_chars == 0.004
    assert encode_text(column("a b a"), field)["t:words"].shape == (1, 2)


def test_lengths_have_an_upper_limit() -> None:
    field = fit_text(column(*["word " * 2000] * 4))
    assert (field.n_words, field.n_chars) == (LONGEST["words"], LONGEST["chars"])
    assert field.cut_words == field.cut_chars == 1.0


def test_a_text_of_megabytes_is_read_no_further_than_its_head() -> None:
    field = fit_text(column("a good film", "a bad film"))
    huge = "good film " * 1_000_000
    read = max(characters_read(field, level) for level in LEVELS)
    assert read < 1000
    for name, ids in encode_text(column(huge), field).items():
        np.testing.assert_array_equal(ids, encode_text(column(huge[:read]), field)[name])
    assert decode_words(encode_text(column(huge), field)["t:words"], field) == ["[UNK] film [UNK]"]


def test_a_text_of_megabytes_among_training_rows_leaves_the_vocabulary_small() -> None:
    field = fit_text(column("a b", "x" * 10_000_000, " " * 10_000_000 + "late"))
    assert "late" not in field.words and max(map(len, field.words)) <= MAX_LETTERS


@pytest.mark.parametrize("texts", [[], [""], [None, None], ["   ", "\x00"]])
def test_columns_without_any_text_are_padding_throughout(texts: list[str | None]) -> None:
    field = fit_text(column(*texts))
    assert field.n_words == field.n_chars == 1
    for ids in encode_text(column(*texts), field).values():
        assert ids.shape == (len(texts), 1) and not ids.any()
    assert encode_text(column("any"), field)["t:words"].tolist() == [[UNKNOWN]]


# --- laws -----------------------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=40) | st.sampled_from(
    [
        "",
        "a\x00b",
        "\u202eabc",
        "e\u0301\u0301\u0301\u0301\u0301",
        "İIıi",
        "ΣΑΣ",
        "ﬁ ½",
        "🙂🙂🙂🙂🙂",
        "가나다",
        "[UNK] [PAD]",
    ]
)


@settings(max_examples=40, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=6), st.lists(TEXT, min_size=1, max_size=6), st.booleans())
def test_the_stored_tokeniser_gives_the_ids_of_the_encoder(train: list[str], new: list[str], lower: bool) -> None:
    field = fit_text(column(*train), lower=lower)
    back = InputSpec.model_validate_json(InputSpec(kind="text", fields=(field,)).model_dump_json()).texts[0]
    assert back == field
    texts = train + new
    ids = encode_text(column(*texts), back)
    for name, level in zip(field.tensors, LEVELS, strict=True):
        heads = [text[: characters_read(field, level)] for text in texts]
        np.testing.assert_array_equal(stored_ids(field, level, heads), ids[name])


@settings(max_examples=30, deadline=None)
@given(st.lists(TEXT, min_size=2, max_size=6))
def test_ids_are_in_range_padded_behind_and_the_same_for_a_row_alone(texts: list[str]) -> None:
    field = fit_text(column(*texts))
    sizes = (len(field.words), len(field.chars))
    for (name, ids), size in zip(encode_text(column(*texts), field).items(), sizes, strict=True):
        assert ids.dtype == np.int32 and ids.min() >= 0 and ids.max() < 2 + size
        there = ids != PAD
        assert (there[:, :-1] >= there[:, 1:]).all()
        for row, text in enumerate(texts):
            np.testing.assert_array_equal(encode_text(column(text), field)[name][0], ids[row])


def test_words_come_back_from_their_ids() -> None:
    frame = pl.DataFrame({"t": ["a good film", "a good new film"]})
    spec = fit_inputs(frame, {"t": "text"})
    inputs = encode_inputs(frame, spec)
    assert decode_inputs(inputs, spec)["t"].to_list() == ["a good film", "a good [UNK] film"]


def test_several_columns_of_text_have_vocabularies_of_their_own() -> None:
    frame = pl.DataFrame({"title": ["good film", "bad film"], "body": ["ein film", "ein buch"]})
    spec = fit_inputs(frame, {"title": "text", "body": "text"})
    assert spec.kind == "text" and [f.words for f in spec.texts] == [("film",), ("ein",)]
    assert set(encode_inputs(frame, spec)) == {"title:words", "title:chars", "body:words", "body:chars"}


# --- from files -----------------------------------------------------------------------------------------------------------


def read_text_column(path: Path, content: str) -> list[str]:
    path.write_text(content, encoding="utf-8")
    return texts_of(look(path).frame["text"])


def test_cells_of_a_tsv_survive_with_their_quotation_marks(tmp_path: Path) -> None:
    lines = ['"so" they said', 'a "mixed" bag', '"wholly quoted"', '"never closed', "NA", "it's"]
    content = "label\ttext\n" + "".join(f"{k % 2}\t{line}\n" for k, line in enumerate(lines))
    assert read_text_column(tmp_path / "a.tsv", content) == lines


def test_marks_around_whole_cells_of_a_tsv_are_text_too(tmp_path: Path) -> None:
    assert read_text_column(tmp_path / "a.tsv", 'label\ttext\n1\t"so"\n0\tno\n') == ['"so"', "no"]


def test_a_tsv_that_a_program_quoted_is_read_as_it_was_meant(tmp_path: Path) -> None:
    frame = pl.DataFrame({"label": [0, 1, 0], "text": ['he "said" so', "two\nlines\tand a tab", "plain"]})
    assert read_text_column(tmp_path / "a.tsv", frame.write_csv(separator="\t")) == frame["text"].to_list()
    always = frame.write_csv(separator="\t", quote_style="always")
    assert read_text_column(tmp_path / "b.tsv", always) == frame["text"].to_list()


def test_quotes_of_a_csv_quote(tmp_path: Path) -> None:
    assert read_text_column(tmp_path / "a.csv", 'label,text\n1,"so, he said"\n0,"a ""b"" c"\n') == [
        "so, he said",
        'a "b" c',
    ]


@pytest.mark.parametrize("word", ["NA", "null", "None", "-", "?", "nan"])
def test_words_that_mean_missing_elsewhere_are_text_in_a_text(word: str) -> None:
    field = fit_text(column(word, word, "other"))
    assert encode_text(column(word), field)["t:words"].any()
    assert not encode_text(column(None), field)["t:words"].any()


def test_sentences_are_guessed_to_be_text_and_a_column_may_be_set_to_it() -> None:
    sentences = pl.Series("s", [f"sentence number {k} of a text" for k in range(30)])
    assert guess_kind(sentences).kind == "text"
    short = pl.DataFrame({"s": ["yes", "no"] * 10})
    assert infer_kinds(short)["s"].kind == "category"
    assert infer_kinds(short, {"s": "text"})["s"].kind == "text"


@pytest.mark.data
@pytest.mark.parametrize("name", ["sst2", "sms_spam"])
def test_real_tsv_files_keep_every_line_as_it_is(real_data: Path, name: str) -> None:
    path = real_data / "text" / f"{name}.tsv.gz"
    raw = [line.split("\t") for line in gzip.decompress(path.read_bytes()).decode().removesuffix("\n").split("\n")]
    frame = look(path).frame
    at = raw[0].index("text")
    assert [t.strip() for t in texts_of(frame["text"])] == [row[at].strip() for row in raw[1:]]
