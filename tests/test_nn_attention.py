"""Attention: torch's own layers with the same weights say the same, what is not there has no effect, sets have no order."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from netwright.core.errors import UsageError
from netwright.nn.attention import (
    AdditiveAffinity,
    AttentionPooling,
    DotAffinity,
    SelfAttention,
    attention_scores,
    there_of,
)
from netwright.nn.transformer import AttentionTrunk, EncoderBlock, Patches, Positions, TransformerTrunk

N, T, D = 4, 7, 3
LENGTHS = torch.tensor([7, 1, 4, 2])
TRUNKS: dict[str, Callable[[], nn.Module]] = {
    "pooling": lambda: AttentionTrunk(D, width=8, depth=2, norm=True),
    "pooling by products": lambda: AttentionTrunk(D, width=8, affinity="dot"),
    "transformer of a set": lambda: TransformerTrunk(D, width=8, heads=2, positions=False),
    "transformer, attention": lambda: TransformerTrunk(D, width=8, heads=2),
    "transformer, mean": lambda: TransformerTrunk(D, width=8, heads=2, pool="mean"),
    "transformer, cls": lambda: TransformerTrunk(D, width=8, heads=4, pool="cls", norm="after"),
    "transformer, patches": lambda: TransformerTrunk(D, width=8, heads=2, patch=3, stride=2),
}
UNORDERED = ("pooling", "pooling by products", "transformer of a set")
each = pytest.mark.parametrize("name", TRUNKS)


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    return TRUNKS[name]().eval()


def rows(seed: int = 0, n_steps: int = T) -> Tensor:
    return torch.randn(N, n_steps, D, generator=torch.Generator().manual_seed(seed))


# --- scores -----------------------------------------------------------------------------------------------------------


def test_scores_are_those_of_softmax_where_all_is_there() -> None:
    affinity = rows().double()
    torch.testing.assert_close(attention_scores(affinity, torch.ones_like(affinity).bool()), affinity.softmax(-1))
    torch.testing.assert_close(attention_scores(affinity), affinity.softmax(-1))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(-(2.0**99), 2.0**99, width=32), st.booleans()), min_size=1, max_size=8))
def test_scores_sum_to_one_over_what_is_there_and_are_zero_elsewhere(places: list[tuple[float, bool]]) -> None:
    affinity, there = torch.tensor([a for a, _ in places]), torch.tensor([t for _, t in places])
    scores = attention_scores(affinity, there)
    assert scores.isfinite().all() and (scores >= 0).all() and not scores[~there].any()
    assert abs(scores.sum().item() - float(there.any())) < 1e-5


def test_where_nothing_is_there_scores_and_their_gradients_are_zero_and_a_broken_number_stays_one() -> None:
    affinity = torch.randn(2, 3).requires_grad_()
    scores = attention_scores(affinity, torch.zeros(2, 3).bool())
    scores.sum().backward()
    assert affinity.grad is not None and not scores.any() and not affinity.grad.any()
    assert attention_scores(torch.tensor([0.0, float("nan")]), torch.tensor([True, True])).isnan().any()


def test_affinities_are_what_their_docstrings_say() -> None:
    torch.manual_seed(0)
    queries, vectors = torch.randn(N, 2, 5), rows()
    layer = AdditiveAffinity(5, D, 6)
    found = layer(queries, vectors)
    for n, m, t in ((0, 0, 0), (3, 1, 6)):
        inner = (layer.query.weight @ queries[n, m] + layer.key.weight @ vectors[n, t]).tanh()
        torch.testing.assert_close(found[n, m, t], (layer.worth.weight @ inner)[0])
    dot = DotAffinity()(vectors, vectors)
    torch.testing.assert_close(dot[1, 2, 3], vectors[1, 2] @ vectors[1, 3] / D**0.5)
    torch.testing.assert_close(DotAffinity(scaled=False)(vectors, vectors), dot * D**0.5)


@pytest.mark.parametrize("affinity", ["additive", "dot"])
def test_pooling_is_the_sum_of_the_vectors_weighted_by_the_scores(affinity: str) -> None:
    torch.manual_seed(0)
    pool, vectors = AttentionPooling(D, affinity=affinity), rows()  # type: ignore[arg-type]
    scores = pool.scores(vectors, LENGTHS)
    expected = torch.stack([sum(s * v for s, v in zip(scores[n], vectors[n], strict=True)) for n in range(N)])  # type: ignore[misc]
    torch.testing.assert_close(pool(vectors, LENGTHS), expected)
    for n, length in enumerate(LENGTHS):
        torch.testing.assert_close(pool(vectors[n : n + 1, :length], length.view(1))[0], expected[n])


# --- against torch ----------------------------------------------------------------------------------------------------


def copied(ours: SelfAttention, theirs: nn.MultiheadAttention) -> None:
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.into.weight)
        theirs.in_proj_bias.copy_(ours.into.bias)
        theirs.out_proj.weight.copy_(ours.out.weight)
        theirs.out_proj.bias.copy_(ours.out.bias)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_self_attention_is_that_of_torch_its_weights_too(heads: int) -> None:
    torch.manual_seed(0)
    ours, theirs = SelfAttention(8, heads), nn.MultiheadAttention(8, heads, batch_first=True)
    nn.init.normal_(ours.into.bias)
    copied(ours, theirs)
    x, there = torch.randn(N, T, 8), there_of(LENGTHS, T)
    expected, weights = theirs(x, x, x, key_padding_mask=~there, average_attn_weights=False)
    torch.testing.assert_close(ours(x, there)[there], expected[there])
    torch.testing.assert_close(ours.weights(x, there), weights)
    torch.testing.assert_close(ours(x), theirs(x, x, x)[0])


@pytest.mark.parametrize("norm", ["before", "after"])
def test_an_encoder_block_is_that_of_torch(norm: str) -> None:
    torch.manual_seed(0)
    ours = EncoderBlock(8, 2, 12, norm=norm)  # type: ignore[arg-type]
    theirs = nn.TransformerEncoderLayer(
        8, 2, 12, dropout=0.0, activation="gelu", batch_first=True, norm_first=norm == "before"
    )
    copied(ours.attention, theirs.self_attn)
    pairs = [(ours.first_norm, theirs.norm1), (ours.second_norm, theirs.norm2)]
    pairs += [(ours.second[0], theirs.linear1), (ours.second[3], theirs.linear2)]  # type: ignore[list-item]
    for mine, other in pairs:
        other.load_state_dict(mine.state_dict())
    x, there = torch.randn(N, T, 8), there_of(LENGTHS, T)
    torch.testing.assert_close(ours(x, there)[there], theirs(x, src_key_padding_mask=~there)[there])


def test_a_transformer_is_torchs_stack_of_blocks_between_its_ends() -> None:
    torch.manual_seed(0)
    trunk = TransformerTrunk(D, width=8, heads=2, depth=3, pool="mean", positions=False).eval()
    x = rows()
    expected = trunk.inward(x)
    for block in trunk.blocks:
        expected = block(expected)
    expected = trunk.norm(expected).mean(1)
    torch.testing.assert_close(trunk(x, torch.full((N,), T)), expected)


# --- laws of all trunks -----------------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("garbage", [1e6, float("nan"), float("inf")])
def test_what_stands_behind_a_length_changes_nothing(name: str, garbage: float) -> None:
    net, x = made(name), rows()
    there = there_of(LENGTHS, T).unsqueeze(-1)
    clean, dirty = torch.where(there, x, 0.0), torch.where(there, x, garbage)
    torch.testing.assert_close(net(dirty, LENGTHS), net(clean, LENGTHS))
    torch.testing.assert_close(net.scores(dirty, LENGTHS), net.scores(clean, LENGTHS))  # type: ignore[operator]


@each
def test_padding_and_other_rows_change_nothing(name: str) -> None:
    net, x = made(name), rows()
    together = net(x, LENGTHS)
    torch.testing.assert_close(net(nn.functional.pad(x, (0, 0, 0, 5)), LENGTHS), together)
    for n, length in enumerate(LENGTHS):
        torch.testing.assert_close(net(x[n : n + 1, :length], length.view(1))[0], together[n])


@each
def test_scores_sum_to_one_and_are_zero_behind_the_length(name: str) -> None:
    scores = made(name).scores(rows(), LENGTHS)  # type: ignore[operator]
    assert scores.shape == (N, T) and (scores >= 0).all()
    torch.testing.assert_close(scores.sum(1), torch.ones(N))
    assert not scores[~there_of(LENGTHS, T)].any() and (scores[there_of(LENGTHS, T)] > 0).all()


@each
def test_order_counts_just_where_it_should(name: str) -> None:
    net, x, all_there = made(name), rows(), torch.full((N,), T)
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    same = torch.allclose(net(x, all_there), net(x[:, order], all_there), atol=1e-6)
    assert same == (name in UNORDERED)
    if same:
        torch.testing.assert_close(net.scores(x, all_there)[:, order], net.scores(x[:, order], all_there))  # type: ignore[operator]


@each
def test_every_parameter_gets_a_gradient_and_no_rows_give_no_vectors(name: str) -> None:
    net = made(name).train()
    (net(rows(), LENGTHS) * torch.randn(N, net.n_out)).sum().backward()  # type: ignore[arg-type]
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert net(rows()[:0], LENGTHS[:0]).shape == (0, net.n_out)


def test_the_weights_of_every_block_are_shown_and_every_row_of_them_sums_to_one() -> None:
    net = TransformerTrunk(D, width=8, heads=2, depth=3, pool="cls").eval()
    weights = net.weights(rows(), LENGTHS)
    assert len(weights) == 3 and all(w.shape == (N, 2, T + 1, T + 1) for w in weights)
    for w in weights:
        torch.testing.assert_close(w.sum(3), torch.ones(N, 2, T + 1))
        assert not w[1, :, :, 2:].any()  # one place, and the further vector


# --- parts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (3, 3), (3, 2), (9, 4)])
def test_patches_hold_all_steps_in_order_and_give_their_scores_back(size: int, stride: int) -> None:
    patches, x = Patches(size, stride), torch.where(there_of(LENGTHS, T).unsqueeze(-1), rows(), 0.0)
    runs, many = patches(x, LENGTHS)
    for n, length in enumerate(LENGTHS.tolist()):
        assert many[n] == 1 or (int(many[n]) - 2) * stride + size < length  # one run less would not reach the end
        for p in range(int(many[n])):
            for k in range(min(size, length - p * stride)):
                torch.testing.assert_close(runs[n, p, k * D : (k + 1) * D], x[n, p * stride + k])
        assert (int(many[n]) - 1) * stride + size >= length and not runs[n, int(many[n]) :].any()
    scores = attention_scores(torch.randn(N, runs.shape[1]), there_of(many, runs.shape[1]))
    spread = patches.spread(scores, there_of(LENGTHS, T))
    torch.testing.assert_close(spread.sum(1), torch.ones(N))
    assert not spread[~there_of(LENGTHS, T)].any()


def test_positions_are_sines_and_cosines_scaled_by_what_is_learned() -> None:
    layer = Positions(5)
    table = layer.table(4)
    assert table.shape == (4, 5)
    torch.testing.assert_close(table[3, 2], torch.tensor(3 / 10_000 ** (2 / 5)).sin())
    torch.testing.assert_close(table[3, 1], torch.tensor(3.0).cos())
    torch.testing.assert_close(layer(torch.zeros(1, 4, 5))[0], layer.scale.detach() * table, check_stride=False)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: SelfAttention(8, 3), "a width of 8 cannot be shared among 3 heads"),
        (lambda: AttentionPooling(4, affinity="cosine"), "affinity is 'cosine'; 'additive' or 'dot'"),  # type: ignore[arg-type]
        (lambda: TransformerTrunk(3, pool="max"), "pool is 'max'; 'attention', 'mean' or 'cls'"),  # type: ignore[arg-type]
        (lambda: TransformerTrunk(3, norm="none"), "norm is 'none'; 'before' or 'after'"),  # type: ignore[arg-type]
        (lambda: TransformerTrunk(3, depth=0), "depth is 0"),
        (lambda: AttentionTrunk(3, depth=0), "depth is 0"),
        (lambda: Patches(2, 3), "expected 1 <= stride <= patch"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], nn.Module], expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        make()
