"""Exported graphs: every template, on raw rows, answers as the model; what cannot be exported says so and writes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest
import torch
from onnx import TensorProto
from torch import Tensor, nn

from netwright.core.errors import DataError, SetupError, UsageError
from netwright.core.seed import numpy_generator
from netwright.core.spec import InputSpec, NumberField, TargetSpec
from netwright.data.encode import fit_inputs
from netwright.export.card import KEY, Card, raw_ports
from netwright.export.columns import on_raw_columns
from netwright.export.runtime import Exported
from netwright.export.verify import TOLERANCE, verify
from netwright.export.write import Written, export
from netwright.losses.standard import CrossEntropy, SquaredError
from netwright.model import Model
from netwright.nn.ensemble import Ensemble
from netwright.recipes import templates
from netwright.recipes.attention import attention_pooling, transformer
from netwright.recipes.charcnn import char_cnn
from netwright.recipes.convolution import conv, lenet5, lenet5_1998
from netwright.recipes.entries import TEMPLATES
from netwright.recipes.mlp import mlp
from netwright.recipes.recurrent import recurrent

pytestmark = pytest.mark.slow

CLASSES = TargetSpec(name="y", task="classes", classes=("a", "b", "c"), priors=(0.5, 0.25, 0.25))
NUMBER = TargetSpec(name="y", task="number", center=2023.4567, scale=0.25)
KINDS = {
    "a b": "number",
    "probabilities": "date",
    "net.c": "category",
    "": "category",
    "t": "text",
    "i": "image",
    "f": "image",
}
"""Columns whose names are as awkward as can be for a graph: those of its own parts, none, with a space."""
TABLE = ("a b", "probabilities", "net.c", "")


def make_rows(n: int = 60) -> pl.DataFrame:
    """Rows of all kinds."""
    rng = numpy_generator(0, "export rows")
    words = ["good", "bad", "fine", "film", "the", "a", "of", "plot"]
    return pl.DataFrame(
        {
            "a b": [None if i % 7 == 0 else float(v) for i, v in enumerate(rng.normal(50, 9, n))],
            "probabilities": [f"20{10 + i % 9}-03-{1 + i % 28:02d}" for i in range(n)],
            "net.c": rng.choice(["x", "y", ""], n),
            "": rng.choice(["1", "2.0"], n),
            "t": [" ".join(rng.choice(words, int(rng.integers(0, 20)))) for _ in range(n)],
            "i": pl.Series(rng.integers(0, 256, (n, 9, 8)).astype(np.uint8)),
            "f": pl.Series(rng.random((n, 8, 9, 3)).astype(np.float32)),
        }
    )


ROWS = make_rows()
Make = Callable[..., nn.Module]


def model_of(make: Make, columns: tuple[str, ...], target: TargetSpec = CLASSES) -> Model:
    """An untrained model of these columns; its outputs are made large, so that answers differ from row to row."""
    torch.manual_seed(0)
    spec = fit_inputs(ROWS, {name: KINDS[name] for name in columns})  # type: ignore[misc]
    loss = SquaredError(center=target.center, scale=target.scale) if target.is_number else CrossEntropy()
    net = make(spec, target)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)  # type: ignore[union-attr, operator]
    with torch.no_grad():
        list(net.parameters())[-2].mul_(3)
    margin, temperature = (0.5, 1.0) if target.is_number else (None, 1.7)
    return Model(net.eval(), spec, target, loss, temperature=temperature, margin=margin)


def two_members(spec: InputSpec, target: TargetSpec) -> nn.Module:
    return Ensemble([templates.residual_mlp(spec, target, width=16, depth=1) for _ in range(2)])


def same_answers(model: Model, written: Written, rows: pl.DataFrame = ROWS) -> None:
    """The file answers on real rows as the model, column by column."""
    found, expected = Exported.load(written.path).predict_table(rows), model.predict_table(rows)
    assert found.columns == expected.columns
    unit = model.target.scale if model.target.is_number else 1.0
    answers = [name for name in found.columns if found[name].dtype == pl.Float64]
    for name in answers:
        np.testing.assert_allclose(found[name] / unit, expected[name] / unit, atol=1e-5, rtol=0)
    spreads = [expected[name].std() for name in answers if name not in ("lower", "upper")]
    assert max(spreads) > 1e-3 * unit, "answers that never change prove nothing"


CASES = [
    ("linear", templates.linear, ("a b", "probabilities"), NUMBER),
    ("residual-mlp", templates.residual_mlp, TABLE, CLASSES),
    ("mlp", mlp, ("a b", "probabilities"), CLASSES),
    ("mlp on a table", mlp, TABLE, NUMBER),
    ("mlp on images", partial(mlp, activation="gelu", batch_norm=True), ("i",), CLASSES),
    ("ensemble", two_members, TABLE, NUMBER),
    ("residual-conv", templates.residual_conv, ("i",), CLASSES),
    ("residual-conv", templates.residual_conv, ("f",), NUMBER),
    ("ngram-bag", templates.ngram_bag, ("t",), CLASSES),
    ("word-conv", templates.word_conv, ("t",), CLASSES),
    ("char-conv", templates.char_conv, ("t",), NUMBER),
    ("char-cnn", partial(char_cnn, width=16, hidden=16), ("t",), CLASSES),
    ("lenet5", lenet5, ("i",), CLASSES),
    ("lenet5-1998", lenet5_1998, ("i",), CLASSES),
    ("conv", partial(conv, channels="4,8"), ("i",), CLASSES),
    ("recurrent", partial(recurrent, width=8), ("t",), CLASSES),
    ("transformer", partial(transformer, width=16), (*TABLE, "t"), CLASSES),
    ("attention-pooling", partial(attention_pooling, level="chars"), ("t",), NUMBER),
    ("everything", templates.residual_mlp, tuple(KINDS), CLASSES),
    ("mixed text", templates.ngram_bag, (*TABLE, "t"), NUMBER),
    ("mixed images", templates.residual_conv, (*TABLE, "i"), CLASSES),
]


def test_every_template_of_the_gallery_is_exported_here() -> None:
    wholes = {"series", "audio", "set", "tree", "volume"}  # which have no form in an ONNX file
    exported = [e.name for e in TEMPLATES.values() if not wholes & {*e.needs} and not {*e.kinds, "series"} <= wholes]
    assert set(exported) <= {name for name, *_ in CASES}


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Written]:
    """The smallest model there is, and its file."""
    model = model_of(templates.linear, TABLE)
    return model, export(model, tmp_path_factory.mktemp("linear") / "m.onnx", version="1.2.3")


def test_an_exported_table_answers_as_the_model(linear: tuple[Model, Written]) -> None:
    exported_well(*linear)


@pytest.mark.parametrize(("make", "columns", "target"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_an_exported_template_answers_as_the_model(
    make: Make, columns: tuple[str, ...], target: TargetSpec, tmp_path: Path
) -> None:
    model = model_of(make, columns, target)
    exported_well(model, export(model, tmp_path / "m.onnx"))


def test_a_value_whose_margin_is_unknown_has_no_bounds(tmp_path: Path) -> None:
    model = replace(model_of(templates.linear, ("a b",), NUMBER), margin=None)
    written = export(model, tmp_path / "m.onnx")
    assert (written.card.output, written.card.further) == ("value", ())
    assert [output.name for output in onnx.load(written.path).graph.output] == ["value"]
    same_answers(model, written)


def exported_well(model: Model, written: Written) -> None:
    """One file (and the tokenisers), any number of rows, texts of any length, the model's answers whatever the rows hold."""
    assert written.verified.difference <= 1e-5
    assert written.verified.batches == (1, 7, 1000)
    texts = [port for port in written.card.ports if port.kind in ("words", "chars")]
    assert bool(texts) == bool(model.spec.texts)
    assert all(port.length is None for port in texts), "texts of any length"
    assert len(written.verified.lengths) >= (3 if texts else 0)
    there = {path.name for path in written.path.parent.iterdir()}
    assert there == {"m.onnx", *(f"m.t.{port.kind}.json" for port in texts)}
    same_answers(model, written)
    assert written.card.further == (("lower", "upper") if model.target.is_number else ("label",))
    exported, table = Exported.load(written.path), model.predict_table(ROWS)
    wanted = table.select("lower", "upper") if model.target.is_number else table.select("prediction")
    for found, column in zip(exported.outputs(exported.feed(ROWS), written.card.further), wanted, strict=True):
        if model.target.is_number:
            np.testing.assert_allclose(found, column, atol=1e-4 * model.target.scale)
        else:
            assert found.tolist() == column.to_list()
    strange = pl.DataFrame(
        {"a b": [None, 1e9], "probabilities": [None, "1890-01-01"], "net.c": ["new", None], "": [None, "3"]}
    )
    more = ROWS.head(2).drop(TABLE).with_columns(strange, t=pl.Series(["", "xyzzy " * 900]))
    same = Exported.load(written.path).predict_table(more).drop("row", "prediction")
    np.testing.assert_allclose(same, model.predict_table(more).drop("row", "prediction"), atol=1e-4)


