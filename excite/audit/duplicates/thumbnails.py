"""What pass 2 compares: a hash of a picture's pixels, its thumbnail, and the thumbnail's low frequencies."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

from excite.audit.duplicates.content_mask import content_mask

SIDE, FINE_SIDE = 32, 64
"""Sides of thumbnails in pixels; the larger one is for pictures with at least that many pixels per side."""
FREQUENCIES = 12
"""Number of DCT frequencies in each direction: 12 of 32 survive JPEG quality 20, blur, and resizing."""
FLAT = 2.0
"""Standard deviation in gray levels below which a thumbnail is blank: it shows nothing to recognize."""
SMALLEST_PHOTO = 0.35
"""Smallest fraction of a photo inside a border; below, the black or white is content: pen strokes, a logo."""


@dataclass(frozen=True)
class Thumbnail:
    """A picture as pass 2 compares it.

    Args:
        pixels_hash: hash of the size and the decoded RGB pixels.
        luma: (S, S) uint8, the picture stretched to a square; S is 32 or 64. Pixels outside the photo, such
            as black corners or a white border, have the mean of the photo.
        outside: the mask of these pixels, (S, S / 8) packed bits.
        blank: whether the picture shows nothing to recognize.
    """

    pixels_hash: bytes
    luma: np.ndarray
    outside: np.ndarray
    blank: bool

    @property
    def fine(self) -> bool:
        """Whether this is the larger of the two sizes."""
        return len(self.luma) == FINE_SIDE

    def outside_mask(self) -> np.ndarray:
        """``outside`` as (S, S) bool."""
        return np.unpackbits(self.outside, axis=1).astype(bool)

    def coarse_outside_mask(self) -> np.ndarray:
        """``outside`` of the 32-pixel thumbnail, as (32, 32) bool."""
        return coarse(self.outside_mask()) > 0


def thumbnail(image: Image.Image) -> Thumbnail:
    """The thumbnail of an upright RGB picture."""
    digest = hashlib.blake2b(repr(image.size).encode(), digest_size=16)
    digest.update(image.tobytes())
    side = FINE_SIDE if min(image.size) >= FINE_SIDE else SIDE
    small = image.convert("L") if image.size == (side, side) else _stretched(image, side)
    luma = np.array(small)
    inside = content_mask(luma, margin=1)
    if inside.mean() < SMALLEST_PHOTO:
        inside[:] = 1
    luma[inside == 0] = round(float(luma[inside == 1].mean()))
    return Thumbnail(digest.digest(), luma, np.packbits(inside == 0, axis=1), float(luma.std()) < FLAT)


def spectra(lumas: np.ndarray) -> np.ndarray:
    """The low frequencies of thumbnails, whitened, of unit length.

    The DCT coefficient (u, v) is multiplied by sqrt(u^2 + v^2). Amplitudes of natural images fall as one over
    the frequency (Field 1987), so all coefficients then have similar weight, and the brightness (0, 0) has
    none.

    Args:
        lumas: (n, 32, 32).

    Returns:
        (n, 12, 12) float32.
    """
    place = (np.arange(SIDE) + 0.5) / SIDE * np.pi
    number = np.arange(FREQUENCIES)
    basis = np.cos(number[:, None] * place).astype(np.float32)
    weight = np.hypot(number[:, None], number[None]).astype(np.float32)
    result = (basis @ lumas.astype(np.float32) @ basis.T) * weight
    length = np.sqrt((result**2).sum(axis=(1, 2), keepdims=True))
    return result / np.maximum(length, 1e-6)


def unoriented(spectra: np.ndarray) -> np.ndarray:
    """Spectra invariant to flips and rotations by 90 degrees, (n, 144) float32, of unit length.

    A flip changes signs of coefficients, and a transposition swaps (u, v) and (v, u); the larger and the
    smaller of the two absolute values do not change. Neither step increases the distance of two vectors, so
    their similarity here is at least that in the best of the 8 orientations, and a search for neighbors
    misses no pair.
    """
    size = np.abs(spectra)
    across = size.transpose(0, 2, 1)
    rows, columns = np.triu_indices(FREQUENCIES)
    off = rows != columns
    large, small = np.maximum(size, across)[:, rows, columns], np.minimum(size, across)[:, rows, columns]
    return np.hstack([large, small[:, off]])


def coarse(luma: np.ndarray) -> np.ndarray:
    """Reduce a thumbnail to 32 pixels per side."""
    if len(luma) == SIDE:
        return luma
    return luma.reshape(SIDE, 2, SIDE, 2).mean(axis=(1, 3))


def _stretched(image: Image.Image, side: int) -> Image.Image:
    # reducing_gap first reduces by whole factors, so that 12 megapixels take a few milliseconds. Pillow's box
    # filter averages; for enlarging, bilinear interpolation keeps resized copies similar to their original.
    enlarging = min(image.size) < side
    method = Image.Resampling.BILINEAR if enlarging else Image.Resampling.BOX
    return image.resize((side, side), method, reducing_gap=None if enlarging else 3.0).convert("L")
