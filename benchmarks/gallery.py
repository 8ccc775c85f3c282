"""The gallery as a whole process: what its small size takes and shows; and from cosine to sine in full size, with five starts."""

from __future__ import annotations

import re
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.main_job import COMMAND, WORK, environment
from benchmarks.results import Result, Row, spread
from netwright.core.errors import SetupError
from netwright.exhibits.cosine_to_sine import NETS, SEEDS, UNITS
from netwright.exhibits.cosine_to_sine import exhibit as cosine_to_sine
from netwright.report.text import VERDICT_WORDS, duration

MOST_ALL, MOST_ONE, MOST_RATIO = 300, 20, 0.1
"""Seconds of the whole gallery in its small size, and of one exhibit; the median error of the GRU over that of the perceptron."""
_EXHIBIT = re.compile(r'<article class="finding (\w+)".*?<p class="source">([\w-]+)([^<]*)', re.DOTALL)
_TOOK = re.compile(r"took (?:(\d+) min )?([\d.]+) s")


@dataclass(frozen=True)
class Shown:
    """An exhibit as the page tells of it."""

    name: str
    verdict: str
    seconds: float


def shown(page: str) -> list[Shown]:
    """The exhibits of a page of the gallery.

    >>> shown('<article class="finding pass" id="x">...<p class="source">gates · A (1990) · took 1 min 15 s · seed 0</p>')
    [Shown(name='gates', verdict='pass', seconds=75.0)]
    """
    found = []
    for verdict, name, rest in _EXHIBIT.findall(page):
        took = _TOOK.search(rest)
        seconds = 60 * int(took[1] or 0) + float(took[2]) if took else 0.0
        found.append(Shown(name, verdict, seconds))
    return found


def small_size(names: Sequence[str]) -> list[Row]:
    """`netwright gallery --tiny` as a process of its own.

    Raises:
        SetupError: it left no page.
    """
    WORK.mkdir(parents=True, exist_ok=True)
    place = WORK / "gallery.html"
    place.unlink(missing_ok=True)
    command = [str(COMMAND), "gallery", *names, "--tiny", "--out", str(place)]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=WORK, env=environment(), capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode not in (0, 1) or not place.exists():  # 1: an exhibit failed, which is a row
        raise SetupError(f"{' '.join(command)} ended with exit code {done.returncode}:\n{done.stderr[-2000:]}")
    found = shown(place.read_text(encoding="utf-8"))
    if not found:
        raise SetupError(f"{place} shows no exhibit; did the form of the page change?")
    slow = max(found, key=lambda one: one.seconds)
    verdicts = Counter(one.verdict for one in found)
    lost = ", ".join(one.name for one in found if one.verdict == "fail")
    return [
        Row(f"all {len(found)} exhibits, one page", duration(seconds), f"<= {MOST_ALL} s", seconds <= MOST_ALL),
        Row(
            f"the slowest exhibit, {slow.name}",
            duration(slow.seconds),
            f"<= {MOST_ONE} s each",
            slow.seconds <= MOST_ONE,
        ),
        *(Row(f"verdict {VERDICT_WORDS[v]}", f"{verdicts[v]} exhibits") for v in ("pass", "info")),
        Row(
            f"verdict {VERDICT_WORDS['fail']}",
            f"{verdicts['fail']} exhibits" + f" ({lost})" * bool(lost),
            "0",
            not lost,
        ),
    ]


def three_nets() -> list[Row]:
    """The sine from the cosine, one value at a time, in full size."""
    (table,) = cosine_to_sine(seed=0).tables
    errors = {str(row[0]): [float(v) for v in row[1 : 1 + SEEDS]] for row in table.rows}  # type: ignore[arg-type]
    ratio = statistics.median(errors["GRU"]) / statistics.median(errors["perceptron"])
    rows = [
        Row(f"from cosine to sine, {name} (K = {UNITS})", spread(errors[name], "squared error", digits=4))
        for name in NETS
    ]
    kept = ratio <= MOST_RATIO
    return [*rows, Row("from cosine to sine, GRU / perceptron", f"{ratio:.4f}", f"<= {MOST_RATIO}", kept)]


def gallery(names: Sequence[str] = ()) -> Result:
    """Both; `names` are those of the exhibits, by default all."""
    return Result(
        "gallery",
        "The gallery of exhibits",
        [*small_size(names), *three_nets()],
        "`netwright gallery --tiny` once, start of Python included; the seconds and the verdict of each exhibit are those that its page "
        f"states. Then the exhibit cosine-to-sine in full size: {SEEDS} starts of each network, the median of their mean squared errors on "
        "waves that were not learned from.",
    )


BENCHMARKS: dict[str, Callable[[], Result]] = {"gallery": gallery}
