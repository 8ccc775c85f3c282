"""How the gradient fades, or explodes, on its way back in time: a plain recurrent net, a GRU and an LSTM.

The gradient of the loss at the last step with respect to an early state is a product with a factor for each step between them. Many
factors below 1 make it vanish, many above 1 make it explode; gates that are held open keep the factors near 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from netwright.core.finding import Figure, Finding, Table
from netwright.core.seed import derive, generator
from netwright.exhibits.program import main
from netwright.explain.through_time import LOST, Path, gradient_paths, path_figure
from netwright.nn.cells import GRU, LSTM, Elman

WIDTH = 32
RADII = (0.5, 0.9, 1.0, 1.1, 1.5)


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """The gradient over time of a plain recurrent net, a GRU and an LSTM."""
    steps, n = (40, 16) if tiny else (100, 64)
    x = torch.randn(n, steps, 4, generator=generator(seed, "inputs"))
    paths = {name: path_of(net, x) for name, net in cells(steps, seed).items()}
    scaled = {radius: path_of(elman(radius, seed), 1e-3 * x) for radius in RADII}
    table = Table(
        title="Gradient at the first step over that at the last",
        columns=("network", "ratio", "factor a step"),
        rows=tuple((name, path.ratio, path.per_step) for name, path in paths.items()),
    )
    products = Table(
        title="Plain nets by the spectral radius of their recurrent weights",
        columns=("spectral radius", "ratio", "factor a step", "radius to the power of the steps"),
        rows=tuple((r, p.ratio, p.per_step, r ** (steps - 1)) for r, p in scaled.items()),
    )
    kept, lost = paths["LSTM, forget gates open"].ratio, paths["plain net"].ratio
    return Finding(
        probe="vanishing-gradient",
        family="gallery",
        verdict="pass" if kept > LOST > lost else "fail",
        title=f"over {steps} steps {lost:.1g} of the gradient is left in a plain net, {kept:.2g} in an LSTM whose forget gates are open",
        measured={f"ratio {name}": path.ratio for name, path in paths.items()}
        | {f"factor_a_step radius {r}": p.per_step for r, p in scaled.items()},
        expected=f"above {LOST:g} in the LSTM, below it in the plain net",
        why="Read the lines from right to left, as the gradient runs. A straight line on the logarithmic axis is a constant factor a "
        "step. In the second figure the inputs are small, so that tanh hardly bends and the factor is the spectral radius of the "
        "recurrent weights: below 1 the gradient vanishes, above 1 it explodes. An LSTM fades too while its forget gates are half "
        "closed, as they are at a usual start; with the gates held open, it does not.",
        tables=(table, products),
        figures=(
            path_figure({name: path.norms.mean(1) for name, path in paths.items()}, title="Four cells at the start"),
            radius_figure(scaled),
        ),
        reference="Hochreiter (1991); Bengio, Simard and Frasconi (1994); Pascanu, Mikolov and Bengio (2013)",
    )


class AtTheEnd(nn.Module):
    """The state of a recurrent layer after the last step: (N, T, D) -> (N, width)."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """States (N, width)."""
        state: Tensor = self.layer(x)[0][:, -1]
        return state


def cells(steps: int, seed: int) -> dict[str, nn.Module]:
    """The cells as they start, and an LSTM whose forget gates start open as far as so many steps ask for."""
    made: dict[str, nn.RNNBase] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "weights"))
        made["plain net"] = Elman(4, WIDTH, batch_first=True)
        made["GRU"] = GRU(4, WIDTH, batch_first=True)
        made["LSTM"] = LSTM(4, WIDTH, batch_first=True)
        made["LSTM, forget gates open"] = LSTM(4, WIDTH, batch_first=True)
    with torch.no_grad():  # a bias of log(T - 1) holds the memory for about T steps: Tallec and Ollivier (2018)
        made["LSTM, forget gates open"].bias_ih_l0[WIDTH : 2 * WIDTH] = math.log(steps - 1)  # type: ignore[operator]
    return {name: AtTheEnd(layer) for name, layer in made.items()}


def elman(radius: float, seed: int) -> nn.Module:
    """A plain net whose recurrent weights have a given spectral radius, without biases."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "radius"))
        layer = Elman(4, WIDTH, batch_first=True, bias=False)
        q = torch.linalg.qr(torch.randn(WIDTH, WIDTH))[0]
    with torch.no_grad():
        layer.weight_hh_l0.copy_(radius * q)  # type: ignore[operator]
    return AtTheEnd(layer)


def path_of(net: nn.Module, x: Tensor) -> Path:
    """The gradient of the sum of the last state's entries, over time."""
    (path,) = gradient_paths(net, x, loss=lambda outputs: outputs.sum())
    return path


def radius_figure(scaled: dict[float, Path]) -> Figure:
    """Norms over steps, a line for each spectral radius."""
    means = {f"radius {radius}": path.norms.mean(1) for radius, path in scaled.items()}
    return path_figure(
        means,
        title="Plain nets by spectral radius",
        caption="Above a radius of 1 the state grows as well, until tanh bends: there the line does.",
    )


if __name__ == "__main__":
    main(exhibit)
