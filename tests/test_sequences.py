"""Tagger and forecaster: answers at each step, forecasts against naive ones on the same steps, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

import netwright as nw
from netwright.core.errors import DataError, TrainingError, UsageError
from netwright.core.seed import numpy_generator
from netwright.losses.standard import CrossEntropy, SquaredError
from netwright.losses.steps import NO_LABEL, OverSteps
from netwright.sequences import forecaster as forecasting
from netwright.sequences.compare import block_interval
from netwright.sequences.windows import naive, windows_of
from netwright.train.stack import Stack, Unstackable


def latches(n: int, seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Sequences of 3 to 9 numbers; at each step: whether any number so far was above 1."""
    rng = numpy_generator(seed, "latches")
    rows = [rng.normal(size=rng.integers(3, 10)) for _ in range(n)]
    return rows, [np.where(np.maximum.accumulate(row) > 1, "seen", "not yet") for row in rows]


@pytest.fixture(scope="module")
def tagger() -> nw.Tagger:
    x, y = latches(150, 0)
    return nw.Tagger(width=16, directions=1, epochs=40, learning_rate=0.02, dropout=0.0, random_state=0).fit(x, y)


def test_a_tagger_answers_each_step_of_unequal_sequences(tagger: nw.Tagger) -> None:
    x, y = latches(60, 1)
    answers = tagger.predict(x)
    assert [len(a) for a in answers] == [len(row) for row in x]
    share = np.mean(np.concatenate(answers) == np.concatenate(y))
    assert share == tagger.score(x, y) > 0.9
    for p, row in zip(tagger.predict_proba(x), x, strict=True):
        assert p.shape == (len(row), 2)
        np.testing.assert_allclose(p.sum(1), 1)


def test_other_and_longer_sequences_change_no_answer(tagger: nw.Tagger) -> None:
    x, _ = latches(20, 2)
    together = tagger.predict_proba([*x, np.zeros(50)])
    for k, row in enumerate(x):
        np.testing.assert_allclose(tagger.predict_proba([row])[0], together[k], atol=1e-6)
    assert together[-1].shape == (50, 2)


def test_one_direction_cannot_look_ahead(tagger: nw.Tagger) -> None:
    x, _ = latches(1, 3)
    later = x[0].copy()
    later[-1] += 5
    one, two = tagger.predict_proba([x[0], later])
    np.testing.assert_allclose(one[:-1], two[:-1], atol=1e-6)
    assert not np.allclose(one[-1], two[-1], atol=1e-6)


def test_the_same_seed_gives_the_same_tagger_and_it_can_be_cloned(tagger: nw.Tagger) -> None:
    x, y = latches(30, 4)
    made = [clone(tagger).set_params(epochs=2).fit(x, y).predict_proba(x) for _ in range(2)]
    for one, two in zip(*made, strict=True):
        np.testing.assert_array_equal(one, two)


def test_tokens_numbers_and_steps_without_a_target() -> None:
    words = [["the", "dog", "barks"], ["a", "cat"], ["the", "cat", "barks", "now"], ["a", "dog", "now"]] * 8
    tags = [["det", "noun", "verb"], ["det", None], ["det", "noun", None, "adverb"], ["det", "noun", "adverb"]] * 8
    model = nw.Tagger(width=8, epochs=15, batch_size=8, learning_rate=0.02, random_state=0).fit(words, tags)
    assert set(model.classes_) == {"det", "noun", "verb", "adverb"}
    assert model.score(words, tags) > 0.95
    assert model.predict([["the", "bird", "barks"]])[0][0] == "det"
    rng = numpy_generator(0, "sums")
    x = [rng.normal(size=(rng.integers(2, 8), 2)) for _ in range(80)]
    y = [np.append(np.cumsum(row[:, 0])[:-1], np.nan) for row in x]
    sums = nw.Tagger(width=16, directions=1, epochs=30, learning_rate=0.02, dropout=0.0, random_state=0).fit(x, y)
    assert sums.classes_ is None and sums.score(x, y) > 0.8
    with pytest.raises(UsageError, match="no probabilities"):
        sums.predict_proba(x)


