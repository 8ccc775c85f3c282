"""What the machine gives: its devices, its speed in products of matrices, and the memory that a process has taken."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import time
from pathlib import Path

import torch

from netwright.core.errors import SetupError, UsageError
from netwright.data.memory import memory

_SIZES = (512, 1024)
"""Rows of the matrices. Small ones suit few threads and little cache, large ones many threads: the faster size counts."""
_SECONDS = 0.02
"""How long products of each size are repeated; the fastest one was disturbed least."""


_TRIM, _MAPPED_FROM = -1, -3
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h. The first alone would fix the second at 128 KiB."""
_KEPT = 2**30
"""Bytes of freed memory at the top of the heap that are kept, at most."""
_MAPPED = (2**26, 2**25)
"""Bytes of a block from where on the system gives it, and gets it back, on its own; older C libraries take the second one only."""


@functools.cache
def keep_freed_memory() -> bool:
    """Tell the C library, once in a process, to keep freed memory for the next step; whether it took that.

    A training step frees and takes the same blocks as the one before. By default glibc returns large ones to the system, which then
    fills every page with zeros again: with maps of some megabytes that is a tenth of a step or more. Here it keeps what is free at
    the top of its heap, up to 1 GiB or an eighth of the memory, and blocks of less than 64 MiB are of the heap.
    Nothing is changed where the environment says how the library is to be (`MALLOC_..._` or `GLIBC_TUNABLES`), nor where it is
    another one.

    >>> keep_freed_memory() in (True, False)
    True
    """
    said = [
        name for name in os.environ if name == "GLIBC_TUNABLES" or (name.startswith("MALLOC_") and name.endswith("_"))
    ]
    change = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" and not said else None
    if change is None:
        return False
    return any(change(_MAPPED_FROM, size) for size in _MAPPED) and bool(change(_TRIM, min(_KEPT, memory() // 8)))


def device_named(name: str) -> torch.device:
    """A device that is here: "cpu", "cuda", "cuda:1", "mps", or "auto" for the accelerator where there is one, else the processor.

    Raises:
        UsageError: no such kind of device. SetupError: this machine has none of that kind, or not so many.

    >>> device_named("cpu")
    device(type='cpu')
    """
    if name == "cpu":
        return torch.device("cpu")
    there = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "auto":
        return there or torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(
            f"device {name!r}: expected auto, cpu, or an accelerator such as cuda, cuda:1 or mps"
        ) from None
    if device.type == "cpu":
        return torch.device("cpu")
    count = torch.accelerator.device_count() if there is not None and there.type == device.type else 0
    if (device.index or 0) >= count:
        has = f"has {count} of type {device.type}" if count else "has none of this type that torch can use"
        raise SetupError(f"device {name!r}: this machine {has}; take auto or cpu")
    return device


def matmul_peak(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> float:
    """Floating-point operations per second of square products of matrices, 2 n^3 each, with the present number of threads.

    Measured at the first call, in about a tenth of a second, and remembered for this process, number of threads, device and
    number format.

    Source: the measured counterpart of the peak in Williams, Waterman and Patterson (2009), "Roofline".

    >>> matmul_peak() > 1e6 and matmul_peak() == matmul_peak()
    True
    """
    return _measured(torch.device(device), dtype, torch.get_num_threads())


@functools.cache
@torch.no_grad()
def _measured(device: torch.device, dtype: torch.dtype, threads: int) -> float:
    return max(2 * n**3 / _fastest(torch.ones(n, n, dtype=dtype, device=device)) for n in _SIZES)


def _fastest(a: torch.Tensor) -> float:
    """Seconds of the fastest product of a matrix with itself, of two or more after one that is not timed."""
    product = a @ a
    times: list[float] = []
    while len(times) < 2 or sum(times) < _SECONDS:
        _wait(a.device)
        began = time.perf_counter()
        torch.mm(a, a, out=product)
        _wait(a.device)
        times.append(time.perf_counter() - began)
    return min(times)


def _wait(device: torch.device) -> None:
    """Until the device has done what was asked of it; the processor always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory_mib() -> float | None:
    """The largest resident memory of this process so far, in MiB; None where the system does not say.

    >>> (peak_memory_mib() or 1.0) > 0
    True
    """
    status = Path("/proc/self/status")
    if status.exists():  # Linux: unlike getrusage, without what the process was forked from
        words = [line.split() for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        if words:
            return int(words[0][1]) / 1024
    try:
        import resource
    except ImportError:  # no such count on this system
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def peak_device_memory_mib(device: torch.device) -> float | None:
    """The most memory that tensors have held on a GPU so far, in MiB; None on a processor.

    >>> peak_device_memory_mib(torch.device("cpu")) is None
    True
    """
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None
