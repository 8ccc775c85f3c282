"""Laws of every activation: its derivative against central differences and autograd, its range, its layer."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from netwright.core.errors import UsageError
from netwright.nn.activations import RISING, Activation, activation, softmax_jacobian
from netwright.nn.entries import ACTIVATIONS

laws = pytest.mark.parametrize("name", ACTIVATIONS)
X = torch.linspace(-7, 7, 1401, dtype=torch.float64)
H = 1e-5
NAMED = {
    "step", "sign", "identity", "sigmoid", "tanh", "scaled-tanh", "hard-sigmoid", "hard-tanh", "relu", "leaky-relu",
    "prelu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "softsign",
}  # fmt: skip


def loaded(name: str) -> Activation:
    found = ACTIVATIONS[name].load()
    assert isinstance(found, Activation) and found.name == name
    return found


def test_the_classic_ones_are_there() -> None:
    assert set(ACTIVATIONS) >= NAMED


@laws
def test_the_derivative_is_the_central_difference(name: str) -> None:
    f, x = loaded(name), X + 0.003  # never at a kink
    torch.testing.assert_close(f.derivative(x), (f(x + H) - f(x - H)) / (2 * H), rtol=1e-6, atol=1e-8)


@laws
def test_the_derivative_is_that_of_autograd_at_kinks_too(name: str) -> None:
    f = loaded(name)
    x = torch.cat([X, torch.tensor([0.0, *f.kinks], dtype=torch.float64)]).requires_grad_()
    y = f(x)
    slope = torch.autograd.grad(y.sum(), x)[0] if y.requires_grad else torch.zeros_like(x)
    torch.testing.assert_close(f.derivative(x.detach()), slope, rtol=1e-7, atol=1e-12)


@laws
def test_those_that_nowhere_fall_are_named(name: str) -> None:
    steps = loaded(name)(X).diff()
    assert (name in RISING) == (name not in ("step", "sign", "prelu") and bool((steps >= 0).all()))


@laws
def test_values_lie_in_the_range_and_come_near_its_finite_ends(name: str) -> None:
    f = loaded(name)
    x = torch.linspace(-60, 60, 120_001, dtype=torch.float64)
    y = f(x)
    assert y.min() >= f.low - 1e-9 and y.max() <= f.high + 1e-9
    for end, reached in ((f.low, y.min()), (f.high, y.max())):
        assert math.isinf(end) or abs(reached.item() - end) < 0.02


@laws
def test_kinks_are_where_the_slope_jumps_and_nowhere_else(name: str) -> None:
    f = loaded(name)
    jumps = {
        float(k) for k in (-3, -1, 0, 1, 3, 6) for at in [torch.tensor(k, dtype=torch.float64)]
        if (f.derivative(at + 1e-9) - f.derivative(at - 1e-9)).abs() > 1e-4 or (f(at + 1e-9) - f(at - 1e-9)).abs() > 1e-4
    }  # fmt: skip
    assert jumps == set(f.kinks)


@laws
def test_the_layer_is_the_function_in_floats_and_doubles(name: str) -> None:
    f = loaded(name)
    if f.learns:
        for dtype in (torch.float32, torch.float64):
            layer = activation(name).to(dtype)
            torch.testing.assert_close(layer(X.to(dtype)).detach(), f(X.to(dtype)))
            assert f.derivative(X.to(dtype)).dtype == dtype
    assert isinstance(f.module(), nn.Module) and f(torch.zeros(2, 0, 3)).shape == (2, 0, 3)


@laws
def test_the_documentation_gives_formula_slope_range_and_source(name: str) -> None:
    f = loaded(name)
    for part in (f.formula, f.slope, "range: ", ACTIVATIONS[name].reference):
        assert part in (f.__doc__ or "")


def test_the_extremes_do_not_overflow() -> None:
    far = torch.tensor([-1e4, 1e4])
    for name in ACTIVATIONS:
        f = loaded(name)
        assert f(far).isfinite().all() and f.derivative(far).isfinite().all(), name


def test_the_scaled_tanh_takes_one_to_one() -> None:
    assert loaded("scaled-tanh")(torch.tensor(1.0)).item() == pytest.approx(1.0, abs=1e-4)


def test_selu_keeps_mean_and_variance() -> None:
    z = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    y = loaded("selu")(z)
    assert abs(y.mean().item()) < 0.01 and abs(y.var().item() - 1) < 0.02


@pytest.mark.parametrize("name", ["step", "sign"])
def test_what_lets_no_gradient_through_is_refused_for_training(name: str) -> None:
    with pytest.raises(UsageError, match=f"nothing can be learned through '{name}'"):
        activation(name)


def test_a_misspelt_activation_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="no activation 'leakyrelu'; did you mean 'leaky-relu'"):
        activation("leakyrelu")


def test_the_jacobian_of_softmax_is_that_of_autograd() -> None:
    x = torch.randn(5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wanted = torch.autograd.functional.jacobian(lambda v: v.softmax(0), x)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(softmax_jacobian(x.softmax(0)), wanted)
    assert softmax_jacobian(torch.full((4, 2, 3), 1 / 3)).shape == (4, 2, 3, 3)