def test_truncated_and_variational_taggers_train() -> None:
    x, y = latches(40, 5)
    for options in ({"truncate": 2}, {"variational": True, "dropout": 0.3}, {"skip": True, "depth": 2, "cell": "lstm"}):
        model = nw.Tagger(width=8, epochs=3, random_state=0, **options).fit(x, y)
        assert 0 <= model.score(x, y) <= 1
        assert np.isfinite([row["valid_log-loss"] for row in model.history_]).all()


@pytest.mark.parametrize("numbers", [False, True])
def test_members_of_a_tagger_are_the_networks_of_their_seeds_and_answer_with_their_mean(numbers: bool) -> None:
    x, y = latches(60, 6)
    y = [np.append(np.maximum.accumulate(row)[:-1], np.nan) for row in x] if numbers else y
    small: dict[str, Any] = {"width": 8, "epochs": 4, "batch_size": 8, "random_state": 0}
    model = nw.Tagger(members=2, **small).fit(x, y)
    alone = nw.Tagger(**small).fit(x, y)
    assert model.member_scores_.shape == (1, 2) and np.ptp(model.member_scores_) > 0
    assert model.member_scores_[0, 0] == pytest.approx(alone.member_scores_[0, 0], rel=1e-3)
    metric = "valid_rmse" if numbers else "valid_log-loss"
    assert alone.member_scores_[0, 0] == min(row[metric] for row in alone.history_)
    together, each = model.net_, []
    for net in together.members:
        model.net_ = net
        each.append(model.predict(x) if numbers else model.predict_proba(x))
    model.net_ = together
    answers = model.predict(x) if numbers else model.predict_proba(x)
    for mean, *own in zip(answers, *each, strict=True):
        np.testing.assert_allclose(mean, np.mean(own, 0), atol=1e-9)
    assert set(model.gates(x[:2])) == set(alone.gates(x[:2]))


def test_sequences_without_any_target_do_not_choose_the_epoch() -> None:
    x, y = latches(40, 7)
    y = [row if k % 2 else np.full(len(row), None) for k, row in enumerate(y)]
    model = nw.Tagger(width=8, epochs=2, validation_fraction=0.4, random_state=0).fit(x, y)
    assert np.isfinite(model.member_scores_).all()
    none = [np.full(len(row), None) for row in y]
    order = numpy_generator(int(check_random_state(0).randint(2**31 - 1)), "validation").permutation(40)
    some = [none[k] if k in order[:16] else latches(40, 7)[1][k] for k in range(40)]
    assert nw.Tagger(width=8, epochs=1, validation_fraction=0.4, random_state=0).fit(x, some).validated_on_ == (
        "training sequences"
    )


@pytest.mark.parametrize("members", [0, -1, 2.5, True, "a", 65])
def test_numbers_of_networks_that_make_no_sense_are_refused(members: Any) -> None:
    with pytest.raises(UsageError, match=rf"members is {members!r}; expected a whole number from 1 to 64"):
        nw.Forecaster(members=members, epochs=1).fit(wave(60))
    with pytest.raises(UsageError, match=rf"members is {members!r}; expected a whole number from 1 to 64"):
        nw.Tagger(members=members, epochs=1).fit(*latches(10, 0))


def test_a_forecaster_scores_its_members_and_says_why_they_went_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    small: dict[str, Any] = {"horizon": 2, "window": 8, "width": 4, "epochs": 2, "random_state": 0}
    model = nw.Forecaster(members=2, **small).fit(wave(120))
    assert model.member_scores_.shape == (1, 2) and model.in_turn_ == ""
    assert model.member_scores_[0, 0] == pytest.approx(min(row["valid_rmse"] for row in model.history_))

    class Refused(Stack):
        def __init__(self, *given: Any, **options: Any) -> None:
            raise Unstackable("they were told so")

    monkeypatch.setattr("netwright.train.members.Stack", Refused)
    in_turn = nw.Forecaster(members=2, **small).fit(wave(120))
    assert in_turn.in_turn_ == "they were told so"
    np.testing.assert_allclose(in_turn.member_scores_, model.member_scores_, rtol=1e-3)
    assert nw.Tagger(members=2, width=4, epochs=1).fit(*latches(10, 0)).in_turn_ == "they were told so"


