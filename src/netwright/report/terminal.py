"""Progress and findings on a terminal. Foreign text is shown letter by letter: no markup, no escape sequences."""

from __future__ import annotations

import atexit
import codecs
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table as Grid
from rich.text import Text

from netwright.core.entry import Entry
from netwright.core.finding import Figure, Finding, Table
from netwright.report.figures import describe
from netwright.report.outline import outline
from netwright.report.text import (
    MARKS,
    VERDICT_WORDS,
    cell,
    column_texts,
    duration,
    is_figures,
    is_number,
    label,
    plain,
)

MAX_ROWS = 20
MAX_CELL = 32
_COLOURS = {"fail": "red", "warn": "yellow", "pass": "green", "info": "dim"}
_ASCII_MARKS = {"fail": "x", "warn": "!", "pass": "+", "info": "-"}
_NOT_AMONG = (
    "event",
    "time",
    "stage",
    "epoch",
    "step",
    "rows_per_second",
    "memory_mib",
    "device_memory_mib",
    "matmul_peak_fraction",
)
"""Of an epoch's event: what has its own place in its line, or none."""
_OPEN: set[Terminal] = set()
"""Those with a bar on the screen, which must be gone before anything else is written and before Python ends."""


class Terminal:
    """Listens to the events of a run and says what happens, on stderr unless told otherwise.

    Step headings with the time since the start, a bar for what is under way, one line for each finding. Without a terminal
    (a file, a pipe) the bar becomes a plain line at each quarter. Unknown events are passed over in silence.

    Args:
        console: where to write.
        verbose: also show the epochs.

    >>> import sys
    >>> terminal = Terminal(Console(file=sys.stdout, width=60))
    >>> terminal({"event": "finding", "verdict": "warn", "title": "column [red] is constant"})
      ! column [red] is constant
    """

    def __init__(self, console: Console | None = None, verbose: bool = False) -> None:
        self.console = console or Console(stderr=True)
        self.verbose = verbose
        self._began: float | None = None
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._place: tuple[str, int] = ("", 0)

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Show one event."""
        show = getattr(self, f"_on_{event.get('event')}", None)
        if show:
            show(event)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away; the next event may bring it back."""
        _OPEN.discard(self)
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _say(self, *parts: tuple[object, str], indent: int = 2) -> None:
        """One line (wrapped under itself on a terminal, whole elsewhere) of text with styles."""
        line = Text.assemble(*((_safe(self.console, text), style) for text, style in parts))
        if not self.console.is_terminal:
            self.console.print(Text(" " * indent) + line, soft_wrap=True)
            return
        self.console.print(Padding(line, (0, 0, 0, indent)))

    def _on_run_start(self, event: Mapping[str, Any]) -> None:
        self._began = event.get("time")
        what = " -> ".join(str(event[k]) for k in ("data", "target") if event.get(k))
        verb = "resuming" if event.get("resumed") else "netwright"
        self._say((f"{verb}  ", "bold"), (what, ""), (f"  {event.get('folder', '')}", "dim"), indent=0)

    def _on_step_start(self, event: Mapping[str, Any]) -> None:
        self.close()
        self._place = ("", 0)
        title = event.get("title") or label(str(event.get("step", "")))
        self.console.print()
        self._say((self._clock(event), "dim"), (title, "bold"), indent=0)

    def _clock(self, event: Mapping[str, Any]) -> str:
        """Time since the start, where both ends are known."""
        if self._began is None or "time" not in event:
            return ""
        minutes, seconds = divmod(max(0, int(event["time"] - self._began)), 60)
        return f"{minutes}:{seconds:02d}  "

    def _on_step_done(self, event: Mapping[str, Any]) -> None:
        self.close()
        if is_number(event.get("seconds")):
            self._say((f"took {duration(event['seconds'])}", "dim"))

    def _on_note(self, event: Mapping[str, Any]) -> None:
        self._say((event.get("text", ""), ""))

    def _on_warning(self, event: Mapping[str, Any]) -> None:
        self._say(("warning: ", "bold yellow"), (event.get("text", ""), "yellow"))

    def _on_finding(self, event: Mapping[str, Any]) -> None:
        self.close()
        verdict = str(event.get("verdict"))
        self._say((f"{_mark(self.console, verdict)} ", _COLOURS.get(verdict, "")), (event.get("title", ""), ""))

    def _on_epoch(self, event: Mapping[str, Any]) -> None:
        if not self.verbose:
            return
        values = [(k, v) for k, v in event.items() if k not in _NOT_AMONG]
        shown = "  ".join(f"{label(str(k))} {cell(v)}" for k, v in values if is_number(v))
        if is_number(speed := event.get("rows_per_second")):
            shown += f"  {cell(round(speed))} rows/s"
        self._say((f"{event.get('stage', '')} epoch {event.get('epoch', '')}  {shown}".strip(), "dim"))

    def _on_progress(self, event: Mapping[str, Any]) -> None:
        done, total = event.get("done"), event.get("total")
        if not (is_number(done) and is_number(total)) or total <= 0:
            return
        text = _safe(self.console, _cut(plain(event.get("text", "")), 44))
        if not self.console.is_terminal:
            self._quarter(str(event.get("step")), int(4 * done / total), text)
            return
        if self._bar is None:
            self._bar = Progress(
                TextColumn(" "),
                BarColumn(bar_width=28, complete_style="cyan", finished_style="cyan"),
                TaskProgressColumn(),
                TimeRemainingColumn(compact=True),
                TextColumn("{task.description}", markup=False, style="dim"),
                console=self.console,
                transient=True,
            )
            self._task = self._bar.add_task(text, total=total)
            self._bar.start()
            _OPEN.add(self)
        self._bar.update(self._task, description=text, completed=done, total=total)

    def _quarter(self, step: str, quarter: int, text: str) -> None:
        """A plain line each time a quarter is complete."""
        before = self._place[1] if self._place[0] == step and quarter >= self._place[1] else 0
        self._place = (step, quarter)
        if quarter > before:
            self._say((f"{25 * quarter} %  {text}".rstrip(), "dim"))

    def _on_run_done(self, event: Mapping[str, Any]) -> None:
        self.close()
        self.console.print()
        self._say((event.get("sentence", ""), "bold"), indent=0)
        took = f" ({duration(event['seconds'])})" if is_number(event.get("seconds")) else ""
        if event.get("folder"):
            self._say((f"The report: {Path(event['folder']) / 'report.html'}{took}", ""), indent=0)


