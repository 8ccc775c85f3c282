"""Networks on texts: alone, several, among numbers and images; they learn what there is to learn, and are stored whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from conftest import make_data
from netwright.core.errors import UsageError
from netwright.core.seed import numpy_generator
from netwright.core.spec import InputSpec, TargetSpec, TextField
from netwright.data.data import Data
from netwright.data.encode import fit_inputs, fit_target
from netwright.model import Model, fit
from netwright.nn.text import NgramBag, TokenConv
from netwright.recipes import templates
from netwright.recipes.book import design, text_classifier
from netwright.recipes.recipe import Recipe
from netwright.recipes.templates import char_conv, ngram_bag, residual_mlp, word_conv
from netwright.train.settings import Training

TEMPLATES = ("ngram-bag", "word-conv", "char-conv")
TARGET = TargetSpec(name="y", task="binary", classes=("no", "yes"), priors=(0.5, 0.5))
WORDS = [a + b for a in ("ka", "lo", "mi", "nu", "pe") for b in ("ra", "si", "to", "vu", "za")]
GLAD, SAD = WORDS[:5], WORDS[5:10]


def sentences(n: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Made-up sentences, in half of which there is one glad word, in the others a sad one."""
    rng = numpy_generator(seed, "sentences")
    glad = rng.integers(0, 2, n)
    texts = []
    for g in glad:
        words = [str(w) for w in rng.choice(WORDS[10:], rng.integers(3, 9))]
        words.insert(int(rng.integers(0, len(words))), str(rng.choice(GLAD if g else SAD)))
        texts.append(" ".join(words))
    return texts, glad


