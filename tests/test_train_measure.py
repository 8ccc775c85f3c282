"""What is measured of a training: operations by hand, no trace in the training, and nothing claimed where nothing is known."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conftest import make_data
from netwright.data.batch import Batch
from netwright.losses.standard import CrossEntropy, SquaredError
from netwright.recipes.book import design
from netwright.recipes.recipe import Recipe
from netwright.train import machine
from netwright.train.hooks import Clock
from netwright.train.loop import train
from netwright.train.machine import keep_freed_memory, matmul_peak, peak_memory_mib
from netwright.train.measure import Throughput, operations_of_step
from netwright.train.objectives import Supervised
from netwright.train.settings import Training
from netwright.train.state import State
from netwright.workflow.bench import Workbench
from test_text_templates import TEMPLATES, mixed, texts_alone
from test_train import OnX, rows, small_net

N = 6
CLASSES = Supervised(CrossEntropy())


def counted(net: nn.Module, x: Tensor) -> int | None:
    """Operations of a step that fits outputs (N,) or (N, 1) to zeros."""
    return operations_of_step(OnX(net), Supervised(SquaredError()), Batch({"x": x}, torch.zeros(len(x))))


class Einsum(nn.Module):
    """Like the maps of numeric columns: (N, 5, 4) -> (N,)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(5, 4, 7))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("npt,ptd->npd", x, self.weight).mean((1, 2))


class Last(nn.Module):
    """The first output of a recurrent layer, (N, T, D) -> (N,)."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)[0]
        return y[:, :, 0].mean(1)


class Mean(nn.Module):
    """(N, ...) -> (N,)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).mean(1)


# A product of (a, b) and (b, c) takes 2abc operations. Its gradient takes as many for each factor that learns.
LINEAR = 2 * N * 4 * 8
CONV = 2 * N * (8 * 8) * (3 * 5 * 3 * 3)


@pytest.mark.parametrize(
    ("net", "x", "expected"),
    [
        (nn.Sequential(nn.Linear(4, 8), nn.ReLU(), Mean()), torch.ones(N, 4), 2 * LINEAR),
        (nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 8), Mean()), torch.ones(N, 4), LINEAR + 3 * LINEAR),
        (nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), Mean()), torch.ones(N, 3, 8, 8), 2 * CONV),
        (Einsum(), torch.ones(N, 5, 4), 2 * (2 * N * 5 * 4 * 7)),
        (nn.Sequential(nn.Embedding(9, 4), Mean()), torch.ones(N, 3, dtype=torch.long), 0),
        (nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 8), Mean()), torch.ones(N, 1, dtype=torch.long), 3 * LINEAR),
    ],
    ids=["linear", "two-linears", "conv", "einsum", "embedding", "embedding-linear"],
)
def test_the_operations_of_a_step_are_those_counted_by_hand(net: nn.Module, x: Tensor, expected: int) -> None:
    assert counted(net, x) == expected


def test_the_operations_of_a_recurrent_layer_are_those_of_its_gates() -> None:
    """Forwards 2 (D + H) 3 H a token; the gradient as many for the weights, and 2 H 3 H for the state; D = 4, H = 5, T = 7."""
    tokens, gates = N * 7, 3 * 5
    least = 2 * tokens * gates * (4 + 5) * 2
    found = counted(Last(nn.GRU(4, 5, batch_first=True)), torch.ones(N, 7, 4))
    assert found is not None and least <= found <= least * 1.6


def test_attention_is_counted_by_its_formula() -> None:
    """Two products forwards, and five backwards (one of them computed again): each 2 heads T T d."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            q = x * self.scale
            y: Tensor = nn.functional.scaled_dot_product_attention(q, q, q).mean((1, 2, 3))
            return y

    assert counted(Attention(), torch.randn(N, 2, 16, 8)) == 7 * (2 * N * 2 * 16 * 16 * 8)


class Unknowable(nn.Module):
    """Cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.lines = nn.Linear(4, 1), (line for line in "ab")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y


@pytest.mark.parametrize(
    ("net", "x"),
    [
        (Last(nn.Bilinear(4, 4, 3)), torch.ones(N, 4)),  # called with one input: raises
        (Unknowable(), torch.ones(N, 4)),
    ],
    ids=["raises", "cannot-be-copied"],
)
def test_what_cannot_be_counted_is_none(net: nn.Module, x: Tensor) -> None:
    assert counted(net, x) is None


