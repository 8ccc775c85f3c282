"""Networks of one template trained as one computation: their parameters lie one behind the other along a leading member axis."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from netwright.core.seed import derive, generator
from netwright.data.batch import Inputs, shuffled
from netwright.nn.masks import KeyedDropout, keyed, keyed_dropouts, present_key
from netwright.nn.unrolled import unrolled
from netwright.train.graph import traced
from netwright.train.settings import Training
from netwright.train.weights import BY_SHAPE

WORTH_TRACING = 500
"""Steps from which on it pays to trace one: that takes three to five seconds, and saves a fifth of each."""

NOT_PROPORTIONAL = ("asgd",)
"""Optimisers whose steps are not proportional to the rate: that of a member cannot be had by scaling the step of another."""

SLOWER: dict[tuple[type[nn.Module], ...], str] = {
    (nn.modules.conv._ConvNd,): "convolutions are faster in turn on a processor",
    (nn.MultiheadAttention,): "torch's attention runs side by side only in a loop, which is slower than in turn",
}
"""Layers that take longer side by side than in turn, and why."""


class Unstackable(Exception):
    """Why networks cannot be trained as one computation: the words behind "because"."""


@dataclass(frozen=True)
class Member:
    """One network of a stack.

    Args:
        net: the network, its weights drawn. seed: of its batch orders and masks.
        settings: of its training; members may differ in learning rate, weight decay and `layers`.
        rows: of the shared source that it learns from; None for all.
    """

    net: nn.Module
    seed: int
    settings: Training
    rows: Tensor | None = None

    def order(self, n: int, epoch: int, block: int = 0) -> Tensor:
        """Its rows among `n` in the order of an epoch, as the same network alone would see them; see `shuffled` for the blocks."""
        own = n if self.rows is None else len(self.rows)
        order = shuffled(own, generator(self.seed, "order", epoch), block)
        return order if self.rows is None else self.rows[order]


class Stack(nn.Module):
    """K networks as one. Called with their K batches, of B rows each, one behind the other, (K * B, ...), it gives the outputs in
    the same order, so that an objective and a loss see one large batch.

    Networks may have layers of different widths: smaller ones are padded with zeros, which stay zeros.

    Args:
        members: networks with equal modules. x: a batch of rows, on which the stack is compared with the networks alone.
        slower: stack also what takes longer side by side than in turn.
        steps: that are ahead, which decides whether a step is traced first.

    Raises:
        Unstackable: the networks are not alike, or the stack would not compute what they do.

    Source: Hansen and Salamon (1990) for the many networks; the member axis is that of `torch.func` ("model ensembling").
    """

    def __init__(
        self, members: Sequence[Member], x: Inputs, *, slower: bool = False, steps: int = WORTH_TRACING
    ) -> None:
        super().__init__()
        self.members = tuple(members)
        nets = [m.net for m in members]
        _alike(members)
        for kinds, why in SLOWER.items():
            if not slower and any(isinstance(layer, kinds) for layer in nets[0].modules()):
                raise Unstackable(why)
        # a graph holds the types that its tensors had, and autocast does not change them afterwards
        self._is_traced = steps >= WORTH_TRACING and members[0].settings.precision == "float32"
        self.net = copy.deepcopy(nets[0])
        self._graphs: dict[Any, Callable[..., Tensor]] = {}
        with torch.no_grad():
            self._stack_parameters(nets)
            self._stack_buffers(nets)
        names = [*dict(self.net.named_parameters()), *sorted(self.stacked)]
        self._owners = {name: _owner(self.net, name) for name in names}
        self._compare(x)

    def __len__(self) -> int:
        return len(self.members)

    # --- making -------------------------------------------------------------------------------------------------------

    def _stack_parameters(self, nets: Sequence[nn.Module]) -> None:
        own = [dict(net.named_parameters()) for net in nets]
        live: dict[str, Tensor] = {}
        for name, first in own[0].items():
            each = [p[name].detach() for p in own]
            owner, leaf = _owner(self.net, name)
            stacked = nn.Parameter(_padded(each), requires_grad=first.requires_grad)
            owner.register_parameter(leaf, stacked)
            if any(p.shape != stacked.shape[1:] for p in each):
                live[name] = _padded([torch.ones_like(p) for p in each])
                if stacked.requires_grad:  # what stands behind a smaller network stays zero
                    stacked.register_hook(live[name].mul)  # type: ignore[no-untyped-call]
        for layer_name, layer in self.net.named_modules():
            if isinstance(layer, nn.LayerNorm) and f"{layer_name}.weight" in live:
                layer.__class__ = _LiveNorm
                layer.register_buffer("live", live[f"{layer_name}.weight"])

    def _stack_buffers(self, nets: Sequence[nn.Module]) -> None:
        """Buffers that differ between members, or will, get a member axis; others are shared. Dropout rates become such ones."""
        own = [dict(net.named_buffers()) for net in nets]
        self.stacked = {f"{name}.live" for name, layer in self.net.named_modules() if isinstance(layer, _LiveNorm)}
        moving = {
            f"{name}.{kind}".removeprefix(".")
            for name, layer in self.net.named_modules()
            if isinstance(layer, nn.modules.batchnorm._NormBase)
            for kind, _ in layer.named_buffers(recurse=False)
        }
        for name in own[0]:
            each = [b[name] for b in own]
            if name in moving or any(not _same(b, each[0]) for b in each):
                owner, leaf = _owner(self.net, name)
                setattr(owner, leaf, _padded(each))
                self.stacked.add(name)
        for name, layer in self.net.named_modules():
            if isinstance(layer, nn.modules.dropout._DropoutNd):
                rates = [float(net.get_submodule(name).p) for net in nets]  # type: ignore[arg-type]
                if len(set(rates)) > 1:
                    layer.register_buffer("rate", torch.tensor(rates), persistent=False)
                    self.stacked.add(f"{name}.rate".removeprefix("."))

    @torch.no_grad()
    def _compare(self, x: Inputs) -> None:
        """Raise where the stack gives other numbers than its members on some rows, with masks and without."""
        all_x = {name: torch.cat([tensor] * len(self)) for name, tensor in x.items()}
        before = {name: buffer.clone() for name, buffer in self.net.named_buffers()}
        for training in (True, False):
            self.train(training)
            with keyed_dropouts(self.net), keyed(self.keys), _running(self.net) as running:
                try:
                    together = self(all_x).unflatten(0, (len(self), -1))
                except (RuntimeError, NotImplementedError, ValueError, TypeError) as error:
                    raise Unstackable(f"torch does not run {_words(self.net, running)} side by side") from error
            for member, outputs, key in zip(self.members, together, self.keys, strict=True):
                net = copy.deepcopy(member.net).train(training)
                with keyed_dropouts(net), keyed(key):
                    alone = net(x)
                if outputs.shape != alone.shape or not torch.allclose(outputs, alone, rtol=1e-4, atol=1e-5):
                    raise Unstackable("side by side they would not give the numbers that each gives alone")
            for name, buffer in self.net.named_buffers():
                buffer.copy_(before[name])

    # --- running ------------------------------------------------------------------------------------------------------

    @property
    def keys(self) -> Tensor:
        """The members' keys (K,)."""
        return torch.tensor([derive(m.seed, "masks") for m in self.members])

    def forward(self, x: Inputs) -> Tensor:
        """Inputs (K * B, ...) -> outputs (K * B, ...)."""
        given = [tensor.reshape(len(self), -1, *tensor.shape[1:]) for tensor in x.values()]
        given += [getattr(owner, leaf) for owner, leaf in self._owners.values()]
        if (keys := present_key()) is not None:
            given.append(keys)
        function = self._side_by_side(tuple(x), keys is not None)
        # in evaluation sizes differ: tracing would take longer than it saves
        if self._is_traced and self.training and keys is not None:
            seen = tuple((name, t.shape, t.dtype) for name, t in zip(x, given, strict=False))
            if seen not in self._graphs:  # tracing runs it once, which must leave running statistics as they are
                self._graphs[seen] = traced(function, *given)
            function = self._graphs[seen]
        return function(*given).flatten(0, 1)

    def _side_by_side(self, names: tuple[str, ...], is_keyed: bool) -> Callable[..., Tensor]:
        """The members' outputs (K, B, ...) as a function of inputs, parameters and stacked buffers, and keys: all tensors (K, ...)."""

        def one(*given: Tensor) -> Any:
            x = dict(zip(names, given, strict=False))
            own = dict(zip(self._owners, given[len(names) :], strict=False))
            if not is_keyed:
                return functional_call(self.net, own, (x,))
            with keyed(given[-1]):
                return functional_call(self.net, own, (x,))

        def all_of_them(*given: Tensor) -> Tensor:
            with unrolled(self.net), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
                outputs: Tensor = vmap(one)(*given)
            return outputs

        return all_of_them

    # --- what becomes of it -------------------------------------------------------------------------------------------

    @torch.no_grad()
    def alone(self, k: int) -> nn.Module:
        """A copy of member k as it is now, as a network of its own."""
        net = copy.deepcopy(self.members[k].net).train(self.training)
        own = {**dict(net.named_buffers()), **dict(net.named_parameters())}
        for name, tensor in self.part({**dict(self.named_buffers()), **dict(self.named_parameters())}, k).items():
            own[name].copy_(tensor)
        return net

    def part(self, tensors: Mapping[str, Tensor], k: int) -> dict[str, Tensor]:
        """Member k's parameters and buffers, of the names that it has alone, padding cut away, as views of the stack's."""
        alone = {**dict(self.members[k].net.named_buffers()), **dict(self.members[k].net.named_parameters())}
        parts: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            own = name.removeprefix("net.")
            if own in alone:
                is_stacked = own in self.stacked or isinstance(alone[own], nn.Parameter)
                parts[own] = tensor[k][tuple(slice(n) for n in alone[own].shape)] if is_stacked else tensor
        return parts


