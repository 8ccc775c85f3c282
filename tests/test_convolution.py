"""Convolution with all its options in one, two and three dimensions, the worked example, and what is asked of it: filters, shifts."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import UsageError
from netwright.core.seed import numpy_generator
from netwright.core.spec import ImageField, InputSpec, TargetSpec, VolumeField
from netwright.data.data import Data
from netwright.exhibits.worked_convolution import THREE, WEIGHTS, exhibit
from netwright.explain.filters import filters
from netwright.explain.shifts import moved, shifts
from netwright.model import Model, Subject
from netwright.nn.convnet import ResidualConvBlock
from netwright.nn.convstack import ConvStack, SeriesConvStack
from netwright.nn.pooling import MinPool, pooling
from netwright.recipes.convolution import conv, residual_conv_3d
from netwright.recipes.images import lenet5
from netwright.recipes.in_time import in_time
from netwright.train.way import Way

SIZES: dict[int, tuple[int, ...]] = {1: (20,), 2: (12, 10), 3: (6, 8, 7)}
CLASSES = TargetSpec(name="y", task="classes", classes=("a", "b", "c"), priors=(0.4, 0.3, 0.3))
GREY = InputSpec(kind="image", fields=(ImageField(height=12, width=10),))
SPACE = InputSpec(kind="volume", fields=(VolumeField(depth=6, height=8, width=7),))
dimensions = pytest.mark.parametrize("dims", SIZES)


def test_the_worked_example_is_what_torch_computes() -> None:
    image, window = (torch.tensor(a, dtype=torch.float64)[None, None] for a in (THREE, WEIGHTS))
    found = exhibit(tiny=True)
    assert [found.measured[f"h{k}"] for k in (1, 2, 3, 4)] == F.conv2d(image, window).flatten().tolist() == [4, 8, 2, 4]
    assert found.verdict == "pass"


@dimensions
def test_min_pooling_is_max_pooling_of_the_negative(dims: int) -> None:
    x = torch.randn(2, 3, *SIZES[dims])
    largest = [F.max_pool1d, F.max_pool2d, F.max_pool3d][dims - 1]
    assert torch.equal(MinPool((2,) * dims)(x), -largest(-x, 2))


@pytest.mark.parametrize(("pool", "wanted"), [("max", [2.0, 9.0]), ("average", [1.5, 6.0]), ("min", [1.0, 3.0])])
def test_pooling_takes_largest_mean_or_least_of_two(pool: Any, wanted: list[float]) -> None:
    layer = pooling(pool, (2,))
    assert layer is not None and layer(torch.tensor([[[1.0, 2.0, 9.0, 3.0]]])).flatten().tolist() == wanted
    assert pooling("none", (2,)) is None and pooling(pool, (1, 1)) is None


@dimensions
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pool": "min", "residual": True, "dropout": 0.2},
        {"pool": "average", "kernel": 5, "norm": False},
        {"pool": "none", "stride": 2, "activation": "tanh"},
        {"dilation": 2, "kernel": 2},
    ],
)
def test_a_stack_gives_vectors_and_every_parameter_a_gradient(dims: int, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    net = ConvStack(2, SIZES[dims], (4, 6), **options)
    y = net(torch.randn(8, 2, *SIZES[dims]))
    assert y.shape == (8, net.n_out) == (8, 12)
    y.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in net.parameters())


@dimensions
def test_a_stack_without_options_is_the_layers_of_torch_one_after_the_other(dims: int) -> None:
    torch.manual_seed(0)
    net, x = ConvStack(1, SIZES[dims], (3,), norm=False), torch.randn(2, 1, *SIZES[dims])
    layer = net.stages[0][0]  # type: ignore[index]
    convolve, largest = [(F.conv1d, F.max_pool1d), (F.conv2d, F.max_pool2d), (F.conv3d, F.max_pool3d)][dims - 1]
    maps = largest(convolve(x, layer.weight, layer.bias, padding=1), 2).relu().flatten(2)
    torch.testing.assert_close(net(x), torch.cat([maps.mean(2), maps.amax(2)], 1))


IN_TIME: list[dict[str, Any]] = [
    {},
    {"pool": "min", "residual": True, "activation": "gelu"},
    {"pool": "average", "kernel": 5, "norm": False, "activation": "sigmoid"},
    {"pool": "none", "stride": 2, "activation": "tanh"},
    {"pool": "average", "dilation": 2, "residual": True},
    {"kernel": 2, "stride": 3, "dilation": 2},
    {"kernel": 4, "residual": True, "activation": "prelu"},
]


@pytest.mark.parametrize("options", IN_TIME)
def test_over_series_of_equal_lengths_it_is_the_stack_in_one_dimension(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    plain, net = ConvStack(2, (32,), (4, 6), **options), SeriesConvStack(2, 32, (4, 6), **options)
    for p, q in zip(plain.parameters(), net.parameters(), strict=True):
        q.data.copy_(p.data)
    x = torch.randn(5, 32, 2)
    steps = 32 if options.get("kernel", 3) % 2 else 31
    found = net(x[:, :steps], torch.full((5,), steps))
    assert found.shape == (5, net.n_out) == (5, 12)
    if steps == 32:  # windows of two end with the series
        torch.testing.assert_close(found, plain(x.transpose(1, 2)))


@pytest.mark.parametrize("options", IN_TIME)
@pytest.mark.parametrize("training", [True, False])
def test_padding_has_no_effect_on_a_stack_over_series(options: dict[str, Any], training: bool) -> None:
    torch.manual_seed(0)
    net = SeriesConvStack(2, 40, (4, 6), **options).double().train(training)
    lengths = torch.tensor([40, 17, 1, 8, 33])
    x = torch.randn(5, 40, 2, dtype=torch.float64) * (torch.arange(40) < lengths[:, None]).unsqueeze(2)
    longer = torch.cat([x, torch.zeros(5, 23, 2)], 1)
    torch.testing.assert_close(net(longer, lengths), net(x, lengths))
    if not training:  # each row is what it is alone
        for k, n in enumerate(lengths.tolist()):
            torch.testing.assert_close(net(x[k : k + 1, :n], lengths[k : k + 1]), net(x, lengths)[k : k + 1])


@pytest.mark.parametrize("options", IN_TIME)
def test_every_parameter_of_a_stack_over_series_learns(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    net = SeriesConvStack(2, 40, (4, 6), dropout=0.1, **options)
    lengths = torch.tensor([40, 17, 2, 8, 33] * 4)
    x = torch.randn(20, 40, 2) * (torch.arange(40) < lengths[:, None]).unsqueeze(2)
    net(x, lengths).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in net.parameters())


def test_stride_and_dilation_do_what_they_say() -> None:
    net = ConvStack(1, (9, 9), (1,), stride=2, dilation=2, pool="none")
    layer = net.stages[0][0]  # type: ignore[index]
    assert (layer.stride, layer.dilation) == ((2, 2), (2, 2)) and layer(torch.zeros(1, 1, 9, 9)).shape[2:] == (5, 5)


def test_short_sides_are_not_pooled_away() -> None:
    assert ConvStack(1, (2, 30), (4, 4, 4))(torch.zeros(1, 1, 2, 30)).shape == (1, 8)


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        (((3, 3), ()), {}, "one number"),
        (((3, 3), (4,)), {"pool": "avrage"}, "average"),
        (((3, 3), (4,)), {"activation": "rellu"}, "relu"),
        (((3, 3), (4,)), {"kernel": 0}, "kernel is 0"),
        (((3, 3, 3, 3), (4,)), {}, "1, 2 or 3"),
        (((3, 3), (4, 4, 4)), {"kernel": 4}, "leaves nothing"),
    ],
)
def test_a_stack_that_cannot_be_is_refused(arguments: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ConvStack(1, *arguments, **options)


@dimensions
def test_a_residual_block_keeps_the_shape_and_is_the_identity_at_zero_weights(dims: int) -> None:
    block, x = ResidualConvBlock(3, dims=dims).eval(), torch.rand(2, 3, *SIZES[dims])
    for p in block.parameters():
        nn.init.zeros_(p)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("spec", [GREY, SPACE], ids=["image", "volume"])
def test_the_plain_builder_takes_images_and_volumes(spec: InputSpec) -> None:
    net = conv(spec, CLASSES, channels="3, 5", pool="min", residual=True, dropout=0.1)
    field = spec.fields[0]
    x = {field.name: torch.randint(0, 256, (4, *field.shape), dtype=torch.uint8)}  # type: ignore[union-attr]
    assert net(x).shape == (4, 3)


def test_channels_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(UsageError, match="'32,64'"):
        conv(GREY, CLASSES, channels="32;64")


def test_the_residual_net_for_volumes_has_no_more_stages_than_halvings() -> None:
    small = InputSpec(kind="volume", fields=(VolumeField(depth=2, height=3, width=4),))
    net = residual_conv_3d(small, CLASSES, width=2, depth=9)
    assert sum(isinstance(m, ResidualConvBlock) for m in net.modules()) == 2
    assert net({"volume": torch.zeros(2, 1, 2, 3, 4, dtype=torch.uint8)}).shape == (2, 3)


def test_moving_an_image_takes_its_edge_along() -> None:
    image = torch.arange(9).view(1, 1, 3, 3)
    assert moved(image, 1, 0)[0, 0].tolist() == [[0, 1, 2], [0, 1, 2], [3, 4, 5]]
    assert moved(image, 0, -2)[0, 0].tolist() == [[2, 2, 2], [5, 5, 5], [8, 8, 8]]
    assert torch.equal(moved(image, 0, 0), image)


def spots(n: int = 60) -> tuple[Tensor, Tensor]:
    """Images of 12 x 12 with a spot left or right of the middle."""
    rng = numpy_generator(0, "spots")
    x, y = torch.zeros(n, 1, 12, 12, dtype=torch.uint8), torch.arange(n) % 2
    for k in range(n):
        x[k, 0, int(rng.integers(3, 9)), 2 + 6 * int(y[k]) + int(rng.integers(0, 2))] = 255
    return x, y


class Left(nn.Module):
    """Knows where the spot is by a convolution that is held fixed: the mean brightness of both halves."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.stack([torch.ones(1, 3, 3), -torch.ones(1, 3, 3)]))

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv(x.float())
        return torch.stack([maps[:, 0, :, :6].sum((1, 2)), maps[:, 0, :, 6:].sum((1, 2))], 1)


