"""Every template that fits texts, series, tables or images is trained in several networks and in cross-validation."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from netwright.data.series import column_of_series
from netwright.estimators.classifier import Classifier
from netwright.nn.ensemble import Ensemble
from netwright.recipes.entries import TEMPLATES

N = 48
RNG = np.random.default_rng(0)
Y = np.where(np.arange(N) % 2, "odd", "even")
ODD = (Y == "odd").astype(float)
ROWS: dict[str, Any] = {
    "text": [f"{'good' if one else 'bad'} film number {k}" for k, one in enumerate(ODD)],
    "series": column_of_series([one + RNG.normal(size=(12, 2)) for one in ODD]).to_frame(),
    "table": pl.DataFrame({"a": ODD + RNG.normal(size=N), "b": RNG.normal(size=N), "c": list("xyz" * (N // 3))}),
    "image": (255 * RNG.uniform(size=(N, 28, 28)) * (0.5 + 0.5 * ODD[:, None, None])).astype(np.uint8),
}
QUICK = ("residual-mlp", "linear", "mlp", "word-conv", "attention-pooling", "transformer")
"""Templates whose tests take less than a second each."""


def fits(name: str, kind: str) -> bool:
    """Whether a template is made for rows of this kind alone."""
    needs = {"sequence": ("text", "series", "audio")}
    return TEMPLATES[name].fits(kind=kind, task="binary") and all(
        kind in needs.get(n, (n,)) for n in TEMPLATES[name].needs
    )


PAIRS = [
    pytest.param(name, kind, marks=() if name in QUICK else pytest.mark.slow)
    for name in TEMPLATES
    for kind in ROWS
    if fits(name, kind)
]


def fitted(name: str, kind: str, **options: Any) -> Classifier:
    return Classifier(template=name, epochs=2, batch_size=16, random_state=0, **options).fit(ROWS[kind], Y)


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_two_networks_of_a_template_are_trained_and_the_first_is_what_it_would_be_alone(name: str, kind: str) -> None:
    net, alone = fitted(name, kind, members=2), fitted(name, kind)
    assert isinstance(net.model_.module, Ensemble) and np.isfinite(net.member_scores_).all()
    assert net.member_scores_.shape == (1, 2)
    assert net.member_scores_[0, 0] == pytest.approx(alone.member_scores_[0, 0], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_a_template_is_cross_validated(name: str, kind: str) -> None:
    net = fitted(name, kind, folds=3)
    assert net.member_scores_.shape == (3, 1) and np.isfinite(net.member_scores_).all()
    assert net.predict_proba(ROWS[kind]).shape == (N, 2)
