"""The gates of recurrent networks as an explanation: equal to the cell's formula step by step, for each row as it is alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import netwright as nw
from commandline import call
from netwright.core.finding import Finding
from netwright.explain.entries import EXPLANATIONS
from netwright.explain.gates import MOST_UNITS, SHOWN, opened
from netwright.model import Subject
from netwright.workflow.probing import ask, fitting, load_subject
from test_through_time import waves


def asked(subject: Subject) -> Finding:
    return ask(EXPLANATIONS["gates"], "explain", subject, budget_seconds=9, seed=0)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_gates_are_those_of_each_row_alone_in_both_directions(cell: str) -> None:
    subject = waves(cell=cell)
    net, batch = subject.need("model").module, subject.need("data").block("test").take(torch.arange(6))
    (whole,) = opened(net, batch.x, net)
    assert whole.suffixes == ["l0", "l0_reverse"]
    for i, n in enumerate(batch.x["wave:length"].tolist()):
        one = {name: tensor[i : i + 1] for name, tensor in batch.x.items()}
        (alone,) = opened(net, one, net)
        for name, values in whole.gates.items():
            assert alone.gates[name].shape[1] == n
            np.testing.assert_allclose(values[i, :n], alone.gates[name][0], atol=1e-5)
    assert len(whole.there(f"{SHOWN[whole.mode][0]}_l0")) == int(batch.x["wave:length"].sum())


@pytest.mark.parametrize("packed", [False, True])
def test_gates_of_a_layer_of_torch_are_those_of_the_formula(packed: bool) -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(2, 3, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            given: Any = pack_padded_sequence(x, torch.full((len(x),), 5), batch_first=True) if packed else x
            _, last = self.gru(given)
            return last[0]  # type: ignore[no-any-return]

    torch.manual_seed(0)
    net, x = Last().eval(), torch.randn(7, 5, 2)
    (found,) = opened(net, x, net)  # type: ignore[arg-type]
    layer, h = net.gru, torch.zeros(7, 3)
    for t in range(5):
        at = x[:, t] @ layer.weight_ih_l0.T + layer.bias_ih_l0
        back = h @ layer.weight_hh_l0.T + layer.bias_hh_l0
        r, z = (at[:, :6] + back[:, :6]).sigmoid().chunk(2, 1)
        h = (1 - z) * (at[:, 6:] + r * back[:, 6:]).tanh() + z * h
        np.testing.assert_allclose(found.gates["update_l0"][:, t], z.detach(), atol=1e-6)
        np.testing.assert_allclose(found.gates["reset_l0"][:, t], r.detach(), atol=1e-6)
    subject = load_subject(net, x, torch.arange(7) % 3, loss="cross-entropy")
    assert [f.kind for f in asked(subject).figures] == ["heatmap"] * 2


def test_series_are_drawn_over_their_gates() -> None:
    subject = waves(cell="lstm", width=12)
    found = asked(subject)
    kinds = [f.kind for f in found.figures]
    assert kinds[:3] == ["line", "heatmap", "heatmap"] and "layer 1 backwards" in found.figures[2].title
    line, first = found.figures[:2]
    assert [s.name for s in first.series] == ["input gate", "forget gate", "output gate"]
    for s in first.series:
        assert s.x == line.series[0].x and len(s.y) == len(s.z) == 1 + MOST_UNITS
        assert all(0 < v < 1 for row in s.z for v in row if v is not None)
    table = found.tables[0]
    assert len(table.rows) == 6 and all(0 < float(row[2]) < 1 for row in table.rows)  # type: ignore[arg-type]


def test_words_stand_under_the_steps_of_a_text() -> None:
    rng = np.random.default_rng(0)
    rest = [" ".join(rng.choice(["and", "so", "on", "it", "goes"], rng.integers(2, 9))) for _ in range(60)]
    texts = [f"{'a good' if k % 2 else 'one bad'} film {more}" for k, more in enumerate(rest)]
    y = ["good" if k % 2 else "bad" for k in range(60)]
    options = {"width": 4, "directions": 1}
    net = nw.Classifier(template="recurrent", options=options, epochs=1, random_state=0)
    frame = pl.DataFrame({"text": texts})
    found = asked(load_subject(net.fit(frame, y), frame, y))
    words = [str(x).partition(" ")[::2] for x in found.figures[0].series[0].x]
    assert [number for number, _ in words] == [str(k + 1) for k in range(len(words))]
    assert " ".join(word for _, word in words) in texts


def test_a_plain_recurrent_network_has_no_gates_and_is_told_what_has() -> None:
    found = asked(waves(cell="elman"))
    assert found.title.startswith("not applicable") and "'gru' or 'lstm'" in found.title


def test_a_cell_that_always_keeps_is_said_to_keep() -> None:
    subject = waves(cell="lstm")
    with torch.no_grad():
        for name, p in subject.need("model").module.named_parameters():
            if "bias_ih" in name:
                p[4:8] = 40.0
    found = asked(subject)
    assert found.measured["mean forget layer 1"] == pytest.approx(1.0)
    assert next(row for row in found.tables[0].rows if row[1] == "forget")[4] == 4


def test_both_fit_series_texts_and_sounds_and_are_left_out_of_tables() -> None:
    names = {"gradient-over-time", "gates"}
    assert names <= {entry.name for entry in fitting(EXPLANATIONS, waves())}
    table = load_subject(nn.Linear(4, 3), torch.randn(30, 4), torch.arange(30) % 3, loss="cross-entropy")
    assert not names & {entry.name for entry in fitting(EXPLANATIONS, table)}


def test_the_command_explains_a_recurrent_model(tmp_path: Path) -> None:
    subject = waves()
    subject.need("model").save(tmp_path / "model")
    data = subject.need("data")
    rows = [
        {"wave": [v[0] for v in cell], "target": ("high", "low")[int(y)]}
        for cell, y in zip(data.frame["wave"].to_list(), data.block("test").y, strict=True)  # type: ignore[arg-type]
    ]
    pl.DataFrame(rows).write_parquet(tmp_path / "rows.parquet")
    ended = call("explain", tmp_path / "model", tmp_path / "rows.parquet", "--report", tmp_path / "page.html")
    assert ended.code == 0 and "gradient at the last of" in ended.out and "update gates" in ended.out
    assert "Gates of the GRU" in (tmp_path / "page.html").read_text()


def test_of_several_networks_one_is_drawn_and_a_long_text_has_a_map_for_each_gate() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["and", "so", "on", "it", "goes", "well"], 50)) for _ in range(60)]
    frame, y = pl.DataFrame({"text": texts}), [str(k % 2) for k in range(60)]
    net = nw.Classifier(template="recurrent", options={"width": 3}, epochs=1, members=2, random_state=0)
    subject = load_subject(net.fit(frame, y), frame, y)
    found = asked(subject)
    assert len(found.tables[0].rows) == 8 and "members.1 layer 1 backwards" in {row[0] for row in found.tables[0].rows}
    assert all(len(f.series) == 1 and len(f.series[0].x) == 40 for f in found.figures)
    assert [f.title.split(",")[0] for f in found.figures[:2]] == ["Update gates of the GRU", "Reset gates of the GRU"]
    assert "The first 40 of 50 words." in found.figures[0].caption
    lines = ask(EXPLANATIONS["gradient-over-time"], "explain", subject, budget_seconds=9, seed=0).figures[0].series
    assert [s.name for s in lines][1:3] == ["members.0 layer 1 backwards", "members.1 layer 1"]
