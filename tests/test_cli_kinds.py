"""Series, trees, volumes and sounds through the command line in the forms that people have them in: a quick run, then new rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from commandline import Ended, call
from netwright.core.files import write_json
from netwright.core.seed import numpy_generator
from netwright.core.spec import AudioField, SeriesField, TreeField, VolumeField, WholeField
from netwright.model import Model

pytestmark = pytest.mark.slow

PLAN = {
    "learning_rate": 0.01,
    "memorise": {"threads": 1, "epoch_seconds": 0.1, "epochs": 8},
    "regularise": {"threads": 1, "epoch_seconds": 0.1, "epochs": 12},
}
"""Few epochs, whatever the machine; the rows are so different that they do."""
N = 90


def ran(tmp_path: Path, data: Path, *options: object) -> Ended:
    """A quick run of all steps."""
    write_json(tmp_path / "plan.json", PLAN)
    ended = call("run", data, *options, "--quick", "--plan", tmp_path / "plan.json", "--out", tmp_path / "run")
    assert ended.code == 0, ended.err
    assert "broke" not in ended.err and "Traceback" not in ended.err
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    return ended


def predicted(tmp_path: Path, new: Path) -> tuple[pl.DataFrame, Ended]:
    """What the run's model says of new rows."""
    ended = call("predict", tmp_path / "run", new, "-o", tmp_path / "answers.csv")
    assert ended.code == 0, ended.err
    return pl.read_csv(tmp_path / "answers.csv"), ended


def field_of(tmp_path: Path) -> WholeField:
    (field,) = Model.load(tmp_path / "run" / "model").spec.wholes
    return field


def share_right(answers: pl.DataFrame, truth: list[str]) -> float:
    assert len(answers) == len(truth)
    return float((answers["prediction"].cast(pl.String) == pl.Series(truth)).mean())  # type: ignore[arg-type]


def waves(n: int, stream: str, channels: int = 2) -> tuple[list[np.ndarray], list[str]]:
    """Series of 20 to 35 steps, slow or fast."""
    rng = numpy_generator(0, stream)
    rows, labels = [], []
    for k in range(n):
        t = np.arange(rng.integers(20, 36))[:, None]
        row = np.sin(t * (0.3, 1.2)[k % 2] + rng.uniform(0, 6, channels)) + 0.1 * rng.normal(size=(len(t), channels))
        rows.append(row.astype(np.float32))
        labels.append(("slow", "fast")[k % 2])
    return rows, labels


def test_a_folder_of_csv_series_per_class(tmp_path: Path) -> None:
    rows, labels = waves(N, "folder")
    for k, (row, label) in enumerate(zip(rows, labels, strict=True)):
        path = tmp_path / "data" / label / f"{k:03d}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        frame = pl.DataFrame({"time": np.arange(len(row)), "north": row[:, 0], "east": row[:, 1]})
        frame.write_csv(path)
    ran(tmp_path, tmp_path / "data")
    field = field_of(tmp_path)
    assert isinstance(field, SeriesField) and field.labels == ("north", "east")
    rows, labels = waves(12, "new folder")
    (tmp_path / "new").mkdir()
    for k, row in enumerate(rows):
        pl.DataFrame({"time": np.arange(len(row)), "north": row[:, 0], "east": row[:, 1]}).write_csv(
            tmp_path / "new" / f"{k:02d}.csv"
        )
    answers, _ = predicted(tmp_path, tmp_path / "new")
    assert answers["file"].to_list() == [f"{k:02d}.csv" for k in range(12)] and share_right(answers, labels) >= 0.75
    one, _ = predicted(tmp_path, tmp_path / "new" / "03.csv")
    assert one["prediction"].to_list() == answers["prediction"].to_list()[3:4]


def test_ragged_series_of_an_npz(tmp_path: Path) -> None:
    def store(path: Path, n: int, stream: str, with_labels: bool) -> list[str]:
        rows, labels = waves(n, stream, channels=1)
        offsets = np.cumsum([0, *map(len, rows)])
        arrays = {"x": np.concatenate(rows), "x_offsets": offsets} | ({"y": np.array(labels)} if with_labels else {})
        np.savez(path, **arrays)
        return labels

    store(tmp_path / "data.npz", N, "ragged", True)
    ran(tmp_path, tmp_path / "data.npz")
    field = field_of(tmp_path)
    assert isinstance(field, SeriesField) and field.shortest < field.n_steps <= 35 and field.channels == 1
    labels = store(tmp_path / "new.npz", 12, "new ragged", False)
    answers, _ = predicted(tmp_path, tmp_path / "new.npz")
    assert share_right(answers, labels) >= 0.75


def long_frame(n: int, stream: str) -> tuple[pl.DataFrame, list[str]]:
    """Shuffled steps of series; of the third one the last step is late, and one value is missing."""
    rows, labels = waves(n, stream)
    parts = []
    for k, (row, label) in enumerate(zip(rows, labels, strict=True)):
        t = np.arange(len(row))
        if k == 3:
            t[-1], row[4, 0] = 900, np.nan
        columns = {
            "unit": [f"u{k:03d}"] * len(row),
            "t": t,
            "v": row[:, 0],
            "w": row[:, 1],
            "speed": [label] * len(row),
        }
        parts.append(pl.DataFrame(columns))
    return pl.concat(parts).sample(fraction=1, shuffle=True, seed=0), labels


