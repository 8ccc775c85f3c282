"""The device is one option: what is not here is refused, nothing changes on the processor, and networks stay on one device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

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
THERE = torch.device("meta")
"""The device that tensors of `Elsewhere` say they are on: one that torch makes tensors of without a driver."""


class Elsewhere(Tensor):
    """A tensor that says it is on another device; its values are held on the processor, so that `int(lengths.amax())` has an answer.

    It finds tensors that are made or left on the processor. It has none of an accelerator's kernels, and knows nothing of speed.
    """

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        self: Elsewhere = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=THERE,
        )
        self.held = held
        return self

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return on_its_device(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.held.tolist()


class TwoDevices(TorchDispatchMode):
    """Within it tensors that are asked for on `THERE` are those of `Elsewhere`, and no operation takes tensors of both devices."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return on_its_device(func, args, kwargs or {})


def on_its_device(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation of torch on held values; its outcome is where its tensors are, or where it is asked for.

    Raises:
        RuntimeError: its tensors are on two devices. A number in a tensor without dimensions may come from the processor, as in torch.
    """
    tensors = [arg for arg in tree_leaves((args, kwargs)) if isinstance(arg, Tensor)]
    there = [arg for arg in tensors if isinstance(arg, Elsewhere)]
    here = [arg for arg in tensors if not isinstance(arg, Elsewhere) and arg.dim()]
    if there and here and func is not torch.ops.aten.copy_.default:
        raise RuntimeError(f"{func}: tensors of two devices")
    asked = kwargs.get("device")
    if asked is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    held_args, held_kwargs = tree_map_only(Elsewhere, lambda tensor: tensor.held, (args, kwargs))
    outcome = func(*held_args, **held_kwargs)
    if not (there if asked is None else asked == THERE):
        return outcome
    outcome = tree_map_only(Tensor, Elsewhere, outcome)
    return return_and_correct_aliasing(func, args, kwargs, outcome) if there else outcome


@pytest.fixture
def two_devices(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two devices; `torch.tensor` copies its values to the other one, as it does for all devices but this."""
    make = torch.tensor

    def tensor(values: Any, *, device: Any = None, **options: Any) -> Tensor:
        made = make(values, **options)
        return made if device is None else made.to(device)

    monkeypatch.setattr(torch, "tensor", tensor)
    with TwoDevices():
        yield


def elsewhere(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the other device."""
    return {name: Elsewhere(t.detach().clone()).requires_grad_(t.requires_grad) for name, t in tensors.items()}


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


def shortened(x: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same rows, the longer one of fewer steps, words, elements or nodes than its tensor has room for, so that it is trimmed."""
    found = {}
    for name, tensor in x.items():
        found[name] = tensor.clone()
        if name.endswith(":length"):
            found[name][0] = tensor[0] // 2 + 1
        elif tensor.dim() == 2 and name.endswith((":words", ":chars", ":labels", ":parents")):
            found[name][0, tensor.shape[1] // 2 + 1 :] = -1 if name.endswith(":parents") else 0
    return found


@pytest.mark.slow
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("template", TEMPLATES)
def test_forwards_and_backwards_a_network_is_on_one_device_with_the_numbers_of_the_processor(
    template: str, training: bool, two_devices: None
) -> None:
    kind = kind_for(TEMPLATES[template])
    spec, target = sample_spec(kind), sample_target(kind, "classes")
    net = Recipe(name="r", template=template, loss="cross-entropy").build(spec, target, 0).train(training)
    x, weights = shortened(two_rows(spec)), dict(net.named_parameters())
    moved = elsewhere(weights | dict(net.named_buffers()))
    torch.manual_seed(1)
    outputs = functional_call(net, moved, (elsewhere(x),))
    gradients = torch.autograd.grad(outputs.square().sum(), [moved[name] for name in weights])
    torch.manual_seed(1)
    expected = net(x)
    wanted = torch.autograd.grad(expected.square().sum(), list(weights.values()))
    assert isinstance(outputs, Elsewhere)
    torch.testing.assert_close(outputs.held, expected)
    for found, right in zip(gradients, wanted, strict=True):
        assert isinstance(found, Elsewhere)
        torch.testing.assert_close(found.held, right)


def test_a_tensor_that_is_left_on_the_processor_is_found(two_devices: None) -> None:
    class Counted(torch.nn.Module):
        def forward(self, x: Tensor, device: torch.device | None) -> Tensor:
            steps = torch.arange(int(x.amax()), device=device)
            return x[: len(steps)] * steps

    x = elsewhere({"x": torch.tensor([1.0, 2.0, 3.0])})["x"]
    there = Counted()(x, x.device)
    assert isinstance(there, Elsewhere) and there.tolist() == [0.0, 2.0, 6.0]
    with pytest.raises(RuntimeError, match="two devices"):
        Counted()(x, None)
