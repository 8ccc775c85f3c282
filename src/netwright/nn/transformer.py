"""Transformer encoder and attention pooling as trunks: (vectors (N, T, D), lengths (N,)) -> (N, n_out), with scores on demand."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from netwright.core.errors import UsageError
from netwright.nn.attention import Affinity, AttentionPooling, SelfAttention, harmless, there_of

Pool = Literal["attention", "mean", "cls"]
Norm = Literal["before", "after"]
START = 0.1
"""How large positions are at the start beside vectors of this size: where order means little they are no noise."""


class Positions(nn.Module):
    r"""Adds s p_t to the vector at place t: p_t,2i = sin(t / 10000^(2i/D)), p_t,2i+1 = cos(t / 10000^(2i/D)), with a learned s.

    Shapes: (N, T, dim) -> (N, T, dim).

    Source: Vaswani et al. (2017); the learned factor: Li et al. (2019), "Neural Speech Synthesis with Transformer Network".

    >>> Positions(4).table(2).double().round(decimals=2).tolist()
    [[0.0, 1.0, 0.0, 1.0], [0.84, 0.54, 0.01, 1.0]]
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.scale = nn.Parameter(torch.tensor(START))

    def table(self, n: int) -> Tensor:
        """The positions 0 to n - 1, (n, dim)."""
        device = self.scale.device
        rate = torch.exp(torch.arange(0, self.dim, 2, device=device) * (-math.log(10_000.0) / self.dim))
        angle = torch.arange(n, device=device).unsqueeze(1) * rate
        return torch.stack([angle.sin(), angle.cos()], 2).flatten(1)[:, : self.dim]

    def forward(self, vectors: Tensor) -> Tensor:
        """The same shape."""
        return vectors + self.scale * self.table(vectors.shape[1])


