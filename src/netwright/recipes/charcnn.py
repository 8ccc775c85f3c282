"""Convolutional networks on texts as published: characters (Zhang, Zhao and LeCun) and words (Kim)."""

from __future__ import annotations

from functools import partial

from torch import nn

from netwright.core.spec import InputSpec, TargetSpec
from netwright.data.fronts import TextVector
from netwright.nn.charcnn import LENGTH, SHORTEST, CharConvs, dense
from netwright.recipes.recipe import Recipe
from netwright.recipes.templates import Fronted, joined, table_fronts
from netwright.train.settings import Training


def char_cnn(
    spec: InputSpec,
    target: TargetSpec,
    *,
    n_out: int | None = None,
    length: int = 0,
    width: int = 256,
    hidden: int = 1024,
    dropout: float = 0.5,
    norm: bool = False,
    start: float = 0.0,
) -> nn.Module:
    """Six convolutions over one-hot letters read backwards, two hidden layers with dropout; see `netwright.nn.charcnn`.

    Args:
        length: characters of a text, at least 123; 1014 as published. 0 for as many as training rows have.
        width: features of each convolution: 256 and 1024 as published. hidden: units of a hidden layer: 1024 and 2048.
        dropout: rate behind each hidden layer. norm: batch norm behind each convolution, which the source has not.
        start: deviation of the Gaussian from which weights are drawn: 0.05 for the small net and 0.02 for the large one as published.
            0 for sqrt(2 / inputs) of each layer, which other widths need.

    Raises:
        UsageError: fewer characters than the convolutions need.

    Source: Zhang, Zhao and LeCun (2015), without their thesaurus.
    """
    make = partial(CharConvs, width=width, norm=norm, start=start)
    texts = [TextVector(f.tensors[1], make(f.chars, length=length or max(SHORTEST, f.n_chars))) for f in spec.texts]
    front = joined([*texts, *table_fronts(spec)])
    n_in = int(front.n_out)  # type: ignore[arg-type]
    return Fronted(front, dense(n_in, n_out or target.n_out, hidden=hidden, dropout=dropout, start=start))


AS_PUBLISHED = Training(
    epochs=30,
    batch_size=128,
    optimizer="sgd",
    learning_rate=0.01,
    schedule="step",
    halve_every=3,
    warmup=0,
    clip_norm=None,
)
"""Momentum 0.9, batches of 128, the rate 0.01 halved every three epochs, ten times."""


def char_cnn_small(*, length: int = LENGTH, epochs: int = 30) -> Recipe:
    r"""The small network of 256 features and 1024 hidden units: 11,339,780 parameters for four classes.

    The alphabet, 70 letters, of which the last is the new line and the hyphen stands twice:

        abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'"/\|_@#$%^&*~`+-=<>()[]{}

    Args:
        length: characters of a text, read from its end. epochs: passes over the training rows; the rate is halved every three.

    Source: Zhang, Zhao and LeCun (2015), without their thesaurus.

    >>> char_cnn_small().options["start"]
    0.05
    """
    return _published("char-cnn-small", length, epochs, width=256, hidden=1024, start=0.05)


def char_cnn_large(*, length: int = LENGTH, epochs: int = 30) -> Recipe:
    r"""The large network of 1024 features and 2048 hidden units: 95,940,612 parameters for four classes.

    The alphabet, 70 letters, of which the last is the new line and the hyphen stands twice:

        abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'"/\|_@#$%^&*~`+-=<>()[]{}

    Args:
        length: characters of a text, read from its end. epochs: passes over the training rows; the rate is halved every three.

    Source: Zhang, Zhao and LeCun (2015), without their thesaurus.

    >>> char_cnn_large().options["start"]
    0.02
    """
    return _published("char-cnn-large", length, epochs, width=1024, hidden=2048, start=0.02)


def _published(name: str, length: int, epochs: int, *, width: int, hidden: int, start: float) -> Recipe:
    options = {"length": length, "width": width, "hidden": hidden, "dropout": 0.5, "start": start}
    training = AS_PUBLISHED.model_copy(update={"epochs": epochs})
    return Recipe(name=name, template="char-cnn", options=options, loss="cross-entropy", training=training)


def word_cnn(*, width: int = 100, dim: int = 128, epochs: int = 12) -> Recipe:
    """Convolutions over 1, 3 and 5 words and the maximum over the text, with dropout 0.5.

    Args:
        width: features of each window: 100 as published. dim: size of a word's vector, which is learned from nothing here.
    """
    training = Training(epochs=epochs, batch_size=64, learning_rate=2e-3)
    options = {"width": width, "dim": dim, "dropout": 0.5}
    return Recipe(name="word-cnn", template="word-conv", options=options, loss="cross-entropy", training=training)