def of_each(net: nn.Module, tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Named parameters and buffers of each member of a stack; of a network alone they are its own."""
    return [net.part(tensors, k) for k in range(len(net))] if isinstance(net, Stack) else [tensors]


def slot(net: nn.Module, name: str, k: int) -> str:
    """Under which name a hook remembers something of member k."""
    return f"{name}/{k}" if isinstance(net, Stack) else name


class _LiveNorm(nn.LayerNorm):
    """Layer norm over the live entries of a padded width; `live` is 1 for those."""

    live: Tensor

    def forward(self, input: Tensor) -> Tensor:
        """The same shape; padded entries are 0."""
        n = self.live.sum()
        centred = (input - (input * self.live).sum(-1, keepdim=True) / n) * self.live
        variance = centred.square().sum(-1, keepdim=True) / n
        out = centred * (variance + self.eps).rsqrt() * self.weight
        return out if self.bias is None else out + self.bias


@contextmanager
def _running(net: nn.Module) -> Iterator[list[str]]:
    """The names of the modules that have begun and not yet ended, the innermost last: after an error those in which it came up."""
    names: list[str] = []

    def begin(name: str, *_: Any) -> None:
        names.append(name)

    def end(*_: Any) -> None:
        names.pop()

    handles = [layer.register_forward_pre_hook(partial(begin, name)) for name, layer in net.named_modules()]
    handles += [layer.register_forward_hook(end) for layer in net.modules()]
    try:
        yield names
    finally:
        for handle in handles:
            handle.remove()


def _words(net: nn.Module, running: Sequence[str]) -> str:
    """The innermost of the running modules, by its kind."""
    name = running[-1] if running else ""
    layer = net.get_submodule(name)
    kind = next(c for c in type(layer).__mro__ if c.__module__ != KeyedDropout.__module__).__name__
    return f"layers of the kind {kind} ({name})" if name else f"networks of the kind {kind}"


def _alike(members: Sequence[Member]) -> None:
    """Refuse what cannot be stacked."""
    nets, settings = [m.net for m in members], [m.settings for m in members]
    shared = {"learning_rate", "weight_decay", "layers"}
    if len({s.model_dump_json(exclude=shared) for s in settings}) > 1:
        raise Unstackable("their trainings differ in more than rates and decays")
    if settings[0].optimizer in BY_SHAPE:
        raise Unstackable(f"{settings[0].optimizer} looks at a parameter as a whole")
    rates = {(s.learning_rate, tuple((name, layer.rate) for name, layer in s.layers.items())) for s in settings}
    if settings[0].optimizer in NOT_PROPORTIONAL and len(rates) > 1:
        raise Unstackable(f"steps of {settings[0].optimizer} are not proportional to its rate, and their rates differ")
    names = [[(name, type(layer)) for name, layer in net.named_modules()] for net in nets]
    if any(n != names[0] for n in names):
        raise Unstackable("they are not made of the same layers")


def _padded(each: Sequence[Tensor]) -> Tensor:
    """Tensors of one number of dimensions along a new first axis, (K, ...), zeros behind the smaller ones."""
    if len({t.dim() for t in each}) > 1 or len({t.dtype for t in each}) > 1:
        raise Unstackable("their parameters are of different kinds")
    sizes = [max(sizes) for sizes in zip(*(t.shape for t in each), strict=True)]
    stacked = torch.zeros(len(each), *sizes, dtype=each[0].dtype, device=each[0].device)
    for place, tensor in zip(stacked, each, strict=True):
        place[tuple(slice(n) for n in tensor.shape)] = tensor
    return stacked


def _same(one: Tensor, two: Tensor) -> bool:
    return one.shape == two.shape and bool(torch.equal(torch.nan_to_num(one.double()), torch.nan_to_num(two.double())))


def _owner(net: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, leaf = name.rpartition(".")
    return net.get_submodule(path), leaf
