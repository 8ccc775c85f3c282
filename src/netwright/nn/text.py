"""Token ids -> vectors: bags of hashed n-grams, and convolutions over tokens. Id 0 is padding and has no effect."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from netwright.core.spec import PAD

_PRIME = 1_000_003


class NgramBag(nn.Module):
    r"""The mean of the vectors of a text's n-grams, where n-gram (i_1 ... i_n) has the vector number h = (sum_k i_k P^(n-k)) mod B.

    Shapes: ids (N, T) -> (N, dim). A text without tokens gives zeros.

    Args:
        n_ids: number of token ids; single tokens have a vector each.
        dim: size of a vector. n: longest n-gram.
        buckets: B, vectors that all n-grams of two and more share.
        dropout: rate at which whole n-grams are left out of the mean, in training.

    Source: Joulin et al. (2017), "Bag of Tricks for Efficient Text Classification"; leaving out words: Iyyer et al. (2015).

    >>> NgramBag(10, 4)(torch.tensor([[2, 3, 0], [0, 0, 0]]))[1].tolist()
    [0.0, 0.0, 0.0, 0.0]
    """

    def __init__(self, n_ids: int, dim: int, *, n: int = 2, buckets: int = 1 << 15, dropout: float = 0.0) -> None:
        super().__init__()
        self.n_ids, self.n, self.buckets, self.dropout = n_ids, n, buckets, dropout
        self.table = nn.Embedding(n_ids + (buckets if n > 1 else 0), dim)
        nn.init.normal_(self.table.weight, std=1 / math.sqrt(dim))
        self.n_out = dim

    def forward(self, ids: Tensor) -> Tensor:
        """Ids (N, T) -> (N, dim)."""
        ids = ids.long()
        grams, there = [ids], [ids != PAD]
        h = ids
        for k in range(1, self.n):
            shifted = nn.functional.pad(ids[:, k:], (0, min(k, ids.shape[1])), value=PAD)[:, : ids.shape[1]]
            h = (h * _PRIME + shifted) % self.buckets
            grams.append(self.n_ids + h)
            there.append(shifted != PAD)
        weight = torch.cat(there, 1).float()
        if self.training and self.dropout:
            weight = weight * (torch.rand_like(weight) >= self.dropout)
        vectors = self.table(torch.cat(grams, 1))
        total: Tensor = (vectors * weight.unsqueeze(2)).sum(1)
        return total / weight.sum(1, keepdim=True).clamp(min=1.0)


class TokenConv(nn.Module):
    """Embeddings of tokens, convolutions of several widths over them, and the maximum over the text of each feature.

    Shapes: ids (N, T) -> (N, n_out), n_out = width * number of window sizes. Padding behind a text has no effect: positions
    without a token are left out of the maximum, and look like the zero vector from inside a window.

    Args:
        n_ids: number of token ids. dim: size of an embedding.
        width: features of each window size. windows: their sizes, odd ones.
        dropout: rate at which tokens are left out, in training.

    Source: Kim (2014), "Convolutional Neural Networks for Sentence Classification"; on characters Zhang, Zhao and LeCun (2015).

    >>> net = TokenConv(10, 4, width=5).eval()
    >>> bool(torch.allclose(net(torch.tensor([[2, 3]])), net(torch.tensor([[2, 3, 0, 0]]))))
    True
    """

    def __init__(
        self, n_ids: int, dim: int, *, width: int = 64, windows: tuple[int, ...] = (1, 3, 5), dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.table = nn.Embedding(n_ids, dim, padding_idx=PAD)
        self.dropout = dropout
        self.convs = nn.ModuleList(nn.Conv1d(dim, width, k, padding=k // 2) for k in windows)
        self.n_out = width * len(windows)

    def forward(self, ids: Tensor) -> Tensor:
        """Ids (N, T) -> (N, n_out)."""
        ids = ids.long()
        there = (ids != PAD).unsqueeze(1)
        vectors = self.table(ids)
        if self.training and self.dropout:
            vectors = vectors * (torch.rand(ids.shape, device=ids.device) >= self.dropout).unsqueeze(2)
        vectors = vectors.transpose(1, 2)
        features = torch.cat([conv(vectors) for conv in self.convs], 1).relu()
        strongest: Tensor = (features * there).amax(2)
        return strongest
