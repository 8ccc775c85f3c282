"""The promises of the engine: its time over that of what people would pick instead, same work, in turn, equal final score."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import cross_validate
from torch import Tensor, nn

from benchmarks import peers
from benchmarks.data import data_file
from benchmarks.profiled import shares
from benchmarks.results import Result, Row, spread
from netwright.data.batch import Block
from netwright.losses.standard import CrossEntropy
from netwright.train.loop import train
from netwright.train.members import Judge, train_members
from netwright.train.objectives import Supervised
from netwright.train.settings import Training
from netwright.train.stack import Member, Stack
from netwright.train.way import Way, choose_way
from netwright.train.way import threads as using

REPEATS, EPOCHS, LONG, BATCH = 5, 5, 400, 32
MEMBERS, FOLDS, SEEDS = 64, 5, 4
LOSS = CrossEntropy()
SETTINGS = Training(
    epochs=EPOCHS, batch_size=BATCH, optimizer="adam", learning_rate=1e-3, schedule="constant", warmup=0, clip_norm=None
)
"""What the peers do: Adam at a constant rate, nothing else."""
Run = Callable[[], float]
"""Trains, and gives the training accuracy."""
TOLERANCE = 0.01
"""Of training accuracy: what the same work may differ by, since batches are drawn in another order."""
PROFILED = 30
"""Steps whose operations are counted."""


class Named(nn.Module):
    """A network on the tensor "x" of the named inputs."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        """The body's outputs."""
        y: Tensor = self.body(x["x"])
        return y


class Ours:
    """Our loop, the way that the engine chose last; training accuracy."""

    def __init__(self, make: Callable[[], nn.Module], block: Block, settings: Training) -> None:
        self.make, self.block, self.settings = make, block, settings
        self.way = Way()

    def choose(self) -> float:
        """Have the engine choose its way from a few steps; the seconds that it took."""
        torch.manual_seed(0)
        began = time.perf_counter()
        some = self.block.take(torch.arange(1000))
        valid, steps = Block(some.x, some.y), self.settings.epochs * (len(self.block) // self.settings.batch_size)
        make = lambda: Named(self.make())  # noqa: E731
        self.way = choose_way(make, Supervised(LOSS), LOSS, self.block, valid, self.settings, steps)
        return time.perf_counter() - began

    def __call__(self) -> float:
        return peers.accuracy(self._trained(self.block).body, self.block.x["x"], _y(self.block))

    def chosen_anew(self) -> float:
        """The same with the choice before it."""
        self.choose()
        return self()

    def profile(self) -> str:
        """What a few steps are made of, the way that was chosen, in words."""
        some = self.block.take(torch.arange(PROFILED * self.settings.batch_size))
        return shares(lambda: self._trained(Block(some.x, some.y), epochs=1))

    def _trained(self, block: Block, **changes: Any) -> Named:
        torch.manual_seed(0)
        net = Named(self.make())
        settings = self.way.settings(self.settings).model_copy(update=changes)
        with using(self.way.threads):
            train(net, Supervised(LOSS), block, settings, seed=0)
        return net


def threads() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_turn(runs: Mapping[str, Run], repeats: int = REPEATS) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds and scores of each, one after the other in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    scores: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            began = time.perf_counter()
            scores[name].append(run())
            seconds[name].append(time.perf_counter() - began)
            print(f"  {name}: {seconds[name][-1]:.2f} s, {scores[name][-1]:.4f}", file=sys.stderr, flush=True)
    return seconds, scores


def rows(
    what: str, found: tuple[dict[str, list[float]], dict[str, list[float]]], limits: Mapping[str, float]
) -> list[Row]:
    """Ratios within each round, then the times and scores that they come from; our run is the first."""
    seconds, scores = found
    mine, *others = seconds
    made = []
    for name in others:
        ratios = [a / b for a, b in zip(seconds[mine], seconds[name], strict=True)]
        ratio = statistics.median(ratios)
        made.append(
            Row(f"{what}: ours / {name}", spread(ratios, "of its time"), f"<= {limits[name]}", ratio <= limits[name])
        )
        more = statistics.median(scores[mine]) - statistics.median(scores[name])
        score = f"{what}: our training accuracy less that of {name}"
        made.append(Row(score, f"{more:+.4f}", f">= {-TOLERANCE}", more >= -TOLERANCE))
    for name in seconds:
        score = statistics.median(scores[name])
        made.append(Row(f"{what}: {name}", f"{spread(seconds[name], 's')}, training accuracy {score:.4f}"))
    return made


def table() -> Block:
    """The rows of the perceptron."""
    x, y = peers.table()
    return Block({"x": torch.from_numpy(x)}, torch.from_numpy(y))


def short() -> Result:
    """One network, five epochs, nothing compiled."""
    block = table()
    x, y = block.x["x"].numpy(), _y(block).numpy()
    mine = Ours(peers.mlp, block, SETTINGS)
    torch.set_num_threads(1)  # the peers are faster so, too
    work: dict[str, Any] = {"epochs": EPOCHS, "batch_size": BATCH}
    runs: dict[str, Run] = {
        "netwright": mine.chosen_anew,
        "a plain torch loop": lambda: peers.torch_loop(peers.mlp(), block.x["x"], _y(block), **work),
        "skorch": lambda: peers.skorch_loop(x, y, **work),
        "Keras": lambda: peers.keras_loop(x, y, **work),
        "scikit-learn": lambda: peers.sklearn_mlp(x, y, **work),
    }
    limits = {"a plain torch loop": 0.6, "skorch": 0.5, "Keras": 0.2, "scikit-learn": 1.6}
    in_turn(runs, 1)  # imports, first calls
    return Result(
        "engine_short",
        "The engine: one small network, five epochs",
        rows("MLP 108-32-32-2, 32,000 rows", in_turn(runs), limits),
        f"Batches of {BATCH}, Adam, {EPOCHS} epochs, no early stopping, all on one thread. Choosing the way is part of our "
        f"time: {mine.way.reason}.",
    )


_LONG = """
import sys, time
sys.path.insert(0, {root!r})
import torch
from benchmarks import engine, peers
block = engine.table()
began = time.perf_counter()
mine = engine.Ours(peers.mlp, block, engine.SETTINGS.model_copy(update={{"epochs": engine.LONG}}))
score = mine.chosen_anew()
print(time.perf_counter() - began, score, mine.way.reason, sep="|")
"""


def long_once() -> tuple[float, float, str]:
    """Seconds, accuracy and the reason of the way, in a process of its own, with nothing compiled before."""
    root = str(Path(__file__).resolve().parent.parent)
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache}
        done = subprocess.run(
            [sys.executable, "-c", _LONG.format(root=root)], env=environment, capture_output=True, text=True, check=True
        )
    seconds, score, reason = done.stdout.strip().splitlines()[-1].split("|")
    return float(seconds), float(score), reason


