"""Which findings turn the exit code to 1: a failed gate always, others where `--fail-on` asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from netwright.core.errors import UsageError, unknown

if TYPE_CHECKING:
    from netwright.core.finding import Finding

WORDS = ("warn", "fail")


class Gate:
    """What `--fail-on` asks for, refused early where it is misspelt.

    Args:
        wanted: "warn", "fail", or names of probes.
        probes: the names that exist.
    """

    def __init__(self, wanted: Sequence[str] | None, probes: Iterable[str]) -> None:
        self.wanted = frozenset(wanted or ())
        known = (*WORDS, *probes)
        for name in self.wanted:
            if name not in known:
                raise UsageError(f"--fail-on {name}: " + unknown("probe", name, known))

    def closes(self, finding: Finding) -> bool:
        """Whether this finding turns the exit code to 1."""
        if finding.stops or (finding.verdict == "fail" and self.wanted & {"warn", "fail", finding.probe}):
            return True
        return finding.verdict == "warn" and bool(self.wanted & {"warn", finding.probe})

    def code(self, findings: Iterable[Finding]) -> int:
        """The exit code of a command that found all this."""
        return int(any(self.closes(f) for f in findings))
