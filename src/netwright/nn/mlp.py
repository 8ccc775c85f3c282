"""The multi-layer perceptron as in the book: layers of units, each a weighted sum and an activation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from netwright.core.errors import UsageError
from netwright.nn.activations import activation
from netwright.nn.masks import Dropout, through

HALVES = ("relu", "relu6", "leaky-relu", "prelu", "gelu", "silu", "hard-swish", "mish")
"""Activations that lose about half of what comes in: their weights start larger by the root of two."""


class MLP(nn.Module):
    """h_l = drop(act(norm(W_l h_{l-1} + b_l))) for each hidden layer, outputs W h + b.

    With `residual` a layer of as many units as the one before adds what came in: h_l = h_{l-1} + drop(act(norm(W_l h_{l-1} + b_l))).
    Weights start small and at random, uniform with deviation 1 / sqrt(inputs) (He's sqrt(2 / inputs) before rectifiers), those of
    the outputs a tenth of it. For inputs from 0 to 1, whose deviation is about 1 / sqrt(12), the first layer's weights are larger by
    sqrt(12), and its biases make up for their mean of 1 / 2, so that sums start with variance 1 as LeCun et al. ask.

    Shapes: (N, n_in) -> (N, n_out).

    Args:
        n_in: inputs. n_out: outputs.
        hidden: units of each hidden layer; none make it a linear map.
        act: an entry of ACTIVATIONS. dropout: rate behind each hidden layer.
        batch_norm: normalise each unit over the batch before the activation (rows then depend on each other in training).
        residual: as above.
        from_zero_to_one: whether inputs are numbers from 0 to 1.

    Raises:
        UsageError: a layer without units, no such activation, or `residual` where no layer is as wide as the one before.

    Source: Rumelhart, Hinton and Williams (1986); LeCun et al. (1998) and He et al. (2015) for the start; Ioffe and Szegedy (2015) for
    batch norm, Srivastava et al. (2014) for dropout, He et al. (2016) for the sum.

    >>> import torch
    >>> net = MLP(2, 1, [4, 3], act="tanh")
    >>> net(torch.zeros(5, 2)).shape, [h.shape[1] for h in net.units(torch.zeros(5, 2))]
    (torch.Size([5, 1]), [4, 3])
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        hidden: Sequence[int],
        *,
        act: str = "relu",
        dropout: float = 0.0,
        batch_norm: bool = False,
        residual: bool = False,
        from_zero_to_one: bool = False,
    ) -> None:
        super().__init__()
        if any(width < 1 for width in hidden):
            raise UsageError(f"hidden layers of {', '.join(map(str, hidden))} units; each needs at least one")
        sizes = [n_in, *hidden]
        self.skips = [residual and k > 0 and sizes[k] == sizes[k + 1] for k in range(len(hidden))]
        if residual and not any(self.skips):
            raise UsageError(
                f"residual needs a hidden layer as wide as the one before it; the widths are {list(hidden)}"
            )
        self.hidden = nn.ModuleList()
        for before, width in zip(sizes, hidden, strict=False):
            layer: list[nn.Module] = [nn.Linear(before, width)]
            layer += [nn.BatchNorm1d(width)] if batch_norm else []
            layer += [activation(act), Dropout(dropout)]
            self.hidden.append(nn.Sequential(*layer))
            nn.init.kaiming_uniform_(layer[0].weight, nonlinearity="relu" if act in HALVES else "linear")  # type: ignore[arg-type]
        if from_zero_to_one and hidden:
            weight, bias = list(self.hidden[0].parameters())[:2]
            weight.data.mul_(12**0.5)
            bias.data.sub_(weight.data.sum(1) / 2)
        self.head = nn.Linear(sizes[-1], n_out)
        nn.init.kaiming_uniform_(self.head.weight, nonlinearity="linear")
        self.head.weight.data.mul_(0.1)

    def _units(self, x: Tensor) -> Iterator[Tensor]:
        for layer, skip in zip(self.hidden, self.skips, strict=True):
            y = through(layer, x)  # type: ignore[arg-type]
            x = x + y if skip else y
            yield x

    def units(self, x: Tensor) -> list[Tensor]:
        """What the units of each hidden layer give: (N, width) each, from the inputs on."""
        return list(self._units(x))

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (N, n_out)."""
        for h in self._units(x):
            x = h
        outputs: Tensor = self.head(x)
        return outputs
