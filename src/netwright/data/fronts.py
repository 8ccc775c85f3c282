"""Fronts: the part of a network that takes tensors in the user's units and gives vectors. Scaling is inside, so that
attacks, sensitivities and exported graphs speak the user's units."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from netwright.core.errors import UsageError
from netwright.core.spec import PAD, ImageField, InputSpec, VectorField, VolumeField
from netwright.data.batch import Inputs
from netwright.nn.augment import Augment
from netwright.nn.embed import CategoryEmbedding, PiecewiseLinear
from netwright.nn.masks import normal

NOISE = 1 << 20
"""The number under which a front draws its noise, beyond those of dropout layers."""


class TableFront(nn.Module):
    """Numbers and category codes of a table -> one vector (N, n_out) a row.

    Numbers: standardised and softly held, z / sqrt(1 + (z/3)^2), beside a piecewise-linear embedding; a missing cell
    has a vector of its own. Dates add sine and cosine of week and year. Categories: embeddings.

    Args:
        spec: the fitted spec of the table.
        number_dim: size of a number's embedding; 0 leaves only the standardised number.
        category_dim: size of a category's embedding.

    Source: Gorishniy et al. (2022) for the numbers, Holzmüller et al. (2024) for the soft hold.

    >>> from netwright.core.spec import NumberField
    >>> front = TableFront(InputSpec(fields=(NumberField(name="age", center=40.0, scale=10.0, knots=(17.0, 40.0, 90.0)),)))
    >>> front({"numbers": torch.tensor([[30.0]], dtype=torch.float64)}).shape[1] == front.n_out
    True
    """

    center: Tensor
    scale: Tensor
    dates: Tensor

    def __init__(self, spec: InputSpec, *, number_dim: int = 24, category_dim: int = 8, noise: float = 0.0) -> None:
        super().__init__()
        self.noise = noise
        numbers, categories = spec.numbers, spec.categories
        if not numbers and not categories:
            raise UsageError(
                f"a table front needs numbers or categories; this spec has {[f.kind for f in spec.fields]}"
            )
        self.register_buffer("center", torch.tensor([f.center for f in numbers], dtype=torch.float64))
        self.register_buffer("scale", torch.tensor([f.scale for f in numbers], dtype=torch.float64))
        dates = [i for i, f in enumerate(numbers) if f.kind == "date"]
        self.register_buffer("dates", torch.tensor(dates, dtype=torch.int64))
        self.embed = PiecewiseLinear([f.knots for f in numbers], number_dim) if numbers and number_dim else None
        self.codes = CategoryEmbedding([f.n_codes for f in categories], category_dim) if categories else None
        self.n_out = len(numbers) * (2 + number_dim) + 4 * len(dates) + len(categories) * category_dim

    def forward(self, x: Inputs) -> Tensor:
        """Vectors (N, n_out), float32."""
        parts: list[Tensor] = []
        if len(self.center):
            raw = x["numbers"]
            missing = raw.isnan()
            z = torch.where(missing, 0.0, (raw - self.center) / self.scale).clamp(-1e6, 1e6).float()
            if self.training and self.noise:
                z = z + self.noise * normal(z, NOISE)
                raw = self.center + self.scale * z.double()
                raw = torch.where(missing, torch.nan, raw)
            parts += [z / (1 + (z / 3) ** 2).sqrt(), missing.float()]
            if self.embed is not None:
                parts.append(self.embed(raw).relu().flatten(1))
            if len(self.dates):
                days = torch.where(missing, 0.0, raw)[:, self.dates]
                for period in (7.0, 365.2425):
                    angle = 2 * torch.pi * days / period
                    parts += [angle.sin().float(), angle.cos().float()]
        if self.codes is not None:
            parts.append(self.codes(x["codes"]).flatten(1))
        return torch.cat(parts, 1)


class VectorFront(nn.Module):
    """Plain tensors -> one vector a row, standardised by nothing: they are taken as they are.

    >>> VectorFront(InputSpec(kind="vector", fields=(VectorField(name="x", shape=(2, 3)),)))({"x": torch.zeros(4, 2, 3)}).shape
    torch.Size([4, 6])
    """

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        self.sizes = {f.name: math.prod(f.shape) for f in spec.fields if isinstance(f, VectorField)}
        self.n_out = sum(self.sizes.values())

    def forward(self, x: Inputs) -> Tensor:
        """Vectors (N, n_out)."""
        flat = [x[name].reshape(len(x[name]), size) for name, size in self.sizes.items()]
        return torch.cat([t if t.is_floating_point() else t.float() for t in flat], 1)


class PixelFront(nn.Module):
    """Pixels of an image field -> standardised images (N, C, H, W) float32, (x - center) / spread a channel.

    Args:
        field: the fitted field.
        shift, rotate, zoom, shear, flip: of `Augment`, in training only.
        noise: deviation of Gaussian noise on standardised pixels.

    >>> front = PixelFront(ImageField(height=2, width=2, center=(100.0,), spread=(50.0,)))
    >>> front({"image": torch.full((1, 1, 2, 2), 200, dtype=torch.uint8)}).flatten().tolist()
    [2.0, 2.0, 2.0, 2.0]
    """

    center: Tensor
    spread: Tensor

    def __init__(
        self,
        field: ImageField,
        *,
        shift: float = 0.0,
        rotate: float = 0.0,
        zoom: float = 0.0,
        shear: float = 0.0,
        flip: bool = False,
        noise: float = 0.0,
    ) -> None:
        super().__init__()
        self.name, self.noise = field.name, noise
        self.augment = Augment(shift=shift, rotate=rotate, zoom=zoom, shear=shear, flip=flip)
        self.register_buffer("center", torch.tensor(field.center).view(1, -1, 1, 1))
        self.register_buffer("spread", torch.tensor(field.spread).view(1, -1, 1, 1))

    def forward(self, x: Inputs) -> Tensor:
        """Images (N, C, H, W), in the layout in which convolutions are fastest."""
        pixels = self.augment((x[self.name].float() - self.center) / self.spread)
        if self.training and self.noise:
            pixels = pixels + self.noise * torch.randn_like(pixels)
        images: Tensor = pixels.contiguous(memory_format=torch.channels_last)
        return images


class VoxelFront(nn.Module):
    """Voxels of a volume field -> standardised volumes (N, C, D, H, W) float32, (x - center) / spread a channel.

    Args:
        field: the fitted field.
        noise: deviation of Gaussian noise on standardised voxels, in training only.

    >>> front = VoxelFront(VolumeField(depth=2, height=2, width=2, center=(100.0,), spread=(50.0,)))
    >>> front({"volume": torch.full((1, 1, 2, 2, 2), 200, dtype=torch.uint8)}).unique().tolist()
    [2.0]
    """

    center: Tensor
    spread: Tensor

    def __init__(self, field: VolumeField, *, noise: float = 0.0) -> None:
        super().__init__()
        self.name, self.noise = field.name, noise
        self.register_buffer("center", torch.tensor(field.center).view(1, -1, 1, 1, 1))
        self.register_buffer("spread", torch.tensor(field.spread).view(1, -1, 1, 1, 1))

    def forward(self, x: Inputs) -> Tensor:
        """Volumes (N, C, D, H, W)."""
        voxels = (x[self.name].float() - self.center) / self.spread
        if self.training and self.noise:
            voxels = voxels + self.noise * torch.randn_like(voxels)
        return voxels


class ImageVector(nn.Module):
    """A field of images or of volumes -> vectors (N, n_out): a `PixelFront` or `VoxelFront`, then a trunk that has `n_out`."""

    def __init__(self, front: PixelFront | VoxelFront, trunk: nn.Module) -> None:
        super().__init__()
        self.front, self.trunk = front, trunk
        self.n_out = int(trunk.n_out)  # type: ignore[arg-type]

    def forward(self, x: Inputs) -> Tensor:
        """Vectors (N, n_out)."""
        vectors: Tensor = self.trunk(self.front(x))
        return vectors


class TextVector(nn.Module):
    """A tensor of token ids -> vectors (N, n_out): padding that the whole batch has is cut off, then a trunk that has `n_out`.

    Args:
        tensor: name of the tensor: a text field's words or characters.
        trunk: ids (N, T) -> (N, n_out), for which padding behind a text has no effect.
    """

    def __init__(self, tensor: str, trunk: nn.Module) -> None:
        super().__init__()
        self.tensor, self.trunk = tensor, trunk
        self.n_out = int(trunk.n_out)  # type: ignore[arg-type]

    def forward(self, x: Inputs) -> Tensor:
        """Vectors (N, n_out)."""
        ids = x[self.tensor]
        if not torch.compiler.is_exporting():
            places = torch.arange(1, ids.shape[1] + 1, device=ids.device)
            ids = ids[:, : max(1, int(((ids != PAD).any(0) * places).amax()))]
        vectors: Tensor = self.trunk(ids)
        return vectors


class JoinedFront(nn.Module):
    """Several fronts beside each other: their vectors as one, (N, n_out)."""

    def __init__(self, parts: Iterable[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.n_out = sum(int(part.n_out) for part in self.parts)  # type: ignore[arg-type, misc]

    def forward(self, x: Inputs) -> Tensor:
        """Vectors (N, n_out)."""
        return torch.cat([part(x) for part in self.parts], 1)