def test_the_file_alone_says_everything(linear: tuple[Model, Written]) -> None:
    model, written = linear
    session = onnxruntime.InferenceSession(written.path)
    card = Card.model_validate_json(session.get_modelmeta().custom_metadata_map[KEY])
    assert (card.version, card.target, card.spec) == ("1.2.3", model.target, model.spec)
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [
        ("a b", "tensor(double)", ["rows"]),
        ("probabilities", "tensor(double)", ["rows"]),
        ("net.c", "tensor(string)", ["rows"]),
        ("column", "tensor(string)", ["rows"]),
    ]
    labels = {"net.c": np.array(["y", "never seen"], dtype=object), "column": np.array(["", "2"], dtype=object)}
    feed = {"a b": np.array([50.0, np.nan]), "probabilities": np.array([15000.5, np.nan]), **labels}
    found, labels = session.run([card.output, "label"], feed)
    assert labels.tolist() == [CLASSES.classes[i] for i in found.argmax(1)]
    rows = pl.DataFrame(
        {
            "a b": [50.0, None],
            "probabilities": ["2011-01-26 12:00", None],
            "net.c": ["y", "never seen"],
            "": [None, "2"],
        }
    )
    np.testing.assert_allclose(found, model.predict_proba(rows), atol=1e-6)


