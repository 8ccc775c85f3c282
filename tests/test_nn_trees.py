"""Networks on trees: equal to a plain recursion over nodes, whatever the order of children, the padding and the other trees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from netwright.core.errors import UsageError
from netwright.core.seed import numpy_generator
from netwright.core.spec import FIRST_ID, InputSpec, TargetSpec, TreeField
from netwright.data.trees import tree_of_children
from netwright.nn.trees import ChildSumTreeLSTM, TreePooling, TreeReservoir, levels_of
from netwright.recipes.custom import two_rows
from netwright.recipes.entries import TEMPLATES
from netwright.recipes.trees import tree_classifier

N_LABELS = 5
FIELD = TreeField(labels=tuple("abcde"), n_nodes=12)
SPEC = InputSpec(kind="tree", fields=(FIELD,))
TARGET = TargetSpec(name="y", task="classes", classes=("a", "b", "c"), priors=(0.3, 0.3, 0.4))
Children = list[list[int]]


def random_tree(seed: int, n: int) -> tuple[list[int], Children]:
    """Labels and children of a random tree whose nodes stand in depth-first order."""
    rng = numpy_generator(seed, "tree")
    children: Children = [[] for _ in range(n)]
    path = [0]
    for node in range(1, n):
        path = path[: int(rng.integers(1, len(path) + 1))]
        children[path[-1]].append(node)
        path.append(node)
    return rng.integers(0, N_LABELS, n).tolist(), children


def batch(trees: list[tuple[list[int], Children]], most: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Labels (N, M), parents (N, M) and which nodes there are."""
    most = most or max(len(labels) for labels, _ in trees)
    labels, parents = torch.zeros(len(trees), most, dtype=torch.int64), torch.full((len(trees), most), -1)
    for row, (names, children) in enumerate(trees):
        ordered, above = tree_of_children([str(k) for k in names], children)
        labels[row, : len(names)] = torch.tensor([FIRST_ID + int(k) for k in ordered])
        parents[row, : len(names)] = torch.from_numpy(above.astype(np.int64))
    return labels, parents, labels > 0


def turned(tree: tuple[list[int], Children], seed: int) -> tuple[list[int], Children]:
    """The same tree with the children of every node in another order."""
    rng = numpy_generator(seed, "turned")
    return tree[0], [[int(c) for c in rng.permutation(below)] for below in tree[1]]


TREES = [random_tree(seed, n) for seed, n in enumerate((1, 9, 4, 12, 6))]
VECTORS = torch.randn(FIRST_ID + N_LABELS, 3, generator=torch.Generator().manual_seed(0))


def lstm() -> ChildSumTreeLSTM:
    torch.manual_seed(0)
    return ChildSumTreeLSTM(3, 4)


def reservoir() -> TreeReservoir:
    torch.manual_seed(0)
    return TreeReservoir(FIRST_ID + N_LABELS, 6, radius=0.8)


def reference_lstm(net: ChildSumTreeLSTM, tree: tuple[list[int], Children], node: int) -> tuple[Tensor, Tensor]:
    """h and c of a node, written as in the paper: one node after the other."""
    below = [reference_lstm(net, tree, child) for child in tree[1][node]]
    x = net.inputs(VECTORS[FIRST_ID + tree[0][node]])
    total = torch.stack([h for h, _ in below]).sum(0) if below else torch.zeros(net.n_out)
    weight, forget = net.of_child.weight.split([3 * net.n_out, net.n_out])
    i, o, u = (x[: 3 * net.n_out] + weight @ total).chunk(3)
    c = torch.sigmoid(i) * torch.tanh(u)
    for h, cell in below:
        c = c + torch.sigmoid(x[3 * net.n_out :] + forget @ h) * cell
    return torch.sigmoid(o) * torch.tanh(c), c


def reference_reservoir(net: TreeReservoir, tree: tuple[list[int], Children], node: int) -> Tensor:
    below = [reference_reservoir(net, tree, child) for child in tree[1][node]]
    total = torch.stack(below).sum(0) if below else torch.zeros(net.n_out)
    return torch.tanh(net.given[FIRST_ID + tree[0][node]] + net.recurrent @ total)


@torch.no_grad()
def test_the_tree_lstm_is_the_recursion_of_the_paper() -> None:
    net = lstm()
    labels, parents, there = batch(TREES)
    states = net(VECTORS[labels], parents, there)
    for row, tree in enumerate(TREES):
        for node in range(len(tree[0])):
            torch.testing.assert_close(states[row, node], reference_lstm(net, tree, node)[0], atol=1e-6, rtol=1e-5)
    assert not states[~there].any()