def subject() -> Subject:
    x, y = spots()
    model = Model.wrap(Left(), loss="cross-entropy", x=x.float(), y=y, kind="image")
    return Subject(model=model, data=Data.from_tensors(model.encode(x.float()), y, model.spec, model.target))


def test_filters_and_maps_of_a_wrapped_module_are_drawn() -> None:
    found = filters(subject(), budget_seconds=1, seed=0)
    sheet, *maps = found.figures
    assert found.measured["filters"] == 2 and len(sheet.pictures) == 2 and len(maps) == 2
    first, second = (Image.open(io.BytesIO(base64.b64decode(p.png))) for p in sheet.pictures)
    assert first.size == (3, 3)
    r, _, b = first.getpixel((1, 1))  # type: ignore[misc]
    assert r > b and second.getpixel((1, 1))[2] > second.getpixel((1, 1))[0]  # type: ignore[index]
    assert len(maps[0].pictures) == 1 + 2
    whole = Image.open(io.BytesIO(base64.b64decode(maps[0].pictures[1].png)))
    assert whole.size == (12, 12)


def test_a_network_without_convolutions_is_said_to_have_none() -> None:
    x, y = spots()
    model = Model.wrap(
        nn.Sequential(nn.Flatten(), nn.Linear(144, 2)), loss="cross-entropy", x=x.float(), y=y, kind="image"
    )
    data = Data.from_tensors(model.encode(x.float()), y, model.spec, model.target)
    assert "no convolutions" in filters(Subject(model=model, data=data), budget_seconds=1, seed=0).title


