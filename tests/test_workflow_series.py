"""The main job on series and on sounds, from the data to predictions of new ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from netwright.cli.rows import answer
from netwright.core.spec import AudioField, SeriesField
from netwright.model import Model
from netwright.workflow.main import Result, run
from netwright.workflow.prepare import completed, look_at, read, split_and_encode
from netwright.workflow.probing import attack
from netwright.workflow.settings import Settings

pytestmark = pytest.mark.slow

PLAN = {
    "memorise": {"threads": 1, "epoch_seconds": 0.5, "epochs": 6},
    "regularise": {"threads": 1, "epoch_seconds": 0.5, "epochs": 6},
    "learning_rate": 0.003,
}


def planned(path: Path, **settings: str) -> Path:
    """A plan of few epochs, so that what a test does is no matter of the clock."""
    asked = Settings(data=str(path.parent / settings.pop("data")), **settings)  # type: ignore[arg-type]
    seen = read(asked)
    asked = completed(asked, seen)
    fingerprint = split_and_encode(look_at(asked, seen), asked).fingerprint
    path.write_text(json.dumps({**PLAN, "fingerprint": fingerprint}))
    return path


def long_table(path: Path, n: int = 100) -> Path:
    rng, parts = np.random.default_rng(0), []
    for k in range(n):
        t = np.arange(rng.integers(20, 40))
        values = np.sin(t * (0.3, 0.8)[k % 2] + rng.uniform(0, 6))
        parts.append(
            pl.DataFrame(
                {
                    "unit": [f"u{k}"] * len(t),
                    "time": t,
                    "v": values,
                    "w": rng.normal(size=len(t)),
                    "fault": [("no", "yes")[k % 2]] * len(t),
                }
            )
        )
    pl.concat(parts).sample(fraction=1, shuffle=True, seed=0).write_csv(path)
    return path


def tones(folder: Path, n: int = 90) -> Path:
    soundfile = pytest.importorskip("soundfile", reason="the extra audio is not installed")
    rng = np.random.default_rng(0)
    for k in range(n):
        inside = folder / ("low", "high")[k % 2]
        inside.mkdir(parents=True, exist_ok=True)
        t = np.arange(rng.integers(800, 1600)) / 8000
        soundfile.write(
            inside / f"{k}.wav", 0.3 * np.sin(2 * np.pi * (300, 900)[k % 2] * t) + 0.01 * rng.normal(size=len(t)), 8000
        )
    return folder


def check(result: Result, baselines: set[str]) -> None:
    found = [finding for findings in result.findings.values() for finding in findings]
    assert not [f.title for f in found if "broke" in f.title]
    assert {f.probe for f in result.findings["baselines"]} == {"dummy", *baselines}
    assert {f.probe for f in result.findings["attack"]} == {"fgsm", "pgd"}
    page = (result.folder / "report.html").read_text()
    assert all(name in page for name in (*baselines, "pgd"))
    assert (result.folder / "baseline.py").is_file()


def test_a_long_table_of_series_goes_through_the_whole_job(tmp_path: Path) -> None:
    path = long_table(tmp_path / "long.csv")
    how = {"target": "fault", "series_by": "unit", "series_order": "time"}
    plan = planned(tmp_path / "plan.json", data="long.csv", **how)
    result = run(path, **how, out=tmp_path / "run", plan=plan, minutes=5)
    check(result, {"random-kernels", "nearest-series"})
    model = Model.load(result.folder / "model")
    field = model.spec.fields[0]
    assert isinstance(field, SeriesField) and (field.by, field.order, field.labels) == ("unit", "time", ("v", "w"))
    pl.read_csv(path).drop("fault").head(500).write_csv(tmp_path / "new.csv")
    answered = answer(model, tmp_path / "new.csv").table
    assert answered.columns[:3] == ["row", "unit", "prediction"]
    assert answered["unit"].n_unique() == len(answered)
    asked = attack(result.folder, names=["fgsm"], budget_seconds=5)
    assert asked[0].verdict in ("pass", "warn", "info")


def test_a_folder_of_sounds_goes_through_the_whole_job(tmp_path: Path) -> None:
    folder = tones(tmp_path / "tones")
    plan = planned(tmp_path / "plan.json", data="tones")
    result = run(folder, out=tmp_path / "run", plan=plan, minutes=5)
    check(result, {"mel-frames"})
    model = Model.load(result.folder / "model")
    field = model.spec.fields[0]
    assert isinstance(field, AudioField) and field.rate == 8000
    (folder / "low" / "bad.wav").write_bytes(b"RIFF")
    answered = answer(model, folder)
    assert answered.table.columns[:3] == ["row", "file", "prediction"]
    assert len(answered.table) == 90
    assert "low/bad.wav" in answered.notes[0]
    assert len(answer(model, folder / "low" / "0.wav").table) == 1
