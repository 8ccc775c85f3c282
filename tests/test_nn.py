"""Laws of every layer, and each against a reference written out in plain numpy."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from netwright.nn.augment import Augment
from netwright.nn.codes import class_codes
from netwright.nn.convnet import ResidualConvBlock, ResidualConvNet
from netwright.nn.convstack import ConvStack
from netwright.nn.embed import CategoryEmbedding, PiecewiseLinear
from netwright.nn.ensemble import Ensemble
from netwright.nn.entries import LAYERS
from netwright.nn.lenet import LeNet5, LeNet1998, PartialConv, RadialBasis, Subsampling
from netwright.nn.mlp import MLP
from netwright.nn.pooling import MinPool
from netwright.nn.residual import ResidualBlock, ResidualMLP
from netwright.nn.text import NgramBag, TokenConv
from netwright.nn.threshold import ThresholdNet

KNOTS = [[0.0, 1.0, 3.0, 3.5], [-2.0, 2.0], [7.0], []]
NUMBERS = torch.tensor(
    [[0.5, -5.0, 7.0, 0.0], [math.nan, 1.0, math.nan, 2.0], [3.2, 0.0, 9.0, -1.0]], dtype=torch.float64
)

MADE: dict[str, tuple[Callable[[], nn.Module], Tensor, tuple[int, ...]]] = {
    "piecewise-linear": (lambda: PiecewiseLinear(KNOTS, 5), NUMBERS, (3, 4, 5)),
    "category-embedding": (lambda: CategoryEmbedding([3, 5], 4), torch.tensor([[0, 4], [2, 1], [1, 3]]), (3, 2, 4)),
    "residual-block": (
        lambda: ResidualBlock(6, hidden=8, dropout=0.2),
        torch.linspace(-1, 1, 18).reshape(3, 6),
        (3, 6),
    ),
    "residual-mlp": (
        lambda: ResidualMLP(6, 2, width=8, depth=2, dropout=0.2),
        torch.linspace(-1, 1, 18).reshape(3, 6),
        (3, 2),
    ),
    "residual-conv-block": (lambda: ResidualConvBlock(4, dropout=0.2), torch.rand(3, 4, 5, 6), (3, 4, 5, 6)),
    "residual-conv-net": (lambda: ResidualConvNet(2, 9, 8, width=4, dropout=0.2), torch.rand(3, 2, 9, 8), (3, 16)),
    "augment": (lambda: Augment(shift=0.1, flip=True), torch.rand(3, 2, 9, 8), (3, 2, 9, 8)),
    "ensemble": (lambda: Ensemble([nn.Linear(6, 2), nn.Linear(6, 2)]), torch.linspace(-1, 1, 18).reshape(3, 6), (3, 2)),
    "ngram-bag-layer": (
        lambda: NgramBag(9, 4, n=3, buckets=50),
        torch.tensor([[2, 3, 4], [8, 1, 0], [0, 0, 0]]),
        (3, 4),
    ),
    "mlp": (
        lambda: MLP(6, 2, [8, 8], act="tanh", dropout=0.2, batch_norm=True, residual=True),
        torch.linspace(-1, 1, 18).reshape(3, 6),
        (3, 2),
    ),
    "conv-stack": (
        lambda: ConvStack(2, (5, 6, 4), (3, 4), residual=True, dropout=0.2),
        torch.rand(3, 2, 5, 6, 4),
        (3, 8),
    ),
    "min-pool": (lambda: MinPool((2, 2)), torch.rand(3, 2, 4, 6), (3, 2, 2, 3)),
    "trained-subsampling": (lambda: Subsampling(2), torch.rand(3, 2, 4, 6), (3, 2, 2, 3)),
    "partial-conv": (lambda: PartialConv(3, ((0, 1), (2,)), 3), torch.rand(3, 3, 5, 6), (3, 2, 3, 4)),
    "radial-basis": (lambda: RadialBasis(class_codes(["1", "7"])), torch.rand(3, 84), (3, 2)),
    "lenet5-layers": (lambda: LeNet5(1, 10, norm=True, dropout=0.2), torch.rand(3, 1, 28, 28), (3, 10)),
    "lenet5-layers-1998": (lambda: LeNet1998(1, class_codes(["0", "1", "2"])), torch.rand(3, 1, 28, 28), (3, 3)),
    "token-conv": (lambda: TokenConv(9, 4, width=5), torch.tensor([[2, 3, 4, 5], [8, 1, 0, 0], [0, 0, 0, 0]]), (3, 15)),
    "threshold-net": (
        lambda: ThresholdNet.from_expression({"p": "(a & ~b) | c", "q": "a ^ b"}),
        torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]),
        (3, 2),
    ),
}
laws = pytest.mark.parametrize("name", MADE)

ELSEWHERE = {
    "test_nn_attention.py": (
        *("additive-affinity", "dot-affinity", "attention-pool", "self-attention", "positions", "patches"),
        *("encoder-block", "transformer-trunk", "attention-trunk"),
    ),
    "test_charcnn.py": ("char-convs",),
    "test_nn_series.py": (
        *("masked-norm", "masked-pool", "residual-series-block", "inception"),
        *("residual-series-net", "inception-series-net", "log-mel", "mel-augment", "audio-conv-net"),
    ),
    "test_nn_recurrent.py": ("elman", "gru", "lstm", "recurrent-layers", "recurrent-vector"),
    "test_hopfield.py": ("hopfield",),
    "test_nn_trees.py": ("child-sum-tree-lstm", "tree-reservoir", "tree-pooling"),
    "test_data_sets.py": ("deep-set",),
}
"""Layers that take lengths or two tensors: the file of tests that holds them to laws of their own."""


def made(name: str, seed: int = 0) -> tuple[nn.Module, Tensor, tuple[int, ...]]:
    make, x, shape = MADE[name]
    torch.manual_seed(seed)
    return make().eval(), x, shape


def test_every_layer_is_under_law() -> None:
    others = {name: file for file, names in ELSEWHERE.items() for name in names}
    assert set(MADE) | set(others) == set(LAYERS)
    assert all(isinstance(made(n)[0], LAYERS[n].load()) for n in MADE)
    tests = Path(__file__).parent
    unnamed = [n for n, f in others.items() if LAYERS[n].load().__name__ not in (tests / f).read_text(encoding="utf-8")]
    assert unnamed == []


@laws
def test_a_layer_gives_its_shape_finite_and_the_same_again(name: str) -> None:
    layer, x, shape = made(name)
    y = layer(x)
    assert y.shape == shape and y.isfinite().all() and torch.equal(y, layer(x))


@laws
def test_a_row_does_not_depend_on_its_neighbours(name: str) -> None:
    layer, x, _ = made(name)
    alone = torch.cat([layer(x[i : i + 1]) for i in range(len(x))])
    torch.testing.assert_close(layer(x), alone, rtol=1e-5, atol=1e-6)
    assert layer(x[:0]).shape[0] == 0


@laws
def test_every_parameter_gets_a_gradient(name: str) -> None:
    layer, x, shape = made(name)
    y = layer(x.clone().requires_grad_(x.is_floating_point())) * torch.randn(shape)
    if y.requires_grad:  # a step has no slope
        y.sum().backward()
    assert [n for n, p in layer.named_parameters() if p.grad is None or not p.grad.any()] == []


@laws
def test_a_layer_survives_its_state_and_depends_on_the_seed(name: str) -> None:
    layer, x, _ = made(name)
    other, _, _ = made(name, seed=1)
    assert not torch.equal(layer(x), other(x)) or not list(layer.parameters())
    other.load_state_dict(layer.state_dict())
    assert torch.equal(layer(x), other(x))


# --- piecewise-linear -------------------------------------------------------------------------------------------------


def reference_encoding(x: float, knots: list[float]) -> list[float]:
    """e_t(x) = (x - k_{t-1}) / (k_t - k_{t-1}), held to [0, 1]; free to 8 widths below the first and above the last knot."""
    pieces = len(knots) - 1
    found = []
    for t in range(pieces):
        e = (x - knots[t]) / (knots[t + 1] - knots[t])
        found.append(min(max(e, -8.0 if t == 0 else 0.0), 8.0 if t == pieces - 1 else 1.0))
    return found


@settings(max_examples=100, deadline=None)
@given(st.sets(st.integers(-100, 100), min_size=2, max_size=6), st.floats(-1e6, 1e6))
def test_the_encoding_equals_its_formula_inside_and_outside_the_knots(knots: set[int], x: float) -> None:
    rising = [k / 4 for k in sorted(knots)]
    encoded = PiecewiseLinear([rising], 2).encode(torch.tensor([[x]], dtype=torch.float64))
    np.testing.assert_allclose(encoded[0, 0], reference_encoding(x, rising), rtol=1e-6, atol=1e-6)


def test_the_output_is_the_encoding_times_the_weights() -> None:
    layer = PiecewiseLinear(KNOTS, 5)
    with torch.no_grad():
        layer.bias.normal_()
    y = layer(NUMBERS).detach().numpy()
    weight, bias, absent = (p.detach().numpy() for p in (layer.weight, layer.bias, layer.absent))
    for i, j in np.ndindex(3, 4):
        knots = KNOTS[j] if len(KNOTS[j]) > 1 else [(KNOTS[j] or [0.0])[0], (KNOTS[j] or [0.0])[0] + 1]
        value = NUMBERS[i, j].item()
        e = reference_encoding(value, knots) if not math.isnan(value) else None
        wanted = absent[j] if e is None else np.array(e) @ weight[j, : len(e)] + bias[j]
        np.testing.assert_allclose(y[i, j], wanted, rtol=1e-5, atol=1e-6)


def test_columns_with_fewer_knots_leave_no_trace_of_the_others() -> None:
    """Dead pieces of short columns must not move with any weight."""
    layer = PiecewiseLinear(KNOTS, 5)
    before = layer(NUMBERS)
    with torch.no_grad():
        layer.weight[1, 1:] += 100
    assert torch.equal(before, layer(NUMBERS))


def test_the_slope_is_finite_everywhere_and_zero_where_a_number_is_missing() -> None:
    layer = PiecewiseLinear([[0.0, 1.0, 1.0 + 1e-12]], 3)
    x = torch.tensor([[math.nan], [0.0], [1.0], [1e300], [-1e300], [0.5]], dtype=torch.float64, requires_grad=True)
    y = layer(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert y.isfinite().all() and slope.isfinite().all() and slope[0] == 0 and slope[5] != 0


def test_large_numbers_with_small_differences_keep_them() -> None:
    first = 1.7e9 + 77  # float32 knows only every 128th of these
    layer = PiecewiseLinear([[first, first + 10]], 1)
    x = first + torch.arange(10, dtype=torch.float64).unsqueeze(1)
    np.testing.assert_allclose(layer.encode(x).flatten(), np.arange(10) / 10, atol=1e-6)


# --- categories -------------------------------------------------------------------------------------------------------


def test_codes_never_reach_into_another_column() -> None:
    layer = CategoryEmbedding([3, 5], 4)
    table = layer.table.weight
    y = layer(torch.tensor([[2, 4], [0, 0]]))
    assert torch.equal(y[0, 0], table[2]) and torch.equal(y[0, 1], table[3 + 4])
    strange = layer(torch.tensor([[3, 5], [-1, -1], [10**9, -(10**9)]]))
    assert torch.equal(strange, y[1].expand(3, 2, 4))


def test_unknown_starts_as_the_zero_vector_in_every_column() -> None:
    assert not CategoryEmbedding([3, 5, 1], 4)(torch.zeros(1, 3, dtype=torch.int64)).any()


# --- residual ---------------------------------------------------------------------------------------------------------


def test_a_residual_block_adds_its_branch() -> None:
    block = ResidualBlock(6, hidden=8).eval()
    x = torch.randn(4, 6)
    norm, first, _, _, second, _ = block.branch
    normed = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    hidden = (normed @ first.weight.T + first.bias).clamp(min=0)
    torch.testing.assert_close(block(x), x + hidden @ second.weight.T + second.bias)
    assert isinstance(norm, nn.LayerNorm)


def test_outputs_start_close_to_zero_and_dropout_acts_in_training_only() -> None:
    net = ResidualMLP(6, 3, width=64, depth=2, dropout=0.5)
    x = torch.randn(100, 6)
    assert net.eval()(x).abs().max() < 0.5
    assert torch.equal(net(x), net(x))
    net.train()
    assert not torch.equal(net(x), net(x))


def test_depth_zero_has_no_blocks() -> None:
    assert len(ResidualMLP(4, 2, width=8, depth=0).blocks) == 0


def test_an_ensemble_answers_with_the_mean_of_its_members() -> None:
    first, second = nn.Linear(3, 2), nn.Linear(3, 2)
    x = torch.linspace(-1, 1, 12).reshape(4, 3)
    torch.testing.assert_close(Ensemble([first, second])(x), (first(x) + second(x)) / 2)
