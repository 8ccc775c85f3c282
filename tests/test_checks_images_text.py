"""Checks of images, texts and mixed tables find what was planted and nothing where nothing was; those of fresh networks work there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

from netwright.checks.content import blank_images, blank_texts, truncated_texts, unknown_tokens
from netwright.checks.data import content_keys, contradictions, copies_by_chance, duplicates, noise_floor
from netwright.checks.entries import CHECKS
from netwright.checks.finite import predictions_finite
from netwright.checks.fresh import affordable
from netwright.checks.gradients import gradients_flow
from netwright.checks.independence import rows_independent
from netwright.checks.near import near_duplicates
from netwright.checks.overfit import distinct_rows, one_batch_overfits
from netwright.checks.properties import properties
from netwright.checks.rate import learning_rate_range
from netwright.checks.shift import shift
from netwright.checks.shortcut import shortcut
from netwright.checks.start import loss_at_start
from netwright.core.finding import Finding
from netwright.core.seed import numpy_generator
from netwright.core.spec import TextField
from netwright.data.data import PARTS, Data
from netwright.data.encode import fit_inputs, fit_target
from netwright.data.properties import of_images, of_texts
from netwright.losses.standard import CrossEntropy
from netwright.model import Model, Subject
from netwright.recipes.book import design
from netwright.workflow.probing import fitting

Kinds = Mapping[str, Any]
FILLER = [first + second + third for first in "bdfgk" for second in "aeio" for third in "lmns"]


def split(frame: pl.DataFrame, kinds: Kinds, task: Any = "binary") -> Data:
    n = len(frame)
    rows = dict(zip(PARTS, np.split(np.arange(n), [n * 6 // 10, n * 8 // 10]), strict=True))
    train = frame[rows["train"]]
    return Data(frame, fit_inputs(train, kinds), fit_target(train["y"], task), rows)


def pictures(n: int = 400, *, side: int = 10, change: Callable[[np.ndarray, np.ndarray], None] | None = None) -> Data:
    """Noise with a bright bar, across ("n") or down ("y"); `change` is given the pixels (N, side, side) and y (N,) to plant a fault."""
    rng = numpy_generator(0, "pictures")
    x, y = rng.integers(0, 150, (n, side, side)), rng.integers(0, 2, n)
    for i, at in enumerate(rng.integers(1, side - 2, n)):
        x[(i, slice(at, at + 2)) if y[i] else (i, slice(None), slice(at, at + 2))] += 100
    if change:
        change(x, y)
    frame = pl.DataFrame({"image": pl.Series("image", x.astype(np.uint8)), "y": np.array(["n", "y"])[y]})
    return split(frame, {"image": "image"})


def sentences(n: int = 400, *, change: Callable[[list[str], np.ndarray], None] | None = None) -> Data:
    """Filler words with "good" ("y") or "poor" ("n") among them; `change` is given texts and y to plant a fault."""
    rng = numpy_generator(0, "sentences")
    y = rng.integers(0, 2, n)
    said = [[FILLER[k] for k in rng.integers(0, 80, rng.integers(4, 12))] for _ in range(n)]
    for words, label in zip(said, y, strict=True):
        words.insert(int(rng.integers(0, len(words))), "good" if label else "poor")
    texts = [" ".join(words) for words in said]
    if change:
        change(texts, y)
    frame = pl.DataFrame({"text": texts, "y": np.array(["n", "y"])[y]})
    return split(frame, {"text": "text"})


def mixed(n: int = 300) -> Data:
    """A number, a category, a text and an image."""
    image, text = pictures(n).frame, sentences(n).frame
    assert image is not None and text is not None
    rng = numpy_generator(0, "mixed")
    frame = pl.DataFrame(
        {
            "a": rng.normal(size=n),
            "c": rng.choice(["p", "q"], n),
            "image": image["image"],
            "text": text["text"],
            "y": text["y"],
        }
    )
    return split(frame, {"a": "number", "c": "category", "image": "image", "text": "text"})


MAKERS = {"image": pictures, "text": sentences, "mixed": mixed}


def ask(probe: Any, data: Data, **options: Any) -> Finding:
    finding: Finding = probe(Subject(data=data), budget_seconds=20.0, seed=0, **options)
    return finding


def designed(data: Data) -> Subject:
    recipe, _ = design(data.spec, data.target, len(data.split["train"]))
    return Subject(data=data, recipe=recipe.with_options(width=8))


# Laws over the registry ----------------------------------------------------------------------------------------------


def names_for(maker: Callable[[], Data]) -> set[str]:
    return {entry.name for entry in fitting(CHECKS, designed(maker()))}


def test_each_kind_is_asked_what_makes_sense_for_it() -> None:
    of_columns = {"target-copy", "leak", "constant-columns", "identifier-columns", "missing-cells"}
    images, texts, tables = (names_for(maker) for maker in (pictures, sentences, mixed))
    assert not of_columns & (images | texts) and of_columns <= tables
    assert {"shift", "duplicates", "contradictions", "imbalance", "few-rows"} <= images & texts & tables
    assert {"near-duplicates", "shortcut"} <= images & texts
    assert "blank-images" in images & tables and "blank-images" not in texts
    assert {"blank-texts", "truncated-texts", "unknown-tokens"} <= (texts & tables) - images


@pytest.mark.parametrize("kind", MAKERS)
def test_every_check_of_data_passes_where_nothing_was_planted_and_repeats_itself(kind: str) -> None:
    data = MAKERS[kind]()
    for entry in fitting(CHECKS, Subject(data=data)):
        finding, again = (ask(entry.load(), data) for _ in range(2))
        assert finding.verdict in ("pass", "info"), finding.title
        assert finding == again and finding.probe == entry.name and finding.why and finding.expected
        assert Finding.model_validate_json(finding.model_dump_json()) == finding
        assert all(len(row) == len(table.columns) for table in finding.tables for row in table.rows)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MAKERS)
def test_a_network_as_it_is_designed_passes_the_checks_before_training(kind: str) -> None:
    subject = designed(MAKERS[kind](200))
    for probe in (one_batch_overfits, gradients_flow, rows_independent, predictions_finite):
        finding = probe(subject, budget_seconds=30.0, seed=0)
        assert finding.verdict in ("pass", "info"), finding.title
    assert loss_at_start(subject, seed=0).verdict != "fail"
    rate = learning_rate_range(subject, budget_seconds=1.5, seed=0, rows=32)
    assert rate.verdict != "fail" and np.isfinite(float(rate.measured["highest_stable_learning_rate"] or np.nan))


def test_the_words_of_a_finding_are_those_of_the_kind() -> None:
    assert "2 classes" in ask(few_rows_of(), pictures()).title and "column" not in ask(few_rows_of(), sentences()).title


def few_rows_of() -> Any:
    return CHECKS["few-rows"].load()


# Copies and contradictions -------------------------------------------------------------------------------------------


def test_images_of_equal_pixels_in_training_and_test_are_found() -> None:
    def copy(x: np.ndarray, y: np.ndarray) -> None:
        x[320:340], y[320:340] = x[:20], y[:20]

    found = ask(duplicates, pictures(change=copy))
    assert found.verdict == "warn" and found.measured["test_copies_share"] == 20 / 80
    assert ask(near_duplicates, pictures(change=copy)).measured["near_copies_share"] == 0.0


def test_texts_that_differ_in_case_and_space_only_are_copies_and_those_that_differ_in_unknown_words_are_not() -> None:
    def copy(texts: list[str], y: np.ndarray) -> None:
        for i in range(20):
            texts[320 + i], y[320 + i] = f"  {texts[i].upper()}\n", y[i]
            texts[360 + i], y[360 + i] = f"{texts[i]} never{i}", y[i]

    data = sentences(change=copy)
    found = ask(duplicates, data)
    assert found.verdict == "warn" and found.measured["test_copies_share"] == 20 / 80


def test_a_test_part_of_copies_stops_the_run() -> None:
    def copy(x: np.ndarray, y: np.ndarray) -> None:
        x[320:], y[320:] = x[:80], y[:80]

    found = ask(duplicates, pictures(change=copy))
    assert found.verdict == "fail" and "--force" in found.todo


def test_images_and_texts_with_two_labels_are_counted() -> None:
    def images(x: np.ndarray, y: np.ndarray) -> None:
        x[:40], y[:40] = x[0], [0, 1] * 20

    found = ask(contradictions, pictures(change=images))
    assert found.measured["contradicting_rows"] == 40 and found.measured["noise_floor_error"] == round(20 / 240, 6)
    assert "no function of the pixels" in found.title and found.verdict == "warn"

    def texts(said: list[str], y: np.ndarray) -> None:
        said[:40], y[:40] = ["what a film"] * 20 + ["What a  FILM"] * 20, [0] * 20 + [1] * 20

    found = ask(contradictions, sentences(change=texts))
    assert found.measured["contradicting_rows"] == 40 and "no function of the words" in found.title


def test_the_noise_floor_is_that_of_what_the_network_is_given() -> None:
    def unknown(said: list[str], y: np.ndarray) -> None:
        said[:200] = ["".join(chr(0x4E00 + 300 * k + i) for k in range(3)) for i in range(200)]
        y[:200] = [0, 1] * 100

    data = sentences(change=unknown)
    assert ask(contradictions, data).measured["contradicting_rows"] == 0
    assert noise_floor(data) == pytest.approx(
        100 / 240
    )  # each of these characters comes once: three unknown ones a row


def test_chance_makes_no_copies_of_rows_with_a_text_or_an_image_of_their_own() -> None:
    assert copies_by_chance(mixed()) < 1e-3


def test_images_saved_twice_are_nearly_copies() -> None:
    def again(x: np.ndarray, y: np.ndarray) -> None:
        noise = numpy_generator(0, "noise").integers(-3, 4, x[:30].shape)
        x[330:360], y[330:360] = np.clip(x[:30] * 0.9 + 10 + noise, 0, 255), y[:30]
        y[330] = 1 - y[0]

    data = pictures(change=again)
    found = ask(near_duplicates, data)
    assert found.verdict == "warn" and found.measured["near_copies_share"] == 30 / 80
    assert found.measured["with_another_target"] == 1 and len(found.figures[0].pictures) == 16
    assert ask(duplicates, data).measured["test_copies_share"] == 0.0
    assert ask(near_duplicates, pictures()).verdict == "pass"


def test_texts_of_one_form_letter_are_nearly_copies() -> None:
    def letters(texts: list[str], y: np.ndarray) -> None:
        for i in range(30):
            word = "abcdefghijklmnopqrstuvwxyzabcdefghij"[i : i + 5]
            texts[i] = f"Call 0800-{1000 + i} now, you have won a {word} prize"
            texts[320 + i] = f"CALL 0900 {5000 + i} now: you have won a {word} prize!!"

    found = ask(near_duplicates, sentences(change=letters))
    assert found.verdict == "warn" and found.measured["near_copies_share"] == 30 / 80 and found.tables


# Shortcuts and shift -------------------------------------------------------------------------------------------------


def test_brightness_that_gives_the_class_away_is_warned_of() -> None:
    def light(x: np.ndarray, y: np.ndarray) -> None:
        x[y == 1] += 40
        np.clip(x, 0, 255, out=x)

    found = ask(shortcut, pictures(change=light))
    assert found.verdict == "warn" and "brightness" in found.title and ask(shortcut, pictures()).verdict == "pass"


def test_a_mark_in_a_corner_is_warned_of() -> None:
    def mark(x: np.ndarray, y: np.ndarray) -> None:
        x[:, 9, 8] = np.where(y == 1, 250, 3)

    found = ask(shortcut, pictures(change=mark))
    assert found.verdict == "warn" and "the pixel in row 9, column 8" in found.title


def test_length_that_gives_the_class_or_the_value_away_is_warned_of() -> None:
    def longer(texts: list[str], y: np.ndarray) -> None:
        texts[:] = [f"{text} {'and so on ' * 12}" if label else text for text, label in zip(texts, y, strict=True)]

    found = ask(shortcut, sentences(change=longer))
    assert found.verdict == "warn" and ("characters" in found.title or "words" in found.title)
    frame = sentences().frame
    assert frame is not None
    measured = frame.with_columns(y=frame["text"].str.len_chars().cast(pl.Float64))
    assert ask(shortcut, split(measured, {"text": "text"}, "number")).verdict == "warn"


def test_sizes_of_files_count_as_a_property(tmp_path: Any) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for i, path in enumerate(paths):
        path.write_bytes(b"x" * (10 * i + 1))
    data = pictures(10)
    assert data.frame is not None
    frame = data.frame[:6].with_columns(image=pl.Series([str(path) for path in paths]))
    rows = {"train": np.array([0, 1, 3]), "valid": np.array([2]), "test": np.array([4, 5])}
    named = Data(frame, data.spec, data.target, rows, _blocks={part: data.block("train") for part in PARTS})
    sizes = {c.name: c.values.tolist() for c in properties(named, "train")}
    assert sizes["bytes of the file"] == [1.0, 11.0, 31.0]


def test_properties_are_what_they_are_called() -> None:
    pixels = torch.tensor([[[[0, 10], [20, 30]]]], dtype=torch.uint8)
    assert {k: v.tolist() for k, v in of_images(pixels).items()} == {"brightness": [15.0], "contrast": [125**0.5]}
    found = of_texts(["Ab, 12", "é"])
    assert found["characters"].tolist() == [6, 1] and found["words"].tolist() == [2, 1]
    assert (found["capitals"] * 6)[0] == pytest.approx(1) and (found["digits"] * 6)[0] == pytest.approx(2)
    assert (found["signs"] * 6)[0] == pytest.approx(1)


def test_darker_test_images_and_other_ones_have_moved() -> None:
    def darker(x: np.ndarray, y: np.ndarray) -> None:
        x[320:] = x[320:] * 0.7

    found = ask(shift, pictures(change=darker))
    assert found.verdict == "warn" and "'brightness'" in found.title

    def turned(x: np.ndarray, y: np.ndarray) -> None:
        x[:320, :, :5] = np.clip(x[:320, :, :5] + 30, 0, 255)
        x[320:, :, 5:] = np.clip(x[320:, :, 5:] + 30, 0, 255)

    found = ask(shift, pictures(change=turned))
    assert found.verdict == "warn" and float(found.measured["two_sample_auc"] or 0) > 0.9


def test_texts_of_another_topic_are_told_apart() -> None:
    def topic(texts: list[str], y: np.ndarray) -> None:
        texts[320:] = [text.replace("b", "d").replace("f", "g") for text in texts[320:]]

    found = ask(shift, sentences(1000, change=topic))
    assert ask(shift, sentences(1000)).verdict == "pass"
    found = ask(shift, sentences(400, change=topic))
    assert found.verdict == "warn" and float(found.measured["two_sample_auc"] or 0) > 0.65


# Content -------------------------------------------------------------------------------------------------------------


def test_black_and_one_coloured_images_are_counted_by_part() -> None:
    def blank(x: np.ndarray, y: np.ndarray) -> None:
        x[:12], x[330:334], x[340] = 0, 77, 90
        x[340, 0, 0] = 92
        x[:, 5, 5] = 7
        x[:12, 5, 5], x[330:334, 5, 5], x[340, 5, 5] = 0, 77, 90

    found = ask(blank_images, pictures(change=blank))
    assert found.verdict == "warn" and found.measured["one_colour"] == 16 and found.measured["nearly_one_colour"] == 1
    assert found.measured["all_black_share"] == pytest.approx(12 / 240)
    rows = {row[0]: row[2:] for row in found.tables[0].rows}
    assert rows["test"] == pytest.approx((0.0, 4 / 80, 5 / 80)) and rows["valid"] == (0.0, 0.0, 0.0)


def test_pixels_that_never_change_are_counted() -> None:
    def border(x: np.ndarray, y: np.ndarray) -> None:
        x[:, 0], x[:, -1] = 0, 255

    assert ask(blank_images, pictures(change=border)).measured["pixels_that_never_change_share"] == 0.2


def test_blank_texts_are_counted_by_part() -> None:
    def blank(texts: list[str], y: np.ndarray) -> None:
        texts[:5], texts[330] = [""] * 3 + ["\t "] * 2, "?!"

    found = ask(blank_texts, sentences(change=blank))
    assert found.verdict == "warn" and found.measured["blank"] == 5 and found.measured["without_letters"] == 1


def test_texts_that_are_cut_are_counted_in_each_part() -> None:
    def long(texts: list[str], y: np.ndarray) -> None:
        texts[330:350] = ["bal " * 60] * 20

    data = sentences(change=long)
    found = ask(truncated_texts, data)
    assert found.verdict == "warn" and found.measured["largest_share_cut_words"] == 20 / 80 and "(test)" in found.title
    train = {row[0]: row for row in found.tables[0].rows}["train"]
    field = data.spec["text"]
    assert isinstance(field, TextField)
    assert train[3] == pytest.approx(field.cut_words) and train[5] == pytest.approx(field.cut_chars)


def test_words_and_characters_of_another_language_are_unknown() -> None:
    def foreign(texts: list[str], y: np.ndarray) -> None:
        texts[320:] = ["это был очень хороший фильм" if label else "плохой фильм" for label in y[320:]]

    found = ask(unknown_tokens, sentences(change=foreign))
    assert found.verdict == "warn" and "test rows" in found.title
    assert found.measured["test words of 'text'"] == 1.0 and float(found.measured["valid words of 'text'"] or 0) < 0.05


def test_as_many_unknown_words_as_are_to_be_expected_are_no_fault() -> None:
    def rare(texts: list[str], y: np.ndarray) -> None:
        rng = numpy_generator(0, "rare")
        texts[:] = [f"{text} x{rng.zipf(1.3)} x{rng.zipf(1.3)}" for text in texts]

    found = ask(unknown_tokens, sentences(1500, change=rare))
    share = float(found.measured["test words of 'text'"] or 0)
    expected = float(next(row[3] for row in found.tables[0].rows if row[1] == "test") or 0)
    assert found.verdict == "pass" and share > 0.03 and share == pytest.approx(expected, rel=0.25)


def test_content_keys_take_text_from_what_was_written() -> None:
    data = mixed(60)
    keys = content_keys(data, "train")
    assert len(set(keys.tolist())) == 36
    bare = Data.from_tensors(data.block("train").x, torch.from_numpy(data.y("train")), data.spec, data.target)
    assert len(set(content_keys(bare, "train").tolist())) == 36


# A fresh network -----------------------------------------------------------------------------------------------------


class Planted(nn.Module):
    """A designed network with a fault around it."""

    def __init__(self, inner: nn.Module, fault: Callable[[nn.Module, Mapping[str, Tensor]], Tensor]) -> None:
        super().__init__()
        self.inner, self.fault = inner, fault

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        return self.fault(self.inner, x)


def planted(data: Data, fault: Callable[[nn.Module, Mapping[str, Tensor]], Tensor]) -> Subject:
    subject = designed(data)
    net = Planted(subject.fresh(0), fault)
    return Subject(model=Model(net.eval(), data.spec, data.target, CrossEntropy()), data=data)


@pytest.mark.parametrize("kind", ["image", "text"])
def test_a_network_that_mixes_rows_fails_in_evaluation_mode(kind: str) -> None:
    subject = planted(MAKERS[kind](150), lambda net, x: net(x) + 0.01 * net(x).mean(0))
    assert rows_independent(subject).verdict == "fail"


def test_batch_norm_of_images_is_told_and_not_warned_of() -> None:
    found = rows_independent(designed(pictures(150)))
    assert found.verdict == "info" and "by batch norm" in found.title and not found.todo


@pytest.mark.slow
def test_texts_of_several_lengths_and_dropped_tokens_are_no_leak() -> None:
    def lengths(texts: list[str], y: np.ndarray) -> None:
        texts[:] = [f"{text} " * (1 + i * i % 37) for i, text in enumerate(texts)]

    data = sentences(150, change=lengths)
    for template in ("ngram-bag", "word-conv", "char-conv"):
        recipe, _ = design(data.spec, data.target, 90)
        recipe = recipe.model_copy(update={"template": template, "options": {"dropout": 0.3}})
        assert rows_independent(Subject(data=data, recipe=recipe)).verdict == "pass", template


@pytest.mark.parametrize("kind", ["image", "text"])
def test_a_network_that_does_not_listen_gets_no_gradient_and_learns_nothing(kind: str) -> None:
    subject = planted(MAKERS[kind](150), lambda net, x: net(x).detach() + 0 * next(net.parameters()).sum())
    assert gradients_flow(subject).verdict == "fail"
    assert one_batch_overfits(subject, steps=30, rates=(3e-3,)).verdict == "fail"


def test_black_images_and_empty_texts_are_edges_of_what_inputs_can_be() -> None:
    black = planted(pictures(150), lambda net, x: net(x) / (x["image"].flatten(1).sum(1, keepdim=True) > 0))
    found = predictions_finite(black)
    assert found.verdict == "fail" and "image is at its lowest" in found.title
    empty = planted(sentences(150), lambda net, x: net(x) / (x["text:words"] != 0).sum(1, keepdim=True))
    found = predictions_finite(empty)
    assert found.verdict == "fail" and "text is empty" in found.title


def test_outputs_that_are_too_large_at_the_start_are_found_on_images() -> None:
    assert loss_at_start(planted(pictures(150), lambda net, x: 300 * net(x))).verdict == "fail"


def test_a_batch_has_no_two_equal_texts() -> None:
    def same(texts: list[str], y: np.ndarray) -> None:
        texts[:200] = ["the same text"] * 200

    batch = distinct_rows(designed(sentences(change=same)), 32, 0)
    assert len(torch.unique(batch.x["text:chars"], dim=0)) == len(batch) == 32


def test_rows_of_a_batch_are_bounded_by_their_elements() -> None:
    subject = Subject(data=pictures(60, side=20))
    assert affordable(subject, 500, elements=40_000) == 100 and affordable(subject, 50, elements=40_000) == 50
    assert affordable(subject, 500, elements=400) == 32


def test_a_rate_test_without_time_for_all_steps_takes_fewer_over_the_same_range() -> None:
    found = learning_rate_range(designed(pictures(150)), budget_seconds=0.05, seed=0, rows=16)
    assert found.measured["runs"] == 1 and int(found.measured["steps"] or 99) <= 32
    assert found.verdict in ("info", "pass", "warn")
