"""The one shape in which everything that is asked of a network is answered."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from netwright.core.frozen import Frozen

Verdict = Literal["pass", "warn", "fail", "info"]
Mark = Literal["", "good", "bad"]
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


class Picture(Frozen):
    """One small picture on a sheet.

    Args:
        png: the picture as a PNG file in base64, at its own size; whoever shows it enlarges it without smoothing.
        caption: under it.
        heat: values over it, row by row from the top, positive and negative; empty for none. Any resolution.
        mark: "good" or "bad" where it shows a success or a failure.
    """

    png: str
    caption: str = ""
    heat: tuple[tuple[float, ...], ...] = ()
    mark: Mark = ""


class Tokens(Frozen):
    """One text in pieces, each with a weight that colours it (positive and negative; 0 leaves it plain).

    Args:
        pieces: in order; shown one after the other as they are, so they hold their own spaces.
        weights: one a piece.
        caption: above it. mark: as of `Picture`.
    """

    pieces: tuple[str, ...]
    weights: tuple[float, ...]
    caption: str = ""
    mark: Mark = ""


class Node(Frozen):
    """One node of a diagram.

    Args:
        id: by which links name it.
        label: what it is, such as "tanh" or "x1".
        note: a second line under it, such as its value, shape or threshold.
        level: its column, from the left, 0 first. Nodes of a level stand under each other in the order given.
        mark: "good" or "bad" where it is on or off, right or wrong.
    """

    id: str
    label: str
    note: str = ""
    level: int = 0
    mark: Mark = ""


class Link(Frozen):
    """An arrow of a diagram from one node to another (by id); `label` such as a weight or a derivative, `mark` as of `Node`."""

    source: str
    target: str
    label: str = ""
    mark: Mark = ""


class Figure(Frozen):
    """A figure as data: whoever shows it decides how it looks.

    "pictures" is a sheet of `pictures`, "tokens" a list of `texts`, "diagram" nodes and links; the other kinds draw `series`.
    `frames` are what the series become one after the other (each has as many series as `series`, which is what is seen on paper);
    `steps` name the frames.
    """

    title: str
    kind: Literal["line", "scatter", "bar", "heatmap", "pictures", "tokens", "diagram"]
    series: tuple[Series, ...] = ()
    frames: tuple[tuple[Series, ...], ...] = ()
    steps: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    texts: tuple[Tokens, ...] = ()
    nodes: tuple[Node, ...] = ()
    links: tuple[Link, ...] = ()
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
