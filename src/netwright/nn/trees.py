"""Networks on trees: each node's state is computed from those of its children, all nodes of one depth at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from netwright.core.errors import UsageError, unknown

TreePool = Literal["root", "mean", "max", "all"]
MAX_UNITS = 2048
"""Most units of a reservoir: its matrix has as many rows and columns."""


@dataclass(frozen=True)
class Levels:
    """The nodes of a batch of trees, level by level from the roots down.

    Args:
        index: (K,) where each node stands among all places (N * M), the roots first.
        up: (K,) place of each node's parent among the nodes of the level above.
        sizes: nodes of each level.
    """

    index: Tensor
    up: Tensor
    sizes: list[int]

    def upwards(self, *of_nodes: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """The parts of tensors (K, ...) that belong to one level, from the deepest to the roots."""
        yield from zip(*(reversed(torch.split(tensor, self.sizes)) for tensor in of_nodes), strict=True)


def levels_of(parents: Tensor, there: Tensor) -> Levels:
    """Sort the nodes of a batch by depth. Takes as many steps as the logarithm of the largest depth, whatever the number of nodes.

    Args:
        parents: (N, M) places of parents in their own tree, -1 over a root.
        there: (N, M) which nodes there are.

    >>> levels = levels_of(torch.tensor([[-1, 0, 1, 0]]), torch.ones(1, 4, dtype=torch.bool))
    >>> levels.index.tolist(), levels.up.tolist(), levels.sizes
    ([0, 1, 3, 2], [0, 0, 0, 0], [1, 2, 1])
    """
    n, m = parents.shape
    own = torch.arange(n * m, device=parents.device)
    has_parent = ((parents >= 0) & there).flatten()
    base = torch.arange(n, device=parents.device).unsqueeze(1) * m
    parent = torch.where(has_parent, (base + parents).flatten(), own)
    depth, jump = has_parent.long(), parent
    for _ in range(
        max(1, m).bit_length()
    ):  # pointer jumping: after k rounds a pointer has gone 2^k nodes up, or to the root
        further = depth[jump]
        if not bool(further.any()):
            break
        depth, jump = depth + further, jump[jump]
    nodes = there.flatten().nonzero().squeeze(1)
    order = depth[nodes].argsort(stable=True)
    index = nodes[order]
    sizes = torch.bincount(depth[index]).tolist() if len(index) else []
    place = torch.zeros_like(own)
    firsts = torch.tensor([0, *sizes], device=parents.device).cumsum(0)
    place[index] = torch.arange(len(index), device=parents.device) - firsts[depth[index]]
    return Levels(index, place[parent[index]], sizes)


def spread_out(states: Tensor, levels: Levels, shape: tuple[int, int]) -> Tensor:
    """States of the nodes (K, H), roots first -> (N, M, H), zero where there is no node."""
    n, m = shape
    out = states.new_zeros(n * m, states.shape[1]).index_copy(0, levels.index, states)
    return out.view(n, m, -1)


class ChildSumTreeLSTM(nn.Module):
    r"""Child-sum tree LSTM. For a node j with vector x_j and children k in C(j):

        h~ = sum_k h_k;  i, o = sigmoid(W x_j + U h~ + b);  u = tanh(W x_j + U h~ + b);  f_k = sigmoid(W_f x_j + U_f h_k + b_f)
        c_j = i * u + sum_k f_k * c_k;  h_j = o * tanh(c_j)

    Shapes: vectors (N, M, n_in), parents (N, M), there (N, M) -> states h (N, M, width), zero where there is no node. The order of
    children has no effect, nor has what stands where there is no node.

    Args:
        n_in: size of a node's vector. width: of the state.

    Source: Tai, Socher and Manning (2015), "Improved semantic representations from tree-structured long short-term memory
    networks", equations 2 to 8. The bias of the forget gate starts at 1 (Jozefowicz, Zaremba and Sutskever, 2015).

    >>> net = ChildSumTreeLSTM(3, 4)
    >>> parents = torch.tensor([[-1, 0, 0, -1]])
    >>> there = torch.tensor([[True, True, True, False]])
    >>> x = torch.randn(1, 4, 3)
    >>> h, turned = net(x, parents, there), net(x[:, [0, 2, 1, 3]], parents, there)
    >>> bool(torch.allclose(h[0, 0], turned[0, 0], atol=1e-6)), h[0, 3].tolist()
    (True, [0.0, 0.0, 0.0, 0.0])
    """

    def __init__(self, n_in: int, width: int) -> None:
        super().__init__()
        self.inputs = nn.Linear(n_in, 4 * width)
        self.of_child = nn.Linear(width, 4 * width, bias=False)
        with torch.no_grad():
            self.inputs.bias[3 * width :] = 1.0
        self.n_out = width

    def forward(self, vectors: Tensor, parents: Tensor, there: Tensor) -> Tensor:
        """States (N, M, width)."""
        levels = levels_of(parents, there)
        size = [3 * self.n_out, self.n_out]
        own, own_forget = self.inputs(vectors.flatten(0, 1)[levels.index]).split(size, 1)
        found: list[Tensor] = []
        h = c = up = None
        # split, not slices: the gradient of a slice is as large as the whole
        for gates, forget, above in levels.upwards(own, own_forget, levels.up):
            kept = None
            if h is not None and c is not None and up is not None:
                said, said_forget = self.of_child(h).split(size, 1)
                gates = gates.index_add(0, up, said)  # U sum_k h_k = sum_k U h_k
                kept = torch.sigmoid(forget.index_select(0, up) + said_forget) * c
            i_o, u = torch.split(gates, [2 * self.n_out, self.n_out], 1)
            i, o = torch.sigmoid(i_o).chunk(2, 1)
            c = i * torch.tanh(u)
            c = c if kept is None or up is None else c.index_add(0, up, kept)
            h, up = o * torch.tanh(c), above
            found.append(h)
        return spread_out(torch.cat(found[::-1]), levels, (parents.shape[0], parents.shape[1]))


class TreeReservoir(nn.Module):
    r"""Tree echo state network without its read-out: a fixed random recursion that is never trained,

        x_j = tanh(W_in u_j + W sum_k x_k),   k the children of node j,

    where W is scaled to a given spectral radius, and u_j is 1 at the label of node j.

    Shapes: labels (N, M), parents (N, M), there (N, M) -> states (N, M, width), zero where there is no node. The order of children has
    no effect. States have no gradient, so that they may be computed once and kept.

    Args:
        n_labels: number of label ids. width: units of the reservoir.
        radius: spectral radius of W. scale: W_in is uniform in [-scale, scale].

    Raises:
        UsageError: too many units, a negative radius, a scale that is not above 0.

    Source: Gallicchio and Micheli (2013), "Tree Echo State Networks", where children may also have weights by position.

    >>> net = TreeReservoir(5, 10, radius=0.5)
    >>> round(torch.linalg.eigvals(net.recurrent).abs().max().item(), 4)
    0.5
    """

    recurrent: Tensor
    given: Tensor

    def __init__(self, n_labels: int, width: int, *, radius: float = 0.7, scale: float = 1.0) -> None:
        super().__init__()
        if not 1 <= width <= MAX_UNITS:
            raise UsageError(f"the reservoir is asked for {width:,} units; expected 1 to {MAX_UNITS:,}")
        if not radius >= 0 or not scale > 0:
            raise UsageError(
                f"radius is {radius} and scale is {scale}; expected a radius of 0 or more, a scale above 0"
            )
        recurrent = torch.rand(width, width) * 2 - 1
        largest = torch.linalg.eigvals(recurrent).abs().max()
        self.register_buffer("recurrent", recurrent * (radius / largest))
        self.register_buffer("given", (torch.rand(n_labels, width) * 2 - 1) * scale)
        self.n_out = width

    @torch.no_grad()
    def forward(self, labels: Tensor, parents: Tensor, there: Tensor) -> Tensor:
        """States (N, M, width)."""
        levels = levels_of(parents, there)
        own = self.given[labels.flatten()[levels.index].long()]
        found: list[Tensor] = []
        up = None
        for raw, above in levels.upwards(own, levels.up):
            if up is not None:
                total = raw.new_zeros(raw.shape).index_add(0, up, found[-1])
                raw = raw + total @ self.recurrent.T
            found.append(torch.tanh(raw))
            up = above
        return spread_out(torch.cat(found[::-1]), levels, (parents.shape[0], parents.shape[1]))


class TreePooling(nn.Module):
    """One vector a tree from the states of its nodes: of the root, their mean, their maximum, or all three beside each other.

    Shapes: states (N, M, H), there (N, M) -> (N, n_out). Node 0 is the root.

    Args:
        n_in: size of a state. pool: "root", "mean", "max" or "all".

    Raises:
        UsageError: an unknown pooling.

    Source: Gallicchio and Micheli (2013), root and mean state mappings.

    >>> pool = TreePooling(1, "mean")
    >>> pool(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[True, True, False]])).tolist()
    [[2.0]]
    """

    def __init__(self, n_in: int, pool: TreePool = "all") -> None:
        super().__init__()
        if pool not in get_args(TreePool):
            raise UsageError(unknown("pooling of a tree", str(pool), get_args(TreePool)))
        self.pool = pool
        self.n_out = n_in * (3 if pool == "all" else 1)

    def forward(self, states: Tensor, there: Tensor) -> Tensor:
        """(N, n_out)."""
        parts: list[Tensor] = []
        if self.pool in ("root", "all"):
            parts.append(states[:, 0])
        if self.pool in ("mean", "all"):
            parts.append((states * there.unsqueeze(-1)).sum(1) / there.sum(1, keepdim=True).clamp(min=1))
        if self.pool in ("max", "all"):
            parts.append(states.masked_fill(~there.unsqueeze(-1), -torch.inf).amax(1))
        return torch.cat(parts, 1)
