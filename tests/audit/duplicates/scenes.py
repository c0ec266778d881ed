"""Pictures drawn from a seed, unlike each other, and changes of them."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage


def scene(seed: int, size: tuple[int, int] = (224, 200)) -> Image.Image:
    """A picture with edges, blobs and texture of all sizes, unlike that of any other seed."""
    return _drawn(seed, size).copy()


@cache
def _drawn(seed: int, size: tuple[int, int]) -> Image.Image:
    random = np.random.default_rng(seed)
    width, height = size
    pixels = np.zeros((height, width, 3))
    for sigma in (2, 4, 8, 16, 32):
        # As in natural pictures, channels go together for the most part.
        grain = random.standard_normal((height, width, 1)) + 0.3 * random.standard_normal((height, width, 3))
        layer = ndimage.gaussian_filter(grain, (sigma, sigma, 0))
        pixels += layer / layer.std() * sigma**0.3 * 14
    picture = Image.fromarray(np.clip(pixels + 120, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(25):
        x, y, r = random.integers(0, width), random.integers(0, height), random.integers(4, 25)
        color = tuple((random.integers(30, 190) + random.integers(0, 40, 3)).tolist())
        draw.ellipse([x - r, y - r * 0.7, x + r, y + r * 0.7], fill=color)
    return picture


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(io.BytesIO(stream.getvalue())).convert("RGB")


def cropped(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    return picture.crop(
        (width // 4, height // 5, width // 4 + int(0.64 * width), height // 5 + int(0.64 * height))
    )
