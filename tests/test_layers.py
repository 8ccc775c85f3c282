"""Imports go down the list of layers; the checker itself is shown to find what it must."""

from __future__ import annotations

import ast
import functools
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "netwright"

LAYERS = [
    {"__main__"},
    {"cli", "serve"},
    {"exhibits"},
    {""},  # netwright/__init__.py: the lazy front for Python
    {"workflow"},
    {"estimators", "sequences"},
    {"baselines", "checks", "robust", "explain", "search", "export"},
    {"model"},
    {"recipes"},
    {"adapt"},
    {"train"},
    {"data", "losses"},
    {"nn", "linear"},
    {"report"},
    {"core"},
]
"""From the top down. A part may import its own modules and those of the lines below; not its line's neighbours."""

MAY_IMPORT_INSIDE = {"", "cli"}
"""Where a function may import our own modules, so that `import netwright` and `netwright --help` stay light."""
MAY_IMPORT_BY_NAME = {"netwright/__init__.py", "netwright/core/entry.py", "netwright/cli/galleries.py"}
"""Where a module may be imported by a computed name: the lazy front, an entry that loads its code, the list of all galleries."""
HEAVY = ("torch", "sklearn", "scipy", "polars", "plotly", "pandas", "pyarrow", "narwhals")


@dataclass(frozen=True)
class Import:
    """One import of our own code: who, whom ("" is the package itself), where, and whether inside a function."""

    file: str
    line: int
    part: str
    target: str
    hidden: bool


def part_of(path: Path, source: Path) -> str:
    """The part of the house that a file belongs to: its package, its module, or "" for the package itself."""
    first = path.relative_to(source).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def own_target(dotted: str, parts: set[str]) -> str | None:
    """The part that a dotted name of ours points into; None for the names of others."""
    first, _, rest = dotted.partition(".")
    if first != "netwright":
        return None
    part = rest.split(".")[0]
    return part if part in parts else ""


