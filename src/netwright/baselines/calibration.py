"""Whether probabilities come true as often as they say, and whether intervals cover what they promise, on test rows."""

from __future__ import annotations

import math

import numpy as np
import torch

from netwright.baselines.calibrate import calibration_error, equal_mass_bins, fit_temperature
from netwright.baselines.links import unlinked
from netwright.core.finding import Cell, Figure, Finding, Series, Table
from netwright.core.seed import numpy_generator
from netwright.data.data import Data
from netwright.losses.metrics import score
from netwright.model import Model, Subject
from netwright.report.text import number

N_BINS = 15
TOLERATED = 0.02
COVERAGE = 0.9
MAX_POINTS = 2000
_WHY = "A decision by threshold, cost or risk is only as good as the probabilities it is taken on; a network is often too sure."


def calibration(subject: Subject, *, budget_seconds: float, seed: int) -> Finding:
    """Classes: expected calibration error before and after the temperature. Numbers: coverage and width of the intervals."""
    model, data = subject.need("model"), subject.need("data")
    return unlinked(model, "calibration") or (
        _intervals(model, data) if data.target.is_number else _probabilities(model, data, seed)
    )


def _confidence(p: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is held against what happened: the second of two classes, or the most probable of more."""
    return (p[:, 1], (y == 1).astype(float)) if p.shape[1] == 2 else (p.max(1), (p.argmax(1) == y).astype(float))


def _error(p: np.ndarray, y: np.ndarray) -> float:
    confidence, right = _confidence(p, y)
    return calibration_error(confidence, right, equal_mass_bins(confidence, N_BINS))


def noise_level(confidence: np.ndarray, bins: np.ndarray, seed: int, draws: int = 200) -> float:
    """The calibration error that perfectly calibrated probabilities exceed in 5 % of samples of these rows.

    Source: Broecker and Smith (2007), consistency resampling.
    """
    rng = numpy_generator(seed, "calibration")
    drawn = [(rng.random(len(confidence)) < confidence).astype(float) for _ in range(draws)]
    return float(np.quantile([calibration_error(confidence, right, bins) for right in drawn], 0.95))


def _probabilities(model: Model, data: Data, seed: int) -> Finding:
    block, y = data.block("test"), data.y("test")
    outputs = model.outputs(block.x).double()
    raw, p = (model.loss.predict(o).numpy() for o in (outputs, outputs / model.temperature))
    before, after = _error(raw, y), _error(p, y)
    confidence, right = _confidence(p, y)
    bins = equal_mass_bins(confidence, N_BINS)
    noise = noise_level(confidence, bins, seed)
    ok, scaled = after <= max(TOLERATED, noise), model.temperature != 1.0
    title = f"expected calibration error {after:.3f} on {len(y):,} test rows"
    title += f", {before:.3f} before temperature {model.temperature:.3g}" if scaled else ", as the network came"
    measured: dict[str, Cell] = {
        "ece": after,
        "ece_before": before,
        "ece_of_chance": noise,
        "log-loss": score("log-loss", y, p),
        "log-loss_before": score("log-loss", y, raw),
        "temperature": model.temperature,
    }
    what = f"probability of {data.target.classes[1]!r}" if p.shape[1] == 2 else "probability of the predicted class"
    return Finding(
        probe="calibration",
        family="baselines",
        verdict="pass" if ok else "warn",
        title=title,
        measured=measured,
        expected=f"at most {TOLERATED}, or what chance alone gives perfect probabilities ({noise:.3f})",
        why=_WHY,
        todo="" if ok else _advice(model, data, outputs, y),
        tables=(_reliability(confidence, right, bins, what),),
        figures=(_diagram(raw, p, y, what, scaled),),
        reference="Guo et al. (2017); Naeini et al. (2015); Broecker and Smith (2007)",
        seed=seed,
    )


def _advice(model: Model, data: Data, outputs: torch.Tensor, y: np.ndarray) -> str:
    """What a temperature from the validation rows would do, measured."""
    valid = data.block("valid")
    if not len(valid) or valid.y is None:
        return "Fit a temperature on rows that were not trained on: baselines.calibrate.fit_temperature."
    temperature = fit_temperature(model.outputs(valid.x), valid.y, model.loss)
    ece = _error(model.loss.predict(outputs / temperature).numpy(), y)
    if abs(temperature / model.temperature - 1) < 0.01:
        return "No temperature mends it: see in the diagram where it is off, and whether test rows differ from validation rows."
    t = f"{temperature:.3g}"
    return f"With model.temperature = {t}, fitted on validation rows, the error on these test rows is {ece:.3f}."


def _bin_rows(
    confidence: np.ndarray, right: np.ndarray, bins: np.ndarray
) -> list[tuple[int, float, float, float, float]]:
    """Of each bin: rows, mean confidence, share right, and the share's 95 % interval (Wilson, 1927)."""
    rows = []
    for b in range(int(bins.max()) + 1 if len(bins) else 0):
        inside = bins == b
        n, share = int(inside.sum()), float(right[inside].mean())
        z = 1.959964
        middle, spread = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
        low, high = ((middle + s * spread) / (1 + z * z / n) for s in (-1, 1))
        rows.append((n, float(confidence[inside].mean()), share, max(0.0, min(low, share)), min(1.0, max(high, share))))
    return rows


def _reliability(confidence: np.ndarray, right: np.ndarray, bins: np.ndarray, what: str) -> Table:
    columns = ("rows", f"mean {what}", "share that came true", "95 % low", "95 % high")
    return Table(title="Reliability", columns=columns, rows=tuple(_bin_rows(confidence, right, bins)))


def _diagram(raw: np.ndarray, p: np.ndarray, y: np.ndarray, what: str, scaled: bool) -> Figure:
    series = []
    for name, each in (("calibrated", p), ("before", raw)) if scaled else (("as the network came", p),):
        confidence, right = _confidence(each, y)
        rows = _bin_rows(confidence, right, equal_mass_bins(confidence, N_BINS))
        x, share, low, high = (tuple(r[i] for r in rows) for i in (1, 2, 3, 4))
        hover = tuple(f"says {r[1]:.3f}, true {r[2]:.3f} of {r[0]:,} rows" for r in rows)
        bounds = {} if each is raw and scaled else {"low": low, "high": high}
        series.append(Series(name=name, x=x, y=share, hover=hover, **bounds))
    series.append(Series(name="perfect", x=(0.0, 1.0), y=(0.0, 1.0), dashed=True))
    return Figure(
        title="Reliability diagram",
        kind="scatter",
        series=tuple(series),
        x_label=f"mean {what}",
        y_label="share that came true",
        caption=f"{N_BINS} bins of equally many test rows, with 95 % intervals; below the line it comes true less often than said.",
    )


def _intervals(model: Model, data: Data) -> Finding:
    y, value = data.y("test"), model.predict_encoded(data.block("test").x)
    residual, margin, unit = y - value, model.margin, f" {data.target.unit}" if data.target.unit else ""
    measured: dict[str, Cell] = {"mean_residual": float(residual.mean()), "rmse": score("rmse", y, value)}
    if margin is None:
        verdict, ok = "info", True
        title = (
            f"no interval was fitted; the mean error on {len(y):,} test rows is {number(float(residual.mean()))}{unit}"
        )
        expected, todo = "", "Fit one on rows that were not trained on: baselines.calibrate.conformal_margin."
    else:
        covered, n_valid = float((np.abs(residual) <= margin).mean()), max(1, len(data.block("valid")))
        slack = 3 * math.sqrt(COVERAGE * (1 - COVERAGE) * (1 / len(y) + 1 / n_valid))
        ok = abs(covered - COVERAGE) <= slack
        verdict = "pass" if ok else "warn"
        measured |= {"coverage": covered, "width": 2 * margin}
        title = f"the {COVERAGE:.0%} intervals (± {number(margin)}{unit}) hold {covered:.1%} of {len(y):,} test rows"
        expected = f"{COVERAGE:.0%} ± {slack:.1%}, what chance leaves open"
        todo = (
            "" if ok else "Test rows differ from validation rows; see whether time, place or source tells them apart."
        )
    return Finding(
        probe="calibration",
        family="baselines",
        verdict=verdict,
        title=title,
        measured=measured,
        expected=expected,
        why="An interval that covers less than it promises hides risk; one that covers more hides what the network knows.",
        todo=todo,
        tables=(_by_prediction(value, residual, margin),),
        figures=(_residuals(value, residual, margin),),
        reference="Papadopoulos et al. (2002); Lei et al. (2018)",
    )


def _by_prediction(value: np.ndarray, residual: np.ndarray, margin: float | None) -> Table:
    """Fifths of the rows by prediction: one width for all may cover some of them too often, some too rarely."""
    bins, rows = equal_mass_bins(value, 5), []
    for b in range(int(bins.max()) + 1 if len(bins) else 0):
        inside = bins == b
        within = None if margin is None else float((np.abs(residual[inside]) <= margin).mean())
        low, high = float(value[inside].min()), float(value[inside].max())
        rms = float(np.sqrt((residual[inside] ** 2).mean()))
        rows.append((low, high, int(inside.sum()), float(residual[inside].mean()), rms, within))
    columns = ("predicted from", "to", "rows", "mean residual", "RMSE", "covered")
    return Table(title="By size of the prediction", columns=columns, rows=tuple(rows))


def _residuals(value: np.ndarray, residual: np.ndarray, margin: float | None) -> Figure:
    pick = np.linspace(0, len(value) - 1, min(MAX_POINTS, len(value))).astype(int)
    series = [Series(name="test rows", x=tuple(value[pick].tolist()), y=tuple(residual[pick].tolist()))]
    ends = (float(value.min()), float(value.max())) if len(value) else (0.0, 1.0)
    for name, level in (("none", 0.0),) if margin is None else (("upper", margin), ("lower", -margin)):
        series.append(Series(name=f"{name}", x=ends, y=(level, level), dashed=True))
    return Figure(
        title="Residuals against predictions",
        kind="scatter",
        series=tuple(series),
        x_label="prediction",
        y_label="true - predicted",
        caption="" if margin is None else f"Dashed: the {COVERAGE:.0%} interval.",
    )
