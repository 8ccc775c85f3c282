"""Attention over an unordered set: affinity to a query, softmax, weighted sum; which element of a set the answer is taken from.

Every set has some coins of three metals with a value each, in no order, and one of them is gold; asked is the value of the gold coin.
Attention pooling has to find it; the plain mean of the same vectors stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from netwright.core.finding import Figure, Finding, Link, Node, Series, Table
from netwright.core.seed import derive, generator, numpy_generator
from netwright.exhibits.program import main
from netwright.nn.attention import there_of
from netwright.nn.transformer import AttentionTrunk

METALS = ("gold", "silver", "copper")
MOST = 8
STEPS, BATCH = 400, 64


@dataclass(frozen=True)
class Coins:
    """Sets of coins: metals (N, MOST), values (N, MOST), lengths (N,), and which is gold (N,)."""

    metal: np.ndarray
    value: np.ndarray
    lengths: np.ndarray
    gold: np.ndarray

    @property
    def vectors(self) -> Tensor:
        """One-hot metals and values, (N, MOST, 4)."""
        both = np.concatenate([np.eye(len(METALS))[self.metal], self.value[..., None]], 2)
        return torch.from_numpy(both).float()

    @property
    def wanted(self) -> Tensor:
        """The value of the gold coin, (N,)."""
        return torch.from_numpy(self.value[np.arange(len(self.gold)), self.gold]).float()


def draw(n: int, seed: int, name: str) -> Coins:
    """Sets of 3 to `MOST` coins."""
    rng = numpy_generator(seed, "coins", name)
    lengths = rng.integers(3, MOST + 1, n)
    metal = rng.integers(1, len(METALS), (n, MOST))
    gold = (rng.random(n) * lengths).astype(np.int64)
    metal[np.arange(n), gold] = 0
    return Coins(metal, rng.normal(size=(n, MOST)), lengths, gold)


class MeanTrunk(nn.Module):
    """The same layers under a plain mean, in place of attention."""

    def __init__(self, n_in: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n_in, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.n_out = width

    def forward(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """Vectors (N, width)."""
        there = there_of(lengths, vectors.shape[1]).unsqueeze(-1)
        mean: Tensor = (self.layers(vectors) * there).sum(1) / lengths.unsqueeze(-1)
        return mean


def trained(trunk: nn.Module, coins: Coins, steps: int, seed: int) -> nn.Module:
    """The trunk and a linear head, after so many steps of Adam on the squared error."""
    net = nn.ModuleDict({"trunk": trunk, "head": nn.Linear(int(trunk.n_out), 1)})  # type: ignore[arg-type]
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3, fused=True)
    vectors, lengths, wanted = coins.vectors, torch.from_numpy(coins.lengths), coins.wanted
    order = generator(seed, "order")
    for _ in range(steps):
        rows = torch.randint(len(wanted), (BATCH,), generator=order)
        error = (answers(net, vectors[rows], lengths[rows]) - wanted[rows]).square().mean()
        optimizer.zero_grad()
        error.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return net.eval()


def answers(net: nn.Module, vectors: Tensor, lengths: Tensor) -> Tensor:
    """What the network answers, (N,)."""
    found: Tensor = net["head"](net["trunk"](vectors, lengths)).squeeze(1)  # type: ignore[index]
    return found


def diagram(coins: Coins, i: int, affinity: Tensor, scores: Tensor, answer: float) -> Figure:
    """One set on its way through attention pooling, with the numbers that were computed."""
    nodes = [Node(id="q", label="query q", note="learned", level=0)]
    links = []
    for k in range(int(coins.lengths[i])):
        metal = METALS[coins.metal[i, k]]
        mark = "good" if metal == "gold" else ""
        nodes.append(Node(id=f"x{k}", label=f"x{k + 1}", note=f"{metal}, {coins.value[i, k]:+.2f}", level=0, mark=mark))
        nodes.append(Node(id=f"a{k}", label=f"a(q, x{k + 1})", note=f"{affinity[k]:+.2f}", level=1))
        nodes.append(Node(id=f"s{k}", label=f"score {k + 1}", note=f"{scores[k]:.3f}", level=3, mark=mark))
        links += [Link(source="q", target=f"a{k}"), Link(source=f"x{k}", target=f"a{k}")]
        links += [Link(source=f"a{k}", target="softmax"), Link(source="softmax", target=f"s{k}")]
        links.append(Link(source=f"s{k}", target="y", label=f"x{k + 1}", mark=mark))
    nodes.append(Node(id="softmax", label="softmax", note="sums to 1", level=2))
    true = coins.value[i, coins.gold[i]]
    nodes.append(Node(id="y", label="weighted sum y", note=f"answer {answer:+.2f}, true {true:+.2f}", level=4))
    return Figure(
        title="One set: affinities, scores, weighted sum",
        kind="diagram",
        nodes=tuple(nodes),
        links=tuple(links),
        caption="The vectors x are those behind the layer that all elements share; the linear head makes the answer of y.",
    )


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """Attention pooling over unordered sets."""
    train, test = draw(1000 if tiny else 5000, seed, "train"), draw(500, seed, "test")
    steps = STEPS if tiny else 5 * STEPS
    vectors, lengths = test.vectors, torch.from_numpy(test.lengths)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "weights"))
        net = trained(AttentionTrunk(4, width=16), train, steps, seed)
        plain = trained(MeanTrunk(4, 16), train, steps, seed)
    trunk = net["trunk"]  # type: ignore[index]
    with torch.no_grad():
        scores = trunk.scores(vectors, lengths)
        hidden = trunk.layers(vectors)
        affinity = trunk.pool.affinity(trunk.pool.query.unsqueeze(0), hidden).squeeze(-2)
        found = answers(net, vectors, lengths)
        errors = [float((answers(n, vectors, lengths) - test.wanted).square().mean().sqrt()) for n in (net, plain)]
        order = np.argsort(
            numpy_generator(seed, "order").random((len(vectors), MOST)) + (np.arange(MOST) >= test.lengths[:, None])
        )
        turned = vectors.gather(1, torch.from_numpy(order).unsqueeze(2).expand(-1, -1, 4))
        moved = float((answers(net, turned, lengths) - found).abs().max())
    hit = float((scores.argmax(1).numpy() == test.gold).mean())
    some = [int(i) for i in np.flatnonzero(test.lengths == 5)[:2]]
    by_metal = {
        metal: scores.numpy()[(test.metal == k) & (np.arange(MOST) < test.lengths[:, None])]
        for k, metal in enumerate(METALS)
    }
    means = Series(
        x=METALS,
        y=tuple(float(v.mean()) for v in by_metal.values()),
        low=tuple(float(np.quantile(v, 0.1)) for v in by_metal.values()),
        high=tuple(float(np.quantile(v, 0.9)) for v in by_metal.values()),
    )
    rows = (
        ("attention pooling", errors[0]),
        ("mean of the same vectors", errors[1]),
        ("spread of the values", float(test.wanted.std())),
    )
    return Finding(
        probe="attention-pooling",
        family="gallery",
        verdict="pass" if hit >= 0.95 and moved < 1e-4 else "fail",
        title=f"the gold coin has the largest score in {hit:.1%} of {len(test.gold)} sets; error {errors[0]:.2f} with attention, "
        f"{errors[1]:.2f} with a mean; another order moves no answer by more than {moved:.0e}",
        measured={
            "share_of_sets_whose_largest_score_is_gold": hit,
            "rmse_attention": errors[0],
            "rmse_mean": errors[1],
            "largest_change_by_order": moved,
        },
        expected="the largest score on gold in 95 % of the sets, and answers that know no order",
        why="Follow one set from left to right: the query is compared with every element (affinity), the softmax makes scores of the "
        "affinities that sum to 1, and the answer is the sum of the elements weighted by their scores. Nobody said that gold is what "
        "counts: the query was learned from values alone. A mean gives every element the same score and cannot pick one out.",
        figures=(
            diagram(test, some[0], affinity[some[0]], scores[some[0]], float(found[some[0]])),
            Figure(
                title="Scores by metal",
                kind="bar",
                series=(means,),
                x_label="metal",
                y_label="score",
                caption="Means over all elements of the test sets, and the 10 % and 90 % quantiles.",
            ),
        ),
        tables=(Table(title="Error on test sets (RMSE)", columns=("pooling", "error"), rows=rows),),
        reference="Bridle (1990); Bahdanau, Cho and Bengio (2015); Ilse, Tomczak and Welling (2018)",
    )


if __name__ == "__main__":
    main(exhibit)
