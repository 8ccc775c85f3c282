"""Trainings that diverge: where the first number that is not finite came from, and the way back to weights that were good."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from netwright.core.errors import TrainingError
from netwright.data.batch import Batch
from netwright.train.checkpoint import restore, taken
from netwright.train.state import State
from netwright.train.weights import Weights

RETURNS = 2
"""Times that a training may go back before it is given up."""
EVERY = 1000
"""Steps after which good weights are remembered within a long epoch."""


class NotFinite(TrainingError):
    """The loss or the gradient of a step is not finite.

    Args:
        step: from 0. loss, norm: of that step. where: the layer, in words; empty where it could not be found.
    """

    def __init__(self, step: int, loss: float, norm: float, where: str) -> None:
        self.step, self.where = step, where
        name, value = ("gradient", norm) if math.isfinite(loss) else ("loss", loss)
        super().__init__(f"the {name} became {value} at step {step}" + (f", first in {where}" if where else ""))


class Diverged(TrainingError):
    """A training that is given up after going back often enough.

    Args:
        state: of it, with the best weights until then.
    """

    def __init__(self, message: str, state: State) -> None:
        self.state = state
        super().__init__(message)


class Retreat:
    """Remembers good weights, and goes back to them with half of the learning rate.

    Going back is part of the state: `state.values["returns"]` holds step, place and message of each time. So are the good weights,
    under "good/" among its tensors and values: a training that was resumed goes back to where it would have gone back to without.
    """

    def __init__(self, state: State) -> None:
        self.state = state

    @property
    def factor(self) -> float:
        """What the learning rate is multiplied with by now."""
        return float(0.5 ** len(self.state.values.get("returns", ())))

    def begin(self) -> None:
        """Remember the state at the beginning of an epoch; a resume within one brings its good weights along."""
        if "good" not in self.state.values:
            self.remember()

    def remember(self) -> None:
        """The present state is good: it can be returned to."""
        self.forget()
        tensors, values = taken(self.state)
        good = {f"good/{name}": tensor.detach().clone() for name, tensor in tensors.items()}
        self.state.values["good"] = copy.deepcopy(values)
        self.state.tensors |= good

    def forget(self) -> None:
        """There is nothing to return to: an epoch has ended."""
        self.state.values.pop("good", None)
        self.state.tensors = {
            name: tensor for name, tensor in self.state.tensors.items() if not name.startswith("good/")
        }

    def back(self, error: NotFinite) -> None:
        """Return.

        Raises:
            Diverged: it has returned often enough. TrainingError: an input is infinite.
        """
        s, rate = self.state, self.state.settings.learning_rate
        returns = [*s.values.get("returns", []), [error.step, error.where, str(error)]]
        if error.where.startswith("the input"):
            raise TrainingError(f"{error}; replace infinite values, or leave out the rows that hold them") from error
        if len(returns) > RETURNS:
            raise Diverged(
                f"{error}; lower the learning rate ({rate:g}; half and a fourth of it did not help) "
                "or look for huge values among the inputs",
                s,
            ) from error
        self.rewind()
        s.values["returns"] = returns

    def rewind(self) -> None:
        """Return without a smaller rate."""
        s = self.state
        good, values, returns = s.group("good"), s.values["good"], s.values.get("returns", [])
        for optimizer in s.optimizers.values():
            optimizer.state.clear()
        restore(s, {name: tensor.clone() for name, tensor in good.items()}, copy.deepcopy(values))
        s.values["returns"] = returns


def returns_of(state: State) -> str:
    """In words, how often a training went back and why; empty where it did not."""
    returns = state.values.get("returns", [])
    return "; ".join(
        f"{what}: gone back, and on with {0.5**k:g} of the rate" for k, (_, _, what) in enumerate(returns, 1)
    )


def first_not_finite(net: nn.Module, parts: Sequence[Batch], again: Sequence[Callable[[], Tensor]]) -> str:
    """The place of the first number that is not finite, in words, found by doing the step again.

    Args:
        parts: of the step's batch. again: for each the prices of its rows, as in training.
    """
    found: list[str] = []

    def look(name: str, layer: nn.Module, inputs: Any, output: Any) -> None:
        if not found and any(not bool(t.isfinite().all()) for t in _tensors(output)):
            found.append(f"the output of {name} ({type(layer).__name__})")

    names = {name: layer for name, layer in net.named_modules() if name and not any(True for _ in layer.children())}
    hooks = [layer.register_forward_hook(partial(look, name)) for name, layer in names.items()]
    try:
        net.zero_grad(set_to_none=False)
        for part, price in zip(parts, again, strict=True):
            with torch.enable_grad():
                values = price()
            if not bool(values.isfinite().all()):
                bad = [name for name, tensor in part.x.items() if bool(tensor.isinf().any())]
                where = found[0] if found else "the loss"
                return f"the input {bad[0]!r}, which holds infinity, then in {where}" if bad else where
            values.mean().backward()  # type: ignore[no-untyped-call]
    finally:
        for hook in hooks:
            hook.remove()
    wrong = [name for name, p in net.named_parameters() if p.grad is not None and not bool(p.grad.isfinite().all())]
    return f"the gradient of {wrong[-1]}" if wrong else ""


def _tensors(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    if isinstance(output, Mapping):
        output = list(output.values())
    return [t for one in output for t in _tensors(one)] if isinstance(output, list | tuple) else []


def stop_diverged(
    state: State, weights: Weights, losses: Sequence[float], norms: Sequence[float], where: Callable[[int], str]
) -> list[float]:
    """Stop the members of a stack whose loss or gradient is not finite; the norms that are left.

    Args:
        where: finds the place of the first such number in a member, in words.
    """
    kept = list(norms)
    for k, (loss, norm) in enumerate(zip(losses, norms, strict=True)):
        if not math.isfinite(loss + norm):
            if str(k) not in state.stopped:
                state.stop_member(k, str(NotFinite(state.step, loss, norm, where(k))))
            weights.silence(k)
            kept[k] = 0.0
    return kept
