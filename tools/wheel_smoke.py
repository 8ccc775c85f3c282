"""Build the wheel, install it in a virtual environment elsewhere, and use it from a folder that is not the source tree.

The new environment borrows the libraries of the current one through a .pth file (which does not pass on this tree's own
editable install), so that nothing is installed twice and the package itself can only come from the wheel.
"""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NO_TORCH = """
import sys, netwright
heavy = [m for m in ("torch", "sklearn", "polars", "plotly", "pandas") if m in sys.modules]
assert not heavy, f"import netwright imports {heavy}"
print(netwright.__file__)
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command that must succeed; its output."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def build(folder: Path) -> Path:
    """The wheel, built from the source archive, which is built from the tree."""
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in ("netwright/py.typed", "netwright/exhibits/entries.py", "LICENSE"):
        if not any(name.endswith(wanted) for name in names):
            raise SystemExit(f"the wheel has no {wanted}")
    strangers = {name.split("/")[0] for name in names if not name.startswith("netwright")}
    if strangers:
        raise SystemExit(f"the wheel brings more than netwright: {sorted(strangers)}")
    return wheel


def environment(folder: Path, wheel: Path) -> Path:
    """The bin folder of a new environment that has the wheel, and the current environment's libraries."""
    venv.create(folder, with_pip=False)
    bin_folder = folder / ("Scripts" if os.name == "nt" else "bin")
    python = bin_folder / "python"
    site = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])", cwd=folder.parent).strip()
    )
    (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "-q",
        "--no-deps",
        "--force-reinstall",
        wheel,
        cwd=folder,
    )
    return bin_folder


def table(path: Path, n: int = 120) -> None:
    """A table that a small network learns at once."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["angle", "colour", "side"])
        for i in range(n):
            angle = math.sin(12.9898 * i) * math.pi
            writer.writerow([round(angle, 4), ("red", "green", "blue")[i % 3], "left" if angle < 0 else "right"])


def main() -> None:
    """Build, install, use."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        (away := folder / "away").mkdir()
        (made := folder / "made").mkdir()
        wheel = build(made)
        bin_folder = environment(folder / "env", wheel)
        where = run(bin_folder / "python", "-c", NO_TORCH, cwd=away).strip()
        if not Path(where).resolve().is_relative_to(folder):
            raise SystemExit(f"the wheel was to be imported, and {where} was")
        command = bin_folder / "netwright"
        run(command, "--help", cwd=away)
        table(away / "sides.csv")
        run(command, "run", "sides.csv", "--target", "side", "--quick", "--minutes", "1", "--out", "first", cwd=away)
        summary = json.loads((away / "first" / "summary.json").read_text(encoding="utf-8"))
        if not (away / "first" / "report.html").stat().st_size:
            raise SystemExit("the report is empty")
        run(command, "predict", "first/model", "sides.csv", "-o", "predictions.csv", cwd=away)
        with (away / "predictions.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if len(rows) != 120 or not {"row", "prediction"} <= set(rows[0]):
            raise SystemExit(f"120 predictions were expected, and {len(rows)} came with the columns {list(rows[0])}")
        print(
            f"{wheel.name}: installed elsewhere, imported without torch, ran ({summary['task']}), predicted {len(rows)} rows"
        )


if __name__ == "__main__":
    main()
