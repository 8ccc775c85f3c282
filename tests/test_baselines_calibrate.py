"""Temperatures and intervals: planted errors are found and mended, and what is promised is kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from netwright.baselines.calibrate import calibration_error, conformal_margin, equal_mass_bins, fit_temperature
from netwright.baselines.calibration import calibration, noise_level
from netwright.core.seed import generator, numpy_generator
from netwright.core.spec import InputSpec, TargetSpec, VectorField
from netwright.data.data import Data
from netwright.losses.loss import adapt
from netwright.losses.standard import CrossEntropy
from netwright.model import Model, Subject


def drawn(n: int = 20_000, n_classes: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and classes drawn from the probabilities that they stand for."""
    rng = generator(seed, "logits")
    logits = 1.5 * torch.randn(n, n_classes, generator=rng, dtype=torch.float64)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=rng)[:, 0]


def parts(n: int) -> dict[str, np.ndarray]:
    third = np.array_split(np.arange(n), 3)
    return {"train": third[0], "valid": third[1], "test": third[2]}


def told(logits: torch.Tensor, y: torch.Tensor, *, is_number: bool = False, margin: float | None = None) -> Subject:
    """A network that repeats its input, and the rows it is asked about."""
    width = logits.shape[1]
    spec = InputSpec(kind="vector", fields=(VectorField(shape=(width,)),))
    target = (
        TargetSpec(name="y", task="number", center=float(y.double().mean()), scale=1.0)
        if is_number
        else TargetSpec(name="y", task="binary" if width == 2 else "classes", classes=tuple("abcdefgh"[:width]))
    )
    model = Model.wrap(torch.nn.Identity(), loss="squared-error" if is_number else "cross-entropy", x=logits, y=y)
    model.target, model.margin = target, margin
    return Subject(model=model, data=Data.from_tensors({"x": logits}, y, spec, target, parts(len(y))))  # type: ignore[arg-type]


@pytest.mark.parametrize("factor", [0.3, 1.0, 2.5, 8.0])
def test_the_temperature_undoes_a_scaling_of_the_logits(factor: float) -> None:
    logits, y = drawn()
    assert fit_temperature(factor * logits, y, CrossEntropy()) == pytest.approx(factor, rel=0.03)


def test_the_temperature_works_through_a_sigmoid_too() -> None:
    rng = generator(0, "sigmoid")
    logits = 2 * torch.randn(20_000, 1, generator=rng)
    y = (torch.rand(20_000, generator=rng) < logits[:, 0].sigmoid()).long()
    loss = adapt(lambda o, t: torch.nn.functional.binary_cross_entropy_with_logits(o[:, 0], t.float()), link="sigmoid")
    assert fit_temperature(3 * logits, y, loss) == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize("seed", range(8))
def test_the_temperature_is_never_worse_than_none_on_its_rows(seed: int) -> None:
    rng = generator(seed, "few")
    outputs, y = 100 * torch.randn(6, 3, generator=rng), torch.randint(0, 3, (6,), generator=rng)
    loss = CrossEntropy()

    def nll(temperature: float) -> float:
        return float(loss.values(outputs.double() / temperature, y).mean())

    temperature = fit_temperature(outputs, y, loss)
    assert 0 < temperature < 100
    assert nll(temperature) <= nll(1.0)


def test_weights_and_repeated_rows_give_the_same_temperature() -> None:
    logits, y = drawn(300)
    weight = torch.tensor([2.0, 1.0, 0.0]).repeat(100)
    repeated = torch.repeat_interleave(torch.arange(300), weight.long())
    wanted = fit_temperature(2 * logits[repeated], y[repeated], CrossEntropy())
    assert fit_temperature(2 * logits, y, CrossEntropy(), weight) == pytest.approx(wanted, rel=1e-4)


def test_rows_that_are_all_right_leave_the_temperature_at_one() -> None:
    outputs, y = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 1])
    assert fit_temperature(outputs, y, CrossEntropy()) == 1.0


def test_no_rows_leave_the_temperature_at_one() -> None:
    assert fit_temperature(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), CrossEntropy()) == 1.0


@pytest.mark.parametrize(("n", "coverage"), [(19, 0.9), (50, 0.9), (200, 0.8)])
def test_conformal_intervals_cover_what_they_promise(n: int, coverage: float) -> None:
    rng, held, trials = numpy_generator(0, "conformal", n), 0, 4000
    for _ in range(trials):
        residuals = rng.standard_t(3, n + 1)
        margin = conformal_margin(residuals[:-1], coverage)
        assert margin is not None
        held += abs(residuals[-1]) <= margin
    exact = np.ceil((n + 1) * coverage - 1e-9) / (n + 1)
    assert exact >= coverage
    assert stats.binomtest(held, trials, exact).pvalue > 1e-3


