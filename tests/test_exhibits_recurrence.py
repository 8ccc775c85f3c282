"""The exhibits of recurrence show what they say, at their small size; the three-way comparison at its full one."""

from __future__ import annotations

import importlib

import pytest

from netwright.exhibits.cosine_to_sine import SEEDS
from netwright.exhibits.cosine_to_sine import exhibit as cosine_to_sine

FAST = ("unrolled", "vanishing_gradient")
SLOW = ("hopfield_memory", "gates", "forecast", "cosine_to_sine")


def holds(name: str) -> None:
    found = importlib.import_module(f"netwright.exhibits.{name}").exhibit(tiny=True, seed=0)
    assert found.probe == name.replace("_", "-") and found.verdict == "pass", found.title
    assert found.figures and found.why and found.reference
    for figure in found.figures:
        ids = {node.id for node in figure.nodes}
        assert len(ids) == len(figure.nodes)
        assert {end for link in figure.links for end in (link.source, link.target)} <= ids


@pytest.mark.parametrize("name", FAST)
def test_a_fast_exhibit_holds(name: str) -> None:
    holds(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_an_exhibit_holds(name: str) -> None:
    holds(name)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_grus_median_error_is_at_most_a_tenth_of_the_perceptrons(seed: int) -> None:
    found = cosine_to_sine(seed=seed)
    errors = {str(row[0]): row[1 : 1 + SEEDS] for row in found.tables[0].rows}
    medians = {name: sorted(map(float, some))[SEEDS // 2] for name, some in errors.items()}  # type: ignore[arg-type]
    assert medians["GRU"] <= medians["perceptron"] / 10
    assert found.verdict == "pass"
