"""Filters, maps and shifts of series and volumes: maps are what the layer computes, and padding has no part in any of it."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

import netwright as nw
from netwright.core.finding import Figure, Finding
from netwright.core.seed import numpy_generator
from netwright.core.spec import InputSpec, SeriesField, TargetSpec
from netwright.data.data import Data
from netwright.data.series import column_of_series
from netwright.data.volumes import column_of_volumes
from netwright.explain.drawn import drawn_rows
from netwright.explain.entries import EXPLANATIONS
from netwright.explain.filters import filter_figure, maps_of
from netwright.explain.shifts import moved_in_time, shifts_in_time
from netwright.losses.standard import CrossEntropy, SquaredError
from netwright.model import Model, Subject
from netwright.workflow.probing import ask, fitting, load_subject

IN_TIME = ["filters-in-time", "shifts-in-time"]


def asked(name: str, subject: Subject) -> Finding:
    return ask(EXPLANATIONS[name], "explain", subject, budget_seconds=60, seed=0)


def peaks(channels: int = 1, template: str = "series-resnet", **options: Any) -> Subject:
    """A convolutional network, trained for a moment on series of unequal lengths, which are its rows."""
    rng, rows = numpy_generator(0, "peaks"), []
    for k in range(60):
        row = rng.normal(size=(int(rng.integers(12, 30)), channels)) * 0.3
        row[5:8, 0] += 3 * (k % 2)
        rows.append(row if channels > 1 else row[:, 0])
    frame, y = pl.DataFrame([column_of_series(rows, "wave")]), [("flat", "peak")[k % 2] for k in range(60)]
    net = nw.Classifier(template=template, options={"width": 4, **options}, epochs=1, random_state=0)
    return load_subject(net.fit(frame, y), frame, y)


def balls() -> Subject:
    """A convolutional network, trained for a moment on volumes of 5 x 6 x 7 voxels, which are its rows."""
    x = numpy_generator(0, "balls").integers(0, 60, (40, 5, 6, 7)).astype(np.uint8)
    x[1::2, 1:4, 2:5, 2:5] += 150
    frame, y = pl.DataFrame({"volume": column_of_volumes(x)}), [("none", "ball")[k % 2] for k in range(40)]
    net = nw.Classifier(template="conv", options={"channels": "3,4"}, epochs=1, random_state=0).fit(frame, y)
    return load_subject(net, frame, y)


def convolutions(subject: Subject, kind: Any) -> dict[str, Any]:
    return {name: m for name, m in subject.need("model").module.named_modules() if isinstance(m, kind)}


def test_the_first_map_in_time_is_the_convolution_of_the_standardised_series() -> None:
    subject = peaks(channels=2)
    model, layers = subject.need("model"), convolutions(subject, nn.Conv1d)
    drawn = drawn_rows(subject, "filters-in-time", 0, right=3, wrong=0)
    maps = maps_of(model, model.module, drawn, layers, 1)
    (field,) = model.spec.wholes
    assert isinstance(field, SeriesField) and len(maps) == 3
    first = next(iter(maps))
    for i in range(len(drawn)):
        n = int(drawn.batch.x["wave:length"][i])
        row = drawn.batch.x["wave"][i, :, :n]
        scaled = (row - torch.tensor(field.center)[:, None]) / torch.tensor(field.spread)[:, None]
        wanted = functional.conv1d(scaled[None], layers[first].weight, layers[first].bias, padding=3)[0]
        assert torch.allclose(maps[first][i], wanted, atol=1e-5) and wanted.shape[1] == n


@pytest.mark.parametrize("template", ["series-resnet", "series-inception"])
def test_the_amount_of_padding_changes_no_map(template: str) -> None:
    subject = peaks(template=template)
    model, layers = subject.need("model"), convolutions(subject, nn.Conv1d)
    drawn = drawn_rows(subject, "filters-in-time", 0, right=3, wrong=0)
    before = maps_of(model, model.module, drawn, layers, 1)
    drawn.batch.x["wave"] = functional.pad(drawn.batch.x["wave"], (0, 17))  # type: ignore[index]
    after = maps_of(model, model.module, drawn, layers, 1)
    for name, found in before.items():
        for one, other in zip(found, after[name], strict=True):
            assert torch.equal(one, other)


def test_maps_of_a_network_that_reads_the_padding_too_end_where_the_row_does() -> None:
    subject = by_hand(Fixed(strided=True))
    model, layers = subject.need("model"), convolutions(subject, nn.Conv1d)
    drawn = drawn_rows(subject, "x", 0, right=4, wrong=0)
    (found,) = maps_of(model, model.module, drawn, layers, 1).values()
    assert [m.shape[1] for m in found] == [-(-int(n) // 2) for n in drawn.batch.x["series:length"]]


def test_filters_and_maps_in_time_are_drawn_with_the_series_above_them() -> None:
    found = asked("filters-in-time", peaks())
    windows, line, *maps = found.figures[:5]
    weight = next(iter(convolutions(peaks(), nn.Conv1d).values())).weight
    np.testing.assert_allclose(np.array(windows.series[0].z, dtype=float), weight[:, 0].detach(), rtol=1e-6)
    assert windows.series[0].x == (-3, -2, -1, 0, 1, 2, 3)
    assert line.kind == "line" and [m.kind for m in maps] == ["heatmap"] * 3
    assert all(m.series[0].x == line.series[0].x for m in maps) and "blocks.0.first.conv" in maps[0].title
    assert found.title.startswith("4 filters of 7 steps in the first of 12")


def test_filters_of_several_channels_are_pictures_of_channels_by_steps() -> None:
    figure = filter_figure(peaks(channels=3).need("model").module, dims=1)
    assert opened(figure, 0).size == (7, 3) and len(figure.pictures) == 4


def test_a_convolution_of_one_step_is_not_taken_for_the_first() -> None:
    found = asked("filters-in-time", peaks(channels=3, template="series-inception"))
    assert "of 29 steps in the first" in found.title


def opened(figure: Figure, k: int) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(figure.pictures[k].png)))


def test_maps_of_volumes_are_those_of_the_layer_and_are_drawn_in_slices() -> None:
    subject = balls()
    model, layers = subject.need("model"), convolutions(subject, nn.Conv3d)
    drawn = drawn_rows(subject, "filters-of-volumes", 0, right=2, wrong=0)
    maps = maps_of(model, model.module, drawn, layers, 3)
    (field,), (first, *_) = model.spec.wholes, maps
    x = (drawn.batch.x["volume"].float() - field.center[0]) / field.spread[0]  # type: ignore[union-attr]
    wanted = functional.conv3d(x, layers[first].weight, layers[first].bias, padding=1)
    assert torch.allclose(torch.stack(maps[first]), wanted, atol=1e-5)
    found = asked("filters-of-volumes", subject)
    windows, sheet = found.figures[:2]
    assert opened(windows, 0).size == (3, 3 * 4 - 1) and len(windows.pictures) == 3
    assert opened(sheet, 0).size == opened(sheet, 1).size == (7, 4 * 7 - 1)
    assert opened(windows, 0).convert("RGB").getpixel((0, 3)) == (128, 128, 128), "a line between slices"
    assert len(sheet.pictures) == 1 + 3 + 4 and "3 x 3 x 3" in found.title


class Fixed(nn.Module):
    """By hand: the largest sum of two steps that follow each other, wherever it is; or the value at step 10."""

    def __init__(self, *, place: int | None = None, strided: bool = False, number: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 2, stride=1 + strided, padding=int(not strided), bias=False)
        nn.init.ones_(self.conv.weight)
        self.place, self.number = place, number

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        maps = self.conv(x["series"])[:, 0]
        found = maps.amax(1) if self.place is None else x["series"][:, 0, self.place]
        return found.unsqueeze(1) if self.number else torch.stack([1 - found, found - 1], 1)


def by_hand(net: nn.Module, n: int = 40, behind: int = 0) -> Subject:
    """Series of 20 to 30 steps that are 0 but for a bump at step 10 in every second, with zeros behind their ends."""
    lengths = torch.from_numpy(numpy_generator(0, "lengths").integers(20, 31, n))
    x = torch.zeros(n, 1, 30 + behind)
    x[1::2, 0, 9:12] = 2.0
    spec = InputSpec(kind="series", fields=(SeriesField(n_steps=30 + behind, shortest=20),))
    y = torch.arange(n) % 2
    target = TargetSpec(name="y", task="binary", classes=("none", "bump"), priors=(0.5, 0.5))
    loss: Any = CrossEntropy()
    if getattr(net, "number", False):
        target, loss, y = TargetSpec(name="y", task="number"), SquaredError(), 4.0 * y
    model = Model(net.eval(), spec, target, loss)
    return Subject(model=model, data=Data.from_tensors({"series": x, "series:length": lengths}, y, spec, target))


def test_moving_a_series_repeats_its_edges_and_leaves_what_is_behind_its_end() -> None:
    x = torch.tensor([[[1.0, 2.0, 3.0, 4.0]], [[5.0, 6.0, -1.0, -1.0]]])
    lengths = torch.tensor([4, 2])
    assert moved_in_time(x, lengths, 2).squeeze(1).tolist() == [[1, 1, 1, 2], [5, 5, -1, -1]]
    assert moved_in_time(x, lengths, -1).squeeze(1).tolist() == [[2, 3, 4, 4], [6, 6, -1, -1]]
    assert torch.equal(moved_in_time(x, lengths, 0), x)
    assert torch.equal(moved_in_time(x, lengths, 9)[:1], torch.ones(1, 1, 4))


def test_a_network_that_does_not_care_when_gives_a_flat_line_and_one_that_does_falls() -> None:
    flat = shifts_in_time(by_hand(Fixed()), budget_seconds=20, seed=0)
    assert set(flat.figures[0].series[0].y) == {1.0} and not flat.todo
    sharp = shifts_in_time(by_hand(Fixed(place=10)), budget_seconds=20, seed=0)
    score = dict(zip(sharp.figures[0].series[0].x, sharp.figures[0].series[0].y, strict=True))
    assert {k: v for k, v in score.items() if v == 1.0}.keys() == {-1, 0, 1} and score[2] == score[-2] == 0.5
    assert sharp.todo and sharp.measured["accuracy_later"] == 0.5


def test_padding_has_no_part_in_shifts() -> None:
    lines = [shifts_in_time(by_hand(Fixed(), behind=b), budget_seconds=20, seed=0) for b in (0, 25)]
    assert lines[0].figures == lines[1].figures and lines[0].measured == lines[1].measured
    assert lines[0].measured["most_steps"] == 5, "a fifth of the median length, not of the tensor's"


def test_shifts_of_a_number_give_its_rmse() -> None:
    found = shifts_in_time(by_hand(Fixed(place=10, number=True)), budget_seconds=20, seed=0, most=3)
    score = dict(zip(found.figures[0].series[0].x, found.figures[0].series[0].y, strict=True))
    assert found.measured["rmse_here"] == score[0] == pytest.approx(2**0.5) and score[3] == pytest.approx(8**0.5)


def test_series_and_volumes_have_explanations_and_tables_are_not_asked_for_them() -> None:
    assert set(IN_TIME) <= {e.name for e in fitting(EXPLANATIONS, by_hand(Fixed()))}
    assert "filters-of-volumes" in {e.name for e in fitting(EXPLANATIONS, balls())}
    table = load_subject(nn.Linear(4, 3), torch.randn(30, 4), torch.arange(30) % 3, loss="cross-entropy")
    assert not {*IN_TIME, "filters-of-volumes"} & {e.name for e in fitting(EXPLANATIONS, table)}


def test_a_network_without_convolutions_in_time_is_said_to_have_none() -> None:
    subject = peaks(template="recurrent")
    assert "no convolutions over series" in asked("filters-in-time", subject).title
