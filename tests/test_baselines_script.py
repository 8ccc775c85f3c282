"""`baseline.py` of a run: it reproduces the run's test score and predicts new rows, on a file with awkward names and cells."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from netwright.baselines.script import write_script
from netwright.baselines.tables import fit_baseline
from netwright.core.seed import numpy_generator
from netwright.data.data import PARTS, Data
from netwright.data.encode import fit_inputs, fit_target
from netwright.data.read import look, read_table
from netwright.data.split import split_rows
from netwright.losses.metrics import score

KINDS = {'it\'s "a"': "number", "b{c}": "category", "day": "date"}


def run_folder(folder: Path, task: str, name: str) -> tuple[Data, float]:
    """A run's data file, split and script; the data, and the test score of the baseline."""
    rng, n = numpy_generator(0, "script"), 300
    a, c = rng.normal(size=n), rng.choice(["x", "y, z", '"q"'], n)
    raw = a + (c == "x") + 0.3 * rng.normal(size=n)
    frame = pl.DataFrame(
        {
            'it\'s "a"': [None if i % 17 == 0 else f"{v:.4f}" for i, v in enumerate(a)],
            "b{c}": c,
            "day": [f"2024-0{1 + i % 9}-1{i % 10}" for i in range(n)],
            "the \\ target": raw if task == "number" else np.where(raw > 0.5, "good", "not so"),
        }
    )
    frame.write_csv(folder / "rows of 'mine'.csv")
    frame = read_table(folder / "rows of 'mine'.csv")
    split = dict(zip(PARTS, np.split(rng.permutation(n), [180, 240]), strict=True))
    train = frame[split["train"]]
    target = fit_target(train["the \\ target"], task)  # type: ignore[arg-type]
    data = Data(frame, fit_inputs(train, KINDS), target, split)  # type: ignore[arg-type]
    metric = "rmse" if task == "number" else "log-loss"
    value = score(metric, data.y("test"), fit_baseline(name, data, seed=5, budget_seconds=7).predict("test"))
    (folder / "split.json").write_text(json.dumps({part: rows.tolist() for part, rows in split.items()}))
    where = folder / "rows of 'mine'.csv"
    write_script(
        name, data, folder / "baseline.py", data_path=where, seed=5, budget_seconds=7, metric=metric, reported=value
    )
    return data, value


def call(folder: Path, *arguments: str) -> None:
    """Run the script in this process."""
    before, sys.argv = sys.argv, ["baseline.py", *arguments]
    try:
        runpy.run_path(str(folder / "baseline.py"), run_name="__main__")
    finally:
        sys.argv = before


def printed(text: str, metric: str) -> float:
    return float(next(line for line in text.splitlines() if line.startswith(metric)).split()[1])


@pytest.mark.parametrize("task", ["binary", "number"])
@pytest.mark.parametrize("name", ["dummy", "linear", "gradient-boosting"])
def test_the_script_reproduces_the_test_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str, name: str
) -> None:
    _, value = run_folder(tmp_path, task, name)
    call(tmp_path)
    text = capsys.readouterr().out
    assert printed(text, "rmse" if task == "number" else "log-loss") == pytest.approx(value, abs=1e-6)
    assert f"the run reported {value:.6g}" in text


def test_the_script_predicts_new_rows(tmp_path: Path) -> None:
    data, _ = run_folder(tmp_path, "binary", "linear")
    rows = (
        data.part("test")
        .drop("the \\ target")
        .vstack(
            pl.DataFrame(
                {'it\'s "a"': [None], "b{c}": ["never seen"], "day": ["soon"]},
                schema=data.part("test").drop("the \\ target").schema,
            )
        )
    )
    rows.write_csv(tmp_path / "new.csv")
    call(tmp_path, str(tmp_path / "new.csv"), "-o", str(tmp_path / "out.csv"))
    found = pl.read_csv(tmp_path / "out.csv")
    assert found.columns == ["row", "prediction", "p_good", "p_not so"]
    assert found["row"].to_list() == list(range(61))
    wanted = fit_baseline("linear", data, seed=5, budget_seconds=7).predict("test")
    assert found.select("p_good", "p_not so").to_numpy()[:60] == pytest.approx(wanted, abs=1e-9)
    assert set(found["prediction"]) <= {"good", "not so"}


