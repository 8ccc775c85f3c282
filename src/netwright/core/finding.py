"""The one shape in which everything that is asked of a network is answered."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from netwright.core.frozen import Frozen

Verdict = Literal["pass", "warn", "fail", "info"]
_NOT_FINITE = {"NaN", "Infinity", "-Infinity"}


def _from_json(cell: Any) -> Any:
    """JSON has no word for these numbers, so they are stored as strings: back to numbers."""
    return float(cell) if isinstance(cell, str) and cell in _NOT_FINITE else cell


Cell = Annotated[str | int | float | bool | None, BeforeValidator(_from_json)]


class Table(Frozen):
    """Rows of plain cells under named columns."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


class Series(Frozen):
    """One line, set of points, bars, or a heat map (`z`) of a figure; `low` and `high` draw intervals."""

    name: str = ""
    x: tuple[Cell, ...] = ()
    y: tuple[Cell, ...] = ()
    z: tuple[tuple[float | None, ...], ...] = ()
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    hover: tuple[str, ...] = ()
    dashed: bool = False


class Figure(Frozen):
    """A figure as data: whoever shows it decides how it looks."""

    title: str
    kind: Literal["line", "scatter", "bar", "heatmap"]
    series: tuple[Series, ...]
    x_label: str = ""
    y_label: str = ""
    log_x: bool = False
    log_y: bool = False
    caption: str = ""


class Finding(Frozen):
    """What a probe found out.

    Args:
        probe: name of the probe's entry.
        family: package of the probe ("checks", "baselines", "robust", "explain", ...).
        verdict: `pass`, `warn`, `fail`, or `info` where nothing is judged.
        title: the outcome in one line.
        measured: named values that were measured, units in the names.
        expected: what they were held against.
        why: why it matters.
        todo: what to do next; empty where there is nothing to do.
        gate: whether a `fail` of it stops a recipe.
        reference: paper and year.
        seconds: what it cost.
    """

    probe: str
    family: str
    verdict: Verdict
    title: str
    measured: dict[str, Cell] = {}
    expected: str = ""
    why: str = ""
    todo: str = ""
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    gate: bool = False
    reference: str = ""
    seconds: float = 0.0
    seed: int | None = None

    @property
    def stops(self) -> bool:
        """Whether this finding stops a recipe."""
        return self.gate and self.verdict == "fail"
