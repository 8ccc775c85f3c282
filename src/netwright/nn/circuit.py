"""Boolean formulas -> threshold units with weights -1 and +1: negations vanish into the weights, chains become one unit."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from netwright.nn.boolean import Formula

WIDEST_PARITY = 16
"""Operands of one xor; more are taken in groups, for k operands take k (k + 1) links."""
_TRUE, _FALSE = 0, 1


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit that gives 1 where the weighted sum of its sources is at least its threshold, and 0 else.

    Args:
        name: of the unit.
        sources: places of its inputs: the variables first, then the units before it.
        weights: -1 or +1, one a source.
        threshold: a whole number.
    """

    name: str
    sources: tuple[int, ...]
    weights: tuple[int, ...]
    threshold: int

    def opposite(self) -> Unit:
        """The unit that gives 1 where this one gives 0: s < t is the same as -s >= 1 - t for whole numbers."""
        return Unit(self.name, self.sources, tuple(-w for w in self.weights), 1 - self.threshold)


class Circuit:
    """Conjunctions and parities of literals, each there once. A literal is twice the number of its node, plus 1 where negated.

    Node 0 is true, nodes 1 to n are the variables; a gate comes after its operands.

    >>> circuit = Circuit(["a", "b"])
    >>> xor = circuit.parity([circuit.literals["a"], circuit.literals["b"]])
    >>> [unit.threshold for unit in circuit.units({"y": xor})]
    [1, 2, 1]
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.literals = {name: 2 * (i + 1) for i, name in enumerate(names)}
        self.gates: dict[int, tuple[str, tuple[int, ...]]] = {}
        self._known: dict[tuple[str, tuple[int, ...]], int] = {}

    def add(self, formula: Formula) -> int:
        """The literal of a formula."""
        stack: list[int] = []
        for what, argument in formula.program:
            if what == "name":
                stack.append(self.literals[argument])
            elif what == "constant":
                stack.append(_TRUE if argument else _FALSE)
            else:
                operands = stack[-argument:]
                del stack[-argument:]
                stack.append(self._operation(what, operands))
        return stack.pop()

    def _operation(self, what: str, operands: list[int]) -> int:
        if what == "not":
            return operands[0] ^ 1
        if what == "and":
            return self.conjunction(operands)
        if what == "or":
            return self.conjunction([x ^ 1 for x in operands]) ^ 1
        if what == "implies":
            return self.conjunction([*operands[:-1], operands[-1] ^ 1]) ^ 1
        parity = self.parity(operands)
        return parity ^ (what == "iff" and len(operands) % 2 == 0)

    def conjunction(self, operands: Sequence[int]) -> int:
        """The literal that is true where all operands are."""
        found: dict[int, None] = {}
        for x in operands:
            kind, within = self.gates.get(x >> 1, ("", ()))
            found.update(dict.fromkeys(within if kind == "and" and not x & 1 else (x,)))
        found.pop(_TRUE, None)
        if _FALSE in found or any(x ^ 1 in found for x in found):
            return _FALSE
        return self._gate("and", tuple(found)) if len(found) > 1 else next(iter(found), _TRUE)

    def parity(self, operands: Sequence[int]) -> int:
        """The literal that is true where an odd number of operands is."""
        nodes: Counter[int] = Counter()
        odd = 0
        for x in operands:
            kind, within = self.gates.get(x >> 1, ("", ()))
            odd ^= x & 1
            nodes.update(within if kind == "xor" else (x & ~1,))
        odd ^= nodes.pop(_TRUE, 0) % 2
        left = [x for x, times in nodes.items() if times % 2]
        whole = self._gate("xor", tuple(left)) if len(left) > 1 else left[0] if left else _FALSE
        return whole ^ odd

    def _gate(self, kind: str, operands: tuple[int, ...]) -> int:
        key = (kind, tuple(sorted(operands)))
        if key not in self._known:
            node = len(self.names) + 1 + len(self.gates)
            self.gates[node] = (kind, operands)
            self._known[key] = 2 * node
        return self._known[key]

    def units(self, outputs: Mapping[str, int]) -> list[Unit]:
        """Units in an order in which each follows its sources; those of `outputs` bear their names."""
        return _Builder(self, outputs).units


def is_free(prefix: str, taken: Sequence[str]) -> bool:
    """Whether no name is this prefix and a number."""
    return not any(name.startswith(prefix) and name[len(prefix) :].isdigit() for name in taken)


class _Builder:
    """Decides for each gate whether its unit gives the gate or its opposite, and writes the units down."""

    def __init__(self, circuit: Circuit, outputs: Mapping[str, int]) -> None:
        self.circuit = circuit
        self.units: list[Unit] = []
        taken = [*circuit.names, *outputs]
        self.prefix = next(p for k in itertools.count() if is_free(p := "h" + "_" * k, taken))
        self.hidden = 0
        self.given = {i + 1: (i, False) for i in range(len(circuit.names))}
        self.places: dict[tuple[frozenset[tuple[int, int]], int], int] = {}
        self.counters: dict[int, tuple[list[int], bool]] = {}
        wanted = dict(outputs)
        uses = self._uses(outputs)
        for node in sorted(uses):
            same = [name for name, x in wanted.items() if x >> 1 == node]
            negated = uses[node][1] > uses[node][0]
            name = next((n for n in same if wanted[n] & 1 == negated), same[0] if same else "")
            negated = bool(wanted.pop(name) & 1) if name else negated
            self.given[node] = (self._write(node, negated, name), negated)
        for name, x in wanted.items():
            self._write(x >> 1, bool(x & 1), name)

    def _uses(self, outputs: Mapping[str, int]) -> dict[int, list[int]]:
        """Node of each gate that another gate needs -> how often it, and its opposite, is needed.

        From the outputs down: of a conjunction whose opposite is built, the operands are needed the other way round, for not (a and b) is
        (not a) or (not b).
        """
        votes: dict[int, list[int]] = {}
        inner: set[int] = set()
        for x in outputs.values():
            votes.setdefault(x >> 1, [0, 0])[x & 1] += 1
        for node in sorted(self.circuit.gates, reverse=True):
            if node not in votes:
                continue
            kind, operands = self.circuit.gates[node]
            opposite = kind == "and" and votes[node][1] > votes[node][0]
            for x in operands:
                if x >> 1 in self.circuit.gates:
                    votes.setdefault(x >> 1, [0, 0])[x & 1 ^ opposite] += 1
                    inner.add(x >> 1)
        return {node: votes[node] for node in inner}

    def _write(self, node: int, negated: bool, name: str = "") -> int:
        """The unit of a node or of its opposite; its place among the values."""
        kind, operands = self.circuit.gates.get(node, ("and", (2 * node,) if node else ()))
        if kind == "and":
            inputs = [self._input(x) for x in operands]
            weights = tuple(w for _, w in inputs)
            unit = Unit(name, tuple(p for p, _ in inputs), weights, weights.count(1))
        else:
            counters, odd = self._counters(node, operands)
            unit, negated = _odd(name, counters), negated ^ odd
        return self._append(unit.opposite() if negated else unit)

    def _input(self, literal: int) -> tuple[int, int]:
        """The place and the weight by which a literal enters a sum."""
        place, inverted = self.given[literal >> 1]
        return place, -1 if inverted != bool(literal & 1) else 1

    def _counters(self, node: int, operands: tuple[int, ...]) -> tuple[list[int], bool]:
        """Units that count at least 1, 2, ... k of the operands, and whether an odd number of these comes as its opposite."""
        if node not in self.counters:
            inputs = [self._input(x) for x in operands]
            odd = sum(w < 0 for _, w in inputs) % 2 == 1
            self.counters[node] = self._count(self._narrowed([p for p, _ in inputs])), odd
        return self.counters[node]

    def _narrowed(self, places: list[int]) -> list[int]:
        """At most `WIDEST_PARITY` places with the same parity."""
        while len(places) > WIDEST_PARITY:
            groups = [places[i : i + WIDEST_PARITY] for i in range(0, len(places), WIDEST_PARITY)]
            places = [self._append(_odd("", self._count(group))) for group in groups]
        return places

    def _count(self, places: list[int]) -> list[int]:
        ones = (1,) * len(places)
        return [self._append(Unit("", tuple(places), ones, least)) for least in range(1, len(places) + 1)]

    def _append(self, unit: Unit) -> int:
        """The place of a unit; one without a name gets the next name, unless there is one like it."""
        key = (frozenset(zip(unit.sources, unit.weights, strict=True)), unit.threshold)
        if unit.name or key not in self.places:
            self.hidden += not unit.name
            self.units.append(replace(unit, name=unit.name or f"{self.prefix}{self.hidden}"))
            self.places[key] = len(self.circuit.names) + len(self.units) - 1
        return self.places[key]


def _odd(name: str, counters: Sequence[int]) -> Unit:
    """Of counters of at least 1, 2, ... k the unit that is on where an odd number is: they are added with alternating signs."""
    return Unit(name, tuple(counters), tuple(1 - 2 * (k % 2) for k in range(len(counters))), 1)
