"""The device is one option: what is not here is refused, nothing changes on the processor, and networks stay on one device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.func import functional_call

from commandline import call
from conftest import make_frame
from netwright.core.errors import SetupError, UsageError
from netwright.data.batch import Block
from netwright.data.data import Data
from netwright.estimators.classifier import Classifier
from netwright.model import fit
from netwright.recipes.book import design
from netwright.recipes.custom import two_rows
from netwright.recipes.entries import TEMPLATES
from netwright.recipes.recipe import Recipe
from netwright.recipes.sample_specs import kind_for, sample_spec, sample_target
from netwright.train.machine import device_named
from netwright.train.way import choose_way

alone = pytest.mark.skipif(torch.accelerator.is_available(), reason="this machine has an accelerator")
BY_LENGTH = {
    "ngram-bag",
    "word-conv",
    "char-conv",
    "char-cnn",
    "transformer",
    "attention-pooling",
    "series-resnet",
    "series-inception",
    "audio-conv",
    "recurrent",
    "tree-lstm",
    "tree-esn",
}
"""Templates that cut a batch to its longest row, for which lengths must be there and not only shapes."""


def test_names_of_the_processor_mean_the_processor() -> None:
    assert device_named("cpu") == device_named("cpu:0") == torch.device("cpu")


@alone
def test_auto_is_the_processor_where_there_is_nothing_else() -> None:
    assert device_named("auto") == torch.device("cpu")


@alone
@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps", "xpu"])
def test_a_device_that_is_not_here_is_refused_with_what_to_do(name: str) -> None:
    with pytest.raises(SetupError, match=f"'{name}': this machine has none.*auto or cpu"):
        device_named(name)


@pytest.mark.parametrize("name", ["gpu", "", "cuda:one"])
def test_a_name_that_is_none_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(UsageError, match="expected auto, cpu, or an accelerator"):
        device_named(name)


@alone
def test_an_estimator_and_a_run_refuse_it_before_they_begin(tmp_path: Path) -> None:
    frame = make_frame(60).drop("z")
    with pytest.raises(SetupError, match="this machine has none"):
        Classifier(device="cuda", epochs=1).fit(frame.drop("y"), frame["y"])
    frame.write_csv(tmp_path / "t.csv")
    ended = call("run", tmp_path / "t.csv", "--target", "y", "--device", "cuda", "--out", tmp_path / "run")
    assert ended.code == 4 and "take auto or cpu" in ended.err and not (tmp_path / "run").exists()


@alone
def test_auto_changes_no_bit_where_there_is_nothing_else(binary_data: Data) -> None:
    recipe, _ = design(binary_data.spec, binary_data.target, len(binary_data.split["train"]))
    models = [
        fit(recipe.with_training(epochs=2, device=device), binary_data, seed=0, metric="log-loss")[0]
        for device in ("cpu", "auto")
    ]
    test = binary_data.block("test").x
    assert np.array_equal(*(m.predict_encoded(test) for m in models))


@pytest.mark.parametrize("there", ["cpu", "cuda"])
def test_the_ways_of_the_processor_are_tried_on_the_processor_alone(
    binary_data: Data, there: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netwright.train.way.device_named", lambda name: torch.device(there))
    recipe, _ = design(binary_data.spec, binary_data.target, len(binary_data.split["train"]))
    loss = recipe.make_loss(binary_data.target)

    def make() -> torch.nn.Module:
        return recipe.build(binary_data.spec, binary_data.target, 0)

    train, valid = binary_data.block("train"), binary_data.block("valid")
    settings = recipe.training.model_copy(update={"device": "auto"})
    way = choose_way(make, recipe.make_objective(loss), loss, train, Block(valid.x, valid.y), settings, steps=10)
    assert way.reason.startswith("on auto: ") == (there == "cuda") and way.step_seconds > 0


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("template", TEMPLATES)
def test_nothing_in_a_network_is_made_on_another_device(template: str, training: bool) -> None:
    kind = kind_for(TEMPLATES[template])
    spec, target = sample_spec(kind), sample_target(kind, "classes")
    net = Recipe(name="r", template=template, loss="cross-entropy").build(spec, target, 0).train(training)
    x = two_rows(spec)

    def elsewhere(tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
        return {name: torch.empty(t.shape, dtype=t.dtype, device="meta") for name, t in tensors.items()}

    with FakeTensorMode():  # in which tensors of two devices do not mix
        weights = elsewhere(dict(net.named_parameters()) | dict(net.named_buffers()))
        if template in BY_LENGTH:
            with pytest.raises(DataDependentOutputException):
                functional_call(net, weights, (elsewhere(x),))
            return
        assert functional_call(net, weights, (elsewhere(x),)).device.type == "meta"
