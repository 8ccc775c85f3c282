"""A computation as a graph: what each node holds, how each edge passes a change on, and the sum over paths that this makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from netwright.core import finding
from netwright.core.errors import UsageError, unknown
from netwright.report.text import cell

MOST_PATHS = 10_000
"""Paths from one input that are added up one by one; where there are more the backward pass answers."""
SHOWN_PATHS = 12
"""Paths from one input that are printed."""
LONGEST = 24
"""Characters of an operation in a diagram, whose arguments the arrows show anyway."""


@dataclass(frozen=True)
class Node:
    """One value.

    Args:
        name: by which edges and operations call it.
        operation: how it came about, such as "log(n1)"; empty for an input.
        value: of any shape, float64.
    """

    name: str
    operation: str
    value: np.ndarray

    @property
    def shown(self) -> str:
        """Its value; of several numbers their shape and norm."""
        return shown(self.value, self.value.shape)


@dataclass(frozen=True)
class Edge:
    """From a value to one that is computed of it directly.

    Args:
        source, target: names.
        derivative: d target / d source where all other arguments stay, (numbers of the target, numbers of the source).
    """

    source: str
    target: str
    derivative: np.ndarray


@dataclass(frozen=True)
class Path:
    """A way from an input to the output. product: of the derivatives along it, the last one first (matrices do not commute)."""

    nodes: tuple[str, ...]
    factors: tuple[np.ndarray, ...]
    product: np.ndarray

    @property
    def shown(self) -> str:
        """The product in words; of matrices their shapes and the norm of the product."""
        factors = self.factors[::-1]
        if all(factor.size == 1 for factor in factors):
            return f"{' * '.join(map(_slope, factors)) or '1'} = {_slope(self.product)}"
        return f"{' times '.join(f'{m} x {n}' for m, n in (f.shape for f in factors))}: {_slope(self.product)}"


@dataclass(frozen=True)
class Graph:
    """A computation without cycles, its last node being the output.

    For a node u, d output / d u is the sum over all paths from u to the output of the product of the derivatives along the path.
    The backward pass computes the same from the output on, each edge once: d output / d u = sum over edges (u, w) of
    d output / d w times d w / d u.

    Args:
        title: the computation in words.
        nodes: arguments before what is computed of them. edges: at most one from a node to another.

    Source: Linnainmaa (1970); Bauer (1974) for the sum over paths; Rumelhart, Hinton and Williams (1986) for networks.
    """

    title: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    @property
    def output(self) -> Node:
        """What is computed in the end."""
        return self.nodes[-1]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the nodes that are computed of nothing."""
        return tuple(node.name for node in self.nodes if not node.operation)

    def __getitem__(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        raise UsageError(unknown("node", name, [node.name for node in self.nodes]))

    @cached_property
    def _onward(self) -> Mapping[str, Sequence[Edge]]:
        return {node.name: [edge for edge in self.edges if edge.source == node.name] for node in self.nodes}

    # --- derivatives --------------------------------------------------------------------------------------------------

    @cached_property
    def _backward(self) -> Mapping[str, np.ndarray]:
        slopes = {self.output.name: np.eye(self.output.value.size)}
        for node in reversed(self.nodes[:-1]):
            slopes[node.name] = np.zeros((self.output.value.size, node.value.size))
            for edge in self._onward[node.name]:
                slopes[node.name] = slopes[node.name] + slopes[edge.target] @ edge.derivative
        return slopes

    def backward(self) -> dict[str, np.ndarray]:
        """d output / d node for every node, from the output on: (numbers of the output, numbers of the node)."""
        return {node.name: self._backward[node.name] for node in reversed(self.nodes)}

    def n_paths(self, name: str) -> int:
        """How many paths lead from a node to the output."""
        ways = {self.output.name: 1}
        for node in reversed(self.nodes[:-1]):
            ways[node.name] = sum(ways[edge.target] for edge in self._onward[node.name])
        return ways[self[name].name]

    def paths(self, name: str) -> list[Path]:
        """All paths from a node to the output, each with the product of its derivatives.

        Raises:
            UsageError: there is no such node, or there are more than MOST_PATHS.
        """
        if (n := self.n_paths(name)) > MOST_PATHS:
            raise UsageError(
                f"{n:,} paths lead from {name} to {self.output.name}; use backward(), which needs none of them"
            )
        return [_path(edges, self[name]) for edges in self._walks(name, ())]

    def _walks(self, name: str, behind: tuple[Edge, ...]) -> Iterator[tuple[Edge, ...]]:
        if name == self.output.name:
            yield behind
        for edge in self._onward[name]:
            yield from self._walks(edge.target, (*behind, edge))

    def gradient(self) -> dict[str, float | np.ndarray]:
        """d output / d input for every input: the sum over its paths (over more than MOST_PATHS: of the backward pass).

        A number where both are single numbers; else an array, shaped like the output and then like the input.
        """
        found: dict[str, float | np.ndarray] = {}
        for name in self.inputs:
            few = self.n_paths(name) <= MOST_PATHS
            none = np.zeros((self.output.value.size, self[name].value.size))
            slope = sum((path.product for path in self.paths(name)), none) if few else self._backward[name]
            shape = self.output.value.shape + self[name].value.shape
            found[name] = slope.reshape(shape) if shape else float(slope[0, 0])
        return found

    # --- to look at ---------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"<graph of {self.title}: {len(self.nodes)} nodes, {len(self.edges)} edges>"

    def __str__(self) -> str:
        """Both passes, and the paths of each input, as text."""
        v = self.output.name
        rows = [(n.name, n.operation or "given", n.shown, _slope(self._backward[n.name])) for n in self.nodes]
        lines = [self.title, "", *_aligned([("node", "is", "value", f"d{v}/dnode"), *rows])]
        edges = [(f"{e.source} -> {e.target}", f"d{e.target}/d{e.source} = {_slope(e.derivative)}") for e in self.edges]
        lines += ["", *_aligned([("edge", "partial derivative"), *edges])]
        for name in self.inputs:
            lines += ["", *self._paths_in_words(name)]
        return "\n".join(lines)

    def _paths_in_words(self, name: str) -> list[str]:
        v, n = self.output.name, self.n_paths(name)
        head = f"d{v}/d{name}: {n:,} path{'s' * (n != 1)}"
        total = _slope(self._backward[name])
        if n > SHOWN_PATHS:
            return [f"{head}, together {total}"]
        rows = [(" -> ".join(path.nodes), path.shown) for path in self.paths(name)]
        return [head, *(f"  {line}" for line in _aligned([*rows, ("sum", total)]))]

    def figure(self, title: str = "") -> finding.Figure:
        """The graph as a diagram: values and slopes on nodes, derivatives on edges. title: the computation itself by default."""
        level, v = self._levels(), self.output.name
        nodes = []
        for node in self.nodes:
            said = node.operation if len(node.operation) <= LONGEST else f"{node.operation.partition('(')[0]}(...)"
            label = f"{node.name} = {said}" if node.operation else node.name
            note = node.shown if node.name == v else f"{node.shown}; d{v} {_slope(self._backward[node.name])}"
            nodes.append(finding.Node(id=node.name, label=label, note=note, level=level[node.name]))
        return finding.Figure(
            title=title or self.title,
            kind="diagram",
            nodes=tuple(nodes),
            links=tuple(finding.Link(source=e.source, target=e.target, label=_slope(e.derivative)) for e in self.edges),
            caption=(
                f"On a node its value and, behind d{v}, the derivative of {v} with respect to it; on an edge the derivative of the node "
                "at its head with respect to that at its tail. The product along a path, summed over all paths, is the derivative."
                + " Of several numbers shape and norm are shown."
                * any(node.value.size > 1 for node in self.nodes)
            ),
        )

    def _levels(self) -> dict[str, int]:
        """Columns: a node stands behind its arguments, an input right before the first that needs it."""
        level: dict[str, int] = {}
        for node in self.nodes:
            level[node.name] = 1 + max((level[e.source] for e in self.edges if e.target == node.name), default=-1)
        for name in self.inputs:
            level[name] = min((level[edge.target] - 1 for edge in self._onward[name]), default=level[name])
        return level


class Builder:
    """Takes nodes and edges in the order in which they are computed, and refuses more than can be looked at."""

    def __init__(self, most: int) -> None:
        self.nodes: dict[str, Node] = {}
        self.edges: dict[tuple[str, str], np.ndarray] = {}
        self.most = most

    def add(self, node: Node, partials: Sequence[tuple[str, np.ndarray]] = ()) -> str:
        """A node and its derivatives by its arguments (those of one that comes twice are added up); its name."""
        if len(self.nodes) == self.most:
            raise UsageError(
                f"this takes more than {self.most} operations, too many to look at; take a smaller part of it"
            )
        self.nodes[node.name] = node
        for source, derivative in partials:
            key = source, node.name
            self.edges[key] = self.edges[key] + derivative if key in self.edges else derivative
        return node.name

    def free(self, wanted: str) -> str:
        """A name like the wanted one that no node has."""
        names = (wanted if k == 1 else f"{wanted}_{k}" for k in range(1, self.most + 2))
        return next(name for name in names if name not in self.nodes)

    def graph(self, title: str, output: str) -> Graph:
        """What leads to the output, and the inputs."""
        needed = {output}
        for source, target in reversed(self.edges):
            if target in needed:
                needed.add(source)
        kept = [n for n in self.nodes.values() if n.name != output and (n.name in needed or not n.operation)]
        edges = [Edge(a, b, d) for (a, b), d in self.edges.items() if b in needed and a != output]
        return Graph(title, (*kept, self.nodes[output]), tuple(edges))


def _path(edges: Sequence[Edge], start: Node) -> Path:
    product = np.eye(start.value.size)
    for edge in edges:
        product = edge.derivative @ product
    return Path((start.name, *(e.target for e in edges)), tuple(e.derivative for e in edges), product)


def shown(values: np.ndarray, shape: Sequence[int]) -> str:
    """A number; of several their shape and Euclidean norm.

    >>> shown(np.array(0.5), ()), shown(np.ones((2, 2)), (2, 2))
    ('0.5', '2 x 2, norm 2')
    """
    if values.size == 1:
        return cell(float(values.reshape(-1)[0]))
    return f"{' x '.join(map(str, shape))}, norm {cell(float(np.linalg.norm(values)))}"


def _slope(derivative: np.ndarray) -> str:
    """A derivative in short: a number, or the Frobenius norm of a matrix."""
    return (
        shown(derivative, derivative.shape)
        if derivative.size == 1
        else f"norm {cell(float(np.linalg.norm(derivative)))}"
    )


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    put: Callable[[Sequence[str]], str] = lambda row: "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True))  # noqa: E731
    return [put(row).rstrip() for row in rows]
