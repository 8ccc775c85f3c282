"""What a threshold net is compared with: expressions and tables, on runs of rows in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from netwright.core.errors import UsageError, unknown
from netwright.nn.boolean import Formula
from netwright.nn.proof import Rows

Reference = Callable[[Rows], list[np.ndarray]]
"""Run of rows -> the right outputs, (W,) words each."""


def reference_of(given: Mapping[str, Formula | int], outputs: Sequence[str], names: Sequence[str]) -> Reference:
    """The right outputs by formula or by table (a whole number), one an output.

    Raises:
        UsageError: an output has none, or there is one too many; a formula has a variable that is not among `names`.
    """
    if set(given) != set(outputs):
        came = ", ".join(given) or "none"
        raise UsageError(f"the outputs are {', '.join(outputs)}; expected an expression for each, came {came}")
    formulas = {name: one for name, one in given.items() if isinstance(one, Formula)}
    for name in (name for formula in formulas.values() for name in formula.names):
        if name not in names:
            raise UsageError(unknown("variable", name, names))
    tables = {name: words_of(one, len(names)) for name, one in given.items() if isinstance(one, int)}

    def reference(rows: Rows) -> list[np.ndarray]:
        values = dict(zip(names, rows.inputs, strict=True))
        one = np.full(rows.words, 2**64 - 1, dtype=np.uint64)
        first = rows.first // 64
        return [
            formulas[name].evaluate(values, one) if name in formulas else tables[name][first : first + rows.words]
            for name in outputs
        ]

    return reference


def words_of(table: int, n: int) -> np.ndarray:
    """A table of n variables in words, (max(1, 2^n / 64),) uint64."""
    return np.frombuffer(table.to_bytes(max(8, (1 << n) // 8), "little"), dtype="<u8").astype(np.uint64)
