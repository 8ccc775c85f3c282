"""LeNet-5 reads handwritten digits, and every digit that it reads wrongly is shown."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import netwright as nw
from netwright.core.finding import Figure, Finding, Picture
from netwright.data.images import to_png
from netwright.exhibits.program import main
from netwright.exhibits.real import real_file

MOST = 300
TINY: dict[str, Any] = {
    "epochs": 4,
    "batch_size": 16,
    "learning_rate": 5e-3,
    "options": {"dropout": 0.0, "shift": 0.0, "rotate": 0.0, "zoom": 0.0, "shear": 0.0},
}
"""Of a few seconds; the distortions need longer than that to pay."""


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """Every error of LeNet-5."""
    what, x_train, y_train, x_test, y_test = _digits(tiny, seed)
    settings: dict[str, Any] = (
        TINY if tiny else {"epochs": 12} if len(x_train) > 10_000 else {"epochs": 60, "batch_size": 32}
    )
    net = nw.Classifier(template="lenet5", **settings, random_state=seed)
    net.fit(x_train, y_train)
    p = net.predict_proba(x_test)
    said, sure = net.classes_[p.argmax(1)], p.max(1)
    wrong = np.flatnonzero(said != y_test)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")]
    pictures = tuple(
        Picture(png=to_png(x_test[i][None]), caption=f"{y_test[i]} → {said[i]} ({sure[i]:.0%})", mark="bad")
        for i in wrong[:MOST]
    )
    return Finding(
        probe="lenet-errors",
        family="gallery",
        verdict="info",
        title=f"LeNet-5 reads {len(wrong)} of {len(y_test):,} {what} wrongly ({len(wrong) / len(y_test):.2%}) after {net.n_iter_} epochs",
        measured={
            "errors": len(wrong),
            "test_images": len(y_test),
            "training_images": len(y_train),
            "parameters": net.model_.n_parameters,
            "epochs": net.n_iter_,
        },
        why="Below each digit stands what it is, and what the network took it for with which probability; the surest errors come first. "
        "Many are digits that people too would have to think about; a few are plain ones, from which one learns what the network missed.",
        figures=(
            Figure(
                title="All errors" if len(wrong) <= MOST else f"The {MOST} surest of {len(wrong)} errors",
                kind="pictures",
                pictures=pictures,
                caption="True class → what was said.",
            ),
        ),
        reference="LeCun, Bottou, Bengio and Haffner (1998), Gradient-based learning applied to document recognition",
    )


def _digits(tiny: bool, seed: int) -> tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """MNIST where its file is there and time is not short; else the digits of scikit-learn, enlarged to 28 x 28."""
    if path := real_file("mnist.npz", tiny=tiny):
        with np.load(path, allow_pickle=False) as arrays:
            return "test digits of MNIST", *(arrays[k] for k in ("x_train", "y_train", "x_test", "y_test"))
    digits = load_digits()
    large = np.pad(np.kron(digits.images, np.ones((1, 3, 3))), ((0, 0), (2, 2), (2, 2)))
    x = np.clip(large * 16, 0, 255).astype(np.uint8)
    x_train, x_test, y_train, y_test = train_test_split(x, digits.target, test_size=0.4, random_state=seed)
    n = 700 if tiny else len(x_train)
    return "test digits of 8 x 8 pixels, enlarged", x_train[:n], y_train[:n], x_test, y_test


if __name__ == "__main__":
    main(exhibit)
