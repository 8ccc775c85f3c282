"""What an attack raises, and when it has won: judged on predictions, so that whatever the loss, its link is its own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from netwright.data.batch import Inputs
from netwright.losses.loss import Loss

NetOutputs = Callable[[Inputs], Tensor]
_TINY = 1e-300


def judge(prediction: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    r"""How wrong each row is (N,), and whether its class is wrong (N,).

    Classes: the log odds of being wrong, log(sum_{c != y} p_c) - log p_y. They rise with the cross-entropy -log p_y, so
    the signs of their gradient are the same, but they do not fade out where a network is sure of itself (up to odds
    of exp(690)). Numbers: the absolute error |prediction - y|; never "wrong". A prediction that is not finite is infinitely wrong.

    Args:
        prediction: probabilities (N, C) or values (N,).
        y: class numbers (N,) int64 or values (N,).

    >>> judge(torch.tensor([[0.5, 0.5], [0.1, 0.9]]), torch.tensor([0, 0]))[1].tolist()
    [False, True]
    """
    if y.is_floating_point():
        error = (prediction.reshape(y.shape) - y).abs()
        return error.nan_to_num(nan=torch.inf), torch.zeros(len(y), dtype=torch.bool)
    lost = ~prediction.isfinite().all(1)
    true = prediction.gather(1, y.unsqueeze(1)).squeeze(1)
    others = prediction.scatter(1, y.unsqueeze(1), 0.0).sum(1)
    odds = others.clamp(min=_TINY).log() - true.clamp(min=_TINY).log()
    return torch.where(lost, torch.inf, odds), lost | (prediction.argmax(1) != y)


@torch.no_grad()
def measured(net_outputs: NetOutputs, loss: Loss, x: Inputs, y: Tensor) -> tuple[Tensor, Tensor]:
    """`judge` of a network's outputs."""
    return judge(loss.predict(net_outputs(x).double()), y)


def ascent(
    net_outputs: NetOutputs, loss: Loss, x: Inputs, y: Tensor, names: list[str]
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """`measured`, and the gradient of how wrong each row is with respect to its tensors `names`.

    No parameter receives a gradient. Where nothing can be differentiated the gradient is zero. Whole pixels are taken as floats.
    """
    tensors = {name: x[name].detach() for name in names}
    with torch.enable_grad():
        leaves = {n: (t if t.is_floating_point() else t.float()).requires_grad_(True) for n, t in tensors.items()}
        price, wrong = judge(loss.predict(net_outputs({**x, **leaves}).double()), y)
        found: tuple[Tensor | None, ...] = (None,) * len(names)
        if price.requires_grad and names:
            found = torch.autograd.grad(price.sum(), list(leaves.values()), allow_unused=True)
    gradients = {
        name: torch.zeros_like(leaf).detach() if g is None else g.nan_to_num(nan=0.0)
        for (name, leaf), g in zip(leaves.items(), found, strict=True)
    }
    return gradients, price.detach(), wrong
