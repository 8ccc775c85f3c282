"""Every activation of the gallery with its derivative, and what the derivatives do to a gradient on its way through many layers."""

from __future__ import annotations

import torch
from torch import Tensor

from netwright.core.finding import Figure, Finding, Series, Table
from netwright.exhibits.program import main
from netwright.nn.activations import Activation
from netwright.nn.entries import ACTIVATIONS

SHAPES = {
    "S-shaped activations": ("step", "sigmoid", "hard-sigmoid", "tanh", "scaled-tanh", "softsign"),
    "Rectifiers": ("relu", "leaky-relu", "elu", "softplus", "gelu", "silu"),
}
THROUGH = ("sigmoid", "tanh", "softsign", "relu", "gelu")
"""Activations whose derivatives are multiplied over layers."""
H = 1e-5
HEIGHT = 4.2


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """Activations and their derivatives."""
    x = torch.linspace(-5, 5, 81 if tiny else 201, dtype=torch.float64) + 0.003  # beside all kinks
    all_of_them: dict[str, Activation] = {name: entry.load() for name, entry in ACTIVATIONS.items()}
    errors = {name: _error(f, x) for name, f in all_of_them.items()}
    worst = max(errors, key=lambda name: errors[name])
    rows = tuple(
        (name, f.formula, f.slope, f.derivative(x).max().item(), errors[name], ACTIVATIONS[name].reference)
        for name, f in all_of_them.items()
    )
    columns = ("activation", "f(x)", "derivative", "largest_derivative", "error_of_derivative", "source")
    right = errors[worst] < 1e-6
    left, kept = _left(all_of_them, seed)
    return Finding(
        probe="activations",
        family="gallery",
        verdict="pass" if right else "fail",
        title=(
            f"{len(rows)} activations: their derivatives differ from central differences by at most {errors[worst]:.1g} ({worst}); "
            f"through 10 layers sigmoids leave {kept['sigmoid']:.1e} of a gradient, ReLUs {kept['relu']:.1e}"
        ),
        measured={"activations": len(rows), "largest_error": errors[worst]}
        | {f"gradient_left_by_10_layers_of_{k}": v for k, v in kept.items()},
        expected="below 1e-6",
        why=(
            "The first figure goes through all activations: the line is the value, the dashed one the derivative. S-shaped units "
            "are flat on both sides: there the derivative is near 0, and a unit that got there hardly learns any more. "
            "Rectifiers have derivative 1 on one side; ReLU is flat on the other, which leaky ReLU, ELU and the smooth ones "
            "avoid. Backpropagation multiplies one derivative for each layer, so the last figure falls for sigmoids, whose "
            "derivative is at most 1/4, by more than a thousand in five layers. Softmax is no activation of one number: its "
            "derivative is the matrix diag(p) - p p^T."
        ),
        tables=(Table(title="Activations, their derivatives between -5 and 5", columns=columns, rows=rows),),
        figures=(_each(all_of_them, x), *(_together(shape, all_of_them, x) for shape in SHAPES), left),
        reference="LeCun et al. (1998), Efficient BackProp; Nair and Hinton (2010); Hochreiter (1991) for the products",
    )


def _error(f: Activation, x: Tensor) -> float:
    """Largest difference of the derivative from the central difference."""
    return (f.derivative(x) - (f(x + H) - f(x - H)) / (2 * H)).abs().max().item()


def _line(name: str, x: Tensor, y: Tensor, *, dashed: bool = False) -> Series:
    return Series(name=name, x=_rounded(x), y=_rounded(y), dashed=dashed)


def _rounded(values: Tensor) -> tuple[float | None, ...]:
    """Values that lie within the height of the figures; a gap for the others."""
    return tuple(round(v, 4) if -HEIGHT <= v <= HEIGHT else None for v in values.tolist())


def _each(all_of_them: dict[str, Activation], x: Tensor) -> Figure:
    """One activation after the other."""
    x = x[x.abs() < HEIGHT]
    frames = tuple(
        (_line("f(x)", x, f(x)), _line("derivative", x, f.derivative(x), dashed=True)) for f in all_of_them.values()
    )
    names = tuple(all_of_them)
    return Figure(
        title="Each activation and its derivative",
        kind="line",
        series=frames[names.index("tanh")],
        frames=frames,
        steps=names,
        x_label="x",
        y_label="value",
        caption="On paper: tanh.",
    )


def _together(shape: str, all_of_them: dict[str, Activation], x: Tensor) -> Figure:
    inner = x[x.abs() < HEIGHT]
    series = tuple(_line(name, inner, all_of_them[name](inner)) for name in SHAPES[shape])
    return Figure(title=shape, kind="line", series=series, x_label="x", y_label="f(x)")


def _left(
    all_of_them: dict[str, Activation], seed: int, width: int = 64, depth: int = 20
) -> tuple[Figure, dict[str, float]]:
    """The norm of a gradient that goes back through layers of random weights, over its norm at the end; and after ten layers."""
    series, kept = [], {}
    for name in THROUGH:
        rng = torch.Generator().manual_seed(seed)
        f, h, slopes, weights = all_of_them[name], torch.randn(width, generator=rng, dtype=torch.float64), [], []
        for _ in range(depth):
            w = torch.randn(width, width, generator=rng, dtype=torch.float64) / width**0.5
            z = w @ h
            slopes.append(f.derivative(z))
            weights.append(w)
            h = f(z)
        g = torch.randn(width, generator=rng, dtype=torch.float64)
        norms = [g.norm().item()]
        for w, slope in zip(reversed(weights), reversed(slopes), strict=True):
            g = w.T @ (slope * g)
            norms.append(g.norm().item())
        share = [n / norms[0] for n in norms]
        series.append(Series(name=name, x=tuple(range(depth + 1)), y=tuple(share)))
        kept[name] = share[10]
    figure = Figure(
        title="What is left of a gradient after so many layers",
        kind="line",
        series=tuple(series),
        x_label="layers passed on the way back",
        y_label="norm of the gradient, 1 at the output",
        log_y=True,
        caption=f"{width} units a layer, weights drawn with variance 1 / {width}; ReLU would keep its norm with twice that variance.",
    )
    return figure, kept


if __name__ == "__main__":
    main(exhibit)