def test_gradients_are_those_of_the_recursion() -> None:
    net = lstm()
    labels, parents, there = batch(TREES)
    net(VECTORS[labels], parents, there)[:, 0].square().sum().backward()
    found = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad()
    torch.stack([reference_lstm(net, tree, 0)[0] for tree in TREES]).square().sum().backward()
    for one, p in zip(found, net.parameters(), strict=True):
        torch.testing.assert_close(one, p.grad, atol=1e-6, rtol=1e-5)


def test_the_reservoir_is_the_plain_recursion_and_has_no_weights() -> None:
    net = reservoir()
    labels, parents, there = batch(TREES)
    states = net(labels, parents, there)
    for row, tree in enumerate(TREES):
        for node in range(len(tree[0])):
            torch.testing.assert_close(states[row, node], reference_reservoir(net, tree, node), atol=1e-6, rtol=1e-5)
    assert not [*net.parameters()] and not states.requires_grad


@pytest.mark.parametrize("radius", [0.0, 0.5, 1.2])
def test_the_reservoir_has_its_spectral_radius(radius: float) -> None:
    torch.manual_seed(1)
    found = torch.linalg.eigvals(TreeReservoir(3, 20, radius=radius).recurrent).abs().max().item()
    assert found == pytest.approx(radius, abs=1e-5)


@pytest.mark.parametrize("name", ["tree-lstm", "tree-esn"])
@pytest.mark.parametrize("pool", ["root", "mean", "max", "all"])
@torch.no_grad()
def test_order_of_children_padding_and_other_trees_have_no_effect(name: str, pool: str) -> None:
    recipe = tree_classifier(width=8).model_copy(update={"template": name, "options": {"width": 8, "pool": pool}})
    net = recipe.build(SPEC, TARGET, seed=0).eval()

    def outputs(trees: list[tuple[list[int], Children]], most: int = 12) -> Tensor:
        labels, parents, _ = batch(trees, most)
        found: Tensor = net({"tree:labels": labels.int(), "tree:parents": parents.int()})
        return found

    base = outputs(TREES)
    assert base.shape == (len(TREES), 3) and len(base.unique(dim=0)) == len(TREES)
    torch.testing.assert_close(outputs([turned(t, k) for k, t in enumerate(TREES)]), base, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(outputs(TREES, 40), base, atol=1e-5, rtol=1e-4)
    for k, tree in enumerate(TREES):
        torch.testing.assert_close(outputs([tree], len(tree[0]))[0], base[k], atol=1e-5, rtol=1e-4)


def test_levels_of_a_long_path_and_of_a_star() -> None:
    n = 1000
    path = torch.arange(-1, n - 1).unsqueeze(0)
    assert levels_of(path, torch.ones(1, n, dtype=torch.bool)).sizes == [1] * n
    star = torch.zeros(1, n, dtype=torch.int64)
    star[0, 0] = -1
    assert levels_of(star, torch.ones(1, n, dtype=torch.bool)).sizes == [1, n - 1]


@torch.no_grad()
def test_a_path_of_thousands_of_nodes_goes_through() -> None:
    n = 3000
    parents, there = torch.arange(-1, n - 1).unsqueeze(0), torch.ones(1, n, dtype=torch.bool)
    assert lstm()(torch.ones(1, n, 3), parents, there).isfinite().all()


@pytest.mark.parametrize("name", ["tree-lstm", "tree-esn"])
def test_two_made_up_rows_go_through_and_every_weight_has_a_gradient(name: str) -> None:
    net = TEMPLATES[name].load()(SPEC, TARGET, width=8)
    outputs = net(two_rows(SPEC))
    outputs.square().sum().backward()
    for key, p in net.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all() and p.grad.abs().sum() > 0, key


def test_dropout_hides_labels_in_training_only_and_the_same_with_the_same_draw() -> None:
    net = TEMPLATES["tree-lstm"].load()(SPEC, TARGET, width=8, dropout=0.6)
    labels, parents, _ = batch(TREES, 12)
    x = {"tree:labels": labels.int(), "tree:parents": parents.int()}
    net.train()
    torch.manual_seed(3)
    one = net(x)
    torch.manual_seed(3)
    torch.testing.assert_close(net(x), one)
    assert not torch.allclose(net(x), one)
    net.eval()
    torch.testing.assert_close(net(x), net(x))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: TreePooling(3, "rot"), "root"),  # type: ignore[arg-type]
        (lambda: TreeReservoir(3, 100_000), "1 to 2,048"),
        (lambda: TreeReservoir(3, 4, radius=-1.0), "radius"),
        (lambda: TreeReservoir(3, 4, scale=0.0), "scale"),
    ],
)
def test_options_that_make_no_network_are_refused(make: object, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        make()  # type: ignore[operator]
