"""What a training costs, in words: a finding with table and figure for each curve, and the page that holds them."""

from __future__ import annotations

import json

import numpy as np

from netwright.core.finding import Figure, Finding, Series, Table
from netwright.report.page import Page, Section
from netwright.report.text import duration
from netwright.workflow.curves import Cost, Curve, Slope

STRAIGHT = 0.98
"""R^2 of the line on the logarithmic scale from which it is called straight."""
PER = {"rows": 1000, "weights": 1000, "members": 1}
"""How many of them the words count at a time."""
_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def short(seconds: float) -> str:
    """A time of any size, with two digits.

    >>> [short(s) for s in (0.0123, 4.2e-7, 1.0, 0.0, 75.0)]
    ['12 ms', '420 ns', '1 s', '0 s', '75 s']
    """
    size, unit = next((u for u in _UNITS if seconds >= 0.995 * u[0]), _UNITS[-1] if seconds else _UNITS[0])
    value = seconds / size
    return f"{value:.0f} {unit}" if value >= 9.95 else f"{value:.2g} {unit}"


def in_words(curve: Curve) -> str:
    """The line of a curve as a sentence: what is there whatever the size, and what comes with size."""
    line, per = curve.line, PER[curve.against]
    if line is None:
        return f"too few points against {curve.against} for a line"
    one = curve.against.removesuffix("s") if per == 1 else f"{per:,} {curve.against}"
    whatever = "their number" if per == 1 else "the size"
    grows = f"{short(line.each * per)} per {one}"
    if line.constant < 0.05 * line.at([curve.points[0].size])[0]:
        return f"{curve.of} takes {grows}"
    if line.each * curve.points[-1].size < 0.05 * line.constant:
        return f"{curve.of} takes {short(line.constant)} whatever {whatever}, up to {curve.points[-1].size:,} {curve.against}"
    return f"{curve.of} takes {short(line.constant)} whatever {whatever}, and {grows}"


def finding(curve: Curve, cost: Cost) -> Finding:
    """A curve as a finding: passes where the line is straight."""
    line = curve.line
    straight = line is not None and line.r2 >= STRAIGHT
    measured: dict[str, str | float] = {}
    if line is not None:
        measured = {
            "constant_seconds": float(f"{line.constant:.3g}"),
            f"seconds_per_{curve.against.removesuffix('s')}": float(f"{line.each:.3g}"),
            "r2": round(line.r2, 4),
            "slope": _slope(line.slope),
            "decades": round(line.decades, 2),
        }
        if line.upper is not None:
            measured["slope_of_the_upper_two_decades"] = _slope(line.upper)
    stops = "; ".join(curve.notes)
    return Finding(
        probe=f"cost-of-{curve.against}",
        family="cost",
        verdict="info" if line is None else "pass" if straight else "warn",
        title=in_words(curve) + (f"; {stops}" if stops else ""),
        measured=measured,
        expected=f"t = a + b n, with an R2 of {STRAIGHT} or more on the logarithmic scale",
        why=_WHY[curve.against],
        todo=""
        if straight or line is None
        else "Measure again when the machine has less else to do, or with more --minutes.",
        tables=(_table(curve, cost),) if curve.points else (),
        figures=(_figure(curve),) if curve.points else (),
        seed=cost.seed,
    )


_BENT = "Measure again when the machine has less else to do, or with more --minutes. If it bends again, go by the table, not by the line."
_WHY = {
    "rows": "An epoch over ten times the rows should take ten times as long: then the time for all rows is known from a few.",
    "weights": "Small networks wait for Python, not for arithmetic: up to the bend, a wider one costs next to nothing.",
    "members": "Networks that are trained side by side share what a step costs whatever their number; in turn they share nothing.",
}


def _slope(slope: Slope) -> str:
    return f"{slope.value:.2f} ({slope.low:.2f} to {slope.high:.2f})"


