"""Inputs prepared by the book: every number brought to the range from 0 to 1, every category a unit of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netwright.core.errors import UsageError
from netwright.core.spec import ImageField, InputSpec, VectorField
from netwright.data.batch import Inputs
from netwright.data.fronts import VectorFront

FAR = 8.0
"""Ranges beyond those of training rows at which a number is held."""


class UnitFront(nn.Module):
    """Numbers, categories, pixels and plain tensors -> one vector (N, n_out) a row.

    A number x becomes (x - low) / (high - low), where low and high are those of training rows, so that it is from 0 to 1 there and may be
    beyond elsewhere, up to 8 such ranges. A missing cell becomes what the mean becomes; columns that had missing cells in training
    have one more unit, which is 1 where the cell is missing. A category becomes one unit of many that is 1 (one-hot); one never
    seen leaves all of them 0. Pixels become (x - low) / (high - low) of what a pixel can be, in one row. Plain tensors are taken as
    they are.

    Args:
        spec: the fitted spec.

    Raises:
        UsageError: there is none of these among the inputs, or something else.

    Source: LeCun et al. (1998), "Efficient BackProp", who would rather have mean 0; Han, Kamber and Pei (2011) for the range.

    >>> from netwright.core.spec import CategoryField, NumberField
    >>> age, sex = NumberField(name="age", low=20.0, high=60.0, center=30.0), CategoryField(name="sex", categories=("f", "m"))
    >>> front = UnitFront(InputSpec(fields=(age, sex)))
    >>> numbers = torch.tensor([[40.0], [torch.nan]], dtype=torch.float64)
    >>> front({"numbers": numbers, "codes": torch.tensor([[2], [0]])}).tolist()
    [[0.5, 0.0, 1.0], [0.25, 0.0, 0.0]]
    """

    low: Tensor
    width: Tensor
    mean: Tensor
    gaps: Tensor
    column: Tensor
    code: Tensor

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        numbers, categories, self.images = spec.numbers, spec.categories, spec.images
        others = sorted({f.kind for f in [*spec.texts, *spec.wholes]})
        if others:
            raise UsageError(
                f"numbers, categories, images and tensors can be brought to 0 to 1; these inputs hold: {', '.join(others)}"
            )
        low = torch.tensor([f.low for f in numbers], dtype=torch.float64)
        width = torch.tensor([f.high - f.low or 1.0 for f in numbers], dtype=torch.float64)
        center = torch.tensor([f.center for f in numbers], dtype=torch.float64)
        ones = [(q, k) for q, f in enumerate(categories) for k in range(1, f.n_codes)]
        for name, buffer in {
            "low": low,
            "width": width,
            "mean": (center - low) / width,
            "gaps": torch.tensor([p for p, f in enumerate(numbers) if f.missing], dtype=torch.int64),
            "column": torch.tensor([q for q, _ in ones], dtype=torch.int64),
            "code": torch.tensor([k for _, k in ones], dtype=torch.int64),
        }.items():
            self.register_buffer(name, buffer)
        vectors = any(isinstance(f, VectorField) for f in spec.fields)
        self.vectors = VectorFront(spec) if vectors else None
        self.n_out = (
            len(numbers) + len(self.gaps) + len(ones) + sum(f.channels * f.height * f.width for f in self.images)
        )
        self.n_out += self.vectors.n_out if self.vectors is not None else 0
        if not self.n_out:
            raise UsageError(
                "these inputs hold nothing to learn from: no numbers, and no category that training rows had"
            )

    def forward(self, x: Inputs) -> Tensor:
        """Vectors (N, n_out), float32."""
        parts: list[Tensor] = []
        if len(self.low):
            raw = x["numbers"]
            missing = raw.isnan()
            unit = torch.where(missing, self.mean, (raw - self.low) / self.width).clamp(-FAR, 1 + FAR)
            parts += [unit.float(), missing[:, self.gaps].float()] if len(self.gaps) else [unit.float()]
        if len(self.code):
            parts.append((x["codes"][:, self.column] == self.code).float())
        parts += [_unit_pixels(x[f.name], f) for f in self.images]
        if self.vectors is not None:
            parts.append(self.vectors(x))
        return torch.cat(parts, 1)


def _unit_pixels(pixels: Tensor, field: ImageField) -> Tensor:
    return (pixels.float().flatten(1) - field.low) / (field.high - field.low or 1.0)
