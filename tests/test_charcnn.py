"""The network on characters as published: its counts and shapes, its letters read backwards, what is no letter has no effect."""

from __future__ import annotations

import inspect

import polars as pl
import pytest
import torch
from torch import nn

from commandline import call
from netwright.cli import browse
from netwright.core.errors import UsageError
from netwright.core.seed import numpy_generator
from netwright.core.spec import InputSpec, NumberField, TargetSpec, TextField
from netwright.data.text import encode_text, fit_text
from netwright.explain.tokens import token_gradients
from netwright.losses.standard import CrossEntropy
from netwright.model import Model, Subject, fit
from netwright.nn.charcnn import ALPHABET, CharConvs, OneHot, dense, frames, layer_shapes, lookup_of
from netwright.recipes.charcnn import char_cnn, char_cnn_large, char_cnn_small, word_cnn
from netwright.recipes.custom import two_rows
from netwright.recipes.recipe import Recipe
from netwright.train.schedules import rate_at
from netwright.train.settings import Training
from netwright.train.weights import Weights
from test_text_templates import accuracy, texts_alone

FOUR = TargetSpec(name="y", task="classes", classes=tuple("abcd"), priors=(0.25,) * 4)
FIELD = TextField(name="t", words=("a",), chars="abc ", n_words=5, n_chars=1014)
SPEC = InputSpec(kind="text", fields=(FIELD,))


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_the_alphabet_has_seventy_letters_of_which_the_hyphen_is_there_twice() -> None:
    assert len(ALPHABET) == 70 and len(set(ALPHABET)) == 69 and ALPHABET.count("-") == 2
    assert ALPHABET[:36] == "abcdefghijklmnopqrstuvwxyz0123456789" and ALPHABET[-1] == "\n" and " " not in ALPHABET


@pytest.mark.parametrize(
    ("make", "n_parameters", "width", "hidden"),
    [(char_cnn_small, 11_339_780, 256, 1024), (char_cnn_large, 95_940_612, 1024, 2048)],
)
def test_both_sizes_have_the_published_number_of_parameters_and_shapes(
    make: object, n_parameters: int, width: int, hidden: int
) -> None:
    recipe = make()  # type: ignore[operator]
    with torch.device("meta"):
        net = char_cnn(SPEC, FOUR, **recipe.options)
    assert parameters(net) == n_parameters
    ids = torch.zeros(1, 1014, dtype=torch.int64, device="meta")
    assert [(name, shape) for name, shape, _ in layer_shapes(net.front.trunk, ids)] == [  # type: ignore[union-attr, arg-type]
        ("Conv1d", (width, 1008)),
        ("MaxPool1d", (width, 336)),
        ("Conv1d", (width, 330)),
        ("MaxPool1d", (width, 110)),
        ("Conv1d", (width, 108)),
        ("Conv1d", (width, 106)),
        ("Conv1d", (width, 104)),
        ("Conv1d", (width, 102)),
        ("MaxPool1d", (width, 34)),
    ]
    found = layer_shapes(net.body, torch.zeros(1, 34 * width, device="meta"))  # type: ignore[arg-type]
    assert [shape for _, shape, _ in found] == [(hidden,), (hidden,), (4,)]
    assert frames(1014) == [336, 110, 108, 106, 104, 34]


@pytest.mark.parametrize("code", [CharConvs, char_cnn_small, char_cnn_large])
def test_the_alphabet_is_written_out_where_it_is_used(code: object) -> None:
    assert ALPHABET in (inspect.getdoc(code) or "")


@pytest.mark.parametrize("name", ["char-convs", "char-cnn-small", "char-cnn-large"])
def test_show_prints_the_alphabet(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browse, "_drawn", lambda *args, **options: None)
    assert ALPHABET.strip() in call("show", name).out


