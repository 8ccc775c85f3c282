"""Templates with attention over texts, series and tables, and their scores drawn over what they were given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from netwright.core.errors import UsageError
from netwright.core.finding import Finding
from netwright.core.seed import numpy_generator
from netwright.core.spec import (
    CategoryField,
    ImageField,
    InputSpec,
    NumberField,
    SeriesField,
    SetField,
    TargetSpec,
    TextField,
    VectorField,
)
from netwright.data.data import Data
from netwright.data.sequences import SequenceVector, SeriesFront
from netwright.data.series import column_of_series
from netwright.data.sets import column_of_sets
from netwright.data.tokens import FeatureFront
from netwright.explain.attention import attends, attention, effective
from netwright.explain.entries import EXPLANATIONS
from netwright.explain.texts import plain
from netwright.explain.tokens import token_gradients
from netwright.losses.standard import CrossEntropy
from netwright.model import Model, Subject, fit
from netwright.nn.ensemble import Ensemble
from netwright.nn.transformer import AttentionTrunk, TransformerTrunk
from netwright.recipes.attention import attention_pooling, transformer
from netwright.recipes.custom import two_rows
from netwright.recipes.recipe import Recipe
from netwright.recipes.templates import residual_mlp
from netwright.train.settings import Training
from netwright.workflow.probing import fitting
from test_text_templates import GLAD, SAD, accuracy, data_of, mixed, texts_alone

TARGET = TargetSpec(name="y", task="classes", classes=("a", "b", "c"), priors=(0.4, 0.3, 0.3))
TEMPLATES = {"transformer": transformer, "attention-pooling": attention_pooling}
TEXT = TextField(name="t", words=("a", "b", "c"), chars="abc ", n_words=6, n_chars=12)
SERIES = SeriesField(name="s", channels=2, n_steps=300, shortest=1, center=(0.0, 1.0), spread=(1.0, 2.0))
NUMBERS = (
    NumberField(name="n", knots=(-2.0, 0.0, 2.0), missing=True),
    NumberField(name="m", knots=(0.0, 1.0)),
    CategoryField(name="k", categories=("x", "y")),
)
SET = SetField(name="b", numbers=NUMBERS[:1], categories=(NUMBERS[2],), n_elements=20)  # type: ignore[arg-type]
SPECS = {
    "set": InputSpec(kind="set", fields=(SET,)),
    "text": InputSpec(kind="text", fields=(TEXT,)),
    "series": InputSpec(kind="series", fields=(SERIES,)),
    "table": InputSpec(fields=NUMBERS),
    "all": InputSpec(fields=(*NUMBERS, TEXT, SERIES, SET, VectorField(name="v", shape=(2,)))),
}
each = pytest.mark.parametrize("template", TEMPLATES)


def built(template: str, spec: InputSpec, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return TEMPLATES[template](spec, TARGET, width=16, **options).eval()


@each
@pytest.mark.parametrize("spec", SPECS)
def test_each_kind_of_row_goes_through_alone_and_among_others(template: str, spec: str) -> None:
    net, x = built(template, SPECS[spec]), two_rows(SPECS[spec])
    outputs = net(x)
    assert outputs.shape == (2, 3) and outputs.isfinite().all()
    for k in range(2):
        alone = {name: tensor[k : k + 1] for name, tensor in x.items()}
        torch.testing.assert_close(net(alone)[0], outputs[k])
    net.train()(x).square().sum().backward()
    idle = [n for n, p in net.named_parameters() if p.grad is None]
    assert idle == []


@each
def test_texts_by_words_and_by_letters_differ_and_another_level_is_refused(template: str) -> None:
    x = two_rows(SPECS["text"])
    words, chars = built(template, SPECS["text"]), built(template, SPECS["text"], level="chars")
    turned = {**x, "t:chars": x["t:chars"].roll(1, 1)}
    assert torch.equal(words(x), words(turned)) and not torch.equal(chars(x)[1], chars(turned)[1])
    with pytest.raises(UsageError, match="level is 'lines'; 'words' or 'chars'"):
        built(template, SPECS["text"], level="lines")


@each
def test_columns_that_attention_does_not_read_are_refused_by_name(template: str) -> None:
    spec = InputSpec(fields=(*NUMBERS, ImageField(name="photo", height=8, width=8)))
    with pytest.raises(UsageError, match=r"does not read columns of kind image \(photo\); drop them"):
        built(template, spec)


def trunks(net: nn.Module) -> list[TransformerTrunk]:
    return [m for m in net.modules() if isinstance(m, TransformerTrunk)]


def test_options_of_the_transformer_are_honoured() -> None:
    net = transformer(SPECS["text"], TARGET, width=24, heads=3, depth=4, dropout=0.2, pool="cls", norm="after")
    (trunk,) = trunks(net)
    assert (trunk.n_out, len(trunk.blocks), trunk.blocks[0].attention.heads) == (24, 4, 3)  # type: ignore[union-attr]
    assert trunk.cls is not None and trunk.pool is None and not trunk.blocks[0].before
    assert {m.p for m in net.modules() if isinstance(m, nn.Dropout)} == {0.2}
    with pytest.raises(UsageError, match="cannot be shared among 5 heads"):
        transformer(SPECS["text"], TARGET, heads=5)


def test_options_of_attention_pooling_are_honoured() -> None:
    net = attention_pooling(
        SPECS["series"], TARGET, width=8, depth=3, dropout=0.2, noise=0.5, norm=True, affinity="dot"
    )
    (trunk,) = (m for m in net.modules() if isinstance(m, AttentionTrunk))
    assert len([m for m in trunk.modules() if isinstance(m, nn.LayerNorm)]) == 3
    assert next(m for m in net.modules() if isinstance(m, SeriesFront)).noise == 0.5
    assert not [n for n, _ in trunk.named_parameters() if n.startswith("pool.affinity")]


@pytest.mark.parametrize(
    ("n_steps", "given", "expected"), [(100, {}, None), (300, {}, (5, 5)), (300, {"patch": 8, "stride": 4}, (8, 4))]
)
def test_long_series_are_read_in_patches(n_steps: int, given: dict[str, int], expected: tuple[int, int] | None) -> None:
    spec = InputSpec(kind="series", fields=(SERIES.model_copy(update={"n_steps": n_steps}),))
    (trunk,) = trunks(transformer(spec, TARGET, **given))
    assert (None if trunk.patches is None else (trunk.patches.size, trunk.patches.stride)) == expected
    with pytest.raises(UsageError, match="expected 1 <= stride <= patch"):
        transformer(spec, TARGET, patch=4, stride=5)


def test_series_and_texts_have_positions_and_columns_have_none() -> None:
    named = {
        type(m.front).__name__: m.trunk.positions
        for m in built("transformer", SPECS["all"]).modules()
        if isinstance(m, SequenceVector)
    }
    assert (
        named["FeatureFront"] is None
        and named["SetFront"] is None
        and named["TokenFront"] is not None
        and named["SeriesFront"] is not None
    )


def test_a_columns_vector_is_its_own_and_a_missing_cell_has_one_too() -> None:
    torch.manual_seed(0)
    front = FeatureFront(SPECS["table"], 8)
    x = {"numbers": torch.tensor([[0.0, 0.0], [torch.nan, 0.0]]).double(), "codes": torch.tensor([[1], [9]])}
    vectors, lengths = front(x)
    assert front.names == ("n", "m", "k") and vectors.shape == (2, 3, 8) and lengths.tolist() == [3, 3]
    assert vectors.isfinite().all() and torch.equal(vectors[0, 1], vectors[1, 1])
    assert not torch.equal(vectors[0, 0], vectors[0, 1]) and not torch.equal(vectors[0, 0], vectors[1, 0])
    with pytest.raises(UsageError, match="a table has numbers or categories"):
        FeatureFront(SPECS["text"], 8)


# --- trained ----------------------------------------------------------------------------------------------------------


def recipe(template: str, epochs: int = 12, **options: Any) -> Recipe:
    training = Training(epochs=epochs, batch_size=16, learning_rate=1e-2)
    return Recipe(
        name="r", template=template, options={"width": 16, **options}, loss="cross-entropy", training=training
    )


@pytest.fixture(scope="module")
def pooled() -> tuple[Data, Model]:
    data = texts_alone(400)
    return data, fit(recipe("attention-pooling"), data, seed=0, metric="log-loss")[0]


def asked(data: Data, model: Model, **options: Any) -> Finding:
    return attention(Subject(model=model, data=data), budget_seconds=5.0, seed=0, **options)


def test_pooling_learns_which_words_decide_and_its_scores_lie_on_them(
    pooled: tuple[Data, Model], tmp_path: Path
) -> None:
    data, model = pooled
    assert accuracy(model, data) >= 0.95
    finding = asked(data, model)
    found = [t.pieces[int(np.argmax(t.weights))] for f in finding.figures for t in f.texts]
    assert len(found) >= 10 and np.mean([plain(word) in (*GLAD, *SAD) for word in found]) > 0.9
    for figure in finding.figures:
        for text in figure.texts:
            assert min(text.weights) >= 0 and sum(text.weights) == pytest.approx(1, abs=1e-5)
    assert len({row[0] for row in finding.tables[0].rows} & {*GLAD, *SAD}) >= 7
    model.save(tmp_path)
    rows = data.frame[data.split["test"]]
    np.testing.assert_array_equal(Model.load(tmp_path).predict_proba(rows), model.predict_proba(rows))


def test_token_gradients_follow_the_vectors_of_words_there_too(pooled: tuple[Data, Model]) -> None:
    data, model = pooled
    finding = token_gradients(Subject(model=model, data=data), budget_seconds=5.0, seed=0, rows=3)
    assert finding.measured["completeness_error"] < 0.02  # type: ignore[operator]
    assert all(
        plain(t.pieces[int(np.argmax(t.weights))]) in (*GLAD, *SAD)
        for t in finding.figures[0].texts
        if t.mark == "good"
    )


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["attention", "mean", "cls"])
def test_a_transformer_learns_which_words_decide(pool: str) -> None:
    data = texts_alone(400)
    model, _ = fit(recipe("transformer", heads=2, depth=1, pool=pool), data, seed=0, metric="log-loss")
    assert accuracy(model, data) >= 0.95


@pytest.mark.slow
@each
def test_text_and_number_are_joined(template: str) -> None:
    data = mixed(700)
    model, _ = fit(recipe(template, epochs=15), data, seed=0, metric="log-loss")
    assert accuracy(model, data) >= 0.85


def series_data(n: int = 90) -> Data:
    """A bump in a series of unequal length, up or down."""
    rng = numpy_generator(0, "bumps")
    rows, labels = [], []
    for _ in range(n):
        row = 0.1 * rng.normal(size=int(rng.integers(20, 40)))
        up, at = bool(rng.integers(2)), int(rng.integers(2, len(row) - 4))
        row[at : at + 3] += 2.0 if up else -2.0
        rows.append(row)
        labels.append("yes" if up else "no")
    frame = pl.DataFrame([column_of_series(rows, "s"), pl.Series("y", labels)])
    return data_of(frame, {"s": "series"})


@pytest.fixture(scope="module")
def bumps() -> tuple[Data, Model]:
    data = series_data()
    return data, fit(recipe("attention-pooling", epochs=60), data, seed=0, metric="log-loss")[0]


def test_scores_over_a_series_lie_on_the_steps_that_decide(bumps: tuple[Data, Model]) -> None:
    data, model = bumps
    assert accuracy(model, data) >= 0.95
    finding = asked(data, model, rows=4)
    assert [f.kind for f in finding.figures][-1] == "heatmap" and finding.figures[0].kind == "line"
    values, scores = finding.figures[0].series
    assert scores.dashed and abs(values.y[int(np.argmax(scores.y))]) > 1  # type: ignore[arg-type]
    for row in finding.figures[-1].series[0].z:
        there = [v for v in row if v is not None]
        assert sum(there) == pytest.approx(1, abs=1e-5) and all(v is None for v in row[len(there) :])
    assert finding.measured["largest_distance_of_a_sum_from_1"] < 1e-5  # type: ignore[operator]


@each
def test_another_order_of_the_elements_of_a_set_changes_nothing(template: str) -> None:
    net, x = built(template, SPECS["set"]), two_rows(SPECS["set"])
    rng = torch.Generator().manual_seed(0)
    x = {**x, "b:numbers": torch.randn(2, 20, 1, generator=rng).double(), "b:length": torch.tensor([20, 20])}
    order = torch.randperm(20, generator=rng)
    turned = {**x, "b:numbers": x["b:numbers"][:, order], "b:codes": x["b:codes"][:, order]}
    torch.testing.assert_close(net(turned), net(x))


def purses(n: int = 240) -> Data:
    """Sets of coins, of which one is gold: the class is whether it is worth more than nothing."""
    rng = numpy_generator(0, "purses")
    sizes = rng.integers(1, 9, n)
    first = np.cumsum(sizes) - sizes
    metal = rng.choice(["silver", "copper"], sizes.sum()).astype(object)
    gold = first + (rng.random(n) * sizes).astype(int)
    metal[gold] = "gold"
    worth = rng.normal(size=sizes.sum())
    elements = pl.DataFrame({"worth": worth, "metal": metal.tolist()})
    return data_of(
        pl.DataFrame(
            [column_of_sets(elements, sizes, "coins"), pl.Series("y", np.where(worth[gold] > 0, "yes", "no"))]
        ),
        {"coins": "set"},
    )


def test_scores_over_a_set_lie_on_the_element_that_decides() -> None:
    data = purses()
    model, _ = fit(recipe("attention-pooling", epochs=25), data, seed=0, metric="log-loss")
    assert accuracy(model, data) >= 0.8
    finding = asked(data, model, rows=20)
    bars = [f for f in finding.figures if f.kind == "bar"]
    assert len(bars) == 3 and all("metal gold" in str(f.series[0].x[0]) for f in bars)
    assert all(sum(f.series[0].y) == pytest.approx(1, abs=1e-5) for f in bars)  # type: ignore[arg-type]
    assert finding.figures[-1].kind == "heatmap"


def test_scores_over_columns_are_those_of_the_one_that_decides() -> None:
    rng = numpy_generator(0, "columns")
    table = {name: rng.normal(size=400) for name in ("a", "b", "c")}
    frame = pl.DataFrame({**table, "y": np.where(table["b"] > 0, "yes", "no")})
    data = data_of(frame, dict.fromkeys(table, "number"))
    model, _ = fit(recipe("attention-pooling", epochs=10), data, seed=0, metric="log-loss")
    bars = asked(data, model).figures[0]
    assert bars.kind == "bar" and bars.series[0].x[0] == "b"
    assert sum(bars.series[0].y) == pytest.approx(1, abs=1e-4)  # type: ignore[arg-type]


def test_an_ensemble_shows_the_mean_of_its_members(pooled: tuple[Data, Model]) -> None:
    data, model = pooled
    other = recipe("attention-pooling").build(data.spec, data.target, 7).eval()
    both = Model(Ensemble([model.module, other]), model.spec, model.target, model.loss)
    assert len(list(attends(both.module))) == 2
    scores = [asked(data, Model(m, model.spec, model.target, model.loss)) for m in (model.module, model.module)]
    assert scores[0] == scores[1]
    mean = asked(data, both)
    assert mean.measured["largest_distance_of_a_sum_from_1"] < 1e-5  # type: ignore[operator]
    assert mean.measured["median_effective_places"] > scores[0].measured["median_effective_places"]  # type: ignore[operator]


def test_a_network_without_attention_is_told_so_and_is_not_asked_in_a_run() -> None:
    data = texts_alone(60)
    plain_net = Model(residual_mlp(data.spec, data.target), data.spec, data.target, CrossEntropy())
    assert "no attention" in asked(data, plain_net).title
    names = [e.name for e in fitting(EXPLANATIONS, Subject(model=plain_net, data=data))]
    assert "attention" not in names and "deletion" in names
    with pytest.raises(UsageError, match="it needs a network with attention"):
        fitting(EXPLANATIONS, Subject(model=plain_net, data=data), ["attention"])
    with_it = Model(built("transformer", data.spec), data.spec, data.target, CrossEntropy())
    assert "attention" in [e.name for e in fitting(EXPLANATIONS, Subject(model=with_it, data=data))]


def test_what_is_effective_is_the_number_of_even_shares() -> None:
    assert effective(np.array([[0.25] * 4, [1.0, 0, 0, 0]])) == pytest.approx([4, 1])
