"""Image networks: random changes are for training only and keep their bounds; pixels of any size and type go through."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netwright.core.spec import ImageField, InputSpec, NumberField, TargetSpec
from netwright.data.fronts import PixelFront
from netwright.nn.augment import Augment
from netwright.nn.convnet import ResidualConvNet
from netwright.recipes.templates import residual_conv

CLASSES = TargetSpec(name="y", task="classes", classes=("a", "b", "c"), priors=(0.5, 0.3, 0.2))
NUMBER = TargetSpec(name="y", task="number", center=3.0, scale=2.0)
EVERY_CHANGE: dict[str, Any] = {"shift": 0.1, "rotate": 10.0, "zoom": 0.1, "flip": True}
SIZES = [(1, 1), (1, 9), (2, 3), (5, 5), (8, 8), (28, 28), (33, 17), (70, 64)]


def field(height: int = 12, width: int = 10, channels: int = 1) -> ImageField:
    centers, spreads = (100.0, 110.0, 90.0, 30.0), (50.0, 60.0, 40.0, 20.0)
    return ImageField(
        height=height, width=width, channels=channels, center=centers[:channels], spread=spreads[:channels]
    )


def images(n: int, f: ImageField, seed: int = 0) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {f.name: torch.randint(0, 256, (n, *f.shape), generator=rng, dtype=torch.uint8)}


def net_of(f: ImageField, target: TargetSpec = CLASSES, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return residual_conv(InputSpec(kind="image", fields=(f,)), target, **{"width": 8, **options})


def gradients(net: nn.Module, x: Mapping[str, Tensor]) -> dict[str, Tensor | None]:
    net.train()(x).square().sum().backward()
    return {name: p.grad for name, p in net.named_parameters()}


# --- the network ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_of_any_size_become_outputs_and_teach_every_parameter(size: tuple[int, int], channels: int) -> None:
    f = field(*size, channels)
    net = net_of(f, dropout=0.1, noise=0.1, **EVERY_CHANGE)
    found = gradients(net, images(4, f))
    assert all(g is not None and g.isfinite().all() for g in found.values())
    outputs = net.eval()(images(5, f))
    assert outputs.shape == (5, 3) and outputs.dtype == torch.float32 and outputs.isfinite().all()


@pytest.mark.parametrize("target", [CLASSES, NUMBER])
@pytest.mark.parametrize("depth", [1, 2])
def test_no_parameter_is_out_of_the_gradient_s_reach(target: TargetSpec, depth: int) -> None:
    f = field(16, 16)
    net = net_of(f, target, depth=depth)
    assert net(images(2, f)).shape == (2, target.n_out)
    dead = [name for name, g in gradients(net, images(16, f)).items() if g is None or not g.abs().max() > 0]
    assert not dead


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (20, 45)])
def test_in_evaluation_a_row_does_not_depend_on_its_neighbours(size: tuple[int, int]) -> None:
    f = field(*size)
    net, x = net_of(f).eval(), images(9, f)
    alone = torch.cat([net({f.name: row[None]}) for row in x[f.name]])
    torch.testing.assert_close(net(x), alone, rtol=1e-4, atol=1e-5)
    other = {f.name: torch.cat([x[f.name][:1], 255 - x[f.name][1:]])}
    torch.testing.assert_close(net(x)[:1], net(other)[:1], rtol=1e-4, atol=1e-5)


def test_columns_of_numbers_may_stand_beside_the_images() -> None:
    f = field()
    spec = InputSpec(fields=(f, NumberField(name="age", center=40.0, scale=10.0, knots=(17.0, 40.0, 90.0))))
    net = residual_conv(spec, CLASSES, width=8).eval()
    x = {**images(3, f), "numbers": torch.tensor([[20.0], [40.0], [float("nan")]], dtype=torch.float64)}
    moved = {**x, "numbers": x["numbers"] + 30}
    assert net(x).shape == (3, 3) and not torch.allclose(net(x)[0], net(moved)[0])


@pytest.mark.parametrize("side", [8, 20, 28, 32, 64, 96, 224])
def test_stages_end_at_a_few_positions_and_the_widest_layer_grows_no_further(side: int) -> None:
    net = ResidualConvNet(1, side, side, width=8)
    with torch.no_grad():
        maps = net.eval().stages(torch.zeros(1, 1, side, side))
    assert 3 <= maps.shape[2] <= 8 and net.n_out == 2 * maps.shape[1] <= 2 * 8 * 8


# --- pixels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int32])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_same_pixels_give_the_same_outputs_whatever_their_type(dtype: torch.dtype, channels: int) -> None:
    f = field(channels=channels)
    net, x = net_of(f).eval(), images(6, f)
    assert torch.equal(net(x), net({f.name: x[f.name].to(dtype)}))


def test_pixels_have_slopes_where_they_are_floats() -> None:
    f = field()
    pixels = images(4, f)[f.name].float().requires_grad_()
    net_of(f).eval()({f.name: pixels}).square().sum().backward()
    assert pixels.grad is not None and (pixels.grad.abs().flatten(1).amax(1) > 0).all()


def test_each_channel_is_standardised_by_its_own_moments() -> None:
    f = field(4, 4, 3)
    shown = torch.tensor(f.center).view(1, 3, 1, 1).expand(2, 3, 4, 4) + torch.tensor(f.spread).view(1, 3, 1, 1)
    torch.testing.assert_close(PixelFront(f)({f.name: shown}), torch.ones(2, 3, 4, 4))


def test_noise_is_for_training_only_and_as_large_as_asked() -> None:
    f = field(40, 40)
    front, x = PixelFront(f, noise=0.3), images(8, f)
    plain = front.eval()(x)
    assert torch.equal(plain, PixelFront(f)(x))
    assert float((front.train()(x) - plain).std()) == pytest.approx(0.3, rel=0.05)


# --- random changes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{}, {"shift": 0.2}, {"rotate": 20.0}, {"zoom": 0.3}, {"flip": True}, EVERY_CHANGE])
def test_evaluation_leaves_images_alone(change: dict[str, Any]) -> None:
    x = torch.rand(5, 3, 9, 7)
    assert torch.equal(Augment(**change).eval()(x), x)
    f = field()
    plain = net_of(f).eval()
    changing = net_of(f, **change).eval()
    assert torch.equal(plain(images(6, f)), changing(images(6, f)))


def test_nothing_is_changed_unless_asked() -> None:
    x = torch.rand(64, 1, 9, 7)
    assert torch.equal(Augment().train()(x), x)


@pytest.mark.parametrize("change", [{"shift": 0.1}, {"rotate": 10.0}, {"zoom": 0.1}, {"flip": True}])
def test_each_change_does_something_in_training(change: dict[str, Any]) -> None:
    x = torch.rand(64, 1, 20, 20)
    moved = Augment(**change).train()(x)
    assert moved.shape == x.shape and not torch.equal(moved, x)
    assert moved.min() >= x.min() - 1e-5 and moved.max() <= x.max() + 1e-5


@pytest.mark.parametrize("share", [0.05, 0.2])
@pytest.mark.parametrize("size", [(40, 40), (20, 60)])
def test_a_shift_moves_by_at_most_its_share_of_each_side(share: float, size: tuple[int, int]) -> None:
    height, width = size
    torch.manual_seed(0)
    x = torch.zeros(400, 1, height, width)
    x[:, :, height // 2, width // 2] = 1
    moved = Augment(shift=share).train()(x)
    mass = moved.sum((1, 2, 3))
    down = (moved.sum((1, 3)) * torch.arange(height)).sum(1) / mass - height // 2
    right = (moved.sum((1, 2)) * torch.arange(width)).sum(1) / mass - width // 2
    for offset, side in ((down, height), (right, width)):
        assert offset.abs().max() <= share * side + 1e-3
        assert offset.min() < -0.9 * share * side and offset.max() > 0.9 * share * side


def test_a_turn_and_a_zoom_keep_to_their_bounds() -> None:
    torch.manual_seed(0)
    x = torch.zeros(300, 1, 41, 41)
    x[:, :, 20, 36] = 1  # 16 pixels right of the centre
    grid = torch.arange(41.0) - 20
    for change, turned, zoomed in (({"rotate": 15.0}, 15.0, 0.0), ({"zoom": 0.2}, 0.0, 0.2)):
        moved = Augment(**change).train()(x)
        mass = moved.sum((1, 2, 3))
        right, down = (moved.sum((1, 2)) * grid).sum(1) / mass, (moved.sum((1, 3)) * grid).sum(1) / mass
        angle, reach = torch.rad2deg(torch.atan2(down, right)).abs().max(), torch.hypot(down, right) / 16
        assert turned - 2 <= angle <= turned + 1.5
        assert abs(float(reach.max()) - 1 - zoomed) < 0.04 and abs(1 - float(reach.min()) - zoomed) < 0.04


def test_mirroring_changes_left_and_right_in_half_of_the_images_and_nothing_else() -> None:
    torch.manual_seed(0)
    x = torch.rand(400, 2, 5, 6)
    moved = Augment(flip=True).train()(x)
    same, mirrored = ((moved == other).flatten(1).all(1) for other in (x, x.flip(3)))
    assert (same ^ mirrored).all() and 150 < int(mirrored.sum()) < 250


@pytest.mark.parametrize("change", [{"shift": 0.2}, {"rotate": 20.0, "zoom": 0.2}])
def test_no_other_change_mirrors_an_image(change: dict[str, Any]) -> None:
    """The brighter half stays the brighter half."""
    x = torch.zeros(200, 1, 20, 20)
    x[..., :10] = 1
    moved = Augment(**change).train()(x)
    assert (moved[..., :6].mean((1, 2, 3)) > moved[..., -6:].mean((1, 2, 3)) + 0.5).all()


def test_what_a_change_lays_bare_takes_the_value_of_the_edge() -> None:
    x = torch.full((50, 1, 12, 12), 7.0)
    torch.testing.assert_close(Augment(**EVERY_CHANGE).train()(x), x)


def test_the_seed_decides_every_change() -> None:
    f = field()
    net, x = net_of(f, dropout=0.2, noise=0.1, **EVERY_CHANGE).train(), images(8, f)
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(net(x))
    assert torch.equal(outputs[0], outputs[1]) and not torch.equal(outputs[0], outputs[2])


def test_changes_are_computed_in_full_precision_under_autocast() -> None:
    x = torch.rand(8, 1, 28, 28)
    moved = []
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            moved.append(Augment(shift=0.1, rotate=10.0, zoom=0.1).train()(x))
    assert torch.equal(*moved) and moved[1].dtype == torch.float32


@pytest.mark.parametrize("size", SIZES)
def test_images_of_any_size_can_be_changed(size: tuple[int, int]) -> None:
    moved = Augment(**EVERY_CHANGE).train()(torch.rand(3, 1, *size))
    assert moved.shape == (3, 1, *size) and moved.isfinite().all()


@pytest.mark.slow
def test_a_network_is_made_and_asked_without_the_library_of_changes() -> None:
    code = (
        "import sys, torch; from netwright.core.spec import ImageField, InputSpec, TargetSpec; "
        "from netwright.recipes.templates import residual_conv; "
        "spec = InputSpec(kind='image', fields=(ImageField(height=8, width=8),)); "
        "net = residual_conv(spec, TargetSpec(name='y', task='binary', classes=('a', 'b')), shift=0.1, flip=True).eval(); "
        "net({'image': torch.zeros(1, 1, 8, 8)}); assert 'kornia' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
