"""One sound file -> samples. Its header is read first; what is empty, cut short or damaged is refused with the reason."""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from netwright.core.errors import SetupError

SUFFIXES = (".wav", ".wave", ".flac", ".ogg", ".oga", ".aif", ".aiff", ".au", ".mp3")
"""Names that end so, whatever their case, are sounds."""
_UNKNOWN_SIZES = (0, 0xFFFFFFFF, 0x7FFFFFFF)
"""What a program writes for the size of a WAV file that it streams and does not know yet."""
Samples = tuple[int, np.ndarray]
"""A rate in samples a second, and samples (T,) or (T, channels)."""


class BadSound(Exception):
    """A file that gives no samples; the reason in a few words."""


@dataclass(frozen=True)
class Heard:
    """A sound.

    Args:
        samples: (T,) float32 from -1 to 1, of one channel. rate: in samples a second.
        seconds: how long the whole sound is.
        treated: what was changed, such as "2 channels, mixed to one".
    """

    samples: np.ndarray
    rate: int
    seconds: float
    treated: tuple[str, ...]


def is_sound(name: str) -> bool:
    """Whether a file's name is that of a sound.

    >>> is_sound("one.WAV"), is_sound("one.txt")
    (True, False)
    """
    return name.lower().endswith(SUFFIXES)


def soundfile() -> ModuleType:
    """The library that reads sounds.

    Raises:
        SetupError: it is not installed.
    """
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise SetupError(
            f"sound files are read by soundfile, which is not here ({error}); install it: pip install 'netwright[audio]'"
        ) from error
    module: ModuleType = soundfile
    return module


def hear(path: str, most_seconds: float = math.inf) -> Heard:
    """Open and decode a sound file; its channels are mixed to one.

    Args:
        path: of the file. most_seconds: no more of its beginning is decoded.

    Raises:
        BadSound: no sound, 0 s long, cut short, not finite, or it may not be read.
        SetupError: the library is missing.
    """
    library = soundfile()
    try:
        if not os.path.getsize(path):
            raise BadSound("empty file")
        _check_size(path)
        with library.SoundFile(path) as file:
            rate, n = int(file.samplerate), int(file.frames)
            wanted = n if most_seconds == math.inf else min(n, math.ceil(most_seconds * rate))
            samples = file.read(wanted, dtype="float32", always_2d=True)
    except BadSound:
        raise
    except PermissionError:
        raise BadSound("no permission to read it") from None
    except FileNotFoundError:
        raise BadSound("no such file") from None
    except (OSError, RuntimeError, ValueError, MemoryError) as error:
        reason = str(error).rpartition(":")[2].strip(" .'\"") or type(error).__name__
        raise BadSound(f"no sound inside, or damaged: {reason[:80]}") from None
    if not n:
        raise BadSound("0 s long")
    if len(samples) < wanted:
        raise BadSound(f"cut short: {len(samples) / rate:.3g} s of {n / rate:.3g} s")
    mono, treated = mixed(samples)
    return Heard(mono, rate, n / rate, treated)


def mixed(samples: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Samples (T,) or (T, channels), whole numbers or from -1 to 1, as one channel float32 from -1 to 1, and what was changed.

    Raises:
        BadSound: samples that are no finite numbers.

    >>> mixed(np.array([[0.0, 1.0]]))[0].tolist(), mixed(np.array([-32768], dtype=np.int16))[0].tolist()
    ([0.5], [-1.0])
    """
    treated = []
    if samples.dtype.kind in "iu":
        if samples.dtype == np.uint8:
            samples = (samples.astype(np.float32) - 128) / 128
        else:
            samples = samples.astype(np.float64) / -float(np.iinfo(samples.dtype).min or -np.iinfo(samples.dtype).max)
    if samples.ndim == 2:
        if samples.shape[1] > 1:
            treated.append(f"{samples.shape[1]} channels, mixed to one")
        samples = samples.mean(1)
    samples = samples.astype(np.float32)
    if not np.isfinite(samples).all():
        raise BadSound("samples that are no finite numbers")
    if len(samples) and np.abs(samples).max() > 1:
        treated.append("louder than full scale, clipped")
        samples = samples.clip(-1, 1)
    return samples, tuple(treated)


def resampled(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Samples (T,) at another rate, by a polyphase filter that takes out what the lower rate cannot hold.

    >>> len(resampled(np.zeros(16000, dtype=np.float32), 16000, 8000))
    8000
    """
    if rate == wanted:
        return samples
    from scipy.signal import resample_poly

    common = math.gcd(rate, wanted)
    found = resample_poly(samples.astype(np.float64), wanted // common, rate // common)
    clipped: np.ndarray = np.clip(found, -1, 1).astype(np.float32)
    return clipped


def _check_size(path: str) -> None:
    """Refuse a WAV file that is shorter than its header says: libraries read on without a word."""
    with open(path, "rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
            return
        size, at = os.fstat(file.fileno()).st_size, 12
        while at + 8 <= size:
            file.seek(at)
            name, length = struct.unpack("<4sI", file.read(8))
            if name == b"data":
                if length not in _UNKNOWN_SIZES and at + 8 + length > size:
                    raise BadSound(f"cut short: {size - at - 8:,} bytes of {length:,}")
                return
            at += 8 + length + length % 2
