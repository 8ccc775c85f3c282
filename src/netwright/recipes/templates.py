"""Templates: from what goes in and what must come out to a network."""

from __future__ import annotations

from torch import Tensor, nn

from netwright.core.spec import InputSpec, TargetSpec
from netwright.data.batch import Inputs
from netwright.data.fronts import TableFront, VectorFront
from netwright.nn.residual import ResidualMLP


class Fronted(nn.Module):
    """A front that turns raw named tensors into vectors, and a body that turns vectors into outputs."""

    def __init__(self, front: nn.Module, body: nn.Module) -> None:
        super().__init__()
        self.front = front
        self.body = body

    def forward(self, x: Inputs) -> Tensor:
        """Outputs (N, n_out)."""
        outputs: Tensor = self.body(self.front(x))
        return outputs


def _front(spec: InputSpec, **options: float) -> TableFront | VectorFront:
    if spec.numbers or spec.categories:
        return TableFront(spec, **options)  # type: ignore[arg-type]
    return VectorFront(spec)


def residual_mlp(
    spec: InputSpec,
    target: TargetSpec,
    *,
    n_out: int | None = None,
    width: int = 128,
    depth: int = 2,
    dropout: float = 0.0,
    noise: float = 0.0,
    number_dim: int = 24,
    category_dim: int = 8,
) -> nn.Module:
    """Piecewise-linear embeddings of numbers, embeddings of categories, residual perceptron.

    Args:
        spec: the inputs. target: the target.
        n_out: outputs; None for the task's usual number.
        width: of the residual stream. depth: residual blocks.
        dropout: rate inside the blocks. noise: deviation of Gaussian noise on standardised numbers, in training only.
        number_dim, category_dim: sizes of embeddings.

    Source: Gorishniy et al. (2021, 2022).
    """
    front = _front(spec, number_dim=number_dim, category_dim=category_dim, noise=noise)
    return Fronted(front, ResidualMLP(front.n_out, n_out or target.n_out, width=width, depth=depth, dropout=dropout))


def linear(
    spec: InputSpec, target: TargetSpec, *, n_out: int | None = None, number_dim: int = 0, category_dim: int = 8
) -> nn.Module:
    """One linear map of standardised numbers and category embeddings: the smallest network there is.

    Source: Cox (1958) for classes, Gauss (1809) for numbers.
    """
    front = _front(spec, number_dim=number_dim, category_dim=category_dim)
    return Fronted(front, nn.Linear(front.n_out, n_out or target.n_out))
