"""Regression of a noisy curve by perceptrons of 1 to 64 hidden units: enough of them come close to any curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from netwright.core.finding import Figure, Finding, Series, Table
from netwright.core.seed import numpy_generator
from netwright.data.data import Data
from netwright.exhibits.plane import Watch, data_of
from netwright.exhibits.program import main
from netwright.model import Model, fit, fit_all
from netwright.recipes.mlp import mlp_regressor
from netwright.recipes.recipe import Recipe, member_seed

WIDTHS = (1, 2, 4, 16, 64)
NOISE = 0.15
WATCHED = 16
"""Units of the network that is watched while it learns."""


def curve(x: np.ndarray) -> np.ndarray:
    """The curve behind the noise."""
    return np.sin(2 * np.pi * x) + 0.4 * np.sin(4 * np.pi * x)


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """A noisy curve by perceptrons of 1, 2, 4, 16 and 64 hidden units."""
    rows, epochs, starts = (100, 20, 2) if tiny else (200, 100, 4)
    rng = numpy_generator(seed, "curve")
    x = rng.random(rows)
    y = curve(x) + NOISE * rng.normal(size=rows)
    again = 2000 // rows  # an epoch goes over the rows so many times
    data = data_of({"x": np.tile(x, again)}, np.tile(y, again))
    recipe = mlp_regressor(epochs=epochs).with_options(activation="tanh")
    recipe = recipe.with_training(
        optimizer="adam", learning_rate=0.1, schedule="cosine", batch_size=25, warmup=20, clip_norm=None
    )
    places = np.linspace(0, 1, 201)
    fits, errors = [], []
    for model in _best_of_each(recipe, data, starts, seed):
        fits.append(_predicted(model, places))
        errors.append((_rmse(_predicted(model, x), y), _rmse(fits[-1], curve(places))))
    frames, names = _learning(recipe.with_options(hidden=str(WATCHED)), data, places, seed)
    points = Series(name="rows", x=_rounded(x), y=_rounded(y))
    best = min(error for _, error in errors)
    return Finding(
        probe="noisy-curve",
        family="gallery",
        verdict="pass" if best < NOISE / 2 and errors[0][1] > 2 * best else "fail",
        title=f"distance to the curve falls from {errors[0][1]:.2g} with 1 hidden unit to {best:.2g}; the noise is {NOISE}",
        measured={f"rmse_to_curve_{w}_units": e for w, (_, e) in zip(WIDTHS, errors, strict=True)},
        expected=f"below {NOISE / 2}, half of the noise",
        why=(
            "One tanh unit is one S: it rises or falls once. Each further unit lets the fit bend once more, and with enough of "
            "them it comes close to any continuous curve (universal approximation); whether descent finds the weights is another "
            "question. The error on the noisy rows can hardly go below the noise, while the distance to the curve behind them "
            "goes far below it. The second figure shows one network learning: the coarse shape first, then the bends."
        ),
        tables=(
            Table(
                title="Errors",
                columns=("hidden_units", "weights", "training_rmse", "rmse_to_curve"),
                rows=tuple((w, 3 * w + 1, a, b) for w, (a, b) in zip(WIDTHS, errors, strict=True)),
            ),
        ),
        figures=(
            _fits(
                "The fit with more and more hidden units",
                points,
                places,
                fits,
                [f"{w} hidden" for w in WIDTHS],
                WIDTHS.index(WATCHED),
            ),
            _fits(
                f"The fit of {WATCHED} hidden units while they learn", points, places, frames, names, len(frames) - 1
            ),
            _errors(errors),
        ),
        reference="Cybenko (1989); Hornik, Stinchcombe and White (1989)",
        seed=seed,
    )


def _best_of_each(recipe: Recipe, data: Data, starts: int, seed: int) -> list[Model]:
    """Of each width the start that ends with the smallest training error; all are trained as one computation."""
    recipes = [recipe.with_options(hidden=str(width)) for width in WIDTHS for _ in range(starts)]
    seeds = [member_seed(seed, k) for k in range(len(recipes))]
    trained, _ = fit_all(recipes, data, seeds=seeds, metric="rmse")
    groups = [trained[k : k + starts] for k in range(0, len(trained), starts)]
    return [min(group, key=lambda one: one[1].best or (np.inf, 0))[0] for group in groups]


def _learning(recipe: Recipe, data: Data, places: np.ndarray, seed: int) -> tuple[list[np.ndarray], list[str]]:
    """The fit at the start and after some epochs, each about half as many again as the one before."""
    epochs = recipe.training.epochs
    at = sorted({0, *(round(epochs ** (k / 10)) for k in range(11))})
    frames: list[np.ndarray] = []
    loss = recipe.make_loss(data.target)

    def look(net: nn.Module, _: int) -> None:
        with torch.no_grad():
            frames.append(loss.predict(net({"numbers": _column(places)})).double().numpy())

    fit(recipe, data, seed=seed, metric="rmse", hooks=[Watch(look, at)])
    return frames, [f"after {k} epochs" if k else "start" for k in at]


def _column(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.reshape(-1, 1))


def _predicted(model: Model, values: np.ndarray) -> np.ndarray:
    return model.predict_encoded({"numbers": _column(values)})


def _rmse(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.sqrt(np.mean((one - other) ** 2)))


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(v), 4) for v in values)


def _fits(
    title: str, points: Series, places: np.ndarray, fits: Sequence[np.ndarray], names: Sequence[str], still: int
) -> Figure:
    frames = tuple((points, Series(name="fit", x=_rounded(places), y=_rounded(values), dashed=True)) for values in fits)
    return Figure(
        title=title, kind="scatter", series=frames[still], frames=frames, steps=tuple(names), x_label="x", y_label="y"
    )


def _errors(errors: Sequence[tuple[float, float]]) -> Figure:
    return Figure(
        title="Errors against the number of hidden units",
        kind="line",
        series=(
            Series(name="on the noisy rows", x=WIDTHS, y=tuple(a for a, _ in errors)),
            Series(name="to the curve", x=WIDTHS, y=tuple(b for _, b in errors)),
            Series(name="noise", x=(WIDTHS[0], WIDTHS[-1]), y=(NOISE, NOISE), dashed=True),
        ),
        x_label="hidden units",
        y_label="root mean squared error",
        log_x=True,
    )


if __name__ == "__main__":
    main(exhibit)
