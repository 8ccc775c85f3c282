"""`python -m benchmarks [--only NAME]`: run benchmarks, and write each one's block of RESULTS.md as it ends."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import (
    attack_speed,
    cost,
    engine,
    gallery,
    kinds,
    lenet,
    main_job,
    nets_speed,
    series,
    streaming,
    text_nets,
    trees,
)
from benchmarks.results import RESULTS, store
from netwright.core.errors import NetwrightError

BENCHMARKS = {
    **main_job.BENCHMARKS,
    **kinds.BENCHMARKS,
    **lenet.BENCHMARKS,
    **streaming.BENCHMARKS,
    **engine.BENCHMARKS,
    **attack_speed.BENCHMARKS,
    **cost.BENCHMARKS,
    **nets_speed.BENCHMARKS,
    **gallery.BENCHMARKS,
    **text_nets.BENCHMARKS,
    **series.BENCHMARKS,
    **trees.BENCHMARKS,
}


def main() -> int:
    """0 when all ran (whether a promise is met stands in the file), else the exit code of the error."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=BENCHMARKS, metavar="NAME", help=f"one of: {', '.join(BENCHMARKS)}")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file to write")
    arguments = parser.parse_args()
    for name in [arguments.only] if arguments.only else BENCHMARKS:
        print(f"benchmark {name} ...", file=sys.stderr, flush=True)
        try:
            result = BENCHMARKS[name]()
        except NetwrightError as error:
            print(f"benchmark {name}: {error}", file=sys.stderr)
            return error.exit_code
        store(result, list(BENCHMARKS), arguments.results)
        print(
            "\n".join(
                f"{row.what}: {row.measured}" + (f" (target {row.target})" if row.target else "") for row in result.rows
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
