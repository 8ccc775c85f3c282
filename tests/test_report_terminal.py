"""What the terminal shows: hostile text letter by letter, a bar that leaves nothing behind, plain lines in a pipe."""

from __future__ import annotations

import io
import re
import subprocess
import sys

import pytest
from rich.cells import cell_len
from rich.console import Console

from netwright.core.entry import Entry
from netwright.core.finding import Figure, Finding, Picture, Table, Tokens
from netwright.losses.entries import LOSSES
from netwright.report.terminal import Terminal, print_entries, print_entry, print_findings
from netwright.report.text import plain

HOSTILE = "[red]name[/red] [/] :smile: \x1b]0;owned\x07\x1b[31m \u202eevil\r\nnext [link=http://x]"
SHOWN = plain(HOSTILE)


def a_console(*, terminal: bool = False, width: int = 100, encoding: str = "utf-8") -> Console:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    return Console(file=file, force_terminal=terminal, width=width, _environ={"TERM": "xterm-256color"})


def written(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.TextIOWrapper) and isinstance(file.buffer, io.BytesIO)
    return file.buffer.getvalue().decode(file.encoding)


def after(*events: dict[str, object], terminal: bool = False, verbose: bool = False, encoding: str = "utf-8") -> str:
    console = a_console(terminal=terminal, width=300, encoding=encoding)
    with Terminal(console, verbose) as show:
        for event in events:
            show(event)
    return written(console)


def a_finding(text: str = "x", rows: int = 3, columns: int = 2) -> Finding:
    table = Table(
        title=text,
        columns=tuple(f"{text} {j}" for j in range(columns)),
        rows=tuple(tuple(f"{text} {i}.{j}" for j in range(columns)) for i in range(rows)),
    )
    words = {k: f"{k} {text}" for k in ("title", "expected", "why", "todo", "reference")}
    return Finding(probe="p", family="checks", verdict="fail", measured={text: text}, tables=(table,), **words)


TEXT_EVENTS = [
    {"event": "run_start", "time": 0.0, "data": HOSTILE, "target": HOSTILE, "folder": HOSTILE},
    {"event": "step_start", "step": HOSTILE, "title": HOSTILE},
    {"event": "note", "text": HOSTILE},
    {"event": "warning", "text": HOSTILE},
    {"event": "finding", "step": "s", "probe": "p", "verdict": "pass", "title": HOSTILE},
    {"event": "epoch", "stage": HOSTILE, "epoch": 1, "train_loss": 0.5, HOSTILE: 0.25},
    {"event": "run_done", "folder": "runs/x", "sentence": HOSTILE, "seconds": 1.0},
]


@pytest.mark.parametrize("event", TEXT_EVENTS, ids=lambda e: e["event"])
@pytest.mark.parametrize("terminal", [True, False])
def test_foreign_text_is_shown_letter_by_letter(event, terminal):
    shown = re.sub(r"\x1b\[[\d;?]*[mhlK]", "", after(event, terminal=terminal, verbose=True))
    assert SHOWN in shown
    assert "\x1b" not in shown and "\u202e" not in shown and "\x07" not in shown


def test_foreign_text_in_the_bar_is_shown_letter_by_letter():
    event = {"event": "progress", "step": "s", "done": 1, "total": 2, "text": "[red]a[/red] \x1b]0;owned\x07"}
    shown = after(event, terminal=True)
    assert "[red]a[/red]" in shown
    assert "\x1b]0" not in shown


def test_foreign_text_in_findings_is_shown_letter_by_letter():
    console = a_console(width=2000)
    print_findings([a_finding(HOSTILE)], console)
    shown = written(console)
    assert shown.count("[red]name[/red] [/] :smile:") >= 12
    assert "\x1b" not in shown and "\u202e" not in shown


@pytest.mark.parametrize("event", [{"event": "no-such"}, {}, {"event": None}, {"event": "on_note"}, {"event": "_say"}])
def test_unknown_events_are_passed_over_in_silence(event):
    assert after(event) == ""


