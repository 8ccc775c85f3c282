"""Templates for series, convolutional networks whose vectors stand beside those of a table's other columns; recipes of inception."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from netwright.core.spec import InputSpec, SeriesField, TargetSpec
from netwright.data.sequences import SequenceVector, SeriesFront
from netwright.nn.series import InceptionSeriesNet, ResidualSeriesNet
from netwright.recipes.recipe import Recipe
from netwright.recipes.templates import Fronted, joined, table_fronts
from netwright.train.settings import Training


def _fronted(
    spec: InputSpec,
    target: TargetSpec,
    n_out: int | None,
    noise: float,
    dropout: float,
    trunk: Callable[..., nn.Module],
) -> nn.Module:
    """A trunk over each series, the front of numbers and categories beside them, and a linear head."""
    fields = [f for f in spec.wholes if isinstance(f, SeriesField)]
    vectors = [SequenceVector(SeriesFront(f, noise=noise), trunk(f.channels, f.n_steps)) for f in fields]
    front = joined([*vectors, *table_fronts(spec)])
    head = nn.Linear(int(front.n_out), n_out or target.n_out)  # type: ignore[arg-type]
    return Fronted(front, nn.Sequential(nn.Dropout(dropout), head))


def series_resnet(
    spec: InputSpec,
    target: TargetSpec,
    *,
    n_out: int | None = None,
    width: int = 32,
    depth: int = 3,
    norm: str = "batch",
    pool: str = "mean",
    dropout: float = 0.0,
    noise: float = 0.0,
) -> nn.Module:
    """Residual convolutions over standardised series, the mean over their steps, a linear head.

    Args:
        width: channels of the first block; the further ones have twice as many. depth: residual blocks.
        norm: "batch", "layer" or "none". pool: "mean", "max" or "both" over the steps.
        dropout: rate of whole channels inside the blocks, and of features before the head.
        noise: deviation of Gaussian noise on standardised values, in training only.

    Source: Wang, Yan and Oates (2017).
    """

    def trunk(channels: int, n_steps: int) -> nn.Module:
        return ResidualSeriesNet(channels, n_steps, width=width, depth=depth, norm=norm, pool=pool, dropout=dropout)

    return _fronted(spec, target, n_out, noise, dropout, trunk)


def series_inception(
    spec: InputSpec,
    target: TargetSpec,
    *,
    n_out: int | None = None,
    width: int = 16,
    depth: int = 6,
    norm: str = "batch",
    pool: str = "mean",
    dropout: float = 0.0,
    noise: float = 0.0,
) -> nn.Module:
    """Inception modules over standardised series, the mean over their steps, a linear head.

    Args:
        width: channels of each of the four parts of a module. depth: modules.
        norm, pool, dropout, noise: as of `series_resnet`.

    Source: Ismail Fawaz et al. (2020).
    """

    def trunk(channels: int, n_steps: int) -> nn.Module:
        return InceptionSeriesNet(channels, n_steps, width=width, depth=depth, norm=norm, pool=pool, dropout=dropout)

    return _fronted(spec, target, n_out, noise, dropout, trunk)


def inception_classifier(*, width: int = 16, depth: int = 6, epochs: int = 100) -> Recipe:
    """Classes of series by inception modules, whose windows are of three sizes.

    Source: Ismail Fawaz et al. (2020), one network of the five whose answers they average (`members`).

    >>> inception_classifier(depth=3).options
    {'width': 16, 'depth': 3}
    """
    return _recipe("inception-classifier", "cross-entropy", width, depth, epochs)


def inception_regressor(*, width: int = 16, depth: int = 6, epochs: int = 100) -> Recipe:
    """A number from a series by inception modules, whose windows are of three sizes.

    Source: Ismail Fawaz et al. (2020), one network of the five whose answers they average (`members`).

    >>> inception_regressor().template
    'series-inception'
    """
    return _recipe("inception-regressor", "squared-error", width, depth, epochs)


def _recipe(name: str, loss: str, width: int, depth: int, epochs: int) -> Recipe:
    options = {"width": width, "depth": depth}
    training = Training(epochs=epochs, batch_size=64, learning_rate=3e-3)
    return Recipe(name=name, template="series-inception", options=options, loss=loss, training=training)
