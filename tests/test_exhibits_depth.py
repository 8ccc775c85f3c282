"""The exhibit of depth: its networks start as theory says, and what it promises holds on another seed too."""

from __future__ import annotations

import pytest

from netwright.exhibits import deep_networks
from netwright.exhibits.deep_networks import DEEP, STARTS, WAYS, Start
from netwright.recipes.recipe import member_seed


@pytest.fixture(scope="module")
def starts() -> dict[str, Start]:
    data = deep_networks._digits(300, 0)
    recipes = {way: deep_networks._recipe(DEEP, way) for way in WAYS}
    return {
        way: deep_networks._start(recipe.build(data.spec, data.target, member_seed(0, 0)), data)
        for way, recipe in recipes.items()
    }


def test_every_layer_has_its_gradient(starts: dict[str, Start]) -> None:
    assert all(len(start.gradients) == DEEP and min(start.gradients) > 0 for start in starts.values())


def test_a_residual_sum_without_a_norm_doubles_the_variance_with_each_layer(starts: dict[str, Start]) -> None:
    assert starts["residual"].size / starts["plain"].size > 2 ** (DEEP / 2 - 3) and starts["both"].size < DEEP


def test_rows_become_alike_in_plain_layers_and_stay_apart_with_a_norm(starts: dict[str, Start]) -> None:
    assert starts["plain"].cosine > 0.9 > 0.5 > starts["batch norm"].cosine


def test_the_gradient_is_level_in_plain_layers_and_grows_backwards_with_a_norm_alone(starts: dict[str, Start]) -> None:
    ratio = {way: start.gradients[0] / start.gradients[-1] for way, start in starts.items()}
    assert 0.2 < ratio["plain"] < 5 and ratio["batch norm"] > 10 and ratio["both"] < ratio["batch norm"] / 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_depth_harms_plain_layers_and_not_those_with_both_and_dropout_helps_on_few_rows(seed: int) -> None:
    found = deep_networks.exhibit(tiny=True, seed=seed)
    assert found.verdict == "pass", found.title
    ends, start = found.tables
    assert len(ends.rows) == 2 * len(WAYS) and len(ends.columns) == 2 + STARTS and len(start.rows) == len(WAYS)
    deep, shallow, gradients, dropout = found.figures
    assert [s.name for s in deep.series] == [*WAYS, "2 plain layers"] and [s.name for s in shallow.series] == [*WAYS]
    assert all(len(s.y) == DEEP for s in gradients.series) and len(dropout.series) == 4
