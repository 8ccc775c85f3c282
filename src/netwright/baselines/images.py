"""Classic methods on images: their pixels, shrunk by averaging, as a row of numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from netwright.baselines.task import Method, Rows, Task, mean_loss
from netwright.baselines.votes import Votes
from netwright.core.finding import Cell
from netwright.data.shrink import shrink, shrunk_size

LINEAR_VALUES = 1024
"""Most values of an image that a linear model is given."""
NEAR_VALUES = 256
"""Most values of an image by which its neighbours are found: a distance gains nothing from finer ones, and costs more."""
NEIGHBOURS = (1, 3, 5, 10, 20)
MAX_CELLS = 50_000_000
"""Most values of all training rows together, so that they need no more than 200 MB."""
PRODUCTS_PER_SECOND = 2e10
_PRODUCTS_PER_PAIR = 64
_FIT_ROWS = 20_000
_CHOOSING_ROWS = 3_000


def pixel_features(rows: Rows, most: int) -> Callable[[Rows], np.ndarray]:
    """Shrunk pixels of all image columns, centred each and scaled together as fitted on training rows.

    One scale for all of a column keeps pixels at the border, that hardly ever change, from becoming loud.
    """
    fitted: dict[str, tuple[np.ndarray, float]] = {}
    some_rows = rows.take(np.arange(0, len(rows), max(1, len(rows) // 10_000)))
    for name, pixels in rows.pixels.items():
        some = shrink(pixels, most, some_rows.places)
        spread = float((some - some.mean(0)).std())
        fitted[name] = some.mean(0), spread if spread > 0 else 1.0

    def features(rows: Rows) -> np.ndarray:
        parts = []
        for name, (center, spread) in fitted.items():
            values = shrink(rows.pixels[name], most, rows.places)
            values -= center
            values /= spread
            parts.append(values)
        return parts[0] if len(parts) == 1 else np.concatenate(parts, 1)

    return features


def outlines(rows: Rows, n: int, seed: int) -> Callable[[Rows], np.ndarray]:
    """The `n` directions in which shrunk pixels of training rows spread most: what trees can take of images.

    Source: Turk and Pentland (1991), eigenfaces.
    """
    from sklearn.decomposition import PCA

    pixels = pixel_features(rows, NEAR_VALUES)
    step = max(1, len(rows) // _FIT_ROWS)
    some = pixels(rows if step == 1 else rows.take(np.arange(0, len(rows), step)))
    turn = PCA(min(n, *some.shape), svd_solver="randomized", random_state=seed % 2**32).fit(some)
    return lambda rows: np.asarray(turn.transform(pixels(rows)))


def image_words(rows: Rows, most: int) -> dict[str, Cell]:
    """To which size images are shrunk, to be told beside what was chosen; empty without images."""
    sizes = [shrunk_size(*shape, most) for shape in _shapes(rows)]
    return {"pixels": ", ".join(f"{height} x {width}" for height, width in sizes)} if sizes else {}


def values_of(rows: Rows, most: int) -> int:
    """Values of the shrunk images of a row; 0 without images."""
    return sum(math.prod((c, *shrunk_size(c, h, w, most))) for c, h, w in _shapes(rows))


def _shapes(rows: Rows) -> list[tuple[int, int, int]]:
    """Channels, height and width of each image column."""
    return [(int(c), int(h), int(w)) for c, h, w in (pixels.shape[1:] for pixels in rows.pixels.values())]


class Neighbours(Votes):
    """The vote, or the mean, of the nearest of some rows. Source: Cover and Hart (1967)."""

    def __init__(self, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None, n_classes: int, most: int) -> None:
        from sklearn.neighbors import NearestNeighbors

        super().__init__(y, weight, n_classes, most)
        self.tree = NearestNeighbors(n_neighbors=self.k, algorithm="brute").fit(x[self.there])

    def nearest(self, x: np.ndarray) -> np.ndarray:
        """Places (N, k) of the nearest rows, the nearest first."""
        found: np.ndarray = self.tree.kneighbors(x, n_neighbors=self.k, return_distance=False)
        return found

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """Probabilities (N, C) in the order of `classes_`."""
        return self.vote(self.nearest(x))

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Values (N,)."""
        return self.vote(self.nearest(x))


def nearest_neighbours(task: Task) -> Method:
    """The vote of the nearest training images in shrunk pixels, their number chosen on validation rows.

    Training rows are thinned to what the budget affords for the distances to twice the validation rows.

    Source: Cover and Hart (1967).
    """
    n_values = values_of(task.train, NEAR_VALUES)
    pairs = task.budget_seconds * PRODUCTS_PER_SECOND / (n_values + _PRODUCTS_PER_PAIR)
    task = task.thinned(min(int(pairs / max(2 * len(task.valid), 1000)), MAX_CELLS // n_values))
    features = pixel_features(task.train, NEAR_VALUES)
    model = Neighbours(features(task.train), task.train.y, task.train.weight, task.n_classes, max(NEIGHBOURS))
    tried = [k for k in NEIGHBOURS if k <= model.k]
    k = tried[-1]
    if len(task.valid):
        some = task.valid.take(np.arange(0, len(task.valid), -(-len(task.valid) // _CHOOSING_ROWS)))
        near = model.nearest(features(some))
        losses = {k: mean_loss(model.vote(near[:, :k]), model.classes_, some) for k in tried}
        k = min(losses, key=lambda k: losses[k])
    model.k = k
    chosen: dict[str, Cell] = {"neighbours": k, "training_rows": len(task.train)}
    return Method(model, chosen | image_words(task.train, NEAR_VALUES), features)
