"""Averages of weights over a training, and which weights would be handed out now."""

from __future__ import annotations

import torch
from torch import Tensor

from netwright.train.hooks import Quiet
from netwright.train.schedules import cycle_ends
from netwright.train.stack import of_each, slot
from netwright.train.state import State


class Average(Quiet):
    """Exponential moving average of the weights, a <- decay * a + (1 - decay) * w after each step.

    The decay starts small, min(decay, (1 + step) / (10 + step)), so that early weights are forgotten. Running means and
    variances of batch norms are averaged alike: those of the present weights would not fit averaged ones.

    Source: Polyak and Juditsky (1992); in this form Tarvainen and Valpola (2017).
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._present: dict[str, Tensor] = {}

    def on_start(self, state: State) -> None:
        """Begin at the present weights, unless a checkpoint brought an average along."""
        self._present = {f"average/{k}": v for k, v in averaged(state.net).items()}
        if not state.group("average"):
            state.tensors |= {name: value.clone() for name, value in self._present.items()}

    @torch.no_grad()
    def on_step(self, state: State) -> None:
        """Move the average."""
        decay = min(self.decay, (1 + state.step) / (10 + state.step))
        torch._foreach_lerp_([state.tensors[name] for name in self._present], list(self._present.values()), 1 - decay)


class AverageEpochs(Quiet):
    """The mean of the weights at the end of each of the last quarter of the epochs, a <- a + (w - a) / n; of the running statistics
    of batch norms alike, where the original goes through the training rows once more.

    Source: Izmailov et al. (2018), "Averaging Weights Leads to Wider Optima and Better Generalization".
    """

    def __init__(self, epochs: int) -> None:
        self.first = epochs - epochs // 4

    def on_epoch(self, state: State) -> None:
        """Add the present weights; must come before the evaluation."""
        if state.epoch < self.first:
            return
        n = state.values["averaged"] = state.values.get("averaged", 0) + 1
        for name, value in averaged(state.net).items():
            mean = state.tensors.setdefault(f"average/{name}", value.clone())
            mean.lerp_(value, 1 / n)


class Snapshots(Quiet):
    """Remembers the weights at the end of each cycle of the schedule "multi-cycle", of a stack those of the members that have not
    stopped; their outputs are averaged later.

    Source: Huang et al. (2017), "Snapshot Ensembles: Train 1, Get M for Free".
    """

    def __init__(self, epochs: int, cycles: int) -> None:
        self.ends = cycle_ends(epochs, cycles)

    def on_epoch(self, state: State) -> None:
        """Remember, if a cycle ends."""
        if state.epoch in self.ends:
            number, each = self.ends.index(state.epoch), of_each(state.net, handed_out(state))
            for k in state.live:
                name = slot(state.net, f"snapshot-{number}", k)
                state.tensors |= {f"{name}/{n}": tensor.clone() for n, tensor in each[k].items()}


def averaged(net: torch.nn.Module) -> dict[str, Tensor]:
    """What an average is kept of, as it is now: parameters, and the running statistics of batch norms."""
    statistics = {
        f"{name}.{kind}".removeprefix("."): value
        for name, layer in net.named_modules()
        if isinstance(layer, torch.nn.modules.batchnorm._NormBase)
        for kind, value in (("running_mean", layer.running_mean), ("running_var", layer.running_var))
        if value is not None
    }
    return {**{k: p.detach() for k, p in net.named_parameters()}, **statistics}


def current_weights(state: State) -> dict[str, Tensor]:
    """The weights that would be handed out now: the average where one is kept (with its running statistics), else the
    network's."""
    return state.group("average") or {k: p.detach() for k, p in state.net.named_parameters()}


def handed_out(state: State) -> dict[str, Tensor]:
    """`current_weights`, and the buffers that belong to them."""
    return {**dict(state.net.named_buffers()), **current_weights(state)}


@torch.no_grad()
def set_weights(net: torch.nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy named parameters and buffers into a network (unlike `load_state_dict`, also shared and unsaved ones)."""
    own = {**dict(net.named_buffers()), **dict(net.named_parameters())}
    for name, tensor in weights.items():
        own[name].copy_(tensor)
