"""Activations: each with its formula, its derivative in closed form, its range, and torch's own function underneath.

Softmax is no activation of one number: its outputs depend on all inputs, and its derivative is a matrix (`softmax_jacobian`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netwright.core.errors import UsageError
from netwright.nn.entries import ACTIVATIONS

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Activation:
    """A function of one number, applied to each entry of a tensor.

    Args:
        name: as in `netwright list activations`.
        formula: f(x) in words of mathematics. slope: f'(x) likewise.
        function: f. derivative: f' in closed form; at a kink it is what autograd takes.
        low, high: its range, which an open end need not reach.
        module: the layer of it, for a network.
        kinks: places without a derivative.

    >>> tanh(torch.tensor([0.0, 1.0])).tolist(), tanh.derivative(torch.tensor(0.0)).item()
    ([0.0, 0.7615941762924194], 1.0)
    """

    name: str
    formula: str
    slope: str
    function: Function
    derivative: Function
    low: float
    high: float
    module: Callable[[], nn.Module]
    kinks: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        entry = ACTIVATIONS[self.name]
        lines = [
            f"{entry.summary[0].upper()}{entry.summary[1:]}.",
            f"f(x) = {self.formula}\nf'(x) = {self.slope}\nrange: {_number(self.low)} to {_number(self.high)}",
        ]
        if self.kinks:
            lines.append(f"No derivative at {' and '.join(map(_number, self.kinks))}: there it is what autograd takes.")
        if not self.learns:
            lines.append("Its derivative is 0 wherever there is one, so no gradient passes: templates refuse it.")
        lines.append(f"Source: {entry.reference}.")
        object.__setattr__(self, "__doc__", "\n\n".join(lines))
        object.__setattr__(self, "__name__", self.name)

    def __call__(self, x: Tensor) -> Tensor:
        """f(x), entry by entry."""
        return self.function(x)

    @property
    def learns(self) -> bool:
        """Whether a gradient passes."""
        return self.slope != "0"


def _number(x: float) -> str:
    return f"{x:.4g}".replace("inf", "infinity")


class Elementwise(nn.Module):
    """A layer of an activation for which torch has a function and no layer."""

    def __init__(self, name: str, function: Function) -> None:
        super().__init__()
        self.name, self.function = name, function

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return self.function(x)

    def extra_repr(self) -> str:
        """Its name."""
        return self.name


RISING = (
    "identity",
    "sigmoid",
    "tanh",
    "scaled-tanh",
    "hard-sigmoid",
    "hard-tanh",
    "relu",
    "relu6",
    "squared-relu",
    "leaky-relu",
    "elu",
    "selu",
    "celu",
    "softplus",
    "log-sigmoid",
    "softsign",
)
"""Names of those that nowhere fall, so that the largest value behind them comes from the largest before them."""


def activation(name: str) -> nn.Module:
    """The layer of a named activation, for a network that is to be trained.

    Raises:
        UsageError: there is none of that name, or no gradient passes through it.

    >>> activation("tanh")(torch.tensor([0.0]))
    tensor([0.])
    >>> activation("step")
    Traceback (most recent call last):
    netwright.core.errors.UsageError: nothing can be learned through 'step', whose derivative is 0; use 'sigmoid' or 'tanh'
    """
    found: Activation = ACTIVATIONS[name].load()
    if not found.learns:
        raise UsageError(f"nothing can be learned through {name!r}, whose derivative is 0; use 'sigmoid' or 'tanh'")
    return found.module()


def softmax_jacobian(p: Tensor) -> Tensor:
    """d softmax_i / d x_j = p_i (1[i = j] - p_j), from probabilities p = softmax(x).

    Shapes: (..., C) -> (..., C, C).

    Source: Bridle (1990).

    >>> softmax_jacobian(torch.tensor([0.5, 0.5])).tolist()
    [[0.25, -0.25], [-0.25, 0.25]]
    """
    return torch.diag_embed(p) - p.unsqueeze(-1) * p.unsqueeze(-2)


def _at(x: Tensor, inside: Tensor, then: Tensor | float = 1.0, otherwise: Tensor | float = 0.0) -> Tensor:
    """`then` where a condition holds, else `otherwise`, in the type of x."""
    full = torch.zeros_like(x)
    return torch.where(inside, full + then, full + otherwise)


def _normal(x: Tensor) -> Tensor:
    """The density of the standard normal distribution."""
    return torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)


def _silu_slope(x: Tensor) -> Tensor:
    s = torch.sigmoid(x)
    return s * (1 + x * (1 - s))


def _mish_slope(x: Tensor) -> Tensor:
    t = torch.tanh(F.softplus(x))
    return t + x * torch.sigmoid(x) * (1 - t.square())


def _scaled_tanh(x: Tensor) -> Tensor:
    return LECUN[0] * torch.tanh(LECUN[1] * x)


def _gaussian(x: Tensor) -> Tensor:
    return torch.exp(-x.square())


def _relu_squared(x: Tensor) -> Tensor:
    return F.relu(x).square()


def _step(x: Tensor) -> Tensor:
    return (x >= 0).to(x.dtype)


def _sign(x: Tensor) -> Tensor:
    return _step(x) * 2 - 1


INF = math.inf
LECUN = (1.7159, 2 / 3)
"""Height and steepness with which the scaled tanh takes 1 to 1 and -1 to -1."""
LEAK, START = 0.01, 0.25
"""Slope of leaky ReLU below 0; slope at which that of PReLU starts."""
ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805
"""Of SELU: outputs keep mean 0 and variance 1."""

step = Activation(
    "step", "1 if x >= 0, else 0", "0", _step, torch.zeros_like, 0, 1, lambda: Elementwise("step", _step), (0.0,)
)
sign = Activation(
    "sign", "1 if x >= 0, else -1", "0", _sign, torch.zeros_like, -1, 1, lambda: Elementwise("sign", _sign), (0.0,)
)
identity = Activation("identity", "x", "1", lambda x: x, torch.ones_like, -INF, INF, nn.Identity)
sigmoid = Activation(
    "sigmoid",
    "1 / (1 + exp(-x))",
    "f(x) (1 - f(x))",
    torch.sigmoid,
    lambda x: torch.sigmoid(x) * torch.sigmoid(-x),
    0,
    1,
    nn.Sigmoid,
)
tanh = Activation(
    "tanh",
    "(exp(x) - exp(-x)) / (exp(x) + exp(-x))",
    "1 - f(x)^2",
    torch.tanh,
    lambda x: 1 - torch.tanh(x).square(),
    -1,
    1,
    nn.Tanh,
)
scaled_tanh = Activation(
    "scaled-tanh",
    "1.7159 tanh(2 x / 3)",
    "1.7159 (2 / 3) (1 - tanh(2 x / 3)^2)",
    _scaled_tanh,
    lambda x: LECUN[0] * LECUN[1] * (1 - torch.tanh(LECUN[1] * x).square()),
    -LECUN[0],
    LECUN[0],
    lambda: Elementwise("scaled-tanh", _scaled_tanh),
)
hard_sigmoid = Activation(
    "hard-sigmoid",
    "x / 6 + 1 / 2, held to 0 to 1",
    "1 / 6 if -3 < x < 3, else 0",
    F.hardsigmoid,
    lambda x: _at(x, x.abs() < 3, 1 / 6),
    0,
    1,
    nn.Hardsigmoid,
    (-3.0, 3.0),
)
hard_tanh = Activation(
    "hard-tanh",
    "x, held to -1 to 1",
    "1 if -1 < x < 1, else 0",
    F.hardtanh,
    lambda x: _at(x, x.abs() < 1),
    -1,
    1,
    nn.Hardtanh,
    (-1.0, 1.0),
)
relu = Activation("relu", "max(0, x)", "1 if x > 0, else 0", F.relu, lambda x: _at(x, x > 0), 0, INF, nn.ReLU, (0.0,))
relu6 = Activation(
    "relu6",
    "x, held to 0 to 6",
    "1 if 0 < x < 6, else 0",
    F.relu6,
    lambda x: _at(x, (x > 0) & (x < 6)),
    0,
    6,
    nn.ReLU6,
    (0.0, 6.0),
)
squared_relu = Activation(
    "squared-relu",
    "max(0, x)^2",
    "2 max(0, x)",
    _relu_squared,
    lambda x: 2 * F.relu(x),
    0,
    INF,
    lambda: Elementwise("squared-relu", _relu_squared),
)
leaky_relu = Activation(
    "leaky-relu",
    "x if x > 0, else 0.01 x",
    "1 if x > 0, else 0.01",
    F.leaky_relu,
    lambda x: _at(x, x > 0, 1.0, LEAK),
    -INF,
    INF,
    nn.LeakyReLU,
    (0.0,),
)
prelu = Activation(
    "prelu",
    "x if x > 0, else a x; a is learned and starts at 0.25",
    "1 if x > 0, else a",
    lambda x: F.leaky_relu(x, START),
    lambda x: _at(x, x > 0, 1.0, START),
    -INF,
    INF,
    nn.PReLU,
    (0.0,),
)
elu = Activation(
    "elu",
    "x if x > 0, else exp(x) - 1",
    "1 if x > 0, else exp(x)",
    F.elu,
    lambda x: torch.exp(x.clamp(max=0)),
    -1,
    INF,
    nn.ELU,
)
selu = Activation(
    "selu",
    "1.0507 x if x > 0, else 1.7581 (exp(x) - 1)",
    "1.0507 if x > 0, else 1.7581 exp(x)",
    F.selu,
    lambda x: SCALE * _at(x, x > 0, 1.0, ALPHA * torch.exp(x.clamp(max=0))),
    -SCALE * ALPHA,
    INF,
    nn.SELU,
    (0.0,),
)
celu = Activation(
    "celu",
    "x if x > 0, else a (exp(x / a) - 1), here with a = 2",
    "1 if x > 0, else exp(x / a)",
    lambda x: F.celu(x, 2.0),
    lambda x: torch.exp(x.clamp(max=0) / 2),
    -2,
    INF,
    lambda: nn.CELU(2.0),
)
gelu = Activation(
    "gelu",
    "x P(x), where P is the normal distribution function",
    "P(x) + x p(x), where p is the normal density",
    F.gelu,
    lambda x: torch.special.ndtr(x) + x * _normal(x),
    -0.16997120747,
    INF,
    nn.GELU,
)
silu = Activation(
    "silu",
    "x s(x), where s is the sigmoid",
    "s(x) (1 + x (1 - s(x)))",
    F.silu,
    _silu_slope,
    -0.27846454276,
    INF,
    nn.SiLU,
)
hard_swish = Activation(
    "hard-swish",
    "x (x + 3) / 6 if -3 < x < 3, else max(0, x)",
    "x / 3 + 1 / 2 if -3 < x < 3, else 0 or 1",
    F.hardswish,
    lambda x: _at(x, x.abs() < 3, x / 3 + 0.5, _at(x, x >= 3)),
    -0.375,
    INF,
    nn.Hardswish,
    (-3.0, 3.0),
)
mish = Activation(
    "mish",
    "x t(x), where t(x) = tanh(ln(1 + exp(x)))",
    "t(x) + x s(x) (1 - t(x)^2), where s is the sigmoid",
    F.mish,
    _mish_slope,
    -0.30884341384,
    INF,
    nn.Mish,
)
softplus = Activation("softplus", "ln(1 + exp(x))", "1 / (1 + exp(-x))", F.softplus, torch.sigmoid, 0, INF, nn.Softplus)
log_sigmoid = Activation(
    "log-sigmoid",
    "-ln(1 + exp(-x))",
    "1 / (1 + exp(x))",
    F.logsigmoid,
    lambda x: torch.sigmoid(-x),
    -INF,
    0,
    nn.LogSigmoid,
)
softsign = Activation(
    "softsign",
    "x / (1 + |x|)",
    "1 / (1 + |x|)^2",
    F.softsign,
    lambda x: (1 + x.abs()).square().reciprocal(),
    -1,
    1,
    nn.Softsign,
)
gaussian = Activation(
    "gaussian",
    "exp(-x^2)",
    "-2 x exp(-x^2)",
    _gaussian,
    lambda x: -2 * x * _gaussian(x),
    0,
    1,
    lambda: Elementwise("gaussian", _gaussian),
)
sine = Activation("sine", "sin(x)", "cos(x)", torch.sin, torch.cos, -1, 1, lambda: Elementwise("sine", torch.sin))
