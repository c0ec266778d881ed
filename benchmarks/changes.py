"""Changes that turn a photo into a copy of it, for benchmarks: one function per kind of change."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(io.BytesIO(stream.getvalue())).convert("RGB")


def cropped(picture: Image.Image, share: float) -> Image.Image:
    """A part with this share of the area, from somewhere: the place follows from the size."""
    width, height = picture.size
    w, h = round(width * share**0.5), round(height * share**0.5)
    random = np.random.default_rng(width * height)
    left, top = int(random.integers(0, width - w + 1)), int(random.integers(0, height - h + 1))
    return picture.crop((left, top, left + w, top + h))


def scaled(picture: Image.Image, scale: float) -> Image.Image:
    size = round(picture.width * scale), round(picture.height * scale)
    return picture.resize(size, Image.Resampling.BICUBIC)


def hue(picture: Image.Image, degrees: int) -> Image.Image:
    shifted = np.asarray(picture.convert("HSV")).copy()
    shifted[..., 0] += np.uint8(degrees * 256 // 360)
    return Image.fromarray(shifted, "HSV").convert("RGB")


def noisy(picture: Image.Image, sigma: float) -> Image.Image:
    pixels = np.asarray(picture) + np.random.default_rng(0).normal(0, sigma, (*picture.size[::-1], 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def framed(picture: Image.Image) -> Image.Image:
    return ImageOps.expand(picture, round(0.08 * max(picture.size)), fill="white")


def captioned(picture: Image.Image) -> Image.Image:
    height = round(0.15 * picture.height)
    made = ImageOps.expand(picture, (0, 0, 0, height), fill="black")
    place = 10, picture.height + height // 3
    ImageDraw.Draw(made).text(place, "Figure 3: a caption below", fill="white", font_size=height / 3)
    return made


def turned(picture: Image.Image, degrees: float) -> Image.Image:
    return picture.rotate(degrees, Image.Resampling.BILINEAR)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "crop of 60 %": lambda p: cropped(p, 0.6),
    "crop of 40 %": lambda p: cropped(p, 0.4),
    "turned by 10 degrees": lambda p: turned(p, 10),
    "turned by 37 degrees": lambda p: turned(p, 37),
    "turned by 90 degrees": lambda p: p.transpose(Image.Transpose.ROTATE_90),
    "turned by 163 degrees": lambda p: turned(p, 163),
    "half size": lambda p: scaled(p, 0.5),
    "double size": lambda p: scaled(p, 2),
    "JPEG quality 20": lambda p: jpeg(p, 20),
    "hue by 60 degrees": lambda p: hue(p, 60),
    "brighter by 1.8, clipped": lambda p: ImageEnhance.Brightness(p).enhance(1.8),
    "darker by 0.4": lambda p: ImageEnhance.Brightness(p).enhance(0.4),
    "mirror": ImageOps.mirror,
    "noise of 15 gray levels": lambda p: noisy(p, 15),
    "noise of 25 gray levels": lambda p: noisy(p, 25),
    "frame": framed,
    "caption": captioned,
    "crop of 40 %, mirrored, turned, JPEG 40": lambda p: jpeg(
        turned(ImageOps.mirror(cropped(p, 0.4)), 20), 40
    ),
}