def targets(node: ast.AST, path: Path, source: Path, parts: set[str]) -> list[str]:
    """The parts that an import statement points into."""
    names: list[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        package = ["netwright", *path.relative_to(source).parts[:-1]]
        base = package[: len(package) - node.level + 1] if node.level else []
        stem = ".".join([*base, *([node.module] if node.module else [])])
        names = [f"{stem}.{alias.name}" for alias in node.names]
    return sorted({target for name in names if (target := own_target(name, parts)) is not None})


def walk(tree: ast.AST) -> Iterator[tuple[ast.AST, bool]]:
    """Every node, with whether it stands inside a function."""
    waiting = [(tree, False)]
    while waiting:
        node, inside = waiting.pop()
        inside_now = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield child, inside_now
            waiting.append((child, inside_now))


@functools.cache
def nodes(path: Path, changed: int) -> tuple[tuple[ast.AST, bool], ...]:
    """`walk` over a file as it was at that time."""
    return tuple(walk(ast.parse(path.read_text(encoding="utf-8"))))


def nodes_of(path: Path) -> tuple[tuple[ast.AST, bool], ...]:
    """`walk` over a file, which is read once."""
    return nodes(path, path.stat().st_mtime_ns)


def imports(source: Path) -> Iterator[Import]:
    """All imports of our own code, those under TYPE_CHECKING and in functions included."""
    parts = {part_of(path, source) for path in source.rglob("*.py")}
    for path in sorted(source.rglob("*.py")):
        name = path.relative_to(source.parent).as_posix()
        for node, inside in nodes_of(path):
            for target in targets(node, path, source, parts):
                yield Import(name, getattr(node, "lineno", 0), part_of(path, source), target, inside)


def called(node: ast.AST) -> str:
    """The last name of what is called, or nothing."""
    function = node.func if isinstance(node, ast.Call) else None
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def complaints(source: Path) -> list[str]:
    """Everything in a source tree that goes against the order of the layers."""
    level = {part: i for i, layer in enumerate(LAYERS) for part in layer}
    found = [
        f"netwright/{part} has no place in the list of layers"
        for part in sorted({part_of(path, source) for path in source.rglob("*.py")} - level.keys())
    ]
    for item in imports(source):
        where, whom = f"{item.file}:{item.line}", item.target or "netwright itself"
        if item.part in level and item.target in level and item.part != item.target:
            if level[item.target] < level[item.part]:
                found.append(f"{where} imports upward: {whom}")
            elif level[item.target] == level[item.part]:
                found.append(f"{where} imports sideways: {whom}")
        if item.hidden and item.part not in MAY_IMPORT_INSIDE:
            found.append(f"{where} hides an import in a function: {whom}")
    for path in sorted(source.rglob("*.py")):
        name = path.relative_to(source.parent).as_posix()
        for node, _ in nodes_of(path):
            if called(node) in ("import_module", "__import__") and name not in MAY_IMPORT_BY_NAME:
                first = node.args[0] if isinstance(node, ast.Call) and node.args else None
                constant = first.value if isinstance(first, ast.Constant) else None
                if not isinstance(constant, str) or constant.split(".")[0] == "netwright" or constant.startswith("."):
                    found.append(f"{name}:{node.lineno} imports by name")  # type: ignore[attr-defined]
    return found


def test_imports_go_down_the_list_of_layers() -> None:
    assert complaints(SOURCE) == []


def test_the_source_tree_is_really_read() -> None:
    assert len(list(islice(imports(SOURCE), 51))) > 50


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A small tree in which every import is right."""
    source = tmp_path / "netwright"
    for package in ("cli", "checks", "robust", "train", "losses", "data", "core"):
        (source / package).mkdir(parents=True)
        (source / package / "__init__.py").write_text("")
    (source / "__init__.py").write_text(
        "def __getattr__(name):\n    from netwright.model import Model\n    return Model\n"
    )
    (source / "model.py").write_text("from netwright.train.loop import fit\nfrom . import data\nimport torch\n")
    (source / "train" / "loop.py").write_text(
        "from netwright.core.seed import derive\nfrom netwright.train import other\n"
    )
    (source / "train" / "other.py").write_text("def f():\n    import sklearn\n")
    (source / "core" / "seed.py").write_text("import importlib\nimportlib.import_module('torch')\n")
    (source / "core" / "entry.py").write_text("import importlib\nimportlib.import_module(name)\n")
    (source / "cli" / "main.py").write_text("def run():\n    from netwright.model import Model\n")
    (source / "checks" / "start.py").write_text("from netwright.model import Model\n")
    return source


def test_a_right_tree_has_no_complaints(house: Path) -> None:
    assert complaints(house) == []


PLANTED = {
    "upward": ("core/seed.py", "from netwright.train.loop import fit", "imports upward: train"),
    "upward, of a module": ("core/seed.py", "import netwright.model", "imports upward: model"),
    "upward, relative": ("core/seed.py", "from ..train import loop", "imports upward: train"),
    "upward, relative to the top": ("core/seed.py", "from .. import model", "imports upward: model"),
    "upward, of the package itself": ("train/loop.py", "import netwright", "imports upward: netwright itself"),
    "upward, of a name of the package": (
        "train/loop.py",
        "from netwright import Model",
        "imports upward: netwright itself",
    ),
    "upward, for types only": (
        "core/seed.py",
        "if TYPE_CHECKING:\n    from netwright.train.loop import fit",
        "imports upward: train",
    ),
    "sideways": ("checks/start.py", "from netwright.robust import fgsm", "imports sideways: robust"),
    "sideways, of data by losses": ("losses/loss.py", "from netwright.data import batch", "imports sideways: data"),
    "hidden": ("train/loop.py", "def f():\n    from netwright.core import seed", "hides an import in a function: core"),
    "hidden in a method": (
        "train/loop.py",
        "class A:\n    async def f(self):\n        if True:\n            import netwright.core.seed",
        "hides an import in a function: core",
    ),
    "hidden behind a name": ("train/loop.py", "import importlib\nimportlib.import_module(name)", "imports by name"),
    "hidden behind a string": ("train/loop.py", "__import__('netwright.model')", "imports by name"),
    "a package without a place": ("newcomer/__init__.py", "", "netwright/newcomer has no place in the list of layers"),
}


@pytest.mark.parametrize("case", PLANTED)
def test_a_planted_import_is_found(house: Path, case: str) -> None:
    file, code, expected = PLANTED[case]
    path = house / file
    path.parent.mkdir(exist_ok=True)
    path.write_text((path.read_text() if path.exists() else "") + code + "\n")
    found = complaints(house)
    assert len(found) == 1, found
    assert expected in found[0]


LOADS = """
import importlib, json, sys
brought = {}
for module in json.loads(sys.argv[1]):
    before = set(sys.modules)
    importlib.import_module(module)
    new = {name.split(".")[0] for name in set(sys.modules) - before}
    brought[module] = sorted(new & set(json.loads(sys.argv[2])))
print(json.dumps(brought))
"""


def brought(modules: list[str], path: Path | None = None) -> dict[str, list[str]]:
    """Which heavy libraries each module brings into a fresh interpreter, imported in this order."""
    code = (f"import sys; sys.path.insert(0, {str(path)!r})\n" if path else "") + LOADS
    command = [sys.executable, "-c", code, json.dumps(modules), json.dumps(HEAVY)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, list[str]] = json.loads(done.stdout)
    return {module: libraries for module, libraries in result.items() if libraries}


def light_modules(source: Path) -> list[str]:
    """The package, the command, every package's front, every list of entries, and all of core."""
    paths = [*source.rglob("__init__.py"), *source.rglob("entries.py"), *(source / "core").glob("*.py")]
    dotted = {".".join(p.relative_to(source.parent).with_suffix("").parts).removesuffix(".__init__") for p in paths}
    return ["netwright", "netwright.cli.main", *sorted(dotted - {"netwright"})]


def test_the_light_modules_import_no_heavy_library() -> None:
    assert brought(light_modules(SOURCE)) == {}


def test_a_heavy_import_is_found(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text("import polars\n")
    assert brought(["json", "planted"], tmp_path) == {"planted": ["polars"]}
