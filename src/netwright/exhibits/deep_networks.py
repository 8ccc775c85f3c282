"""What lets a network be deep, and what keeps it from learning by heart: batch norm, residual connections, dropout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from netwright.core.finding import Cell, Figure, Finding, Series, Table
from netwright.core.seed import numpy_generator
from netwright.data.data import Data
from netwright.exhibits.plane import Watch, data_of
from netwright.exhibits.program import main
from netwright.model import fit, fit_all
from netwright.nn.mlp import MLP
from netwright.recipes.mlp import mlp_classifier
from netwright.recipes.recipe import Recipe, member_seed
from netwright.recipes.templates import Fronted

WAYS: Mapping[str, dict[str, Any]] = {
    "plain": {},
    "batch norm": {"batch_norm": True},
    "residual": {"residual": True},
    "both": {"batch_norm": True, "residual": True},
}
SHALLOW, DEEP, WIDTH, STARTS = 2, 24, 32, 3
RATES = (0.01, 0.003, 0.03)
"""Learning rates: the small size takes the first, the full one the best of them for each network."""
FACTOR = 3
"""By which the training loss of a deep plain network is at least larger."""
FEW, NEW, DROPOUT, REDRAWN = 200, 400, 0.5, 0.2
"""Rows that train and that validate, the rate of dropout, and the share of training rows whose label is drawn anew."""


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """Batch norm and residual connections in 24 layers, and dropout on few rows."""
    rows, epochs, rates, passes = (240, 10, RATES[:1], 20) if tiny else (1000, 20, RATES, 60)
    data = _digits(rows, seed)
    paths = {(n, way): _trained(n, way, data, epochs, rates, seed) for n in (SHALLOW, DEEP) for way in WAYS}
    starts = {way: _start(_recipe(DEEP, way).build(data.spec, data.target, member_seed(seed, 0)), data) for way in WAYS}
    few = _with_wrong_labels(seed)
    learned = {
        rate: [_watched(rate, few, passes, member_seed(seed, k)) for k in range(STARTS)] for rate in (0.0, DROPOUT)
    }
    plain, both, shallow = (paths[key].ends for key in ((DEEP, "plain"), (DEEP, "both"), (SHALLOW, "plain")))
    by_heart, dropped = (np.array([path[-1, 1] for path in some]) for some in learned.values())
    factor = float(np.min(plain / both))
    right = factor >= FACTOR and (plain > shallow).all() and (dropped < by_heart).all()
    return Finding(
        probe="deep-networks",
        family="gallery",
        verdict="pass" if right else "fail",
        title=(
            f"training loss of {DEEP} layers {np.median(plain):.2g} plain and {np.median(both):.2g} with batch norm and residual "
            f"connections; validation loss on few rows {np.median(by_heart):.2g}, with dropout {np.median(dropped):.2g}"
        ),
        measured={f"training_loss_{n}_layers_{way}": float(np.median(path.ends)) for (n, way), path in paths.items()}
        | {"smallest_factor_plain_over_both": factor}
        | {
            f"validation_loss_dropout_{rate:g}": float(np.median(end))
            for rate, end in zip(learned, (by_heart, dropped), strict=True)
        },
        expected=(
            f"in each of {STARTS} starts: {DEEP} plain layers end above {SHALLOW} plain layers and at {FACTOR} times the loss of those "
            "with both or more, and dropout ends at the lower validation loss"
        ),
        why=(
            f"All networks have layers of {WIDTH} rectifiers and see the same digits. Two layers learn them in every form (second "
            f"figure). {DEEP} plain layers could do what two do and do not: it is not the size of their gradient (third figure) but "
            "that layer after layer all rows become alike, as the table shows, so that a step changes the answer to all of them. Batch "
            "norm keeps the rows apart, but the gradient then grows from layer to layer on its way back. Residual layers add to what "
            "comes in, so that rows and gradients find a straight way through; without a norm the sums double in "
            "variance with each layer and the loss starts in the tens of thousands. With both, depth does no harm. Dropout is for the "
            f"opposite trouble (last figure): of {FEW} rows one in five had its label drawn anew, and a network with room learns "
            "even those by heart; while every step switches off another half of the units it cannot, and does better on new rows."
        ),
        tables=(_ends(paths), _starts(starts)),
        figures=(
            _losses(
                f"Training loss of {DEEP} layers", {way: paths[DEEP, way] for way in WAYS}, paths[SHALLOW, "plain"]
            ),
            _losses(f"Training loss of {SHALLOW} layers", {way: paths[SHALLOW, way] for way in WAYS}),
            _gradients(starts),
            _by_heart(learned),
        ),
        reference="He et al. (2016); Ioffe and Szegedy (2015); Srivastava et al. (2014); Yang et al. (2019) for batch norm alone",
        seed=seed,
    )


@dataclass(frozen=True)
class Path:
    """Training losses of each start (starts, epochs), and the rate with which they were reached."""

    losses: np.ndarray
    rate: float

    @property
    def ends(self) -> np.ndarray:
        """The last loss of each start."""
        return np.asarray(self.losses[:, -1])


@dataclass(frozen=True)
class Start:
    """An untrained network: norms of the gradient of each layer's weights; how alike rows are to the last layer; its units' size."""

    gradients: tuple[float, ...]
    cosine: float
    size: float


def _digits(n: int, seed: int, wrong: float = 0.0, new: int = 0) -> Data:
    """Digits of 8 x 8 pixels in a random order, `new` of them for the test; a share of the others has its label drawn anew."""
    bunch, rng = load_digits(), numpy_generator(seed, "digits")
    order = rng.permutation(len(bunch.target))[: n + new]
    y = bunch.target[order].copy()
    y[:n] = np.where(rng.random(n) < wrong, rng.integers(0, 10, n), y[:n])
    return data_of({f"x{k}": bunch.data[order, k] for k in range(bunch.data.shape[1])}, y, n_test=new)


def _with_wrong_labels(seed: int) -> Data:
    return _digits(FEW, seed, wrong=REDRAWN, new=NEW)


def _recipe(layers: int, way: str) -> Recipe:
    """A perceptron with so many hidden layers."""
    hidden = ",".join([str(WIDTH)] * layers)
    return mlp_classifier(hidden=hidden).with_options(**WAYS[way])


def _trained(layers: int, way: str, data: Data, epochs: int, rates: Sequence[float], seed: int) -> Path:
    """Every start with every rate as one computation; the rate whose median start ends lowest."""
    recipe = _recipe(layers, way).with_training(
        epochs=epochs, optimizer="adam", schedule="cosine", warmup=0, batch_size=30
    )
    recipes = [recipe.with_training(learning_rate=rate) for rate in rates for _ in range(STARTS)]
    seeds = [member_seed(seed, k) for _ in rates for k in range(STARTS)]
    found, _ = fit_all(recipes, data, seeds=seeds, metric="log-loss")
    losses = np.array([one.history.column("train_loss") for _, one in found]).reshape(len(rates), STARTS, epochs)
    best = int(np.argmin(np.median(losses[:, :, -1], axis=1)))
    return Path(losses[best], rates[best])


def _start(net: nn.Module, data: Data) -> Start:
    """A network before its first step, on all training rows."""
    assert isinstance(net, Fronted) and isinstance(net.body, MLP)
    rows = data.block("train")
    assert rows.y is not None
    loss = _loss(net.train(), rows.x, rows.y)
    weights = [layer[0].weight for layer in net.body.hidden]  # type: ignore[index]
    gradients = torch.autograd.grad(loss, weights)
    with torch.no_grad():
        units = net.body.units(net.front(rows.x))[-1]
        unit = nn.functional.normalize(units)
        n = len(unit)
        cosine = ((unit @ unit.T).sum() - unit.square().sum()) / (n * (n - 1))
    return Start(tuple(g.norm().item() for g in gradients), cosine.item(), units.square().mean().sqrt().item())


def _loss(net: nn.Module, x: Mapping[str, Tensor], y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(net(x), y)


def _watched(rate: float, data: Data, epochs: int, seed: int) -> np.ndarray:
    """Losses without masks of the training rows and of the new ones, at the start and after each epoch: (epochs + 1, 2)."""
    recipe = mlp_classifier(hidden="128,128", epochs=epochs).with_options(dropout=rate)
    recipe = recipe.with_training(optimizer="adam", learning_rate=0.003, schedule="constant", batch_size=20)
    blocks = [data.block(part) for part in ("train", "test")]
    found: list[list[float]] = []

    def look(net: nn.Module, _: int) -> None:
        with torch.no_grad():
            found.append([_loss(net, block.x, block.y).item() for block in blocks if block.y is not None])

    fit(recipe, data, seed=seed, metric="log-loss", hooks=[Watch(look, range(epochs + 1))])
    return np.array(found)


def _ends(paths: Mapping[tuple[int, str], Path]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (f"{n} layers, {way}", path.rate, *(round(v, 4) for v in path.ends.tolist()))
        for (n, way), path in paths.items()
    ]
    columns = ("network", "learning_rate", *(f"start {k + 1}" for k in range(STARTS)))
    return Table(title="Training loss in the last epoch", columns=columns, rows=tuple(rows))


def _starts(starts: Mapping[str, Start]) -> Table:
    return Table(
        title=f"{DEEP} layers before the first step",
        columns=("network", "gradient of the first layer", "of the last", "cosine of two rows", "size of the units"),
        rows=tuple((way, one.gradients[0], one.gradients[-1], one.cosine, one.size) for way, one in starts.items()),
    )


def _losses(title: str, paths: Mapping[str, Path], beside: Path | None = None) -> Figure:
    """The median start of each, and another network beside them."""
    lines = [(way, path, False) for way, path in paths.items()]
    lines += [(f"{SHALLOW} plain layers", beside, True)] if beside else []
    return Figure(
        title=title,
        kind="line",
        series=tuple(
            Series(
                name=name,
                x=tuple(range(1, path.losses.shape[1] + 1)),
                y=_rounded(np.median(path.losses, 0)),
                dashed=dashed,
            )
            for name, path, dashed in lines
        ),
        x_label="epoch",
        y_label="cross-entropy",
        log_y=True,
        caption=f"The median of {STARTS} starts. Who knows nothing of ten classes is at 2.3.",
    )


def _gradients(starts: Mapping[str, Start]) -> Figure:
    return Figure(
        title="Norm of the gradient by layer, before the first step",
        kind="line",
        series=tuple(Series(name=way, x=tuple(range(1, DEEP + 1)), y=one.gradients) for way, one in starts.items()),
        x_label="hidden layer, 1 at the inputs",
        y_label="norm over its weights",
        log_y=True,
    )


def _by_heart(learned: Mapping[float, Sequence[np.ndarray]]) -> Figure:
    """Training and validation loss with and without dropout."""
    series = []
    for rate, some in learned.items():
        middle, name = np.median(some, 0), f"dropout {rate:g}" if rate else "no dropout"
        x = tuple(range(len(middle)))
        series += [
            Series(name=f"{name}, {part}", x=x, y=_rounded(middle[:, k]), dashed=k == 0)
            for k, part in enumerate(("training rows", "new rows"))
        ]
    return Figure(
        title=f"Dropout on {FEW} rows with wrong labels among them",
        kind="line",
        series=tuple(series),
        x_label="epochs done",
        y_label="cross-entropy",
        log_y=True,
        caption=f"The median of {STARTS} starts, all losses without masks. The {NEW} new rows have their right labels.",
    )


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{v:.4g}") for v in values)


if __name__ == "__main__":
    main(exhibit)
