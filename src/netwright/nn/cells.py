"""One step of torch's recurrent layers as functions that show their gates, and layers of torch's own that can show them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from netwright.nn.lengths import backwards, inside

State = tuple[Tensor, ...]
"""What a cell remembers: its output first, (N, hidden) each."""
Gates = Mapping[str, Tensor]
Cell = Callable[[Tensor, State, Callable[[Tensor], Tensor]], tuple[State, Gates]]
"""(the step's input through its weights, state, the map of the state through the recurrent weights) -> next state, gates."""


def gru(now: Tensor, state: State, recur: Callable[[Tensor], Tensor]) -> tuple[State, Gates]:
    """r = s(a_r + U_r h), z = s(a_z + U_z h), n = tanh(a_n + r (U_n h)), h' = (1 - z) n + z h.

    Source: Cho et al. (2014), with the reset gate behind the product, as torch has it.
    """
    r_in, z_in, n_in = now.chunk(3, -1)
    r_state, z_state, n_state = recur(state[0]).chunk(3, -1)
    z = (z_in + z_state).sigmoid()
    r = (r_in + r_state).sigmoid()
    n = (n_in + r * n_state).tanh()
    h = n + z * (state[0] - n)
    return (h,), {"reset": r, "update": z, "candidate": n, "state": h}


def lstm(now: Tensor, state: State, recur: Callable[[Tensor], Tensor]) -> tuple[State, Gates]:
    """i, f, o = s(a + U h), g = tanh(a_g + U_g h), c' = f c + i g, h' = o tanh(c').

    Source: Hochreiter and Schmidhuber (1997); the forget gate: Gers, Schmidhuber and Cummins (2000).
    """
    a_i, a_f, a_g, a_o = (now + recur(state[0])).chunk(4, -1)
    i, f, g, o = a_i.sigmoid(), a_f.sigmoid(), a_g.tanh(), a_o.sigmoid()
    c = f * state[1] + i * g
    h = o * c.tanh()
    return (h, c), {"input": i, "forget": f, "candidate": g, "output": o, "cell": c, "state": h}


def elman_tanh(now: Tensor, state: State, recur: Callable[[Tensor], Tensor]) -> tuple[State, Gates]:
    """h' = tanh(a + U h). Source: Elman (1990)."""
    h = (now + recur(state[0])).tanh()
    return (h,), {"state": h}


def elman_relu(now: Tensor, state: State, recur: Callable[[Tensor], Tensor]) -> tuple[State, Gates]:
    """h' = relu(a + U h). Source: Elman (1990); with rectified units: Le, Jaitly and Hinton (2015)."""
    h = (now + recur(state[0])).relu()
    return (h,), {"state": h}


CELLS: Mapping[str, Cell] = {"GRU": gru, "LSTM": lstm, "RNN_TANH": elman_tanh, "RNN_RELU": elman_relu}
"""By torch's name of the mode."""


def stepped(
    layer: nn.RNNBase, x: Tensor, state: State | None = None, suffix: str = "l0", keep: Tensor | None = None
) -> Iterator[tuple[State, Gates]]:
    """State and gates after each step of one layer in one direction.

    Args:
        layer: of torch, or of this module. x: (N, T, n_in), whatever the layer's own order is.
        state: to begin with, each (N, hidden); None for zeros.
        suffix: of the layer and direction in torch's names of weights.
        keep: (N, hidden), by which the state is multiplied wherever it enters the recurrent weights; None for 1.
    """
    w_in, w_state = (getattr(layer, f"weight_{kind}_{suffix}") for kind in ("ih", "hh"))
    b_in, b_state = (getattr(layer, f"bias_{kind}_{suffix}", None) for kind in ("ih", "hh"))
    cell: Cell = CELLS[layer.mode]

    def recur(h: Tensor) -> Tensor:
        return linear(h if keep is None else h * keep, w_state, b_state)

    if state is None:
        state = (x.new_zeros(len(x), layer.hidden_size),) * (2 if layer.mode == "LSTM" else 1)
    for now in linear(x, w_in, b_in).unbind(1):
        state, gates = cell(now, state, recur)
        yield state, gates


def gates_of(layer: nn.RNNBase, x: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
    """What the gates of a recurrent layer were at each step, (N, T, hidden) each; zero behind the end of a sequence.

    The names are those of the gate and, as in torch's names of weights, of layer and direction: "update_l0",
    "forget_l1_reverse". An Elman layer has no gates and shows its "state"; a GRU has "reset", "update", "candidate", "state"; an
    LSTM "input", "forget", "candidate", "output", "cell", "state".

    Args:
        layer: of torch or of this module. x: (N, T, n_in) where it is `batch_first`, else (T, N, n_in).
        lengths: (N,); None where all sequences have T steps. A backward direction begins at each sequence's own end.

    >>> sorted(gates_of(nn.GRU(3, 4), torch.zeros(5, 2, 3)))
    ['candidate_l0', 'reset_l0', 'state_l0', 'update_l0']
    """
    rows = x if layer.batch_first else x.transpose(0, 1)
    there = None if lengths is None else inside(lengths, rows.shape[1]).unsqueeze(-1)
    shown: dict[str, Tensor] = {}
    for number in range(layer.num_layers):
        outputs = []
        for way in ("", "_reverse") if layer.bidirectional else ("",):
            suffix = f"l{number}{way}"
            turned = backwards(rows, lengths) if way else rows
            seen = [gates for _, gates in stepped(layer, turned, suffix=suffix)]
            for name in seen[0]:
                whole = torch.stack([gates[name] for gates in seen], 1)
                whole = backwards(whole, lengths) if way else whole
                shown[f"{name}_{suffix}"] = whole if there is None else whole * there
            outputs.append(shown[f"state_{suffix}"])
        rows = torch.cat(outputs, -1)
    return shown


class Elman(nn.RNN):
    """torch's plain recurrent layer, h_t = tanh(W x_t + b + U h_(t-1) + c), that can show its states.

    Called as `nn.RNN` (nonlinearity "tanh" or "relu"), with its fused kernels and its names of weights.

    Source: Elman (1990), "Finding Structure in Time".

    >>> layer = Elman(3, 4, batch_first=True)
    >>> x = torch.randn(2, 5, 3)
    >>> bool(torch.allclose(layer.gates(x)["state_l0"], layer(x)[0], atol=1e-6))
    True
    """

    def gates(self, x: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        """Its states at each step by name; see `gates_of`."""
        return gates_of(self, x, lengths)


class GRU(nn.GRU):
    """torch's gated recurrent unit that can show its gates.

    Called as `nn.GRU`, with its fused kernels and its names of weights.

    Source: Cho et al. (2014), "Learning Phrase Representations using RNN Encoder-Decoder".

    >>> gates = GRU(3, 4, batch_first=True).gates(torch.randn(2, 5, 3))
    >>> gates["update_l0"].shape, bool((gates["update_l0"] > 0).all())
    (torch.Size([2, 5, 4]), True)
    """

    def gates(self, x: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        """Its gates at each step by name; see `gates_of`."""
        return gates_of(self, x, lengths)


class LSTM(nn.LSTM):
    """torch's long short-term memory that can show its gates, and whose forget gates start open (a bias of 1).

    Called as `nn.LSTM`, with its fused kernels and its names of weights.

    Source: Hochreiter and Schmidhuber (1997); the bias: Gers, Schmidhuber and Cummins (2000), Jozefowicz, Zaremba and Sutskever (2015).

    >>> sorted(LSTM(3, 4, batch_first=True).gates(torch.randn(2, 5, 3)))
    ['candidate_l0', 'cell_l0', 'forget_l0', 'input_l0', 'output_l0', 'state_l0']
    """

    def reset_parameters(self) -> None:
        """Draw the weights again."""
        super().reset_parameters()
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.startswith("bias_"):
                    forget = parameter[self.hidden_size : 2 * self.hidden_size]
                    forget.fill_(float(name.startswith("bias_ih")))

    def gates(self, x: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        """Its gates at each step by name; see `gates_of`."""
        return gates_of(self, x, lengths)
