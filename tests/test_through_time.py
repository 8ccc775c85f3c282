"""The gradient over time: equal to automatic differentiation step by step, and to the closed form of a linear chain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import netwright as nw
from netwright.core.errors import UsageError
from netwright.data.series import column_of_series
from netwright.explain.through_time import gradient_paths
from netwright.nn.recurrent import RecurrentVector


class Last(nn.Module):
    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        last: Tensor = self.layer(x)[0][:, -1]
        return last


def inputs(steps: int = 12) -> Tensor:
    return torch.randn(3, steps, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_norms_are_those_of_automatic_differentiation_cell_by_cell(kind: Any) -> None:
    torch.manual_seed(0)
    layer = kind(2, 4, batch_first=True)
    (path,) = gradient_paths(Last(layer), inputs(), loss=lambda outputs: outputs.sum())
    cell = {nn.RNN: nn.RNNCell, nn.GRU: nn.GRUCell, nn.LSTM: nn.LSTMCell}[kind](2, 4)
    cell.load_state_dict({name.removesuffix("_l0"): p for name, p in layer.state_dict().items()})
    state: Any = None
    states, cells = [], []
    for now in inputs().unbind(1):
        state = cell(now, state)
        h = state[0] if kind is nn.LSTM else state
        h.retain_grad()
        states.append(h)
        if kind is nn.LSTM:
            state[1].retain_grad()
            cells.append(state[1])
    states[-1].sum().backward()
    wanted = np.array([h.grad.norm(dim=-1).numpy() for h in states])
    np.testing.assert_allclose(path.norms, wanted, rtol=1e-4, atol=1e-9)
    assert (path.cell_norms is None) == (kind is not nn.LSTM)
    if path.cell_norms is not None:
        np.testing.assert_allclose(path.cell_norms, [c.grad.norm(dim=-1).numpy() for c in cells], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(("factor", "verdict"), [(0.3, "warn"), (0.99, "info"), (3.0, "warn")])
def test_the_product_of_a_chain_vanishes_stays_or_explodes_with_its_weight(factor: float, verdict: str) -> None:
    layer = nn.RNN(1, 1, batch_first=True, bias=False, nonlinearity="relu")
    layer.weight_hh_l0.data.fill_(factor)
    layer.weight_ih_l0.data.fill_(1.0)
    x = torch.ones(2, 15, 1)
    (path,) = gradient_paths(Last(layer), x, loss=lambda outputs: outputs.sum())
    np.testing.assert_allclose(path.norms[:, 0], factor ** np.arange(14, -1, -1.0), rtol=1e-5)
    assert path.per_step == pytest.approx(factor, rel=1e-5)
    assert path.radius == pytest.approx(factor)
    found = nw.gradient_over_time(Last(layer), x, loss=lambda outputs: outputs.sum())
    assert found.verdict == verdict and bool(found.todo) == (verdict == "warn")
    assert found.measured["first_over_last layer"] == pytest.approx(factor**14, rel=1e-4)


def test_every_layer_and_direction_has_a_path_and_the_module_is_left_as_it_was() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(2, 3, num_layers=2, bidirectional=True, batch_first=True)
            self.trunk = RecurrentVector(6, 4, cell="elman", depth=2)

        def forward(self, x: Mapping[str, Tensor]) -> Tensor:
            y: Tensor = self.trunk(self.gru(x["x"])[0])
            return y

    net = Net()
    names = [path.name for path in gradient_paths(net, {"x": inputs()})]
    assert names == [
        "gru l0",
        "gru l0 backwards",
        "gru l1",
        "gru l1 backwards",
        "trunk.body.layers.0.0",
        "trunk.body.layers.1.0",
    ]
    assert type(net.gru) is nn.GRU and all(p.grad is None for p in net.parameters())


def test_it_asks_a_model_with_raw_rows_and_targets() -> None:
    rows = [np.sin(np.arange(n) / 3) for n in range(8, 48)]
    frame, y = pl.DataFrame([column_of_series(rows, "wave")]), ["short" if len(row) < 28 else "long" for row in rows]
    net = nw.Classifier(template="recurrent", options={"width": 4}, epochs=1, random_state=0).fit(frame, y)
    found = nw.gradient_over_time(net.model_, frame, y)
    assert len(found.figures[0].series) == 2 and len(found.figures[0].series[0].x) == 47
    assert all(np.isfinite(v) for v in found.measured.values())  # type: ignore[arg-type]


def test_networks_without_a_way_back_and_packed_sequences_are_refused() -> None:
    class Packed(Last):
        def forward(self, x: Tensor) -> Tensor:
            _, last = self.layer(pack_padded_sequence(x, torch.tensor([3, 2, 2]), batch_first=True))
            return last[0]  # type: ignore[no-any-return]

    with pytest.raises(UsageError, match="no recurrent layer"):
        nw.gradient_over_time(nn.Linear(2, 2), torch.zeros(1, 2))
    with pytest.raises(UsageError, match="packed"):
        nw.gradient_over_time(Packed(nn.GRU(2, 3, batch_first=True)), inputs())
    with pytest.raises(UsageError, match="give loss="):
        nw.gradient_over_time(Last(nn.GRU(2, 3, batch_first=True)), inputs(), [1, 2, 3])
