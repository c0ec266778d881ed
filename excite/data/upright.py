"""Convert an open image to upright RGB with 8 bits per channel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms

from excite.data.decoding_errors import decoding_errors
from excite.data.intensity import IntensityRange, deep_samples, is_inverted, to_eight_bits

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class DeepSamples(NamedTuple):
    """Samples with more than 8 bits, (H, W) or (H, W, 3), and whether zero is white."""

    samples: np.ndarray
    inverted: bool


def upright(image: Image.Image, intensity_range: IntensityRange | None = None) -> Image.Image:
    """Convert an open image to RGB with 8 bits per channel, rotated according to its EXIF orientation.

    Transparent images are composited over white. Color profiles are not applied. ``image`` is not modified.

    Args:
        intensity_range: the samples that become 0 and 255 in an image with more than 8 bits per channel; by
            default the full range of 16-bit integers.

    Raises:
        ExciteError: if its pixels cannot be read, or are floating-point samples without a range.
    """
    return upright_with_samples(image, intensity_range)[0]


def upright_with_samples(
    image: Image.Image, intensity_range: IntensityRange | None, low_bytes: Image.Image | None = None
) -> tuple[Image.Image, DeepSamples | None]:
    """The upright image, and its samples if they have more than 8 bits.

    Args:
        low_bytes: the image decoded with ``low_byte_tiles``.
    """
    with decoding_errors(getattr(image, "filename", None) or None):
        image.load()
        converted, samples = image, deep_samples(image)
        if samples is not None:
            eight = to_eight_bits(samples, intensity_range, inverted=is_inverted(image))
            converted = Image.fromarray(eight)
        elif low_bytes is not None:
            upper = np.asarray(image)
            samples = upper.astype(np.uint16) << 8 | np.asarray(low_bytes)
            converted = Image.fromarray(to_eight_bits(samples, intensity_range))
            samples = samples[..., :3]  # opacity is not part of the range
        turn = _TURNS.get(_orientation(image))
        turned = converted if turn is None else converted.transpose(turn)
        result = _rgb(turned)
        if result is not image:
            result.info = {}  # without the orientation, which must not be applied twice
        if samples is None:
            return result, None
        return result, DeepSamples(samples, is_inverted(image))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a damaged tag does not make the image unreadable
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "LAB":
        space, screen = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, space, screen, outputMode="RGB")
        assert converted is not None  # it is None only in place
        return converted
    if not image.has_transparency_data:
        return image.convert("RGB")
    transparent = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), transparent).convert("RGB")
