"""Truth tables as they come -> whole numbers, and the threshold units that compute them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from netwright.core.errors import UsageError
from netwright.nn.circuit import Unit, is_free
from netwright.nn.cover import Sum, two_layers
from netwright.nn.proof import MAX_PROVEN


def tables_of(table: Any) -> tuple[dict[str, int], int]:
    """Tables by output (the only one has no name), each a whole number whose bit r is the value of row r, and the number of variables.

    Raises:
        UsageError: it is no truth table, or has more than 20 variables; that is seen before its values are.

    >>> tables_of("0111")
    ({'': 14}, 2)
    """
    if isinstance(table, Mapping):
        if not table:
            raise UsageError("there is no table; expected at least one output")
        columns: dict[str, Any] = dict(table)
    else:
        columns = {"": table}
    sizes = {_variables(column) for column in columns.values()}
    if len(sizes) > 1:
        raise UsageError(f"the tables of a net have the same variables; these have {sorted(sizes)} of them")
    found: dict[str, int] = {}
    for name, column in columns.items():
        values = _values(column)
        if values.ndim == 1:
            found[name] = packed(values[:, None])[0]
        else:
            prefix = f"{name}_" if name else "y"
            found |= {f"{prefix}{k + 1}": one for k, one in enumerate(packed(values))}
    return found, sizes.pop()


def _variables(table: Any) -> int:
    """n of a table of 2^n rows, from its length alone."""
    try:
        rows = len(table)
    except TypeError:
        raise UsageError(
            f'a truth table is a string such as "0110", a sequence or an array; this is {type(table).__name__}'
        ) from None
    n = max(0, rows - 1).bit_length()
    if n > MAX_PROVEN:
        raise UsageError(
            f"the table has {rows:,} rows, more than {MAX_PROVEN} variables have (2^{MAX_PROVEN} = {1 << MAX_PROVEN:,}); "
            "an expression may have more: from_expression"
        )
    if rows != 1 << n:
        raise UsageError(f"the table has {rows:,} rows; n variables have 2^n, so 1, 2, 4, 8 and so on")
    return n


def _values(table: Any) -> np.ndarray:
    """(R,) or (R, outputs) of 0 and 1."""
    values = np.frombuffer(table.encode(), dtype=np.uint8) - ord("0") if isinstance(table, str) else np.asarray(table)
    if values.ndim not in (1, 2) or (values.ndim == 2 and not values.shape[1]):
        raise UsageError(f"a truth table has the shape (R,) or (R, outputs); this has {values.shape}")
    wrong = ~((values == 0) | (values == 1))
    if wrong.any():
        row = int(np.argwhere(wrong)[0][0])
        raise UsageError(f"a truth table holds 0 and 1; row {row} holds {table[row]!r}")
    return values.astype(np.uint8)


def packed(values: np.ndarray) -> list[int]:
    """Tables (R, outputs) as whole numbers."""
    return [int.from_bytes(np.packbits(column, bitorder="little").tobytes(), "little") for column in values.T]


def table_units(tables: Mapping[str, int], names: Sequence[str]) -> list[Unit]:
    """The units of all tables, hidden ones first, each there once."""
    n = len(names)
    prefix = next(p for k in itertools.count() if is_free(p := "h" + "_" * k, [*names, *tables]))
    layers = {name: two_layers(table, n) for name, table in tables.items()}
    places: dict[Sum, int] = {}
    for found in layers.values():
        for one in found.hidden:
            places.setdefault(one, n + len(places))
    units = [_unit(f"{prefix}{place - n + 1}", one.weights, one.threshold) for one, place in places.items()]
    for name, found in layers.items():
        weights = ((places[found.hidden[p - n]] if p >= n else p, w) for p, w in found.output.weights)
        units.append(_unit(name, weights, found.output.threshold))
    return units


def _unit(name: str, weights: Iterable[tuple[int, int]], threshold: int) -> Unit:
    pairs = list(weights)
    return Unit(name, tuple(p for p, _ in pairs), tuple(w for _, w in pairs), threshold)
