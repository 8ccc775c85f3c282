"""A run's `baseline.py`: the recommended classic method, refitted on the same rows by whoever follows the recommendation."""

from __future__ import annotations

from pathlib import Path

from netwright.baselines.entries import BASELINES
from netwright.core.files import write_text
from netwright.core.spec import SeriesField
from netwright.data.data import Data
from netwright.data.grouped import grouped_field, kinds_of
from netwright.losses.metrics import check_metric

_SCRIPT = '''"""{name}: {summary}. Refitted on the same training rows as in the run.

    python baseline.py                               # fit it, and measure it on the test rows
    python baseline.py new.csv -o predictions.csv    # fit it, and predict new rows: a table, or images

It needs netwright (pip install netwright), and {needs}.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from netwright.baselines.tables import fit_baseline, part_weight
from netwright.cli.rows import answer
from netwright.core.errors import DataError, NetwrightError
from netwright.core.files import writing
from netwright.data.data import Data
from netwright.data.encode import fit_inputs, fit_target
from netwright.data.grouped import group_rows, keyed
from netwright.data.read import look
from netwright.data.series_rows import Steps, gather_known, told
from netwright.losses.metrics import metrics_for, score

DATA = {data!r}
TARGET, TASK = {target!r}, {task!r}
KINDS = {{
{kinds}}}
STEPS = Steps({by!r}, {order!r}, {labels!r})  # how rows make series, where they do
SET_BY, ELEMENTS = {set_by!r}, {elements!r}
METRIC, REPORTED = {metric!r}, {reported!r}
SPLIT = Path(__file__).resolve().parent / "split.json"  # row numbers in DATA, counted from 0


def fit(path):
    """The baseline, fitted on the run's training rows of a file; validation rows choose its penalty or end its rounds."""
    series = [name for name, kind in KINDS.items() if kind == "series"]
    frame = look(path, series=series, volumes="volume" in KINDS.values()).frame
    if STEPS.by:
        frame = gather_known(frame, STEPS, [TARGET, *KINDS])
    if SET_BY:
        frame = group_rows(frame, SET_BY, ELEMENTS, {set_name!r}).drop(SET_BY)
    split = json.loads(SPLIT.read_text(encoding="utf-8"))
    rows = {{part: np.array(split[part], dtype=np.int64) for part in ("train", "valid", "test")}}
    if max(int(r.max(initial=0)) for r in rows.values()) >= len(frame):
        raise DataError(f"{{path}} has {{len(frame)}} rows, fewer than {{SPLIT}} counts; it is not the data of the run")
    weight = np.array(split["weight"], dtype=np.float64) if "weight" in split else None
    train = frame[rows["train"]]
    spec = told(fit_inputs(train, KINDS), STEPS)
    spec = keyed(spec, SET_BY, {set_name!r}) if SET_BY else spec
    data = Data(frame, spec, fit_target(train[TARGET], TASK), rows, weight)
    return fit_baseline({name!r}, data, seed={seed!r}, budget_seconds={budget!r})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("new", nargs="?", help="new rows to predict, in a file or folder like the run's")
    parser.add_argument("-o", "--out", default="predictions.csv", help="where predictions go (predictions.csv)")
    parser.add_argument("--data", default=DATA, required=DATA is None, help="the file or folder that the run was made from")
    given = parser.parse_args()
    fitted = fit(given.data)
    if given.new:
        with writing(given.out) as temporary:
            answer(fitted, Path(given.new)).table.write_csv(temporary)
        print(f"predictions of {name} are in {{given.out}}")
        return
    y, prediction, weight = fitted.data.y("test"), fitted.predict("test"), part_weight(fitted.data)
    for metric in metrics_for(TASK):
        told = f"   (the run reported {{REPORTED:.6g}})" if metric == METRIC and REPORTED is not None else ""
        print(f"{{metric}} {{score(metric, y, prediction, weight):.9g}} on {{len(y)}} test rows{{told}}")


if __name__ == "__main__":
    try:
        main()
    except NetwrightError as error:
        sys.exit(f"error: {{error}}")
'''


def write_script(
    name: str,
    data: Data,
    path: str | Path,
    *,
    data_path: str | Path | None,
    seed: int = 0,
    budget_seconds: float = 60.0,
    metric: str = "",
    reported: float | None = None,
) -> str:
    """Write a script that refits a baseline on the same rows, measures it and predicts with it; gives its text.

    Beside the script must stand `split.json`: {"train": [...], "valid": [...], "test": [...]}, row numbers in the data file
    as read, counted from 0; a list "weight" over all rows where there are weights.

    Args:
        name: an entry of BASELINES.
        data: the rows it was fitted on.
        path: where the script goes.
        data_path: the data file or folder; None where rows came from memory: the script then asks for `--data`.
        seed, budget_seconds: with which it was fitted.
        metric: what decides; by default the task's first.
        reported: its value on the test rows in the run.

    Raises:
        UsageError: no such baseline or metric.
        SetupError: the script cannot be written.
    """
    sets = grouped_field(data.spec)
    entry, source = BASELINES[name], None if data_path is None else str(Path(data_path).resolve())
    made = next((f for f in data.spec.wholes if isinstance(f, SeriesField)), SeriesField(n_steps=1))
    text = _SCRIPT.format(
        by=made.by,
        order=made.order,
        labels=made.labels,
        name=entry.name,
        summary=entry.summary,
        needs="the data (--data)" if source is None else "the data that are named below",
        data=source,
        target=data.target.name,
        task=data.target.task,
        kinds="".join(f"    {field.name!r}: {field.kind!r},\n" for field in data.spec.fields),
        set_by=sets.key if sets else None,
        elements=kinds_of(sets) if sets else {},
        set_name=sets.name if sets else "set",
        metric=check_metric(metric or None, data.target),
        reported=None if reported is None else float(reported),
        seed=int(seed),
        budget=float(budget_seconds),
    )
    write_text(path, text)
    return text