def _table(curve: Curve, cost: Cost) -> Table:
    option = [cost.sized or "option"] * any(p.option is not None for p in curve.points)
    rows = []
    for p in curve.points:
        steps = f"{p.steps:,}" + (
            f" of {p.epoch_steps:,}" if curve.against == "rows" and p.steps < p.epoch_steps else ""
        )
        line = None if curve.line is None else curve.line.at([p.size])[0]
        cells = [1000 * v for v in (p.seconds, p.low, p.high)] + [None if line is None else 1000 * line]
        rows.append((f"{p.size:,}", *([p.option] if option else []), *(_ms(v) for v in cells), steps, p.repeats))
    columns = (curve.against, *option, f"ms {curve.of}", "from", "to", "line", "steps timed", "repetitions")
    return Table(title=f"Time of {curve.of} against {curve.against}, quartiles", columns=columns, rows=tuple(rows))


def _ms(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _figure(curve: Curve) -> Figure:
    points, line = curve.points, curve.line
    x = tuple(p.size for p in points)
    ms = [tuple(1000 * v for v in values) for values in zip(*((p.seconds, p.low, p.high) for p in points), strict=True)]
    series = [Series(name="measured, with quartiles", x=x, y=ms[0], low=ms[1], high=ms[2])]
    caption = ""
    if line is not None:
        across = [float(v) for v in np.geomspace(x[0], x[-1], 61)]
        fitted = tuple(1000 * v for v in line.at(across))
        series.append(Series(name="a + b n", x=tuple(across), y=fitted, dashed=True))
        centre = float(np.log([p.seconds for p in points]).mean() - line.slope.value * np.log(x).mean())
        power = tuple(float(1000 * np.exp(centre + line.slope.value * np.log(v))) for v in across)
        series.append(Series(name=f"slope {line.slope.value:.2f}", x=tuple(across), y=power, dashed=True))
        caption = f"{in_words(curve)}. R2 on the logarithmic scale: {line.r2:.3f}; slope {_slope(line.slope)}"
        caption += f", over the upper two decades {_slope(line.upper)}." if line.upper else "."
    return Figure(
        title=f"Time of {curve.of} against {curve.against}",
        kind="line",
        series=tuple(series),
        x_label=curve.against,
        y_label=f"ms {curve.of}",
        log_x=True,
        log_y=True,
        caption=caption,
    )


def page(cost: Cost, command: str) -> Page:
    """The page of a measurement; `command` repeats it."""
    findings = tuple(finding(curve, cost) for curve in cost.curves)
    recipe = cost.recipe
    shape = ", ".join(f"{k} {recipe.options[k]}" for k in ("width", "depth", "buckets") if k in recipe.options)
    straight = [c.against for c in cost.curves if c.line is not None and c.line.r2 >= STRAIGHT]
    words = [in_words(c) for c in cost.curves if c.line is not None]
    return Page(
        title=f"What a training costs: {recipe.name}",
        subtitle="Seconds against rows, against weights and against members",
        verdict=". ".join(w[0].upper() + w[1:] for w in words) + ("." if words else ""),
        facts={
            "recipe": f"{recipe.template}" + (f" ({shape})" if shape else ""),
            "weights": cost.weights,
            "batch size": recipe.training.batch_size,
            "data": f"{cost.data}, {cost.rows:,} training rows",
            "threads": cost.threads,
            "took": duration(cost.seconds),
            "straight lines": f"{len(straight)} of {len(cost.curves)}"
            + (f": {', '.join(straight)}" if straight else ""),
        },
        sections=(
            Section(
                id="cost",
                title="Time against size",
                lead="Optimiser steps alone, without evaluation. Rows are drawn with repetition from the training rows; weights come "
                f"from the template's {cost.sized or 'options'}; members are networks from other starts, trained side by side where "
                "they can be. The dashed lines are a constant plus a proportional part, and a power of the size.",
                findings=findings,
            ),
        ),
        commands=(command,),
        reproduce="The sizes and the networks are the same each time; the times are those of this machine and of what else it did.",
        raw={"recipe": json.loads(recipe.model_dump_json())},
    )
