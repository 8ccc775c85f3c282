"""Fronts that give sequences of vectors, and the way from them to one vector a row.

A front of this kind is called with the named tensors and gives (vectors (N, T, n_out) float32, lengths (N,) int64); a vector behind
the length of its row is zero and must not count. A trunk is called with the two and gives (N, n_out).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netwright.core.spec import PAD, SeriesField
from netwright.data.batch import Inputs
from netwright.nn.lengths import inside, is_traced


def trimmed(lengths: Tensor, n_steps: int) -> int:
    """How many steps a batch needs; all of them where that must not depend on the batch."""
    if is_traced(lengths):
        return n_steps
    return min(n_steps, int(lengths.amax()))


class SeriesFront(nn.Module):
    """A series field -> standardised values (N, T, channels), (x - center) / spread a channel, and lengths.

    Args:
        field: the fitted field.
        noise: deviation of Gaussian noise on standardised values, in training only.

    >>> front = SeriesFront(SeriesField(n_steps=3, center=(1.0,), spread=(2.0,)))
    >>> values, lengths = front({"series": torch.tensor([[[5.0, 3.0, 0.0]]]), "series:length": torch.tensor([2])})
    >>> values.flatten().tolist(), lengths.tolist()
    ([2.0, 1.0], [2])
    """

    center: Tensor
    spread: Tensor

    def __init__(self, field: SeriesField, *, noise: float = 0.0) -> None:
        super().__init__()
        self.tensors, self.noise, self.n_out = field.tensors, noise, field.channels
        self.ragged = field.shortest < field.n_steps
        self.register_buffer("center", torch.tensor(field.center))
        self.register_buffer("spread", torch.tensor(field.spread))

    def forward(self, x: Inputs) -> tuple[Tensor, Tensor]:
        """Values (N, T, channels) float32 and lengths (N,)."""
        raw, lengths = (x[name] for name in self.tensors)
        if self.ragged:
            raw = raw[:, :, : trimmed(lengths, raw.shape[2])]
        values = (raw.transpose(1, 2).float() - self.center) / self.spread
        if self.training and self.noise:
            values = values + self.noise * torch.randn_like(values)
        return values * inside(lengths, values.shape[1]).unsqueeze(-1), lengths


class TokenFront(nn.Module):
    """A tensor of token ids -> learned vectors (N, T, dim), and lengths (at least 1: an empty text is one padding).

    Args:
        tensor: name of the tensor. n_ids: number of token ids, padding and unknown included. dim: size of a vector.
    """

    def __init__(self, tensor: str, n_ids: int, dim: int) -> None:
        super().__init__()
        self.tensor, self.n_out = tensor, dim
        self.vectors = nn.Embedding(n_ids, dim, padding_idx=PAD)

    def forward(self, x: Inputs) -> tuple[Tensor, Tensor]:
        """Vectors (N, T, dim) and lengths (N,)."""
        ids = x[self.tensor]
        places = torch.arange(1, ids.shape[1] + 1, device=ids.device)
        lengths = ((ids != PAD) * places).amax(1).clamp(min=1)
        ids = ids[:, : trimmed(lengths, ids.shape[1])].long()
        vectors: Tensor = self.vectors(ids)
        return vectors, lengths


class SequenceVector(nn.Module):
    """A field of sequences -> vectors (N, n_out): a front of this module, then a trunk that has `n_out`.

    Args:
        front: named tensors -> (vectors (N, T, D), lengths (N,)).
        trunk: (vectors (N, T, D), lengths (N,)) -> (N, n_out); what stands behind the length must have no effect.
    """

    def __init__(self, front: nn.Module, trunk: nn.Module) -> None:
        super().__init__()
        self.front, self.trunk = front, trunk
        self.n_out = int(trunk.n_out)  # type: ignore[arg-type]

    def forward(self, x: Inputs) -> Tensor:
        """Vectors (N, n_out)."""
        vectors: Tensor = self.trunk(*self.front(x))
        return vectors
