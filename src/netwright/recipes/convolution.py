"""Templates of convolutional networks: LeNet-5 in both forms, a plain builder for series, images and volumes, residual nets for volumes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

from netwright.core.errors import UsageError
from netwright.core.spec import ImageField, InputSpec, SeriesField, TargetSpec, VolumeField
from netwright.data.fronts import ImageVector, JoinedFront, PixelFront, TableFront, VoxelFront
from netwright.data.sequences import SequenceVector, SeriesFront
from netwright.nn.codes import class_codes
from netwright.nn.convstack import ConvStack, SeriesConvStack
from netwright.nn.lenet import LeNet5, LeNet1998
from netwright.nn.pooling import Pool
from netwright.recipes.templates import Fronted

WHITE, BLACK = -0.1, 1.175
"""What LeNet-5 of 1998 is given for the lowest and the highest value of a pixel, so that the mean is about 0 and the spread about 1."""


def lenet5(
    spec: InputSpec,
    target: TargetSpec,
    *,
    n_out: int | None = None,
    activation: str = "relu",
    pool: Literal["max", "average"] = "max",
    norm: bool = False,
    dropout: float = 0.0,
    noise: float = 0.0,
    shift: float = 0.0,
    rotate: float = 0.0,
    zoom: float = 0.0,
    shear: float = 0.0,
    flip: bool = False,
) -> nn.Module:
    """LeNet-5 as it is usually made today: two convolutions with pooling, three linear maps, 61,706 parameters for ten grey digits.

    Args:
        activation: an entry of ACTIVATIONS, such as "tanh". pool: "max" or "average". norm: batch norm.
        dropout: rate before the last two linear maps.
        noise: deviation of Gaussian noise on standardised pixels, in training only.
        shift, rotate, zoom, shear, flip: random changes of the images, in training only; see `netwright.nn.augment.Augment`.

    Source: LeCun et al. (1998).
    """
    field = _only_image(spec, "lenet5")
    front = PixelFront(field, shift=shift, rotate=rotate, zoom=zoom, shear=shear, flip=flip, noise=noise)
    n = n_out or target.n_out
    return Fronted(front, LeNet5(field.channels, n, activation=activation, pool=pool, norm=norm, dropout=dropout))


def lenet5_1998(
    spec: InputSpec,
    target: TargetSpec,
    *,
    n_out: int | None = None,
    noise: float = 0.0,
    shift: float = 0.0,
    rotate: float = 0.0,
    zoom: float = 0.0,
    shear: float = 0.0,
    flip: bool = False,
) -> nn.Module:
    """LeNet-5 as published: scaled tanh, trained sub-sampling, partial connections, distances to drawn codes; 60,000 parameters.

    Its outputs are minus squared distances, to be priced by the loss "reject-cross-entropy". Where we differ from the paper:
    see `netwright.nn.lenet.LeNet1998`, and the training, which is not its diagonal Levenberg-Marquardt.

    Args:
        noise, shift, rotate, zoom, shear, flip: as of `lenet5`.

    Raises:
        UsageError: the target is a number.

    Source: LeCun et al. (1998).
    """
    field = _only_image(spec, "lenet5-1998")
    if target.is_number:
        raise UsageError(
            f"lenet5-1998 compares with a code for each class, and {target.name!r} is a number; take lenet5"
        )
    step = (field.high - field.low) / (BLACK - WHITE)
    field = field.model_copy(
        update={"center": (field.low - WHITE * step,) * field.channels, "spread": (step,) * field.channels}
    )
    front = PixelFront(field, shift=shift, rotate=rotate, zoom=zoom, shear=shear, flip=flip, noise=noise)
    return Fronted(front, LeNet1998(field.channels, class_codes(target.classes)))


def _only_image(spec: InputSpec, name: str) -> ImageField:
    if len(spec.fields) != 1 or not spec.images:
        raise UsageError(f"{name} takes one column of images and nothing beside it; take residual-conv for more")
    return spec.images[0]


def conv(
    spec: InputSpec,
    target: TargetSpec,
    *,
    n_out: int | None = None,
    channels: str = "32,64",
    kernel: int = 3,
    stride: int = 1,
    dilation: int = 1,
    pool: Pool = "max",
    norm: bool = True,
    residual: bool = False,
    dropout: float = 0.0,
    activation: str = "relu",
    noise: float = 0.0,
    shift: float = 0.0,
    rotate: float = 0.0,
    zoom: float = 0.0,
    shear: float = 0.0,
    flip: bool = False,
) -> nn.Module:
    """Convolutions one after the other with every usual part as an option, and a linear head; series, images and volumes.

    Args:
        channels: of each stage, such as "32,64,128".
        kernel, stride, dilation, pool, norm, residual, activation: see `netwright.nn.convstack.ConvStack`, of series `SeriesConvStack`.
        dropout: rate of whole channels behind each stage, and of features before the head.
        noise, shift, rotate, zoom, shear, flip: as of `lenet5`; of images only, but for the noise.

    Raises:
        UsageError: an option that is none, or nothing is left of the positions.

    Source: LeCun et al. (1998); Ioffe and Szegedy (2015); He et al. (2016).
    """
    options: dict[str, Any] = {
        "widths": _widths(channels),
        "kernel": kernel,
        "stride": stride,
        "dilation": dilation,
        "pool": pool,
        "norm": norm,
        "residual": residual,
        "dropout": dropout,
        "activation": activation,
    }

    def stack(field: ImageField | VolumeField) -> ConvStack:
        return ConvStack(field.channels, field.shape[1:], **options)

    changes = {"shift": shift, "rotate": rotate, "zoom": zoom, "shear": shear}
    trunks: list[nn.Module] = [
        ImageVector(PixelFront(f, noise=noise, flip=flip, **changes), stack(f)) for f in spec.images
    ]
    trunks += [ImageVector(VoxelFront(f, noise=noise), stack(f)) for f in volumes_of(spec)]
    trunks += [
        SequenceVector(SeriesFront(f, noise=noise), SeriesConvStack(f.channels, f.n_steps, **options))
        for f in spec.wholes
        if isinstance(f, SeriesField)
    ]
    return _headed(spec, target, n_out, trunks, dropout)


def residual_conv_3d(
    spec: InputSpec,
    target: TargetSpec,
    *,
    n_out: int | None = None,
    width: int = 16,
    depth: int = 3,
    dropout: float = 0.0,
    pool: Pool = "max",
    norm: bool = True,
    activation: str = "relu",
    noise: float = 0.0,
) -> nn.Module:
    """Stages of residual convolutions in three dimensions on standardised voxels (of films depth is time), a linear head.

    Args:
        width: channels of the first stage; each further one has twice as many. depth: stages, at most; there are no more than
            the longest dimension can be halved to 2.
        dropout: rate of whole channels inside the blocks, and of features before the head.
        pool, norm, activation: as of `conv`.
        noise: deviation of Gaussian noise on standardised voxels, in training only.

    Source: He et al. (2016); in three dimensions Tran et al. (2018).
    """
    trunks: list[nn.Module] = []
    for f in volumes_of(spec):
        stages = max(1, min(depth, (max(f.shape[1:]) // 2).bit_length()))
        widths = [width * 2**k for k in range(stages)]
        stack = ConvStack(
            f.channels,
            f.shape[1:],
            widths,
            residual=True,
            dropout=dropout,
            pool=pool,
            norm=norm,
            activation=activation,
        )
        trunks.append(ImageVector(VoxelFront(f, noise=noise), stack))
    return _headed(spec, target, n_out, trunks, dropout)


def _headed(
    spec: InputSpec, target: TargetSpec, n_out: int | None, trunks: Sequence[nn.Module], dropout: float
) -> nn.Module:
    """A linear head on trunks, and on the numbers and categories beside them."""
    parts = [*trunks, *([TableFront(spec)] if spec.numbers or spec.categories else [])]
    front = parts[0] if len(parts) == 1 else JoinedFront(parts)
    head = nn.Linear(int(front.n_out), n_out or target.n_out)  # type: ignore[arg-type]
    return Fronted(front, nn.Sequential(nn.Dropout(dropout), head))


def volumes_of(spec: InputSpec) -> list[VolumeField]:
    """Fields of volumes, in order."""
    return [f for f in spec.wholes if isinstance(f, VolumeField)]


def _widths(channels: str) -> list[int]:
    """Numbers of a list in words.

    >>> _widths("32, 64")
    [32, 64]
    """
    try:
        return [int(part) for part in str(channels).split(",")]
    except ValueError:
        raise UsageError(
            f"channels {channels!r}: expected whole numbers with commas between them, such as '32,64'"
        ) from None