def test_a_long_parquet_of_steps_by_their_series(tmp_path: Path) -> None:
    frame, _ = long_frame(N, "long")
    frame.write_parquet(tmp_path / "long.parquet")
    how = ("--target", "speed", "--series-by", "unit", "--series-order", "t")
    said = " ".join(ran(tmp_path, tmp_path / "long.parquet", *how).err.split())
    assert "uneven in 1 series" in said and "in series 'u003'" in said and "to 900, where 1 is usual" in said
    assert "filled linearly in time, level at the ends" in said
    field = field_of(tmp_path)
    assert isinstance(field, SeriesField) and (field.by, field.order, field.labels) == ("unit", "t", ("v", "w"))
    new, labels = long_frame(12, "new long")
    new.drop("speed").write_parquet(tmp_path / "new.parquet")
    answers, ended = predicted(tmp_path, tmp_path / "new.parquet")
    told = " ".join(ended.err.split())
    assert "uneven in 1 series" in told and "filled linearly" in told
    order = {unit: labels[int(unit[1:])] for unit in answers["unit"].to_list()}
    assert len(order) == 12 and share_right(answers, list(order.values())) >= 0.75


def test_trees_as_json_lines(tmp_path: Path) -> None:
    def store(path: Path, n: int, stream: str, with_labels: bool) -> list[str]:
        rng, lines, labels = numpy_generator(0, stream), [], []
        for k in range(n):
            leaves = [str(c) for c in rng.choice(list("cdefgh"), int(rng.integers(3, 7)))]
            nodes = ["root", ("plus", "minus")[k % 2], *leaves]
            labels.append(("sum", "difference")[k % 2])
            tree = {"nodes": nodes, "children": [[1], list(range(2, len(nodes))), *([] for _ in leaves)]}
            lines.append(json.dumps(tree | ({"label": labels[-1]} if with_labels else {})))
        path.write_text("\n".join(lines) + "\n")
        return labels

    store(tmp_path / "trees.jsonl", N, "trees", True)
    ran(tmp_path, tmp_path / "trees.jsonl", "--target", "label")
    field = field_of(tmp_path)
    assert isinstance(field, TreeField) and {"plus", "minus"} <= set(field.labels)
    labels = store(tmp_path / "new.jsonl", 12, "new trees", False)
    answers, _ = predicted(tmp_path, tmp_path / "new.jsonl")
    assert share_right(answers, labels) == 1


def test_volumes_with_channels(tmp_path: Path) -> None:
    def blobs(n: int, stream: str) -> tuple[np.ndarray, list[str]]:
        """Noise in two channels with a bright cube in one of them."""
        rng = numpy_generator(0, stream)
        x = rng.integers(0, 60, (n, 8, 9, 10, 2)).astype(np.uint8)
        for k in range(n):
            d, h, w = rng.integers(0, 4, 3)
            x[k, d : d + 4, h : h + 4, w : w + 4, k % 2] = 220
        return x, [("first", "second")[k % 2] for k in range(n)]

    x, y = blobs(N, "volumes")
    np.savez(tmp_path / "volumes.npz", x=x, y=np.array(y))
    ran(tmp_path, tmp_path / "volumes.npz")
    field = field_of(tmp_path)
    assert isinstance(field, VolumeField) and (field.channels, field.depth, field.height, field.width) == (2, 8, 9, 10)
    x, y = blobs(12, "new volumes")
    np.savez(tmp_path / "new.npz", x=x)
    answers, _ = predicted(tmp_path, tmp_path / "new.npz")
    assert share_right(answers, y) >= 0.75


def test_sounds_of_two_formats_and_rates_with_one_and_two_channels(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile", reason="the extra audio is not installed")
    forms = [(8000, 1, "wav"), (8000, 2, "flac"), (16000, 1, "flac"), (8000, 1, "flac"), (11025, 2, "wav")]

    def store(folder: Path, n: int, stream: str, by_class: bool) -> list[str]:
        rng, labels = numpy_generator(0, stream), []
        for k in range(n):
            rate, channels, suffix = forms[k // 2 % len(forms)]
            t = np.arange(int(rate * rng.uniform(0.1, 0.2))) / rate
            sound = 0.3 * np.sin(2 * np.pi * (300, 1200)[k % 2] * t) + 0.01 * rng.normal(size=len(t))
            labels.append(("low", "high")[k % 2])
            path = folder / (labels[-1] if by_class else "") / f"{k:03d}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, np.stack([sound] * channels, 1), rate)
        return labels

    store(tmp_path / "data", N, "sounds", True)
    said = " ".join(ran(tmp_path, tmp_path / "data").err.split())
    assert "8,000" in said and "channel" in said
    field = field_of(tmp_path)
    assert isinstance(field, AudioField) and field.rate == 8000
    labels = store(tmp_path / "new", 12, "new sounds", False)
    answers, _ = predicted(tmp_path, tmp_path / "new")
    assert {Path(name).suffix for name in answers["file"].to_list()} == {".wav", ".flac"}
    assert share_right(answers, labels) >= 0.75