def test_members_that_diverge_are_left_out_and_where_all_do_nothing_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    made = forecasting.Forecaster._net
    broken: list[int] = [1]

    def net(self: Any, *given: Any) -> torch.nn.Module:
        one = made(self, *given)
        if len(nets) in broken:
            one.head.bias.data.fill_(float("inf"))
        nets.append(one)
        return one

    monkeypatch.setattr(forecasting.Forecaster, "_net", net)
    nets: list[Any] = []
    with pytest.warns(ConvergenceWarning, match="network 2 of 2 is left out: .*became"):
        model = nw.Forecaster(members=2, horizon=2, window=8, width=4, epochs=2, random_state=0).fit(wave(120))
    assert np.isfinite(model.predict()).all() and np.isinf(model.member_scores_[0, 1])
    nets, broken = [], [0, 1]
    with pytest.raises(TrainingError, match="no network ended an epoch"):
        nw.Forecaster(members=2, horizon=2, window=8, width=4, epochs=2, random_state=0).fit(wave(120))


@pytest.mark.parametrize(
    ("x", "y", "error", "says"),
    [
        ([], [], UsageError, "at least one"),
        ("a text", ["a"], UsageError, "list of sequences"),
        (["ab", "cd"], ["x", "y"], UsageError, "sequence 0 of X is 'ab'"),
        ([[1.0], []], [["a"], []], DataError, "length 0"),
        ([[1.0, 2.0]], [["a"]], UsageError, "2 steps in X and 1 in y"),
        ([[1.0], [2.0]], [["a"]], UsageError, "y has 1 sequences"),
        ([[1.0], [2.0]], [["a"], ["a"]], UsageError, "at least two"),
        ([np.zeros((2, 1)), np.zeros((2, 3))], [["a", "b"]] * 2, DataError, "series 1"),
    ],
)
def test_what_a_tagger_refuses(x: Any, y: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        nw.Tagger(epochs=1).fit(x, y)


def test_other_kinds_than_fitted_are_refused(tagger: nw.Tagger) -> None:
    with pytest.raises(DataError, match="numbers were fitted"):
        tagger.predict([["a", "b"]])
    with pytest.raises(DataError, match="channel"):
        tagger.predict([np.zeros((3, 2))])


def test_steps_without_a_target_have_no_part_in_the_loss() -> None:
    outputs = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([[1, NO_LABEL, 2], [NO_LABEL, 3, NO_LABEL]])
    each = torch.nn.functional.cross_entropy(
        outputs.flatten(0, 1), y.flatten(), ignore_index=-1, reduction="none"
    ).view(2, 3)
    expected = torch.stack([each[0].sum() / 2, each[1, 1]])
    torch.testing.assert_close(OverSteps(CrossEntropy()).values(outputs, y), expected)
    values = torch.tensor([[1.0, float("nan")]])
    found = OverSteps(SquaredError()).values(torch.tensor([[[3.0], [9.0]]]), values)
    torch.testing.assert_close(found, torch.tensor([4.0]))


# --- forecasts --------------------------------------------------------------------------------------------------------


def wave(n: int = 240, noise: float = 0.0) -> np.ndarray:
    rng = numpy_generator(0, "wave")
    return 50 + 10 * np.sin(2 * np.pi * np.arange(n) / 16) + noise * rng.normal(size=n)


@pytest.fixture(scope="module")
def forecaster() -> nw.Forecaster:
    return nw.Forecaster(horizon=4, window=16, width=16, epochs=40, random_state=0).fit(wave(200))


def test_a_wave_is_forecast_better_than_by_its_last_value(forecaster: nw.Forecaster) -> None:
    _, made, came = forecaster.rolled(wave(240), 200)
    errors = {name: np.abs(some - came).mean() for name, some in made.items()}
    assert errors["network"] < 0.3 * errors["naive"]
    np.testing.assert_allclose(made["naive"][:, :, 0], np.repeat(wave(240)[199:236, None], 4, 1))


def test_forecasts_begin_where_the_history_ends_and_go_on_beyond_the_horizon(forecaster: nw.Forecaster) -> None:
    origins, made, _ = forecaster.rolled(wave(240), 200)
    np.testing.assert_allclose(forecaster.predict(), made["network"][0, :, 0], rtol=1e-6)
    np.testing.assert_allclose(forecaster.predict(wave(210)), made["network"][10, :, 0], rtol=1e-6)
    assert origins[0] == 200 and forecaster.predict(steps=11).shape == (11,)
    np.testing.assert_allclose(forecaster.predict(steps=11)[:4], forecaster.predict())
    assert forecaster.predict(wave(5)).shape == (4,)  # a history shorter than the window


def test_nothing_behind_the_origin_is_seen(forecaster: nw.Forecaster) -> None:
    changed = wave(240)
    changed[220:] = 1e4
    one, two = (forecaster.rolled(series, 200)[1]["network"] for series in (wave(240), changed))
    np.testing.assert_allclose(one[:21], two[:21])


@pytest.mark.slow
def test_several_series_and_channels_of_unequal_lengths() -> None:
    series = [np.stack([wave(n), -wave(n)], 1) for n in (30, 45, 20)]
    model = nw.Forecaster(horizon=3, window=5, width=8, epochs=2, members=2, random_state=0).fit(series)
    assert [f.shape for f in model.predict()] == [(3, 2)] * 3
    assert model.predict(series[0]).shape == (3, 2)


def test_a_network_without_training_is_the_seasonal_naive_forecast() -> None:
    model = nw.Forecaster(
        horizon=20, window=16, season=16, width=8, epochs=1, learning_rate=1e-12, log=True, random_state=0
    )
    model.fit(wave(100))
    expected = naive(wave(100)[:, None], 20, 16)[:, 0]
    np.testing.assert_allclose(model.predict(), expected, rtol=1e-4)


def test_windows_are_what_came_before_and_after() -> None:
    row = np.arange(10.0)[:, None]
    some = windows_of([row], 3, 2, 4, since=[2], until=[8])
    assert some.origins.tolist() == [2, 3, 4, 5, 6]
    assert some.x[:, 0].tolist() == [[0, 1, 0], [0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]]
    assert some.lengths.tolist() == [2, 3, 3, 3, 3]
    assert some.y[:, :, 0].tolist() == [[2, 3], [3, 4], [4, 5], [5, 6], [6, 7]]
    assert some.base[2:, :, 0].tolist() == [[0, 1], [1, 2], [2, 3]]
    assert some.changes[4, 0].tolist() == [0, 4, 4]


def test_the_comparison_measures_all_forecasts_on_the_same_steps() -> None:
    model = nw.Forecaster(horizon=2, window=16, season=16, width=8, epochs=3, random_state=0)
    found = nw.compare_forecasts(model, wave(160, noise=1.0), test=0.25)
    assert not hasattr(model, "net_")
    assert found.measured["forecasts"] == 39
    assert {row[0] for row in found.tables[0].rows} == {"network", "naive", "seasonal-naive"}
    assert found.measured["mae naive"] > found.measured["mae seasonal-naive"]
    assert found.measured["difference_low"] <= found.measured["difference"] <= found.measured["difference_high"]


def test_blocks_make_intervals_of_dependent_values_wider() -> None:
    rng = numpy_generator(0, "blocks")
    values = np.repeat(rng.normal(size=40), 10)
    narrow, wide = (np.diff(block_interval(values, block, 0)).item() for block in (1, 20))
    assert wide > 2 * narrow


@pytest.mark.parametrize(
    ("series", "options", "error", "says"),
    [
        (np.zeros(5), {"horizon": 4}, UsageError, "too short"),
        (np.arange(50.0), {"horizon": 0}, UsageError, "horizon is 0"),
        (np.arange(50.0), {"log": True}, DataError, "above 0"),
        (np.where(np.arange(50) == 7, np.nan, 1.0), {}, DataError, "gap at step 7"),
        ([], {}, UsageError, "at least one"),
    ],
)
def test_what_a_forecaster_refuses(series: Any, options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        nw.Forecaster(epochs=1, **options).fit(series)


def test_other_channels_and_several_series_in_a_comparison_are_refused(forecaster: nw.Forecaster) -> None:
    with pytest.raises(DataError, match="2 channels"):
        forecaster.predict(np.zeros((20, 2)))
    with pytest.raises(UsageError, match="one at a time"):
        nw.compare_forecasts(forecaster, [wave(50), wave(60)])
    with pytest.raises(UsageError, match="horizon"):
        nw.compare_forecasts(forecaster, wave(50), test=0.01)
