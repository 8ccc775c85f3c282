"""Templates for sounds."""

from __future__ import annotations

from torch import nn

from netwright.core.errors import UsageError, unknown
from netwright.core.spec import AudioField, InputSpec, TargetSpec
from netwright.data.audio_front import AudioFront
from netwright.data.sequences import SequenceVector
from netwright.nn.audio import AudioConvNet
from netwright.recipes.templates import Fronted, joined, table_fronts

LEVELS = ("row", "all")


def audio_conv(
    spec: InputSpec,
    target: TargetSpec,
    *,
    n_out: int | None = None,
    width: int = 16,
    depth: int = 1,
    n_bands: int = 40,
    level: str = "row",
    norm: str = "batch",
    pool: str = "both",
    dropout: float = 0.0,
    warp: float = 0.0,
    speed: float = 0.0,
    mask: float = 0.0,
    noise: float = 0.0,
) -> nn.Module:
    """Log-mel frames of the sounds, residual convolutions over bands and time, mean and maximum over time, a linear head.

    Args:
        width: channels of the first of three stages; each further one has twice as many. depth: residual blocks of a stage.
        n_bands: mel bands.
        level: "row" takes the mean of each band over a sound out of it, "all" leaves it: where loudness or tone tell something.
        norm: "batch", "layer" or "none". pool: "mean", "max" or "both" over time.
        dropout: rate of whole channels inside the blocks, and of features before the head.
        warp, speed, mask, noise: random changes in training only; see `netwright.data.audio_front.AudioFront`.

    Raises:
        UsageError: another level, norm or pooling.

    Source: Davis and Mermelstein (1980); He et al. (2016); Park et al. (2019).
    """
    if level not in LEVELS:
        raise UsageError(unknown("level", level, LEVELS))
    parts: list[nn.Module] = [
        SequenceVector(
            AudioFront(f, n_bands=n_bands, level=level, warp=warp, speed=speed, mask=mask, noise=noise),
            AudioConvNet(n_bands, width=width, depth=depth, norm=norm, pool=pool, dropout=dropout),
        )
        for f in spec.wholes
        if isinstance(f, AudioField)
    ]
    front = joined([*parts, *table_fronts(spec)])
    head = nn.Linear(int(front.n_out), n_out or target.n_out)  # type: ignore[arg-type]
    return Fronted(front, nn.Sequential(nn.Dropout(dropout), head))
