"""The template of recurrent networks for series, texts and sounds, and recipes with it."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from netwright.core.errors import UsageError, unknown
from netwright.core.spec import FIRST_ID, AudioField, InputSpec, SeriesField, TargetSpec, TextField
from netwright.data.audio_front import AudioFront
from netwright.data.batch import Inputs
from netwright.data.fronts import JoinedFront, TableFront
from netwright.data.sequences import SequenceVector, SeriesFront, TokenFront
from netwright.nn.recurrent import RecurrentVector
from netwright.recipes.recipe import Recipe
from netwright.recipes.templates import Fronted
from netwright.train.settings import Training

NORMS = {"none": None, "layer": nn.LayerNorm, "batch": nn.BatchNorm1d}


class FrameSequence(nn.Module):
    """A sound field -> its log-mel frames as a sequence (N, T, n_bands), and lengths in frames; see `AudioFront`."""

    def __init__(self, field: AudioField) -> None:
        super().__init__()
        self.front = AudioFront(field)
        self.n_out = self.front.n_out

    def forward(self, x: Inputs) -> tuple[Tensor, Tensor]:
        """Frames (N, T, n_bands) and lengths (N,)."""
        frames, lengths = self.front(x)
        return frames.transpose(1, 2), lengths


def fronts_of_sequences(
    spec: InputSpec, *, level: Literal["words", "chars"] = "words", dim: int = 32, noise: float = 0.0
) -> list[nn.Module]:
    """A front for each column of sequences: (vectors (N, T, D), lengths (N,)).

    Args:
        level: of texts: their words or their characters. dim: size of a token's vector.
        noise: deviation of Gaussian noise on standardised series, in training only.

    Raises:
        UsageError: no such level, or there is no sequence among the inputs.
    """
    if level not in ("words", "chars"):
        raise UsageError(unknown("level", level, ("words", "chars")))
    fronts: list[nn.Module] = []
    for field in spec.fields:
        if isinstance(field, SeriesField):
            fronts.append(SeriesFront(field, noise=noise))
        elif isinstance(field, AudioField):
            fronts.append(FrameSequence(field))
        elif isinstance(field, TextField):
            tensor = field.tensors[("words", "chars").index(level)]
            fronts.append(TokenFront(tensor, FIRST_ID + len(getattr(field, level)), dim))
    if not fronts:
        raise UsageError(
            f"a recurrent network reads series or texts or sounds, and there are none in these inputs ({spec.kind})"
        )
    return fronts


def recurrent(
    spec: InputSpec,
    target: TargetSpec,
    *,
    n_out: int | None = None,
    cell: Literal["gru", "lstm", "elman", "elman-relu"] = "gru",
    width: int = 64,
    depth: int = 1,
    directions: int = 2,
    dropout: float = 0.0,
    variational: bool = False,
    skip: bool = False,
    residual: bool = False,
    pool: Literal["last", "mean", "max"] = "last",
    norm: Literal["none", "layer", "batch"] = "none",
    truncate: int = 0,
    level: Literal["words", "chars"] = "words",
    dim: int = 32,
    noise: float = 0.0,
) -> nn.Module:
    """Recurrent layers over each series, text or sound (its log-mel frames), a vector of each, a linear head; other columns beside them.

    Args:
        cell, width, depth, directions, variational, skip, residual, truncate: of `netwright.nn.recurrent.Recurrent`.
        dropout: rate inside the layers, and of features before the head.
        pool: which vector of a sequence: the last, the mean or the maximum over its steps.
        norm: of the vector before the head.
        level: of texts: their words or their characters. dim: size of a token's vector.
        noise: deviation of Gaussian noise on standardised series, in training only.

    Raises:
        UsageError: an option is out of range, or there is no sequence among the inputs.

    Source: Elman (1990); Hochreiter and Schmidhuber (1997); Cho et al. (2014).
    """
    if norm not in NORMS:
        raise UsageError(unknown("norm", norm, NORMS))
    parts: list[nn.Module] = []
    for front in fronts_of_sequences(spec, level=level, dim=dim, noise=noise):
        trunk = RecurrentVector(
            int(front.n_out),  # type: ignore[arg-type]
            width,
            cell=cell,
            depth=depth,
            directions=directions,
            dropout=dropout,
            variational=variational,
            skip=skip,
            residual=residual,
            truncate=truncate,
            pool=pool,
        )
        parts.append(SequenceVector(front, trunk))
    if spec.numbers or spec.categories:
        parts.append(TableFront(spec))
    whole = parts[0] if len(parts) == 1 else JoinedFront(parts)
    size = int(whole.n_out)  # type: ignore[arg-type]
    normed = NORMS[norm]
    head = [normed(size)] if normed else []
    return Fronted(whole, nn.Sequential(*head, nn.Dropout(dropout), nn.Linear(size, n_out or target.n_out)))


def gru_classifier(*, width: int = 64, depth: int = 1, epochs: int = 40) -> Recipe:
    """Classes of series, or of texts read word by word."""
    return _recipe("gru-classifier", "cross-entropy", "gru", width, depth, epochs)


def gru_regressor(*, width: int = 64, depth: int = 1, epochs: int = 40) -> Recipe:
    """A number from a series or a text."""
    return _recipe("gru-regressor", "squared-error", "gru", width, depth, epochs)


def lstm_classifier(*, width: int = 64, depth: int = 1, epochs: int = 40) -> Recipe:
    """Classes of series, or of texts read word by word, with long short-term memory."""
    return _recipe("lstm-classifier", "cross-entropy", "lstm", width, depth, epochs)


def lstm_regressor(*, width: int = 64, depth: int = 1, epochs: int = 40) -> Recipe:
    """A number from a series or a text, with long short-term memory.

    Source: Hochreiter and Schmidhuber (1997).

    >>> lstm_regressor().options["cell"]
    'lstm'
    """
    return _recipe("lstm-regressor", "squared-error", "lstm", width, depth, epochs)


def elman_classifier(*, width: int = 64, depth: int = 1, epochs: int = 40) -> Recipe:
    """Classes of short series, or of short texts read word by word, by a plain recurrent layer, which soon forgets.

    Source: Elman (1990).

    >>> elman_classifier().options["cell"]
    'elman'
    """
    return _recipe("elman-classifier", "cross-entropy", "elman", width, depth, epochs)


def elman_regressor(*, width: int = 64, depth: int = 1, epochs: int = 40) -> Recipe:
    """A number from a short series or a short text, by a plain recurrent layer, which soon forgets.

    Source: Elman (1990).

    >>> elman_regressor().loss
    'squared-error'
    """
    return _recipe("elman-regressor", "squared-error", "elman", width, depth, epochs)


def _recipe(name: str, loss: str, cell: str, width: int, depth: int, epochs: int) -> Recipe:
    options = {"cell": cell, "width": width, "depth": depth}
    training = Training(epochs=epochs, batch_size=32, learning_rate=3e-3)
    return Recipe(name=name, template="recurrent", options=options, loss=loss, training=training)