def test_too_few_rows_promise_nothing() -> None:
    assert conformal_margin(np.ones(8)) is None
    assert conformal_margin(np.arange(9.0)) == 8.0
    assert conformal_margin(np.zeros(0)) is None


@pytest.mark.parametrize("n_bins", [1, 5, 15])
def test_bins_are_ordered_and_of_equal_mass(n_bins: int) -> None:
    confidence = numpy_generator(0, "bins").random(1000)
    bins = equal_mass_bins(confidence, n_bins)
    counts = np.bincount(bins)
    assert len(counts) == n_bins and counts.max() - counts.min() <= 2
    assert (np.diff(bins[np.argsort(confidence)]) >= 0).all()


def test_equal_confidences_share_a_bin() -> None:
    assert equal_mass_bins(np.full(100, 0.7)).tolist() == [0] * 100
    assert len(np.unique(equal_mass_bins(np.array([0.2] * 80 + [0.9] * 20)))) == 2


def test_calibration_error_is_the_gap_between_what_is_said_and_what_is() -> None:
    confidence, right = np.repeat([0.6, 0.9], 100), np.repeat([1, 0, 1, 0], [70, 30, 80, 20])
    bins = equal_mass_bins(confidence)
    assert calibration_error(confidence, right, bins) == pytest.approx((0.1 + 0.1) / 2)


def test_perfect_probabilities_stay_below_the_level_of_chance() -> None:
    rng, above = numpy_generator(0, "chance"), 0
    for trial in range(60):
        confidence = rng.random(400)
        bins = equal_mass_bins(confidence)
        right = (rng.random(400) < confidence).astype(float)
        above += calibration_error(confidence, right, bins) > noise_level(confidence, bins, trial, draws=100)
    assert stats.binomtest(above, 60, 0.05).pvalue > 1e-3


@pytest.mark.parametrize("n_classes", [2, 5])
def test_an_overconfident_network_is_found_and_the_advice_mends_it(n_classes: int) -> None:
    logits, y = drawn(9000, n_classes)
    subject = told(3 * logits, y)
    found = calibration(subject, budget_seconds=5, seed=0)
    assert (
        found.verdict == "warn"
        and float(found.measured["ece"] or 0) > 0.05
        and "fitted on validation rows" in found.todo
    )
    assert subject.model is not None
    subject.model.temperature = 3.0
    mended = calibration(subject, budget_seconds=5, seed=0)
    assert mended.verdict == "pass" and mended.measured["ece_before"] == pytest.approx(found.measured["ece"])
    assert sum(int(row[0] or 0) for row in mended.tables[0].rows) == 3000
    assert mended.model_validate_json(mended.model_dump_json()) == mended


@pytest.mark.parametrize(("spread", "verdict"), [(1.0, "pass"), (2.0, "warn")])
def test_coverage_of_intervals_is_measured_on_test_rows(spread: float, verdict: str) -> None:
    rng = generator(0, "residuals")
    x = torch.randn(3000, 1, generator=rng) * 5
    noise = torch.randn(3000, generator=rng)
    noise[2000:] *= spread
    margin = conformal_margin(noise[1000:2000].numpy())
    found = calibration(told(x, (x[:, 0] + noise).double(), is_number=True, margin=margin), budget_seconds=5, seed=0)
    wanted = float((noise[2000:].abs() <= margin).double().mean())
    assert found.verdict == verdict
    assert found.measured["coverage"] == pytest.approx(wanted) and found.measured["width"] == 2 * (margin or 0)


def test_without_an_interval_nothing_is_judged() -> None:
    x = torch.randn(90, 1)
    found = calibration(told(x, x[:, 0].double(), is_number=True), budget_seconds=5, seed=0)
    assert found.verdict == "info" and "no interval was fitted" in found.title


def test_an_unknown_link_is_not_guessed() -> None:
    logits, y = drawn(60)
    subject = told(logits, y)
    assert subject.model is not None
    subject.model.loss = adapt(torch.nn.functional.cross_entropy)
    found = calibration(subject, budget_seconds=5, seed=0)
    assert found.verdict == "info" and found.title.startswith("not applicable")
