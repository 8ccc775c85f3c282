"""Picture files for tests: good ones with a known class, and one of each kind that gives trouble."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from netwright.core.seed import numpy_generator


def shape(label: str, rng: np.random.Generator, side: int = 16) -> np.ndarray:
    """A grey picture of a lying ("bar") or a standing ("post") bright stripe on noise."""
    pixels = rng.integers(0, 60, (side, side))
    at = int(rng.integers(2, side - 4))
    if label == "bar":
        pixels[at : at + 3] += 150
    else:
        pixels[:, at : at + 3] += 150
    return pixels.astype(np.uint8)


def make_folder(root: Path, n: int = 12, labels: tuple[str, ...] = ("bar", "post"), colour: bool = False) -> Path:
    """n pictures for each class, one folder a class."""
    rng = numpy_generator(0, "pictures", str(root.name))
    for label in labels:
        (root / label).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            pixels = shape(label, rng)
            if colour:
                pixels = np.stack([pixels, pixels // 2, 255 - pixels], -1)
            Image.fromarray(pixels).save(root / label / f"{i:03}.png")
    return root


def truncated(path: Path) -> Path:
    """A JPEG of which the second half is gone."""
    rng = numpy_generator(0, "truncated")
    Image.fromarray(rng.integers(0, 255, (64, 64, 3)).astype(np.uint8)).save(path, "JPEG")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def bomb(path: Path, side: int = 20_000) -> Path:
    """A PNG whose header says side x side grey pixels; a few kilobytes of a file that would unpack to 400 MB."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer, packed = zlib.compressobj(9), b""
    row = bytes(side + 1)
    for _ in range(100):
        packed += packer.compress(row)
    packed += packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b""))
    return path


def odd(folder: Path) -> dict[str, Path]:
    """Pictures that are good but unusual: animated, 16-bit, CMYK, 1x1, palette, alpha, one bit, turned by the camera."""
    rng = numpy_generator(0, "odd")
    grey = rng.integers(0, 255, (16, 16)).astype(np.uint8)
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    made = {
        "animated.gif": None,
        "sixteen.png": Image.fromarray(grey.astype(np.uint16) * 257),
        "cmyk.jpg": Image.fromarray(red).convert("CMYK"),
        "dot.png": Image.fromarray(grey[:1, :1]),
        "palette.png": Image.fromarray(red).convert("P", palette=Image.Palette.ADAPTIVE),
        "alpha.png": Image.fromarray(np.dstack([red, np.zeros((16, 16), np.uint8)])),
        "bits.png": Image.fromarray(grey > 99),
    }
    for name, image in made.items():
        if image is not None:
            image.save(folder / name)
    frames = [Image.fromarray(np.full((16, 16), level, np.uint8)) for level in (10, 200)]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    tall = Image.fromarray(np.tile(np.arange(0, 240, 10, dtype=np.uint8)[:, None], (1, 12)))  # 24 high, darkest on top
    exif = tall.getexif()
    exif[0x0112] = 6
    tall.save(folder / "turned.jpg", exif=exif)
    return {name: folder / name for name in (*made, "turned.jpg")}
