"""The cores of the attacks. What they return is not trusted: `shell.evaluate` clips it, predicts again and measures again.

Each is called as attack(net_outputs, loss, x, y, threat, *, rng, ...) -> x_adv, with rows that are still right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from netwright.data.batch import Inputs
from netwright.losses.loss import Loss
from netwright.robust.goal import NetOutputs, ascent, measured
from netwright.robust.threat import Threat, pick

Attack = Callable[..., Inputs]
MAX_CATEGORIES = 64
"""Of a column, the most frequent categories that a search tries."""


def fgsm(
    net_outputs: NetOutputs, loss: Loss, x: Inputs, y: Tensor, threat: Threat, *, rng: torch.Generator
) -> dict[str, Tensor]:
    """The allowed point that lies farthest along the gradient: exact where the network is linear.

    Under "linf" that is x + eps * spread * sign(gradient), clipped; under "l2" x plus the gradient at the length eps, where
    what the box cuts off is made up for by the other values.

    Source: Goodfellow, Shlens and Szegedy (2015); under "l2" Miyato et al. (2016).
    """
    boxes = threat.boxes(x)
    gradients, _, _ = ascent(net_outputs, loss, x, y, list(boxes))
    return {**x, **{n: b.far(gradients[n]) for n, b in boxes.items()}}


def pgd(
    net_outputs: NetOutputs,
    loss: Loss,
    x: Inputs,
    y: Tensor,
    threat: Threat,
    *,
    rng: torch.Generator,
    steps: int = 20,
    restarts: int = 2,
    step_size: float | None = None,
) -> dict[str, Tensor]:
    """Gradient steps, each followed by a projection onto what is allowed; the worst point on the way is returned.

    Steps go along the signs of the gradient under "linf", along the gradient at a given length under "l2". The
    gradient is taken at the nearest allowed point (whole numbers whole), so what is best on the way is allowed. Rows whose
    class has turned wrong are dropped at once. The first restart begins at the rows, others at random.

    Args:
        steps: gradient steps of each restart.
        restarts: how often to begin.
        step_size: of every step, in units of the threat; None for eps * (1 - k / steps)^2 at step k = 0, 1, ...: the first
            goes as far as `fgsm`, and what it jumped over is found by the last ones.

    Source: Madry et al. (2018); long steps first and short ones last after Croce and Hein (2020), "Reliable evaluation of
    adversarial robustness with an ensemble of diverse parameter-free attacks".
    """
    boxes = threat.boxes(x)
    sizes = [threat.eps * (1 - k / steps) ** 2 if step_size is None else step_size for k in range(steps)]
    best, worst = {n: b.x.clone() for n, b in boxes.items()}, torch.full((len(y),), -torch.inf, dtype=torch.float64)
    right = torch.ones(len(y), dtype=torch.bool)
    for restart in range(restarts if boxes else 0):
        rows = right.nonzero().squeeze(1)
        if not len(rows):
            break
        here, rest, wanted = {n: b.take(rows) for n, b in boxes.items()}, pick(x, rows), y[rows]
        at = {n: b.anywhere(rng) if restart else b.x for n, b in here.items()}
        for step in range(steps + 1):
            point = {n: b.clip(at[n]) for n, b in here.items()}
            names = list(boxes) if step < steps else []
            gradients, price, wrong = ascent(net_outputs, loss, {**rest, **point}, wanted, names)
            better = wrong | (price > worst[rows])
            worst[rows[better]] = price[better]
            for n in boxes:
                best[n][rows[better]] = point[n][better]
            if step < steps:
                at = {n: b.step(at[n], gradients[n], sizes[step]) for n, b in here.items()}
            if wrong.any():
                right[rows[wrong]] = False
                keep = (~wrong).nonzero().squeeze(1)
                rows, rest, wanted = rows[keep], pick(rest, keep), wanted[keep]
                at, here = pick(at, keep), {n: b.take(keep) for n, b in here.items()}
            if not len(rows):
                break
    return {**x, **best}


def category_swap(
    net_outputs: NetOutputs,
    loss: Loss,
    x: Inputs,
    y: Tensor,
    threat: Threat,
    *,
    rng: torch.Generator,
    max_categories: int = MAX_CATEGORIES,
    batch_size: int = 4096,
) -> dict[str, Tensor]:
    """Greedy: try every single swap of each row, keep the worst, and again, until the row is wrong or swaps run out.

    Exact for one swap, and for networks that add up what the columns say. No gradient is needed.

    Args:
        max_categories: of a column, the most frequent ones that are tried.
        batch_size: rows that go through the network at once.

    Source: Yang et al. (2020), "Greedy Attack and Gumbel Attack".
    """
    tries = [(column, code) for column, codes in enumerate(threat.choices) for code in codes[:max_categories]]
    if not tries:
        return dict(x)
    columns, codes = torch.tensor(tries).unbind(1)
    point = {**x, "codes": x["codes"].clone()}
    price, wrong = measured(net_outputs, loss, x, y)
    rows = torch.arange(len(y))
    for _ in range(threat.swaps):
        rows, gained = rows[~wrong[rows]], []
        if not len(rows):
            break
        for part in torch.split(rows, max(1, batch_size // len(tries))):
            many = {n: t.repeat_interleave(len(tries), 0) for n, t in pick(point, part).items()}
            many["codes"][torch.arange(len(many["codes"])), columns.repeat(len(part))] = codes.repeat(len(part))
            tried, broken = measured(net_outputs, loss, many, y[part].repeat_interleave(len(tries)))
            tried, broken = tried.reshape(len(part), -1), broken.reshape(len(part), -1)
            best = (tried + torch.where(broken, 1e6, 0.0)).argmax(1)
            now, turned = tried.gather(1, best[:, None]).squeeze(1), broken.gather(1, best[:, None]).squeeze(1)
            gain = turned | (now > price[part])
            part, best = part[gain], best[gain]
            point["codes"][part, columns[best]] = codes[best]
            price[part], wrong[part] = now[gain], turned[gain]
            gained.append(part)
        rows = torch.cat(gained)
    return point


def table_attack(
    net_outputs: NetOutputs,
    loss: Loss,
    x: Inputs,
    y: Tensor,
    threat: Threat,
    *,
    rng: torch.Generator,
    steps: int = 20,
    restarts: int = 2,
) -> dict[str, Tensor]:
    """`category_swap`, then `pgd` on the numbers of what it found."""
    swapped = category_swap(net_outputs, loss, x, y, threat, rng=rng)
    return pgd(net_outputs, loss, swapped, y, replace(threat, swaps=0), rng=rng, steps=steps, restarts=restarts)


def noise(
    net_outputs: NetOutputs, loss: Loss, x: Inputs, y: Tensor, threat: Threat, *, rng: torch.Generator
) -> dict[str, Tensor]:
    """No attack but a control of the same size: each value moves by eps up or down (under "l2" all of them together in a
    random direction), `swaps` categories at random."""
    point = dict(x) | {name: box.noise(rng) for name, box in threat.boxes(x).items()}
    open_columns = [column for column, codes in enumerate(threat.choices) if codes]
    if open_columns:
        point["codes"] = x["codes"].clone()
        order = torch.rand(len(y), len(open_columns), generator=rng).argsort(1)[:, : threat.swaps]
        for chosen in torch.tensor(open_columns)[order].unbind(1):
            for column in open_columns:
                codes, now = torch.tensor(threat.choices[column]), point["codes"][:, column]
                draw = torch.randint(len(codes), (len(y),), generator=rng)
                other = torch.where(codes[draw] == now, codes[(draw + 1) % len(codes)], codes[draw])
                point["codes"][:, column] = torch.where(chosen == column, other, now)
    return point
