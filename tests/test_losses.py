"""Laws of every loss: priced row by row, finite, the right slope, best at its own constant, and its link sums to one."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from netwright.core.errors import UsageError
from netwright.core.spec import TargetSpec
from netwright.losses.entries import LOSSES
from netwright.losses.loss import Loss, adapt, weighted
from netwright.losses.standard import CrossEntropy, SquaredError

CLASSES = TargetSpec(name="y", task="classes", classes=("a", "b", "c"), priors=(0.6, 0.3, 0.1))
BINARY = TargetSpec(name="y", task="binary", classes=("no", "yes"), priors=(0.2, 0.8))
NUMBER = TargetSpec(name="y", task="number", center=1000.0, scale=50.0, low=800.0, high=1200.0)
TARGETS = {"classes": CLASSES, "binary": BINARY, "number": NUMBER}
N = 12


def some_y(target: TargetSpec) -> Tensor:
    """Targets whose shares, or whose mean, are those of the spec."""
    if target.is_number:
        offsets = torch.linspace(-1, 1, N, dtype=torch.float64)
        return target.center + target.scale * offsets
    counts = [round(p * 10) for p in target.priors]
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


CASES = [
    pytest.param(name, TARGETS[task], id=f"{name}-{task}")
    for name, e in LOSSES.items()
    for task in TARGETS
    if e.fits(kind="", task=task)
]
laws = pytest.mark.parametrize(("name", "target"), CASES)


def loss_of(name: str, target: TargetSpec) -> Loss:
    loss = LOSSES[name].load()(target)
    assert isinstance(loss, Loss)
    return loss


def outputs_for(loss: Loss, target: TargetSpec, n: int, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(n, loss.n_out(target), generator=torch.Generator().manual_seed(0))


def test_every_loss_fits_some_task() -> None:
    assert {c.values[0] for c in CASES} == set(LOSSES)


@laws
def test_a_loss_is_a_value_a_row_not_negative_and_the_same_alone(name: str, target: TargetSpec) -> None:
    loss, y = loss_of(name, target), some_y(target)
    outputs = outputs_for(loss, target, len(y))
    values = loss.values(outputs, y)
    assert values.shape == (len(y),) and (values >= 0).all() and values.isfinite().all()
    alone = torch.cat([loss.values(outputs[i : i + 1], y[i : i + 1]) for i in range(len(y))])
    torch.testing.assert_close(values, alone, rtol=1e-6, atol=1e-7)


@laws
def test_weights_multiply_each_row(name: str, target: TargetSpec) -> None:
    loss, y = loss_of(name, target), some_y(target)
    outputs, weight = outputs_for(loss, target, len(y)), torch.linspace(0, 3, len(y))
    torch.testing.assert_close(loss.values(outputs, y, weight=weight), weight * loss.values(outputs, y))


@laws
@pytest.mark.parametrize("size", [1e3, 1e10, 1e15])
def test_extreme_outputs_have_a_finite_price_and_slope(name: str, target: TargetSpec, size: float) -> None:
    loss, y = loss_of(name, target), some_y(target)
    for sign in (-1, 1):
        outputs = (sign * size * torch.eye(loss.n_out(target))[torch.zeros(len(y), dtype=torch.int64)]).requires_grad_()
        values = loss.values(outputs, y)
        assert values.isfinite().all() and (values >= 0).all()
        assert torch.autograd.grad(values.mean(), outputs)[0].isfinite().all()
        assert loss.predict(outputs).isfinite().all()


@laws
def test_predictions_are_probabilities_that_sum_to_one_or_values_in_the_unit(name: str, target: TargetSpec) -> None:
    loss = loss_of(name, target)
    prediction = loss.predict(outputs_for(loss, target, 50, scale=30.0).double())
    if target.is_number:
        assert prediction.shape == (50,)
        assert loss.predict(torch.zeros(1, 1)).item() == target.center
    else:
        assert prediction.shape == (50, len(target.classes)) and (prediction >= 0).all()
        torch.testing.assert_close(prediction.sum(1), torch.ones(50, dtype=torch.float64))


@laws
def test_the_slope_agrees_with_finite_differences(name: str, target: TargetSpec) -> None:
    loss, y = loss_of(name, target), some_y(target)
    outputs = outputs_for(loss, target, len(y)).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda o: loss.values(o, y), (outputs,), eps=1e-6, atol=1e-6)


@laws
def test_no_constant_is_better_than_the_loss_s_own(name: str, target: TargetSpec) -> None:
    """It has zero slope, and every step away from it costs more: where a network without inputs would end."""
    loss, y = loss_of(name, target), some_y(target)
    best = loss.constant(target).double().requires_grad_()
    assert best.shape == (loss.n_out(target),)

    def price(constant: Tensor) -> Tensor:
        return loss.values(constant.expand(len(y), -1), y).mean()

    assert torch.autograd.grad(price(best), best)[0].abs().max() < 1e-6
    directions = torch.randn(20, len(best), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    if not target.is_number:
        directions = directions - directions.mean(1, keepdim=True)  # a softmax does not see a common shift
    assert all(price(best + step) > price(best) for step in 0.05 * directions)
    predicted = loss.predict(best.detach().reshape(1, -1))
    wanted = [target.center] if target.is_number else target.priors
    assert predicted.flatten().tolist() == pytest.approx(wanted, rel=1e-5)


@laws
def test_a_loss_survives_json(name: str, target: TargetSpec) -> None:
    loss: Any = loss_of(name, target)
    assert type(loss).model_validate_json(loss.model_dump_json()) == loss
    assert loss.name == name


# --- against torch ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_equals_torch_s(smoothing: float) -> None:
    y = some_y(CLASSES)
    outputs = outputs_for(CrossEntropy(), CLASSES, len(y))
    reference = F.cross_entropy(outputs, y, reduction="none", label_smoothing=smoothing)
    torch.testing.assert_close(CrossEntropy(smoothing=smoothing).values(outputs, y), reference)


def test_squared_error_equals_torch_s_in_spreads_and_keeps_large_units() -> None:
    """Targets near 1e9 that differ by 1: the shift happens in float64, before float32 could merge them."""
    y = 1e9 + torch.arange(4, dtype=torch.float64)
    loss = SquaredError(center=1e9, scale=2.0)
    outputs = torch.zeros(4, 1)
    reference = F.mse_loss(outputs.squeeze(1), torch.arange(4) / 2, reduction="none")
    torch.testing.assert_close(loss.values(outputs, y), reference)
    assert loss.predict(torch.ones(3, dtype=torch.float64)).tolist() == [1e9 + 2] * 3


def test_positions_under_a_mask_do_not_count() -> None:
    values, mask = torch.tensor([[1.0, 3.0], [5.0, 7.0]]), torch.tensor([[1, 1], [1, 0]])
    assert weighted(values, None, mask).tolist() == [2.0, 5.0]
    assert weighted(values, torch.tensor([1.0, 2.0]), None).tolist() == [2.0, 12.0]
    assert weighted(values, None, torch.zeros(2, 2)).tolist() == [0.0, 0.0]
    outputs, y = torch.randn(2, 3, 4), torch.zeros(2, 3, dtype=torch.int64)
    reference = F.cross_entropy(outputs.flatten(0, 1), y.flatten(), reduction="none").reshape(2, 3).mean(1)
    torch.testing.assert_close(CrossEntropy().values(outputs, y), reference)


# --- a user's function ------------------------------------------------------------------------------------------------


def test_a_function_that_gives_a_mean_is_priced_row_by_row() -> None:
    outputs, y = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    reference = F.cross_entropy(outputs, y, reduction="none")
    for function in (F.cross_entropy, torch.nn.CrossEntropyLoss(), torch.nn.CrossEntropyLoss(reduction="none")):
        torch.testing.assert_close(adapt(function).values(outputs, y), reference)
    torch.testing.assert_close(adapt(F.cross_entropy).values(outputs[:1], y[:1]), reference[:1])


def test_a_link_says_what_outputs_mean() -> None:
    outputs = torch.tensor([[0.0], [math.log(3)]])
    torch.testing.assert_close(adapt(F.mse_loss, "sigmoid").predict(outputs), torch.tensor([[0.5, 0.5], [0.25, 0.75]]))
    assert adapt(F.mse_loss, "identity").predict(outputs).shape == (2,)
    torch.testing.assert_close(adapt(F.cross_entropy, "softmax").predict(torch.zeros(1, 4)), torch.full((1, 4), 0.25))


def test_an_unknown_link_is_said_and_never_guessed() -> None:
    with pytest.raises(UsageError, match=r"what an output means is not known.*link='softmax'"):
        adapt(F.cross_entropy).predict(torch.zeros(1, 2))
