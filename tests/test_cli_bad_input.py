"""Bad input through the command line: a message that says what to do, the exit code, and nothing half-written."""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from commandline import buffered, call, command, refused, spawn, tree, unchanged
from conftest import TINY_PLAN, TinyRun, make_frame
from netwright.core.files import write_json

ROWS = 60


def table(**columns: object) -> str:
    """A CSV of `ROWS` rows with two sound inputs `a`, `b` and the target `y`, some of them replaced."""
    base: dict[str, object] = {
        "a": [i * 7 % 13 / 3 for i in range(ROWS)],
        "b": [f"k{i % 3}" for i in range(ROWS)],
        "y": ["yes" if i * 7 % 13 > 6 else "no" for i in range(ROWS)],
    }
    return pl.DataFrame(base | columns).write_csv()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, so that a run folder left behind is seen."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_refused(
    here: Path, content: str | bytes, code: int, *words: str, name: str = "data.csv", target: str = "y"
) -> None:
    """`netwright run` on this content ends so, and makes nothing."""
    path = here / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with unchanged(here):
        refused(call("run", path, "--target", target), code, *words)


# --- data that cannot be read -----------------------------------------------------------------------------------------


def test_a_missing_file_is_refused_with_the_nearest_name(here: Path) -> None:
    (here / "adult.csv").write_text(table())
    with unchanged(here):
        refused(call("run", here / "adlt.csv", "--target", "y"), 3, "no file", "did you mean", "adult.csv")


def test_a_missing_folder_is_refused(here: Path) -> None:
    with unchanged(here):
        refused(call("run", here / "no" / "adult.csv", "--target", "y"), 3, "folder", "does not exist")


@pytest.mark.parametrize(
    ("name", "content", "code", "words"),
    [
        ("picture.csv", b"\x89PNG\r\n\x1a\n" + bytes(99), 3, ["PNG"]),
        ("book.xlsx", b"PK\x03\x04" + bytes(99), 3, [".xlsx", ".csv"]),
        ("book.csv", b"PK\x03\x04" + bytes(99), 3, ["zip", "CSV"]),
        ("noise.csv", bytes(range(256)) * 9, 3, ["not a table"]),
        ("page.csv", b"<!DOCTYPE html><html></html>", 3, ["web page"]),
        ("letter.txt", b"Dear Sir,\nthank you, very, very much, for it all.\nYours\n", 3, ["line 2", "cells"]),
        ("empty.csv", b"", 3, ["empty"]),
        ("broken.parquet", b"PAR1" + bytes(50), 3, ["damaged", "again"]),
        ("broken.csv.gz", b"\x1f\x8b\x08\x00" + bytes(20), 3, ["damaged"]),
        ("list.jsonl", b'[{"y": 1}]', 3, ["JSON array", "one object a line"]),
    ],
)
def test_what_is_no_table_is_refused(here: Path, name: str, content: bytes, code: int, words: list[str]) -> None:
    run_refused(here, content, code, name, *words, name=name)


def test_a_folder_offered_as_data_is_refused(here: Path) -> None:
    (here / "data.csv").mkdir()
    with unchanged(here):
        refused(call("run", here / "data.csv", "--target", "y"), 3, "is a folder")


@pytest.mark.parametrize("name", ["data.pkl", "data.csv", "data.pt"])
def test_a_pickle_offered_as_data_is_never_opened(here: Path, name: str) -> None:
    run_refused(here, pickle.dumps(Bomb(here / "boom")), 3, "pickle", "Parquet or CSV", name=name)
    assert not (here / "boom").exists()


def test_bytes_that_are_not_utf8_are_refused_with_their_place_and_the_cure(here: Path) -> None:
    content = table(b=["Zürich"] * ROWS).encode("latin-1")
    run_refused(here, content, 3, "not UTF-8", "line 2", "iconv")


def test_ragged_rows_are_refused_with_their_lines(here: Path) -> None:
    lines = table().splitlines()
    lines[3] += ",extra"
    lines[7] = "1.0"
    run_refused(here, "\n".join(lines), 3, "line 4 has 4 cells", "header has 3", "4, 8")


# --- data that nothing can be learned from ----------------------------------------------------------------------------


