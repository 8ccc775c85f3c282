"""Layers for token ids: padding and other rows change nothing, hashes are what their docstring says, all of it can be exported."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import vmap
from torch.fx.experimental.proxy_tensor import make_fx

from netwright.core.spec import PAD
from netwright.data.fronts import TextVector
from netwright.nn.text import NgramBag, TokenConv

N_IDS = 12
MAKERS: dict[str, Callable[[], nn.Module]] = {
    "words": lambda: NgramBag(N_IDS, 4, n=2, buckets=64),
    "single words": lambda: NgramBag(N_IDS, 4, n=1),
    "characters": lambda: NgramBag(N_IDS, 4, n=5, least=3, buckets=64),
    "convolutions": lambda: TokenConv(N_IDS, 6, width=5),
    "wide convolutions": lambda: TokenConv(N_IDS, 6, width=5, windows=(3, 7)),
}
each = pytest.mark.parametrize("name", MAKERS)


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    return MAKERS[name]().eval()


def padded(rows: list[list[int]], length: int) -> Tensor:
    return torch.tensor([row + [PAD] * (length - len(row)) for row in rows], dtype=torch.int32)


ROWS = st.lists(st.lists(st.integers(1, N_IDS - 1), max_size=7), min_size=1, max_size=4)


@each
@settings(max_examples=20, deadline=None)
@given(ROWS, st.integers(7, 12), st.integers(1, 30))
def test_padding_behind_a_text_and_other_rows_change_nothing(
    name: str, rows: list[list[int]], length: int, more: int
) -> None:
    net = made(name)
    together = net(padded(rows, length))
    assert together.shape == (len(rows), net.n_out) and together.isfinite().all()
    torch.testing.assert_close(net(padded(rows, length + more)), together)
    for k, row in enumerate(rows):
        torch.testing.assert_close(net(padded([row], max(len(row), 1)))[0], together[k])


@each
def test_an_empty_text_gives_the_same_finite_vector_everywhere(name: str) -> None:
    net = made(name)
    alone, among = net(padded([[]], 1)), net(padded([[], [3, 4]], 5))
    assert alone.isfinite().all()
    torch.testing.assert_close(alone[0], among[0])
    assert net.train()(padded([[], []], 3)).isfinite().all()


@each
def test_texts_differ_by_their_tokens_and_their_order(name: str) -> None:
    net = made(name)
    first, second, turned = net(padded([[2, 3, 4, 5], [2, 3, 4, 6], [5, 4, 3, 2]], 6)).double()
    assert not torch.allclose(first, second, atol=1e-6)
    assert torch.allclose(first, turned, atol=1e-6) == (name == "single words")


@each
def test_gradients_reach_every_parameter(name: str) -> None:
    net = made(name).train()
    ids = torch.tensor(list(itertools.product(range(1, N_IDS), repeat=2)), dtype=torch.int32)
    ids = torch.cat([ids, ids.flip(1), ids], 1)
    net(ids).square().sum().backward()
    for weight in net.parameters():
        assert weight.grad is not None and weight.grad.any()


@each
def test_training_evaluation_and_hooked_evaluation_agree_where_nothing_is_left_out(name: str) -> None:
    net = made(name)
    ids = padded([[2, 3, 4, 5, 6], [7], []], 6)
    hooked = net(ids)
    with torch.no_grad():
        torch.testing.assert_close(net(ids), hooked)
    torch.testing.assert_close(net.train()(ids), hooked)


def vectors_of(bag: NgramBag, tokens: list[int]) -> Tensor:
    """The docstring of `NgramBag` in plain Python."""
    numbers = []
    for n in range(bag.least, bag.n + 1):
        for start in range(len(tokens) - n + 1):
            gram = tokens[start : start + n]
            h = sum(i * 1_000_003 ** (n - k) for k, i in enumerate(gram, 1)) % bag.buckets
            numbers.append(gram[0] if n == 1 else h + (bag.n_ids if bag.least == 1 else 0))
    if not numbers:
        return torch.zeros(bag.n_out)
    return bag.table.weight[torch.tensor(numbers)].sum(0) / len(numbers) ** 0.5


@pytest.mark.parametrize(("n", "least"), [(1, 1), (2, 1), (3, 1), (5, 3), (4, 4)])
@pytest.mark.parametrize("tokens", [[], [3], [3, 4], [5, 5, 5, 5], [40_000, 2, 49_999, 7, 8, 40_000, 1]])
def test_a_bag_is_what_its_docstring_says(n: int, least: int, tokens: list[int]) -> None:
    torch.manual_seed(0)
    bag = NgramBag(50_002, 3, n=n, least=least, buckets=1000).eval()
    torch.testing.assert_close(bag(padded([tokens], 9))[0], vectors_of(bag, tokens))


def test_an_ngram_that_training_never_had_says_next_to_nothing() -> None:
    torch.manual_seed(0)
    assert NgramBag(100, 8)(torch.arange(2, 52).reshape(1, 50)).abs().max() < 0.1


def test_a_missing_token_within_a_text_is_no_ngram_and_hides_nothing_behind_it() -> None:
    bag = NgramBag(N_IDS, 4, n=2, buckets=64).eval()
    weight = bag.table.weight
    torch.testing.assert_close(bag(torch.tensor([[2, PAD, 3]]))[0], (weight[2] + weight[3]) / 2**0.5)
    front = TextVector("t:words", bag)
    torch.testing.assert_close(
        front({"t:words": torch.tensor([[2, PAD, 3, PAD]])})[0], (weight[2] + weight[3]) / 2**0.5
    )


def test_convolutions_are_those_of_torch_under_a_maximum_over_the_text() -> None:
    net = made("convolutions")
    assert isinstance(net, TokenConv)
    ids = torch.tensor([[2, 3, 4, 5]])
    x = net.table(ids).transpose(1, 2)
    plain = torch.cat([conv(x).relu().amax(2) for conv in net.convs], 1)
    torch.testing.assert_close(net(ids), plain)
    assert [conv.kernel_size for conv in net.convs] == [(1,), (3,), (5,)]


def test_dropout_leaves_out_whole_tokens_in_training_only() -> None:
    torch.manual_seed(0)
    net = TokenConv(N_IDS, 6, width=5, dropout=0.9).eval()
    ids = padded([[2, 3, 4]] * 200, 3)
    torch.testing.assert_close(net(ids), net(ids))
    assert len(net(ids).unique(dim=0)) == 1
    assert 2 <= len(net.train()(ids).unique(dim=0)) <= 2**3


@each
@pytest.mark.slow
def test_it_can_be_exported_with_any_batch_and_any_length(name: str) -> None:
    net = TextVector("t", made(name))
    batch, length = torch.export.Dim.DYNAMIC, torch.export.Dim.DYNAMIC
    example = {"t": padded([[2, 3, 4], [5]], 6)}
    program = torch.export.export(
        net, (example,), dynamic_shapes=({"t": {0: batch, 1: length}},), strict=False
    ).module()
    for rows, n in ((1, 1), (7, 9), (3, 50)):
        ids = torch.randint(0, N_IDS, (rows, n), dtype=torch.int32)
        torch.testing.assert_close(program({"t": ids}), net({"t": ids}))


def test_convolutions_over_texts_can_be_traced_whatever_their_padding() -> None:
    net, ids = TokenConv(N_IDS, 6, width=5).eval(), torch.tensor([[2, 3, 4], [2, 3, 5]])
    graph = make_fx(net)(ids)
    for some in (ids, padded([[2], [3, 4]], 3).long()):
        torch.testing.assert_close(graph(some), net(some))
    several = torch.stack([ids, padded([[2], [3, 4]], 3).long()])
    torch.testing.assert_close(vmap(net)(several), torch.stack([net(one) for one in several]))
