"""One picture file -> pixels. The header is read first, and what is too large is refused before it is decoded."""

from __future__ import annotations

import os
import struct
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".gif",
    ".bmp",
    ".tif",
    ".tiff",
    ".webp",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
)
"""Names that end so, whatever their case, are pictures."""
MAX_PIXELS = 64_000_000
"""A picture of more pixels is refused before it is decoded."""
SMALL = 64
"""Longest side of pixels for a network, unless its training pictures were arrays."""
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
_LARGE = 16_000_000
_one_large = threading.Lock()
"""Pictures of many megapixels are decoded one at a time, so that memory holds one of them."""
_UPRIGHT = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
"""EXIF orientation -> how Pillow turns the picture upright (its Transpose numbers)."""
_PIECE = 32
Result = TypeVar("Result")


class BadPicture(Exception):
    """A file that gives no pixels; the reason in a few words."""


@dataclass(frozen=True)
class Decoded:
    """A picture, upright, grey or in colour, 8 bits a channel.

    Args:
        image: in Pillow's mode L or RGB; possibly already reduced, where a size was asked for.
        height, width: of the whole picture.
        treated: what was changed, such as "animated, first frame taken".
    """

    image: Image
    height: int
    width: int
    treated: tuple[str, ...]

    @property
    def is_colour(self) -> bool:
        """Whether one pixel in 200 is more than 12 levels away from grey; a little is what JPEG makes of grey."""
        if self.image.mode == "L":
            return False
        pixels = np.asarray(self.image.reduce(max(1, max(self.image.size) // (2 * SMALL)))).astype(np.int16)
        return bool((np.ptp(pixels, axis=2) > 12).mean() > 0.005)


def is_picture(name: str) -> bool:
    """Whether a file's name is that of a picture.

    >>> is_picture("cat.JPG"), is_picture("notes.txt")
    (True, False)
    """
    return name.lower().endswith(SUFFIXES)


def decode(path: str, near: int | None = None) -> Decoded:
    """Open and decode a picture file.

    Animated pictures give their first frame; 16 bits a channel are scaled to 8; CMYK, palettes and single bits become colour or
    grey; what is transparent is laid on white; the orientation that a camera wrote down is applied.

    Args:
        path: of the file.
        near: the longest side, in pixels, that is wanted: a JPEG is then decoded at a fraction of its size, not below this.

    Raises:
        BadPicture: no picture, cut short, too large, or it may not be read.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=_FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise BadPicture(f"{width:,} x {height:,} pixels, more than {MAX_PIXELS // 10**6} megapixels")
            if near and image.format == "JPEG":
                image.draft(image.mode, (2 * near, 2 * near))
            with _one_large if image.size[0] * image.size[1] > _LARGE else nullcontext():
                image.load()
                return _decoded(image, height, width)
    except BadPicture:
        raise
    except UnidentifiedImageError:
        raise BadPicture("no picture inside" if os.path.getsize(path) else "empty file") from None
    except Image.DecompressionBombError:
        raise BadPicture(f"more than {MAX_PIXELS // 10**6} megapixels") from None
    except PermissionError:
        raise BadPicture("no permission to read it") from None
    except FileNotFoundError:
        raise BadPicture("no such file") from None
    except MemoryError:
        raise BadPicture("too large for the memory that is left") from None
    except (OSError, EOFError, struct.error) as error:
        raise BadPicture("cut short" if "truncated" in str(error) else f"damaged: {error}") from None
    except Exception as error:  # decoders raise anything on damaged files: SyntaxError, ValueError, IndexError, ...
        raise BadPicture(f"damaged: {error or type(error).__name__}") from None


def _decoded(image: Image, height: int, width: int) -> Decoded:
    treated = []
    if getattr(image, "is_animated", False) and image.format != "MPO":
        treated.append("animated, first frame taken")
    turn = _orientation(image)
    plain = _plain(image, treated)
    if turn in _UPRIGHT:
        plain = plain.transpose(_UPRIGHT[turn])  # type: ignore[arg-type]
        treated.append("turned upright as the camera noted")
        if turn >= 5:
            height, width = width, height
    return Decoded(plain, height, width, tuple(treated))


def _orientation(image: Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # a damaged note of the camera is no reason to refuse its picture
        return 1


def _plain(image: Image, treated: list[str]) -> Image:
    """In mode L or RGB."""
    from PIL import Image as Pillow

    mode = image.mode
    if image.has_transparency_data:
        treated.append("transparent, laid on white")
        with_alpha = image.convert("RGBA")
        white = Pillow.new("RGBA", image.size, "white")
        laid = Pillow.alpha_composite(white, with_alpha)
        return laid.convert("L" if mode in ("L", "LA", "La", "1") else "RGB")
    if mode in ("L", "RGB"):
        return image.copy() if image.readonly else image
    if mode[0] in "IF":
        treated.append("more than 8 bits a channel, scaled to 8")
        return Pillow.fromarray(_eight_bits(np.asarray(image)))
    names = {
        "CMYK": "CMYK, converted to colour",
        "1": "one bit a pixel, converted to grey",
        "P": "a palette, converted to colour",
    }
    treated.append(names.get(mode, f"{mode}, converted to colour"))
    return image.convert("L" if mode == "1" else "RGB")


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """16 bits, or floats (up to 1, else up to 255), as whole numbers from 0 to 255.

    >>> _eight_bits(np.array([0, 257, 65535], dtype=np.uint16)), _eight_bits(np.array([0.0, np.nan, 1.0]))
    (array([  0,   1, 255], dtype=uint8), array([  0,   0, 255], dtype=uint8))
    """
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, nan=0.0, posinf=np.inf, neginf=0.0)
        scaled = values * (255.0 if values.size and values.max() <= 1 else 1.0)
    else:
        scaled = values / 257.0
    whole: np.ndarray = np.rint(scaled.clip(0, 255)).astype(np.uint8)
    return whole


def fitted(image: Image, height: int, width: int, channels: int) -> np.ndarray:
    """Pixels (channels, height, width) uint8: scaled in proportion until they just fit, edges repeated to fill the rest.

    >>> from PIL import Image
    >>> fitted(Image.new("L", (4, 2), 7), 4, 4, 1).shape
    (1, 4, 4)
    """
    from PIL import Image as Pillow

    image = image.convert("L" if channels == 1 else "RGB")
    scale = min(width / image.width, height / image.height)
    size = (min(width, max(1, round(image.width * scale))), min(height, max(1, round(image.height * scale))))
    if size != image.size:
        image = image.resize(size, Pillow.Resampling.BILINEAR, reducing_gap=3.0)
    pixels = np.asarray(image).reshape(size[1], size[0], channels)
    above, left = (height - size[1]) // 2, (width - size[0]) // 2
    if (above, left) != (0, 0) or size != (width, height):
        around = ((above, height - size[1] - above), (left, width - size[0] - left), (0, 0))
        pixels = np.pad(pixels, around, mode="edge")
    channels_first: np.ndarray = pixels.transpose(2, 0, 1)
    return channels_first


@contextmanager
def _quiet() -> Iterator[None]:
    """Pillow warns of sizes and of odd metadata; sizes are judged here, and metadata are not used."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def for_each(
    items: Sequence[str], work: Callable[[int, str], Result], progress: Callable[[int, int], None] | None = None
) -> list[Result]:
    """Work on files in a few threads: `work(i, items[i])` for each, results in order.

    Args:
        progress: told (done, total) from time to time, in this thread.
    """

    def some(first: int) -> list[Result]:
        return [work(i, items[i]) for i in range(first, min(first + _PIECE, len(items)))]

    results: list[Result] = []
    with _quiet(), ThreadPoolExecutor(max(1, min(4, os.cpu_count() or 1)), "pictures") as pool:
        try:
            for piece in pool.map(some, range(0, len(items), _PIECE)):
                results += piece
                if progress:
                    progress(len(results), len(items))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return results