def test_a_graph_that_answers_otherwise_is_refused(linear: tuple[Model, Written]) -> None:
    model, written = linear
    graph = onnx.load(written.path)
    encoder = next(node for node in graph.graph.node if node.op_type == "LabelEncoder")
    codes = next(a for a in encoder.attribute if a.name == "values_int64s")
    codes.ints.reverse()
    wrong = Exported.of(graph.SerializeToString(), written.card, "wrong.onnx")
    with pytest.raises(SetupError, match=r"answers otherwise.*nothing was written"):
        verify(model, wrong)
    graph = onnx.load(written.path)
    labels = next(node for node in graph.graph.node if node.output[0] == "labels")
    labels.attribute[0].t.string_data.reverse()
    with pytest.raises(SetupError, match="answers otherwise"):
        verify(model, Exported.of(graph.SerializeToString(), written.card, "wrong.onnx"))
    colder = Model(model.module, model.spec, model.target, model.loss, temperature=model.temperature * 1.01)
    with pytest.raises(SetupError, match="answers otherwise"):
        verify(colder, Exported.load(written.path))
    assert verify(model, Exported.load(written.path)).difference < TOLERANCE / 10


class Wavers(nn.Module):
    """Answers otherwise when it is traced."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if torch.compiler.is_exporting() else x


class Decides(nn.Module):
    """Looks at a value to choose what it does, which no graph can."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if float(x.sum()) > 0 else x


