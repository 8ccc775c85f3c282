"""What a training costs against rows, weights and members: whether the lines are straight, and how steep they are."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from benchmarks.main_job import COMMAND, WORK, timed
from benchmarks.results import Result, Row
from netwright.workflow.cost_report import STRAIGHT, in_words
from netwright.workflow.curves import Cost, Curve

MINUTES = 4


def cost() -> Result:
    """`netwright cost` of the designed recipe on made-up rows."""
    shutil.rmtree(WORK / "cost", ignore_errors=True)
    done = timed(COMMAND, "cost", "--minutes", str(MINUTES), "--out", "cost")
    found = Cost.model_validate_json((WORK / "cost" / "cost.json").read_text(encoding="utf-8"))
    rows = [row for curve in found.curves for row in _rows(curve)]
    took = Row("whole command", f"{done.seconds:.0f} s; {done.peak_bytes / 2**30:.2f} GiB of memory at most")
    return Result(
        "cost",
        "What a training costs",
        [*rows, took],
        f"`netwright cost --minutes {MINUTES}`, one run, seed {found.seed}, {found.threads} thread(s): {found.recipe.template} of "
        f"{found.weights:,} weights, batches of {found.recipe.training.batch_size}. Lines t = a + b n by least squares of log t; slopes by "
        "least squares on both logarithms with 95 % intervals by Student's t. An epoch of more rows than the time allows is counted "
        "from a part of its steps.",
        [note for curve in found.curves for note in curve.notes],
    )


def _rows(curve: Curve) -> list[Row]:
    """Straightness, slope and words of one curve."""
    what, line = f"{curve.of} against {curve.against}", curve.line
    if line is None:
        return [Row(f"{what}: R2 of a + b n, log scale", "too few points", f">= {STRAIGHT}", False)]
    sizes = f"{len(curve.points)} sizes, {curve.points[0].size:,} to {curve.points[-1].size:,}"
    far = line.decades >= 2.9
    upper = line.upper
    return [
        Row(
            f"{what}: R2 of a + b n, log scale",
            f"{line.r2:.4f} ({sizes})",
            f">= {STRAIGHT} over three decades",
            line.r2 >= STRAIGHT and far,
        ),
        Row(
            f"slope of log time against log {curve.against} over the upper two decades",
            f"{upper.value:.3f} ({upper.low:.3f} to {upper.high:.3f})" if upper else "too few points",
        ),
        Row(f"{what}: a and b", in_words(curve)),
    ]


BENCHMARKS: dict[str, Callable[[], Result]] = {"cost": cost}
