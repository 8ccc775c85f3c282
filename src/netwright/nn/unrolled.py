"""Recurrent layers of torch step by step: the same numbers from the same weights, of operations that run for many networks at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from netwright.nn.cells import GRU, LSTM, Elman, State, stepped

_FUSED = (nn.RNN, nn.GRU, nn.LSTM, Elman, GRU, LSTM)


class Unrolled(nn.RNNBase):
    """A recurrent layer of torch, its steps a loop; called as `layer(x, state)` with padded tensors, not with packed sequences,
    and without the dropout between layers. Where it has a `record`, the states of all steps are kept there by layer and direction.

    Shapes: x (N, T, n_in) where `batch_first`, else (T, N, n_in) -> the outputs, (N, T, D * hidden), and the last state.

    Source: Elman (1990) for the plain cell, Hochreiter and Schmidhuber (1997) for the LSTM, Cho et al. (2014) for the GRU.
    """

    def forward(self, x: Tensor, state: Tensor | State | None = None) -> tuple[Tensor, Tensor | State]:
        """Outputs and last state, as torch's layer gives them."""
        rows = x if self.batch_first else x.transpose(0, 1)
        given = (state,) if isinstance(state, Tensor) else state
        ended: list[State] = []
        for layer in range(self.num_layers):
            outputs = []
            for way in ("", "_reverse") if self.bidirectional else ("",):
                begin = None if given is None else tuple(part[len(ended)] for part in given)
                states = [now for now, _ in stepped(self, rows.flip(1) if way else rows, begin, f"l{layer}{way}")]
                if (record := getattr(self, "record", None)) is not None:
                    record.setdefault(f"l{layer}{way}", []).extend(states)
                one = torch.stack([now[0] for now in states], 1)
                outputs.append(one.flip(1) if way else one)
                ended.append(states[-1])
            rows = torch.cat(outputs, -1)
        last = tuple(torch.stack(part) for part in zip(*ended, strict=True))
        return rows if self.batch_first else rows.transpose(0, 1), last if self.mode == "LSTM" else last[0]


@contextmanager
def unrolled(net: nn.Module) -> Iterator[None]:
    """Within it the network's recurrent layers, those of torch and of `nn.cells`, are unrolled; afterwards they are what they were."""
    changed = [(layer, type(layer)) for layer in net.modules() if type(layer) in _FUSED]
    for layer, _ in changed:
        layer.__class__ = Unrolled
    try:
        yield
    finally:
        for layer, kind in changed:
            layer.__class__ = kind


@contextmanager
def recorded(net: nn.Module) -> Iterator[dict[str, dict[str, list[State]]]]:
    """Within it recurrent layers are unrolled and keep their states: by the layer's name in the network, then by layer and direction
    ("l0", "l0_reverse"), a list with one state a step in the order in which the layer read.

    >>> net = nn.GRU(2, 3, batch_first=True)
    >>> with recorded(net) as states:
    ...     outputs, _ = net(torch.zeros(4, 5, 2))
    >>> len(states[""]["l0"]), bool((states[""]["l0"][-1][0] == outputs[:, -1]).all())
    (5, True)
    """
    records: dict[str, dict[str, list[State]]] = {}
    with unrolled(net):
        layers = {name: layer for name, layer in net.named_modules() if isinstance(layer, Unrolled)}
        for name, layer in layers.items():
            layer.record = records[name] = {}
        try:
            yield records
        finally:
            for layer in layers.values():
                del layer.record
