"""Image files for the tests."""

from __future__ import annotations

import io
import zlib

import numpy as np
from PIL import Image


def picture(format: str = "PNG", size: tuple[int, int] = (24, 16), seed: int = 0, **options: object) -> bytes:
    """Noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


def png_bomb(side: int = 50_000) -> bytes:
    """A PNG whose header promises more pixels than memory has room for, in some bytes."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4) + name + content + zlib.crc32(name + content).to_bytes(4)

    header = side.to_bytes(4) + side.to_bytes(4) + b"\x08\x02\0\0\0"
    rows = zlib.compress(b"\0" * 100_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def jpeg_with_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated, as some hundred bytes each."""
    content = picture("JPEG", (16, 16), progressive=True)
    last = content.rindex(b"\xff\xda")
    scan = content[last:-2]
    return content[:-2] + scan * count + b"\xff\xd9"
