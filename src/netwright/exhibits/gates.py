"""The gates of a trained GRU and LSTM over a sequence: they open where there is something to remember.

Each step brings a number, and now and then a mark: "remember this one". At every step the sign of the number that was marked last is
asked for. Numbers without a mark must not get in, and the remembered one must not fade.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from netwright.core.finding import Figure, Finding, Series, Table
from netwright.core.seed import derive, numpy_generator
from netwright.exhibits.program import main
from netwright.sequences.tagger import Tagger

UNITS = 8
SHOWN = {"gru": ("update", "reset"), "lstm": ("input", "forget", "output")}


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """Gates that open where there is something to remember."""
    steps, n, epochs = (16, 256, 25) if tiny else (24, 1024, 40)
    x, y = latches(n, steps, seed)
    x_test, y_test = latches(200, steps, derive(seed, "test"))
    scores, gates = {}, {}
    for cell in SHOWN:
        tagger = Tagger(
            cell=cell,
            width=UNITS,
            directions=1,
            dropout=0.0,
            epochs=epochs,
            learning_rate=0.03,
            random_state=seed % 2**31,
        )
        scores[cell] = tagger.fit(x, y).score(x_test, y_test)
        gates[cell] = tagger.gates(x_test)
    marked = np.array(x_test)[:, :, 1] > 0
    opened = {
        f"{cell} {gate}": (
            float(gates[cell][f"{gate}_l0"][marked].mean()),
            float(gates[cell][f"{gate}_l0"][~marked].mean()),
        )
        for cell, some in SHOWN.items()
        for gate in some
    }
    differs = all(opened[name][0] < opened[name][1] for name in ("lstm forget", "gru update"))
    return Finding(
        probe="gates",
        family="gallery",
        verdict="pass" if differs and min(scores.values()) > 0.9 else "fail",
        title=f"{scores['gru']:.1%} (GRU) and {scores['lstm']:.1%} (LSTM) of the steps are right; the LSTM's forget gate is "
        f"{opened['lstm forget'][0]:.2f} open at marks and {opened['lstm forget'][1]:.2f} elsewhere",
        measured={f"accuracy {cell}": share for cell, share in scores.items()}
        | {f"{name} at marks": pair[0] for name, pair in opened.items()}
        | {f"{name} elsewhere": pair[1] for name, pair in opened.items()},
        expected="more than nine steps in ten right; update and forget gates less open at marks than elsewhere",
        why="A row is a unit, a column a step; dark is open. At a mark (1 in the row of marks) the update gate of the GRU falls, "
        "which lets the new number in, and between marks it stays higher, which keeps the old state. In the LSTM it is the "
        "forget gate that falls, which empties the cell, while it stays open between marks; its input and output gates share the "
        "rest of the work among the units, each in its own way.",
        tables=(
            Table(
                title="How far gates are open",
                columns=("gate", "at marks", "elsewhere"),
                rows=tuple((name, *pair) for name, pair in opened.items()),
            ),
        ),
        figures=tuple(gate_figure(cell, gates[cell], x_test[0]) for cell in SHOWN),
        reference="Hochreiter and Schmidhuber (1997); Cho et al. (2014)",
    )


def latches(n: int, steps: int, seed: int) -> tuple[list[Any], list[Any]]:
    """Sequences of (number, mark), the first step marked, and at each step the sign of the number that was marked last."""
    rng = numpy_generator(seed, "latches")
    numbers = rng.choice([-1.0, 1.0], (n, steps)) * rng.uniform(0.5, 1.5, (n, steps))
    marks = rng.random((n, steps)) < 0.2
    marks[:, 0] = True
    last = np.maximum.accumulate(np.where(marks, np.arange(steps), 0), 1)
    held = np.take_along_axis(numbers, last, 1) > 0
    return list(np.stack([numbers, marks], -1)), list(np.where(held, "plus", "minus"))


def gate_figure(cell: str, gates: dict[str, np.ndarray], row: np.ndarray) -> Figure:
    """Marks and gates of one sequence, a heat map each."""
    t = tuple(range(1, len(row) + 1))
    units = tuple(f"unit {k + 1}" for k in range(UNITS))
    maps = [Series(name="marks", x=t, y=("mark",), z=(tuple(map(float, row[:, 1])),))]
    for gate in SHOWN[cell]:
        values = gates[f"{gate}_l0"][0].T
        maps.append(Series(name=f"{gate} gate", x=t, y=units, z=tuple(tuple(map(float, line)) for line in values)))
    return Figure(title=f"Gates of the {cell.upper()}", kind="heatmap", series=tuple(maps), x_label="step")


if __name__ == "__main__":
    main(exhibit)
