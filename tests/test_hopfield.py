"""Hopfield nets: the energy never rises, stored patterns stay and come back, and too many of them are lost."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from netwright.core.errors import DataError, UsageError
from netwright.nn.hopfield import CAPACITY, RULES, Hopfield, hebb, storkey

each_rule = pytest.mark.parametrize("rule", RULES)


def signs(n_rows: int, n: int, seed: int = 0) -> Tensor:
    drawn = torch.randint(0, 2, (n_rows, n), generator=torch.Generator().manual_seed(seed))
    return 2.0 * drawn.double() - 1


def flipped(x: Tensor, share: float, seed: int = 0) -> Tensor:
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) < share
    return torch.where(noise, -x, x)


@each_rule
@settings(max_examples=15, deadline=None)
@given(st.integers(1, 12), st.integers(2, 24), st.integers(0, 2**31), st.integers(0, 5))
def test_the_energy_never_rises_and_is_that_of_the_states(
    rule: str, n_patterns: int, n: int, seed: int, order: int
) -> None:
    net = Hopfield(signs(n_patterns, n, seed), rule=rule)  # type: ignore[arg-type]
    walk = net.walk(signs(3, n, seed + 1), seed=order)
    assert walk.settled
    assert (walk.energies.diff(dim=0) <= 1e-6).all()
    for sweep, states in enumerate(walk.states):
        torch.testing.assert_close(net.energy(states), walk.energies[sweep * n], rtol=0, atol=1e-5)


@each_rule
def test_where_it_settles_no_unit_wants_to_change(rule: str) -> None:
    net = Hopfield(signs(6, 40), rule=rule)  # type: ignore[arg-type]
    ended = net.walk(signs(20, 40, 1)).states[-1]
    torch.testing.assert_close(net(ended), ended)
    for k in range(40):  # nor would it be lower with one unit turned round
        turned = ended.clone()
        turned[:, k] *= -1
        assert (net.energy(turned) >= net.energy(ended) - 1e-6).all()


def test_weights_are_those_of_the_formulas() -> None:
    x = signs(4, 7).double()
    n = x.shape[1]
    by_hebb, by_storkey = torch.zeros(n, n).double(), torch.zeros(n, n).double()
    for p in x:
        before = by_storkey.clone()
        for i, j in itertools.product(range(n), range(n)):
            if i != j:
                by_hebb[i, j] += p[i] * p[j] / n
                h_ij = sum(before[i, k] * p[k] for k in range(n) if k not in (i, j))
                h_ji = sum(before[j, k] * p[k] for k in range(n) if k not in (i, j))
                by_storkey[i, j] += (p[i] * p[j] - p[i] * h_ji - h_ij * p[j]) / n
    torch.testing.assert_close(hebb(x), by_hebb)
    torch.testing.assert_close(storkey(x), by_storkey)
    torch.testing.assert_close(by_storkey, by_storkey.T)


@each_rule
def test_noisy_patterns_come_back(rule: str) -> None:
    patterns = signs(5, 100)
    restored = Hopfield(patterns, rule=rule).recall(flipped(patterns, 0.15))  # type: ignore[arg-type]
    torch.testing.assert_close(restored, patterns)


def overlap(rule: str, load: float, n: int = 240) -> float:
    """How much of random patterns is left where recall begins at them: 1 for all."""
    patterns = signs(round(load * n), n, 7)
    ended = Hopfield(patterns, rule=rule).walk(patterns).states[-1]  # type: ignore[arg-type]
    return float((ended * patterns).mean())


def test_the_capacity_of_hebbs_rule_is_about_0138_a_unit_and_storkeys_is_more() -> None:
    assert CAPACITY == 0.138
    assert overlap("hebb", 0.10) > 0.97
    assert overlap("hebb", 0.20) < 0.8
    assert overlap("storkey", 0.20) > 0.97


def test_patterns_come_back_in_the_shape_values_and_kind_in_which_they_came() -> None:
    images = np.array([[[1, 1], [1, 0], [0, 0]], [[1, 0], [1, 0], [1, 0]]])
    for dtype in (bool, np.float64, np.int64, np.uint8):
        back = Hopfield(images.astype(dtype)).recall(images.astype(dtype))
        assert isinstance(back, np.ndarray) and back.shape == images.shape
        np.testing.assert_array_equal(back.astype(int), images)
    assert Hopfield(images.astype(bool)).recall(images.astype(bool)).dtype == bool
    assert isinstance(Hopfield(signs(2, 8)).recall(signs(2, 8)), Tensor)


def test_a_row_does_not_depend_on_its_neighbours_and_the_order_is_the_seeds() -> None:
    net = Hopfield(signs(8, 40))
    x = signs(6, 40, 3)
    together = net.recall(x, seed=1)
    torch.testing.assert_close(torch.cat([net.recall(x[k : k + 1], seed=1) for k in range(6)]), together)
    torch.testing.assert_close(net.recall(x, seed=1), together)


def test_all_units_at_once_may_swing_where_one_at_a_time_settles() -> None:
    net = Hopfield(torch.tensor([[1.0, -1.0]]).double())
    start = torch.tensor([[1.0, 1.0]]).double()
    torch.testing.assert_close(net(start), -start)
    torch.testing.assert_close(net(net(start)), start)
    assert net.walk(start).settled


@pytest.mark.parametrize("patterns", [[], [1, 0], [[1]], [[]]])
def test_patterns_that_are_none_are_refused(patterns: list[int]) -> None:
    with pytest.raises(UsageError, match="expected"):
        Hopfield(patterns)


def test_other_values_sizes_and_rules_are_refused() -> None:
    with pytest.raises(DataError, match="two values"):
        Hopfield([[0.0, 0.5]])
    with pytest.raises(DataError, match="two values"):
        Hopfield([[0.0, float("nan")]])
    with pytest.raises(DataError, match="two values"):
        Hopfield([[0.0, -1.0, 1.0]])
    net = Hopfield(signs(2, 6))
    with pytest.raises(UsageError, match="6 units"):
        net.recall(signs(2, 5))
    with pytest.raises(UsageError, match="did you mean 'storkey'"):
        Hopfield(signs(2, 6), rule="storky")  # type: ignore[arg-type]