def test_accuracy_over_shifts_is_that_of_moved_images() -> None:
    found = shifts(subject(), budget_seconds=20, seed=0, most=5, rows=60)
    (series,) = found.figures[0].series
    z, steps = np.array(series.z), list(series.x)
    assert z.shape == (11, 11) and z[5, 5] == 1.0
    assert (z[5] == z[2]).all() and (z[5] == z[8]).all(), "up and down does not matter to this network"
    x, y = spots()
    for step in (-5, 3, 5):
        at = moved(x, 0, step)[:, 0].float().sum(1)
        wanted = float(((at[:, 6:].sum(1) > at[:, :6].sum(1)).long() == y).float().mean())
        assert z[5, steps.index(step)] == pytest.approx(wanted, abs=0.05)
    far = found.measured["accuracy_moved_most"]
    assert found.measured["accuracy_here"] == 1.0 and isinstance(far, float) and far < 0.8


def test_both_can_be_asked_of_any_module() -> None:
    x, y = spots()
    found = nw.explain(
        Left(), x.float(), y, loss="cross-entropy", kind="image", names=["filters", "shifts"], budget_seconds=5
    )
    assert [f.probe for f in found] == ["filters", "shifts"]


def test_minutes_plan_as_many_epochs_as_fit_with_their_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = spots(256)
    spec = InputSpec(kind="image", fields=(ImageField(height=12, width=12),))
    rows = {"train": np.arange(256), "valid": np.arange(64), "test": np.arange(64)}
    data = Data.from_tensors({"image": x}, y, spec, CLASSES, rows)  # type: ignore[arg-type]
    monkeypatch.setattr("netwright.recipes.in_time.choose_way", lambda *a, **k: Way(threads=2, step_seconds=0.5))
    planned, way = in_time(lenet5(), data, 10.0)  # an epoch: two steps of 128 rows, and 64 rows that are evaluated
    assert way.threads == 2 and planned.training.epochs == 8
    assert planned.training.warmup == 1 and planned.training.average == 0.5
    assert in_time(lenet5(), data, 1e6)[0].training.epochs == lenet5().training.epochs
    assert in_time(lenet5(), data, 0.0)[0].training.epochs == 1
