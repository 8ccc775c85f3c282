"""Recurrent networks: torch's numbers from torch's weights, gates that are those of the formulas, and padding without effect."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from netwright.core.errors import UsageError
from netwright.export.graph import _recurrent
from netwright.nn.cells import GRU, LSTM, Elman, gates_of
from netwright.nn.lengths import at_last, backwards, inside
from netwright.nn.masks import keyed, keyed_dropouts
from netwright.nn.recurrent import LAYERS, POOLS, Recurrent, RecurrentVector
from netwright.nn.unrolled import unrolled

N, T, D, H = 4, 7, 3, 5
LENGTHS = torch.tensor([7, 1, 4, 6])
PAIRS: dict[str, tuple[type[nn.RNNBase], type[nn.RNNBase], dict[str, Any]]] = {
    "elman": (Elman, nn.RNN, {}),
    "elman-relu": (Elman, nn.RNN, {"nonlinearity": "relu"}),
    "gru": (GRU, nn.GRU, {}),
    "lstm": (LSTM, nn.LSTM, {}),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "one layer": {},
    "two layers": {"depth": 2},
    "both directions": {"directions": 2},
    "two layers, both directions": {"depth": 2, "directions": 2},
    "jumping levels": {"depth": 3, "directions": 2, "skip": True},
    "residual": {"depth": 3, "residual": True},
    "residual and jumping": {"depth": 2, "residual": True, "skip": True, "directions": 2},
}
each_cell = pytest.mark.parametrize("cell", LAYERS)
each_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def rows(seed: int = 0, n: int = N, steps: int = T) -> Tensor:
    return torch.randn(n, steps, D, generator=torch.Generator().manual_seed(seed))


def made(make: Callable[[], Any], seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return make()


def gradients(net: nn.Module, price: Tensor) -> dict[str, Tensor]:
    found = torch.autograd.grad(price, list(net.parameters()))
    return dict(zip(dict(net.named_parameters()), found, strict=True))


# --- gates, against torch ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_that_shows_its_gates_takes_torchs_weights_and_equals_torch(
    pair: str, depth: int, both: bool, bias: bool
) -> None:
    ours, theirs, options = PAIRS[pair]
    options = {**options, "num_layers": depth, "bidirectional": both, "bias": bias, "batch_first": True}
    reference = made(lambda: theirs(D, H, **options))
    layer = ours(D, H, **options)
    layer.load_state_dict(reference.state_dict())
    x, expected = rows(), reference(rows())[0]
    torch.testing.assert_close(layer(x)[0], expected, rtol=0, atol=1e-6)
    shown = layer.gates(x)  # type: ignore[operator]
    top = [shown[f"state_l{depth - 1}{way}"] for way in ("", "_reverse")[: 1 + both]]
    torch.testing.assert_close(torch.cat(top, -1), expected, rtol=0, atol=1e-6)
    with unrolled(nn.ModuleList([layer])):
        torch.testing.assert_close(layer(x)[0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("pair", PAIRS)
def test_gates_of_unequal_sequences_are_those_of_packed_ones_and_of_any_layer_of_torch(pair: str) -> None:
    _, theirs, options = PAIRS[pair]
    layer = made(lambda: theirs(D, H, num_layers=2, bidirectional=True, **options))
    x = rows().transpose(0, 1)
    packed, _ = layer(pack_padded_sequence(x, LENGTHS, enforce_sorted=False))
    expected = pad_packed_sequence(packed, batch_first=True)[0]
    shown = gates_of(layer, x, LENGTHS)
    torch.testing.assert_close(torch.cat([shown["state_l1"], shown["state_l1_reverse"]], -1), expected)


def test_gru_gates_make_the_state_that_the_formula_says() -> None:
    shown = made(lambda: GRU(D, H, batch_first=True)).gates(rows())
    h, z, n = shown["state_l0"], shown["update_l0"], shown["candidate_l0"]
    before = torch.cat([torch.zeros(N, 1, H), h[:, :-1]], 1)
    torch.testing.assert_close(h, (1 - z) * n + z * before)
    assert all(((shown[f"{g}_l0"] > 0) & (shown[f"{g}_l0"] < 1)).all() for g in ("reset", "update"))


def test_lstm_gates_make_the_cell_and_the_state_that_the_formula_says() -> None:
    shown = made(lambda: LSTM(D, H, batch_first=True)).gates(rows())
    i, f, g, o, c = (shown[f"{name}_l0"] for name in ("input", "forget", "candidate", "output", "cell"))
    before = torch.cat([torch.zeros(N, 1, H), c[:, :-1]], 1)
    torch.testing.assert_close(c, f * before + i * g)
    torch.testing.assert_close(shown["state_l0"], o * c.tanh())


def test_forget_gates_start_open() -> None:
    layer = made(lambda: LSTM(D, H, num_layers=2))
    for k in range(2):
        bias = getattr(layer, f"bias_ih_l{k}") + getattr(layer, f"bias_hh_l{k}")
        torch.testing.assert_close(bias[H : 2 * H], torch.ones(H))


@each_cell
@each_option
def test_a_network_shows_the_gates_of_every_layer_and_direction(cell: str, options: dict[str, Any]) -> None:
    net = made(lambda: Recurrent(D, H, cell=cell, dropout=0.5, **options)).train()
    shown = net.gates(rows(), LENGTHS)
    assert net.training
    each = 4 if cell == "gru" else 6 if cell == "lstm" else 1
    assert len(shown) == each * options.get("depth", 1) * options.get("directions", 1)
    assert all(gate.shape == (N, T, H) for gate in shown.values())
    outputs = net.eval()(rows(), LENGTHS)[0]
    levels = range(options.get("depth", 1)) if options.get("skip") else [options.get("depth", 1) - 1]
    if not options.get("residual"):
        ways = ("", "_reverse")[: options.get("directions", 1)]
        states = [shown[f"state_l{k}{way}"] for k in levels for way in ways]
        torch.testing.assert_close(torch.cat(states, -1), outputs, rtol=0, atol=1e-6)


# --- the network, against torch ---------------------------------------------------------------------------------------


@each_cell
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("both", [False, True])
def test_a_stack_is_torchs_layer_of_several_levels_on_packed_sequences(cell: str, depth: int, both: bool) -> None:
    _, theirs, options = PAIRS[cell]
    reference = made(lambda: theirs(D, H, num_layers=depth, bidirectional=both, batch_first=True, **options))
    net = Recurrent(D, H, cell=cell, depth=depth, directions=1 + both)
    for (number, level), way in itertools.product(enumerate(net.layers), range(1 + both)):
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            theirs_named = getattr(reference, f"{kind}_l{number}" + "_reverse" * way)
            getattr(level[way], f"{kind}_l0").data.copy_(theirs_named.data)  # type: ignore[index]
    packed, last = reference(pack_padded_sequence(rows(), LENGTHS, batch_first=True, enforce_sorted=False))
    expected = pad_packed_sequence(packed, batch_first=True)[0]
    torch.testing.assert_close(net(rows(), LENGTHS)[0], expected, rtol=0, atol=1e-6)
    pooled = RecurrentVector(D, H, cell=cell, depth=depth, directions=1 + both)
    pooled.body.load_state_dict(net.state_dict())
    hidden = last[0] if cell == "lstm" else last
    ends = hidden.view(depth, 1 + both, N, H)[-1].transpose(0, 1).flatten(1)
    torch.testing.assert_close(pooled(rows(), LENGTHS), ends, rtol=0, atol=1e-6)


def test_a_level_reads_the_inputs_and_all_levels_below_it() -> None:
    net = made(lambda: Recurrent(D, H, depth=3, skip=True)).eval()
    first, second, third = (level[0] for level in net.layers)
    x = rows()
    one = first(x)[0]
    two = second(torch.cat([x, one], -1))[0]
    three = third(torch.cat([x, one, two], -1))[0]
    torch.testing.assert_close(net(x)[0], torch.cat([one, two, three], -1))
    assert net.n_out == 3 * H


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_pooled_vector_is_that_of_each_sequence_alone(pool: str, options: dict[str, Any]) -> None:
    net = made(lambda: RecurrentVector(D, H, pool=pool, **options)).eval()
    x, together = rows(), net(rows(), LENGTHS)
    assert together.shape == (N, net.n_out)
    for k, n in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(net(x[k : k + 1, :n])[0], together[k], rtol=0, atol=1e-6)


# --- padding ----------------------------------------------------------------------------------------------------------


@each_cell
@each_option
@pytest.mark.parametrize("garbage", [1e6, float("nan")])
def test_what_stands_behind_a_sequence_changes_nothing_forwards_and_backwards(
    cell: str, options: dict[str, Any], garbage: float
) -> None:
    net = made(lambda: Recurrent(D, H, cell=cell, **options))
    plain, longer = rows(), torch.cat([rows(), torch.zeros(N, 3, D)], 1)
    behind = ~inside(LENGTHS, T + 3).unsqueeze(-1)
    longer = torch.where(behind, garbage, longer).requires_grad_()
    plain = torch.where(inside(LENGTHS, T).unsqueeze(-1), plain, 0.0).requires_grad_()
    results = []
    for x in (plain, longer):
        outputs, _ = net(x, LENGTHS)
        assert not outputs[~inside(LENGTHS, outputs.shape[1])].any()
        price = outputs.square().sum() + outputs.sum()
        results.append((outputs[:, :T], *torch.autograd.grad(price, [x, *net.parameters()])))
    for number, (one, two) in enumerate(zip(*results, strict=True)):
        if number == 1:
            assert not two[behind.expand_as(two)].any()
            two = two[:, :T]
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


def test_sequences_are_read_backwards_from_their_own_ends() -> None:
    x = rows()
    turned = backwards(x, LENGTHS)
    for row, back, n in zip(x, turned, LENGTHS.tolist(), strict=True):
        torch.testing.assert_close(back, torch.cat([row[:n].flip(0), row[n:]]))
    torch.testing.assert_close(backwards(turned, LENGTHS), x)
    torch.testing.assert_close(backwards(x, None), x.flip(1))
    torch.testing.assert_close(at_last(x, LENGTHS), torch.stack([x[k, n - 1] for k, n in enumerate(LENGTHS.tolist())]))


# --- truncated backpropagation ----------------------------------------------------------------------------------------


def detached_every(net: Recurrent, x: Tensor, k: int) -> Tensor:
    """One level of cells step by step, its state detached before steps k, 2k, ...: the outputs."""
    layer: Any = net.layers[0][0]  # type: ignore[index]
    state, outputs = None, []
    for t in range(x.shape[1]):
        if state is not None and t % k == 0:
            state = state.detach() if isinstance(state, Tensor) else tuple(part.detach() for part in state)
        one, state = layer(x[:, t : t + 1], state)
        outputs.append(one)
    return torch.cat(outputs, 1)


@each_cell
@pytest.mark.parametrize("k", [T, T + 3, 1000])
@pytest.mark.parametrize("directions", [1, 2])
def test_truncating_behind_the_end_gives_the_whole_gradient(cell: str, k: int, directions: int) -> None:
    whole = made(lambda: Recurrent(D, H, cell=cell, depth=2, directions=directions))
    cut = Recurrent(D, H, cell=cell, depth=2, directions=directions, truncate=k)
    cut.load_state_dict(whole.state_dict())
    wanted, found = (gradients(net, net(rows(), LENGTHS)[0].square().sum()) for net in (whole, cut))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


@each_cell
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_truncating_gives_the_gradient_of_a_network_whose_state_is_detached_every_k_steps(cell: str, k: int) -> None:
    net = made(lambda: Recurrent(D, H, cell=cell, truncate=k))
    outputs = net(rows())[0]
    reference = detached_every(net, rows(), k)
    torch.testing.assert_close(outputs, reference)
    found, wanted = (gradients(net, some[:, -1].square().sum()) for some in (outputs, reference))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    whole = gradients(net, detached_every(net, rows(), 1000)[:, -1].square().sum())
    assert any(not torch.allclose(found[name], whole[name], atol=1e-6) for name in whole)


def test_truncating_several_levels_is_going_on_from_piece_to_piece_with_detached_states() -> None:
    net = made(lambda: Recurrent(D, H, cell="lstm", depth=2, skip=True, truncate=3))
    outputs = net(rows())[0]
    net.truncate, state, pieces = 0, None, []
    for piece in rows().split(3, 1):
        one, state = net(piece, None, state)
        state = [tuple(part.detach() for part in level) for level in state]
        pieces.append(one)
    torch.testing.assert_close(torch.cat(pieces, 1), outputs)
    found, wanted = (gradients(net, some.square().sum()) for some in (outputs, torch.cat(pieces, 1)))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_nothing_is_truncated_in_evaluation() -> None:
    net = made(lambda: Recurrent(D, H, truncate=2)).eval()
    found = gradients(net, net(rows())[0][:, -1].square().sum())
    net.truncate = 0
    torch.testing.assert_close(found, gradients(net, net(rows())[0][:, -1].square().sum()))


# --- dropout ----------------------------------------------------------------------------------------------------------


@each_cell
def test_variational_masks_are_one_a_sequence_on_inputs_and_states(cell: str) -> None:
    net = made(lambda: Recurrent(D, H, cell=cell, dropout=0.5, variational=True)).train()
    with keyed_dropouts(net), keyed(torch.tensor(3)):
        outputs = net(rows())[0]
        mask_x = net.input_drops[0](torch.ones(N, D))
        mask_h = net.state_drops[0][0](torch.ones(N, H))
    assert set(mask_x.unique().tolist()) == set(mask_h.unique().tolist()) == {0.0, 2.0}
    layer: Any = net.layers[0][0]
    for k in range(N):  # the weights of each sequence, its masks multiplied into them, in torch's own layer
        own = made(lambda: LAYERS[cell](D, H))
        own.load_state_dict(layer.state_dict())
        if cell == "gru":
            continue  # the state of a GRU goes past its weights, too: see the next test
        own.weight_ih_l0.data *= mask_x[k]
        own.weight_hh_l0.data *= mask_h[k]
        torch.testing.assert_close(own(rows()[k : k + 1])[0][0], outputs[k], rtol=0, atol=1e-6)


def test_the_masked_state_of_a_gru_goes_past_its_weights_whole() -> None:
    net = made(lambda: Recurrent(D, H, dropout=0.5, variational=True)).train()
    with keyed_dropouts(net), keyed(torch.tensor(3)):
        outputs = net(rows())[0]
        mask_x, mask_h = net.input_drops[0](torch.ones(N, D)), net.state_drops[0][0](torch.ones(N, H))
    cell: Any = nn.GRUCell(D, H)
    layer: Any = net.layers[0][0]
    cell.load_state_dict({name.removesuffix("_l0"): p for name, p in layer.state_dict().items()})
    h = torch.zeros(N, H)
    for t in range(T):
        gi = cell.bias_ih + (rows()[:, t] * mask_x) @ cell.weight_ih.T
        gh = cell.bias_hh + (h * mask_h) @ cell.weight_hh.T
        r, z = ((gi[:, a : a + H] + gh[:, a : a + H]).sigmoid() for a in (0, H))
        h = (1 - z) * (gi[:, 2 * H :] + r * gh[:, 2 * H :]).tanh() + z * h
        torch.testing.assert_close(outputs[:, t], h, rtol=0, atol=1e-6)


@pytest.mark.parametrize("variational", [False, True])
def test_dropout_is_off_in_evaluation_and_padding_does_not_move_masks(variational: bool) -> None:
    net = made(lambda: Recurrent(D, H, depth=2, dropout=0.5, variational=variational))
    net.eval()
    plain = Recurrent(D, H, depth=2)
    plain.load_state_dict(net.state_dict())
    torch.testing.assert_close(net(rows(), LENGTHS)[0], plain(rows(), LENGTHS)[0])
    net.train()
    with keyed_dropouts(net), keyed(torch.tensor(5)):
        one = net(rows(), LENGTHS)[0]
        two = net(torch.cat([rows(), torch.ones(N, 2, D)], 1), LENGTHS)[0]
    torch.testing.assert_close(one, two[:, :T])
    assert not torch.allclose(one, plain(rows(), LENGTHS)[0])


# --- wrong use, and export --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cell": "gur"}, "did you mean 'gru'"),
        ({"depth": 0}, "depth is 0"),
        ({"directions": 3}, "directions is 3"),
        ({"truncate": -1}, "truncate is -1"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Recurrent(D, H, **options)


def test_a_wrong_pool_and_a_state_for_both_directions_are_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'mean'"):
        RecurrentVector(D, H, pool="men")
    net = Recurrent(D, H, directions=2)
    with pytest.raises(UsageError, match="one direction"):
        net(rows(), None, net(rows())[1])


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("pool", POOLS)
def test_it_can_be_exported_for_any_batch(cell: str, pool: str) -> None:
    net = made(lambda: RecurrentVector(D, H, cell=cell, depth=2, directions=2, skip=True, pool=pool)).eval()
    shapes = ({0: torch.export.Dim.DYNAMIC}, {0: torch.export.Dim.DYNAMIC})
    with _recurrent():  # as the house exports: torch keeps kernels of earlier calls in a cache
        program = torch.export.export(net, (rows(), LENGTHS), dynamic_shapes=shapes, strict=False).module()
    for n in (1, 6):
        x, lengths = rows(1, n), torch.arange(n) % T + 1
        torch.testing.assert_close(program(x, lengths), net(x, lengths))
