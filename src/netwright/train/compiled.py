"""Several whole steps as one compiled function: forwards, backwards, clipping and update, without Python in between.

It pays for small networks that are trained for long: a step is then mostly overhead, and compiling takes half a minute.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from netwright.data.batch import Batch
from netwright.nn.masks import keyed
from netwright.train.diverge import NotFinite
from netwright.train.machine import device_named
from netwright.train.objectives import Objective, Supervised
from netwright.train.stack import Stack
from netwright.train.state import State
from netwright.train.weights import Weights

UNROLLED = 8
"""Steps of one call."""

BACKEND = "inductor"
"""Who compiles."""

NOT = "not compiled"
"""How the word begins that says why steps are not."""

Slots = tuple[Tensor, ...]
_Rule = Callable[[Tensor, Tensor, Slots, Tensor, dict[str, Any]], tuple[Tensor, Slots]]


class NotCompiled(Exception):
    """Why there is no compiled step: the words behind "because"."""


class Compiled:
    """UNROLLED steps of a network with one player; called with their batches, it moves the weights and gives losses and norms.

    Args:
        net: in training mode. objective: supervised, without changes of batches.
        weights: of the network; their optimiser has made a step already.

    Raises:
        NotCompiled: there is no compiler, or the steps cannot be written as one function.

    Source: Ansel et al. (2024), "PyTorch 2", for the compiler.
    """

    def __init__(self, net: nn.Module, objective: Objective, weights: Weights, example: Sequence[Batch]) -> None:
        self.net, self.objective, self.weights = net, objective, weights
        self._refuse()
        self._rule, self._slots = RULES[weights.settings.optimizer]
        self._learned = self._used(example[0])
        arguments = self._arguments(example, torch.zeros(UNROLLED, dtype=torch.int64), [0.0] * UNROLLED)
        self._run = _compiled(self._steps, arguments)

    def _refuse(self) -> None:
        settings = self.weights.settings
        if settings.optimizer not in RULES:
            raise NotCompiled(f"{settings.optimizer} has no compiled form; {', '.join(RULES)} have")
        if device_named(settings.device).type != "cpu":
            raise NotCompiled("only steps on the processor are")
        if settings.accumulate > 1 or settings.precision != "float32":
            raise NotCompiled("gradients are accumulated or computed in bfloat16")
        if isinstance(settings.average, float):
            raise NotCompiled("the moving average of the weights moves after each step")
        if not isinstance(self.objective, Supervised) or self.objective.perturb is not None:
            raise NotCompiled("its steps are not those of plain supervised training")
        if any(isinstance(layer, nn.modules.batchnorm._NormBase) for layer in self.net.modules()):
            raise NotCompiled("batch norms keep running statistics")

    def __call__(
        self, batches: Sequence[Batch], keys: Tensor, rates: Sequence[float], step: int
    ) -> list[tuple[float, float]]:
        """Do the steps; loss and gradient norm of each.

        Args:
            batches: one of each step. keys: of their masks (UNROLLED,). rates: learning rates. step: number of the first.

        Raises:
            NotFinite: one of them is not finite; the weights are then spoilt.
        """
        tensors, slots, losses, norms = self._run(*self._arguments(batches, keys, rates))
        seen = list(zip(losses.tolist(), norms.tolist(), strict=True))
        for k, (loss, norm) in enumerate(seen):
            if not math.isfinite(loss + norm):
                raise NotFinite(step + k, loss, norm, "")
        with torch.no_grad():
            for group, at in zip(self.weights.groups, self.weights.optimizer.param_groups, strict=True):
                at["lr"] = rates[-1] * group.rates[0]
            for tensor, new in zip(self._tensors(), tensors, strict=True):
                tensor.copy_(new)
            for old, new in zip(self._state(), slots, strict=True):
                for slot, value in zip(old, new, strict=True):
                    slot.copy_(value)
            for state in self.weights.optimizer.state.values():
                if "step" in state:
                    state["step"] += UNROLLED
        return seen

    # --- what goes in -------------------------------------------------------------------------------------------------

    def _used(self, batch: Batch) -> list[bool]:
        """Which tensors have a gradient: an optimiser leaves others as they are."""
        tensors = [t.detach() for group in self.weights.groups for t in group.tensors]
        self._learned = [True] * len(tensors)
        _, gradients = self._gradients(tensors, batch, torch.tensor(0))
        self._learned = [g is not None for g in gradients]
        state = self.weights.optimizer.state
        if any(name not in state.get(t, {}) for t in self._tensors() for name in self._slots):
            raise NotCompiled("some weights were not moved by the first steps")
        return self._learned

    def _tensors(self) -> list[Tensor]:
        return self._of_learned([t for group in self.weights.groups for t in group.tensors])

    def _of_learned(self, of_each: Sequence[Any]) -> list[Any]:
        return [one for one, learned in zip(of_each, self._learned, strict=True) if learned]

    def _state(self) -> list[Slots]:
        state = self.weights.optimizer.state
        return [tuple(state[t][name] for name in self._slots) for t in self._tensors()]

    def _arguments(self, batches: Sequence[Batch], keys: Tensor, rates: Sequence[float]) -> tuple[Any, ...]:
        x = {name: torch.stack([b.x[name] for b in batches]) for name in batches[0].x}
        y, weight = (_stacked([getattr(b, name) for b in batches]) for name in ("y", "weight"))
        done = next((float(s["step"]) for s in self.weights.optimizer.state.values() if "step" in s), 0.0)
        beta1, beta2 = self.weights.optimizer.defaults.get("betas", (0.0, 0.0))
        numbers = [
            (rate, 1 - beta1 ** (done + k), math.sqrt(1 - beta2 ** (done + k))) for k, rate in enumerate(rates, 1)
        ]
        tensors = [t.detach() for t in self._tensors()]
        return tensors, self._state(), x, y, weight, keys, torch.tensor(numbers)

    # --- the steps ----------------------------------------------------------------------------------------------------

    def _steps(
        self,
        tensors: list[Tensor],
        slots: list[Slots],
        x: dict[str, Tensor],
        y: Tensor | None,
        weight: Tensor | None,
        keys: Tensor,
        numbers: Tensor,
    ) -> tuple[list[Tensor], list[Slots], Tensor, Tensor]:
        losses, norms, limit = [], [], self.weights.settings.clip_norm
        options = self._of_learned([dict(at) for at in self.weights.optimizer.param_groups for _ in at["params"]])
        factors = self._of_learned([group.rates[0] for group in self.weights.groups for _ in group.tensors])
        for k in range(UNROLLED):
            batch = Batch(
                {n: t[k] for n, t in x.items()}, None if y is None else y[k], None if weight is None else weight[k]
            )
            loss, found = self._gradients(tensors, batch, keys[k])
            gradients = [torch.zeros_like(t) if g is None else g for t, g in zip(tensors, found, strict=True)]
            norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
            if limit is not None:
                gradients = [g * (limit / (norm + 1e-6)).clamp(max=1.0) for g in gradients]
            moved = [
                self._rule(t, g, s, numbers[k], {**o, "factor": f})
                for t, g, s, o, f in zip(tensors, gradients, slots, options, factors, strict=True)
            ]
            tensors, slots = [t.detach() for t, _ in moved], [s for _, s in moved]
            losses.append(loss.detach())
            norms.append(norm)
        return tensors, slots, torch.stack(losses), torch.stack(norms)

    def _gradients(self, tensors: list[Tensor], batch: Batch, key: Tensor) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        tensors = [t.requires_grad_() for t in tensors]
        given = dict(zip(map(id, self._tensors()), tensors, strict=True))
        all_of_them = [t for group in self.weights.groups for t in group.tensors]
        own = self.weights.named(self.net, [given.get(id(t), t.detach()) for t in all_of_them])

        class _With(nn.Module):
            def forward(inner, x: Any) -> Any:
                return functional_call(self.net, own, (x,))

        with torch.enable_grad(), keyed(key):
            loss = self.objective.step(_With(), batch, torch.Generator())["net"].mean()
            gradients = torch.autograd.grad(loss, tensors, allow_unused=True)
        return loss, gradients


def _stacked(of_each: Sequence[Tensor | None]) -> Tensor | None:
    return None if of_each[0] is None else torch.stack([t for t in of_each if t is not None])


def _compiled(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Callable[..., Any]:
    """The function for arguments of these shapes, compiled and tried once."""
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.utils._pytree import tree_flatten, tree_unflatten

    flat, inner = tree_flatten(arguments)
    shape: list[Any] = []

    def flattened(*given: Any) -> list[Any]:
        outputs, outer = tree_flatten(function(*tree_unflatten(list(given), inner)))
        shape[:] = [outer]
        return outputs

    try:
        with warnings.catch_warnings(action="ignore"):
            graph = make_fx(flattened)(*flat)
    except Exception as error:
        raise NotCompiled(f"the steps cannot be written as one function ({_first_line(error)})") from error
    try:
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            run = _inductor(graph, flat) if BACKEND == "inductor" else graph
            run(*flat)
    except Exception as error:
        why = (
            "there is no working C++ compiler"
            if "InvalidCxxCompiler" in repr(error) + str(error)
            else _first_line(error)
        )
        raise NotCompiled(why) from error

    def call(*given: Any) -> Any:
        with torch.no_grad():
            return tree_unflatten(list(run(*tree_flatten(given)[0])), shape[0])

    return call


def _inductor(graph: Any, example: Sequence[Any]) -> Callable[..., Any]:
    """torch's compiler for a graph that is traced already: `torch.compile` would go through it once more, for ten seconds."""
    from torch._inductor import compile as compile_graph

    compiled: Callable[..., Any] = compile_graph(graph, list(example))
    return compiled


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


