"""The main job on films, from an archive to predictions for new ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import netwright as nw
from netwright.cli.main import main
from netwright.exhibits.moving_blobs import films


@pytest.mark.slow
def test_films_go_from_an_archive_to_a_report_and_predictions(tmp_path: Path) -> None:
    x, y = films(200, 0)
    np.savez(tmp_path / "films.npz", x=x, y=y)
    result = nw.run(tmp_path / "films.npz", out=tmp_path / "run", quick=True)
    found = {finding.probe: finding for findings in result.findings.values() for finding in findings}
    assert found["design"].measured["template"] == "residual-conv-3d"
    assert "volume" in str(found["columns"].tables[0].rows[0])
    assert result.recommended == "network" and {"dummy", "linear"} <= set(result.summary.baselines)
    assert (tmp_path / "run" / "report.html").is_file()
    new, truth = films(40, 1)
    np.savez(tmp_path / "new.npz", x=new)
    main(["predict", str(tmp_path / "run" / "model"), str(tmp_path / "new.npz"), "-o", str(tmp_path / "answers.csv")])
    answers = pl.read_csv(tmp_path / "answers.csv")
    assert len(answers) == 40
    assert (answers["prediction"].to_numpy() == truth).mean() > 0.5
