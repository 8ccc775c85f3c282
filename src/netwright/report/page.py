"""One self-contained html page for somebody who was not there: opens offline, from a file, on a phone and on paper."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from netwright.core.files import write_text
from netwright.core.finding import Cell, Finding, Table
from netwright.core.frozen import Frozen
from netwright.report.figures import PLOTTED, drawable, to_html
from netwright.report.text import MARKS, VERDICT_WORDS, cell, column_texts, duration, is_figures, label, visible

if TYPE_CHECKING:
    from jinja2 import Environment

MAX_ROWS = 50
PAPER_ROWS = 15
MAX_ATTENTION = 12


class Section(Frozen):
    """A chapter of the page.

    Args:
        id: short name, used in links.
        title: heading.
        lead: one paragraph that says what the reader is about to see.
        findings: in the order in which they are to be read.
        compact: fold every finding that passed, figures and all; without it only those without figures are folded.
        listed: name the findings under the chapter in the contents, by their probes.
    """

    id: str
    title: str
    lead: str = ""
    findings: tuple[Finding, ...] = ()
    compact: bool = False
    listed: bool = False

    def folds(self, finding: Finding) -> bool:
        """Whether the finding is shown as one line that unfolds."""
        return finding.verdict == "pass" and (self.compact or not finding.figures)


class Page(Frozen):
    """All that the page says.

    Args:
        title: heading of the page.
        subtitle: one line under it.
        verdict: the recommendation, in plain words.
        facts: label -> value for the head (rows, task, metric, ...), in order.
        sections: the chapters.
        commands: command lines that do it again.
        reproduce: what else is needed to do it again.
        raw: settings and recipe as JSON, label -> value, shown folded.
    """

    title: str
    subtitle: str = ""
    verdict: str = ""
    facts: dict[str, Cell] = {}
    sections: tuple[Section, ...] = ()
    commands: tuple[str, ...] = ()
    reproduce: str = ""
    raw: dict[str, JsonValue] = {}


def render(page: Page) -> str:
    """The page as html: no network reference, and a policy inside it that forbids all but its own two scripts.

    >>> "<h1>adult &amp; more</h1>" in render(Page(title="adult & more"))
    True
    """
    environment = _environment()
    drawn = [figure.kind for s in page.sections for f in s.findings for figure in f.figures]
    scripts = _scripts(any(kind in PLOTTED for kind in drawn))
    html = environment.get_template("report.html.j2").render(
        page=page,
        anchors=_anchors([s.id for s in page.sections]),
        counts=Counter(f.verdict for s in page.sections for f in s.findings),
        section_counts=[Counter(f.verdict for f in s.findings) for s in page.sections],
        attention=_attention(page),
        marks=MARKS,
        words=VERDICT_WORDS,
        max_rows=MAX_ROWS,
        paper_rows=PAPER_ROWS,
        style=_resource("report.css"),
        scripts=scripts,
        policy=_policy(scripts),
    )
    return html.strip() + "\n"


def write(path: str | Path, page: Page) -> None:
    """Write the page, whole or not at all.

    Raises:
        SetupError: there is no room or no permission.
    """
    write_text(path, render(page))


def _environment() -> Environment:
    """Templates in which everything is escaped that is not markup of our own making."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    def finalize(value: Any) -> Any:
        return value if isinstance(value, Markup) else visible(value)

    environment = Environment(
        loader=PackageLoader("netwright.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cell": cell, "label": label, "duration": duration, "json": _json, "drawable": drawable}
    environment.globals["figure"] = lambda drawn, id: Markup(to_html(drawn, id))
    environment.globals["typeset"] = _typeset
    return environment


def _typeset(table: Table) -> list[dict[str, Any]]:
    """The columns of a table as shown: name, texts of the first rows, and how wide cells may be."""
    found = []
    for j, name in enumerate(table.columns):
        shown = [row[j] if j < len(row) else None for row in table.rows[:MAX_ROWS]]
        texts = column_texts(shown)
        kind = "number" if is_figures(shown) else "short" if max(map(len, texts), default=0) <= 40 else "long"
        found.append({"name": name, "texts": texts, "kind": kind})
    return found


def _json(value: JsonValue) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _resource(name: str) -> Any:
    from markupsafe import Markup

    return Markup(resources.files("netwright.report").joinpath("templates", name).read_text(encoding="utf-8"))


def _scripts(figures: bool) -> list[Any]:
    """The scripts that run: plotly's where there is a figure, then our own."""
    from markupsafe import Markup

    if not figures:
        return [_resource("report.js")]
    from plotly.offline import get_plotlyjs

    return [Markup(get_plotlyjs().replace("\r", "")), _resource("report.js")]


def _policy(scripts: list[str]) -> str:
    """A content security policy: nothing is fetched, and no script runs but those with these digests."""
    digests = (base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    rest = "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
    return f"default-src 'none'; script-src {allowed}; {rest}"


def _anchors(ids: list[str]) -> list[str]:
    """A link target for each section, all different; without a dot, which parts the names of what is inside.

    >>> _anchors(["look", "Train it!", "look"])
    ['look', 'train-it', 'look-3']
    """
    found: list[str] = []
    for i, id in enumerate(ids, 1):
        slug = re.sub(r"[^a-z0-9]+", "-", id.lower()).strip("-") or f"section-{i}"
        while slug in found:
            slug = f"{slug}-{i}"
        found.append(slug)
    return found


def _attention(page: Page) -> list[tuple[str, Finding]]:
    """What deserves a look first: (link target, finding), fails before warnings."""
    anchors = _anchors([s.id for s in page.sections])
    found = [
        (f"{anchor}.{i}", finding)
        for anchor, section in zip(anchors, page.sections, strict=True)
        for i, finding in enumerate(section.findings, 1)
        if finding.verdict in ("fail", "warn")
    ]
    return sorted(found, key=lambda pair: pair[1].verdict != "fail")[:MAX_ATTENTION]
