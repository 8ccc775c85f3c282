r"""Convolutions over characters as published by Zhang, Zhao and LeCun: an alphabet of 70, six convolutions, two hidden layers.

The alphabet: abcdefghijklmnopqrstuvwxyz 0123456789 -,;.!?:'"/\|_@#$%^&*~`+-=<>()[]{} and the new line, without the spaces between
these three runs. The hyphen stands in it twice, as it was printed; the second place is never used. A space is no letter of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from netwright.core.errors import UsageError
from netwright.core.spec import FIRST_ID, PAD

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"/\\|_@#$%^&*~`+-=<>()[]{}\n"
"""70 letters; the place of a letter in it is the channel that is 1."""
LENGTH = 1014
"""Characters of a text."""
WINDOWS = (7, 7, 3, 3, 3, 3)
"""Of the six convolutions."""
POOLED = (0, 1, 5)
"""Convolutions behind which the maximum of 3 is taken."""
POOL = 3
SHORTEST = 123
"""With fewer characters nothing is left behind the last convolution."""


def lookup_of(chars: str) -> Tensor:
    """Ids of a vocabulary of characters -> places in the alphabet, `len(ALPHABET)` for what is not in it.

    Upper case counts as lower case; padding and unknown characters are not in it.

    >>> lookup_of("bA é").tolist()
    [70, 70, 1, 0, 70, 70]
    """
    places = [ALPHABET.find(char.lower()) if len(char.lower()) == 1 else -1 for char in chars]
    return torch.tensor([-1] * FIRST_ID + places) % (len(ALPHABET) + 1)


class OneHot(nn.Embedding):
    """Numbers 0 to n - 1 as one-hot vectors, number n as the zero vector; nothing is learned.

    >>> OneHot(2)(torch.tensor([1, 2])).tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """

    def __init__(self, n: int) -> None:
        super().__init__(n + 1, n)
        del self.weight
        self.register_buffer("weight", torch.eye(n + 1, n), persistent=False)

    def reset_parameters(self) -> None:
        """Nothing is drawn."""


def frames(length: int) -> list[int]:
    """Positions behind each of the six convolutions and its pooling.

    >>> frames(1014), frames(123)
    ([336, 110, 108, 106, 104, 34], [39, 11, 9, 7, 5, 1])
    """
    found = []
    for k, window in enumerate(WINDOWS):
        length = length - window + 1
        length = length // POOL if k in POOLED else length
        found.append(length)
    return found


class CharConvs(nn.Module):
    r"""Character ids -> features: one-hot letters, backwards, through six convolutions of windows 7 7 3 3 3 3, each with ReLU, and the
    maximum of three positions behind the first, second and sixth.

    The alphabet, 70 letters, of which the last is the new line and the hyphen stands twice:

        abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'"/\|_@#$%^&*~`+-=<>()[]{}

    Shapes: ids (N, T) -> (N, n_out), n_out = width * frames(length)[-1]. Of a text the first `length` characters count. They are read
    from the last to the first, as published, so that the end of a text always stands in the same place; behind its beginning
    stand zero vectors, as for characters outside the alphabet.

    Args:
        chars: the vocabulary: its character k has the id k + 2.
        length: characters of a text, at least 123.
        width: features of each convolution. norm: batch norm behind each, which the source has not.
        start: deviation of the Gaussian from which weights are drawn; 0 for sqrt(2 / inputs) of each layer.

    Raises:
        UsageError: fewer characters than the convolutions need.

    Source: Zhang, Zhao and LeCun (2015), "Character-level Convolutional Networks for Text Classification"; the start at 0:
    He et al. (2015). The text field joins runs of white space, so that a new line never comes in, and knows the
    characters that training rows have at least twice.

    >>> CharConvs("ab", length=123, width=4)(torch.tensor([[2, 3, 0]])).shape
    torch.Size([1, 4])
    """

    lookup: Tensor

    def __init__(
        self, chars: str, *, length: int = LENGTH, width: int = 256, norm: bool = False, start: float = 0.0
    ) -> None:
        super().__init__()
        if length < SHORTEST:
            raise UsageError(
                f"length is {length}; the six convolutions and their pooling need at least {SHORTEST} characters, "
                "and shorter texts are filled up"
            )
        self.length = length
        self.register_buffer("lookup", lookup_of(chars), persistent=False)
        self.letters = OneHot(len(ALPHABET))
        layers: list[nn.Module] = []
        for k, window in enumerate(WINDOWS):
            conv = nn.Conv1d(width if k else len(ALPHABET), width, window)
            draw(conv, start)
            layers += [conv, *([nn.BatchNorm1d(width)] if norm else []), nn.ReLU()]
            layers += [nn.MaxPool1d(POOL)] if k in POOLED else []
        self.layers = nn.Sequential(*layers)
        self.n_out = width * frames(length)[-1]

    def letters_of(self, ids: Tensor) -> Tensor:
        """Ids (N, T) -> one-hot letters (N, length, 70), the last of the text first."""
        ids = ids[:, : self.length].long()
        places = torch.arange(1, ids.shape[1] + 1, device=ids.device)
        ends = ((ids != PAD) * places).amax(1, keepdim=True)
        from_end = ends - torch.arange(1, self.length + 1, device=ids.device)
        there, from_end, numbers = from_end >= 0, from_end.clamp(min=0), self.lookup[ids]
        if not torch.is_grad_enabled() or self.training:
            letters: Tensor = self.letters(torch.where(there, numbers.gather(1, from_end), len(ALPHABET)))
            return letters
        vectors = self.letters(numbers)  # who explains an answer hooks here, and expects the order of the text
        turned = vectors.gather(1, from_end.unsqueeze(2).expand(-1, -1, vectors.shape[2]))
        return torch.where(there.unsqueeze(2), turned, 0.0)

    def forward(self, ids: Tensor) -> Tensor:
        """Features (N, n_out)."""
        features: Tensor = self.layers(self.letters_of(ids).transpose(1, 2)).flatten(1)
        return features


@torch.no_grad()
def draw(layer: nn.Conv1d | nn.Linear, start: float) -> None:
    """Draw weights from a Gaussian of this deviation, of sqrt(2 / inputs) where it is 0; biases are 0."""
    layer.weight.normal_(std=start or math.sqrt(2 / layer.weight[0].numel()))
    assert layer.bias is not None
    layer.bias.zero_()


def dense(n_in: int, n_out: int, *, hidden: int = 1024, dropout: float = 0.5, start: float = 0.0) -> nn.Sequential:
    """Features -> outputs through two hidden layers, with dropout behind each: (N, n_in) -> (N, n_out).

    >>> dense(6, 4, hidden=5)(torch.zeros(2, 6)).shape
    torch.Size([2, 4])
    """
    linear = partial(
        skip_init, nn.Linear, device=torch.get_default_device()
    )  # 86 million weights are drawn once, not twice
    first, second, last = linear(n_in, hidden), linear(hidden, hidden), linear(hidden, n_out)
    for layer in (first, second, last):
        draw(layer, start)
    return nn.Sequential(first, nn.ReLU(), nn.Dropout(dropout), second, nn.ReLU(), nn.Dropout(dropout), last)


def layer_shapes(net: nn.Module, *inputs: Tensor) -> Sequence[tuple[str, tuple[int, ...], int]]:
    """What each convolution, pooling and linear map of a network gives for one row: name, shape, parameters.

    Works on the device "meta", where nothing is computed.

    >>> layer_shapes(dense(6, 4, hidden=5), torch.zeros(1, 6))
    [('Linear', (5,), 35), ('Linear', (5,), 30), ('Linear', (4,), 24)]
    """
    found: list[tuple[str, tuple[int, ...], int]] = []

    def note(layer: nn.Module, _: object, given: Tensor) -> None:
        found.append((type(layer).__name__, tuple(given.shape[1:]), sum(p.numel() for p in layer.parameters())))

    kinds = (nn.Conv1d, nn.MaxPool1d, nn.Linear)
    handles = [m.register_forward_hook(note) for m in net.modules() if isinstance(m, kinds)]
    try:
        with torch.no_grad():
            net(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found
