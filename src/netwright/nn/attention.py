"""Attention: how well vectors answer a query, the scores that follow from it, and their weighted sum.

Everything here takes vectors (N, T, D) beside lengths (N,), or a mask of what is there; what is not there has the score 0, and
whatever stands in its place has no effect.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from netwright.core.errors import UsageError
from netwright.nn.lengths import is_traced

Affinity = Literal["additive", "dot"]


def there_of(lengths: Tensor, n: int) -> Tensor:
    """Which of n places are there: (N,) lengths -> (N, n) bool; the first always is.

    >>> there_of(torch.tensor([1, 3]), 3).int().tolist()
    [[1, 0, 0], [1, 1, 1]]
    """
    return torch.arange(n, device=lengths.device) < lengths.clamp(min=1).unsqueeze(-1)


def harmless(vectors: Tensor, there: Tensor) -> Tensor:
    """Vectors (N, T, D) that give 0 times a score of 0: as they are where all numbers are finite, else 0 where nothing is there.

    >>> harmless(torch.tensor([[[2.0], [torch.inf]]]), torch.tensor([[True, False]])).flatten().tolist()
    [2.0, 0.0]
    """
    # a sum is several times faster than a choice
    if not is_traced(vectors) and math.isfinite(vectors.detach().sum().item()):
        return vectors
    return torch.where(there.unsqueeze(-1), vectors, 0.0)


def attention_scores(affinity: Tensor, there: Tensor | None = None) -> Tensor:
    r"""Softmax over the places that are there: exp(a_i) / sum_j exp(a_j), 0 elsewhere.

    Shapes: affinity (..., T), there bool of a shape that fits -> (..., T). Where nothing is there all scores are 0.

    Source: Bridle (1990) for the softmax; Bahdanau, Cho and Bengio (2015).

    >>> attention_scores(torch.tensor([0.0, 0.0, 9.0]), torch.tensor([True, True, False])).tolist()
    [0.5, 0.5, 0.0]
    """
    if there is None:
        return affinity.softmax(-1)
    return affinity.masked_fill(~there, torch.finfo(affinity.dtype).min).softmax(-1) * there


class AdditiveAffinity(nn.Module):
    r"""a(q, x) = v . tanh(W q + U x).

    Shapes: queries (..., M, query_dim), vectors (..., T, dim) -> (..., M, T).

    Args:
        query_dim, dim: sizes of a query and of a vector. width: of the layer of tanh.

    Source: Bahdanau, Cho and Bengio (2015), "Neural Machine Translation by Jointly Learning to Align and Translate".

    >>> AdditiveAffinity(3, 5, 8)(torch.zeros(2, 4, 3), torch.zeros(2, 7, 5)).shape
    torch.Size([2, 4, 7])
    """

    def __init__(self, query_dim: int, dim: int, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(query_dim, width, bias=False)
        self.key = nn.Linear(dim, width, bias=False)
        self.worth = nn.Linear(width, 1, bias=False)

    def forward(self, queries: Tensor, vectors: Tensor) -> Tensor:
        """Affinities (..., M, T)."""
        both = self.query(queries).unsqueeze(-2) + self.key(vectors).unsqueeze(-3)
        affinity: Tensor = self.worth(both.tanh()).squeeze(-1)
        return affinity


class DotAffinity(nn.Module):
    r"""a(q, x) = q . x / sqrt(dim), or without the root where `scaled` is off.

    Shapes: queries (..., M, dim), vectors (..., T, dim) -> (..., M, T).

    Source: Luong, Pham and Manning (2015); scaled: Vaswani et al. (2017).

    >>> DotAffinity()(torch.ones(1, 4), torch.ones(1, 4)).item(), DotAffinity(scaled=False)(torch.ones(1, 4), torch.ones(1, 4)).item()
    (2.0, 4.0)
    """

    def __init__(self, *, scaled: bool = True) -> None:
        super().__init__()
        self.scaled = scaled

    def forward(self, queries: Tensor, vectors: Tensor) -> Tensor:
        """Affinities (..., M, T)."""
        affinity = queries @ vectors.transpose(-1, -2)
        return affinity / math.sqrt(queries.shape[-1]) if self.scaled else affinity


class AttentionPooling(nn.Module):
    r"""A set or a sequence of vectors as their weighted sum: y = sum_i s_i x_i, s = softmax_i a(q, x_i), with a learned query q.

    Shapes: vectors (N, T, dim), lengths (N,) -> (N, dim). The order of the vectors has no effect, nor what is behind a length.

    Args:
        dim: size of a vector. affinity: "additive" or "dot". width: of the additive one; None for `dim`.

    Raises:
        UsageError: another affinity.

    Source: Bahdanau, Cho and Bengio (2015) for the affinity; Ilse, Tomczak and Welling (2018), "Attention-based Deep Multiple
    Instance Learning", for the pooling of a set.

    >>> pool = AttentionPooling(4)
    >>> pool(torch.randn(2, 3, 4), torch.tensor([3, 1])).shape, pool.scores(torch.randn(1, 3, 4), torch.tensor([1])).tolist()
    (torch.Size([2, 4]), [[1.0, 0.0, 0.0]])
    """

    def __init__(self, dim: int, *, affinity: Affinity = "additive", width: int | None = None) -> None:
        super().__init__()
        if affinity not in ("additive", "dot"):
            raise UsageError(f"affinity is {affinity!r}; 'additive' or 'dot' was expected")
        self.query = nn.Parameter(torch.randn(dim) / math.sqrt(dim))
        self.affinity = AdditiveAffinity(dim, dim, width or dim) if affinity == "additive" else DotAffinity()
        self.n_out = dim

    def scores(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """Scores (N, T): they sum to 1, and are 0 behind the lengths."""
        return self._scores(vectors, there_of(lengths, vectors.shape[1]))

    def _scores(self, vectors: Tensor, there: Tensor) -> Tensor:
        affinity: Tensor = self.affinity(self.query.unsqueeze(0), vectors).squeeze(-2)
        # at least one place of each row is there, so that what is masked has the score 0 by itself
        return affinity.masked_fill(~there, -torch.inf).softmax(-1)

    def forward(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """The weighted sums (N, dim)."""
        there = there_of(lengths, vectors.shape[1])
        vectors = harmless(vectors, there)
        return (self._scores(vectors, there).unsqueeze(1) @ vectors).squeeze(1)


class SelfAttention(nn.Module):
    r"""Every vector asks all vectors: head h gives softmax(Q_h K_h^T / sqrt(d)) V_h, with Q, K, V linear maps of the vectors, and
    all heads beside each other go through a last linear map.

    Shapes: vectors (N, T, dim), there (N, T) bool -> (N, T, dim). The sums are made by torch's fused operation; `weights` makes
    them step by step. Weights are not dropped at random, unlike in the source: dropout is between the layers.

    Args:
        dim: size of a vector. heads: their number, a divisor of `dim`.

    Raises:
        UsageError: the heads do not divide the size.

    Source: Vaswani et al. (2017), "Attention Is All You Need".

    >>> layer = SelfAttention(8, 2)
    >>> layer(torch.randn(3, 5, 8)).shape, layer.weights(torch.randn(3, 5, 8)).shape
    (torch.Size([3, 5, 8]), torch.Size([3, 2, 5, 5]))
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise UsageError(f"a width of {dim} cannot be shared among {heads} heads; give heads that divide it")
        self.heads = heads
        self.into = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def _parts(self, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (N, heads, T, dim / heads)."""
        n, length, dim = vectors.shape
        parts = self.into(vectors).view(n, length, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        return parts[0], parts[1], parts[2]

    def weights(self, vectors: Tensor, there: Tensor | None = None) -> Tensor:
        """Scores (N, heads, T, T): row i says how much vector i takes of each; every row sums to 1."""
        queries, keys, _ = self._parts(vectors)
        affinity = queries @ keys.transpose(-1, -2) / math.sqrt(keys.shape[-1])
        return attention_scores(affinity, None if there is None else there[:, None, None])

    def forward(self, vectors: Tensor, there: Tensor | None = None) -> Tensor:
        """Vectors (N, T, dim)."""
        mask = None if there is None else there[:, None, None]
        mixed = functional.scaled_dot_product_attention(*self._parts(vectors), attn_mask=mask)
        found: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return found
