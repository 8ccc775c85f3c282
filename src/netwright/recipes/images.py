"""Named recipes for images: LeNet-5 in both forms, and a residual convolutional network trained for accuracy."""

from __future__ import annotations

from netwright.recipes.recipe import Option, Recipe
from netwright.train.settings import Training

DISTORTIONS: dict[str, Option] = {"shift": 0.08, "rotate": 10.0, "zoom": 0.1, "shear": 10.0}
"""Random changes that leave a digit what it is."""


def lenet5(*, distort: bool = True, epochs: int = 40) -> Recipe:
    """LeNet-5 in the form usual today.

    Args:
        distort: change the images at random in training; without that batch norm, dropout and a stronger decay take their place.
        epochs: passes.
    """
    usual = Training(epochs=epochs, batch_size=128, learning_rate=2e-3, weight_decay=0.02, average=0.999)
    return Recipe(
        name="lenet5",
        template="lenet5",
        options=DISTORTIONS if distort else {"norm": True, "dropout": 0.4},
        loss="cross-entropy",
        training=usual if distort else usual.model_copy(update={"weight_decay": 0.2}),
    )


def lenet5_1998(*, distort: bool = True, epochs: int = 40) -> Recipe:
    """LeNet-5 as published, but for the optimiser.

    Args:
        distort: change the images at random in training. epochs: passes.
    """
    return Recipe(
        name="lenet5-1998",
        template="lenet5-1998",
        options=DISTORTIONS if distort else {},
        loss="reject-cross-entropy",
        training=Training(epochs=epochs, batch_size=128, learning_rate=4e-3, weight_decay=0.02, average=0.999),
    )


def convnet(*, width: int = 16, epochs: int = 24) -> Recipe:
    """Residual convolutions on distorted images, averaged weights."""
    return Recipe(
        name="convnet",
        template="residual-conv",
        options={"width": width, "dropout": 0.1, "shift": 0.1, "rotate": 10.0, "zoom": 0.1},
        loss="cross-entropy",
        training=Training(epochs=epochs, batch_size=128, learning_rate=5e-3, weight_decay=0.02, average=0.999),
    )
