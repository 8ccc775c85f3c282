"""Residual multi-layer perceptrons."""

from __future__ import annotations

from torch import Tensor, nn

from netwright.core.errors import UsageError, unknown
from netwright.nn.activations import activation
from netwright.nn.masks import Dropout

NORMS: dict[str, type[nn.Module]] = {"layer": nn.LayerNorm, "batch": nn.BatchNorm1d, "none": nn.Identity}


def norm_of(width: int, norm: str) -> nn.Module:
    """A norm of vectors (N, width): over the units of a row, over the rows of a batch, or none.

    Raises:
        UsageError: another norm.

    Source: Ba, Kiros and Hinton (2016); Ioffe and Szegedy (2015).
    """
    if norm not in NORMS:
        raise UsageError(unknown("norm", norm, NORMS))
    return NORMS[norm](width)


class ResidualBlock(nn.Module):
    """x + W2 drop(act(W1 norm(x))), drop on the branch too.

    Shapes: (N, width) -> (N, width).

    Source: He et al. (2016); the pre-norm form for tables: Gorishniy et al. (2021).
    """

    def __init__(
        self, width: int, *, hidden: int, dropout: float = 0.0, act: str = "relu", norm: str = "layer"
    ) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            norm_of(width, norm),
            nn.Linear(width, hidden),
            activation(act),
            Dropout(dropout),
            nn.Linear(hidden, width),
            Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, width) -> (N, width)."""
        y: Tensor = x + self.branch(x)
        return y


class ResidualMLP(nn.Module):
    """A linear map to `width`, `depth` residual blocks, a norm, and a linear head that starts close to zero.

    Shapes: (N, n_in) -> (N, n_out). With layer norm a row's output never depends on other rows.

    Args:
        n_in: inputs. n_out: outputs.
        width: size of the residual stream. depth: number of blocks (0: a linear model on the inputs' map).
        dropout: rate inside the blocks.
        act: an entry of ACTIVATIONS. norm: "layer", "batch" or "none".

    Raises:
        UsageError: another norm or activation.

    Source: He et al. (2016), "Deep Residual Learning"; for tables Gorishniy et al. (2021).

    >>> import torch
    >>> ResidualMLP(5, 3, width=16, depth=2)(torch.zeros(4, 5)).shape
    torch.Size([4, 3])
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        width: int = 128,
        depth: int = 2,
        dropout: float = 0.0,
        act: str = "relu",
        norm: str = "layer",
    ) -> None:
        super().__init__()
        self.first = nn.Linear(n_in, width)
        self.blocks = nn.Sequential(
            *[ResidualBlock(width, hidden=2 * width, dropout=dropout, act=act, norm=norm) for _ in range(depth)]
        )
        self.norm = norm_of(width, norm)
        self.act = activation(act)
        self.head = nn.Linear(width, n_out)
        nn.init.normal_(self.head.weight, std=0.1 / width**0.5)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (N, n_out)."""
        y: Tensor = self.head(self.act(self.norm(self.blocks(self.first(x)))))
        return y