@pytest.mark.parametrize(
    "name", ["run_start", "step_start", "step_done", "note", "progress", "epoch", "finding", "run_done"]
)
def test_an_event_without_its_values_is_no_error(name):
    after({"event": name}, verbose=True)


def test_everything_goes_to_stderr(capsys):
    with Terminal(verbose=True) as show:
        for event in TEXT_EVENTS:
            show(event)
        show({"event": "progress", "step": "s", "done": 2, "total": 2, "text": "t"})
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "warning" in captured.err


def test_a_pipe_gets_one_plain_line_a_quarter():
    shown = after(*({"event": "progress", "step": "s", "done": i, "total": 40, "text": "rows"} for i in range(41)))
    assert [line.strip() for line in shown.splitlines()] == ["25 %  rows", "50 %  rows", "75 %  rows", "100 %  rows"]
    assert "\x1b" not in shown


def test_each_step_counts_its_own_quarters():
    events = [{"event": "progress", "step": s, "done": d, "total": 2, "text": s} for s in "ab" for d in (1, 2)]
    assert after(*events).split() == ["50", "%", "a", "100", "%", "a", "50", "%", "b", "100", "%", "b"]


def test_a_bar_leaves_nothing_behind():
    console = a_console(terminal=True)
    with Terminal(console) as show:
        show({"event": "step_start", "step": "s", "title": "Look"})
        show({"event": "progress", "step": "s", "done": 1, "total": 3, "text": "busy"})
        show({"event": "step_done", "step": "s", "seconds": 1.5})
    shown = written(console)
    assert "busy" in shown, "the bar was never drawn"
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1, "the cursor stays hidden"
    assert "busy" not in shown[shown.rindex("\x1b[2K") :], "the bar is left on the screen"


def test_findings_are_printed_after_the_bar_is_taken_away():
    console = a_console(terminal=True)
    show = Terminal(console)
    show({"event": "progress", "step": "s", "done": 1, "total": 3, "text": "busy"})
    print_findings([a_finding()], console)
    shown = written(console)
    assert shown.index("\x1b[?25h") < shown.index("title x")


def test_an_interrupted_run_gives_the_cursor_back():
    console = a_console(terminal=True)
    with pytest.raises(KeyboardInterrupt), Terminal(console) as show:
        show({"event": "progress", "step": "s", "done": 1, "total": 3, "text": "busy"})
        raise KeyboardInterrupt
    assert written(console).count("\x1b[?25h") == 1


def test_epochs_are_shown_only_when_asked_for():
    event = {"event": "epoch", "stage": "stage 1", "epoch": 3, "train_loss": 0.25, "log-loss": 0.5}
    assert after(event) == ""
    assert after(event, verbose=True).split() == [
        "stage",
        "1",
        "epoch",
        "3",
        "train",
        "loss",
        "0.25",
        "log-loss",
        "0.5",
    ]


def test_an_epoch_says_its_speed_and_keeps_other_measurements_of_the_machine_to_itself():
    event = {"event": "epoch", "stage": "stage1", "epoch": 3, "train_loss": 0.25, "rows_per_second": 61234.4}
    event |= {"memory_mib": 512.5, "matmul_peak_fraction": 0.125}
    assert after(event, verbose=True).split() == ["stage1", "epoch", "3", "train", "loss", "0.25", "61,234", "rows/s"]


def test_a_step_has_a_heading_with_the_time_since_the_start():
    shown = after(
        {"event": "run_start", "time": 100.0, "data": "a.csv", "target": "y", "folder": "runs/a"},
        {"event": "step_start", "time": 175.9, "step": "look", "title": "Look at the data"},
        {"event": "step_done", "time": 190.0, "step": "look", "seconds": 14.1},
    )
    assert "1:15  Look at the data" in shown
    assert "took 14.1 s" in shown


