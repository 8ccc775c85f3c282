"""Numbers and categories of a table as a set of vectors, one a column: what attention takes of a table."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from netwright.core.errors import UsageError
from netwright.core.spec import InputSpec
from netwright.data.batch import Inputs
from netwright.nn.embed import CategoryEmbedding, PiecewiseLinear


class FeatureFront(nn.Module):
    """A table -> one vector a number and a category (N, P + Q, dim), and lengths: numbers first, both in the order of the spec.

    A number's vector is a piecewise-linear function of it with a vector of its own for a missing cell, a category's vector is that of
    its code; each column adds a vector that says which it is.

    Args:
        spec: the fitted spec. dim: size of a vector.

    Raises:
        UsageError: there is no number and no category.

    Source: Gorishniy et al. (2021), "Revisiting Deep Learning Models for Tabular Data", where numbers are embedded by a line; by
    pieces of lines: Gorishniy, Rubachev and Babenko (2022).

    >>> from netwright.core.spec import CategoryField, NumberField
    >>> spec = InputSpec(fields=(NumberField(name="age"), CategoryField(name="sex", categories=("f", "m"))))
    >>> front = FeatureFront(spec, 8)
    >>> front({"numbers": torch.zeros(4, 1).double(), "codes": torch.ones(4, 1).long()})[0].shape, front.names
    (torch.Size([4, 2, 8]), ('age', 'sex'))
    """

    def __init__(self, spec: InputSpec, dim: int) -> None:
        super().__init__()
        numbers, categories = spec.numbers, spec.categories
        if not numbers and not categories:
            raise UsageError(f"a table has numbers or categories; this spec has {[f.kind for f in spec.fields]}")
        self.names = (*(f.name for f in numbers), *(f.name for f in categories))
        self.numbers = PiecewiseLinear([f.knots for f in numbers], dim) if numbers else None
        self.codes = CategoryEmbedding([f.n_codes for f in categories], dim) if categories else None
        self.columns = nn.Parameter(torch.randn(len(self.names), dim) / math.sqrt(dim))
        self.n_out = dim

    def forward(self, x: Inputs) -> tuple[Tensor, Tensor]:
        """Vectors (N, P + Q, dim) and lengths (N,), all of them P + Q."""
        parts = [self.numbers(x["numbers"])] if self.numbers is not None else []
        parts += [self.codes(x["codes"])] if self.codes is not None else []
        vectors = torch.cat(parts, 1) + self.columns
        return vectors, torch.full((len(vectors),), len(self.names), device=vectors.device)
