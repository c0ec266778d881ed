"""Test vectors: images with the pixels and probabilities that they must give, to check a port of a bundle.

The images are drawn, not taken from the data: a bundle is given to others, who must not see patients in it.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

_ORIENTATION, _TURNED_RIGHT = 0x0112, 6


@dataclass(frozen=True, eq=False)
class TestVector:
    """One image and what it gives.

    Args:
        image: bytes of an image file.
        pixels: (S, S, 3) uint8, the input of the network.
        probabilities: (C,), calibrated.
    """

    __test__ = False  # for pytest: not a test

    image: bytes
    pixels: np.ndarray
    probabilities: np.ndarray

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TestVector:
        """Of ``to_dict``'s result."""
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(values["pixels"])), formats=["PNG"]))
        probabilities = np.array(values["probabilities"], dtype=np.float64)
        return cls(base64.b64decode(values["image"]), pixels, probabilities)

    def to_dict(self) -> dict[str, Any]:
        """``image`` and ``pixels`` (a PNG) in Base64, and ``probabilities``, for a JSON file."""
        return {
            "image": base64.b64encode(self.image).decode(),
            "pixels": base64.b64encode(_encoded(Image.fromarray(self.pixels), "PNG")).decode(),
            "probabilities": np.asarray(self.probabilities, dtype=np.float64).tolist(),
        }


def example_images() -> tuple[bytes, ...]:
    """Three drawn image files: a JPEG that lies on its side, a transparent PNG, and a small gray PNG.

    A reader that ignores the orientation, the transparency, or the mode gets other pixels.
    """
    down, across = np.mgrid[0:64, 0:96] / 96
    waves = np.stack([np.sin(6 * across + 9 * down), np.cos(11 * across), np.sin(7 * down)], axis=-1)
    color = Image.fromarray(np.uint8(127.5 + 120 * waves))
    exif = Image.Exif()
    exif[_ORIENTATION] = _TURNED_RIGHT
    down, across = np.mgrid[0:100, 0:80] / 100
    disk = np.hypot(across - 0.4, down - 0.5) < 0.35
    transparent = np.stack([200 * across, 255 * down, 255 * disk, 255 * (1 - 0.7 * across * disk)], axis=-1)
    down, across = np.mgrid[0:24, 0:32] / 32
    gray = Image.fromarray(np.uint8(255 * (across + down) / 2))
    return (
        _encoded(color, "JPEG", quality=90, exif=exif),
        _encoded(Image.fromarray(np.uint8(transparent), "RGBA"), "PNG"),
        _encoded(gray, "PNG"),
    )


def _encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()