@pytest.mark.parametrize(
    ("module", "error", "words"), [(Wavers(), SetupError, "otherwise"), (Decides(), UsageError, "cannot be turned")]
)
def test_a_failed_export_leaves_no_file(module: nn.Module, error: type[Exception], words: str, tmp_path: Path) -> None:
    model = Model.wrap(module, loss="cross-entropy", x=torch.randn(8, 3), y=np.arange(8) % 3)
    with pytest.raises(error, match=words):
        export(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_wrapped_module_takes_its_own_tensors(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.last = nn.Embedding(10, 4), nn.Linear(6, 2)

        def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
            return {"logits": self.last(torch.cat([left, self.table(right)], 1))}

    x = {"left": torch.randn(12, 2), "right": torch.arange(12) % 10}
    model = Model.wrap(
        Two(), loss="cross-entropy", x=x, y=np.arange(12) % 2, call=lambda m, given: m(**given)["logits"]
    )
    written = export(model, tmp_path / "m.onnx")
    assert [(port.name, port.kind) for port in written.card.ports] == [("left", "tensor"), ("right", "tensor")]
    found = Exported.load(written.path).run({name: tensor.numpy() for name, tensor in x.items()})
    np.testing.assert_allclose(found, model.predict_proba(x), atol=1e-6)
    with pytest.raises(DataError, match="its owner's module"):
        Exported.load(written.path).predict_table(ROWS)


def test_wrapped_images_of_another_layout_are_raw_pixels(tmp_path: Path) -> None:
    images = torch.randint(0, 256, (12, 9, 8, 3), dtype=torch.uint8)
    net = nn.Sequential(nn.Flatten(), nn.Linear(216, 3))
    model = Model.wrap(net, loss="cross-entropy", x=images, y=np.arange(12) % 3, call=lambda m, x: m(x.float() / 255))
    written = export(model, tmp_path / "m.onnx")
    assert [port.kind for port in written.card.ports] == ["image"]
    same_answers(model, written, pl.DataFrame({"image": pl.Series(images.numpy())}))


def test_recurrent_modules_are_exported_again_and_again(tmp_path: Path) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.gru, self.last = nn.Embedding(64, 8), nn.GRU(8, 8, batch_first=True), nn.Linear(8, 2)

        def forward(self, ids: Tensor) -> Tensor:
            states, _ = self.gru(self.table(ids))
            there = (ids != 0).unsqueeze(2)
            return self.last((states * there).sum(1) / there.sum(1).clamp(min=1))

    def encode(texts: list[str]) -> Tensor:
        lengths = [[1 + len(word) % 60 for word in text.split()] for text in texts]
        most = max(1, *map(len, lengths))
        return torch.tensor([ids + [0] * (most - len(ids)) for ids in lengths])

    for _ in range(2):
        texts = ["one or two words", "three"] * 6
        model = Model.wrap(Recurrent(), loss="cross-entropy", x=texts, y=np.arange(12) % 2, encode=encode)
        written = export(model, tmp_path / "m.onnx")
        assert len(written.verified.lengths) >= 3
        assert [port.kind for port in written.card.ports] == ["tensor"]


def damaged(linear: tuple[Model, Written], path: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    """The file of the linear model after a change."""
    graph = onnx.load(linear[1].path)
    change(graph)
    path.write_bytes(graph.SerializeToString())
    return path


def _of_other_files(graph: onnx.ModelProto) -> None:
    tensor = graph.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def _hidden(graph: onnx.ModelProto) -> None:
    inside = TensorProto(data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL, dims=[1])
    node = onnx.helper.make_node("Constant", [], ["c"], value=inside)
    branch = onnx.helper.make_graph([node], "b", [], [onnx.helper.make_tensor_value_info("c", TensorProto.FLOAT, [1])])
    graph.graph.node.append(onnx.helper.make_node("If", ["x"], ["z"], then_branch=branch, else_branch=branch))


def _card(**update: object) -> Callable[[onnx.ModelProto], None]:
    def change(graph: onnx.ModelProto) -> None:
        told = json.loads(graph.metadata_props[0].value)
        graph.metadata_props[0].value = json.dumps(told | update)

    return change


TEXT = {
    "fields": [{"kind": "text", "name": "t", "words": ["a"], "chars": "a", "n_words": 3, "n_chars": 3}],
}
TERABYTE = {"fields": [{"kind": "image", "name": "i", "height": 1_000_000, "width": 1_000_000}]}
HOSTILE = {
    "not ours": (lambda g: g.ClearField("metadata_props"), "not written by netwright export"),
    "other files": (_of_other_files, "in other files, which is refused"),
    "other files, in a branch": (_hidden, "in other files, which is refused"),
    "deep metadata": (lambda g: setattr(g.metadata_props[0], "value", "[" * 100_000), "metadata"),
    "another version": (_card(format=2), "of another version"),
    "an input of no column": (
        _card(ports=[{"name": "q", "field": "q", "tensor": "q", "kind": "number"}]),
        "of no column",
    ),
    "an input of another kind": (
        _card(ports=[{"name": "a b", "field": "t", "tensor": "numbers", "kind": "number"}], spec=TEXT),
        "of no column",
    ),
    "a terabyte a row": (
        _card(ports=[{"name": "i", "field": "i", "tensor": "i", "kind": "image"}], spec=TERABYTE),
        "more than the",
    ),
    "another output": (_card(output="q"), "no output 'q'"),
    "another label": (_card(further=["q"]), "no output 'q'"),
    "fewer classes": (
        _card(target=CLASSES.model_dump() | {"classes": ["a"], "priors": [1.0]}),
        "answers with an array",
    ),
    "other inputs": (lambda g: setattr(g.graph.input[0], "name", "q"), "damaged"),
    "no operation": (lambda g: setattr(g.graph.node[3], "op_type", "Nonsense"), "onnxruntime refuses it"),
    "nothing": (lambda g: g.ClearField("graph"), "it has no graph"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_in_one_sentence(case: str, linear: tuple[Model, Written], tmp_path: Path) -> None:
    change, words = HOSTILE[case]
    path = damaged(linear, tmp_path / "bad.onnx", change)
    with pytest.raises(DataError, match=words):
        Exported.load(path).predict_table(ROWS)


def test_files_that_are_no_graphs_are_refused(linear: tuple[Model, Written], tmp_path: Path) -> None:
    whole = linear[1].path.read_bytes()
    for content in (b"", b"a,b\n1,2\n", whole[: len(whole) // 2], bytes(1000)):
        (tmp_path / "bad.onnx").write_bytes(content)
        with pytest.raises(DataError, match="damaged"):
            Exported.load(tmp_path / "bad.onnx")
    with (tmp_path / "huge.onnx").open("wb") as file:
        file.truncate(3 << 30)  # a hole, which takes no room
    with pytest.raises(DataError, match="more than the"):
        Exported.load(tmp_path / "huge.onnx")
    with pytest.raises(DataError, match="there is no file"):
        Exported.load(tmp_path / "none.onnx")


def test_names_inside_the_graph_are_none_of_a_column(linear: tuple[Model, Written]) -> None:
    names = [port.name for port in linear[1].card.ports]
    assert names == ["a b", "probabilities", "net.c", "column"]
    assert linear[1].card.output == "probabilities_"
    ports = raw_ports(InputSpec(fields=tuple(NumberField(name=n) for n in ("column", "", "column_"))))
    assert [port.name for port in ports] == ["column", "column_", "column__"]


def test_a_graph_without_inputs_is_refused() -> None:
    graph = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], []))
    with pytest.raises(UsageError, match="uses none of its inputs"):
        on_raw_columns(graph, fit_inputs(ROWS, {"t": "text"}))
