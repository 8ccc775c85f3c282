"""The maximum of windows before norm and rectifier: the same values, gradients and running statistics as the sequence itself."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from netwright.data.batch import Block
from netwright.losses.standard import CrossEntropy
from netwright.nn import peaks
from netwright.nn.peaks import normed_peaks, peaks_first
from netwright.train import loop
from netwright.train.objectives import Supervised
from netwright.train.settings import Training

POOLS = {
    "halves": nn.MaxPool2d(2),
    "overlapping, padded": nn.MaxPool2d(3, 2, 1),
    "unequal, rounded up": nn.MaxPool2d((2, 3), ceil_mode=True),
    "dilated": nn.MaxPool2d(2, 1, dilation=2),
}
CLOSE = {"rtol": 1e-10, "atol": 1e-10}


def network(pool: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), pool, nn.Conv2d(4, 3, 3), nn.ReLU(), nn.MaxPool2d(2)
    )
    norm = net[1]
    assert isinstance(norm, nn.BatchNorm2d)
    nn.init.uniform_(norm.weight, 0.2, 1.0)
    nn.init.uniform_(norm.bias, -0.5, 0.5)
    return net.double()


def images(n: int = 8) -> Tensor:
    return torch.randn(n, 1, 20, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def outcome(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
    """Outputs, the gradients of their squares by the inputs and by the parameters, and the buffers afterwards."""
    x = x.clone().requires_grad_()
    y = net(x)
    parameters = list(net.parameters())
    of_x, *others = torch.autograd.grad(y.square().sum(), [x, *parameters])
    return y.detach(), of_x, others, [b.clone() for b in net.buffers()]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("pool", POOLS)
def test_values_gradients_and_running_statistics_are_those_of_the_sequence(
    pool: str, layout: torch.memory_format
) -> None:
    plain = network(POOLS[pool]).to(memory_format=layout)  # type: ignore[call-overload]
    other = copy.deepcopy(plain)
    for _ in range(2):  # the running statistics move twice
        expected = outcome(plain, images())
        with peaks_first(other):
            torch.testing.assert_close(outcome(other, images()), expected, **CLOSE)


def test_it_is_done_in_another_order_within_and_by_the_sequence_itself_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net, seen = network(nn.MaxPool2d(2)), []
    monkeypatch.setattr(nn.BatchNorm2d, "forward", lambda self, x: seen.append("norm") or x)
    with peaks_first(net):
        net(images())
        assert not seen
    net(images())
    assert seen == ["norm"]
    assert type(net) is nn.Sequential


def test_evaluation_within_gives_the_same_bits_as_afterwards() -> None:
    net = network(nn.MaxPool2d(2)).float()
    net(images().float())
    net.eval()
    with torch.no_grad():
        expected = net(images().float())
        with peaks_first(net):
            assert torch.equal(net(images().float()), expected)


def _negative(net: nn.Sequential) -> None:
    with torch.no_grad():
        net[1].weight[1] = -0.5  # type: ignore[index,operator]


def _zero(net: nn.Sequential) -> None:
    with torch.no_grad():
        net[1].weight[1] = 0.0  # type: ignore[index,operator]


def _swap(norm: nn.Module) -> object:
    def change(net: nn.Sequential) -> None:
        net[1] = norm.double()

    return change


@pytest.mark.parametrize(
    "change",
    [
        _negative,
        _zero,
        _swap(nn.BatchNorm2d(4, affine=False)),
        _swap(nn.BatchNorm2d(4, momentum=None)),
        _swap(nn.BatchNorm2d(4, track_running_stats=False)),
        _swap(nn.GroupNorm(2, 4)),
    ],
    ids=["negative scale", "scale of 0", "no scale", "cumulative mean", "no running statistics", "another norm"],
)
def test_a_norm_that_would_not_keep_the_order_or_is_another_one_is_left_to_torch(change: object) -> None:
    plain = network(nn.MaxPool2d(2))
    change(plain)  # type: ignore[operator]
    other = copy.deepcopy(plain)
    expected = outcome(plain, images())
    with peaks_first(other):
        torch.testing.assert_close(outcome(other, images()), expected, **CLOSE)


def test_a_layer_that_is_watched_is_called() -> None:
    net, seen = network(nn.MaxPool2d(2)), []
    net[2].register_forward_hook(lambda *_: seen.append("rectifier"))
    net[3].register_full_backward_hook(lambda *_: seen.append("maximum"))
    with peaks_first(net):
        net(images()).sum().backward()
    assert seen == ["rectifier", "maximum"]


def test_a_norm_without_a_spread_is_refused_as_torch_refuses_it() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    with peaks_first(net), pytest.raises(ValueError, match="more than 1 value per channel"):
        net(torch.ones(1, 1, 3, 3))


def test_a_rectifier_in_place_changes_what_it_changes_in_the_sequence() -> None:
    layers = [nn.Identity(), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    x, y = images(), images()
    expected = nn.Sequential(*layers)(x)
    with peaks_first(net := nn.Sequential(*layers)):
        assert torch.equal(net(y), expected)
    assert torch.equal(x, y)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_that_is_made_within_is_a_sequence_as_it_was(copied: Callable[[nn.Module], nn.Module]) -> None:
    net = network(nn.MaxPool2d(2))
    with peaks_first(net):
        other = copied(net)
    assert type(other) is nn.Sequential
    assert other.state_dict().keys() == net.state_dict().keys()


def test_what_autocast_makes_narrow_goes_through_as_in_the_sequence() -> None:
    plain = network(nn.MaxPool2d(2)).float()
    other = copy.deepcopy(plain)
    with torch.autocast("cpu", torch.bfloat16):
        expected = plain(images().float())
        with peaks_first(other):
            assert torch.equal(other(images().float()), expected)


def test_the_gradient_of_a_gradient_is_that_of_the_sequence() -> None:
    plain = network(nn.MaxPool2d(2))
    other = copy.deepcopy(plain)

    def twice(net: nn.Module) -> tuple[Tensor, ...]:
        x = images(3).requires_grad_()
        (slope,) = torch.autograd.grad(net(x).square().sum(), x, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), [x, *net.parameters()], allow_unused=True)

    expected = twice(plain)
    with peaks_first(other):
        torch.testing.assert_close(twice(other), expected, **CLOSE)


def test_a_training_ends_where_it_ends_with_the_sequence_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(*network(nn.MaxPool2d(2)), nn.Flatten(), nn.LazyLinear(3)).double()
            self.body(images())

        def forward(self, x: dict[str, Tensor]) -> Tensor:
            out: Tensor = self.body(x["x"])
            return out

    block = Block({"x": images(64)}, torch.arange(64) % 3)
    settings = Training(epochs=3, batch_size=16, warmup=0)
    torch.manual_seed(0)
    first, calls = Named(), []
    second = copy.deepcopy(first)
    monkeypatch.setattr(peaks, "normed_peaks", lambda *given: calls.append(1) or normed_peaks(*given))
    loop.train(first, Supervised(CrossEntropy()), block, settings, seed=0)
    assert len(calls) == 3 * 4  # a step of each of three epochs of four
    monkeypatch.setattr(loop, "peaks_first", lambda net: nullcontext())
    loop.train(second, Supervised(CrossEntropy()), block, settings, seed=0)
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=1e-7, atol=1e-8)
