"""What an optimiser moves: a player's weights in few tensors, so that a step costs a few operations whatever the number of layers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from netwright.train import light
from netwright.train.entries import OPTIMIZERS
from netwright.train.settings import Training

SMALL = 1 << 15
"""Numbers up to which a parameter is merged with others; of a larger one the work outweighs the overhead."""
DECOUPLED = ("adamw", "nadam", "radam", "adafactor")
"""Optimisers whose decay shrinks the weights by themselves; in the others it is added to the gradient."""
BY_SHAPE = ("adafactor",)
"""Optimisers that look at the shape of a parameter: nothing is merged for them, and their networks are not stacked."""


@dataclass
class Group:
    """Tensors of one type that move alike.

    Args:
        decays: of each member. rates: of each member, as a factor on the schedule's rate.
        tensors: (1, n) of merged parameters, and those that are large or of a stack.
    """

    decays: tuple[float, ...]
    rates: tuple[float, ...]
    tensors: list[Tensor] = field(default_factory=list)

    @property
    def shares(self) -> tuple[float, ...]:
        """The members' rates over the largest of them, which the optimiser is told."""
        return tuple(rate / (max(self.rates) or 1.0) for rate in self.rates)


class Weights:
    """A player's weights with their gradients and their optimiser.

    Small parameters become views of one tensor (1, n) for each group that moves alike, until `release`.

    Args:
        player: its parameters; in a stack each has a leading member axis.
        settings: of each member; they may differ in learning rate, weight decay and `layers`.
    """

    def __init__(self, player: nn.Module, *settings: Training) -> None:
        self.settings, self.members = settings[0], len(settings)
        self._merged: list[tuple[nn.Parameter, tuple[int, ...]]] = []  # with its strides before
        self._single: list[Tensor] = []
        self._flat: list[Tensor] = []  # gradients of merged tensors
        self.groups: list[Group] = []
        for (decays, rates, _), parameters in _moving_alike(player, settings).items():
            self.groups.append(Group(decays, rates, self._tensors(parameters)))
        alike = [
            {"params": g.tensors, "weight_decay": g.decays[0] if len(set(g.decays)) == 1 else 0.0} for g in self.groups
        ]
        entry = OPTIMIZERS[self.settings.optimizer]
        momentum = {} if self.settings.momentum is None else {"momentum": self.settings.momentum}
        with light.without_compiler():
            self.optimizer: Optimizer = entry.load()(
                alike, lr=self.settings.learning_rate, **{**entry.options, **momentum}
            )

    def _tensors(self, parameters: list[nn.Parameter]) -> list[Tensor]:
        """The parameters, the small ones among them merged."""
        small = [p for p in parameters if p.numel() <= SMALL and p.is_contiguous()]
        if len(small) < 2 or self.settings.optimizer in BY_SHAPE or self.members > 1:  # of members each is large
            small = []
        single = [p for p in parameters if not any(p is s for s in small)]
        self._single += single
        if not small:
            return [*single]
        self._merged += [(p, p.stride()) for p in small]
        flat = nn.Parameter(torch.cat([p.detach().reshape(1, -1) for p in small], 1))
        flat.grad = torch.zeros_like(flat)
        sizes = [p.numel() for p in small]
        for p, weight, gradient in zip(
            small, torch.split(flat.data, sizes, 1), torch.split(flat.grad, sizes, 1), strict=True
        ):
            p.data, p.grad = _like(p, weight), _like(p, gradient)
        self._flat.append(flat.grad)
        return [flat, *single]

    def release(self) -> None:
        """Make the parameters tensors of their own again."""
        for p, strides in self._merged:
            p.data, p.grad = torch.empty_strided(p.shape, strides, dtype=p.dtype, device=p.device).copy_(p.data), None
        for tensor in self._single:
            tensor.grad = None

    def named(self, player: nn.Module, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        """The player's learned parameters as views of other tensors, which are shaped like those of `groups`."""
        mine = [t for group in self.groups for t in group.tensors]
        where = {t.untyped_storage().data_ptr(): k for k, t in enumerate(mine)}
        named: dict[str, Tensor] = {}
        for name, p in player.named_parameters():
            if p.requires_grad:
                tensor, begin = tensors[where[p.untyped_storage().data_ptr()]], p.storage_offset()
                flat = any(p is merged for merged, _ in self._merged)
                named[name] = _like(p, tensor[0, begin : begin + p.numel()]) if flat else tensor
        return named

    def zero(self) -> None:
        """Forget the gradients."""
        for gradient in self._flat:
            gradient.zero_()
        for tensor in self._single:
            tensor.grad = None

    def _moved(self) -> list[Tensor]:
        return [t for group in self.groups for t in group.tensors if t.grad is not None]

    def norms(self) -> list[float]:
        """The Euclidean norm of each member's gradient; sparse gradients become dense ones."""
        for t in self._single:
            if t.grad is not None and t.grad.is_sparse:
                t.grad = t.grad.to_dense()
        if self.members == 1:
            return [math.hypot(*(torch.linalg.vector_norm(t.grad).item() for t in self._moved() if t.grad is not None))]
        each = [
            torch.linalg.vector_norm(t.grad.reshape(self.members, -1), dim=1)
            for t in self._moved()
            if t.grad is not None
        ]
        norms: list[float] = torch.linalg.vector_norm(torch.stack(each), dim=0).tolist()
        return norms

    def silence(self, member: int) -> None:
        """Forget the gradient of one member of a stack."""
        for t in self._moved():
            t.grad[member] = 0.0  # type: ignore[index]

    @torch.no_grad()
    def step(self, rate: float, norms: Sequence[float]) -> None:
        """Move at a learning rate against gradients that have these norms.

        Source: Pascanu, Mikolov and Bengio (2013) for the clipping of gradients.
        """
        limit = self.settings.clip_norm
        if limit is not None and max(norms) > limit:
            for t in self._moved():
                t.grad.mul_(_column([min(1.0, limit / (norm + 1e-6)) for norm in norms], t))  # type: ignore[union-attr]
        before = [
            self._prepare(group, at, rate) for group, at in zip(self.groups, self.optimizer.param_groups, strict=True)
        ]
        light.step(self.optimizer)
        for group, old in zip(self.groups, before, strict=True):
            for tensor, was in zip(group.tensors, old, strict=bool(old)):
                tensor.copy_(torch.lerp(was, tensor, _column(group.shares, tensor)))

    def _prepare(self, group: Group, at: dict[str, object], rate: float) -> list[Tensor]:
        """Do what the optimiser cannot: decays and rates that differ between members. The latter by scaling the change, which
        is proportional to the rate, from that at the largest rate down: for that the tensors as they were."""
        rate *= max(group.rates)
        at["lr"] = rate
        if len(set(group.decays)) > 1:
            for t in group.tensors:
                if self.settings.optimizer in DECOUPLED:
                    kept = [1 - rate * r * d for r, d in zip(group.shares, group.decays, strict=True)]
                    t.mul_(_column(kept, t))
                elif t.grad is not None:
                    t.grad.addcmul_(_column(group.decays, t), t)
        return [t.clone() for t in group.tensors] if len(set(group.rates)) > 1 else []


@contextmanager
def released(players: Iterable[Weights]) -> Iterator[None]:
    """After it the players' parameters are tensors of their own, whatever happened within."""
    try:
        yield
    finally:
        for weights in players:
            weights.release()


def _like(p: Tensor, numbers: Tensor) -> Tensor:
    """A view of the numbers in the shape and layout of a dense tensor; `view` forgets that channels are last where there is one."""
    view = numbers.view(p.shape)
    return view if view.stride() == p.stride() else numbers.as_strided(p.shape, p.stride())


def _column(numbers: Sequence[float], like: Tensor) -> Tensor:
    """A number for each member, to multiply a tensor with that has a member axis (any, where there is one number)."""
    column = torch.tensor(numbers, dtype=like.dtype, device=like.device)
    return column.view(-1, *[1] * (like.dim() - 1)) if len(numbers) > 1 else column[0]


_Alike = tuple[tuple[float, ...], tuple[float, ...], tuple[torch.dtype, torch.device]]


def _moving_alike(player: nn.Module, settings: Sequence[Training]) -> dict[_Alike, list[nn.Parameter]]:
    """Parameters by the members' decays and rates, and by type and device; only matrices of linear and convolutional maps decay
    by default."""
    matrices = {
        id(layer.weight)
        for layer in player.modules()
        if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd) and layer.weight is not None
    }
    groups: dict[_Alike, list[nn.Parameter]] = {}
    for name, p in player.named_parameters():
        if p.requires_grad:
            paces = [_pace(name, one, id(p) in matrices) for one in settings]
            base = settings[0].learning_rate
            decays, rates = tuple(decay for decay, _ in paces), tuple(rate / base for _, rate in paces)
            groups.setdefault((decays, rates, (p.dtype, p.device)), []).append(p)
    return groups


def _pace(name: str, settings: Training, matrix: bool) -> tuple[float, float]:
    """Decay and peak rate of a parameter: by the first pattern in `layers` that fits its name."""
    decay, factor = settings.weight_decay if matrix else 0.0, 1.0
    for pattern, layer in settings.layers.items():
        if fnmatchcase(name, pattern) or fnmatchcase(name, pattern + ".*"):
            decay = decay if layer.weight_decay is None else layer.weight_decay
            factor = layer.rate
            break
    return decay, factor * settings.learning_rate