def long() -> Result:
    """One network, 400 epochs: choosing and compiling count."""
    block = table()
    x, y = block.x["x"].numpy(), _y(block).numpy()
    seconds: dict[str, list[float]] = {"netwright": [], "scikit-learn": []}
    scores: dict[str, list[float]] = {"netwright": [], "scikit-learn": []}
    reasons = []
    torch.set_num_threads(1)
    for _ in range(REPEATS):
        took, score, reason = long_once()
        reasons.append(reason)
        seconds["netwright"].append(took)
        scores["netwright"].append(score)
        one, other = in_turn({"scikit-learn": lambda: peers.sklearn_mlp(x, y, epochs=LONG, batch_size=BATCH)}, 1)
        seconds["scikit-learn"] += one["scikit-learn"]
        scores["scikit-learn"] += other["scikit-learn"]
    return Result(
        "engine_long",
        "The engine: one small network, 400 epochs",
        rows("MLP 108-32-32-2, 400 epochs", (seconds, scores), {"scikit-learn": 0.6}),
        f"As above, {LONG} epochs; choosing and compiling are part of our time, nothing was compiled before. Ours, "
        f"each time: {'; '.join(f'({k}) {reason}' for k, reason in enumerate(reasons, 1))}.",
    )


def stacks() -> Result:
    """Many networks as one computation."""
    block = table()
    x, y = block.x["x"].numpy(), _y(block).numpy()
    best = min((1, threads()), key=lambda n: _stack_seconds(block, n))

    def stacked() -> float:
        torch.set_num_threads(best)
        members = [Member(_mlp(seed), seed, SETTINGS) for seed in range(MEMBERS)]
        stack = Stack(members, block.take(torch.arange(BATCH)).x)
        train(stack, Supervised(LOSS), block, SETTINGS, seed=0)
        torch.set_num_threads(threads())
        with torch.no_grad():
            for name, p in stack.part(dict(stack.named_parameters()), 0).items():
                dict(members[0].net.named_parameters())[name].copy_(p)
        return peers.accuracy(members[0].net.body, block.x["x"], _y(block))  # type: ignore[arg-type]

    def validated() -> float:
        torch.set_num_threads(best)
        rng = np.random.default_rng(0)
        parts = np.array_split(rng.permutation(len(block)), FOLDS)
        members, valid = [], []
        for held in parts:
            some = block.take(torch.from_numpy(held))
            learned = torch.from_numpy(np.setdiff1d(np.arange(len(block)), held))
            for seed in range(SEEDS):
                members.append(Member(_mlp(seed), seed, SETTINGS, learned))
                valid.append(Block(some.x, some.y))
        trained, why = train_members(members, Supervised(LOSS), block, Judge(LOSS, "accuracy", valid))
        assert not why, why
        torch.set_num_threads(threads())
        return float(np.mean([one.history.column("valid_accuracy")[-1] for one in trained]))

    def cross_validated() -> float:
        scores = []
        for seed in range(SEEDS):
            with peers.quiet():
                model = peers.sklearn_estimator(EPOCHS, BATCH, seed)
                scores.append(cross_validate(model, x, y, cv=FOLDS, n_jobs=2)["test_score"])
        return float(np.mean(scores))

    cross_validate(
        peers.sklearn_estimator(1, 256, 0), x[:2000], y[:2000], cv=2, n_jobs=2
    )  # its workers are started once
    one = in_turn(
        {"netwright": stacked, "scikit-learn": lambda: peers.sklearn_mlp(x, y, epochs=EPOCHS, batch_size=BATCH)}
    )
    one[0]["netwright"] = [seconds / MEMBERS for seconds in one[0]["netwright"]]
    many = in_turn({"netwright": validated, "scikit-learn": cross_validated})
    torch.set_num_threads(best)
    parts = shares(_few_steps(block))
    torch.set_num_threads(threads())
    return Result(
        "engine_stacks",
        "The engine: stacks",
        [
            *rows(f"the MLP, per member of {MEMBERS}", one, {"scikit-learn": 0.09}),
            *rows(f"{FOLDS} folds x {SEEDS} seeds of the MLP", many, {"scikit-learn": 0.3}),
        ],
        f"As above, {EPOCHS} epochs; making the stack and comparing it with its members counts. The score of folds is the accuracy on "
        "rows that were held out, measured after each epoch by us, at the end by `cross_validate` (2 jobs, workers already there). "
        f"Processor time of 120 steps of the {MEMBERS}: {parts}.",
    )


