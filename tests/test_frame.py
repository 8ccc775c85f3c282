"""The frame keeps its promises: set-up from nothing, pinned versions, nothing of one machine, a README that is not old."""

from __future__ import annotations

import datetime
import importlib.util
import inspect
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from benchmarks.data import DATA, SPLIT, with_split
from benchmarks.main_job import environment, mlp_errors, timed
from benchmarks.results import HEAD, Result, Row, block, rewritten, store
from conftest import make_data
from netwright.baselines import classic
from netwright.core.errors import SetupError
from netwright.core.finding import Finding
from netwright.core.spec import TargetSpec
from netwright.model import Subject, fit
from netwright.recipes.entries import RECIPES
from test_entries import is_probe

ROOT = Path(__file__).resolve().parent.parent
FRAME = ["Makefile", ".ci/run", "constraints.txt", "pyproject.toml"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONSTRAINTS = [
    line
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def tool(name: str) -> ModuleType:
    """A script of tools/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plain_name(requirement: str) -> str:
    """The name of a requirement, as package indexes compare names."""
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=!~\[; ]", requirement)[0]).lower()


# --- set-up -----------------------------------------------------------------------------------------------------------


def test_every_requirement_has_one_exact_version() -> None:
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in CONSTRAINTS)
    names = [plain_name(line) for line in CONSTRAINTS]
    assert len(names) == len(set(names))
    wanted = PROJECT["dependencies"] + [r for extra in PROJECT["optional-dependencies"].values() for r in extra]
    assert {plain_name(r) for r in wanted} <= {*names, "netwright"}  # which an extra names to take in another extra


def test_no_torch_build_is_asked_for() -> None:
    """A version with "+cpu" is on no package index, and one without is satisfied by every build."""
    (torch,) = (line for line in CONSTRAINTS if plain_name(line) == "torch")
    assert "+" not in torch


@pytest.mark.parametrize("name", FRAME)
def test_the_frame_names_no_package_index_and_no_path_of_one_machine(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert re.findall(r"\w+://\S*|--(?:extra-)?index-url|--find-links", text) == []
    assert re.findall(r"(?<![\w.$)])/(?:work|home|root|Users|opt|tmp|mnt|srv)\b\S*", text) == []


def test_the_ci_script_is_executable_and_parses() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text(encoding="utf-8").splitlines()[0] == "#!/usr/bin/env bash"
    subprocess.run(["bash", "-n", str(script)], check=True)


def make(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """`make` with clean flags, whatever make this test may run under."""
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return subprocess.run(["make", *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with no more than set-up needs."""
    for name in ("Makefile", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def fake_python(folder: Path, version: tuple[int, int, int], *, modules: str = "") -> Path:
    """A command that stands for an interpreter of a version: answers -c with that version, and to -m says what it was asked.

    Args:
        modules: that cannot be imported.
    """
    path = folder / "python-fake"
    hide = "".join(f"sys.modules[{m!r}] = None; " for m in modules.split())
    path.write_text(
        f"""#!/bin/sh
case "$1" in
  --version) echo Python {".".join(map(str, version))} ;;
  -c) exec "{sys.executable}" -c "import sys; sys.version_info = {version}; {hide}exec(sys.argv[1])" "$2" ;;
  *) echo "asked for $*" >&2; exit 9 ;;
esac
"""
    )
    path.chmod(0o755)
    return path


@needs_make
def test_a_missing_python_is_named_with_the_version_that_is_needed(tree: Path) -> None:
    done = make("setup", "PYTHON=no-such-python", cwd=tree)
    assert done.returncode != 0
    assert "3.11" in done.stderr and "no-such-python" in done.stderr
    assert not (tree / ".venv").exists()


@needs_make
@pytest.mark.parametrize("version", [(3, 9, 2), (3, 10, 99)])
def test_an_old_python_is_refused_with_its_version(tree: Path, version: tuple[int, int, int]) -> None:
    done = make("setup", f"PYTHON={fake_python(tree, version)}", cwd=tree)
    assert done.returncode != 0
    assert "3.11" in done.stderr and f"Python {'.'.join(map(str, version))}" in done.stderr
    assert "asked for" not in done.stderr and not (tree / ".venv").exists()


@needs_make
def test_a_python_that_is_new_enough_makes_the_environment(tree: Path) -> None:
    done = make("setup", f"PYTHON={fake_python(tree, (3, 11, 0))}", cwd=tree)
    assert "asked for -m venv .venv" in done.stderr


@needs_make
@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_a_python_that_cannot_make_environments_is_refused_with_the_package_to_install(tree: Path, module: str) -> None:
    done = make("setup", f"PYTHON={fake_python(tree, (3, 12, 0), modules=module)}", cwd=tree)
    assert done.returncode != 0
    assert "python3-venv" in done.stderr and "asked for" not in done.stderr


@needs_make
def test_set_up_is_repeated_only_after_a_change_of_what_it_installs(tree: Path) -> None:
    (tree / ".venv" / "bin").mkdir(parents=True)
    for name in ("bin/python", ".stamp-run", ".stamp-dev"):
        (tree / ".venv" / name).touch()
    for name in ("constraints.txt", "pyproject.toml"):
        os.utime(tree / name, (0, 0))
    assert "up to date" in make("-n", "setup", cwd=tree).stdout + make("-n", ".venv/.stamp-dev", cwd=tree).stdout
    assert "pip install" not in make("-n", "test", "demo", cwd=tree).stdout
    (tree / ".venv" / ".stamp-dev").unlink()
    assert "pip install" in make("-n", "test", cwd=tree).stdout
    assert "pip install" not in make("-n", "demo", cwd=tree).stdout
    os.utime(tree / "constraints.txt", (2**31, 2**31))
    assert "pip install" in make("-n", "demo", cwd=tree).stdout


@needs_make
def test_bench_hands_on_the_one_that_is_asked_for() -> None:
    assert "--only start" in make("-n", "bench", "ONLY=start").stdout
    assert "--only" not in make("-n", "bench").stdout


# --- texts ------------------------------------------------------------------------------------------------------------


def test_the_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "Version 2.0, January 2004" in text
    assert all(f"\n   {n}. " in text for n in range(1, 10)) and "END OF TERMS AND CONDITIONS" in text
    assert PROJECT["license"] == "Apache-2.0"


def test_the_tree_in_the_readme_is_that_of_the_package() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert tool("tree").rewritten(readme, ROOT / "src" / "netwright") == readme, "run: make tree"


def test_every_module_says_in_one_line_what_it_is() -> None:
    first_line = tool("tree").first_line
    silent = [str(p.relative_to(ROOT)) for p in sorted((ROOT / "src").rglob("*.py")) if not first_line(p)]
    assert silent == []


def test_an_old_tree_is_found(tmp_path: Path) -> None:
    package = tmp_path / "netwright"
    package.mkdir()
    (package / "__init__.py").write_text('"""The package."""\n')
    made = tool("tree").rewritten("before\n<!-- tree -->\nold\n<!-- /tree -->\nafter\n", package)
    assert "old" not in made and made.startswith("before\n") and made.endswith("\nafter\n")
    (package / "new.py").write_text('"""A new module.\n\nMore."""\n')
    newer = tool("tree").rewritten(made, package)
    assert newer != made and re.search(r"^  new\.py +A new module$", newer, re.MULTILINE)
    assert tool("tree").rewritten(newer, package) == newer


def test_every_command_of_the_readme_is_a_command() -> None:
    app = importlib.import_module("netwright.cli.app")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = {c.name for c in app.app.registered_commands}
    blocks = "\n".join(re.findall(r"^```\w*\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE))
    named = set(re.findall(r"^netwright ([a-z]+)\b", blocks, re.MULTILINE))
    assert named <= commands
    assert commands - named == set(), "commands that the README does not show"


def test_every_make_target_of_the_texts_is_a_target() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for name in ("README.md", "ARCHITECTURE.md", ".ci/run"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for line in re.findall(r"(?:`|^)make ([a-z -]+?)(?: [A-Z]+=\w+)?(?:`| *#|$)", text, re.MULTILINE):
            assert set(line.split()) <= targets, line


PYTHON_BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(PYTHON_BLOCKS)))
def test_the_python_of_the_readme_runs(number: int, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error::DeprecationWarning", "-c", PYTHON_BLOCKS[number]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.fixture(scope="module")
def subject() -> Subject:
    """A network that was trained a little, for the examples of the texts."""
    data = make_data("binary", 200)
    recipe = RECIPES["table-classifier"].load()(width=16, depth=1, epochs=2)
    model, _ = fit(recipe, data, seed=0, metric="log-loss")
    return Subject(model=model, recipe=recipe, data=data, metric="log-loss")


def example(heading: str) -> str:
    """The code under a heading of ARCHITECTURE.md."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    section = re.split(r"^##+ ", text.split(f"### ... {heading}\n")[1], flags=re.MULTILINE)[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return str(code)


@pytest.mark.parametrize(
    "heading", ["a template", "a layer", "a check", "an attack", "a baseline", "an explanation", "a loss"]
)
def test_an_example_of_what_can_be_added_runs(heading: str, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classic, "METHODS", dict(classic.METHODS))
    given = {"subject": subject, "data": subject.data}
    names: dict[str, Any] = {"__name__": "example", **given}
    code = compile(example(heading), f"ARCHITECTURE.md, {heading}", "exec", dont_inherit=True)
    exec(code, names)
    new = {name: value for name, value in names.items() if name not in given}
    assert subject.data is not None
    if heading == "a template":
        assert new["outputs"].shape == (len(subject.data.split["train"]), 2)
    elif heading == "a layer":
        assert new["finding"].measured["parameters"] > 0 and new["finding"].figures[0].kind == "diagram"
    elif heading == "a baseline":
        x, y = torch.randn(40, 2).double().numpy(), np.arange(40) % 2
        method = new["neighbours"](classic.Task(classic.Rows(x, y), classic.Rows(x, y), n_classes=2))
        assert method.pipeline.predict_proba(x).shape == (40, 2)
    elif heading == "a loss":
        loss, y = (
            new["for_absolute_error"](TargetSpec(name="z", task="number", center=10.0, scale=2.0)),
            torch.tensor([14.0]),
        )
        assert loss.values(torch.tensor([[1.0]]), y).tolist() == [1.0] and loss.predict(
            torch.tensor([[2.0]])
        ).tolist() == [14.0]
    else:
        assert isinstance(new["finding"], Finding) and "not applicable" not in new["finding"].title
        assert new["finding"].measured
        assert [f for f in new.values() if inspect.isfunction(f) and f.__module__ == "example" and is_probe(f)]


# --- benchmarks -------------------------------------------------------------------------------------------------------

ORDER = ["first", "second", "third"]
DAY = datetime.date(2026, 1, 2)


def result(name: str, value: str = "1 s", met: bool | None = True) -> Result:
    """What a benchmark may have found."""
    return Result(name, name.title(), [Row("time", value, "<= 2 s", met)], "How.", ["A note."])


def test_a_block_is_rewritten_alone(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    for name in ORDER:
        store(result(name), ORDER, path, DAY)
    before = path.read_text(encoding="utf-8")
    store(result("second", "9 s \\1 | x", met=False), ORDER, path, datetime.date(2026, 3, 4))
    after = path.read_text(encoding="utf-8")
    assert "2026-03-04" in after and "9 s \\1 | x" in after and "**no**" in after
    start, end = before.index("<!-- second -->"), before.index("<!-- /second -->")
    assert after.startswith(before[:start]) and after.endswith(before[end:])
    assert before[:start].count("2026-01-02") == 1 and before[end:].count("2026-01-02") == 1


def test_rewriting_with_the_same_result_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    for name in ORDER:
        store(result(name), ORDER, path, DAY)
    before = path.read_bytes()
    store(result("third"), ORDER, path, DAY)
    assert path.read_bytes() == before


def test_blocks_stand_in_the_order_of_the_benchmarks_whatever_ran_first(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    for name in ("third", "first", "second"):
        store(result(name), ORDER, path, DAY)
    text = path.read_text(encoding="utf-8")
    places = [text.index(f"<!-- {name} -->") for name in ORDER]
    assert places == sorted(places)
    assert text.startswith(HEAD)


def test_words_of_a_person_between_the_blocks_stay() -> None:
    text = "head\n\n<!-- first -->\nold\n<!-- /first -->\n\nwords\n"
    assert rewritten(text, "first", "<!-- first -->\nnew\n<!-- /first -->", ORDER) == text.replace("old", "new")


def test_a_promise_that_is_not_kept_is_shown() -> None:
    assert "| **no** |" in block(result("first", met=False), DAY, "a machine")
    assert "| yes |" in block(result("first", met=True), DAY, "a machine")
    assert "|  |" in block(result("first", met=None), DAY, "a machine")


def test_a_measured_command_reports_its_own_memory_and_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.main_job.WORK", tmp_path)
    small = timed(sys.executable, "-c", "print('hello')")
    large = timed(sys.executable, "-c", "x = bytearray(b'x') * 600_000_000")
    assert small.output == "hello\n" and small.seconds > 0
    assert large.peak_bytes > 600_000_000 and large.peak_bytes > small.peak_bytes
    ballast = bytearray(b"x") * 300_000_000
    assert timed(sys.executable, "-c", "pass").peak_bytes < len(ballast), (
        "neither our own peak nor an earlier command's"
    )
    with pytest.raises(SetupError, match="exit code 3"):
        timed(sys.executable, "-c", "raise SystemExit(3)")


def test_measured_commands_choose_their_own_blas_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("KEPT", "1")
    assert "OPENBLAS_CORETYPE" not in environment() and environment()["KEPT"] == "1"


def test_the_bundled_set_needs_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NETWRIGHT_DATA", raising=False)
    frame = DATA["breast_cancer"]()
    assert frame.shape == (569, 31) and set(frame["diagnosis"]) == {"malignant", "benign"}
    assert frame.filter(pl.col("diagnosis") == "malignant").height == 212
    with pytest.raises(SetupError, match="NETWRIGHT_DATA"):
        DATA["adult"]()


def test_a_split_is_the_same_every_time_and_keeps_every_row() -> None:
    frame = pl.DataFrame({"x": range(101)})
    made = with_split(frame)
    assert made.equals(with_split(frame)) and made.drop(SPLIT).equals(frame)
    assert made[SPLIT].value_counts().sort(SPLIT).rows() == [("test", 21), ("train", 80)]
    assert not made.equals(with_split(frame, seed=1))


def test_the_reference_mlp_learns_from_training_rows_with_holes_and_categories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.main_job.SEEDS_MLP", (0,))
    n = 400
    x = [i / n for i in range(n)]
    frame = pl.DataFrame(
        {
            "x": [None if i % 50 == 7 else str(v) for i, v in enumerate(x)],
            "c": ["a" if i % 2 else "b" for i in range(n)],
            "y": [str(10 * v + (5 if i % 2 else 0)) for i, v in enumerate(x)],
        }
    )
    (error,) = mlp_errors(with_split(frame), "y", scaled=True)
    spread = frame["y"].cast(pl.Float64).std()
    assert isinstance(spread, float) and error < 0.5 * spread


@pytest.mark.data
def test_the_shared_tables_come_with_their_official_rows() -> None:
    if not os.environ.get("NETWRIGHT_DATA"):
        pytest.skip("NETWRIGHT_DATA is not set")
    assert DATA["adult"]()[SPLIT].value_counts().sort(SPLIT).rows() == [("test", 16_281), ("train", 32_561)]
    wine = DATA["wine_quality"]()
    assert wine.drop(SPLIT).is_duplicated().sum() == 0 and len(wine) == 5_320
    assert len(DATA["california_housing"]()) == 20_640