def test_products_inside_an_operator_without_a_formula_are_not_passed_over() -> None:
    class Pairs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.first = nn.Bilinear(4, 4, 3), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.layer(self.first(x), x).mean(1)
            return y

    assert counted(Pairs(), torch.ones(N, 4)) is None


def by_hooks(net: nn.Module, objective: Supervised, batch: Batch) -> int:
    """Operations forwards of all linear layers and convolutions, from what goes in and what comes out."""
    found: list[int] = []

    def count(layer: Any, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
        found.append(2 * outputs.numel() * layer.weight[0].numel())

    for layer in net.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            layer.register_forward_hook(count)
    objective.step(net.train(), batch, torch.Generator())
    return sum(found)


@pytest.mark.parametrize("template", ["residual-mlp", "linear", *TEMPLATES, "residual-conv"])
def test_the_templates_can_be_counted_and_nothing_large_is_left_out(template: str) -> None:
    """Backwards is up to twice forwards; numeric columns and random changes of images have small products of their own."""
    options = {"shift": 0.1, "rotate": 10.0, "zoom": 0.1, "flip": True} if template == "residual-conv" else {}
    data = mixed(60, images=True) if options else texts_alone(60) if template in TEMPLATES else make_data("binary")
    recipe = Recipe(name="x", template=template, options=options, loss="cross-entropy")
    objective = Supervised(recipe.make_loss(data.target))
    net, batch = recipe.build(data.spec, data.target, 0), data.block("train").take(torch.arange(16))
    found = operations_of_step(net, objective, batch)
    forwards = by_hooks(net, objective, batch)
    assert found is not None and forwards > 0
    assert 1.9 * forwards < found < 3.2 * forwards


class Norms(nn.Module):
    """Everything that a forward pass may change: running statistics, and torch's generator by dropout."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        y: Tensor = self.body(x["x"])
        return y


def test_a_measured_training_ends_with_the_same_bits() -> None:
    settings = Training(epochs=3, batch_size=8, learning_rate=0.05, warmup=0)

    def trained(hooks: list[Any]) -> tuple[dict[str, Tensor], list[Any], Tensor]:
        net = Norms()
        state = train(net, CLASSES, rows(), settings, seed=3, hooks=hooks)
        for row in state.history.rows:
            row.pop("seconds")
        return net.state_dict(), state.history.rows, torch.rand(3)

    speed = Throughput(40, lambda state: operations_of_step(state.net, CLASSES, rows().take(torch.arange(8))))
    (plain, told, drawn), (measured, told_too, drawn_too) = trained([]), trained([speed])
    assert all(bool((plain[name] == measured[name]).all()) for name in plain)
    assert told == told_too and bool((drawn == drawn_too).all())


def test_counting_leaves_gradients_statistics_mode_and_generator_as_they_were() -> None:
    net = Norms().eval()
    batch = rows().take(torch.arange(8))
    before, drawn = {k: v.clone() for k, v in net.state_dict().items()}, torch.random.get_rng_state()
    assert operations_of_step(net, CLASSES, batch) == 2 * 8 * 4 * 8 * 2 + 2 * 8 * 8 * 3 * 3
    assert all(bool((before[k] == v).all()) for k, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters()) and not net.training
    assert bool((torch.random.get_rng_state() == drawn).all())


def state_after(epochs: int, step: int, seconds: float, **settings: Any) -> State:
    state = State(small_net(), {}, Training(batch_size=8, **settings), 5, 0, step, epochs)
    state.row = {"epoch": epochs, "seconds": seconds}
    return state


def test_the_row_says_rows_a_second_memory_and_the_share_of_the_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netwright.train.measure.matmul_peak", lambda device, dtype: 1e6)
    asked = []
    speed = Throughput(40, lambda state: asked.append(state.epoch) or 50_000)  # type: ignore[func-returns-value]
    speed.on_start(state_after(0, 2, 0.0))  # resumed behind the second step
    state = state_after(1, 5, 0.5)
    speed.on_epoch(state)
    assert speed.row["rows_per_second"] == 8 * 3 / 0.5
    assert speed.row["matmul_peak_fraction"] == pytest.approx(50_000 * 3 / 0.5 / 1e6)
    assert 50 < speed.row["memory_mib"] < 1e6
    assert state.row == {"epoch": 1, "seconds": 0.5}
    speed.on_epoch(state_after(2, 10, 0.25))
    assert speed.row["rows_per_second"] == 8 * 5 / 0.25
    assert asked == [1]


@pytest.mark.parametrize("count", [None, lambda state: None], ids=["nobody-counts", "cannot-be-counted"])
def test_a_fraction_that_is_not_known_is_left_out(count: Any) -> None:
    speed = Throughput(40, count)
    speed.on_start(state_after(0, 0, 0.0))
    speed.on_epoch(state_after(1, 5, 0.5))
    assert set(speed.row) == {"rows_per_second", "memory_mib"}


def test_an_epoch_too_short_for_its_clock_claims_no_speed() -> None:
    speed = Throughput(40, lambda state: 50_000)
    speed.on_start(state_after(0, 0, 0.0))
    speed.on_epoch(state_after(1, 5, 0.0))
    assert set(speed.row) == {"memory_mib"}


def test_the_peak_is_measured_once_for_each_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    machine._measured.cache_clear()
    times, threads = iter([0.5, 0.25, 0.25, 0.5]), torch.get_num_threads()
    monkeypatch.setattr(machine, "_fastest", lambda a: next(times))
    try:
        assert matmul_peak() == matmul_peak() == 2 * 1024**3 / 0.25
        torch.set_num_threads(threads + 1)
        assert matmul_peak() == max(2 * 512**3 / 0.25, 2 * 1024**3 / 0.5)
    finally:
        torch.set_num_threads(threads)
        machine._measured.cache_clear()


def test_the_peak_of_memory_grows_with_what_is_held() -> None:
    before = peak_memory_mib()
    held = torch.ones(2**26)  # 256 MiB, written to
    after = peak_memory_mib()
    assert before is not None and after is not None and held.sum() > 0
    assert after >= 256 and after >= before


_FREED = """
import torch
from netwright.train.machine import keep_freed_memory
from pathlib import Path
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
kept = keep_freed_memory()
before = resident()
blocks = [torch.ones(2**22) for _ in range(8)]  # 16 MiB each
del blocks
print(kept, (resident() - before) // 2**20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_memory_that_a_step_has_freed_is_kept_for_the_next() -> None:
    silent = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run([sys.executable, "-c", _FREED], env=silent, capture_output=True, text=True, check=True)
    kept, mib = done.stdout.split()
    assert kept == "True" and int(mib) >= 100


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
@pytest.mark.parametrize(
    ("most", "told"), [(2**30, [(-3, 2**26), (-1, 2**30)]), (2**25, [(-3, 2**26), (-3, 2**25), (-1, 2**30)]), (0, None)]
)
def test_an_older_library_is_given_what_it_takes_and_one_that_takes_nothing_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, most: int, told: list[tuple[int, int]] | None
) -> None:
    calls: list[tuple[int, int]] = []

    class Library:
        def mallopt(self, what: int, size: int) -> int:
            calls.append((what, size))
            return int(what == -1 or size <= most)

    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: Library())
    monkeypatch.setattr(machine, "memory", lambda: 2**36)
    for name in [*os.environ]:
        if name.startswith(("MALLOC_", "GLIBC_")):
            monkeypatch.delenv(name)
    assert keep_freed_memory.__wrapped__() == (told is not None)
    assert calls == (told or [(-3, 2**26), (-3, 2**25)])


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_the_environment_decides_what_is_kept_of_freed_memory(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "131072")
    assert not keep_freed_memory.__wrapped__()


def test_the_epochs_of_a_run_tell_what_was_measured_and_the_history_does_not(tmp_path: Any) -> None:
    data, told = make_data("binary"), []
    recipe, _ = design(data.spec, data.target, len(data.split["train"]))
    recipe = recipe.with_training(epochs=2, batch_size=16, patience=None)

    def tell(event: str, **values: Any) -> None:
        told.append((event, values))

    bench = Workbench(data, "log-loss", 0, tmp_path, tell, lambda *_: Clock(time.monotonic() + 600), lambda name: False)
    trial = bench.train("stage1", "plain", recipe, 10.0)
    epochs = [values for event, values in told if event == "epoch"]
    measured = {"rows_per_second", "memory_mib", "matmul_peak_fraction"}
    assert len(epochs) == 2 and all(measured <= set(values) for values in epochs)
    assert all(values["matmul_peak_fraction"] > 0 for values in epochs)
    assert not any(measured & set(row) for row in trial.history.rows)


@pytest.mark.slow
def test_the_counter_is_not_imported_before_it_counts() -> None:
    code = "import sys, netwright.train.measure; print('torch.utils.flop_counter' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
