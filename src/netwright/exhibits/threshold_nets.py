"""Threshold units: and, or, not as single units, an expression compiled to a net of them, and the proof that both are equal."""

from __future__ import annotations

from netwright.core.finding import Figure, Finding, Link, Table
from netwright.exhibits.program import main
from netwright.nn.threshold import ThresholdNet

UNITS = {"a and b": "a & b", "a or b": "a | b", "not a": "~a", "a and not b": "a & ~b"}
EXPRESSION = "(a & ~b) | c"


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """Threshold units compute any boolean expression."""
    n = 14 if tiny else 20
    large = _carry(n // 2)
    nets = {
        EXPRESSION: ThresholdNet.from_expression(EXPRESSION),
        "majority of 5": ThresholdNet.from_truth_table([int(r.bit_count() > 2) for r in range(32)]),
        "sum and carry of two bits": ThresholdNet.from_expression({"sum": "a ^ b", "carry": "a & b"}),
        f"carry of two {n // 2}-bit numbers": large,
    }
    proofs = {name: net.prove() for name, net in nets.items()}
    wrong = sum(not proof for proof in proofs.values())
    return Finding(
        probe="threshold-nets",
        family="gallery",
        verdict="fail" if wrong else "pass",
        title=f"{len(nets)} nets of threshold units are equal to what they were made of, on all of up to {1 << n:,} inputs",
        measured={"nets": len(nets), "nets_that_differ": wrong, "largest_number_of_inputs": 1 << n},
        expected="no net differs on any input",
        why="A unit adds up its inputs, each with a weight of -1 or +1, and gives 1 where the sum reaches its threshold. With all inputs "
        "needed it is an and, with one needed an or; a weight of -1 is a not. The first figure has such units side by side. The second is "
        "an expression as a net: the negation is a weight, and each operator a unit. The third is that net on one input: green nodes "
        "are on, dashed ones are off, and each unit shows its sum beside its threshold. The table lists nets that were "
        "compared with their expression or table on every input that there is.",
        figures=(
            _single_units(),
            nets[EXPRESSION].diagram().model_copy(update={"title": f"The net of {EXPRESSION}"}),
            nets[EXPRESSION].diagram({"a": 1, "b": 1, "c": 0}),
        ),
        tables=(
            Table(
                title="Nets and their proofs",
                columns=("net", "variables", "units", "depth", "inputs compared", "inputs that differ"),
                rows=tuple(
                    (name, len(net.names), len(net.units), net.depth, proofs[name].rows, proofs[name].differences)
                    for name, net in nets.items()
                ),
            ),
        ),
        reference="McCulloch and Pitts (1943), A logical calculus of the ideas immanent in nervous activity",
    )


def _carry(bits: int) -> ThresholdNet:
    """Whether the sum of two numbers of so many bits needs one bit more."""
    carry = "0"
    for k in range(bits):
        carry = f"(a{k} & b{k}) | ((a{k} | b{k}) & ({carry}))"
    return ThresholdNet.from_expression(carry)


def _single_units() -> Figure:
    """Single units beneath each other, each with inputs of its own."""
    nodes, links = [], []
    for k, (name, text) in enumerate(UNITS.items()):
        drawn = ThresholdNet.from_expression(text).diagram()
        for node in drawn.nodes:
            label = name if node.level else node.label
            nodes.append(node.model_copy(update={"id": f"{node.id}{k}", "label": label}))
        links += [Link(source=f"{x.source}{k}", target=f"{x.target}{k}", label=x.label) for x in drawn.links]
    return Figure(
        title="And, or, not",
        kind="diagram",
        nodes=tuple(nodes),
        links=tuple(links),
        caption="A unit gives 1 where the weighted sum of its inputs reaches its threshold θ.",
    )


if __name__ == "__main__":
    main(exhibit)