def _stack_seconds(block: Block, n: int) -> float:
    torch.set_num_threads(n)
    run = _few_steps(block)
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _few_steps(block: Block) -> Callable[[], object]:
    """A short training of the stack, which is made before."""
    members = [Member(_mlp(seed), seed, SETTINGS) for seed in range(MEMBERS)]
    stack = Stack(members, block.take(torch.arange(BATCH)).x)
    some = block.take(torch.arange(BATCH * 60))
    settings = SETTINGS.model_copy(update={"epochs": 2})
    return lambda: train(stack, Supervised(LOSS), Block(some.x, some.y), settings, seed=0)


def _mlp(seed: int) -> Named:
    torch.manual_seed(seed)
    return Named(peers.mlp())


def cnn() -> Result:
    """A small convolutional network."""
    with np.load(data_file("mnist.npz")) as file:
        images = torch.from_numpy(file["x_train"][:60_000]).float().div(255).reshape(-1, 1, 28, 28)
        labels = torch.from_numpy(file["y_train"][:60_000].astype(np.int64))
    what = "small CNN, an epoch of 60,000 images"
    return _against_a_loop("engine_cnn", what, peers.small_cnn, Block({"x": images}, labels), 128, 1, 0.6)


def gru() -> Result:
    """A recurrent network."""
    series, up = peers.series(6_400)
    return _against_a_loop("engine_gru", "GRU 128 over 50 steps", peers.GRUNet, Block({"x": series}, up), 64, 3, 0.95)


