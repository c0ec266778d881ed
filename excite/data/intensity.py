"""Images with more than 8 bits per channel: their samples, and the range that a data set maps to 0..255.

A file does not record how many of its bits are used: 12-bit microscopes and 8-bit tools write 16-bit files,
and floating-point images have no defined white. So the range is measured over the whole data set, rounded up
to a number of bits, saved with the classifier, and applied to every image.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFile

from excite.errors import BAD_USAGE, ExciteError

IntensityRange = tuple[float, float]
"""The samples that become 0 and 255; values outside are clipped."""

BIT_DEPTHS = (8, 10, 12, 14, 16)
FULL_RANGE: IntensityRange = (0.0, 65535.0)
"""The range of images with integer samples if no data set was measured."""

_PHOTOMETRIC, _WHITE_IS_ZERO, _BITS_PER_SAMPLE, _SAMPLE_FORMAT = 262, 0, 258, 339  # TIFF
_OVERSHOOT = 0.1
_SWAPPED = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}


@dataclass(frozen=True)
class SampleExtremes:
    """Smallest and largest finite sample of one or more images with more than 8 bits per channel.

    Args:
        kind: ``integer``, ``inverted`` (integers whose zero is white) or ``float``.
        low, high: of all samples.
        images: number of images.
    """

    kind: str
    low: float
    high: float
    images: int = 1

    @property
    def range(self) -> IntensityRange:
        """The range that covers the samples: a whole number of bits, or 0..1 for floats, if possible.

        There is no convention for negative samples, values beyond 16 bits, and samples with an offset: their
        range is the extremes.
        """
        if self.kind == "float":
            if self.low >= -_OVERSHOOT and self.high <= 1 + _OVERSHOOT:  # resampling overshoots a little
                return 0.0, 1.0
            if self.low >= 0 and self.high < 256:
                return 0.0, 255.0
        elif self.kind == "inverted" and self.low > FULL_RANGE[1] / 2:  # stored as 65535 minus the sample
            bits = next(bits for bits in BIT_DEPTHS if FULL_RANGE[1] - self.low < 2**bits)
            return FULL_RANGE[1] - (2.0**bits - 1), FULL_RANGE[1]
        elif 0 <= self.low <= self.high / 2 or self.low == self.high >= 0:
            for bits in BIT_DEPTHS:
                if self.high < 2**bits:
                    return 0.0, 2.0**bits - 1
        low = self.low if self.low < 0 or self.low > self.high / 2 else 0.0
        return low, max(self.high, low + 1)


def combine_extremes(extremes: Iterable[SampleExtremes]) -> SampleExtremes | None:
    """The extremes over several images; None if there are none.

    Raises:
        ExciteError: for a mix of integer and floating-point samples, which have no common scale.
    """
    measured = list(extremes)
    if not measured:
        return None
    kinds = {one.kind for one in measured}
    if "float" in kinds and len(kinds) > 1:
        floats = sum(one.kind == "float" for one in measured)
        what = (
            f"{floats} images have floating-point samples and {len(measured) - floats} have 16-bit integers"
        )
        raise ExciteError(what, hint="convert them to one type: there is no common scale")
    low, high = min(one.low for one in measured), max(one.high for one in measured)
    return SampleExtremes(kinds.pop() if len(kinds) == 1 else "integer", low, high, len(measured))


def range_warning(extremes: SampleExtremes | None, trained: IntensityRange | None) -> str:
    """A warning if the range of the training data does not cover the samples; "" if it does."""
    if extremes is None:
        return ""
    text = f"{extremes.images} images have more than 8 bits per channel, with samples from {extremes.low:g} "
    text += f"to {extremes.high:g}"
    if trained is None:
        return f"warning: {text}; the training data has none: 0 is read as black, 65535 as white"
    if extremes.low < trained[0] or extremes.high > trained[1]:
        return f"warning: {text}; the training data's range {trained[0]:g} to {trained[1]:g} clips them"
    return ""


def parse_range(text: str) -> IntensityRange:
    """Parse a range such as ``0,4095``.

    Raises:
        ExciteError: if it is not LOW,HIGH with LOW < HIGH.
    """
    try:
        bounds = [float(number) for number in text.split(",")]
    except ValueError:
        bounds = []
    if len(bounds) != 2 or not all(map(math.isfinite, bounds)) or bounds[0] >= bounds[1]:
        what = f"must be LOW,HIGH with LOW < HIGH, got {text!r}"
        hint = "for example 0,4095"
        raise ExciteError(what, where="--intensity-range", hint=hint, exit_code=BAD_USAGE)
    return bounds[0], bounds[1]


def format_range(range_: IntensityRange) -> str:
    """``0,4095``: what ``parse_range`` reads."""
    return ",".join(f"{bound:.12g}" for bound in range_)


def deep_samples(image: Image.Image) -> np.ndarray | None:
    """The samples of a loaded grayscale image with more than 8 bits, (H, W); None for any other image."""
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return None
    samples = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    unsigned = tags.get(_SAMPLE_FORMAT, (1,))[0] == 1 and tags.get(_BITS_PER_SAMPLE, (0,))[0] == 32
    return samples.view(np.uint32) if image.mode == "I" and unsigned else samples


def is_inverted(image: Image.Image) -> bool:
    """Whether the zero of a TIFF is white; Pillow inverts such images of up to 8 bits only."""
    tags = getattr(image, "tag_v2", None)
    return tags is not None and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def low_byte_tiles(image: ImageFile.ImageFile) -> list[ImageFile._Tile] | None:
    """Tiles that decode the lower byte of each 16-bit color sample; Pillow keeps the upper byte.

    An unpacker of the opposite byte order reads the other byte. None for an image with 8 bits per channel.
    """
    tiles = []
    for tile in image.tile:
        raw, *others = [tile.args] if isinstance(tile.args, str) else tile.args or [""]
        mode, _, depth = str(raw).partition(";")
        if mode not in ("RGB", "RGBA", "RGBX") or depth not in _SWAPPED:
            return None
        swapped = f"{mode};{_SWAPPED[depth]}"
        tiles.append(tile._replace(args=swapped if isinstance(tile.args, str) else (swapped, *others)))
    return tiles or None


def measure_extremes(samples: np.ndarray, *, inverted: bool = False) -> SampleExtremes:
    """The extremes of the finite samples of an image."""
    kind = "float" if samples.dtype.kind == "f" else "inverted" if inverted else "integer"
    finite = samples[np.isfinite(samples)] if kind == "float" else samples
    if not finite.size:
        return SampleExtremes(kind, 0.0, 0.0)
    return SampleExtremes(kind, float(finite.min()), float(finite.max()))


def to_eight_bits(
    samples: np.ndarray, range_: IntensityRange | None, *, inverted: bool = False
) -> np.ndarray:
    """Convert samples of any depth to uint8: ``range_`` maps to 0..255 linearly; NaN becomes the lower bound.

    Raises:
        ExciteError: for floating-point samples without a range.
    """
    is_float = samples.dtype.kind == "f"
    if range_ is None and is_float:
        what = "has floating-point samples of unknown range"
        raise ExciteError(what, hint="train on such images, or convert them to 8 bits")
    low, high = range_ or FULL_RANGE
    numbers = np.clip(np.nan_to_num(samples.astype(np.float64), nan=low, posinf=high, neginf=low), low, high)
    if is_float or high - low < 255:
        levels = np.rint((numbers - low) * (255 / (high - low)))
    else:
        # 256 steps of equal width: of 16 bits the upper 8 remain, and 8 bits do not change.
        levels = np.floor((numbers - low) * (256 / (high - low + 1)))
    eight = levels.astype(np.uint8)
    return 255 - eight if inverted else eight
