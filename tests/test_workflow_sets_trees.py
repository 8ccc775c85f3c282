"""Sets and trees through the whole main job: run, report, model, new rows, the script of the best classic method."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from commandline import call
from netwright.core.errors import DataError, UsageError
from netwright.core.seed import numpy_generator
from netwright.core.spec import InputSpec, SetField, TargetSpec, TreeField
from netwright.export.write import export
from netwright.model import Model, Subject
from netwright.recipes.book import design
from netwright.recipes.trees import tree_classifier
from netwright.workflow.prepare import look_at, look_finding, split_and_encode
from netwright.workflow.probing import CHECKS, ask, fitting
from netwright.workflow.settings import Settings


def items(path: Path, n: int = 150) -> Path:
    """Orders of 1 to 5 items, late where they are dear and red."""
    rng = numpy_generator(0, "items")
    sizes = rng.integers(1, 6, n)
    order = np.repeat(np.arange(n) + 500, sizes)
    price, red = rng.gamma(2, 10, len(order)).round(2), rng.random(len(order)) < 0.3
    total = np.bincount(order - 500, price + 20 * red, n)
    frame = pl.DataFrame(
        {
            "order": order,
            "price": price,
            "colour": np.where(red, "red", "blue"),
            "city": np.array(["Rome", "Oslo"])[rng.integers(0, 2, n)][order - 500],
            "late": np.where(total > np.median(total), "yes", "no")[order - 500],
        }
    )
    frame.write_csv(path)
    return path


def parsed(path: Path, n: int = 120) -> Path:
    """Trees in brackets whose class is what stands below an a."""
    rng = numpy_generator(0, "parsed")
    lines = ["parse\tlabel"]
    for k in range(n):
        one, other = (" ".join(rng.choice(list("cdefgh"), int(rng.integers(3, 7)))) for _ in "ab")
        lines.append(f"(r (a b {one}) (c {other}))\tin a" if k % 2 else f"(r (a {one}) (c b {other}))\tin c")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_looking_says_what_is_of_the_elements_and_what_of_the_row(tmp_path: Path) -> None:
    settings = Settings(data=str(items(tmp_path / "items.csv")), target="late", set_by="order")
    looked = look_at(settings)
    note = next(w for w in looked.warnings if "grouped by order" in w)
    assert "to 150 sets: price, colour of the elements, city, late of the row" in note
    assert "of one element only, which is a set like others" in note
    assert {name: guess.kind for name, guess in looked.guesses.items()} == {"city": "category", "set": "set"}
    finding = look_finding(looked, settings)
    assert any("sets of 1 to 5 elements, each of price, colour" in str(row) for row in finding.tables[0].rows)
    data = split_and_encode(looked, settings)
    field = data.spec["set"]
    assert isinstance(field, SetField) and field.key == "order" and data.spec.kind == "table"
    assert sum(len(rows) for rows in data.split.values()) == 150
    assert data.fingerprint == split_and_encode(look_at(settings), settings).fingerprint


def test_a_key_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    path = items(tmp_path / "items.csv")
    with pytest.raises(DataError, match="'oder'"):
        look_at(Settings(data=str(path), target="late", set_by="oder"))
    with pytest.raises(ValueError, match="can have no other part"):
        Settings(data=str(path), target="late", set_by="late")
    with pytest.raises(UsageError, match="is a column of elements"):
        look_at(Settings(data=str(path), target="late", set_by="order", kinds={"price": "text"}))


@pytest.mark.parametrize("kind", ["set", "tree"])
def test_checks_of_the_data_and_of_the_start_say_something_of_sets_and_trees(tmp_path: Path, kind: str) -> None:
    if kind == "set":
        settings = Settings(data=str(items(tmp_path / "items.csv")), target="late", set_by="order", drop=("city",))
    else:
        settings = Settings(data=str(parsed(tmp_path / "parsed.tsv")), target="label", kinds={"parse": "tree"})
    data = split_and_encode(look_at(settings), settings)
    assert data.spec.kind == kind
    recipe, reason = design(data.spec, data.target, len(data.split["train"]))
    assert f"{kind}s of up to" in reason
    subject = Subject(recipe=recipe, data=data, metric="log-loss")
    cheap = (
        "duplicates",
        "contradictions",
        "few-rows",
        "imbalance",
        "predictions-finite",
        "rows-independent",
        "gradients-flow",
    )
    found = {
        e.name: ask(e, "checks", subject, budget_seconds=3.0, seed=0)
        for e in fitting(CHECKS, subject)
        if e.name in cheap
    }
    assert set(found) == set(cheap)
    for name, finding in found.items():
        if name not in ("duplicates", "contradictions", "few-rows"):
            assert finding.verdict in ("pass", "info"), (name, finding.title)


def test_a_model_on_trees_is_not_exported_and_this_is_said(tmp_path: Path) -> None:
    field = TreeField(labels=("a",), n_nodes=2)
    spec = InputSpec(kind="tree", fields=(field,))
    target = TargetSpec(name="y", task="binary", classes=("0", "1"), priors=(0.5, 0.5))
    recipe = tree_classifier(width=4)
    model = Model(recipe.build(spec, target, 0), spec, target, recipe.make_loss(target), recipe)
    with pytest.raises(UsageError, match="no form in an ONNX file"):
        export(model, tmp_path / "tree.onnx")


def run(tmp_path: Path, data: Path, *options: str) -> Path:
    ended = call("run", data, "--out", tmp_path / "run", "--minutes", "0.5", "--quick", *options)
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err and "broke" not in ended.err
    folder = tmp_path / "run"
    assert (folder / "report.html").stat().st_size > 10_000
    return folder


def script(folder: Path, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, str(folder / "baseline.py"), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_sets_go_through_the_main_job(tmp_path: Path) -> None:
    data = items(tmp_path / "items.csv")
    folder = run(tmp_path, data, "--target", "late", "--set-by", "order", "--drop", "city")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["network"]["network"]["accuracy"]["value"] > 0.7
    assert {"dummy", "linear", "gradient-boosting"} <= set(summary["baselines"])
    new = pl.read_csv(data).drop("late").filter(pl.col("order") >= 640)
    new = new.sample(fraction=1.0, shuffle=True, seed=0)
    new.write_csv(tmp_path / "new.csv")
    ended = call("predict", folder, tmp_path / "new.csv", "-o", tmp_path / "out.csv")
    assert ended.code == 0, ended.err
    out = pl.read_csv(tmp_path / "out.csv")
    assert out.columns[:3] == ["row", "order", "prediction"]
    assert out["order"].to_list() == new["order"].unique(maintain_order=True).to_list()
    alone = new.filter(pl.col("order") == out["order"][3])
    alone.write_csv(tmp_path / "alone.csv")
    call("predict", folder, tmp_path / "alone.csv", "-o", tmp_path / "one.csv")
    np.testing.assert_allclose(pl.read_csv(tmp_path / "one.csv")["p_yes"][0], out["p_yes"][3], atol=1e-5)
    told = script(folder)
    best = summary["recommended"] if summary["recommended"] in summary["baselines"] else None
    assert best is None or "(the run reported" in told
    script(folder, tmp_path / "new.csv", "-o", tmp_path / "classic.csv")
    assert pl.read_csv(tmp_path / "classic.csv")["order"].to_list() == out["order"].to_list()
    field = Model.load(folder / "model").spec["set"]
    assert isinstance(field, SetField) and field.key == "order"


@pytest.mark.slow
def test_trees_go_through_the_main_job(tmp_path: Path) -> None:
    data = parsed(tmp_path / "parsed.tsv")
    folder = run(tmp_path, data, "--target", "label", "--kind", "parse=tree")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["network"]["network"]["accuracy"]["value"] > 0.8
    assert {"dummy", "tree-counts", "tree-edit-neighbours"} <= set(summary["baselines"])
    new = tmp_path / "new.tsv"
    new.write_text("parse\n(r (a b c d e) (c d e f))\n(r (a c d e) (c b f g h))\n(r (a new c d) (c b d e))\n")
    ended = call("predict", folder, new, "-o", tmp_path / "out.csv")
    assert ended.code == 0, ended.err
    assert "1 node of" in ended.err and "taken as unknown" in ended.err
    assert pl.read_csv(tmp_path / "out.csv")["prediction"].to_list()[:2] == ["in a", "in c"]
    new.write_text("parse\n(r (a b\n")
    ended = call("predict", folder, new)
    assert ended.code == 3 and "2 brackets are still open" in ended.err
    assert "(the run reported" in script(folder)


@pytest.mark.slow
def test_a_folder_of_programs_goes_through_the_main_job(tmp_path: Path) -> None:
    for k in range(40):
        for label, body in (
            ("loop", f"for i in range({k}):\n    s += i\n"),
            ("call", f"s = sum(range({k}))\nprint(s)\n"),
        ):
            path = tmp_path / "programs" / label / f"{k}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("s = 0\n" * k + body)
    folder = run(tmp_path, tmp_path / "programs", "--skip", "attack", "--force")
    field = Model.load(folder / "model").spec["source"]
    assert isinstance(field, TreeField) and field.notation == "python"
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "x.py").write_text("for a in b:\n    c += a\n")
    ended = call("predict", folder, tmp_path / "new", "-o", tmp_path / "out.csv")
    assert ended.code == 0, ended.err
    assert pl.read_csv(tmp_path / "out.csv").select("file", "prediction").rows() == [("x.py", "loop")]
    ended = call("predict", folder, tmp_path / "new" / "x.py")
    assert ended.code == 0 and "x.py" in ended.out
