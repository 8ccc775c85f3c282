"""Templates: from what goes in and what must come out to a network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import Tensor, nn

from netwright.core.errors import UsageError
from netwright.core.spec import (
    FIRST_ID,
    AudioField,
    InputSpec,
    SeriesField,
    SetField,
    TargetSpec,
    TreeField,
    VectorField,
)
from netwright.data.audio_front import AudioFront
from netwright.data.batch import Inputs
from netwright.data.fronts import ImageVector, JoinedFront, PixelFront, TableFront, TextVector, VectorFront
from netwright.data.sequences import SequenceVector, SeriesFront
from netwright.data.set_front import SetFront
from netwright.data.tree_front import TreeVector
from netwright.nn.audio import AudioConvNet
from netwright.nn.convnet import ResidualConvNet
from netwright.nn.pooling import Pool
from netwright.nn.residual import ResidualMLP
from netwright.nn.series import ResidualSeriesNet
from netwright.nn.sets import DeepSet
from netwright.nn.text import NgramBag, TokenConv

TEXT_DIM, TEXT_BUCKETS = 16, 1 << 16
"""Size of the vectors, and number of buckets, of a text among the columns of a table."""
WHOLE_DIM = 32
"""Size of the vector of a set among the columns of a table."""


class Fronted(nn.Module):
    """A front that turns raw named tensors into vectors, and a body that turns vectors into outputs."""

    def __init__(self, front: nn.Module, body: nn.Module) -> None:
        super().__init__()
        self.front = front
        self.body = body

    def forward(self, x: Inputs) -> Tensor:
        """Outputs (N, n_out)."""
        outputs: Tensor = self.body(self.front(x))
        return outputs


def table_fronts(spec: InputSpec, **options: float) -> list[nn.Module]:
    """The front of numbers and categories, and that of plain tensors, where there are any."""
    parts: list[nn.Module] = []
    if spec.numbers or spec.categories:
        parts.append(TableFront(spec, **options))  # type: ignore[arg-type]
    if any(isinstance(f, VectorField) for f in spec.fields):
        parts.append(VectorFront(spec))
    return parts


def _texts(spec: InputSpec, make: Callable[[int], nn.Module], level: Literal["words", "chars"]) -> list[nn.Module]:
    """A trunk for each text field; `make` is given the number of token ids."""
    at = ("words", "chars").index(level)
    return [TextVector(f.tensors[at], make(FIRST_ID + len(getattr(f, level)))) for f in spec.texts]


def _bags(
    spec: InputSpec, width: int, *, words: int = 2, chars: int = 5, least_chars: int = 1, buckets: int
) -> list[nn.Module]:
    """Bags of n-grams of words, and of characters, for each text field."""
    if words < 1 and chars < 1:
        raise UsageError("neither words nor characters are left: words or chars must be 1 or more")
    if chars and not 1 <= least_chars <= chars:
        raise UsageError(f"least_chars is {least_chars}; a length from 1 to chars ({chars}) was expected")
    parts: list[nn.Module] = []
    if words:
        parts += _texts(spec, partial(NgramBag, dim=width, n=words, buckets=buckets), "words")
    if chars:
        parts += _texts(spec, partial(NgramBag, dim=width, n=chars, least=least_chars, buckets=buckets), "chars")
    return parts


def _images(spec: InputSpec, trunk: Callable[..., nn.Module], **pixels: float) -> list[nn.Module]:
    """A trunk for each image field; `trunk` is given channels, height and width."""
    return [ImageVector(PixelFront(f, **pixels), trunk(*f.shape)) for f in spec.images]  # type: ignore[arg-type]


def _sequences(spec: InputSpec, *, width: int, noise: float = 0.0) -> list[nn.Module]:
    """A small convolutional trunk for each field of series and of sounds."""
    parts: list[nn.Module] = []
    for field in spec.wholes:
        if isinstance(field, SeriesField):
            trunk = ResidualSeriesNet(field.channels, field.n_steps, width=width, depth=2)
            parts.append(SequenceVector(SeriesFront(field, noise=noise), trunk))
        elif isinstance(field, AudioField):
            front = AudioFront(field)
            parts.append(SequenceVector(front, AudioConvNet(front.n_out, width=width // 2, pool="mean")))
    return parts


def _wholes(spec: InputSpec, **sizes: float) -> list[nn.Module]:
    """A small trunk for each field of sets and of trees."""
    parts: list[nn.Module] = []
    for field in spec.wholes:
        if isinstance(field, SetField):
            front = SetFront(field, **sizes)  # type: ignore[arg-type]
            parts.append(SequenceVector(front, DeepSet(front.n_out, width=WHOLE_DIM, usual=field.n_elements)))
        elif isinstance(field, TreeField):
            parts.append(TreeVector(field, width=WHOLE_DIM // 2, dim=16, pool="all"))
    return parts


def joined(parts: list[nn.Module]) -> nn.Module:
    """One front of all parts; a part that is alone stays as it is."""
    return parts[0] if len(parts) == 1 else JoinedFront(parts)


def residual_mlp(
    spec: InputSpec,
    target: TargetSpec,
    *,
    n_out: int | None = None,
    width: int = 128,
    depth: int = 2,
    dropout: float = 0.0,
    noise: float = 0.0,
    number_dim: int = 24,
    category_dim: int = 8,
    activation: str = "relu",
    norm: str = "layer",
) -> nn.Module:
    """Piecewise-linear embeddings of numbers, embeddings of categories, residual perceptron.

    A column of text among them comes in as the sum of its hashed n-grams of words and characters, one of images, of series or of
    sounds through a small convolutional trunk, one of sets or of trees through a small network of their own, so that all columns go
    through one network.

    Args:
        spec: the inputs. target: the target.
        n_out: outputs; None for the task's usual number.
        width: of the residual stream. depth: residual blocks.
        dropout: rate inside the blocks.
        noise: deviation of Gaussian noise on standardised numbers and pixels, in training only.
        number_dim, category_dim: sizes of embeddings.
        activation: of the blocks, an entry of `netwright list activations`. norm: of the blocks, "layer", "batch" or "none".

    Source: Gorishniy et al. (2021, 2022).
    """
    table = table_fronts(spec, number_dim=number_dim, category_dim=category_dim, noise=noise)
    texts = _bags(spec, TEXT_DIM, buckets=TEXT_BUCKETS)
    images = _images(spec, partial(ResidualConvNet, width=16), noise=noise)
    sequences = _sequences(spec, width=16, noise=noise)
    wholes = _wholes(spec, number_dim=min(number_dim, 8), category_dim=category_dim, noise=noise)
    front = joined([*table, *texts, *images, *sequences, *wholes])
    n_in = int(front.n_out)  # type: ignore[arg-type]
    body = ResidualMLP(
        n_in, n_out or target.n_out, width=width, depth=depth, dropout=dropout, act=activation, norm=norm
    )
    return Fronted(front, body)


def linear(
    spec: InputSpec, target: TargetSpec, *, n_out: int | None = None, number_dim: int = 0, category_dim: int = 8
) -> nn.Module:
    """One linear map of standardised numbers and category embeddings: the smallest network there is.

    Source: Cox (1958) for classes, Gauss (1809) for numbers.
    """
    front = joined(table_fronts(spec, number_dim=number_dim, category_dim=category_dim))
    return Fronted(front, nn.Linear(int(front.n_out), n_out or target.n_out))  # type: ignore[arg-type]


def residual_conv(
    spec: InputSpec,
    target: TargetSpec,
    *,
    n_out: int | None = None,
    width: int = 16,
    depth: int = 1,
    dropout: float = 0.0,
    pool: Pool = "max",
    norm: bool = True,
    activation: str = "relu",
    noise: float = 0.0,
    shift: float = 0.0,
    rotate: float = 0.0,
    zoom: float = 0.0,
    shear: float = 0.0,
    flip: bool = False,
) -> nn.Module:
    """Stages of residual convolutions on standardised pixels, a linear head on the mean and the maximum over positions.

    Args:
        width: channels of the first stage; each further one has twice as many. depth: residual blocks of a stage.
        dropout: rate of whole channels inside the blocks, and of features before the head.
        pool: "max", "average", "min", or "none" for strides in its place. norm: batch norm.
        activation: an entry of `netwright list activations`.
        noise: deviation of Gaussian noise on standardised pixels, in training only.
        shift, rotate, zoom, shear, flip: random changes of the images, in training only; see `netwright.nn.augment.Augment`.

    Source: He et al. (2016).
    """
    changes = {"shift": shift, "rotate": rotate, "zoom": zoom, "shear": shear, "flip": flip}
    trunk = partial(ResidualConvNet, width=width, depth=depth, dropout=dropout, pool=pool, norm=norm, act=activation)
    trunks = _images(spec, trunk, noise=noise, **changes)
    front = joined([*trunks, *table_fronts(spec)])
    head = nn.Linear(int(front.n_out), n_out or target.n_out)  # type: ignore[arg-type]
    return Fronted(front, nn.Sequential(nn.Dropout(dropout), head))


def ngram_bag(
    spec: InputSpec,
    target: TargetSpec,
    *,
    n_out: int | None = None,
    width: int = 8,
    words: int = 2,
    chars: int = 5,
    least_chars: int = 1,
    buckets: int = 1 << 17,
    dropout: float = 0.0,
) -> nn.Module:
    """Sums of the vectors of hashed n-grams of words and of characters, and a linear head.

    Args:
        width: size of a vector. words: longest n-gram of words; 0 leaves words out.
        chars: longest n-gram of characters; 0 leaves characters out. least_chars: shortest.
        buckets: vectors that the n-grams of a level share; where they are few, n-grams are mistaken for each other.
        dropout: rate at which features are left out before the head, in training.

    Raises:
        UsageError: neither words nor characters are left.

    Source: Joulin et al. (2017); n-grams of characters: Bojanowski et al. (2017).
    """
    texts = _bags(spec, width, words=words, chars=chars, least_chars=least_chars, buckets=buckets)
    front = joined([*texts, *table_fronts(spec)])
    head = nn.Linear(int(front.n_out), n_out or target.n_out)  # type: ignore[arg-type]
    return Fronted(front, nn.Sequential(nn.Dropout(dropout), head))


def _token_conv(
    spec: InputSpec,
    target: TargetSpec,
    level: Literal["words", "chars"],
    dropout: float,
    make: Callable[[int], nn.Module],
    n_out: int | None,
) -> nn.Module:
    front = joined([*_texts(spec, make, level), *table_fronts(spec)])
    head = nn.Linear(int(front.n_out), n_out or target.n_out)  # type: ignore[arg-type]
    return Fronted(front, nn.Sequential(nn.Dropout(dropout), head))


def word_conv(
    spec: InputSpec,
    target: TargetSpec,
    *,
    n_out: int | None = None,
    width: int = 64,
    dim: int = 64,
    dropout: float = 0.0,
    norm: str = "none",
    pool: str = "max",
    activation: str = "relu",
) -> nn.Module:
    """One-dimensional convolutions over words, the maximum of each feature over the text, a linear head.

    Args:
        width: features of each window size (1, 3 and 5 words). dim: size of a word's vector.
        dropout: rate at which words, and features before the head, are left out, in training.
        norm, pool, activation: of the features; see `netwright.nn.text.TokenConv`.

    Source: Kim (2014).
    """
    make = partial(
        TokenConv, dim=dim, width=width, windows=(1, 3, 5), dropout=dropout / 2, norm=norm, pool=pool, act=activation
    )
    return _token_conv(spec, target, "words", dropout, make, n_out)


def char_conv(
    spec: InputSpec,
    target: TargetSpec,
    *,
    n_out: int | None = None,
    width: int = 128,
    dim: int = 32,
    dropout: float = 0.0,
    norm: str = "none",
    pool: str = "max",
    activation: str = "relu",
) -> nn.Module:
    """One-dimensional convolutions over characters, the maximum of each feature over the text, a linear head.

    Args:
        width: features of each window size (3, 5 and 7 characters). dim: size of a character's vector.
        dropout: rate at which characters, and features before the head, are left out, in training.
        norm, pool, activation: of the features; see `netwright.nn.text.TokenConv`.

    Source: Zhang, Zhao and LeCun (2015), one layer deep; dos Santos and Gatti (2014).
    """
    make = partial(
        TokenConv, dim=dim, width=width, windows=(3, 5, 7), dropout=dropout / 4, norm=norm, pool=pool, act=activation
    )
    return _token_conv(spec, target, "chars", dropout, make, n_out)