@pytest.mark.parametrize("name", ["word-tfidf", "char-tfidf"])
def test_the_script_of_a_run_on_texts_reproduces_its_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    rng, n = numpy_generator(0, "texts"), 240
    y = rng.integers(0, 2, n)
    said = [f"{'good' if k else 'bad'} 'w{rng.integers(0, 40)}' w{rng.integers(0, 40)} \"quoted" for k in y]
    part = rng.permutation(["train"] * 150 + ["dev"] * 40 + ["test"] * 50)
    lines = ["part\tsaid\tlabel", *("\t".join(map(str, row)) for row in zip(part, said, y, strict=True))]
    (tmp_path / "texts.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    frame = read_table(tmp_path / "texts.tsv")
    split = split_rows(frame, target="label", task="binary", seed=0, split_column="part")
    train = frame[split["train"]]
    kept = frame.drop("part")  # as a run does with the column of the parts
    data = Data(kept, fit_inputs(train, {"said": "text"}), fit_target(train["label"], "binary"), split)
    value = score("log-loss", data.y("test"), fit_baseline(name, data, seed=5, budget_seconds=7).predict("test"))
    (tmp_path / "split.json").write_text(json.dumps({p: rows.tolist() for p, rows in split.items()}))
    write_script(name, data, tmp_path / "baseline.py", data_path=tmp_path / "texts.tsv", seed=5, budget_seconds=7)
    call(tmp_path)
    assert printed(capsys.readouterr().out, "log-loss") == pytest.approx(value, abs=1e-6)
    call(tmp_path, str(tmp_path / "texts.tsv"), "-o", str(tmp_path / "out.csv"))
    assert len(pl.read_csv(tmp_path / "out.csv")) == n


def bars(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 9, 9) with a bright bar, across (class 0) or down (class 1)."""
    rng = numpy_generator(0, "bars")
    x, y = rng.integers(0, 90, (n, 9, 9)), rng.integers(0, 2, n)
    for i, at in enumerate(rng.integers(0, 8, n)):
        x[(i, at) if y[i] else (i, slice(None), at)] += 130
    return x.astype(np.uint8), y


def image_run(folder: Path, source: Path, name: str) -> tuple[Data, float]:
    """A run's split and script on images; the data, and the test score of the baseline."""
    looked = look(source)
    assert looked.target is not None
    split = split_rows(looked.frame, target=looked.target, task="binary", seed=0, split_column=looked.split_column)
    train = looked.frame[split["train"]]
    kept = looked.frame.drop(looked.split_column or [])
    target = fit_target(train[looked.target], "binary")
    data = Data(kept, fit_inputs(train, {"image": "image"}), target, split)
    value = score("log-loss", data.y("test"), fit_baseline(name, data, seed=5, budget_seconds=7).predict("test"))
    (folder / "split.json").write_text(json.dumps({p: rows.tolist() for p, rows in split.items()}))
    write_script(name, data, folder / "baseline.py", data_path=source, seed=5, budget_seconds=7)
    return data, value


@pytest.mark.parametrize("name", ["linear", "nearest-neighbours"])
@pytest.mark.parametrize("form", ["npz", "folder", "folder of parts"])
def test_the_script_of_a_run_on_images_reproduces_its_score_and_predicts_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, name: str
) -> None:
    x, y = bars(120)
    source, new = tmp_path / "data", tmp_path / "data"
    if form == "npz":
        source = new = tmp_path / "data.npz"
        np.savez(source, x_train=x[:90], y_train=y[:90], x_test=x[90:], y_test=y[90:])
    for i, (pixels, label) in enumerate(zip(x, y, strict=True) if form != "npz" else ()):
        part = ("train" if i < 90 else "test") if form == "folder of parts" else ""
        (source / part / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(source / part / str(label) / f"{i}.png")
    data, value = image_run(tmp_path, source, name)
    call(tmp_path)
    assert printed(capsys.readouterr().out, "log-loss") == pytest.approx(value, abs=1e-6)
    call(tmp_path, str(new), "-o", str(tmp_path / "out.csv"))
    found = pl.read_csv(tmp_path / "out.csv")
    assert len(found) == (30 if form == "npz" else 120) and ("file" in found.columns) == (form != "npz")
    if form == "npz":
        wanted = fit_baseline(name, data, seed=5, budget_seconds=7).predict("test")
        assert found.select("p_0", "p_1").to_numpy() == pytest.approx(wanted, abs=1e-6)


def test_a_file_that_is_not_the_runs_is_refused(tmp_path: Path) -> None:
    data, _ = run_folder(tmp_path, "binary", "dummy")
    assert data.frame is not None
    data.frame[:100].write_csv(tmp_path / "short.csv")
    with pytest.raises(SystemExit, match="100 rows, fewer than"):
        call(tmp_path, "--data", str(tmp_path / "short.csv"))
    with pytest.raises(SystemExit, match="there is no file"):
        call(tmp_path, "--data", str(tmp_path / "gone.csv"))


def test_without_a_file_the_script_asks_for_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, value = run_folder(tmp_path, "binary", "dummy")
    write_script("dummy", data, tmp_path / "baseline.py", data_path=None)
    with pytest.raises(SystemExit):
        call(tmp_path)
    assert "--data" in capsys.readouterr().err
    call(tmp_path, "--data", str(tmp_path / "rows of 'mine'.csv"))
    assert printed(capsys.readouterr().out, "log-loss") == pytest.approx(value, abs=1e-6)


@pytest.mark.slow
def test_the_script_stands_alone(tmp_path: Path) -> None:
    _, value = run_folder(tmp_path, "binary", "gradient-boosting")
    done = subprocess.run(
        [sys.executable, str(tmp_path / "baseline.py")], cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert printed(done.stdout, "log-loss") == pytest.approx(value, abs=1e-6)
