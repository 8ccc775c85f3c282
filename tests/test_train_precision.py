"""Trainings in bfloat16: the bits depend on the seed alone, weights and prices stay exact; averages fit their batch norms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

from netwright.core.seed import numpy_generator
from netwright.data.batch import Batch, Block
from netwright.data.data import Data
from netwright.data.encode import fit_inputs, fit_target
from netwright.losses.standard import CrossEntropy
from netwright.model import Model, fit
from netwright.recipes.recipe import Recipe
from netwright.train import judging as judging_module
from netwright.train import members as members_module
from netwright.train.averaging import Average, current_weights, handed_out, set_weights
from netwright.train.checkpoint import load_checkpoint, save_checkpoint
from netwright.train.hooks import Checkpoint, Quiet
from netwright.train.judging import Evaluate, KeepBest, outputs_of
from netwright.train.loop import train
from netwright.train.objectives import Supervised
from netwright.train.precision import native_bfloat16
from netwright.train.settings import Training
from netwright.train.state import State
from test_train import OnX, rows, same_bits, small_net, weights_of

OBJECTIVE = Supervised(CrossEntropy())
SETTINGS = Training(epochs=3, batch_size=8, learning_rate=0.02, warmup=0)
IMAGES = Recipe(
    name="r",
    template="residual-conv",
    options={"width": 8, "dropout": 0.1, "noise": 0.1, "shift": 0.1, "rotate": 10.0, "zoom": 0.1, "flip": True},
    loss="cross-entropy",
    training=Training(epochs=3, batch_size=16, warmup=2, average=0.8, weight_decay=0.1),
)


@pytest.fixture(scope="module")
def bars() -> Data:
    """Images of 8 x 9 grey pixels with a bright row or a bright column in noise; 64 train, 32 validate."""
    rng = numpy_generator(0, "bars")
    pixels, labels = rng.integers(0, 120, (96, 8, 9), dtype=np.uint8), rng.integers(0, 2, 96)
    for image, label, at in zip(pixels, labels, rng.integers(0, 8, 96), strict=True):
        image[(slice(None), at) if label else at] += 100
    frame = pl.DataFrame({"image": pixels, "label": labels.astype(str)})
    split = {"train": np.arange(64), "valid": np.arange(64, 96), "test": np.arange(64, 96)}
    train = frame[split["train"]]
    return Data(frame, fit_inputs(train, {"image": "image"}), fit_target(train["label"], "binary"), split)  # type: ignore[arg-type]


def fitted(data: Data, precision: str, checkpoint: Path | None = None, hooks: list[Quiet] | None = None) -> Any:
    recipe = IMAGES.with_training(precision=precision)
    return fit(recipe, data, seed=5, metric="log-loss", checkpoint=checkpoint, hooks=hooks or [])


def bits(model: Model, state: State) -> dict[str, Any]:
    tensors = {**model.module.state_dict(), **{f"state/{k}": v for k, v in state.tensors.items()}}
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in state.history.rows]
    return {**{k: v.numpy().tobytes() for k, v in tensors.items()}, "history": history, "at": (state.step, state.stop)}


# --- the loop ---------------------------------------------------------------------------------------------------------


class Formats(nn.Module):
    """Notes in which formats it was computed."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.seen: set[tuple[bool, torch.dtype]] = set()

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        y: Tensor = self.layer(x["x"])
        self.seen.add((self.training, y.dtype))
        return y


