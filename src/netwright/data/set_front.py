"""The front of sets: the columns of the elements -> vectors and lengths, as `netwright.data.sequences` has them."""

from __future__ import annotations

from torch import Tensor, nn

from netwright.core.spec import InputSpec, SetField
from netwright.data.batch import Inputs
from netwright.data.fronts import TableFront
from netwright.data.sequences import trimmed
from netwright.nn.lengths import inside

SMALL = 16
"""Sets of at most so many elements are not trimmed: it would save nothing, and hinders networks from being trained side by side."""


class SetFront(nn.Module):
    """A set field -> vectors of its elements (N, M, n_out) and lengths (N,); each element as `TableFront` takes a row of a table.

    Args:
        field: the fitted field.
        number_dim, category_dim, noise: as of `TableFront`.

    >>> import torch
    >>> from netwright.core.spec import NumberField
    >>> front = SetFront(SetField(numbers=(NumberField(name="price", center=2.0, scale=1.0),), n_elements=3), number_dim=0)
    >>> x = {"set:numbers": torch.tensor([[[2.0], [5.0], [torch.nan]]]), "set:length": torch.tensor([2])}
    >>> vectors, lengths = front(x)
    >>> vectors[0, :, 0].round(decimals=2).tolist(), lengths.tolist()
    ([0.0, 2.119999885559082, 0.0], [2])
    """

    def __init__(self, field: SetField, *, number_dim: int = 8, category_dim: int = 8, noise: float = 0.0) -> None:
        super().__init__()
        spec = InputSpec(fields=(*field.numbers, *field.categories))
        self.table = TableFront(spec, number_dim=number_dim, category_dim=category_dim, noise=noise)
        self.names = {
            name: f"{field.name}:{name}" for name in ("numbers", "codes") if f"{field.name}:{name}" in field.tensors
        }
        self.length, self.ragged = f"{field.name}:length", field.n_elements > SMALL
        self.n_out = self.table.n_out

    def forward(self, x: Inputs) -> tuple[Tensor, Tensor]:
        """Vectors (N, M, n_out) float32, zero behind the end, and lengths (N,)."""
        lengths = x[self.length]
        cells = {own: x[name] for own, name in self.names.items()}
        most = next(iter(cells.values())).shape[1]
        if self.ragged:
            most = trimmed(lengths, most)
        flat = {own: tensor[:, :most].flatten(0, 1) for own, tensor in cells.items()}
        vectors: Tensor = self.table(flat).unflatten(0, (-1, most))
        return vectors * inside(lengths, most).unsqueeze(-1), lengths
