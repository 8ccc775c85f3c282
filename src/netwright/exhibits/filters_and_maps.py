"""What a convolutional network has learned to look for in handwritten digits, and where it finds it."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import netwright as nw
from netwright.core.finding import Finding
from netwright.exhibits.program import main
from netwright.explain.filters import filter_figure


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """Filters and feature maps of a small convolutional network on digits."""
    digits = load_digits()
    large = F.interpolate(torch.from_numpy(digits.images)[:, None], scale_factor=2, mode="bilinear")[:, 0]
    x = (15 * large).round().numpy().astype(np.uint8)  # 16 x 16 pixels from 0 to 240
    x_train, x_test, y_train, y_test = train_test_split(x, digits.target, test_size=0.25, random_state=seed)
    n = 700 if tiny else len(x_train)
    net = nw.Classifier(
        template="conv",
        options={"channels": "8,16", "kernel": 5},
        epochs=6 if tiny else 60,
        batch_size=32,
        learning_rate=5e-3,
        weight_decay=2.0,  # what no digit asks for dies away, and leaves smooth filters
        random_state=seed,
    ).fit(x_train[:n], y_train[:n])
    accuracy, model = float(net.score(x_test, y_test)), net.model_
    assert model.recipe is not None
    first = int(np.random.RandomState(seed).randint(2**31 - 1))  # how scikit-learn's conventions draw the seed of a fit
    before = filter_figure(model.recipe.build(model.spec, model.target, first))
    found = nw.explain(net, x_test, y_test, names=["filters"], seed=seed, budget_seconds=5)[0]
    after, *maps = found.figures
    return found.model_copy(
        update={
            "probe": "filters-and-maps",
            "family": "gallery",
            "title": f"8 filters of 5 x 5 and 16 above them, learned from {n:,} digits, know {accuracy:.1%} of {len(x_test)} others",
            "measured": {**found.measured, "accuracy": accuracy, "training_images": n},
            "figures": (
                before.model_copy(update={"title": "The filters before training"}),
                after.model_copy(update={"title": "The same filters after training"}),
                *maps,
            ),
            "why": "Nobody drew these filters: each starts as noise, and training turns it, the longer the more, into a detector of a "
            "stroke in some direction, of an edge or of a spot. The sheets below show a digit and the maps of both layers. A map of the "
            "first layer is the digit seen through one filter, as large as the digit itself; a map of the second is half as large and "
            "answers to a combination of them, so that one can still say what is there, and only roughly where.",
            "reference": "LeCun et al. (1998); Zeiler and Fergus (2014), Visualizing and understanding convolutional networks",
        }
    )


if __name__ == "__main__":
    main(exhibit)
