"""The net of three threshold units that computes xor, with the values of its units for all four inputs."""

from __future__ import annotations

from netwright.core.finding import Finding, Table
from netwright.exhibits.program import main
from netwright.nn.threshold import ThresholdNet


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """Three threshold units compute xor, which no single one can."""
    net = ThresholdNet.from_truth_table("0110")
    proof = net.prove()
    rows = [net.values((r >> 1, r & 1)) for r in range(4)]
    single = _single_units()
    return Finding(
        probe="xor-net",
        family="gallery",
        verdict="pass" if proof and not single["0110"] else "fail",
        title=f"xor takes {len(net.units)} threshold units in {net.depth} layers, {proof}; "
        f"a single unit computes {sum(single.values())} of the 16 functions of two inputs",
        measured={"units": len(net.units), "depth": net.depth, "functions_of_one_unit": sum(single.values())},
        expected="the net is equal to xor, and no single unit is",
        why="h1 asks for at least one active input, h2 for both, and y takes h1 but not h2. Go through the four figures: with no input all "
        "units stay off; with one input only h1 fires and y follows it; with both inputs h2 fires too, and its weight of -1 holds y below "
        "its threshold. The second table tries every weight from {-1, 0, +1} and every threshold for one unit alone: xor and its opposite "
        "are the only two functions of two inputs that it misses.",
        figures=tuple(net.diagram((r >> 1, r & 1)) for r in range(4)),
        tables=(
            Table(
                title="Values of all units",
                columns=tuple(rows[0]),
                rows=tuple(tuple(row.values()) for row in rows),
            ),
            Table(
                title="What one unit computes",
                columns=("values for 00, 01, 10, 11", "by one unit"),
                rows=tuple(single.items()),
            ),
        ),
        reference="McCulloch and Pitts (1943); Minsky and Papert (1969), Perceptrons",
    )


def _single_units() -> dict[str, bool]:
    """Function of two inputs -> whether some weights and some threshold give it."""
    found = {
        "".join(str(int(w1 * (r >> 1) + w2 * (r & 1) >= threshold)) for r in range(4))
        for w1 in (-1, 0, 1)
        for w2 in (-1, 0, 1)
        for threshold in range(-2, 4)
    }
    return {f"{table:04b}": f"{table:04b}" in found for table in range(16)}


if __name__ == "__main__":
    main(exhibit)
