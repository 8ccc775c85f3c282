"""What the checks before training share: copies of networks, never the given one, and the prices of what needs no network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from netwright.core.seed import derive, generator
from netwright.data.batch import Batch, Block
from netwright.losses.loss import Loss
from netwright.model import Subject
from netwright.recipes.recipe import Recipe
from netwright.train.objectives import Objective, Supervised


@contextmanager
def sealed(seed: int, *names: str | int) -> Iterator[None]:
    """A block with gradients whose torch randomness depends on `seed` and `names`, and which leaves the global state alone."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(derive(seed, *names))
        yield


def recipe_of(subject: Subject) -> Recipe | None:
    """The recipe of the subject or of its model."""
    return subject.recipe or (subject.model.recipe if subject.model else None)


def objective_of(subject: Subject) -> Objective:
    """What a training step of the subject would minimise."""
    recipe = recipe_of(subject)
    return recipe.make_objective(subject.loss) if recipe else Supervised(subject.loss)


def some_rows(subject: Subject, n: int, seed: int, *names: str | int) -> Batch:
    """At most `n` training rows, drawn without replacement, in their order."""
    block: Block = subject.need("data").block("train")
    index = torch.randperm(len(block), generator=generator(seed, "rows", *names))[:n]
    return block.take(index.sort().values)


def affordable(subject: Subject, rows: int, *, elements: int, least: int = 32) -> int:
    """At most `rows`, and of images, texts and plain tensors no more than hold `elements` pixels, tokens or numbers together.

    A network looks at each of them many times, so that a batch which is nothing for a table takes seconds for images.
    """
    x = subject.need("data").block("train").x
    in_row = sum(t[:1].numel() for name, t in x.items() if name not in ("numbers", "codes"))
    return rows if not in_row else min(rows, max(least, elements // in_row))


def quiet(net: nn.Module) -> nn.Module:
    """The network without dropout and noise: evaluation mode, except that batch norms keep to the statistics of their batch."""
    net.eval()
    for layer in net.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.train()
    return net


@dataclass(frozen=True)
class Start:
    """A network at the start of a training.

    Args:
        net: a copy, free to be changed.
        note: where the weights come from, if that needs saying.
        trained: whether some weights could not be drawn as their layer would, so that theory says nothing of their loss.
    """

    net: nn.Module
    note: str = ""
    trained: bool = False


def start_of(subject: Subject, seed: int) -> Start:
    """The network as its training would start.

    A recipe's network is built afresh. Of a foreign module the given weights are taken where they predict no better than a
    constant (it has not been trained, and its own initialisation is what is to be checked); else each layer that has
    `reset_parameters` draws its weights again.
    """
    recipe = recipe_of(subject)
    if subject.model is None or (recipe is not None and recipe.template != "custom"):
        return Start(subject.fresh(seed))
    rows = some_rows(subject, 1024, seed, "start")
    assert rows.y is not None
    outputs = subject.model.outputs(rows.x)
    given, constant = price(subject.loss, outputs, rows.y), best_constant(subject.loss, outputs, rows.y)
    if not given < 0.9 * constant:
        return Start(
            copy.deepcopy(subject.model.module), "the weights as given, which predict no better than a constant"
        )
    net = subject.fresh(seed)
    silent = [name for name, layer in net.named_modules() if not _can_start(layer)]
    if silent:
        shown = ", ".join(silent[:3]) + (", ..." if len(silent) > 3 else "")
        return Start(
            net, f"layers that do not say how they start ({shown}) keep the spread of their trained weights", True
        )
    return Start(net, "weights drawn again")


def _can_start(layer: nn.Module) -> bool:
    """Whether a layer has no parameters of its own or draws them itself."""
    return (
        hasattr(layer, "reset_parameters")
        or hasattr(layer, "_reset_parameters")
        or not [*layer.parameters(recurse=False)]
    )


def dense_gradients(net: nn.Module) -> None:
    """Turn sparse gradients (of sparse embeddings) into dense ones, which every optimiser takes."""
    for parameter in net.parameters():
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.to_dense()


@torch.no_grad()
def price(loss: Loss, outputs: Tensor, y: Tensor) -> float:
    """Mean loss of outputs (N, ...) for targets (N,)."""
    return loss.values(outputs, y).double().mean().item()


def best_constant(loss: Loss, outputs: Tensor, y: Tensor) -> float:
    """Mean loss on these targets of the best outputs that are the same for all rows, whatever the loss.

    Under a cross-entropy that is the entropy of the class shares, under a squared error the variance of the target.

    >>> from netwright.losses.standard import CrossEntropy
    >>> round(best_constant(CrossEntropy(), torch.zeros(4, 2), torch.tensor([0, 0, 0, 1])), 4)
    0.5623
    """
    return _minimise(lambda free: loss.values(free.expand_as(outputs), y).mean(), outputs[:1])


def lowest_possible(loss: Loss, outputs: Tensor, y: Tensor) -> float:
    """Mean loss where every row may choose its outputs freely: what no network can go below (0, but for smoothed losses)."""
    return _minimise(lambda free: loss.values(free, y).mean(), outputs)


def _minimise(function: Callable[[Tensor], Tensor], like: Tensor) -> float:
    """The lowest value that L-BFGS finds from zeros of this shape. Source: Liu and Nocedal (1989)."""
    seen: list[float] = []

    def value_and_slopes(at: np.ndarray) -> tuple[float, np.ndarray]:
        free = torch.from_numpy(at).to(like.dtype).view(like.shape).requires_grad_()
        with torch.enable_grad():
            value = function(free)
            (slopes,) = torch.autograd.grad(value, free)
        seen.append(value.item())
        return seen[-1], slopes.double().flatten().numpy()

    # torch's own brings its compiler along, which takes two seconds
    minimize(value_and_slopes, np.zeros(like.numel()), jac=True, method="L-BFGS-B", options={"maxiter": 60})
    return min(v for v in seen if v == v)