def data_of(frame: pl.DataFrame, kinds: dict[str, str]) -> Data:
    """The frame split 60/20/20, its target `y`."""
    n = len(frame)
    split = {"train": np.arange(n * 6 // 10), "valid": np.arange(n * 6 // 10, n * 8 // 10)}
    split["test"] = np.arange(n * 8 // 10, n)
    train = frame[split["train"]]
    return Data(frame, fit_inputs(train, kinds), fit_target(train["y"], "binary"), split)  # type: ignore[arg-type]


def texts_alone(n: int = 400) -> Data:
    texts, glad = sentences(n, 0)
    return data_of(pl.DataFrame({"t": texts, "y": np.where(glad, "yes", "no")}), {"t": "text"})


def mixed(n: int = 700, images: bool = False) -> Data:
    """The target is whether one of two holds but not both: the text is glad, the number is positive. With images: whether two of
    three hold, where the third is that the image is bright. Without any one of them three rows in four can be right at most."""
    texts, glad = sentences(n, 1)
    rng = numpy_generator(1, "mixed")
    number, bright = rng.normal(size=n), rng.integers(0, 2, n)
    frame, kinds, held = pl.DataFrame({"t": texts, "a": number}), {"t": "text", "a": "number"}, glad + (number > 0)
    if images:
        pixels = (rng.integers(0, 120, (n, 8, 8)) + 120 * bright[:, None, None]).astype(np.uint8)
        frame = frame.with_columns(pl.Series("i", pixels, dtype=pl.Array(pl.UInt8, (8, 8))))
        kinds["i"] = "image"
    wanted = held + bright >= 2 if images else held == 1
    return data_of(frame.with_columns(y=pl.Series(np.where(wanted, "yes", "no"))), kinds)


def accuracy(model: Model, data: Data) -> float:
    rows = data.frame[data.split["test"]]
    return float((model.predict(rows) == rows["y"].to_numpy()).mean())


def quick(template: str, epochs: int = 6, **options: int | float) -> Recipe:
    training = Training(epochs=epochs, batch_size=16, learning_rate=4e-3)
    return Recipe(name="quick", template=template, options=options, loss="cross-entropy", training=training)


SMALL = {"ngram-bag": {"buckets": 2048}, "word-conv": {"width": 16, "dim": 16}, "char-conv": {"width": 16, "dim": 16}}


@pytest.mark.parametrize("template", TEMPLATES)
def test_each_template_learns_which_words_decide_and_is_stored_whole(template: str, tmp_path: Path) -> None:
    data = texts_alone()
    model, _ = fit(quick(template, **SMALL[template]), data, seed=0, metric="log-loss")
    assert accuracy(model, data) >= 0.95
    rows = pl.DataFrame({"t": [data.frame["t"][0], "", None, "x" * 100_000, "a\x00b", "שלום", "e\u0301té"]})
    before = model.predict_proba(rows)
    assert np.isfinite(before).all()
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(Model.load(tmp_path / "model").predict_proba(rows), before)
    for k in range(len(rows)):
        np.testing.assert_allclose(model.predict_proba(rows[k : k + 1])[0], before[k], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("images", [False, True])
def test_text_numbers_and_images_go_through_one_network_that_joins_them(
    images: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(templates, "TEXT_BUCKETS", 2048)
    data = mixed(images=images)
    recipe = quick("residual-mlp", epochs=10, width=32)
    model, _ = fit(recipe, data, seed=0, metric="log-loss")
    assert accuracy(model, data) >= 0.88
    test = data.frame[data.split["test"]]
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(Model.load(tmp_path / "model").predict_proba(test), model.predict_proba(test))


@pytest.mark.parametrize("template", TEMPLATES)
def test_text_templates_take_numbers_beside_the_text(template: str) -> None:
    data = mixed(60)
    net = quick(template, **SMALL[template]).build(data.spec, data.target, 0)
    x = data.block("train").x
    moved = {**x, "numbers": x["numbers"] + 1.0}
    assert not torch.allclose(net(x), net(moved))


@pytest.mark.parametrize("template", [*TEMPLATES, "residual-mlp"])
def test_every_column_of_text_counts_and_every_parameter_learns(template: str) -> None:
    texts, glad = sentences(40, 2)
    frame = pl.DataFrame({"a": texts, "b": texts[::-1], "y": np.where(glad, "yes", "no")})
    data = data_of(frame, {"a": "text", "b": "text"})
    net = quick(template).build(data.spec, data.target, 0)
    x, y = data.block("train").x, data.block("train").y
    assert y is not None
    plain = net.eval()(x)
    for name in ("a", "b"):
        turned = {k: v.flip(0) if k.startswith(f"{name}:") else v for k, v in x.items()}
        assert not torch.allclose(net(turned), plain)
    torch.nn.functional.cross_entropy(net.train()(x), y).backward()
    assert not [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]


FIELD = TextField(name="t", words=("a", "b"), chars="ab ", n_words=5, n_chars=9)
SPEC = InputSpec(kind="text", fields=(FIELD,))


def test_options_of_the_bag_are_honoured() -> None:
    bags = ngram_bag(SPEC, TARGET, width=3, words=4, chars=6, least_chars=2, buckets=50).modules()
    words, chars = (m for m in bags if isinstance(m, NgramBag))
    assert (words.n, words.least, words.buckets, words.n_out) == (4, 1, 50, 3)
    assert (chars.n, chars.least, chars.buckets, chars.n_out) == (6, 2, 50, 3)
    alone = [m for m in ngram_bag(SPEC, TARGET, words=0).modules() if isinstance(m, NgramBag)]
    assert len(alone) == 1 and alone[0].least == 1
    assert len([m for m in ngram_bag(SPEC, TARGET, chars=0).modules() if isinstance(m, NgramBag)]) == 1
    assert [m.p for m in ngram_bag(SPEC, TARGET, dropout=0.3).modules() if isinstance(m, torch.nn.Dropout)] == [0.3]


def test_options_of_the_convolutions_are_honoured() -> None:
    for template, ids in ((word_conv, 4), (char_conv, 5)):
        net = template(SPEC, TARGET, width=7, dim=6, dropout=0.4)
        conv = next(m for m in net.modules() if isinstance(m, TokenConv))
        assert conv.table.weight.shape == (ids, 6) and conv.n_out == 21 and conv.dropout > 0
        assert [m.p for m in net.modules() if isinstance(m, torch.nn.Dropout)] == [0.4]


def test_bags_of_nothing_are_refused_with_what_was_expected() -> None:
    with pytest.raises(UsageError, match="words or chars must be 1 or more"):
        ngram_bag(SPEC, TARGET, words=0, chars=0)
    with pytest.raises(UsageError, match=r"a length from 1 to chars \(2\)"):
        ngram_bag(SPEC, TARGET, chars=2, least_chars=3)


def test_a_table_without_text_has_no_bag() -> None:
    net = residual_mlp(make_data().spec, TARGET)
    assert not [m for m in net.modules() if isinstance(m, NgramBag)]


def test_the_designed_network_grows_with_rows_and_classes_within_limits() -> None:
    def options(n: int, classes: int) -> tuple[object, object]:
        target = TargetSpec(name="y", task="classes", classes=tuple(map(str, range(classes))))
        recipe, reason = design(SPEC, target, n)
        assert "texts of up to 5 words" in reason
        return recipe.options["width"], recipe.options["buckets"]

    assert options(100, 3) == (8, 1 << 14)
    assert options(6_920, 3) == (8, 1 << 18)
    assert options(10_000_000, 3) == (8, 1 << 18)
    assert options(10_000_000, 18) == (32, 1 << 16)
    assert text_classifier().build(SPEC, TARGET, 0)({n: torch.zeros(1, 5).int() for n in FIELD.tensors}).shape == (1, 2)
