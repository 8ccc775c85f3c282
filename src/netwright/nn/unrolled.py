"""Recurrent layers of torch step by step: the same numbers from the same weights, of operations that run for many networks at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

State = tuple[Tensor, ...]
_Cell = Callable[[Tensor, State, Tensor, Tensor | None], State]


class Unrolled(nn.RNNBase):
    """A recurrent layer of torch, its steps a loop; called as `layer(x, state)` with padded tensors, not with packed sequences,
    and without the dropout between layers.

    Shapes: x (N, T, n_in) where `batch_first`, else (T, N, n_in) -> the outputs, (N, T, D * hidden), and the last state.

    Source: Elman (1990) for the plain cell, Hochreiter and Schmidhuber (1997) for the LSTM, Cho et al. (2014) for the GRU.
    """

    def forward(self, x: Tensor, state: Tensor | State | None = None) -> tuple[Tensor, Tensor | State]:
        """Outputs and last state, as torch's layer gives them."""
        steps = x.transpose(0, 1) if self.batch_first else x
        ways, parts = 2 if self.bidirectional else 1, 2 if self.mode == "LSTM" else 1
        given = (state,) if isinstance(state, Tensor) else state
        ended: list[State] = []
        for layer in range(self.num_layers):
            outputs = []
            for way in range(ways):
                k = layer * ways + way
                zeros = steps.new_zeros(steps.shape[1], self.hidden_size)
                begin = tuple(part[k] for part in given) if given is not None else (zeros,) * parts
                one, last = self._pass(steps.flip(0) if way else steps, begin, layer, "_reverse" if way else "")
                outputs.append(one.flip(0) if way else one)
                ended.append(last)
            steps = torch.cat(outputs, -1)
        states = tuple(torch.stack([last[part] for last in ended]) for part in range(parts))
        return steps.transpose(0, 1) if self.batch_first else steps, states if parts == 2 else states[0]

    def _pass(self, steps: Tensor, state: State, layer: int, way: str) -> tuple[Tensor, State]:
        w_in, w_state = (getattr(self, f"weight_{kind}_l{layer}{way}") for kind in ("ih", "hh"))
        b_in, b_state = (getattr(self, f"bias_{kind}_l{layer}{way}", None) for kind in ("ih", "hh"))
        inputs, outputs = linear(steps, w_in, b_in), []
        cell: _Cell = _CELLS[self.mode]
        for now in inputs.unbind(0):
            state = cell(now, state, w_state, b_state)
            outputs.append(state[0])
        return torch.stack(outputs), state


def _gru(now: Tensor, state: State, weight: Tensor, bias: Tensor | None) -> State:
    r_in, z_in, n_in = now.chunk(3, -1)
    r_state, z_state, n_state = linear(state[0], weight, bias).chunk(3, -1)
    z = (z_in + z_state).sigmoid()
    n = (n_in + (r_in + r_state).sigmoid() * n_state).tanh()
    return (n + z * (state[0] - n),)


def _lstm(now: Tensor, state: State, weight: Tensor, bias: Tensor | None) -> State:
    i, f, g, o = (now + linear(state[0], weight, bias)).chunk(4, -1)
    cell = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell


def _tanh(now: Tensor, state: State, weight: Tensor, bias: Tensor | None) -> State:
    return ((now + linear(state[0], weight, bias)).tanh(),)


def _relu(now: Tensor, state: State, weight: Tensor, bias: Tensor | None) -> State:
    return ((now + linear(state[0], weight, bias)).relu(),)


_CELLS: dict[str, _Cell] = {"GRU": _gru, "LSTM": _lstm, "RNN_TANH": _tanh, "RNN_RELU": _relu}


@contextmanager
def unrolled(net: nn.Module) -> Iterator[None]:
    """Within it the network's recurrent layers, those of torch, are unrolled; afterwards they are what they were."""
    changed = [(layer, type(layer)) for layer in net.modules() if type(layer) in (nn.RNN, nn.GRU, nn.LSTM)]
    for layer, _ in changed:
        layer.__class__ = Unrolled
    try:
        yield
    finally:
        for layer, kind in changed:
            layer.__class__ = kind