class Priced(CrossEntropy):
    """Refuses to price anything but float32."""

    def values(self, outputs: Tensor, y: Tensor, *, weight: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        assert outputs.dtype == torch.float32
        found = super().values(outputs, y, weight=weight, mask=mask)
        assert found.dtype == torch.float32
        return found


@pytest.mark.parametrize(("precision", "wanted"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_only_training_is_computed_in_the_precision_asked_for(precision: Any, wanted: torch.dtype) -> None:
    net, objective = Formats(), Supervised(Priced())
    settings = SETTINGS.model_copy(update={"precision": precision})
    evaluate = Evaluate(objective, rows(30, seed=5), Priced(), "log-loss", rows())
    state = train(net, objective, rows(), settings, seed=0, hooks=[evaluate])
    assert net.seen == {(True, wanted), (False, torch.float32)}
    assert all(p.dtype == torch.float32 for p in net.parameters())
    slots = [v for s in state.optimizers["net"].state.values() for v in s.values() if isinstance(v, Tensor)]
    assert slots and all(v.dtype == torch.float32 for v in slots)


def test_bfloat16_learns_the_same_as_float32_up_to_rounding() -> None:
    ended = []
    for precision in ("float32", "bfloat16"):
        net = small_net(dropout=0.0)
        state = train(net, OBJECTIVE, rows(400), Training(epochs=8, batch_size=32, precision=precision), seed=0)  # type: ignore[arg-type]
        ended.append((state.history.column("train_loss"), weights_of(net)))
    assert not same_bits(ended[0][1], ended[1][1])
    assert ended[0][0] == pytest.approx(ended[1][0], rel=0.03) and ended[0][0][-1] < 0.95 * ended[0][0][0]


def test_a_perturbation_is_computed_in_the_same_precision() -> None:
    seen: set[torch.dtype] = set()

    def look(net: nn.Module, batch: Batch, rng: torch.Generator) -> Batch:
        seen.add(net(batch.x).dtype)
        return batch

    train(
        small_net(),
        Supervised(CrossEntropy(), look),
        rows(),
        SETTINGS.model_copy(update={"precision": "bfloat16"}),
        seed=0,
    )
    assert seen == {torch.bfloat16}


def test_whether_the_processor_has_bfloat16_is_a_plain_answer() -> None:
    assert native_bfloat16() in (True, False)


# --- the same bits ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_training_on_changed_images_depends_on_its_seed_alone(precision: str, bars: Data) -> None:
    ended = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        np.random.seed(noise)
        ended.append(bits(*fitted(bars, precision)))
    assert ended[0] == ended[1]


class Killed(Exception):
    """Stands for a kill."""


class Kill(Quiet):
    """Ends it all after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, state: State) -> None:
        if state.step == self.step:
            raise Killed


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_image_training_that_was_killed_ends_with_the_same_bits(
    precision: str, bars: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members_module, "Checkpoint", partial(Checkpoint, every_seconds=0.0))
    wanted = bits(*fitted(bars, precision))
    for step in (2, 5, 9):
        path = tmp_path / f"{step}.safetensors"
        with pytest.raises(Killed):
            fitted(bars, precision, path, [Kill(step)])
        assert bits(*fitted(bars, precision, path)) == wanted, f"killed at step {step}"


def test_what_an_optimiser_remembers_comes_back_in_the_layout_of_its_weight(tmp_path: Path) -> None:
    """Fused steps walk through memory: a slot in another order would be taken for that of other weights."""

    def conv() -> OnX:
        torch.manual_seed(0)
        body = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.LazyLinear(3))
        body(torch.zeros(1, 3, 4, 4))
        return OnX(body.to(memory_format=torch.channels_last))

    block = Block({"x": torch.randn(40, 3, 4, 4)}, rows().y)
    state = train(conv(), OBJECTIVE, block, SETTINGS, seed=0, hooks=[Average(0.9)])
    save_checkpoint(tmp_path / "c", state)
    other = train(conv(), OBJECTIVE, block, SETTINGS, seed=0, hooks=[Average(0.5)])
    load_checkpoint(tmp_path / "c", other)
    weight = other.net.body[0].weight  # type: ignore[index, union-attr]
    assert weight.stride() == (27, 1, 9, 3)
    kept = [other.optimizers["net"].state[weight][slot] for slot in ("exp_avg", "exp_avg_sq")]
    assert all(slot.stride() == weight.stride() for slot in [*kept, other.tensors["average/body.0.weight"]])
    assert torch.equal(kept[0], state.optimizers["net"].state[state.net.body[0].weight]["exp_avg"])  # type: ignore[index, union-attr]


# --- averages and batch norms -----------------------------------------------------------------------------------------


def with_norm() -> OnX:
    torch.manual_seed(0)
    return OnX(nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3)))


def test_running_statistics_are_averaged_like_weights() -> None:
    seen: list[dict[str, Tensor]] = []

    class Look(Quiet):
        def on_start(self, state: State) -> None:
            seen.append({k: v.clone() for k, v in state.net.state_dict().items()})

        def on_step(self, state: State) -> None:
            self.on_start(state)

    state = train(with_norm(), OBJECTIVE, rows(), SETTINGS, seed=0, hooks=[Look(), Average(0.7)])
    n = len(seen) - 1
    decays = [0.0] + [min(0.7, (1 + i) / (10 + i)) for i in range(1, n + 1)]
    shares = [(1 - decays[i]) * math.prod(decays[i + 1 :]) for i in range(n + 1)]
    kept = state.group("average")
    assert {"body.1.running_mean", "body.1.running_var"} < set(kept) and "body.1.num_batches_tracked" not in kept
    for name, tensor in kept.items():
        wanted = sum(s * w[name].double() for s, w in zip(shares, seen, strict=True))
        torch.testing.assert_close(tensor.double(), wanted, rtol=1e-4, atol=1e-6)
    assert handed_out(state)["body.1.num_batches_tracked"] == n


def test_averaged_statistics_are_close_to_those_of_the_averaged_network() -> None:
    """Against statistics taken afresh with the averaged weights; those of the present weights are further off.

    Means of means are exact for a linear map. Means of variances are above the variance under mean weights, which is why the
    rate falls to zero in the trainings that are averaged.
    """
    block = rows(1000)
    settings = Training(epochs=5, batch_size=20, learning_rate=0.05, warmup=0, schedule="constant")
    net = with_norm()
    state = train(net, OBJECTIVE, block, settings, seed=0, hooks=[Average(0.98)])
    kept = current_weights(state)
    present = {k: v.clone() for k, v in net.state_dict().items()}
    set_weights(net, kept)
    hidden = net.body[0](block.x["x"]).detach()  # type: ignore[index]
    afresh = {"running_mean": hidden.mean(0), "running_var": hidden.var(0)}
    for kind, share in (("running_mean", 0.5), ("running_var", 1.0)):
        off = [float((found[f"body.1.{kind}"] - afresh[kind]).abs().mean()) for found in (kept, present)]
        assert off[0] < share * off[1]


def test_evaluation_and_the_best_weights_take_the_averaged_statistics() -> None:
    net, valid = with_norm(), rows(30, seed=5)
    hooks = [Average(0.95), Evaluate(OBJECTIVE, valid, CrossEntropy(), "log-loss"), KeepBest("log-loss", None)]
    state = train(net, OBJECTIVE, rows(), SETTINGS, seed=0, hooks=hooks)
    set_weights(net, state.group("best"))
    assert valid.y is not None
    value = CrossEntropy().values(net.eval()(valid.x), valid.y).mean().item()
    assert value == pytest.approx(state.values["best"][0], rel=1e-5)


# --- evaluation in parts ----------------------------------------------------------------------------------------------


class Sizes(nn.Module):
    """Notes how many rows it was shown at once."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        tensor = next(iter(x.values()))
        self.seen.append(len(tensor))
        return tensor.flatten(1)[:, :2].float()


@pytest.mark.parametrize(("shape", "most"), [((4,), 8192), ((1, 28, 28), 700), ((3, 64, 64), 64), ((3, 900, 900), 1)])
def test_large_rows_are_shown_to_a_network_few_at_a_time(shape: tuple[int, ...], most: int) -> None:
    net, n = Sizes(), 9000 if len(shape) == 1 else 1100 if shape[0] == 1 else 70 if shape[1] == 64 else 2
    block = Block({"x": torch.zeros(1, *shape, dtype=torch.uint8).expand(n, *shape)})
    assert outputs_of(net, OBJECTIVE, block).shape == (n, 2)
    assert sum(net.seen) == n and max(net.seen) <= most


def test_the_error_of_many_training_rows_is_that_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging_module, "MEASURED", 50)
    block = rows(400)
    few = Evaluate(OBJECTIVE, rows(30), CrossEntropy(), "log-loss", block).train[0]
    again = Evaluate(OBJECTIVE, rows(30), CrossEntropy(), "log-loss", block).train[0]
    assert few.y is not None
    assert len(few) == len(few.y) == 50 and torch.equal(few.x["x"], again.x["x"])
    assert len(torch.unique(few.x["x"], dim=0)) == 50
    monkeypatch.setattr(judging_module, "MEASURED", 400)
    assert Evaluate(OBJECTIVE, rows(30), CrossEntropy(), "log-loss", block).train[0] is block