def transformer() -> Result:
    """Attention."""
    ids, more = peers.tokens(3_200)
    what = "transformer encoder, 64 tokens"
    return _against_a_loop("engine_transformer", what, peers.TransformerNet, Block({"x": ids}, more), 64, 3, 0.95)


def _against_a_loop(
    name: str, what: str, make: Callable[[], nn.Module], block: Block, size: int, epochs: int, limit: float
) -> Result:
    """A network against the loop that most people write."""
    mine = Ours(make, block, SETTINGS.model_copy(update={"epochs": epochs, "batch_size": size}))
    theirs = partial(_plain_loop, make, epochs, size)
    arrays = block.x["x"].numpy(), _y(block).numpy()  # tensors would be moved into shared memory
    with ProcessPoolExecutor(1, get_context("spawn"), _given, arrays) as apart:
        apart.submit(theirs, 10 * size).result()  # it has started, and is as warm as ours
        chose = mine.choose()
        runs: dict[str, Run] = {"netwright": mine, "a plain torch loop": lambda: apart.submit(theirs).result()}
        found = rows(what, in_turn(runs), {"a plain torch loop": limit})
    return Result(
        name,
        f"The engine: {what}",
        found,
        f"Adam, batches of {size}, {epochs} epoch(s); the plain loop in a process of its own, so that it gains nothing from how our loop "
        f"sets up the C library. The way was chosen once, in {chose:.1f} s that are not counted: {mine.way.reason}. "
        f"Processor time of {PROFILED} of our steps: {mine.profile()}.",
    )


_rows: tuple[Tensor, Tensor] | None = None
"""What a process of the plain loop learns from: given once."""


def _given(x: np.ndarray, y: np.ndarray) -> None:
    global _rows
    _rows = torch.from_numpy(x), torch.from_numpy(y)


def _plain_loop(make: Callable[[], nn.Module], epochs: int, size: int, rows: int | None = None) -> float:
    """The loop of the tutorials on the rows of this process, or the first of them; training accuracy."""
    assert _rows is not None
    torch.manual_seed(0)
    x, y = (tensor[:rows] for tensor in _rows)
    return peers.torch_loop(make(), x, y, epochs=epochs, batch_size=size)


_START = """
import sys, time
sys.path.insert(0, {root!r})
import torch, numpy as np
rng = np.random.default_rng(0)
x = rng.normal(size=(1000, 20)); y = (x[:, 0] > 0).astype(int)
began = time.perf_counter()
from netwright.estimators.classifier import Classifier
from netwright.train.hooks import Clock
imported = time.perf_counter()
seen = []
def on_step(self, state):
    seen.append(time.perf_counter())
    state.stop, state.values["stopped_by_clock"] = "seen", True
Clock.on_step = on_step
Classifier(minutes=1, random_state=0).fit(x, y)
print(seen[0] - imported, imported - began, sep="|")
"""


def start() -> Result:
    """From the call of fit to the end of its first step."""
    root = str(Path(__file__).resolve().parent.parent)
    seconds, imports = [], []
    for _ in range(REPEATS + 4):
        done = subprocess.run(
            [sys.executable, "-c", _START.format(root=root)], capture_output=True, text=True, check=True
        )
        one, two = done.stdout.strip().splitlines()[-1].split("|")
        seconds.append(float(one))
        imports.append(float(two))
    limit, middle = 0.25, statistics.median(seconds)
    imported = "`from netwright.estimators.classifier import Classifier` after `import torch`, before that"
    return Result(
        "engine_start",
        "The engine: start of a fit",
        [
            Row(
                "1,000 rows: `Classifier.fit` until its first step is done",
                spread(seconds, "s"),
                f"<= {limit} s",
                middle <= limit,
            ),
            Row(imported, spread(imports, "s")),
        ],
        "Whole processes of their own; 20 columns, two classes; kinds, specs, encoding, design, network and optimiser included.",
    )


def _y(block: Block) -> Tensor:
    assert block.y is not None
    return block.y


BENCHMARKS: Mapping[str, Callable[[], Result]] = {
    "engine_short": short,
    "engine_long": long,
    "engine_stacks": stacks,
    "engine_cnn": cnn,
    "engine_gru": gru,
    "engine_transformer": transformer,
    "engine_start": start,
}
