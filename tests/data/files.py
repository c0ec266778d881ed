"""Files and pixels for the tests of reading."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

RANDOM = np.random.default_rng(0)
SMOOTH = np.add.outer(np.arange(24), 3 * np.arange(40)).astype(np.uint8)  # not symmetric in any way
COLOR = np.stack([SMOOTH, SMOOTH[::-1], SMOOTH[:, ::-1]], axis=2)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def touch(root: Path, *names: str) -> Path:
    """Empty files; reading looks at names alone."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root