def test_a_console_without_the_letters_gets_others():
    events = [*TEXT_EVENTS, {"event": "finding", "verdict": "fail", "title": "Ärger with 五"}]
    shown = after(*events, encoding="ascii")
    assert "x \\xc4rger with \\u4e94" in shown
    console = a_console(encoding="ascii")
    print_findings([a_finding("é")], console)
    assert "x fail" in written(console)


@pytest.mark.parametrize("verdict,mark", [("pass", "✓"), ("warn", "!"), ("fail", "✗"), ("info", "·")])
def test_each_verdict_has_its_mark(verdict, mark):
    assert f"{mark} found" in after({"event": "finding", "verdict": verdict, "title": "found"})


def test_findings_are_printed_with_all_that_they_say():
    console = a_console()
    print_findings([a_finding("w")], console)
    shown = written(console)
    for words in ("title w", "expected w", "why w", "todo w", "reference w", "w 2.1", "1 fail"):
        assert words in shown


def test_of_pictures_and_coloured_texts_the_title_is_told_and_where_they_are_seen() -> None:
    console = a_console()
    sheet = Figure(title=HOSTILE, kind="pictures", pictures=(Picture(png="x", mark="bad"),) * 2)
    texts = Figure(title="Words", kind="tokens", texts=(Tokens(pieces=("secret",), weights=(1.0,)),))
    print_findings([a_finding().model_copy(update={"figures": (sheet, texts)})], console)
    shown = " ".join(written(console).split())
    assert f"--report FILE.html): {' '.join(SHOWN.split())}. 2 pictures, 2 of them wrong." in shown
    assert "--report FILE.html): Words. 1 text." in shown and "secret" not in shown


def test_a_long_table_is_cut_and_says_so():
    console = a_console()
    print_findings([a_finding("r", rows=33)], console)
    shown = written(console)
    assert "r 19.0" in shown and "r 20.0" not in shown
    assert "the first 20 of 33 rows" in shown


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize(
    "text", ["column", "五五五五", "a name that is much longer than a name should ever be, really"]
)
def test_a_wide_table_stays_inside_and_names_what_it_leaves_out(width, text):
    console = a_console(width=width)
    print_findings([a_finding(text, columns=30)], console)
    shown = written(console)
    assert max(map(cell_len, shown.splitlines())) <= width
    assert "more columns" in shown


def test_every_column_is_shown_or_named():
    console = a_console(width=60)
    print_findings([a_finding("column", columns=12)], console)
    shown = " ".join(written(console).split())
    assert all(f"column {j}" in shown for j in range(12))
    assert "column 0.0" in shown and "column 0.11" not in shown


def test_rows_shorter_than_the_head_are_filled_up():
    table = Table(title="t", columns=("a", "b"), rows=((1,), (1, 2)))
    console = a_console()
    print_findings([Finding(probe="p", family="f", verdict="info", title="t", tables=(table,))], console)
    assert "–" in written(console)


def test_no_findings_are_no_error():
    console = a_console()
    print_findings([], console)
    assert "nothing" in written(console)


def test_every_entry_of_a_gallery_is_listed():
    console = a_console()
    print_entries({"losses": LOSSES}, console)
    shown = written(console)
    assert all(e.name in shown and e.summary in shown for e in LOSSES.values())


def test_an_entry_is_shown_in_full():
    entry = Entry("n", "does [b]it[/b]", "Who (1999)", "m:x", needs=("model",), gate=True, options={"a": 1})
    console = a_console()
    print_entry(entry, console, gallery="checks", documentation="One line.\n\n    indented [x]")
    for words in ("does [b]it[/b]", "Who (1999)", "model", "a=1", "stops a run", "m:x", "    indented [x]", "checks"):
        assert words in written(console)


def test_the_terminal_does_not_import_what_is_heavy():
    code = "import sys, netwright.report.terminal, netwright.report.summary; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"plotly", "jinja2", "torch", "polars", "sklearn", "numpy"} & set(done.stdout.split())
