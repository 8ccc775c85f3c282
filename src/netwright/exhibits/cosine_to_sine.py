"""From cosine to sine, one value at a time: a perceptron, a recurrent net and a gated one, five starts each.

At each step a network is given cos(t) and is asked for sin(t). The cosine alone does not tell: on its way up and on its way down it
takes the same values, and the sine has the other sign. Whoever remembers the value before knows the way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from netwright.core.finding import Figure, Finding, Series, Table
from netwright.core.seed import derive, generator
from netwright.data.batch import Block, Inputs
from netwright.exhibits.program import main
from netwright.losses.standard import SquaredError
from netwright.losses.steps import OverSteps
from netwright.nn.recurrent import Recurrent
from netwright.train.loop import train
from netwright.train.objectives import Supervised
from netwright.train.settings import Training
from netwright.train.stack import Member, Stack

UNITS, SEEDS, PERIOD = 10, 5, 20
TRAINING = Training(epochs=120, batch_size=32, learning_rate=0.05, schedule="cosine", warmup=10)


class Stepwise(nn.Module):
    """Hidden units at each step, and a linear map: "x" (N, T, 1) -> (N, T, 1)."""

    def __init__(self, hidden: Callable[[], Any]) -> None:
        super().__init__()
        self.hidden, self.head = hidden(), nn.Linear(UNITS, 1)

    def forward(self, x: Inputs) -> Tensor:
        """Outputs (N, T, 1)."""
        seen = self.hidden(x["x"])
        outputs: Tensor = self.head(seen[0] if isinstance(seen, tuple) else seen)
        return outputs


NETS: dict[str, Callable[[], Any]] = {
    "perceptron": lambda: nn.Sequential(nn.Linear(1, UNITS), nn.Tanh()),
    "recurrent net": lambda: Recurrent(1, UNITS, cell="elman"),
    "GRU": lambda: Recurrent(1, UNITS, cell="gru"),
}


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """From cosine to sine by a perceptron, a recurrent net and a GRU."""
    steps, training = (
        (20, TRAINING.model_copy(update={"epochs": 48, "batch_size": 64, "learning_rate": 0.1}))
        if tiny
        else (40, TRAINING)
    )
    train_rows, test_rows = (waves(n, steps, derive(seed, part)) for n, part in ((128, "train"), (64, "test")))
    errors: dict[str, list[float]] = {}
    curves: dict[str, np.ndarray] = {}
    for name in NETS:
        nets = trained(name, train_rows, training, seed)
        errors[name], answers = zip(*(judged(net, test_rows) for net in nets), strict=True)
        middle = int(np.argsort(errors[name])[SEEDS // 2])
        curves[name] = answers[middle]
    medians = {name: float(np.median(some)) for name, some in errors.items()}
    factor = medians["perceptron"] / medians["GRU"]
    shown = int((test_rows.x["x"][:, 0, 0].abs() < 0.9).int().argmax())
    return Finding(
        probe="cosine-to-sine",
        family="gallery",
        verdict="pass" if factor >= 10 else "fail",
        title="median squared error of five seeds: "
        + ", ".join(f"{name} {medians[name]:.2g}" for name in NETS)
        + f"; the perceptron's is {factor:.0f} times the GRU's",
        measured={f"median_squared_error {name}": value for name, value in medians.items()} | {"factor": factor},
        expected="the GRU's median error at most a tenth of the perceptron's",
        why=f"All three have {UNITS} hidden units, and the same {len(train_rows)} waves of {steps} steps to learn from. The perceptron "
        "answers each value of the cosine by the mean of the two sines that go with it, which is 0. The two nets with feedback "
        "need a step or two until they know the direction, and follow the sine from then on. Of the first step nobody can know it, "
        f"which alone costs {0.5 / steps:.2g} on average.",
        tables=(
            Table(
                title="Mean squared error on other waves, by seed",
                columns=("network", *(f"seed {k}" for k in range(SEEDS)), "median"),
                rows=tuple((name, *some, medians[name]) for name, some in errors.items()),
            ),
        ),
        figures=tuple(wave_figure(name, test_rows, curves[name], shown) for name in NETS),
        reference="Elman (1990); Cho et al. (2014)",
    )


def waves(n: int, steps: int, seed: int) -> Block:
    """Cosines (n, steps, 1) of one period and any phase, and the sines (n, steps) that go with them."""
    phase = 2 * torch.pi * torch.rand(n, 1, generator=generator(seed, "phases"))
    angle = phase + 2 * torch.pi * torch.arange(steps) / PERIOD
    return Block({"x": angle.cos().unsqueeze(-1)}, angle.sin())


def trained(name: str, rows: Block, settings: Training, seed: int) -> list[nn.Module]:
    """A network for each start, all as one computation."""
    members = []
    for k in range(SEEDS):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, name, k))
            members.append(Member(Stepwise(NETS[name]), derive(seed, "order", k), settings))
    stack = Stack(members, rows.take(torch.arange(settings.batch_size)).x)
    train(stack, Supervised(OverSteps(SquaredError())), rows, settings, seed=seed)
    tensors = {**dict(stack.named_buffers()), **dict(stack.named_parameters())}
    for k, member in enumerate(members):
        member.net.load_state_dict({n: t.detach() for n, t in stack.part(tensors, k).items()})
    return [member.net.eval() for member in members]


@torch.no_grad()
def judged(net: nn.Module, rows: Block) -> tuple[float, np.ndarray]:
    """The mean squared error over all steps, and the answers (N, T)."""
    assert rows.y is not None
    answers = net(rows.x).squeeze(-1)
    return float((answers - rows.y).square().mean()), answers.numpy()


def wave_figure(name: str, rows: Block, answers: np.ndarray, k: int) -> Figure:
    """What was given, what was wanted and what was answered, of one wave."""
    assert rows.y is not None
    t = tuple(range(1, rows.y.shape[1] + 1))
    lines = (("given: cosine", rows.x["x"][k, :, 0]), ("wanted: sine", rows.y[k]), ("answered", answers[k]))
    return Figure(
        title=f"{name} (K = {UNITS})",
        kind="line",
        series=tuple(
            Series(name=label, x=t, y=tuple(map(float, line)), dashed="given" in label) for label, line in lines
        ),
        x_label="step t",
        caption="The start with the median error, on a wave that was not learned from.",
    )


if __name__ == "__main__":
    main(exhibit)