@pytest.mark.slow
def test_show_gives_the_published_shapes_and_the_published_number_of_parameters() -> None:
    ended = call("show", "char-cnn-small")
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in ended.out.splitlines() if " × " in line}
    layers = {name.removeprefix("front.trunk."): line for name, line in lines.items() if name != "↓"}
    shapes = {name: line.split()[0] + " × " + line.split()[2] for name, line in layers.items()}
    assert shapes["letters"] == "1014 × 70"
    assert [shapes[f"layers.{k}"] for k in (0, 3, 6, 8, 10, 12)] == [
        f"256 × {n}" for n in (1008, 330, 108, 106, 104, 102)
    ]
    assert [shapes[f"layers.{k}"] for k in (2, 5, 14)] == ["256 × 336", "256 × 110", "256 × 34"]
    assert "11,339,780 parameters" in ended.out and "1,014 letters" in ended.out and "4 classes out" in ended.out


def test_both_sizes_are_trained_and_begin_as_published() -> None:
    for make, start in ((char_cnn_small, 0.05), (char_cnn_large, 0.02)):
        training = make().training
        assert (training.optimizer, training.batch_size, training.clip_norm) == ("sgd", 128, None)
        (group,) = Weights(nn.Linear(1, 1), training).optimizer.param_groups
        assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, False, training.weight_decay)
        rates = [rate_at(100 * epoch, 3000, training) for epoch in (0, 2, 3, 6, 29)]
        assert rates == pytest.approx([0.01, 0.01, 0.005, 0.0025, 0.01 / 2**9])
        assert make().options["dropout"] == 0.5 and make().options["start"] == start
    net = char_cnn(SPEC, FOUR, length=1014, start=0.05)
    for layer in net.modules():
        if isinstance(layer, nn.Conv1d | nn.Linear) and layer.weight.numel() > 10_000:
            assert layer.weight.std().item() == pytest.approx(0.05, rel=0.05) and abs(layer.weight.mean()) < 0.002
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)] == [0.5, 0.5]


def spelt(text: str, chars: str, length: int = 123) -> str:
    """What the convolutions are given of a text: a letter a frame, "_" where all channels are 0."""
    field = TextField(name="t", words=("a",), chars=chars, n_words=1, n_chars=max(len(text), 1))
    ids = torch.from_numpy(encode_text(pl.Series("t", [text]), field)["t:chars"])
    letters = CharConvs(chars, length=length, width=2).letters_of(ids)[0]
    assert letters.shape == (length, 70) and set(letters.sum(1).tolist()) <= {0.0, 1.0}
    return "".join(ALPHABET[int(row.argmax())] if row.any() else "_" for row in letters)


def test_a_text_is_read_from_its_end_and_stands_at_the_beginning_of_the_frames() -> None:
    assert spelt("abcd", "dcba") == "dcba" + "_" * 119
    assert spelt("x" + "ab" * 100, "abx", length=123)[:4] == "baba" and spelt("", "ab") == "_" * 123
    assert (
        spelt("x" + "ab" * 100, "abx", length=123)[-1] == "x"
    )  # the first 123 characters count, the first of them last


def test_letters_outside_the_alphabet_upper_case_and_unknown_ones_are_as_stated() -> None:
    assert spelt("a é-b", "abé -") == "b-__a" + "_" * 118  # a letter with an accent and a space are none
    assert spelt("a?b", "ab") == "b_a" + "_" * 120  # a letter that training rows never had
    assert lookup_of("AZ9\n").tolist()[2:] == [0, 25, 35, 69]
    assert lookup_of("İß中").tolist() == [70] * 5  # of which the lower case is two letters, or which is none


def test_training_evaluation_and_hooked_evaluation_see_the_same_letters() -> None:
    net, ids = CharConvs("abc", length=130, width=2), torch.tensor([[2, 3, 4, 1, 3], [3, 0, 0, 0, 0]])
    hooked = net.eval().letters_of(ids)
    with torch.no_grad():
        assert torch.equal(net.letters_of(ids), hooked)
    assert torch.equal(net.train().letters_of(ids), hooked) and hooked[0].sum() == 4


def test_token_gradients_of_letters_add_up() -> None:
    data = texts_alone(120)
    recipe = Recipe(name="r", template="char-cnn", options={"width": 8, "hidden": 8}, loss="cross-entropy")
    model = Model(recipe.build(data.spec, data.target, 0).eval(), data.spec, data.target, CrossEntropy())
    finding = token_gradients(Subject(model=model, data=data), budget_seconds=5.0, seed=0, rows=2)
    change, missed = finding.measured["median_sum"], finding.measured["completeness_error"]
    assert isinstance(missed, float) and isinstance(change, float) and missed < 0.05 * max(change, 1e-3)
    assert all(any(text.weights) for text in finding.figures[0].texts)