class Patches(nn.Module):
    """Runs of `size` vectors, every `stride` of them one, as one vector each: a long series becomes a short one.

    Shapes: (N, T, D), (N,) -> (N, P, size * D), (N,). Nothing is left out: the last run of a row is filled up with zeros.

    Raises:
        UsageError: a size below 1, or a stride that leaves gaps.

    Source: Nie et al. (2023), "A Time Series is Worth 64 Words", without its normalisation.

    >>> vectors, lengths = Patches(2, 2)(torch.arange(5.0).view(1, 5, 1), torch.tensor([5]))
    >>> vectors.tolist(), lengths.tolist()
    ([[[0.0, 1.0], [2.0, 3.0], [4.0, 0.0]]], [3])
    """

    def __init__(self, size: int, stride: int) -> None:
        super().__init__()
        if not 1 <= stride <= size:
            raise UsageError(f"patches of {size} steps, one every {stride}: expected 1 <= stride <= patch")
        self.size, self.stride = size, stride

    def _count(self, n: int) -> int:
        return max(n - self.size + self.stride - 1, 0) // self.stride + 1

    def forward(self, vectors: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Runs and how many a row has."""
        end = (self._count(vectors.shape[1]) - 1) * self.stride + self.size
        padded = nn.functional.pad(vectors, (0, 0, 0, end - vectors.shape[1]))
        runs = padded.unfold(1, self.size, self.stride).transpose(2, 3).flatten(2)
        return runs, (lengths - self.size + self.stride - 1).clamp(min=0) // self.stride + 1

    def spread(self, scores: Tensor, there: Tensor) -> Tensor:
        """Scores (N, P) of runs as scores (N, T) of the vectors in them, in equal shares; there (N, T) bool."""
        places = torch.arange(scores.shape[1]).unsqueeze(1) * self.stride + torch.arange(self.size)
        inside = nn.functional.pad(there, (0, int(places.max()) + 1 - there.shape[1]))[:, places].to(scores.dtype)
        shares = scores.unsqueeze(2) * inside / inside.sum(2, keepdim=True).clamp(min=1)
        found = scores.new_zeros(len(scores), int(places.max()) + 1)
        return found.index_add(1, places.flatten(), shares.flatten(1))[:, : there.shape[1]]


class EncoderBlock(nn.Module):
    r"""x + drop(attention(norm(x))), then x + drop(W drop(gelu(V norm(x)))); with norm "after": norm(x + ...) instead.

    Shapes: vectors (N, T, dim), there (N, T) bool -> (N, T, dim).

    Args:
        dim: size of a vector. heads: of attention. hidden: units of the second part.
        dropout: rate inside and behind the second part, and behind the first. norm: "before" a part or "after" it.

    Source: Vaswani et al. (2017); norms before the parts: Xiong et al. (2020), "On Layer Normalization in the Transformer
    Architecture".

    >>> EncoderBlock(8, 2, 16)(torch.randn(3, 5, 8)).shape
    torch.Size([3, 5, 8])
    """

    def __init__(self, dim: int, heads: int, hidden: int, *, dropout: float = 0.0, norm: Norm = "before") -> None:
        super().__init__()
        if norm not in ("before", "after"):
            raise UsageError(f"norm is {norm!r}; 'before' or 'after' was expected")
        self.before = norm == "before"
        self.first_norm, self.second_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = SelfAttention(dim, heads)
        self.dropout = nn.Dropout(dropout)
        self.second = nn.Sequential(
            nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dim), nn.Dropout(dropout)
        )

    def asked(self, vectors: Tensor) -> Tensor:
        """What attention is given."""
        asked: Tensor = self.first_norm(vectors) if self.before else vectors
        return asked

    def forward(self, vectors: Tensor, there: Tensor | None = None) -> Tensor:
        """Vectors (N, T, dim)."""
        vectors = vectors + self.dropout(self.attention(self.asked(vectors), there))
        if self.before:
            both: Tensor = vectors + self.second(self.second_norm(vectors))
        else:
            vectors = self.first_norm(vectors)
            both = self.second_norm(vectors + self.second(vectors))
        return both


class TransformerTrunk(nn.Module):
    """Vectors of a set or a sequence -> one vector: a linear map, positions where order counts, encoder blocks, a pooling.

    Shapes: vectors (N, T, n_in), lengths (N,) -> (N, n_out), n_out = width. What is behind a length has no effect; without
    positions the order has none either.

    Args:
        n_in: size of a vector. width: of the blocks. heads, depth: of attention, of blocks. dropout: rate of the blocks.
        pool: "attention" (a learned query), "mean", or "cls" (a further vector whose end is taken).
        positions: whether order counts. patch, stride: of `Patches`; 1 takes every vector as it is.
        norm: "before" the parts of a block, and once more at the end, or "after" them.

    Raises:
        UsageError: an option that is none of these.

    Source: Vaswani et al. (2017); "cls": Devlin et al. (2019).

    >>> trunk = TransformerTrunk(3, width=8, heads=2, depth=1, pool="cls")
    >>> scores = trunk.scores(torch.randn(2, 5, 3), torch.tensor([5, 2]))
    >>> scores.sum(1).round(decimals=4).tolist(), scores[1, 2:].tolist()
    ([1.0, 1.0], [0.0, 0.0, 0.0])
    """

    def __init__(
        self,
        n_in: int,
        *,
        width: int = 64,
        heads: int = 4,
        depth: int = 2,
        dropout: float = 0.0,
        pool: Pool = "attention",
        positions: bool = True,
        patch: int = 1,
        stride: int = 1,
        norm: Norm = "before",
    ) -> None:
        super().__init__()
        if pool not in ("attention", "mean", "cls"):
            raise UsageError(f"pool is {pool!r}; 'attention', 'mean' or 'cls' was expected")
        if depth < 1:
            raise UsageError(f"depth is {depth}; a transformer has at least one block")
        self.patches = Patches(patch, stride) if patch > 1 else None
        self.inward = nn.Linear(n_in * patch, width)
        self.positions = Positions(width) if positions else None
        self.cls = nn.Parameter(torch.randn(width) * START) if pool == "cls" else None
        self.dropout = nn.Dropout(dropout)
        blocks = [EncoderBlock(width, heads, 2 * width, dropout=dropout, norm=norm) for _ in range(depth)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width) if norm == "before" else nn.Identity()
        self.pool = AttentionPooling(width) if pool == "attention" else None
        self.n_out = width

    def _begin(self, vectors: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What goes into the first block, and lengths."""
        vectors = torch.where(there_of(lengths, vectors.shape[1]).unsqueeze(-1), vectors, 0.0)
        if self.patches is not None:
            vectors, lengths = self.patches(vectors, lengths)
        x = self.inward(vectors)
        x = x if self.positions is None else self.positions(x)
        if self.cls is not None:
            x, lengths = torch.cat([self.cls.expand(len(x), 1, -1), x], 1), lengths + 1
        return self.dropout(x), lengths

    def forward(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """Vectors (N, n_out)."""
        x, lengths = self._begin(vectors, lengths)
        there = there_of(lengths, x.shape[1])
        for block in self.blocks:
            x = block(x, there)
        x = self.norm(x)
        if self.cls is not None:
            pooled: Tensor = x[:, 0]
        elif self.pool is not None:
            pooled = self.pool(x, lengths)
        else:
            kept = there.unsqueeze(-1).to(x.dtype)
            pooled = (x * kept).sum(1) / kept.sum(1)
        return pooled

    def weights(self, vectors: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """The scores of each block, (N, heads, T, T): of patches where there are any, the further vector of "cls" first."""
        x, lengths = self._begin(vectors, lengths)
        there, found = there_of(lengths, x.shape[1]), []
        for block in self.blocks:
            found.append(block.attention.weights(block.asked(x), there))  # type: ignore[union-attr, operator]
            x = block(x, there)
        return tuple(found)

    def scores(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """How much of the answer is taken from each place, (N, T): they sum to 1, and are 0 behind the lengths.

        Of "attention" the scores of the pooling. Else those of the last block as the mean over its heads: of "cls" those of the
        further vector, without what it takes of itself; of "mean" the mean over all places.
        """
        x, n = self._begin(vectors, lengths)
        there = there_of(n, x.shape[1])
        for block in self.blocks[:-1]:
            x = block(x, there)
        last = self.blocks[-1]
        if self.pool is not None:
            scores = self.pool.scores(self.norm(last(x, there)), n)
        else:
            weights = last.attention.weights(last.asked(x), there).mean(1)  # type: ignore[union-attr, operator]
            if self.cls is not None:
                scores = weights[:, 0, 1:] / weights[:, 0, 1:].sum(1, keepdim=True)
            else:
                scores = (weights * there.unsqueeze(-1)).sum(1) / there.sum(1, keepdim=True)
        spread: Tensor = (
            scores if self.patches is None else self.patches.spread(scores, there_of(lengths, vectors.shape[1]))
        )
        return spread


class AttentionTrunk(nn.Module):
    """Vectors of a set or a sequence -> one vector: each goes through the same layers on its own, then attention pooling.

    Shapes: vectors (N, T, n_in), lengths (N,) -> (N, n_out), n_out = width. Neither order nor what is behind a length counts.

    Args:
        n_in: size of a vector. width, depth: of the layers. dropout: rate behind each. norm: layer norm before each activation.
        affinity: "additive" or "dot".

    Source: Ilse, Tomczak and Welling (2018); the layers alone: Zaheer et al. (2017), "Deep Sets".

    >>> AttentionTrunk(3, width=8)(torch.randn(2, 5, 3), torch.tensor([5, 2])).shape
    torch.Size([2, 8])
    """

    def __init__(
        self,
        n_in: int,
        *,
        width: int = 64,
        depth: int = 1,
        dropout: float = 0.0,
        norm: bool = False,
        affinity: Affinity = "additive",
    ) -> None:
        super().__init__()
        if depth < 1:
            raise UsageError(f"depth is {depth}; at least one layer was expected before the pooling")
        layers: list[nn.Module] = []
        for k in range(depth):
            layers.append(nn.Linear(width if k else n_in, width))
            layers += [nn.LayerNorm(width)] if norm else []
            layers += [nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers)
        self.pool = AttentionPooling(width, affinity=affinity)
        self.n_out = width

    def _kept(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        kept: Tensor = self.layers(harmless(vectors, there_of(lengths, vectors.shape[1])))
        return kept

    def forward(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """Vectors (N, n_out)."""
        pooled: Tensor = self.pool(self._kept(vectors, lengths), lengths)
        return pooled

    def scores(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """How much of the answer is taken from each place, (N, T): they sum to 1, and are 0 behind the lengths."""
        return self.pool.scores(self._kept(vectors, lengths), lengths)
