"""Templates with attention, a transformer encoder and attention pooling, over texts, series, sets and columns; recipes with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import nn

from netwright.core.errors import UsageError
from netwright.core.spec import FIRST_ID, InputSpec, SeriesField, SetField, TargetSpec, TextField, VectorField
from netwright.data.fronts import VectorFront
from netwright.data.sequences import SequenceVector, SeriesFront, TokenFront
from netwright.data.set_front import SetFront
from netwright.data.tokens import FeatureFront
from netwright.nn.attention import Affinity
from netwright.nn.text import MEDIUM
from netwright.nn.transformer import AttentionTrunk, Norm, Pool, TransformerTrunk
from netwright.recipes.recipe import Recipe
from netwright.recipes.templates import Fronted, joined
from netwright.train.settings import Training

Level = Literal["words", "chars"]
LONG = 128
"""A series of more steps is read in patches, about half as many as this, where nobody says otherwise."""


def _token_front(field: TextField, level: Level, dim: int) -> TokenFront:
    """Learned vectors of a text's tokens, which begin small: that of a rare word stays close to nothing."""
    at = ("words", "chars").index(level)
    front = TokenFront(field.tensors[at], FIRST_ID + len(getattr(field, level)), dim)
    with torch.no_grad():
        front.vectors.weight.mul_(MEDIUM)
    return front


def _fronts(spec: InputSpec, level: Level, dim: int, noise: float) -> Iterator[tuple[str, nn.Module, int]]:
    """What each column that is read by attention is: kind, front, most places; numbers and categories are one."""
    if level not in ("words", "chars"):
        raise UsageError(f"level is {level!r}; 'words' or 'chars' was expected")
    for field in spec.fields:
        if isinstance(field, TextField):
            yield "text", _token_front(field, level, dim), field.n_words if level == "words" else field.n_chars
        elif isinstance(field, SeriesField):
            yield "series", SeriesFront(field, noise=noise), field.n_steps
        elif isinstance(field, SetField):
            yield "set", SetFront(field, noise=noise), field.n_elements
    if spec.numbers or spec.categories:
        yield "table", FeatureFront(spec, dim), len(spec.numbers) + len(spec.categories)


def _network(
    spec: InputSpec,
    n_out: int,
    *,
    level: Level,
    dim: int,
    noise: float,
    dropout: float,
    trunk: Callable[[str, int, int], nn.Module],
) -> nn.Module:
    """All columns, each through a front and a trunk of its own, and a linear head; behind several trunks with a hidden layer in it.

    Args:
        trunk: (kind, size of a vector, most places) -> the trunk.
    """
    read = ("text", "series", "set", "number", "integer", "date", "category", "vector")
    if others := [f.name for f in spec.fields if f.kind not in read]:
        kinds = sorted({spec[name].kind for name in others})
        raise UsageError(
            f"attention does not read columns of kind {', '.join(kinds)} ({', '.join(others)}); drop them, or take another template"
        )
    parts: list[nn.Module] = [
        SequenceVector(front, trunk(kind, int(front.n_out), places))  # type: ignore[arg-type]
        for kind, front, places in _fronts(spec, level, dim, noise)
    ]
    parts += [VectorFront(spec)] if any(isinstance(f, VectorField) for f in spec.fields) else []
    front = joined(parts)
    n_in = int(front.n_out)  # type: ignore[arg-type]
    hidden: list[nn.Module] = []
    if len(parts) > 1:  # what one column says may turn round what another does
        hidden, n_in = [nn.Linear(n_in, dim), nn.ReLU(), nn.Dropout(dropout)], dim
    return Fronted(front, nn.Sequential(nn.Dropout(dropout), *hidden, nn.Linear(n_in, n_out)))


