"""Local features of a picture: SIFT points outside its blank borders, and its structure for comparing pixels.

Everything is done on a gray picture whose longer side is at most ``WORK_SIDE``, so time and memory per
picture do not depend on its size.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from excite.audit.duplicates.content_mask import content_mask

WORK_SIDE = 256
"""Longer side in pixels of the picture that features are looked for on."""
SMALLEST_SIDE = 48
"""Below this a picture has too few features to be told from its like; hashes must do."""
FEATURES = 360
"""Kept per picture: 46 kB. Blurred copies need the large ones: ``LARGE`` of them are kept for their size."""
LARGE = 140
STRUCTURE_SIDE = 128
BLANK = -128
"""Marks pixels of a structure picture that show nothing: outside the photo."""

_CONTRAST = 0.003  # on blurred copies of the mpox photos 0.02 leaves 32 features, this leaves 140
_EDGE = 12
_NOISY, _VERY_NOISY = (
    4.0,
    8.0,
)  # gray levels; most mpox files have 0.5, a few up to 9; noise copies 11 to 28
_NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)


@dataclass(frozen=True)
class Features:
    """What pass 3 keeps of a picture.

    Args:
        points: (n, 2) float32, x and y in pixels of the structure picture.
        descriptors: (n, 128) uint8, RootSIFT times 255.
        structure: (height, width) int8, locally normalized band-pass luma, ``BLANK`` outside the photo.
        noisy: whether the picture had to be freed of strong noise first.
    """

    points: np.ndarray
    descriptors: np.ndarray
    structure: np.ndarray
    noisy: bool = False

    def __len__(self) -> int:
        return len(self.points)


def extract(image: Image.Image) -> Features:
    """The features of an upright RGB picture."""
    gray = working_gray(image)
    if min(gray.shape) < SMALLEST_SIDE or gray.max() - gray.min() < 8:
        return Features(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8), np.zeros((1, 1), np.int8))
    inside = content_mask(gray)
    level = noise_level(gray)
    gray = _denoised(gray, level)
    points, descriptors = _sift(gray, inside)
    structure, scale = _structure(gray, inside)
    return Features(points * np.float32(scale), descriptors, structure, level >= _NOISY)


def working_gray(image: Image.Image) -> np.ndarray:
    """Luma, (height, width) uint8, longer side at most ``WORK_SIDE``."""
    width, height = image.size
    shrink = WORK_SIDE / max(width, height)
    if shrink < 1:
        size = max(1, round(width * shrink)), max(1, round(height * shrink))
        image = image.resize(size, Image.Resampling.BOX, reducing_gap=2.0)
    return np.asarray(image.convert("L"))


def noise_level(gray: np.ndarray) -> float:
    """Standard deviation of the noise in gray levels.

    The mask of Immerkaer, "Fast noise variance estimation" (1996), with a median for edges' sake.
    """
    response = np.abs(cv2.filter2D(gray.astype(np.float32), -1, _NOISE_KERNEL))
    return float(np.median(response)) / 0.6745 / 6  # 0.6745: median of |N(0, 1)|; 6: norm of the mask


def mirrored(descriptors: np.ndarray) -> np.ndarray:
    """What SIFT would describe in the mirror, (n, 128): its 4 x 4 cells in 4 swapped rows, angles negated."""
    return descriptors[:, _MIRROR]


def _mirror_order() -> np.ndarray:
    cells = np.arange(128).reshape(4, 4, 8)
    return cells[::-1][:, :, -np.arange(8) % 8].ravel()


_MIRROR = _mirror_order()


def _denoised(gray: np.ndarray, level: float) -> np.ndarray:
    if level < _NOISY:
        return gray
    return cv2.GaussianBlur(cv2.medianBlur(gray, 5 if level > _VERY_NOISY else 3), (0, 0), 1.0)


def _sift(gray: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(points in pixels of ``gray``, descriptors)."""
    sift = cv2.SIFT.create(contrastThreshold=_CONTRAST, edgeThreshold=_EDGE)
    allowed = cv2.erode(inside, np.ones((7, 7), np.uint8), borderValue=1) * 255
    found = sorted(sift.detect(gray, allowed), key=lambda key: -key.response)
    strong = FEATURES - LARGE
    chosen = found[:strong] + sorted(found[strong:], key=lambda key: -key.size)[:LARGE]
    if not chosen:
        return np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8)
    kept, raw = sift.compute(gray, chosen)
    points = np.array([key.pt for key in kept], np.float32).reshape(-1, 2)
    root = np.sqrt(raw / np.maximum(raw.sum(axis=1, keepdims=True), 1e-9))  # Arandjelovic, Zisserman 2012
    return points, np.rint(root * 255).astype(np.uint8)


def _structure(gray: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, float]:
    """Band-pass luma divided by its local strength, and its pixels per pixel of ``gray``."""
    scale = min(1.0, STRUCTURE_SIDE / max(gray.shape))
    if scale < 1:
        size = max(1, round(gray.shape[1] * scale)), max(1, round(gray.shape[0] * scale))
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
        inside = cv2.resize(inside, size, interpolation=cv2.INTER_NEAREST)
    weight = inside.astype(np.float32)
    luma = gray.astype(np.float32)
    band = (_blurred(luma, weight, 0.8) - _blurred(luma, weight, 4.0)) * weight
    strength = np.sqrt(_blurred(band * band, weight, 6.0))
    normal = band / (strength + 3.0)  # 3 gray levels: flat skin and sky must not become texture
    structure = np.clip(np.rint(normal * 40), -127, 127).astype(np.int8)
    structure[inside == 0] = BLANK
    return structure, scale


def _blurred(values: np.ndarray, weight: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian mean over the photo alone."""
    total = cv2.GaussianBlur(values * weight, (0, 0), sigma)
    return total / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-3)