@atexit.register
def _close_all() -> None:
    for terminal in list(_OPEN):
        terminal.close()


def print_findings(findings: Sequence[Finding], console: Console | None = None) -> None:
    """Findings in full, for a command that asks one family of probes: on stdout unless told otherwise."""
    _close_all()
    console = console or Console()
    for finding in findings:
        print_finding(finding, console)
    counts: Counter[str] = Counter(f.verdict for f in findings)
    parts = [f"{counts[v]} {word}{_plural(v, counts[v])}" for v, word in VERDICT_WORDS.items() if counts[v]]
    console.print(Text(", ".join(parts) or "nothing was asked", style="bold"), soft_wrap=not console.is_terminal)


def _plural(verdict: str, n: int) -> str:
    return "s" if n != 1 and verdict in ("warn", "info") else ""


def print_finding(finding: Finding, console: Console | None = None, *, max_rows: int = MAX_ROWS) -> None:
    """One finding in full, its tables up to `max_rows` rows."""
    console = console or Console()
    style = _COLOURS[finding.verdict]
    head = _columns()
    mark = Text(f"{_mark(console, finding.verdict)} {VERDICT_WORDS[finding.verdict]}", style=style)
    head.add_row(mark, Text(_safe(console, finding.title), style="bold"))
    console.print(head)
    body = _columns()
    for name, value in finding.measured.items():
        body.add_row(Text(_safe(console, label(name)), style="dim"), Text(_safe(console, cell(value))))
    for name, words in (("expected", finding.expected), ("why", finding.why), ("to do", finding.todo)):
        if words:
            body.add_row(Text(name, style="dim"), Text(_safe(console, words), style="bold" if name == "to do" else ""))
    if body.row_count:
        console.print(Padding(body, (0, 0, 0, 2), expand=False))
    for table in finding.tables:
        _print_table(table, console, max_rows)
    for figure in finding.figures:
        if figure.kind == "diagram":
            _print_diagram(figure, console)
        elif figure.kind in ("pictures", "tokens") or figure.frames:
            seen = f"seen in a report (--report FILE.html): {describe(figure)}"
            console.print(Padding(Text(_safe(console, seen), style="dim"), (0, 0, 0, 2), expand=False))
    parts = [finding.probe, finding.reference, duration(finding.seconds) if finding.seconds else ""]
    console.print(
        Padding(Text(_safe(console, ", ".join(p for p in parts if p)), style="dim"), (0, 0, 0, 2), expand=False)
    )
    console.print()


