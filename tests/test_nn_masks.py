"""Masks by key: as random as torch's, the same alone and among others; recurrent layers unrolled equal torch's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import vmap

from netwright.nn.masks import Dropout, KeyedDropout, key_at, keyed, keyed_dropouts, normal, through, uniform
from netwright.nn.unrolled import unrolled

KEY = torch.tensor(1234567)


def draws(n: int, layer: int = 0, step: int = 0) -> Tensor:
    with keyed(key_at(KEY, step)):
        return uniform((n, 64), layer)


def test_uniform_numbers_are_spread_evenly() -> None:
    u = draws(4000)
    counts = torch.histc(u, bins=20, min=0.0, max=1.0)
    expected = u.numel() / 20
    chi2 = float(((counts - expected) ** 2 / expected).sum())
    assert chi2 < 43.8  # 0.999 quantile of 19 degrees of freedom
    assert float(u.min()) >= 0 and float(u.max()) < 1


@pytest.mark.parametrize("other", [{"layer": 1}, {"step": 1}, {"step": 1000}])
def test_numbers_of_other_layers_and_steps_are_not_correlated(other: dict[str, int]) -> None:
    one, two = draws(2000).flatten(), draws(2000, **other).flatten()
    assert abs(float(torch.corrcoef(torch.stack([one, two]))[0, 1])) < 4 / len(one) ** 0.5


def test_neighbouring_rows_and_columns_are_not_correlated() -> None:
    u = draws(2000)
    for one, two in ((u[1:], u[:-1]), (u[:, 1:], u[:, :-1])):
        pair = torch.stack([one.flatten(), two.flatten()])
        assert abs(float(torch.corrcoef(pair)[0, 1])) < 4 / pair.shape[1] ** 0.5


def test_numbers_are_the_same_among_others() -> None:
    keys = torch.tensor([5, 6, 7])

    def one(key: Tensor) -> Tensor:
        with keyed(key):
            return uniform((3, 4), 2)

    together = vmap(one)(keys)
    assert all(torch.equal(together[k], one(key)) for k, key in enumerate(keys))


def test_normal_numbers_have_the_moments_of_a_normal() -> None:
    with keyed(KEY):
        z = normal(torch.zeros(200_000), 3)
    assert abs(z.mean().item()) < 0.01 and abs(z.std().item() - 1) < 0.01
    assert abs((z**4).mean().item() - 3) < 0.1 and bool(z.isfinite().all())


@pytest.mark.parametrize("kind", [nn.Dropout, nn.Dropout1d, nn.Dropout2d])
def test_keyed_dropout_keeps_the_mean_and_what_torch_drops_together(kind: type[nn.Module]) -> None:
    net = nn.Sequential(kind(0.3))
    x = torch.ones(400, 50, *[6] * {nn.Dropout: 0, nn.Dropout1d: 1, nn.Dropout2d: 2}[kind])
    with keyed_dropouts(net), keyed(KEY):
        y = net(x)
        assert torch.equal(net.eval()(x), x)
    assert abs(float(y.mean()) - 1) < 0.02 and {round(v, 4) for v in y.unique().tolist()} == {0.0, round(1 / 0.7, 4)}
    maps = y.flatten(2) if y.dim() > 2 else y.unsqueeze(2)
    assert bool((maps == maps[..., :1]).all())
    assert type(net[0]) is kind


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 2},
        {"bidirectional": True, "batch_first": True},
        {"bias": False, "num_layers": 2, "bidirectional": True},
    ],
)
def test_an_unrolled_layer_equals_torch_s(kind: Any, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    layer = kind(3, 5, **options)
    x = torch.randn(4, 7, 3, requires_grad=True)
    parts = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    rows = 4 if options.get("batch_first") else 7
    state: Any = torch.randn(parts, rows, 5)
    state = (state, torch.randn(parts, rows, 5)) if kind is nn.LSTM else state
    for given in ((x,), (x, state)):
        expected, last = layer(*given)
        with unrolled(layer):
            outputs, ended = layer(*given)
        torch.testing.assert_close(outputs, expected)
        torch.testing.assert_close(ended, last)
    gradients = [torch.autograd.grad(o.square().sum(), list(layer.parameters())) for o in (outputs, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_a_plain_layer_with_relu_is_unrolled_too() -> None:
    layer, x = nn.RNN(3, 5, nonlinearity="relu"), torch.randn(4, 2, 3)
    with unrolled(layer):
        outputs, _ = layer(x)
    torch.testing.assert_close(outputs, layer(x)[0])


def test_a_dropout_of_rate_0_is_not_called_in_training_but_one_with_a_rate_of_its_own_or_a_hook_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called: list[nn.Module] = []
    monkeypatch.setattr(KeyedDropout, "forward", lambda self, x: called.append(self) or x)
    idle, watched, other = Dropout(0.0), Dropout(0.0), Dropout(0.0)
    watched.register_forward_pre_hook(lambda *_: None)
    other.register_buffer("rate", torch.tensor(0.5))
    layers = nn.Sequential(nn.Linear(2, 2), idle, watched, other, Dropout(0.5))
    with keyed_dropouts(layers):
        through(layers, torch.ones(1, 2))
    assert called == [watched, other, layers[4]]


@pytest.mark.parametrize("hook", ["forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook"])
def test_a_sequence_that_is_watched_is_called(hook: str) -> None:
    layers, seen = nn.Sequential(nn.Linear(2, 2), Dropout(0.0)), []
    getattr(layers, f"register_{hook}")(lambda *_: seen.append(hook))
    through(layers, torch.ones(1, 2, requires_grad=True)).sum().backward()
    assert seen == [hook]
