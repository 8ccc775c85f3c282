"""Problems that no line divides: the perceptron says so before it learns, with a point that both classes surround."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from netwright.core.finding import Finding, Table
from netwright.core.seed import numpy_generator
from netwright.exhibits.program import main
from netwright.linear.drawn import certificate_drawn
from netwright.linear.perceptron import Perceptron


def exhibit(*, tiny: bool = False, seed: int = 0) -> Finding:
    """Xor has no line, and a certificate proves it."""
    problems = {"xor": _xor(), "two clouds that overlap": _clouds(80 if tiny else 400, seed), "one row twice": _twins()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        nets = {name: Perceptron(random_state=seed).fit(x, y) for name, (x, y) in problems.items()}
    proven = {
        name: net.certificate_ is not None and net.certificate_.holds(problems[name][0]) for name, net in nets.items()
    }
    rows = []
    for name, net in nets.items():
        certificate = net.certificate_
        if certificate is not None:
            gap = certificate.gap(problems[name][0])
            rows.append((name, len(problems[name][0]), str(certificate), gap, certificate.exact, net.n_errors_))
    return Finding(
        probe="perceptron-xor",
        family="gallery",
        verdict="pass" if all(proven.values()) else "fail",
        title=f"no line divides xor: {nets['xor'].certificate_}",
        measured={"problems": len(nets), "proven_not_separable": sum(proven.values())},
        expected="a certificate for each problem, whose weighted sums of both classes coincide",
        why="The rule alone would step for ever here. A linear program looks for a line first; where there is none, its dual holds weights "
        "under which some rows of one class and some of the other have the same weighted sum. The dashed lines join these rows, and "
        "the last mark is the sum: it lies between rows of both classes, so a line with each class on its own side would have it on "
        "both. For xor this is the centre of the square. The weights are fractions, and the sums are equal without rounding. In the second "
        "figure two clouds overlap, and a few rows suffice for the proof. The table has a third problem, one row with both labels. The "
        "errors are those of the best weights seen in ten passes.",
        figures=tuple(
            certificate_drawn(net.certificate_, *problems[name]).model_copy(
                update={"title": f"A point that both classes surround: {name}"}
            )
            for name, net in nets.items()
            if net.certificate_ is not None and name != "one row twice"
        ),
        tables=(
            Table(
                title="Certificates",
                columns=("problem", "rows", "certificate", "difference of the sums", "without rounding", "errors left"),
                rows=tuple(rows),
            ),
        ),
        reference="Minsky and Papert (1969), Perceptrons; Farkas (1902); Gallant (1990)",
    )


def _xor() -> tuple[np.ndarray, np.ndarray]:
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    return x, np.array(["equal", "different", "different", "equal"])


def _clouds(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = numpy_generator(seed, "clouds")
    y = rng.integers(0, 2, n)
    return rng.normal(size=(n, 2)) + 2.2 * y[:, None], np.where(y > 0, "upper", "lower")


def _twins() -> tuple[np.ndarray, np.ndarray]:
    return np.array([[0.0, 1.0], [2.0, 3.0], [0.0, 1.0]]), np.array(["a", "b", "b"])


if __name__ == "__main__":
    main(exhibit)
