"""Recurrent networks over padded sequences: stacked, in one or two directions, with connections that jump levels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from netwright.core.errors import UsageError, unknown
from netwright.nn.cells import GRU, LSTM, Elman, gates_of, stepped
from netwright.nn.lengths import at_last, backwards, inside

LAYERS: dict[str, Callable[[int, int], nn.RNNBase]] = {
    "gru": partial(GRU, batch_first=True),
    "lstm": partial(LSTM, batch_first=True),
    "elman": partial(Elman, batch_first=True),
    "elman-relu": partial(Elman, batch_first=True, nonlinearity="relu"),
}
POOLS = ("last", "mean", "max")
LayerState = Tensor | tuple[Tensor, Tensor]
"""The last state of a layer in one direction, as torch gives it: (1, N, width), of an LSTM two of them."""


class Recurrent(nn.Module):
    """Layers of recurrent cells, one on the other: sequences of vectors -> sequences of vectors.

    Layer l reads the outputs of layer l - 1; with `skip` the inputs and the outputs of all layers below, and all layers together
    are the output. Steps behind a sequence's length have no effect, in either direction, and give zeros.

    Shapes: x (N, T, n_in) and lengths (N,), at least 1 -> (N, T, n_out) and the last states; n_out = width * directions, times depth
    with `skip`.

    Args:
        n_in: size of a step's vector. width: units of each layer and direction.
        cell: "gru", "lstm", "elman" (tanh) or "elman-relu". depth: layers.
        directions: 1, or 2 to read each sequence backwards too, from its own end.
        dropout: rate, in training only: between layers, new for each step.
        variational: one mask a sequence, the same at all its steps, on the inputs of each layer and on its state as it enters
            the recurrent weights. Steps are then computed one by one, which torch's fused layers are faster than.
        skip: level-jumping connections. residual: add what a layer reads to what it gives, from the second layer on.
        truncate: in training, gradients do not flow back over more than the steps of a piece of this length: the state goes on
            from piece to piece, detached. 0 for none.

    Raises:
        UsageError: an option is out of range.

    Source: Elman (1990); Hochreiter and Schmidhuber (1997); Cho et al. (2014); two directions: Schuster and Paliwal (1997);
    `skip`: Graves (2013); `variational`: Gal and Ghahramani (2016); `truncate`: Williams and Peng (1990), with pieces that do not
    overlap.

    >>> net = Recurrent(3, 8, depth=2, directions=2).eval()
    >>> x = torch.randn(2, 5, 3)
    >>> outputs, _ = net(x, torch.tensor([5, 2]))
    >>> outputs.shape, bool(torch.allclose(outputs[1:, :2], net(x[1:, :2])[0], atol=1e-6))
    (torch.Size([2, 5, 16]), True)
    """

    def __init__(
        self,
        n_in: int,
        width: int,
        *,
        cell: str = "gru",
        depth: int = 1,
        directions: int = 1,
        dropout: float = 0.0,
        variational: bool = False,
        skip: bool = False,
        residual: bool = False,
        truncate: int = 0,
    ) -> None:
        super().__init__()
        if cell not in LAYERS:
            raise UsageError(unknown("cell", cell, LAYERS))
        for name, value, least, most in (("depth", depth, 1, 64), ("directions", directions, 1, 2)):
            if not least <= value <= most:
                raise UsageError(f"{name} is {value}; expected {least} to {most}")
        if truncate < 0:
            raise UsageError(f"truncate is {truncate}; expected a number of steps, or 0 for none")
        self.variational, self.skip, self.residual, self.truncate = variational, skip, residual, truncate
        self.directions, self.width = directions, width
        of_layer = width * directions
        sizes = [n_in + k * of_layer if skip or not k else of_layer for k in range(depth)]
        self.layers = nn.ModuleList(
            nn.ModuleList(LAYERS[cell](size, width) for _ in range(directions)) for size in sizes
        )
        self.input_drops = nn.ModuleList(nn.Dropout(dropout if variational or k else 0.0) for k in range(depth))
        self.state_drops = nn.ModuleList(
            nn.ModuleList(nn.Dropout(dropout) for _ in range(directions if variational else 0)) for _ in range(depth)
        )
        self.n_out = of_layer * (depth if skip else 1)

    def forward(
        self, x: Tensor, lengths: Tensor | None = None, state: Sequence[LayerState] | None = None
    ) -> tuple[Tensor, list[LayerState]]:
        """Outputs (N, T, n_out), and the states after step T, layer by layer and direction by direction.

        Args:
            lengths: None where all sequences have T steps.
            state: to begin with, as an earlier piece of the same sequences left it; one direction only.
        """
        if state is not None and self.directions == 2:
            raise UsageError("a state to begin with goes with one direction only: the other one begins at the end")
        ended: list[LayerState] = []

        def run(number: int, way: int, rows: Tensor) -> Tensor:
            before = None if state is None else state[number]
            outputs, after = self._pass(number, way, rows, before)
            ended.append(after)
            return outputs

        return self._through(x, lengths, run), ended

    def gates(self, x: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        """What each gate was at each step, (N, T, width) by name, without dropout; see `netwright.nn.cells.gates_of`."""
        shown: dict[str, Tensor] = {}

        def run(number: int, way: int, rows: Tensor) -> Tensor:
            seen = gates_of(self._layer(number, way), rows)
            there = None if lengths is None else inside(lengths, rows.shape[1]).unsqueeze(-1)
            for name, gate in seen.items():
                whole = backwards(gate, lengths) if way else gate
                key = name.removesuffix("_l0") + f"_l{number}" + "_reverse" * way
                shown[key] = whole if there is None else whole * there
            return seen["state_l0"]

        was_training = self.training
        self.eval()
        try:
            self._through(x, lengths, run)
        finally:
            self.train(was_training)
        return shown

    def _layer(self, number: int, way: int) -> nn.RNNBase:
        layer: nn.RNNBase = self.layers[number][way]  # type: ignore[index]
        return layer

    def _through(self, x: Tensor, lengths: Tensor | None, run: Callable[[int, int, Tensor], Tensor]) -> Tensor:
        """The levels one after the other; `run` is a layer in one direction, which always reads from the front."""
        there = None if lengths is None else inside(lengths, x.shape[1]).unsqueeze(-1)
        seen = [x if there is None else torch.where(there, x, 0.0)]
        for number in range(len(self.layers)):
            given = torch.cat(seen, -1) if self.skip else seen[-1]
            read = self._dropped(number, given)
            outputs = []
            for way in range(self.directions):
                one = run(number, way, backwards(read, lengths) if way else read)
                outputs.append(backwards(one, lengths) if way else one)
            level = torch.cat(outputs, -1) if len(outputs) > 1 else outputs[0]
            seen.append(level + seen[-1] if self.residual and number else level)
        outcome = torch.cat(seen[1:], -1) if self.skip and len(seen) > 2 else seen[-1]
        return outcome if there is None else outcome * there

    def _dropped(self, number: int, x: Tensor) -> Tensor:
        drop = self.input_drops[number]
        if not self.variational:
            dropped: Tensor = drop(x)
            return dropped
        return x * drop(x.new_ones(len(x), x.shape[2])).unsqueeze(1) if self.training else x

    def _pass(self, number: int, way: int, x: Tensor, state: LayerState | None) -> tuple[Tensor, LayerState]:
        """One layer in one direction, in pieces where the gradient is to be truncated."""
        layer, keep = self._layer(number, way), None
        if self.variational and self.training:
            keep = self.state_drops[number][way](x.new_ones(len(x), self.width))  # type: ignore[index]
        outputs: list[Tensor] = []
        for piece in torch.split(x, self.truncate, 1) if self.truncate and self.training else (x,):
            if outputs and state is not None:
                state = state.detach() if isinstance(state, Tensor) else (state[0].detach(), state[1].detach())
            one, state = layer(piece, state) if keep is None else _masked(layer, piece, state, keep)
            outputs.append(one)
        assert state is not None
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1), state


def _masked(layer: nn.RNNBase, x: Tensor, state: LayerState | None, keep: Tensor) -> tuple[Tensor, LayerState]:
    """A layer whose state is multiplied by `keep` before it enters the recurrent weights."""
    given = (state,) if isinstance(state, Tensor) else state
    begin = None if given is None else tuple(part.squeeze(0) for part in given)
    states = [now for now, _ in stepped(layer, x, begin, keep=keep)]
    last = [part.unsqueeze(0) for part in states[-1]]
    return torch.stack([now[0] for now in states], 1), last[0] if len(last) == 1 else (last[0], last[1])


class RecurrentVector(nn.Module):
    """`Recurrent`, and one vector of each sequence's outputs: the last, the mean or the maximum.

    "last" is the output after a sequence's own last step, of the backward direction after its first.

    Shapes: x (N, T, n_in) and lengths (N,) -> (N, n_out).

    Args:
        pool: "last", "mean" or "max". options: of `Recurrent`.

    Raises:
        UsageError: an option is out of range.

    Source: Elman (1990); pooling over the steps: Lai et al. (2015).

    >>> RecurrentVector(3, 8, pool="mean")(torch.zeros(2, 5, 3), torch.tensor([5, 2])).shape
    torch.Size([2, 8])
    """

    def __init__(self, n_in: int, width: int, *, pool: str = "last", **options: Any) -> None:
        super().__init__()
        if pool not in POOLS:
            raise UsageError(unknown("pool", pool, POOLS))
        self.pool, self.body = pool, Recurrent(n_in, width, **options)
        self.n_out = self.body.n_out

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Vectors (N, n_out)."""
        outputs: Tensor = self.body(x, lengths)[0]
        if self.pool == "mean":
            total = outputs.sum(1)
            return total / outputs.shape[1] if lengths is None else total / lengths.unsqueeze(-1)
        if self.pool == "max":
            if lengths is not None:
                outputs = outputs.masked_fill(~inside(lengths, outputs.shape[1]).unsqueeze(-1), -torch.inf)
            return outputs.amax(1)
        last = at_last(outputs, lengths)
        if self.body.directions == 1:
            return last
        ways = (
            x.shape[0],
            -1,
            self.body.directions,
            self.body.width,
        )  # len() would fix the number of rows in an export
        ends = torch.cat([last.reshape(ways)[:, :, :1], outputs[:, 0].reshape(ways)[:, :, 1:]], 2)
        return ends.flatten(1)

    def gates(self, x: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        """What each gate was at each step, (N, T, width) by name; see `netwright.nn.cells.gates_of`."""
        return self.body.gates(x, lengths)