# --- the updates of torch's optimisers ----------------------------------------------------------------------------------


def _adam(w: Tensor, g: Tensor, slots: Slots, numbers: Tensor, options: dict[str, Any]) -> tuple[Tensor, Slots]:
    return _adams(w, g + options["weight_decay"] * w if options["weight_decay"] else g, slots, numbers, options)


def _adamw(w: Tensor, g: Tensor, slots: Slots, numbers: Tensor, options: dict[str, Any]) -> tuple[Tensor, Slots]:
    if options["weight_decay"]:
        w = w * (1 - options["factor"] * numbers[0] * options["weight_decay"])
    return _adams(w, g, slots, numbers, options)


def _adams(w: Tensor, g: Tensor, slots: Slots, numbers: Tensor, options: dict[str, Any]) -> tuple[Tensor, Slots]:
    (beta1, beta2), (rate, first, second) = options["betas"], (numbers[0] * options["factor"], numbers[1], numbers[2])
    mean = slots[0] + (g - slots[0]) * (1 - beta1)
    square = slots[1] * beta2 + g * g * (1 - beta2)
    return w - rate / first * mean / (square.sqrt() / second + options["eps"]), (mean, square)


def _sgd(w: Tensor, g: Tensor, slots: Slots, numbers: Tensor, options: dict[str, Any]) -> tuple[Tensor, Slots]:
    g = g + options["weight_decay"] * w if options["weight_decay"] else g
    if not slots:
        return w - numbers[0] * options["factor"] * g, ()
    momentum = slots[0] * options["momentum"] + g
    move = g + options["momentum"] * momentum if options["nesterov"] else momentum
    return w - numbers[0] * options["factor"] * move, (momentum,)