def test_a_misspelt_target_is_refused_with_the_nearest_names(here: Path) -> None:
    content = table().replace("y", "income", 1)
    run_refused(here, content, 3, "no target column 'incom'", "'income'", target="incom")


def test_a_target_with_missing_values_is_refused(here: Path) -> None:
    cells = ["yes", "no", None] * (ROWS // 3)
    run_refused(here, table(y=cells), 3, "'y'", "20", "missing", "remove")


def test_a_target_of_one_class_is_refused(here: Path) -> None:
    run_refused(here, table(y=["yes"] * ROWS), 3, "'y'", "one class only", "'yes'")


def test_a_class_with_one_row_is_refused(here: Path) -> None:
    run_refused(here, table(y=["yes", "no"] * (ROWS // 2 - 1) + ["no", "perhaps"]), 3, "one row", "'perhaps'", "drop")


@pytest.mark.parametrize(("rows", "words"), [(0, ["no rows"]), (1, ["1 row", "at least two"]), (4, ["4 rows", "10"])])
def test_too_few_rows_are_refused(here: Path, rows: int, words: list[str]) -> None:
    run_refused(here, "\n".join(table().splitlines()[: rows + 1]), 3, *words)


def test_constant_columns_alone_are_refused(here: Path) -> None:
    run_refused(here, table(a=[1.0] * ROWS, b=["x"] * ROWS), 3, "constant", "right file")


def test_fifty_thousand_classes_with_one_row_each_are_refused(here: Path) -> None:
    rows = "".join(f"{i % 7},c{i}\n" for i in range(50_000))
    run_refused(here, "a,y\n" + rows, 3, "50,000 classes with one row", "merge")


@pytest.mark.slow
def test_a_column_of_fifty_thousand_categories_is_learned_from_or_left_out_with_a_word(here: Path) -> None:
    rows = "".join(f"c{i % 50_000},{i % 7},{'yes' if i % 7 > 3 else 'no'}\n" for i in range(60_000))
    (here / "data.csv").write_text("many,a,y\n" + rows)
    write_json(here / "plan.json", short_plan())
    skipped = [word for step in ("baselines", "check", "attack", "explain") for word in ("--skip", step)]
    arguments = ["run", "data.csv", "--target", "y", "--plan", "plan.json", *skipped]
    as_guessed = call(*arguments, "--out", "guessed")
    assert as_guessed.code == 0, as_guessed.err
    assert "many" in as_guessed.err
    as_told = call(*arguments, "--out", "told", "--kind", "many=category")
    assert as_told.code == 0, as_told.err
    assert (here / "told" / "model" / "weights.safetensors").stat().st_size < 50 * 2**20


def short_plan() -> dict[str, object]:
    """A plan of one pass each."""
    stage = {"threads": 1, "epoch_seconds": 5.0, "epochs": 1}
    return {"learning_rate": 0.002, "memorise": stage, "regularise": stage}


# --- settings that do not fit the data --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--drop", "bb"], 3, ["'bb'", "'b'"]),
        (["--drop", "y"], 2, ["--drop y", "target"]),
        (["--kind", "aa=number"], 2, ["'aa'", "'a'"]),
        (["--kind", "b=number"], 3, ["--kind b=number", "--drop b"]),
        (["--drop", "a", "--drop", "b"], 3, ["no column is left"]),
        (["--task", "number"], 3, ["--task number", "no number"]),
        (["--metric", "rmse"], 2, ["'rmse'", "does not fit", "log-loss"]),
        (["--split-column", "b"], 3, ["--split-column b", "'k0'", "train", "valid", "test"]),
        (["--split-column", "a", "--group", "b"], 2, ["--split-column", "--group"]),
        (["--group", "a", "--time", "b"], 2, ["--group", "--time"]),
        (["--time", "y"], 2, ["--time y", "target"]),
        (["--plan", "no.json"], 3, ["no.json", "no such file"]),
        (["--plan", "data.csv"], 3, ["data.csv", "JSON"]),
        (["--plan", "."], 2, ["folder"]),
        (["--plan", "list.json"], 3, ["list.json", "no plan"]),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_a_folder_is_made(
    here: Path, arguments: list[str], code: int, words: list[str]
) -> None:
    (here / "data.csv").write_text(table())
    (here / "list.json").write_text("[1]")
    with unchanged(here):
        refused(call("run", "data.csv", "--target", "y", *arguments), code, *words)


def test_an_existing_run_folder_is_refused_and_resume_is_offered(tiny_run: TinyRun) -> None:
    with unchanged(tiny_run.folder):
        ended = call("run", tiny_run.data, "--target", "y", "--out", tiny_run.folder)
        refused(ended, 2, "exists", "--out", f"netwright resume {tiny_run.folder}")


def test_a_plan_of_other_data_is_refused(here: Path, tiny_run: TinyRun) -> None:
    (here / "data.csv").write_text(table())
    with unchanged(here):
        ended = call("run", "data.csv", "--target", "y", "--plan", tiny_run.folder / "plan.json", "--out", "run")
        refused(ended, 3, "plan.json", "other data")


# --- cells that are no plain numbers ----------------------------------------------------------------------------------


def test_odd_cells_in_a_column_of_numbers_are_read_with_a_warning(tiny_run: TinyRun) -> None:
    assert tiny_run.ended.code == 0, tiny_run.ended.err
    told = [line for line in tiny_run.ended.err.splitlines() if "warning" in line and "'odd'" in line]
    assert any("'inf'" in line and "missing" in line for line in told), tiny_run.ended.err
    assert any("'1,5' read as 1.5" in line for line in told), told
    spec = json.loads((tiny_run.folder / "model" / "model.json").read_text())["spec"]
    odd = next(field for field in spec["fields"] if field["name"] == "odd")
    assert odd["kind"] == "number"


def test_a_run_leaves_no_temporary_file(tiny_run: TinyRun) -> None:
    assert not [p for p in tree(tiny_run.folder.parent) if p.name.endswith(".tmp")]


# --- rows that do not fit the model -----------------------------------------------------------------------------------


@pytest.fixture
def rows(tiny_run: TinyRun, tmp_path: Path) -> pl.DataFrame:
    """Rows as the tiny run's model knows them, without the target."""
    return pl.read_csv(tiny_run.data).drop("y").head(20)


def predict(tiny_run: TinyRun, frame: pl.DataFrame, folder: Path) -> tuple[str, str]:
    """Predictions as CSV, and what was said."""
    frame.write_csv(folder / "rows.csv")
    ended = call("predict", tiny_run.folder / "model", folder / "rows.csv")
    assert ended.code == 0, ended.err
    return ended.out, ended.err


def test_a_category_that_training_never_saw_is_predicted_with_a_note(
    tiny_run: TinyRun, rows: pl.DataFrame, tmp_path: Path
) -> None:
    out, err = predict(tiny_run, rows.with_columns(colour=pl.lit("mauve")), tmp_path)
    assert len(out.splitlines()) == 21
    assert "'colour'" in err and "20 cells" in err and "'mauve'" in err


def test_a_missing_column_is_refused_at_predict_time(tiny_run: TinyRun, rows: pl.DataFrame, tmp_path: Path) -> None:
    rows.rename({"noise": "nois"}).drop("b").write_csv(tmp_path / "rows.csv")
    with unchanged(tmp_path):
        ended = call("predict", tiny_run.folder, tmp_path / "rows.csv", "-o", tmp_path / "out.csv")
        refused(ended, 3, "lacks 2", "'b'", "'noise' (is it 'nois'?)")


def test_extra_and_reordered_columns_change_nothing(tiny_run: TinyRun, rows: pl.DataFrame, tmp_path: Path) -> None:
    straight, _ = predict(tiny_run, rows, tmp_path)
    turned, err = predict(
        tiny_run, rows.with_columns(extra=pl.lit(1)).select(["extra", *reversed(rows.columns)]), tmp_path
    )
    assert straight == turned
    assert "'extra'" in err


def test_labelled_rows_without_their_target_cannot_be_attacked(
    tiny_run: TinyRun, rows: pl.DataFrame, tmp_path: Path
) -> None:
    rows.write_csv(tmp_path / "rows.csv")
    refused(call("attack", tiny_run.folder / "model", tmp_path / "rows.csv"), 3, "no target column 'y'")


# --- models that are none ---------------------------------------------------------------------------------------------


class Bomb:
    """A pickle of it makes a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def model(tiny_run: TinyRun, tmp_path: Path) -> Path:
    """A copy of the tiny run's model, to be damaged."""
    return Path(shutil.copytree(tiny_run.folder / "model", tmp_path / "model"))


def truncated(model: Path) -> None:
    """Half a weight file."""
    path = model / "weights.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def tampered(model: Path) -> None:
    """One bit of one weight turned."""
    path = model / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def no_weights(model: Path) -> None:
    """No weight file."""
    (model / "weights.safetensors").unlink()


def pickled_weights(model: Path) -> None:
    """A pickle in the place of the weights."""
    (model / "weights.safetensors").write_bytes(pickle.dumps(Bomb(model.parent / "boom")))


def half_card(model: Path) -> None:
    """Half a description."""
    path = model / "model.json"
    path.write_text(path.read_text()[:200])


def card_of_another_format(model: Path) -> None:
    """A description of a later format."""
    write_json(model / "model.json", json.loads((model / "model.json").read_text()) | {"format": 999})


def card_without_spec(model: Path) -> None:
    """A description without the columns."""
    card = json.loads((model / "model.json").read_text())
    del card["spec"]
    write_json(model / "model.json", card)


def card_with_a_path(model: Path) -> None:
    """A description that names code to import."""
    card = json.loads((model / "model.json").read_text())
    card["recipe"]["template"] = "os:system"
    write_json(model / "model.json", card)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncated, ["weights.safetensors", "checksum", "copy it again"]),
        (tampered, ["weights.safetensors", "checksum"]),
        (no_weights, ["no weights.safetensors"]),
        (pickled_weights, ["weights.safetensors", "checksum"]),
        (half_card, ["model.json", "JSON"]),
        (card_of_another_format, ["model.json", "format"]),
        (card_without_spec, ["damaged", "spec"]),
        (card_with_a_path, ["os:system"]),
    ],
)
@pytest.mark.parametrize("name", ["predict", "explain"])
def test_a_damaged_model_is_refused(
    tiny_run: TinyRun, model: Path, damage: Callable[[Path], None], words: list[str], name: str
) -> None:
    damage(model)
    output = ["-o", model.parent / "out.csv"] if name == "predict" else ["--json", model.parent / "out.json"]
    with unchanged(model.parent):
        refused(call(name, model, tiny_run.data, *output), 3, *words)


@pytest.mark.parametrize("name", ["predict", "check", "attack", "explain"])
def test_a_pickle_offered_as_a_model_is_never_opened(tiny_run: TinyRun, tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    with unchanged(tmp_path):
        refused(call(name, path, tiny_run.data), 3, "is a file", "folder", "pickles are never opened")


def test_a_model_folder_that_is_not_there_is_refused_with_the_nearest_name(model: Path, tiny_run: TinyRun) -> None:
    refused(call("predict", model.with_name("modle"), tiny_run.data), 3, "no folder", "did you mean", "model")


def test_a_folder_without_a_model_is_refused(tmp_path: Path, tiny_run: TinyRun) -> None:
    refused(call("predict", tmp_path, tiny_run.data), 3, "neither a run folder nor a model folder")
    refused(call("resume", tmp_path), 3, "not a run folder", "netwright run")


def test_an_unfinished_run_is_not_asked_for_its_model(tmp_path: Path, tiny_run: TinyRun) -> None:
    (tmp_path / "settings.json").write_text("{}")
    refused(call("predict", tmp_path, tiny_run.data), 3, "no model yet", f"netwright resume {tmp_path}")
    refused(call("attack", tmp_path), 3, "no model yet")


def test_a_damaged_run_is_not_resumed(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"target": 3}')
    with unchanged(tmp_path):
        refused(call("resume", tmp_path), 3, "settings.json", "damaged")


def test_a_model_alone_cannot_be_asked_without_rows(tiny_run: TinyRun) -> None:
    for name in ("check", "attack", "explain"):
        refused(call(name, tiny_run.folder / "model"), 2, "no labelled rows", "run folder")


# --- no room, no permission -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("out", ["data.csv", "data.csv/run", "/proc/netwright", "/dev/null/run"])
def test_a_run_folder_that_cannot_be_made_is_refused(here: Path, out: str) -> None:
    (here / "data.csv").write_text(table())
    with unchanged(here):
        refused(
            call("run", "data.csv", "--target", "y", "--out", out), 2 if out == "data.csv" else 4, out, "choose another"
        )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(here: Path) -> None:
    (here / "data.csv").write_text(table())
    (here / "locked").mkdir(mode=0o500)
    with unchanged(here):
        refused(call("run", "data.csv", "--target", "y", "--out", "locked/run"), 4, "locked/run", "choose another")


def test_no_room_for_the_run_is_the_environment_and_nothing_is_half_written(here: Path) -> None:
    """A limit on the size of files stands for a full disk: in the kernel, every larger write fails."""
    make_frame(300).drop("z").write_csv(here / "data.csv")
    write_json(here / "plan.json", TINY_PLAN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        ended = call("run", "data.csv", "--target", "y", "--plan", "plan.json", *SKIP_ALL, "--out", "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    refused(ended, 4, "cannot write run/")
    assert "netwright resume run" in ended.err
    assert not [p for p in tree(here) if p.name.endswith(".tmp")]
    for path in here.rglob("*.json"):
        json.loads(path.read_text())


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no permission to mount a small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
def test_a_disk_that_fills_up_is_the_environment_and_the_run_can_go_on(
    full_disk: Path, here: Path, tiny_run: TinyRun
) -> None:
    out = full_disk / "run"
    plan = tiny_run.folder.parent / "plan.json"
    ended = call(
        "run", tiny_run.data, "--target", "y", "--plan", plan, "--skip", "check", "--skip", "baselines", "--out", out
    )
    refused(ended, 4, "cannot write", "No space left", "free some room")
    assert f"netwright resume {out}" in ended.err
    assert not [p for p in tree(full_disk) if p.name.endswith(".tmp")]
    subprocess.run(["mount", "-o", "remount,size=64m", str(full_disk)], check=True)
    assert call("resume", out).code == 0


def test_predictions_that_do_not_fit_on_the_disk_are_not_left_in_part(
    full_disk: Path, tiny_run: TinyRun, tmp_path: Path
) -> None:
    make_frame(8_000).with_columns(odd=pl.col("noise")).write_csv(tmp_path / "rows.csv")
    for suffix in (".csv", ".parquet", ".jsonl"):
        ended = call("predict", tiny_run.folder, tmp_path / "rows.csv", "-o", full_disk / f"out{suffix}")
        refused(ended, 4, "No space left", "room")
        assert not list(full_disk.iterdir())


# --- a few through a process of their own -----------------------------------------------------------------------------


@pytest.mark.slow
def test_refusals_are_the_same_in_a_process_of_its_own(here: Path, tiny_run: TinyRun) -> None:
    (here / "data.csv").write_text(table())
    with unchanged(here):
        refused(spawn("run", "no.csv", "--target", "y", cwd=here), 3, "no file")
        refused(spawn("run", "data.csv", "--target", "y", "--task", "clases", cwd=here), 2, "'classes'")
        refused(spawn("predict", "data.csv", "data.csv", cwd=here), 3, "is a file")
        shown = spawn("run", "no.csv", "--target", "y", "--debug", cwd=here)
    assert shown.code == 3 and "Traceback" in shown.err and "no file" in shown.error


@pytest.mark.parametrize("name", ["--help", "list"])
def test_stdout_on_a_full_device_is_the_environment(name: str) -> None:
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            command(name), stdout=full, stderr=subprocess.PIPE, env=buffered(), text=True, check=False
        )
    assert ended.returncode == 4 and "No space left" in ended.stderr
    assert "Traceback" not in ended.stderr and "Exception ignored" not in ended.stderr


def test_the_default_run_folder_is_named_after_the_data_and_the_time(here: Path) -> None:
    (here / "data.csv").write_text(table())
    day = time.strftime("%Y%m%d")
    ended = call("run", "data.csv", "--target", "y", "--plan", save_plan(here), *SKIP_ALL)
    assert ended.code in (0, 1), ended.err
    (made,) = (here / "runs").iterdir()
    assert made.name.startswith(f"data-{day[:4]}")


SKIP_ALL = [word for step in ("baselines", "check", "attack", "explain") for word in ("--skip", step)]


def save_plan(here: Path) -> Path:
    """The tiny plan as a file."""
    write_json(here / "plan.json", TINY_PLAN)
    return here / "plan.json"
