"""What a training costs: seconds of its optimiser steps against rows, against weights and against members, over three decades."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from netwright.core.run import Listener
from netwright.core.seed import generator
from netwright.data.batch import Block, batches
from netwright.data.data import Data
from netwright.data.memory import SHARE, free_memory, in_words
from netwright.recipes.recipe import Recipe, member_seed
from netwright.train.judging import some_of
from netwright.train.stack import Member, Stack, Unstackable
from netwright.train.way import LEAST_STEPS, step_times
from netwright.workflow.curves import Cost, Curve, Point, fit_line
from netwright.workflow.plans import plan_memorising

THOUSANDS = (1, 3, 10, 30, 100, 300, 1000)
"""Three decades, two points in each."""
ROWS, MEMBERS = tuple(1000 * n for n in THOUSANDS), THOUSANDS
AGAINST: Mapping[str, str] = {"rows": "an epoch", "weights": "a step", "members": "a step"}
"""What grows, and what is timed while it does."""
SHARES: Mapping[str, float] = {"rows": 0.25, "weights": 0.25, "members": 0.5}
"""Of the time; to make many networks takes long."""
REPEATS = 7
"""Parts that the timed steps are cut into, where they are less than as many epochs."""
COPIES = 10
"""Numbers that a training holds for each weight of a stack: of the member and of the stack, the gradient, two moments, the
weights and moments to go back to, and those on their way. Measured: 10.3 float32 a weight for 256 networks of 42,402."""
SIZED = ("buckets", "width")
"""Options that make a template larger, the first that it has: a bag of n-grams has its weights in its buckets."""


Timed = tuple[np.ndarray, int, int]
"""Seconds of each repetition, steps that were timed, steps of an epoch."""


class _Left(Exception):
    """Why a size and all larger ones are left out."""


@dataclass
class Meter:
    """Measures a recipe on rows; what is measured so far is there at any moment, also after Ctrl-C.

    Args:
        recipe: one network of it. data: its training rows are drawn with repetition where more are needed.
        minutes: about how long it may take; what would take longer is left out.
        sizes: rows and members to measure, rising; and weights, where they are not three decades around the recipe's own.
        most: seconds of steps that are timed for a point, at most.
        listener: is told the progress.
    """

    recipe: Recipe
    data: Data
    minutes: float = 2.0
    seed: int = 0
    sizes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    most: float = math.inf
    listener: Listener | None = None

    def __post_init__(self) -> None:
        self.points: dict[str, list[Point]] = {name: [] for name in AGAINST}
        self.notes: dict[str, list[str]] = {name: [] for name in AGAINST}
        self.threads, self.spent = torch.get_num_threads(), 0.0
        self.recipe = self.recipe.single
        self.block = self.data.block("train")
        self.net = self._fresh(self.seed)
        self.objective = self.recipe.make_objective(self.recipe.make_loss(self.data.target))
        self.batch = min(self.recipe.training.batch_size, len(self.block))
        self.few = some_of(self.block, 64 * self.batch)
        known = self.recipe.resolved().options
        self.sized = next((name for name in SIZED if isinstance(known.get(name), int)), None)
        self._in_turn: list[np.ndarray] = []
        self._unstackable = ""

    def run(self) -> None:
        """Measure all; see `points` for what there is."""
        began = time.monotonic()
        before = torch.get_num_threads()
        plan = plan_memorising(self.recipe, self.data, 15 * self.minutes)
        self.threads, self.recipe = plan.threads, self.recipe.with_training(precision=plan.precision)
        torch.set_num_threads(plan.threads)
        try:
            for against, share in SHARES.items():
                rest = sum(list(SHARES.values())[list(SHARES).index(against) :])
                left = 60 * self.minutes - (time.monotonic() - began)
                self._measure(against, time.monotonic() + left * share / rest)
        finally:
            torch.set_num_threads(before)
            self.spent = time.monotonic() - began

    @property
    def cost(self) -> Cost:
        """What was measured so far."""
        curves = [
            Curve(
                against=name,
                of=AGAINST[name],
                points=tuple(points),
                line=fit_line([p.size for p in points], [p.seconds for p in points]),
                notes=tuple(self.notes[name]),
            )
            for name, points in self.points.items()
            if points or self.notes[name]
        ]
        return Cost(
            recipe=self.recipe,
            data=self.data.name,
            rows=len(self.block),
            weights=n_weights(self.net),
            threads=self.threads,
            sized=self.sized,
            seed=self.seed,
            seconds=round(self.spent, 1),
            curves=tuple(curves),
        )

    # --- one curve ----------------------------------------------------------------------------------------------------

    def _measure(self, against: str, deadline: float) -> None:
        """The points of one curve, from the smallest; it ends where the next would take too much time or memory."""
        measure: Callable[[int, float], tuple[Timed, int, int | None]] = getattr(self, f"_of_{against}")
        must = [0.0]
        try:
            sizes = self._sizes(against)
            for i, size in enumerate(sizes):
                self._tell(against, i, len(sizes), size)
                began = time.monotonic()
                left = deadline - began
                growth = (must[-1] - must[-2]) / (sizes[i - 1] - sizes[i - 2]) * (size - sizes[i - 1]) if i > 1 else 0.0
                if left <= must[-1] + max(growth, 0.0):
                    raise _Left(f"{size:,} {against} would have taken longer than --minutes {self.minutes:g} leaves")
                shares = 1.5 ** np.arange(len(sizes) - i)  # of the time that is left; large sizes need more of it
                timed, n, option = measure(size, min(self.most, left * float(shares[0] / shares.sum())))
                times, steps, per_epoch = timed
                low, middle, high = (float(q) for q in np.quantile(times, (0.25, 0.5, 0.75)))
                self.points[against].append(
                    Point(
                        size=n,
                        option=option,
                        seconds=middle,
                        low=low,
                        high=high,
                        steps=steps,
                        epoch_steps=per_epoch,
                        repeats=len(times),
                    )
                )
                step = middle / (per_epoch if against == "rows" else 1)
                must.append(max(time.monotonic() - began - steps * step, 0.0) + (LEAST_STEPS + 1) * step)
        except _Left as why:
            self.notes[against].append(f"left out: {why}")

    def _sizes(self, against: str) -> Sequence[int]:
        if against in self.sizes:
            return self.sizes[against]
        if against != "weights":
            return ROWS if against == "rows" else MEMBERS
        fewest = max(self._weights_at(1), round(n_weights(self.net) / 30))
        return [fewest * n for n in THOUSANDS]

    def _tell(self, against: str, done: int, total: int, size: int) -> None:
        if self.listener and not done:
            title = f"Seconds of {AGAINST[against]} against {against}"
            self.listener({"event": "step_start", "step": against, "title": title})
        if self.listener:
            self.listener(
                {"event": "progress", "step": against, "done": done, "total": total, "text": f"{size:,} {against}"}
            )

    def _fits(self, what: str, n_bytes: float) -> None:
        room = free_memory() / SHARE
        if n_bytes > room:
            raise _Left(
                f"{what} would take {in_words(int(n_bytes))}, more than a quarter of the free memory ({in_words(int(room))})"
            )

    # --- one point ----------------------------------------------------------------------------------------------------

    def _of_rows(self, n: int, seconds: float) -> tuple[Timed, int, None]:
        a_row = sum(v[:1].numel() * v.element_size() for v in self.block.x.values())
        self._fits(f"{n:,} rows", n * a_row)
        drawn = self.block.take(torch.randint(len(self.block), (n,), generator=generator(self.seed, "cost", n)))
        times, per_epoch = self._times(self._fresh(self.seed), Block(drawn.x, drawn.y, drawn.weight), seconds)
        behind = times[per_epoch - 1 :]  # the steps behind the first epoch
        whole = behind[: len(behind) // per_epoch * per_epoch].reshape(-1, per_epoch).sum(1)
        return (whole if len(whole) >= 3 else per_epoch * _parts(times), len(times), per_epoch), n, None

    def _of_weights(self, n: int, seconds: float) -> tuple[Timed, int, int | None]:
        option = self._option_for(n)
        self._fits(f"a network of {n:,} weights", n * COPIES * 4)
        net = self._sized_net(option)
        times, per_epoch = self._times(net, self.few, seconds)
        return (_parts(times), len(times), per_epoch), n_weights(net), option

    def _of_members(self, n: int, seconds: float) -> tuple[Timed, int, None]:
        seeds = [member_seed(self.seed, k) for k in range(n)]
        if not self._unstackable:
            self._fits(f"a stack of {n:,} networks", n * (COPIES * 4 * n_weights(self.net) + self._activations()))
            try:
                members = [Member(self._fresh(s), s, self.recipe.training) for s in seeds]
                times, per_epoch = self._times(Stack(members, self.few.x), self.few, seconds)
                return (_parts(times), len(times), per_epoch), n, None
            except Unstackable as why:
                self._unstackable = str(why)
                self.notes["members"].append(f"the networks were trained in turn, because {why}")
        for s in seeds[len(self._in_turn) :]:
            times, _ = self._times(self._fresh(s), self.few, 0.0)
            self._in_turn.append(times[1:LEAST_STEPS])
        together = np.sum(self._in_turn[:n], 0)
        return (together, len(together), len(self.few) // self.batch), n, None

    def _fresh(self, seed: int) -> nn.Module:
        return self.recipe.build(self.data.spec, self.data.target, seed)

    def _times(self, net: nn.Module, source: Block, seconds: float) -> tuple[np.ndarray, int]:
        return step_times(net, self.objective, source, self.recipe.training, steps=1_000_000, seconds=seconds)

    # --- sizes --------------------------------------------------------------------------------------------------------

    def _sized_net(self, option: int) -> nn.Module:
        assert self.sized is not None
        return self.recipe.with_options(**{self.sized: option}).build(self.data.spec, self.data.target, self.seed)

    def _weights_at(self, option: int) -> int:
        if self.sized is None:
            raise _Left(
                f"the template {self.recipe.template!r} has no option {' or '.join(map(repr, SIZED))} to make it larger"
            )
        return n_weights(self._sized_net(option))

    def _option_for(self, n: int) -> int:
        """The option that gives about `n` weights, of which there are as many as a polynomial of second degree says."""
        at = (1, 2, 4)
        a, b, c = np.polyfit(at, [self._weights_at(option) for option in at], 2)
        if a < 0.01:  # a straight line, but for rounding
            return max(1, round(float((n - c) / b)))
        return max(1, round(float((np.sqrt(max(b * b + 4 * a * (n - c), 0.0)) - b) / (2 * a))))

    def _activations(self) -> int:
        """Bytes that one network keeps of a batch for the way back."""
        kept = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal kept
            kept += tensor.numel() * tensor.element_size()
            return tensor

        batch = next(batches(self.few, torch.arange(self.batch)[None]))
        with torch.random.fork_rng(devices=[]), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            self.objective.step(self.net, batch, generator(self.seed, "cost"))
        return kept


def n_weights(net: nn.Module) -> int:
    """Trainable numbers of a network."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def _parts(times: np.ndarray) -> np.ndarray:
    """Mean seconds in each of up to `REPEATS` equal parts of the steps but the first, one behind the other: a part sees its share
    of what else the machine does, a single step all of it or nothing."""
    return np.array([part.mean() for part in np.array_split(times[1:], min(REPEATS, len(times) - 1))])
