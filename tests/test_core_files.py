"""Files are whole or not there; a Run remembers over any kill; findings come back as they went."""

from __future__ import annotations

import errno
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netwright.core.errors import DataError, SetupError, UsageError
from netwright.core.files import read_json, write_json, write_text, writing
from netwright.core.finding import Cell, Figure, Finding, Series, Table
from netwright.core.run import Run

# --- files ------------------------------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), writing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_reader_sees_the_whole_old_file_or_the_whole_new_one(tmp_path: Path) -> None:
    """The new file takes the name of the old one; it is never written into it."""
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with path.open() as reader:
        write_text(path, "new")
        assert reader.read() == "old" and path.read_text() == "new"


def test_a_full_disk_is_a_setup_error_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(SetupError, match=r"cannot write .*a\.txt: No space left.*; free some room"),
        writing(tmp_path / "a.txt") as temporary,
    ):
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_a_setup_error(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="No such file or directory"):
        write_text(tmp_path / "no" / "a.txt", "x")


def test_a_value_that_json_has_no_word_for_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"x": math.nan})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["{", "", "[" * 100_000, '"\udcff"', "{'a': 1}"])
def test_a_damaged_json_file_is_a_data_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match="cannot be read as JSON"):
        read_json(tmp_path / "a.json")


def test_json_is_not_read_beyond_its_limit_or_where_there_is_none(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", "x" * 100)
    with pytest.raises(DataError, match="has 103 bytes, more than the 50"):
        read_json(tmp_path / "a.json", limit=50)
    with pytest.raises(DataError, match="there is no file"):
        read_json(tmp_path / "b.json")


# --- findings ---------------------------------------------------------------------------------------------------------

CELLS: list[Cell] = [0, -1, 1.0, 0.1, True, None, "", "text", "1", math.inf, -math.inf, 2**60]


def make_finding(**changes: Any) -> Finding:
    series = Series(
        name="s", x=(1, "b", None), y=(math.nan, 2.0, 3.0), z=((1.0, None), (math.inf, 0.0)), low=(-math.inf, None, 1.0)
    )
    given: dict[str, Any] = {
        "probe": "p",
        "family": "checks",
        "verdict": "fail",
        "title": "t",
        "measured": {str(i): c for i, c in enumerate(CELLS)} | {"nan": math.nan},
        "tables": (Table(title="t", columns=("a", "b"), rows=((1, math.nan), ("x", None))),),
        "figures": (Figure(title="f", kind="line", series=(series,)),),
        "seconds": 0.5,
    }
    return Finding(**{**given, **changes})


def test_a_finding_survives_json_with_numbers_that_are_not_finite() -> None:
    finding = make_finding()
    text = finding.model_dump_json()
    json.loads(text, parse_constant=pytest.fail)  # plain JSON: readable by anybody
    again = Finding.model_validate_json(text)
    assert repr(again) == repr(finding)  # NaN is not equal to itself; repr also tells 1 from 1.0 and True


@given(st.one_of(st.integers(-(2**53), 2**53), st.floats(), st.booleans(), st.none(), st.text(max_size=5)))
def test_any_cell_survives_json(cell: Cell) -> None:
    finding = make_finding(measured={"x": cell}, tables=(), figures=())
    again = Finding.model_validate_json(finding.model_dump_json()).measured["x"]
    assert repr(again) == repr(finding.measured["x"])


def test_only_a_failed_gate_stops() -> None:
    assert make_finding(gate=True).stops
    assert not make_finding(gate=False).stops and not make_finding(gate=True, verdict="warn").stops


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", {"data": "a.csv"})


def test_a_run_refuses_a_folder_with_something_in_it(tmp_path: Path, run: Run) -> None:
    with pytest.raises(UsageError, match=r"exists already.*netwright resume"):
        Run.create(run.folder, {})
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="exists already"):
        Run.create(tmp_path / "file", {})
    (tmp_path / "empty").mkdir()
    assert Run.create(tmp_path / "empty", {"a": 1}).settings == {"a": 1}


def test_a_folder_that_cannot_be_made_or_is_no_run_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SetupError, match="choose another --out"):
        Run.create(tmp_path / "file" / "run", {})
    with pytest.raises(DataError, match=r"no settings\.json"):
        Run(tmp_path)


def test_events_survive_a_line_cut_anywhere(run: Run) -> None:
    run.event("one", text="Zürich \u2028 \x85 end")
    whole = (run.folder / "events.jsonl").read_bytes()
    for cut in range(1, len(whole)):
        (run.folder / "events.jsonl").write_bytes(whole + whole[:cut])
        again = Run(run.folder)
        again.event("after")
        assert again.events()[0]["event"] == "one"
        assert again.events()[-1]["event"] == "after"
        assert len(again.events()) == (3 if cut == len(whole) - 1 else 2)
    assert again.events()[0]["text"] == "Zürich \u2028 \x85 end"


def test_the_listener_hears_every_event(tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []
    run = Run.create(tmp_path / "run", {}, heard.append)
    run.event("epoch", number=1)
    assert heard == run.events() and heard[0]["number"] == 1


def test_a_decision_is_measured_once_for_ever(run: Run) -> None:
    assert run.decide("threads", lambda: 2) == 2
    assert run.decide("threads", lambda: pytest.fail("measured again")) == 2
    assert Run(run.folder).decide("threads", lambda: pytest.fail("measured again")) == 2


def test_findings_of_a_run_come_back_in_the_order_of_its_steps(run: Run) -> None:
    run.add("look", [make_finding()])
    run.add("check", [])
    run.add("look", [make_finding(title="again"), make_finding()])
    again = Run(run.folder)
    assert repr(again.findings) == repr(run.findings)
    assert list(again.findings) == ["look", "check"] and again.has("check") and not again.has("train")
    assert again.findings["look"][0].title == "again"
    json.loads((run.folder / "findings.json").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize("text", ["[]", '{"look": 1}', '{"look": [{"probe": "p"}]}'])
def test_findings_that_are_none_are_a_data_error(run: Run, text: str) -> None:
    (run.folder / "findings.json").write_text(text)
    with pytest.raises(DataError, match="does not hold findings"):
        Run(run.folder)