def transformer(
    spec: InputSpec,
    target: TargetSpec,
    *,
    n_out: int | None = None,
    width: int = 64,
    heads: int = 4,
    depth: int = 2,
    dropout: float = 0.0,
    noise: float = 0.0,
    pool: Pool = "attention",
    norm: Norm = "before",
    level: Level = "words",
    patch: int = 0,
    stride: int = 0,
) -> nn.Module:
    """Encoder blocks of multi-head self-attention over words, steps of a series, elements of a set or columns of a table.

    Texts and series have positions, sets and tables have none, so that their order does not count.

    Args:
        width: of the blocks, a multiple of `heads`. depth: blocks. dropout: rate inside the blocks and before the head.
        noise: deviation of Gaussian noise on standardised series and on numbers of sets, in training only.
        pool: how one vector is made of many: "attention" (a learned query), "mean" or "cls" (a further vector).
        norm: layer norms "before" the parts of a block or "after" them.
        level: what of a text is read: "words" or "chars".
        patch, stride: steps of a series that are one vector, and from one to the next; 0 for what leaves at most 128 vectors, and for
            `patch`.

    Raises:
        UsageError: heads that do not divide the width, another pool, norm or level, a stride that leaves gaps.

    Source: Vaswani et al. (2017); on tables Gorishniy et al. (2021); patches: Nie et al. (2023).
    """

    def trunk(kind: str, n_in: int, places: int) -> nn.Module:
        size = (patch or (math.ceil(places / (LONG // 2)) if places > LONG else 1)) if kind == "series" else 1
        return TransformerTrunk(
            n_in,
            width=width,
            heads=heads,
            depth=depth,
            dropout=dropout,
            pool=pool,
            norm=norm,
            positions=kind in ("text", "series"),
            patch=size,
            stride=(stride or size) if kind == "series" else 1,
        )

    return _network(spec, n_out or target.n_out, level=level, dim=width, noise=noise, dropout=dropout, trunk=trunk)


def attention_pooling(
    spec: InputSpec,
    target: TargetSpec,
    *,
    n_out: int | None = None,
    width: int = 64,
    depth: int = 1,
    dropout: float = 0.0,
    noise: float = 0.0,
    norm: bool = False,
    affinity: Affinity = "additive",
    level: Level = "words",
) -> nn.Module:
    """Each word, step, element or column goes through the same layers, then their weighted sum by attention, and a linear head.

    The order of words, steps and elements does not count.

    Args:
        width: of the layers. depth: their number. dropout: rate behind each, and before the head. norm: layer norm in each.
        noise: deviation of Gaussian noise on standardised series and on numbers of sets, in training only.
        affinity: "additive" or "dot". level: what of a text is read: "words" or "chars".

    Raises:
        UsageError: another affinity or level.

    Source: Bahdanau, Cho and Bengio (2015); Ilse, Tomczak and Welling (2018).
    """

    def trunk(kind: str, n_in: int, places: int) -> nn.Module:
        return AttentionTrunk(n_in, width=width, depth=depth, dropout=dropout, norm=norm, affinity=affinity)

    return _network(spec, n_out or target.n_out, level=level, dim=width, noise=noise, dropout=dropout, trunk=trunk)


def transformer_classifier(*, width: int = 64, depth: int = 2, epochs: int = 30) -> Recipe:
    """Classes of texts, series, sets or rows of a table, by blocks of self-attention.

    Source: Vaswani et al. (2017); on tables Gorishniy et al. (2021).

    >>> transformer_classifier(depth=1).options
    {'width': 64, 'depth': 1}
    """
    return _recipe("transformer-classifier", "transformer", "cross-entropy", width, depth, epochs)


def transformer_regressor(*, width: int = 64, depth: int = 2, epochs: int = 40) -> Recipe:
    """A number from a text, a series, a set or a row of a table, by blocks of self-attention.

    Source: Vaswani et al. (2017); on tables Gorishniy et al. (2021).

    >>> transformer_regressor().loss
    'squared-error'
    """
    return _recipe("transformer-regressor", "transformer", "squared-error", width, depth, epochs)


def set_attention_classifier(*, width: int = 64, depth: int = 1, epochs: int = 30) -> Recipe:
    """Classes of sets, of which each element has its share in one vector by attention.

    Source: Ilse, Tomczak and Welling (2018).

    >>> set_attention_classifier().template
    'attention-pooling'
    """
    return _recipe("set-attention-classifier", "attention-pooling", "cross-entropy", width, depth, epochs)


def set_attention_regressor(*, width: int = 64, depth: int = 1, epochs: int = 40) -> Recipe:
    """A number from a set, of which each element has its share in one vector by attention.

    Source: Ilse, Tomczak and Welling (2018).

    >>> set_attention_regressor().template
    'attention-pooling'
    """
    return _recipe("set-attention-regressor", "attention-pooling", "squared-error", width, depth, epochs)


def _recipe(name: str, template: str, loss: str, width: int, depth: int, epochs: int) -> Recipe:
    options = {"width": width, "depth": depth}
    training = Training(epochs=epochs, batch_size=32, learning_rate=2e-3)
    return Recipe(name=name, template=template, options=options, loss=loss, training=training)
