"""Real data in the place of made-up: files of the folder that NETWRIGHT_DATA names, for exhibits in full size."""

from __future__ import annotations

import os
from pathlib import Path


def real_file(name: str, *, tiny: bool) -> Path | None:
    """The file of that name in the folder of real data; None where there is none, or where time is short."""
    folder = os.environ.get("NETWRIGHT_DATA", "")
    place = Path(folder) / name
    return place if folder and not tiny and place.is_file() else None
