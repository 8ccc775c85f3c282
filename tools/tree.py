"""Rewrite the tree in README.md from the first line of each module's docstring, or with --check say whether it is old."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START, END = "<!-- tree -->\n", "<!-- /tree -->"


def first_line(path: Path) -> str:
    """The first line of a module's docstring, or nothing."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.strip().split("\n")[0].rstrip(".")


def lines(package: Path, depth: int = 0) -> list[str]:
    """One line per package and per module, indented by depth."""
    pad = "  " * depth
    found = [f"{pad}{package.name + '/':<{30 - len(pad)}}{first_line(package / '__init__.py')}"]
    modules = sorted(p for p in package.glob("*.py") if p.name != "__init__.py")
    found += [f"{pad}  {p.name:<{28 - len(pad)}}{first_line(p)}" for p in modules]
    for folder in sorted(p.parent for p in package.glob("*/__init__.py")):
        found += lines(folder, depth + 1)
    return [line.rstrip() for line in found]


def rewritten(readme: str, package: Path) -> str:
    """The text of the README with its tree made anew."""
    before, _, rest = readme.partition(START)
    _, _, after = rest.partition(END)
    if not rest or END not in rest:
        raise SystemExit(f"README.md has no place for the tree: it needs the lines {START.strip()} and {END}")
    return f"{before}{START}```\n{chr(10).join(lines(package))}\n```\n{END}{after}"


def main() -> int:
    """Write it, or with --check only compare: 1 when it is old."""
    readme = ROOT / "README.md"
    old = readme.read_text(encoding="utf-8")
    new = rewritten(old, ROOT / "src" / "netwright")
    if "--check" in sys.argv[1:]:
        if new != old:
            print("the tree in README.md is old; run: make tree", file=sys.stderr)
        return int(new != old)
    readme.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
