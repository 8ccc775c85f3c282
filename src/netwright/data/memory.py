"""How much memory there is, and arrays that are larger than their share of it: those live in a file that the system pages."""

from __future__ import annotations

import mmap
import os
import re
import resource
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from netwright.core.errors import SetupError, UsageError

VARIABLE = "NETWRIGHT_MEMORY"
"""Environment variable: the memory to count on, such as 500MB or 8GB, where that is less than what the machine tells."""
SHARE = 4
"""One array may take a quarter of the memory; a larger one lives in a file."""
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_CGROUP = Path("/sys/fs/cgroup")


def memory() -> int:
    """Bytes of memory that this process may count on: the least of what the machine has, what its control group allows, what
    its resource limits leave, and `NETWRIGHT_MEMORY`.

    Raises:
        UsageError: the variable is set to something that is no size.
    """
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for kind, used in ((resource.RLIMIT_DATA, "VmData"), (resource.RLIMIT_AS, "VmSize")):
        soft = resource.getrlimit(kind)[0]
        sizes += [max(0, soft - _used(used))] if soft != resource.RLIM_INFINITY else []
    sizes += _cgroup_limits()
    if given := os.environ.get(VARIABLE):
        sizes.append(size_of(given))
    return min(sizes)


def free_memory() -> int:
    """Bytes of `memory()` that nobody has taken yet, where the system tells (Linux); else all of it.

    >>> 0 < free_memory() <= memory()
    True
    """
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return memory()
    return min(memory(), 1024 * int(found[1])) if found else memory()


def _used(what: str) -> int:
    """Bytes that this process has of something that Linux counts."""
    try:
        found = re.search(rf"^{what}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return 1024 * int(found[1]) if found else 0


def _cgroup_limits() -> list[int]:
    """What the control groups of this process allow, of both versions."""
    try:
        groups = [line.split(":")[2].strip("/") for line in Path("/proc/self/cgroup").read_text().splitlines()]
    except (OSError, IndexError):
        return []
    folders = {_CGROUP / group for group in groups}
    above = {parent for folder in folders for parent in (folder, *folder.parents) if parent.is_relative_to(_CGROUP)}
    names = [folder / "memory.max" for folder in above] + [_CGROUP / "memory" / "memory.limit_in_bytes"]
    found = []
    for name in names:
        try:
            text = name.read_text().strip()
        except OSError:
            continue
        found += [int(text)] if text.isdigit() else []
    return found


def size_of(text: str) -> int:
    """Bytes of a size in words.

    Raises:
        UsageError: it is none.

    >>> size_of("500MB"), size_of("1.5 g")
    (524288000, 1610612736)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    size = int(float(found[1]) * _UNITS[found[2]]) if found else 0
    if not size:
        raise UsageError(f"{VARIABLE}={text}: expected a size such as 500MB or 8GB")
    return size


def in_words(size: float) -> str:
    """A number of bytes as a person would say it.

    >>> in_words(3 * 2**30), in_words(2000)
    ('3.0 GB', '0.0 MB')
    """
    return f"{size / 2**30:.1f} GB" if size >= 2**30 else f"{size / 2**20:.1f} MB"


def roomy(shape: Sequence[int], dtype: Any) -> np.ndarray:
    """An array whose cells are not yet set: in memory where it takes less than a quarter of that, else in a file without a
    name, which is gone when the array is.

    The file is mapped shared, so that the system writes pages out and reads them back as it must.

    Raises:
        SetupError: no disk has the room.

    >>> roomy((2, 3), np.uint8).shape
    (2, 3)
    """
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if size <= memory() // SHARE:
        return np.empty(tuple(shape), dtype)
    folder = _place(size)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)  # or a full disk would kill the process at the first write
            pages = mmap.mmap(file.fileno(), size)
    except OSError as error:
        raise SetupError(
            f"cannot make a temporary file of {in_words(size)} in {folder}: {error.strerror or error}; free some room, "
            "or set TMPDIR to a folder on a larger disk"
        ) from error
    array = np.frombuffer(pages, dtype).reshape(tuple(shape))
    _in_files[array.ctypes.data] = size
    weakref.finalize(pages, _in_files.pop, array.ctypes.data)
    return array


_in_files: dict[int, int] = {}
"""Address and size of the arrays of `roomy` that live in files."""


def is_in_file(address: int) -> bool:
    """Whether what is at an address of this process is part of an array that `roomy` has put into a file.

    >>> is_in_file(np.zeros(3).ctypes.data)
    False
    """
    return any(begin <= address < begin + size for begin, size in _in_files.items())


def _place(size: int) -> str:
    """The first folder for temporary files that has room: on a disk rather than in memory."""
    folders = [f for f in dict.fromkeys((tempfile.gettempdir(), "/var/tmp", os.getcwd())) if os.access(f, os.W_OK)]
    on_disk = [f for f in folders if not _in_memory(f)]
    room = {f: shutil.disk_usage(f).free for f in on_disk or folders}
    for folder, free in room.items():
        if free > 1.05 * size:
            return folder
    shown = ", ".join(f"{folder} ({in_words(free)} free)" for folder, free in room.items())
    raise SetupError(
        f"the pixels take {in_words(size)}, more than fit in memory, and no folder for temporary files has the room: {shown}; "
        "free some, or set TMPDIR to a folder on a larger disk"
    )


def _in_memory(folder: str) -> bool:
    """Whether a folder lies on a file system that is memory itself."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return False
    path = os.path.realpath(folder)
    above = [(where, kind) for where, kind in mounts if os.path.commonpath([path, where]) == where]
    return max(above, key=lambda mount: len(mount[0]), default=("", ""))[1] in ("tmpfs", "ramfs")