def _print_diagram(figure: Figure, console: Console) -> None:
    """A line a node, in order of levels, with where its arrows come from."""
    console.print()
    console.print(Padding(Text(_safe(console, figure.title), style="italic"), (0, 0, 0, 2), expand=False))
    for line in outline(figure):
        grid = Grid.grid(padding=(0, 1, 0, 0))
        grid.add_column(no_wrap=True, min_width=1)
        grid.add_column(overflow="fold")
        sign = line.sign if _writes(console, line.sign) else {"↓": "|", "✓": "+", "✗": "x"}.get(line.sign, " ")
        words = Text.assemble((_safe(console, line.name), "cyan"), "  ", (_safe(console, line.note), "dim"))
        if line.sources:
            arrow = "←" if _writes(console, "←") else "<-"
            words.append(f"  {arrow} {_safe(console, line.sources)}")
        grid.add_row(Text(sign), words)
        console.print(Padding(grid, (0, 0, 0, 4), expand=False))
    console.print()


def _columns() -> Grid:
    grid = Grid.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    return grid


def _print_table(table: Table, console: Console, max_rows: int) -> None:
    """The first rows, and as many columns as the width holds; what is left out is named."""
    grid = Grid(title=Text(_safe(console, table.title)), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    rows, left = table.rows[:max_rows], console.width - 4
    hidden: list[str] = []
    shown: list[list[str]] = []
    for j, name in enumerate(table.columns):
        cells = [row[j] if j < len(row) else None for row in rows]
        texts = [_cut(_safe(console, text), MAX_CELL) for text in column_texts(cells)]
        head = _cut(_safe(console, name), MAX_CELL)
        width = max(map(cell_len, [head, *texts])) + 3
        if shown and (hidden or width > left):
            hidden.append(head)
            continue
        left -= width
        shown.append(texts)
        grid.add_column(Text(head), justify="right" if is_figures(cells) else "left", no_wrap=True)
    for row in zip(*shown, strict=True):
        grid.add_row(*map(Text, row))
    console.print(Padding(grid, (0, 0, 0, 2), expand=False))
    notes = [f"the first {len(rows)} of {len(table.rows):,} rows"] * (len(table.rows) > len(rows))
    notes += [f"{len(hidden)} more column{'s' * (len(hidden) > 1)}: {', '.join(hidden)}"] * bool(hidden)
    if notes:
        console.print(Padding(Text("; ".join(notes), style="dim"), (0, 0, 0, 2), expand=False))


def print_entries(galleries: Mapping[str, Mapping[str, Entry]], console: Console | None = None) -> None:
    """What there is: the members of each gallery with one sentence each."""
    console = console or Console()
    width = max((cell_len(name) for members in galleries.values() for name in members), default=0)
    for title, members in galleries.items():
        console.print(Text(_safe(console, title), style="bold"))
        grid = Grid.grid(padding=(0, 2, 0, 0))
        grid.add_column(no_wrap=True, min_width=width)
        grid.add_column(overflow="fold")
        for name, entry in members.items():
            grid.add_row(Text(_safe(console, name), style="cyan"), Text(_safe(console, entry.summary)))
        console.print(Padding(grid, (0, 0, 1, 2), expand=False))


def print_entry(entry: Entry, console: Console | None = None, *, gallery: str = "", documentation: str = "") -> None:
    """One member in full; `documentation` is what its code says of itself."""
    console = console or Console()
    console.print(Text(_safe(console, entry.name), style="bold cyan") + Text(f"  {gallery}", style="dim"))
    console.print(Padding(Text(_safe(console, entry.summary)), (0, 0, 1, 2), expand=False))
    grid = _columns()
    facts: dict[str, Iterable[str]] = {
        "reference": [entry.reference],
        "needs": entry.needs,
        "kinds of input": entry.kinds,
        "tasks": entry.tasks,
        "options": [f"{k}={v!r}" for k, v in entry.options.items()],
        "gate": ["a fail of it stops a run"] * entry.gate,
        "code": [entry.target],
    }
    for name, values in facts.items():
        if text := ", ".join(v for v in values if v):
            grid.add_row(Text(name, style="dim"), Text(_safe(console, text)))
    console.print(Padding(grid, (0, 0, 0, 2), expand=False))
    if documentation:
        console.print()
        for line in documentation.splitlines():
            console.print(Padding(Text(_safe(console, line)), (0, 0, 0, 2), expand=False))


def _mark(console: Console, verdict: str) -> str:
    marks = MARKS if _writes(console, "✓✗·") else _ASCII_MARKS
    return marks.get(verdict, " ")


def _writes(console: Console, text: str) -> bool:
    """Whether the console's encoding has these letters."""
    try:
        codecs.encode(text, console.encoding)
    except (UnicodeError, LookupError):
        return False
    return True


def _safe(console: Console, text: object) -> str:
    """One line that this console can write, without control characters."""
    line = plain(text)
    return line if _writes(console, line) else line.encode("ascii", "backslashreplace").decode()


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
