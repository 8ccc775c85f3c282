"""The promise of the attack: 50 steps of PGD against the same of torchattacks and Foolbox, in time and in what is left right."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.data import data_file
from benchmarks.peers import accuracy, batches, foolbox_pgd, small_cnn, torch_loop, torchattacks_pgd
from benchmarks.results import Result, Row, spread
from netwright.model import Model
from netwright.robust import attacks
from netwright.robust.shell import evaluate
from netwright.robust.threat import Threat

IMAGES, STEPS, REPEATS = 1000, 50, 5
EPS_PLAIN, EPS_STURDY, EPS_TRAINED = 0.3, 0.31, 0.3
LIMITS = {"torchattacks": 0.8, "Foolbox": 0.65}
"""Of their time, how much ours may take."""
Attack = Callable[..., float]


def our_pgd(net: nn.Module, x: Tensor, y: Tensor, *, eps: float, steps: int) -> float:
    """Robust accuracy under our PGD with one restart, shell included, inputs in [0, 1]."""
    model = Model.wrap(net, loss="cross-entropy", x=x, y=y.numpy(), low=0.0, high=1.0)
    core = partial(attacks.pgd, steps=steps, restarts=1)
    result = evaluate(core, model, {model.spec.names[0]: x}, y, Threat(model.spec, eps=255 * eps))
    return float(result.accuracy)


ATTACKS: dict[str, Attack] = {"netwright": our_pgd, "torchattacks": torchattacks_pgd, "Foolbox": foolbox_pgd}


def plain(x: Tensor, y: Tensor) -> nn.Module:
    """The network after two epochs on 20,000 images as they are."""
    net = small_cnn()
    torch_loop(net, x[:20_000], y[:20_000], epochs=2, batch_size=128)
    return net.eval()


def sturdy(x: Tensor, y: Tensor, *, epochs: int = 2, batch_size: int = 128) -> nn.Module:
    """The network trained on one long gradient step from a random point, which grows over the first half (Wong et al., 2020)."""
    net = small_cnn().train()
    optimizer, taken, total = torch.optim.Adam(net.parameters(), lr=2e-3), 0, epochs * (len(x) // batch_size)
    for _ in range(epochs):
        order = torch.randperm(len(x))
        for rows in (order[s] for s in batches(len(x) // batch_size * batch_size, batch_size)):
            eps, taken = EPS_TRAINED * min(1.0, 2 * taken / total), taken + 1
            start = torch.empty_like(x[rows]).uniform_(-eps, eps)
            point = (x[rows] + start).clamp(0, 1).requires_grad_()
            (gradient,) = torch.autograd.grad(cross_entropy(net(point), y[rows]), point)
            change = (start + 1.25 * eps * gradient.sign()).clamp(-eps, eps)
            optimizer.zero_grad()
            cross_entropy(net((x[rows] + change).clamp(0, 1)), y[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return net.eval()


def compared(what: str, net: nn.Module, x: Tensor, y: Tensor, eps: float) -> list[Row]:
    """Every attack in turn, again and again: what each leaves right, its time, and ours as a share of the others'."""
    seconds, left = ({name: list[float]() for name in ATTACKS} for _ in range(2))
    for repeat in range(REPEATS):
        for name, attack in ATTACKS.items():
            torch.manual_seed(repeat)  # the others begin at random points
            start = time.perf_counter()
            left[name].append(attack(net, x, y, eps=eps, steps=STEPS))
            seconds[name].append(time.perf_counter() - start)
    head, ours, lowest = f"{what}, eps {eps:g}", max(left["netwright"]), {n: min(left[n]) for n in LIMITS}
    rows = [
        Row(f"{head}: accuracy without an attack", f"{accuracy(net, x, y):.3f}"),
        Row(
            f"{head}: accuracy under our attack",
            f"{ours:.3f}",
            " and ".join(f"<= {value:.3f} ({name})" for name, value in lowest.items()),
            ours <= min(lowest.values()),
        ),
        *(Row(f"{head}: {name}", spread(values, "s")) for name, values in seconds.items()),
    ]
    for name, limit in LIMITS.items():
        shares = [mine / theirs for mine, theirs in zip(seconds["netwright"], seconds[name], strict=True)]
        measured = spread(shares, "of its time")
        rows.append(Row(f"{head}: ours to {name}", measured, f"<= {limit}", statistics.median(shares) <= limit))
    return rows


def attack_speed() -> Result:
    """PGD on two networks: one that nearly every image breaks, and one that keeps about a third of them."""
    with np.load(data_file("mnist.npz"), allow_pickle=False) as arrays:
        x, x_test = (torch.from_numpy(arrays[n]).float().div(255).unsqueeze(1) for n in ("x_train", "x_test"))
        y, y_test = (torch.from_numpy(arrays[n]).long() for n in ("y_train", "y_test"))
    x_test, y_test = x_test[:IMAGES], y_test[:IMAGES]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = []
        for what, train, eps in (("normally trained", plain, EPS_PLAIN), ("adversarially trained", sturdy, EPS_STURDY)):
            torch.manual_seed(0)
            rows += compared(what, train(x, y), x_test, y_test, eps)
    finally:
        torch.set_num_threads(threads)
    return Result(
        "attack_speed",
        "PGD against torchattacks and Foolbox",
        rows,
        f"L-infinity, {STEPS} steps, {IMAGES:,} test images of MNIST in [0, 1], conv 32 - conv 64 - batch norm - fc 128, one thread. Ours: "
        "one restart, checked, clipped and predicted again by the shell. The others: a random start, steps of 2.5 * eps / steps, 250 "
        f"images at once. Times of whole calls, in turn, {REPEATS} times; shares within each turn. Of the others' accuracies the lowest.",
    )


BENCHMARKS: dict[str, Callable[[], Result]] = {"attack_speed": attack_speed}
