"""Token ids -> vectors: bags of hashed n-grams, and convolutions over tokens. Id 0 is padding and has no effect."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from netwright.core.spec import PAD
from netwright.nn.activations import RISING, activation
from netwright.nn.lengths import is_traced
from netwright.nn.masked import MaskedNorm, MaskedPool

_PRIME = 1_000_003
SMALL = 0.01
"""Deviation of the first vectors of n-grams: one that training never saw keeps its first vector, which must say nothing."""
MEDIUM = 0.1
"""Deviation of the first vectors of tokens under a convolution; from 1, as is usual, rare words stay noise."""


class NgramBag(nn.Module):
    r"""The sum of the vectors of a text's n-grams over the root of their number; n-gram (i_1 ... i_n) of two tokens and more has
    the vector number h = (sum_k i_k P^(n-k)) mod B behind those of the tokens, P = 1000003.

    Shapes: ids (N, T) -> (N, dim). A text without n-grams gives zeros.

    Args:
        n_ids: number of token ids; single tokens have a vector each.
        dim: size of a vector. n: longest n-gram. least: shortest.
        buckets: B, vectors that all n-grams of two and more share.

    Source: Joulin et al. (2017), "Bag of Tricks for Efficient Text Classification", where the sum is a mean.

    >>> NgramBag(10, 4)(torch.tensor([[2, 3, 0], [0, 0, 0]]))[1].tolist()
    [0.0, 0.0, 0.0, 0.0]
    """

    def __init__(self, n_ids: int, dim: int, *, n: int = 2, least: int = 1, buckets: int = 1 << 15) -> None:
        super().__init__()
        self.n_ids, self.n, self.least, self.buckets = n_ids, n, least, buckets
        self.table = nn.Embedding((n_ids if least == 1 else 0) + (buckets if n > 1 else 0), dim)
        nn.init.normal_(self.table.weight, std=SMALL)
        self.n_out = dim

    def grams(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Ids (N, T) -> numbers of the n-grams' vectors (N, (n - least + 1) T), and which of them are there."""
        ids = ids.long()
        length, first = ids.shape[1], self.n_ids if self.least == 1 else 0
        padded = functional.pad(ids, (0, self.n - 1), value=PAD)
        h, whole = ids, ids != PAD
        numbers, there = [ids], [whole]
        for k in range(1, self.n):
            last = padded[:, k : k + length]
            h, whole = (h * _PRIME + last) % self.buckets, whole & (last != PAD)
            numbers.append(first + h)
            there.append(whole)
        return torch.cat(numbers[self.least - 1 :], 1), torch.cat(there[self.least - 1 :], 1)

    def forward(self, ids: Tensor) -> Tensor:
        """Ids (N, T) -> (N, dim)."""
        numbers, there = self.grams(ids)
        count = there.sum(1)
        if torch.compiler.is_exporting() or (torch.is_grad_enabled() and not self.training):
            total = (self.table(numbers) * there.unsqueeze(2)).sum(
                1
            )  # what exporters and hooks on the table understand
        else:  # the same without a vector for every place
            total = functional.embedding_bag(numbers[there], self.table.weight, count.cumsum(0) - count, mode="sum")
        vectors: Tensor = total / count.clamp(min=1).unsqueeze(1).to(total.dtype).sqrt()
        return vectors


def _filled(ids: Tensor) -> tuple[Tensor, Tensor | None]:
    """Which texts have tokens (N, 1), and which places do (N, 1, T); None where all do, which spares the work."""
    there = (ids != PAD).unsqueeze(1)
    return there.any(2), None if not is_traced(ids) and bool(there.all()) else there


class TokenConv(nn.Module):
    """Embeddings of tokens, convolutions of several widths over them, and the maximum over the text of each feature.

    Shapes: ids (N, T) -> (N, n_out), n_out = width * number of window sizes. Padding behind a text has no effect: positions
    without a token are left out of the maximum, and look like the zero vector from inside a window.

    Args:
        n_ids: number of token ids. dim: size of an embedding.
        width: features of each window size. windows: their sizes, odd ones.
        dropout: rate at which tokens are left out, in training.
        norm: of each feature, before the activation: "none", "batch" or "layer". pool: "max", "mean" or "both" over the text.
        act: an entry of ACTIVATIONS.

    Raises:
        UsageError: another norm, pooling or activation.

    Source: Kim (2014), "Convolutional Neural Networks for Sentence Classification"; on characters Zhang, Zhao and LeCun (2015).

    >>> net = TokenConv(10, 4, width=5).eval()
    >>> bool(torch.allclose(net(torch.tensor([[2, 3]])), net(torch.tensor([[2, 3, 0, 0]]))))
    True
    """

    def __init__(
        self,
        n_ids: int,
        dim: int,
        *,
        width: int = 64,
        windows: tuple[int, ...] = (1, 3, 5),
        dropout: float = 0.0,
        norm: str = "none",
        pool: str = "max",
        act: str = "relu",
    ) -> None:
        super().__init__()
        self.table = nn.Embedding(n_ids, dim, padding_idx=PAD)
        with torch.no_grad():
            self.table.weight.mul_(MEDIUM)
        self.dropout = dropout
        self.convs = nn.ModuleList(nn.Conv1d(dim, width, k, padding=k // 2) for k in windows)
        n = width * len(windows)
        self.norm, self.act, self.pool = MaskedNorm(n, norm), activation(act), MaskedPool(n, pool)
        self.late = pool == "max" and act in RISING
        self.n_out = self.pool.n_out

    def forward(self, ids: Tensor) -> Tensor:
        """Ids (N, T) -> (N, n_out)."""
        ids = ids.long()
        some, there = _filled(ids)
        vectors = self.table(ids)
        if self.training and self.dropout:
            vectors = vectors * (torch.rand(ids.shape, device=ids.device) >= self.dropout).unsqueeze(2)
        vectors = vectors.transpose(1, 2)
        features = self.norm(torch.cat([conv(vectors) for conv in self.convs], 1), there)
        if there is not None:  # a text without tokens is pooled over its first place, and gives zeros
            first = torch.arange(ids.shape[1], device=ids.device) == 0
            there = there | (first & ~some.unsqueeze(2))
        pooled: Tensor = self.act(self.pool(features, there)) if self.late else self.pool(self.act(features), there)
        return pooled * some
