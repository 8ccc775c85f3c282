"""The recurrent template through the estimators: it learns from order, on series of unequal lengths and on texts, saved or in a stack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import netwright as nw
from netwright.core.errors import UsageError
from netwright.core.seed import numpy_generator
from netwright.core.spec import AudioField, InputSpec, NumberField, SeriesField, TargetSpec
from netwright.data.data import Data
from netwright.data.encode import encode_inputs, fit_inputs
from netwright.data.series import column_of_series
from netwright.export.graph import trace
from netwright.losses.standard import CrossEntropy
from netwright.recipes.recurrent import recurrent
from netwright.train.loop import train
from netwright.train.objectives import Supervised
from netwright.train.settings import Training
from netwright.train.stack import Member, Stack

BINARY = TargetSpec(name="y", task="binary", classes=("down", "up"), priors=(0.5, 0.5))


def first_or_last(n: int = 160, seed: int = 0, channels: int = 2, longest: int = 12) -> tuple[pl.DataFrame, np.ndarray]:
    """Series of 4 and more steps of noise, with a bump in the first half ("early") or in the second: only the order tells."""
    rng = numpy_generator(seed, "series")
    rows, labels = [], []
    for _ in range(n):
        length, late = int(rng.integers(4, longest + 1)), bool(rng.integers(2))
        row = 0.3 * rng.normal(size=(length, channels))
        row[rng.integers(length // 2, length) if late else rng.integers(0, length // 2), 0] += 4
        row[rng.integers(length), 1] += 4
        rows.append(100 + 10 * row)
        labels.append("late" if late else "early")
    return pl.DataFrame([column_of_series(rows, "wave")]), np.array(labels)


def test_a_classifier_of_unequal_series_learns_what_only_the_order_tells() -> None:
    frame, y = first_or_last()
    net = nw.Classifier(template="recurrent", options={"width": 16}, epochs=20, learning_rate=0.02, random_state=0)
    net.fit(frame[:120], y[:120])
    assert net.score(frame[120:], y[120:]) >= 0.85


def test_a_regressor_of_series_and_a_table_with_them() -> None:
    frame, y = first_or_last()
    more = frame.with_columns(pl.Series("extra", np.arange(len(frame)) % 7))
    values = 5.0 * (y == "late") + more["extra"].to_numpy()
    net = nw.Regressor(
        template="recurrent", options={"width": 16, "norm": "layer"}, epochs=40, learning_rate=0.01, random_state=0
    )
    net.fit(more[:120], values[:120])
    assert net.score(more[120:], values[120:]) >= 0.6


@pytest.mark.parametrize("level", ["words", pytest.param("chars", marks=pytest.mark.slow)])
def test_a_classifier_of_texts_reads_them_in_order(level: str) -> None:
    rng = numpy_generator(0, "texts")
    texts = [" ".join(["so"] * rng.integers(0, 3) + w) for w in ([["ab", "cd"], ["cd", "ab"]] * 40)]
    y = [0, 1] * 40
    options = {"width": 16, "level": level, "pool": "max"}
    net = nw.Classifier(template="recurrent", options=options, epochs=20, learning_rate=0.02, random_state=0).fit(
        texts, y
    )
    assert net.score(texts, y) >= 0.95


def test_a_saved_network_gives_the_same_answers(tmp_path: Path) -> None:
    frame, y = first_or_last(60)
    options = {"width": 8, "cell": "lstm", "skip": True, "depth": 2, "variational": True, "dropout": 0.2}
    net = nw.Classifier(template="recurrent", options=options, epochs=2, random_state=0).fit(frame, y)
    net.model_.save(tmp_path / "m")
    again = nw.load(tmp_path / "m")
    np.testing.assert_array_equal(again.predict_proba(frame), net.model_.predict_proba(frame))


def test_answers_do_not_depend_on_how_long_the_other_rows_are() -> None:
    frame, y = first_or_last(60)
    net = nw.Classifier(template="recurrent", options={"width": 8}, epochs=2, random_state=0).fit(frame, y)
    together = net.predict_proba(frame)
    alone = np.concatenate([net.predict_proba(frame[k : k + 1]) for k in range(len(frame))])
    np.testing.assert_allclose(together, alone, atol=1e-6)


OPTIONS: list[dict[str, Any]] = [
    {"cell": "elman", "depth": 2, "directions": 2},
    {"cell": "lstm", "dropout": 0.3, "variational": True, "depth": 2},
    {"cell": "gru", "skip": True, "depth": 2, "directions": 2, "pool": "max", "truncate": 3, "dropout": 0.3},
]


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: o["cell"])
def test_a_network_in_a_stack_becomes_what_it_would_become_alone(options: dict[str, Any]) -> None:
    frame, y = first_or_last(32, longest=5)
    spec = fit_inputs(frame, {"wave": "series"})
    split = {part: np.arange(32) for part in ("train", "valid", "test")}
    target = BINARY.model_copy(update={"classes": ("early", "late")})
    data = Data(frame.with_columns(pl.Series("y", y)), spec, target, split)  # type: ignore[arg-type]
    settings, objective = Training(epochs=2, batch_size=16, learning_rate=0.01), Supervised(CrossEntropy())

    def member(seed: int) -> Member:
        torch.manual_seed(seed)
        return Member(recurrent(spec, target, width=6, n_out=2, **options), seed, settings)

    block = data.block("train")
    stack = Stack([member(0), member(1)], {name: t[:16] for name, t in block.x.items()})
    train(stack, objective, block, settings, seed=0)
    everything = {**dict(stack.named_buffers()), **dict(stack.named_parameters())}
    for k in range(2):
        alone = member(k)
        train(alone.net, objective, block, settings, seed=k)
        own = stack.part(everything, k)
        for name, parameter in alone.net.named_parameters():
            torch.testing.assert_close(
                own[name], parameter, rtol=1e-3, atol=2e-5, msg=lambda m, name=name: f"{name}: {m}"
            )


def test_wrong_options_and_inputs_without_sequences_are_refused() -> None:
    table = InputSpec(fields=(NumberField(name="a"),))
    with pytest.raises(UsageError, match="reads series or texts"):
        recurrent(table, BINARY)
    spec = InputSpec(kind="series", fields=(SeriesField(n_steps=5),))
    for options, says in (({"norm": "bacth"}, "'batch'"), ({"level": "word"}, "'words'"), ({"pool": "las"}, "'last'")):
        with pytest.raises(UsageError, match=f"did you mean {says}"):
            recurrent(spec, BINARY, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", ["none", "layer", "batch"])
def test_every_parameter_gets_a_gradient(norm: Any) -> None:
    frame, _ = first_or_last(16)
    spec = fit_inputs(frame, {"wave": "series"})
    net = recurrent(spec, BINARY, width=5, depth=2, residual=True, norm=norm).train()
    net(encode_inputs(frame, spec)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_onnx_graph_of_a_recurrent_model_gives_its_answers(cell: str) -> None:
    from onnxruntime import InferenceSession

    frame, y = first_or_last(40)
    options = {"width": 6, "cell": cell, "depth": 2, "directions": 2, "pool": "mean"}
    model = nw.Classifier(template="recurrent", options=options, epochs=1, random_state=0).fit(frame, y).model_
    x = encode_inputs(frame, model.spec)
    session = InferenceSession(trace(model, {name: t[:3] for name, t in x.items()}).SerializeToString())
    for n in (1, 40):
        (answers,) = session.run(None, {name: t[:n].numpy() for name, t in x.items()})
        np.testing.assert_allclose(answers, model.predict_encoded({name: t[:n] for name, t in x.items()}), atol=1e-5)


def test_sounds_are_read_frame_by_frame_and_silence_behind_them_has_no_effect() -> None:
    spec = InputSpec(kind="audio", fields=(AudioField(rate=8000, n_steps=1600),))
    torch.manual_seed(0)
    net = recurrent(spec, BINARY, width=5, directions=2).eval()
    samples, lengths = torch.randn(3, 1600), torch.tensor([1600, 800, 400])
    together = net({"audio": samples, "audio:length": lengths})
    for k, n in enumerate(lengths.tolist()):
        alone = net({"audio": samples[k : k + 1, :n], "audio:length": lengths[k : k + 1]})
        torch.testing.assert_close(alone[0], together[k], rtol=0, atol=1e-5)