RULES: dict[str, tuple[_Rule, tuple[str, ...]]] = {
    "adam": (_adam, ("exp_avg", "exp_avg_sq")),
    "adamw": (_adamw, ("exp_avg", "exp_avg_sq")),
    "sgd": (_sgd, ("momentum_buffer",)),
    "nesterov": (_sgd, ("momentum_buffer",)),
    "plain-sgd": (_sgd, ()),
}


class Compiling:
    """What of a training is compiled: strides of UNROLLED steps from the second stride on, if its settings ask for it. They begin at
    steps 0, UNROLLED, 2 UNROLLED ... of an epoch, so that a resume does the same strides.

    `state.values["compiled"]` says whether it is, or why not; a resume keeps to what was not.
    """

    def __init__(self, net: nn.Module, objective: Objective, players: Mapping[str, Weights], state: State) -> None:
        self.net, self.objective, self.players, self.state = net, objective, players, state
        self.wanted = state.settings.compiled and not state.values.get("compiled", "").startswith(NOT)
        self._function: Compiled | None = None

    def strides(self, steps: Iterator[list[Batch]]) -> Iterator[list[list[Batch]]]:
        """The steps, UNROLLED at a time where they can be compiled, else one by one."""
        begun = (self.state.step - self.state.epoch * self.state.steps_per_epoch) % UNROLLED
        yield from ([step] for step in islice(steps, UNROLLED - begun if begun else 0))
        while some := list(islice(steps, UNROLLED if self.wanted else 1)):
            if len(some) == UNROLLED and self._ready([parts[0] for parts in some]):
                yield some
            else:
                yield from ([step] for step in some)

    def _ready(self, example: Sequence[Batch]) -> bool:
        if self.wanted and self._function is None and self.state.step >= UNROLLED:
            try:
                if len(self.players) > 1 or isinstance(self.net, Stack):
                    raise NotCompiled("it is not one network")
                self._function = Compiled(self.net, self.objective, next(iter(self.players.values())), example)
                self.state.values["compiled"] = f"{UNROLLED} steps as one function"
            except NotCompiled as why:
                self.off(str(why))
        return self.running

    def run(self, steps: Sequence[list[Batch]], keys: Tensor, rates: Sequence[float]) -> None:
        """Do the steps of a stride."""
        assert self._function is not None
        for loss, norm in self._function([parts[0] for parts in steps], keys, rates, self.state.step):
            self.state.add([loss], [norm])

    @property
    def running(self) -> bool:
        """Whether there are compiled steps."""
        return self._function is not None

    def off(self, why: str) -> None:
        """Go on step by step."""
        self.wanted, self._function = False, None
        self.state.values["compiled"] = f"{NOT}, because {why}"