def test_convolutions_are_those_of_torch_on_the_letters() -> None:
    torch.manual_seed(0)
    net = CharConvs("abc", length=150, width=4).eval()
    x = net.letters_of(torch.tensor([[2, 3, 4, 1, 3]])).transpose(1, 2)
    for k, conv in enumerate(m for m in net.layers if isinstance(m, nn.Conv1d)):
        x = conv(x).relu()
        x = nn.functional.max_pool1d(x, 3) if k in (0, 1, 5) else x
    torch.testing.assert_close(net(torch.tensor([[2, 3, 4, 1, 3]])), x.flatten(1))


def test_padding_and_other_rows_change_nothing() -> None:
    torch.manual_seed(0)
    net = CharConvs("abcdef", length=140, width=4, norm=True).eval()
    ids = torch.tensor([[2, 3, 4, 5, 6], [7, 2, 0, 0, 0], [0, 0, 0, 0, 0]])
    together = net(ids)
    torch.testing.assert_close(net(nn.functional.pad(ids, (0, 300))), together)
    for k, n in enumerate((5, 2, 1)):
        torch.testing.assert_close(net(ids[k : k + 1, :n])[0], together[k])


def test_no_parameter_is_spent_on_the_letters_and_all_others_learn() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(CharConvs("abcdef", length=130, width=8, norm=True), dense(8, 3, hidden=9))
    assert parameters(OneHot(5)) == 0 and not [n for n in net.state_dict() if "letters" in n or "lookup" in n]
    net(torch.randint(2, 8, (64, 130))).square().sum().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_options_are_honoured_and_too_short_a_length_is_refused() -> None:
    net = char_cnn(SPEC, FOUR, length=200, width=6, hidden=7, dropout=0.2, norm=True)
    trunk = net.front.trunk
    assert isinstance(trunk, CharConvs) and trunk.length == 200 and trunk.n_out == 6 * frames(200)[-1]
    assert len([m for m in net.modules() if isinstance(m, nn.BatchNorm1d)]) == 6
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)] == [0.2, 0.2]
    short = InputSpec(kind="text", fields=(FIELD.model_copy(update={"n_chars": 9}),))
    assert char_cnn(short, FOUR, width=2, hidden=2).front.trunk.length == 123  # type: ignore[union-attr]
    assert char_cnn(SPEC, FOUR, width=2, hidden=2).front.trunk.length == 1014  # type: ignore[union-attr]
    with pytest.raises(UsageError, match=r"length is 100; .* need at least 123 characters"):
        char_cnn(SPEC, FOUR, length=100)


def test_numbers_go_beside_the_text() -> None:
    spec = InputSpec(fields=(FIELD, NumberField(name="a", scale=2.0)))
    net = char_cnn(spec, FOUR, width=4, hidden=8).eval()
    x = two_rows(spec)
    assert not torch.allclose(net(x), net({**x, "numbers": x["numbers"] + 1}))


def test_the_word_recipe_names_what_it_is() -> None:
    recipe = word_cnn()
    assert recipe.template == "word-conv" and recipe.options["dropout"] == 0.5 and recipe.options["width"] == 100


def test_the_longest_text_of_a_field_is_that_of_the_paper() -> None:
    texts = ["".join(map(str, numpy_generator(0, "t").integers(0, 9, 3000)))] * 3
    assert fit_text(pl.Series("t", texts)).n_chars == 1014


@pytest.mark.slow
def test_a_small_net_learns_which_words_decide() -> None:
    data = texts_alone(600)
    options = {"width": 24, "hidden": 48, "dropout": 0.1}
    training = Training(epochs=25, batch_size=32, learning_rate=2e-3)
    recipe = Recipe(name="r", template="char-cnn", options=options, loss="cross-entropy", training=training)
    model, _ = fit(recipe, data, seed=0, metric="log-loss")
    assert accuracy(model, data) >= 0.9
