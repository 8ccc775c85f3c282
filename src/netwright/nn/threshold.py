"""Nets of binary threshold units (McCulloch and Pitts): made of any boolean expression or truth table, and proven equal to it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from netwright.core.errors import UsageError, unknown
from netwright.core.finding import Figure
from netwright.nn.boolean import Formula, parse
from netwright.nn.circuit import Circuit, Unit
from netwright.nn.proof import Proof, Rows, compare, must_be_few, on_all_inputs
from netwright.nn.reference import Reference, reference_of
from netwright.nn.tables import packed, table_units, tables_of
from netwright.nn.unit_text import diagram_of, text_of

MAX_VALUES = 1 << 24
"""Values of units that are held at once; more rows go through in turn."""
_FEWER = "Ask the net about inputs of your choice, net(x), or prove parts of the expression that have fewer."


class ThresholdNet(nn.Module):
    r"""Units that give 1 where \sum_i w_i x_i >= theta and 0 else, w_i in {-1, +1}, theta a whole number; nothing is learned.

    Shapes: x (N, variables) of zeros and ones -> (N, outputs), of the type of x. A link may jump over levels; `depth` is the largest
    number of units from an input to an output.

    Made by `from_expression` or `from_truth_table`; `names` are the variables, `outputs` the outputs.

    Source: McCulloch and Pitts (1943), "A logical calculus of the ideas immanent in nervous activity", where one active inhibitory
    input keeps a unit silent; here, as is usual today, it subtracts 1.

    >>> net = ThresholdNet.from_expression("(a & ~b) | c")
    >>> print(net)
    2 units, depth 2, inputs a, b, c
      h1 = [a - b >= 1]
      y  = [h1 + c >= 1]
    >>> print(net.prove())
    equal on all 8 inputs
    """

    def __init__(self, names: Sequence[str], units: Sequence[Unit], outputs: Mapping[str, int]) -> None:
        super().__init__()
        self.names, self.units, self.outputs = tuple(names), tuple(units), dict(outputs)
        self._reference: Mapping[str, Formula | int] = {}
        self.levels = self._levels()
        self.depth = max((self.levels[place] for place in self.outputs.values()), default=0)
        self._lay_out()

    def _levels(self) -> list[int]:
        """Level of each place: 0 for variables, one more than the highest source for units, at least 1."""
        levels = [0] * len(self.names)
        for unit in self.units:
            levels.append(1 + max((levels[s] for s in unit.sources), default=0))
        return levels

    def _lay_out(self) -> None:
        """Level by level a matrix of weights over the columns that the level reads; units stand in columns by level."""
        n = len(self.names)
        order = sorted(range(n, n + len(self.units)), key=lambda place: self.levels[place])
        self._column = {place: k for k, place in enumerate([*range(n), *order])}
        for level, places in itertools.groupby(order, key=lambda place: self.levels[place]):
            units = [self.units[place - n] for place in places]
            sources = np.array([self._column[s] for unit in units for s in unit.sources], dtype=np.int64)
            rows = np.repeat(np.arange(len(units)), [len(unit.sources) for unit in units])
            read, at = np.unique(sources, return_inverse=True)
            weights = np.zeros((len(units), len(read)), dtype=np.int8)
            weights[rows, at] = [w for unit in units for w in unit.weights]
            thresholds = np.array([unit.threshold for unit in units], dtype=np.int64)
            self.register_buffer(f"sources_{level}", torch.from_numpy(read))
            self.register_buffer(f"weights_{level}", torch.from_numpy(weights))
            self.register_buffer(f"thresholds_{level}", torch.from_numpy(thresholds))
        self.register_buffer("read_out", torch.tensor([self._column[place] for place in self.outputs.values()]))

    # --- made of --------------------------------------------------------------------------------------------------------

    @classmethod
    def from_expression(cls, expression: str | Mapping[str, str], *, names: Sequence[str] | None = None) -> Self:
        """A net that computes an expression, or several that share their units.

        Operators, the tightest first: ~ ! not; & and; ^ xor; | or; -> implies; == iff; parentheses; 0, 1, false, true. Negations become
        weights of -1; a chain of & or | becomes one unit; a ^ b becomes "at least one, but not two".

        Args:
            expression: such as "a & ~b", or a mapping from names of outputs to expressions.
            names: the variables in the order of the inputs; None for the order in which they first appear.

        Raises:
            UsageError: it does not parse (the position is shown), or a variable is not among `names`.

        >>> adder = ThresholdNet.from_expression({"sum": "a ^ b", "carry": "a & b"})
        >>> adder(torch.tensor([[1, 1], [0, 1]])).tolist()
        [[0, 1], [1, 0]]
        """
        formulas = {name: parse(text) for name, text in _named(expression)}
        found = list(dict.fromkeys(name for formula in formulas.values() for name in formula.names))
        names = _checked_names(found if names is None else names)
        for name in found:
            if name not in names:
                raise UsageError(unknown("variable", name, names))
        formulas = _free_names(formulas, names)
        circuit = Circuit(names)
        units = circuit.units({name: circuit.add(formula) for name, formula in formulas.items()})
        place = {unit.name: len(names) + k for k, unit in enumerate(units)}
        net = cls(names, units, {name: place[name] for name in formulas})
        net._reference = formulas
        return net

    @classmethod
    def from_truth_table(cls, table: Any, *, names: Sequence[str] | None = None) -> Self:
        """A net of at most two layers that computes a truth table.

        Where the table only counts literals (and, or, majority, xor of any number of variables) units count; else a unit a product,
        of an irredundant sum of products of the table or of its opposite. A single literal goes straight to the output.

        Args:
            table: a value of 0 or 1 for each input: a string such as "0110", a sequence, an array (R,) or (R, outputs) with R = 2^n, or a
                mapping from names of outputs to such. In row r the variables are the binary digits of r, the first one highest.
            names: the variables; None for x1, x2, ...

        Raises:
            UsageError: R is no power of two or above 2^20 (more than 20 variables), or a value is not 0 or 1.

        >>> print(ThresholdNet.from_truth_table("0110"))
        3 units, depth 2, inputs x1, x2
          h1 = [x1 + x2 >= 1]
          h2 = [x1 + x2 >= 2]
          y  = [h1 - h2 >= 1]
        """
        tables, n = tables_of(table)
        names = _checked_names([f"x{i + 1}" for i in range(n)] if names is None else names)
        if len(names) != n:
            raise UsageError(f"the table has {1 << n} rows, that is {n} variables; names has {len(names)}")
        tables = _free_names(tables, names)
        units = table_units(tables, names)
        place = {unit.name: n + k for k, unit in enumerate(units)}
        net = cls(names, units, {name: place[name] for name in tables})
        net._reference = tables
        return net

    # --- evaluated ------------------------------------------------------------------------------------------------------

    def forward(self, x: Tensor) -> Tensor:
        """Zeros and ones (N, variables) -> (N, outputs)."""
        if x.ndim != 2 or x.shape[1] != len(self.names):
            raise UsageError(f"expected inputs (N, {len(self.names)}), one column a variable; came {tuple(x.shape)}")
        if not torch.compiler.is_exporting() and not bool(((x == 0) | (x == 1)).all()):
            raise UsageError("a threshold net takes zeros and ones; compare numbers with a limit first, as in x > 0.5")
        rows = max(1, MAX_VALUES // max(1, len(self.levels)))
        parts = [self._values(part)[:, self.get_buffer("read_out")] for part in torch.split(x, rows)]
        return torch.cat(parts).to(x.dtype)

    def _values(self, x: Tensor) -> Tensor:
        """(N, variables) -> (N, variables and units), units by level. Sums of fewer than 2^24 ones are exact in float32."""
        values = x.float()
        for level in range(1, max(self.levels, default=0) + 1):
            read, weights = self.get_buffer(f"sources_{level}"), self.get_buffer(f"weights_{level}")
            sums = values[:, read] @ weights.to(values.dtype).T
            values = torch.cat([values, (sums >= self.get_buffer(f"thresholds_{level}")).to(values.dtype)], 1)
        return values

    def values(self, inputs: Mapping[str, Any] | Sequence[Any] | Tensor) -> dict[str, int]:
        """The value of each variable and each unit for one input: a mapping by name, or values in the order of `names`.

        >>> ThresholdNet.from_truth_table("0110").values({"x1": 1, "x2": 1})
        {'x1': 1, 'x2': 1, 'h1': 1, 'h2': 1, 'y': 0}
        """
        if isinstance(inputs, Mapping):
            for name in inputs:
                if name not in self.names:
                    raise UsageError(unknown("variable", str(name), self.names))
            if missing := [name for name in self.names if name not in inputs]:
                raise UsageError(f"no value for {', '.join(missing)}; each variable needs a 0 or a 1")
            inputs = [inputs[name] for name in self.names]
        row = torch.as_tensor(inputs).reshape(1, -1).to(self.get_buffer("read_out").device)
        self(row)  # refuses what is no row of zeros and ones
        found = self._values(row)[0].int().tolist()
        names = [*self.names, *(unit.name for unit in self.units)]
        return {name: found[self._column[place]] for place, name in enumerate(names)}

    def truth_table(self) -> np.ndarray:
        """The outputs (2^n, outputs) for all inputs, uint8; row r holds the inputs that are the binary digits of r.

        Raises:
            UsageError: there are more than 20 variables.
        """
        must_be_few(len(self.names), "a truth table", "Ask the net about inputs of your choice: net(x).")
        columns = [
            np.concatenate([np.unpackbits(w.astype("<u8").view(np.uint8), bitorder="little") for w in words])
            for words in zip(*(found for _, found in self._on_all_inputs()), strict=True)
        ]
        return np.stack(columns, 1)[: 1 << len(self.names)]

    # --- proven and shown -----------------------------------------------------------------------------------------------

    def prove(self, against: str | Mapping[str, str] | ThresholdNet | None = None) -> Proof:
        """Compare the outputs with what the net was made of on all 2^n inputs, 64 at a time.

        Args:
            against: an expression (or a mapping, or a net) to compare with instead, of the same variables or of some of them.

        Raises:
            UsageError: there are more than 20 variables, or the outputs have other names.

        >>> net = ThresholdNet.from_expression("a -> b")
        >>> print(net.prove("~a | b"), net.prove("a | b"), sep="; ")
        equal on all 4 inputs; different on 2 of 4 inputs, first where a = 0, b = 0
        """
        must_be_few(len(self.names), "a proof", _FEWER)
        reference = self._reference_for(against)
        return compare(self.names, ((rows, found, reference(rows)) for rows, found in self._on_all_inputs()))

    def _on_all_inputs(self) -> Iterator[tuple[Rows, list[np.ndarray]]]:
        return on_all_inputs(self.units, list(self.outputs.values()), len(self.names))

    def _reference_for(self, against: str | Mapping[str, str] | ThresholdNet | None) -> Reference:
        if isinstance(against, ThresholdNet):
            if against.names != self.names or len(against.outputs) != len(self.outputs):
                raise UsageError(
                    f"expected a net of the inputs {', '.join(self.names)} with {len(self.outputs)} outputs; came one of the inputs "
                    f"{', '.join(against.names)} with {len(against.outputs)}; names= of from_expression sets the inputs"
                )
            given = dict(zip(self.outputs, packed(against.truth_table()), strict=True))
            return reference_of(given, list(self.outputs), self.names)
        if isinstance(against, str):
            against = {(list(self.outputs) if len(self.outputs) == 1 else ["y"])[0]: against}
        formulas = self._reference if against is None else {name: parse(text) for name, text in against.items()}
        return reference_of(formulas, list(self.outputs), self.names)

    def diagram(self, inputs: Mapping[str, Any] | Sequence[Any] | None = None) -> Figure:
        """The net as a figure: units with their thresholds, links with their weights, and the values for one input where it is given.

        Raises:
            UsageError: the net has too many units to be drawn.
        """
        return diagram_of(self.names, self.units, self.levels, None if inputs is None else self.values(inputs))

    def text(self, most: int = 200) -> str:
        """The net as text, a unit a line, the first `most` of them."""
        return text_of(self.names, self.units, self.depth, most)

    def __str__(self) -> str:
        return self.text()

    def extra_repr(self) -> str:
        return f"{len(self.names)} inputs, {len(self.units)} units, depth {self.depth}, {len(self.outputs)} outputs"


def _named(expression: str | Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if isinstance(expression, Mapping):
        if not expression:
            raise UsageError("there is no expression; expected at least one output")
        yield from expression.items()
    else:
        yield "", expression


def _checked_names(names: Sequence[str]) -> tuple[str, ...]:
    names = tuple(names)
    if isinstance(names, str) or not all(isinstance(name, str) and name for name in names):
        raise UsageError(f"names are strings, one a variable; came {names!r}")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"the variable {twice!r} is named twice")
    return names


def _free_names(outputs: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Outputs by name; one without a name is y, or y_ where a variable is called y."""
    found = {}
    for name, what in outputs.items():
        if name in names:
            raise UsageError(f"the output {name!r} has the name of a variable; give it another one")
        free = "y"
        while free in names:
            free += "_"
        found[name or free] = what
    return found
