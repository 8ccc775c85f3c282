"""The command itself: help, lists, wrong use, exit codes."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import typer

from commandline import buffered, call, command, refused
from netwright.cli import app as app_module
from netwright.cli.galleries import PROBES, find, galleries
from netwright.cli.gate import Gate
from netwright.cli.options import command as as_command
from netwright.cli.outcome import outcome
from netwright.cli.reference import reference
from netwright.core.errors import DataError, GateError, SetupError, TrainingError, UsageError
from netwright.core.finding import Finding
from netwright.core.spec import ColumnKind, Task
from netwright.losses.entries import METRICS
from netwright.workflow.settings import SKIPPABLE

COMMANDS = ("run", "resume", "predict", "check", "attack", "explain", "cost", "gallery", "list", "show")
HEAVY = ("torch", "sklearn", "scipy", "polars", "plotly", "pandas", "jinja2", "numpy")


def imported_by(code: str) -> set[str]:
    """Which of the heavy libraries a fresh Python has imported after this code."""
    probe = f"import sys\n{code}\nprint(*[m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    ended = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=True)
    return set(ended.stderr.split())


def test_help_and_import_are_light() -> None:
    assert imported_by("import netwright") == set()
    assert imported_by("from netwright.cli.main import main; main(['--help'])") == set()
    assert imported_by("from netwright.cli.main import main; main(['run', '--help'])") == set()
    assert imported_by("from netwright.cli.main import main; main(['cost', '--help'])") == set()
    assert imported_by("from netwright.cli.main import main; main(['gallery', '--help'])") == set()
    assert imported_by("from netwright.cli.main import main; main(['list'])") == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_explains_every_option_and_gives_examples(name: str) -> None:
    ended = call(name, "--help")
    assert ended.code == 0 and ended.err == ""
    assert f"netwright {name}" in ended.out.partition("Example")[2]
    group = typer.main.get_command(app_module.app)
    for parameter in group.commands[name].params:  # type: ignore[attr-defined]
        assert parameter.help, f"{name} {parameter.name} has no help"
        default = parameter.default
        if default is None and not parameter.required:
            assert "efault" in parameter.help, f"{name} --{parameter.name} does not say what happens without it"


def test_help_names_what_the_options_accept() -> None:
    words = " ".join(call("run", "--help").out.replace("-\n", "-").split())
    for option, values in {
        "--skip": SKIPPABLE,
        "--task": get_args(Task),
        "--kind": get_args(ColumnKind),
        "--metric": METRICS,
    }.items():
        told = words.partition("Options:")[2].partition(f"{option} ")[2][:400].replace("- ", "-")
        for value in values:
            assert value in told, (option, value, told)


def test_no_arguments_show_the_help() -> None:
    ended = call()
    assert ended.code == 0 and "Commands:" in ended.out


def test_version_is_the_one_of_the_package() -> None:
    import netwright

    assert call("--version").out == f"netwright {netwright.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rnu", "x.csv"], ["no command 'rnu'", "'run'", "netwright --help"]),
        (["run", "--targt", "y"], ["'--targt'", "'--target'", "netwright run --help"]),
        (["run", "x.csv"], ["--target"]),
        (["predict", "RUN"], ["DATA"]),
        (["run", "x.csv", "--target", "y", "--minutes", "soon"], ["--minutes"]),
        (["run", "x.csv", "--target", "y", "--minutes", "-1"], ["--minutes -1", "above 0"]),
        (["run", "x.csv", "--target", "y", "--minutes", "nan"], ["--minutes nan", "above 0"]),
        (["run", "x.csv", "--target", "y", "--minutes", "inf"], ["--minutes inf", "above 0"]),
        (["run", "x.csv", "--target", "y", "--seed", "-3"], ["--seed"]),
        (["run", "x.csv", "--target", "y", "--kind", "age"], ["--kind age", "COLUMN=KIND"]),
        (["run", "x.csv", "--target", "y", "--kind", "age=nmber"], ["'nmber'", "'number'"]),
        (["run", "x.csv", "--target", "y", "--kind", "a=text", "--kind", "a=date"], ["'a'", "'text'", "one kind"]),
        (["run", "x.csv", "--target", "y", "--task", "clases"], ["'clases'", "'classes'"]),
        (["run", "x.csv", "--target", "y", "--metric", "acuracy"], ["'acuracy'", "'accuracy'"]),
        (["run", "x.csv", "--target", "y", "--fail-on", "wrn"], ["'wrn'", "'warn'"]),
        (["check", "RUN", "--only", "gradient-flow"], ["'gradients-flow'"]),
        (["attack", "RUN", "--only", "fsgm"], ["'fgsm'"]),
        (["attack", "RUN", "--budget", "0"], ["--budget 0", "above 0"]),
        (["check", "RUN", "--json", "out.txt"], ["--json out.txt", ".json"]),
        (["check", "RUN", "--report", "report"], ["no suffix", ".html"]),
        (["list", "atacks"], ["'atacks'", "'attacks'"]),
        (["show", "fsgm"], ["'fgsm'"]),
        (["show", "metrics/fgsm"], ["metric"]),
    ],
)
def test_wrong_use_is_refused_with_the_nearest_name(
    arguments: list[str], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(call(*arguments), 2, *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", ["train", "baseline"])
def test_a_step_that_cannot_be_skipped_is_refused_with_those_that_can(step: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,y\n1,2\n")
    refused(call("run", tmp_path / "x.csv", "--target", "y", "--skip", step), 2, step, *SKIPPABLE)


def test_every_gallery_is_listed_and_every_member_can_be_shown() -> None:
    listed = call("list").out
    for name, entries in galleries().items():
        assert f"netwright list {name}" in listed
        members = call("list", name).out
        for entry in entries:
            assert entry in members
    for command_, family in PROBES.items():
        assert family in galleries(), command_


def test_all_entries_modules_are_found() -> None:
    package = Path(app_module.__file__).parents[1]
    found = {entry.target.partition(":")[0] for entries in galleries().values() for entry in entries.values()}
    for module in package.glob("*/entries.py"):
        assert any(f"netwright.{module.parent.name}." in t or module.parent.name == "train" for t in found), module


def test_show_gives_summary_source_code_and_signature() -> None:
    ended = call("show", "log-loss")
    entry = METRICS["log-loss"]
    for text in (entry.summary, entry.reference, entry.target, "log_loss(y: np.ndarray", "Mean of -log p_y"):
        assert text in " ".join(ended.out.split())


def test_a_name_that_two_galleries_have_is_shown_twice() -> None:
    names = [n for entries in galleries().values() for n in entries]
    double = next((n for n in names if names.count(n) > 1), None)
    if double is None:
        pytest.skip("no name is in two galleries")
    families = [family for family, _ in find(double)]
    assert len(families) > 1
    shown = call("show", double).out
    assert all(f"in the list {family}" in shown for family in families)


def test_a_probe_is_shown_with_the_command_that_asks_it() -> None:
    name = next(iter(galleries()["attacks"]))
    assert f"netwright attack RUN --only {name}" in call("show", name).out


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (GateError("x"), 1),
        (UsageError("x"), 2),
        (DataError("x"), 3),
        (SetupError("x"), 4),
        (TrainingError("x"), 5),
        (MemoryError(), 4),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), 4),
        (OSError(errno.ENOSPC, "No space left on device", "f"), 4),
        (PermissionError(errno.EACCES, "Permission denied", "f"), 4),
        (ModuleNotFoundError("No module named 'onnx'", name="onnx"), 4),
        (ModuleNotFoundError("No module named 'netwright.x'", name="netwright.x"), 70),
        (ZeroDivisionError("division by zero"), 70),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_error_has_its_exit_code_and_ends_in_one_sentence(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise error

    monkeypatch.setattr(app_module, "call", fail)
    ended = call("list")
    assert ended.code == code
    assert "Traceback" not in ended.err and len(ended.err.splitlines()) == 1
    assert "Traceback" in call("list", "--debug").err


def test_a_bug_of_ours_says_so_and_how_to_see_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "call", lambda _: {}["nothing"])
    ended = call("list")
    assert ended.code == 70
    assert "bug of netwright (KeyError: 'nothing')" in ended.error and "--debug" in ended.error


def test_an_error_cannot_send_escape_sequences_to_the_terminal() -> None:
    lines, _ = outcome(DataError("there is no column '\x1b[2J\nerror: forged'"))
    assert lines == ["error: there is no column '\\x1b[2J error: forged'"]


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "SIGTERM")]
)
def test_a_signal_ends_a_command_with_its_exit_code(
    number: signal.Signals, code: int, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaned = []

    @as_command
    def wait() -> int:
        try:
            os.kill(os.getpid(), number)
            for _ in range(10**7):
                pass
        finally:
            cleaned.append(True)
        return 0

    monkeypatch.setattr(app_module, "call", lambda _: wait())
    before = signal.getsignal(signal.SIGTERM)
    ended = call("list")
    assert (ended.code, cleaned) == (code, [True])
    assert word in ended.err and "Traceback" not in ended.err
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_reader_that_goes_away_ends_the_command_quietly() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    ended = subprocess.run(
        command("--help"), stdout=write_end, stderr=subprocess.PIPE, env=buffered(), text=True, timeout=60, check=False
    )
    os.close(write_end)
    assert ended.returncode == 141
    assert ended.stderr == ""


def finding(verdict: str, *, probe: str = "fgsm", gate: bool = False) -> Finding:
    return Finding(probe=probe, family="x", verdict=verdict, title="t", gate=gate)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "found", "code"),
    [
        ([], finding("fail"), 0),
        ([], finding("fail", gate=True), 1),
        ([], finding("warn", gate=True), 0),
        (["fail"], finding("fail"), 1),
        (["fail"], finding("warn"), 0),
        (["warn"], finding("warn"), 1),
        (["warn"], finding("fail"), 1),
        (["warn"], finding("info"), 0),
        (["fgsm"], finding("warn"), 1),
        (["fgsm"], finding("fail"), 1),
        (["fgsm"], finding("pass"), 0),
        (["fgsm"], finding("fail", probe="pgd"), 0),
        (["pgd", "fail"], finding("fail"), 1),
    ],
)
def test_fail_on_turns_just_those_findings_into_exit_code_1(wanted: list[str], found: Finding, code: int) -> None:
    assert Gate(wanted, ["fgsm", "pgd"]).code([finding("pass"), found]) == code


def test_the_reference_in_docs_is_the_help_of_today() -> None:
    path = Path(__file__).parents[1] / "docs" / "commands.md"
    assert path.read_text(encoding="utf-8") == reference(), (
        "write it anew: python -m netwright.cli.reference > docs/commands.md"
    )
