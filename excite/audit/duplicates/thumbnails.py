"""A picture in a few numbers for pass 2: a hash of its pixels, a thumbnail, its lowest frequencies."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

from excite.audit.duplicates.content_mask import content_mask

SIDE, FINE_SIDE = 32, 64
"""Sides of thumbnails in pixels; the fine one is for pictures that have so many pixels."""
FREQUENCIES = 12
"""Of the DCT, in each direction. 12 of 32 hold what survives JPEG quality 20, blur and resizing."""
FLAT = 2.0
"""Gray levels; a thumbnail with a smaller standard deviation shows nothing that could be recognized."""
MOSTLY_OUTSIDE = 0.35
"""With a smaller share inside, the black or white is part of what is shown: pen strokes, a logo."""


@dataclass(frozen=True)
class Thumbnail:
    """What pass 2 keeps of a picture.

    Args:
        pixels_hash: of size and decoded RGB pixels.
        luma: (S, S) uint8, the whole picture squeezed into a square, S being 32 or 64; what is outside the
            photo (black corners, a white rim) has the photo's mean.
        outside: what that is, (S, S / 8) bits.
        blank: whether there is nothing to recognize.
    """

    pixels_hash: bytes
    luma: np.ndarray
    outside: np.ndarray
    blank: bool

    @property
    def fine(self) -> bool:
        """Whether the picture has the pixels for the larger of the two sides."""
        return len(self.luma) == FINE_SIDE

    def shown_outside(self) -> np.ndarray:
        """``outside`` as (S, S) bool."""
        return np.unpackbits(self.outside, axis=1).astype(bool)

    def coarse_outside(self) -> np.ndarray:
        """The same for the 32-pixel thumbnail."""
        return coarse(self.shown_outside()) > 0


def thumbnail(image: Image.Image) -> Thumbnail:
    """The thumbnail of an upright RGB picture."""
    digest = hashlib.blake2b(repr(image.size).encode(), digest_size=16)
    digest.update(image.tobytes())
    side = FINE_SIDE if min(image.size) >= FINE_SIDE else SIDE
    small = image.convert("L") if image.size == (side, side) else _squeezed(image, side)
    luma = np.array(small)
    inside = content_mask(luma, margin=1)
    if inside.mean() < MOSTLY_OUTSIDE:
        inside[:] = 1
    luma[inside == 0] = round(float(luma[inside == 1].mean()))
    return Thumbnail(digest.digest(), luma, np.packbits(inside == 0, axis=1), float(luma.std()) < FLAT)


def spectra(lumas: np.ndarray) -> np.ndarray:
    """The lowest frequencies of thumbnails, evened out, of unit length.

    A DCT coefficient (u, v) is multiplied by sqrt(u^2 + v^2): natural pictures have amplitudes that fall as
    one over the frequency (Field 1987), so each then says equally much, and brightness (0, 0) nothing.

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
    """Spectra as numbers that flips and 90 degree turns do not change, (n, 144) float32, of unit length.

    A flip changes signs of coefficients, a transposition swaps (u, v) and (v, u): what stays is the larger
    and the smaller of the two absolute values. Neither step moves two vectors apart, so the likeness of two
    pictures here is never less than in the best of the 8 orientations: a search here misses none.
    """
    size = np.abs(spectra)
    across = size.transpose(0, 2, 1)
    rows, columns = np.triu_indices(FREQUENCIES)
    off = rows != columns
    large, small = np.maximum(size, across)[:, rows, columns], np.minimum(size, across)[:, rows, columns]
    return np.hstack([large, small[:, off]])


def coarse(luma: np.ndarray) -> np.ndarray:
    """The 32-pixel thumbnail of either size."""
    if len(luma) == SIDE:
        return luma
    return luma.reshape(SIDE, 2, SIDE, 2).mean(axis=(1, 3))


def _squeezed(image: Image.Image, side: int) -> Image.Image:
    # Reduce by whole factors before anything else: a photo of 12 megapixels takes a few milliseconds then.
    # Pillow's box filter averages; when enlarging, bilinear keeps a resized copy like its original.
    enlarging = min(image.size) < side
    method = Image.Resampling.BILINEAR if enlarging else Image.Resampling.BOX
    return image.resize((side, side), method, reducing_gap=None if enlarging else 3.0).convert("L")
