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
from netwright.explain.entries import EXPLANATIONS
from netwright.explain.through_time import gradient_paths, through_time
from netwright.model import Subject
from netwright.nn.recurrent import RecurrentVector
from netwright.workflow.probing import ask, load_subject


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


# Asked as an explanation.


def waves(n: int = 60, cell: str = "gru", **options: Any) -> Subject:
    """A recurrent network, trained for a moment on series of unequal lengths, which are its rows."""
    rng = np.random.default_rng(0)
    rows = [
        np.sin(np.arange(length) / 3 + rng.uniform(0, 6)) + k % 2 for k, length in enumerate(rng.integers(6, 20, n))
    ]
    frame = pl.DataFrame([column_of_series(rows, "wave")])
    options = {"width": 4, "cell": cell, **options}
    net = nw.Classifier(template="recurrent", options=options, epochs=1, random_state=0)
    y = [("low", "high")[k % 2] for k in range(n)]
    return load_subject(net.fit(frame, y), frame, y)


@pytest.mark.parametrize("directions", [1, 2])
def test_rows_end_together_and_padding_has_no_part_in_the_mean(directions: int) -> None:
    subject = waves(directions=directions)
    model, batch = subject.need("model"), subject.need("data").block("test").take(torch.arange(9))
    assert batch.y is not None
    y, lengths = batch.y, batch.x["wave:length"].tolist()
    paths = gradient_paths(model, batch.x, loss=lambda outputs: model.loss.values(outputs, y).sum())
    assert len(paths) == directions and len(set(lengths)) > 3
    alone = []
    for i in range(9):
        one, at = {name: tensor[i : i + 1] for name, tensor in batch.x.items()}, y[i : i + 1]
        alone.append(gradient_paths(model, one, loss=lambda out, at=at: model.loss.values(out, at).sum()))  # type: ignore[misc]
    for k, path in enumerate(paths):
        steps = [[row[k].norms[-back, 0] for row in alone if len(row[k].norms) >= back] for back in range(1, 20)]
        wanted = [np.mean(norms) for norms in steps if norms][::-1]
        np.testing.assert_allclose(path.means, wanted, rtol=1e-3, atol=1e-9)


def test_the_command_line_s_explanation_is_the_gradient_of_the_models_own_loss_on_test_rows() -> None:
    subject = waves(n=40)
    found = ask(EXPLANATIONS["gradient-over-time"], "explain", subject, budget_seconds=60, seed=0)
    model, test = subject.need("model"), subject.need("data").block("test")
    assert test.y is not None
    y = test.y
    paths = gradient_paths(model, test.x, loss=lambda outputs: model.loss.values(outputs, y).sum())
    assert [s.name for s in found.figures[0].series] == ["layer 1", "layer 1 backwards"]
    for path, line in zip(paths, found.figures[0].series, strict=True):
        np.testing.assert_allclose(np.array(line.y, dtype=float), path.means, rtol=1e-4)
    assert "mean over 40 rows" in found.title and "end together" in found.figures[0].caption
    short = through_time(subject, budget_seconds=0.0, seed=0)
    assert "out of time after 8 of 40 rows" in short.title


def test_a_network_that_is_not_recurrent_or_packs_its_rows_is_said_to_be_so() -> None:
    class PackedNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(2, 3, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            _, last = self.gru(pack_padded_sequence(x, torch.full((len(x),), 12), batch_first=True))
            return last[0]  # type: ignore[no-any-return]

    x, y = torch.randn(30, 12, 2), torch.arange(30) % 3
    for net, words in ((nn.Sequential(nn.Flatten(), nn.Linear(24, 3)), "no recurrent layer"), (PackedNet(), "packed")):
        subject = load_subject(net, x, y, loss="cross-entropy")
        found = through_time(subject, budget_seconds=5, seed=0)
        assert found.verdict == "info" and found.title.startswith("not applicable") and words in found.title
