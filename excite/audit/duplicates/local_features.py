"""Local features of a picture: SIFT keypoints inside the photo, and a structure picture to compare pixels.

Both are computed on a gray picture whose longer side is at most ``WORK_SIDE``, so that time and memory do not
depend on the size of the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from excite.audit.duplicates.content_mask import content_mask

WORK_SIDE = 256
"""Longer side in pixels of the picture that features are extracted from."""
SMALLEST_SIDE = 48
"""Smaller pictures have too few features to be distinguished, so none are extracted."""
FEATURES = 360
"""Number of features per picture, 46 kB; ``LARGE`` of them are the largest, which blurred copies need."""
LARGE = 140
STRUCTURE_SIDE = 128
BLANK = -128
"""Value of the pixels of a structure picture outside the photo."""

_CONTRAST = 0.003  # on blurred copies of the mpox photos, 0.02 leaves 32 features and 0.003 leaves 140
_EDGE = 12
# Gray levels; most files of the mpox set have 0.5, a few up to 9, and copies with added noise 11 to 28.
_NOISY, _VERY_NOISY = 4.0, 8.0
_NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)


@dataclass(frozen=True)
class Features:
    """The local features of a picture, for pass 3.

    Args:
        points: (n, 2) float32, x and y in pixels of the structure picture.
        descriptors: (n, 128) uint8, RootSIFT (Arandjelović and Zisserman 2012) times 255.
        structure: (height, width) int8, locally normalized band-pass luma, ``BLANK`` outside the photo.
        noisy: whether the picture had strong noise, and was denoised first.
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

    The mask of Immerkær, "Fast noise variance estimation" (1996), with a median, which is robust to edges.
    """
    response = np.abs(cv2.filter2D(gray.astype(np.float32), -1, _NOISE_KERNEL))
    return float(np.median(response)) / 0.6745 / 6  # 0.6745: median of |N(0, 1)|; 6: norm of the mask


def mirrored(descriptors: np.ndarray) -> np.ndarray:
    """SIFT descriptors of the mirror image, (n, 128): rows of the 4 x 4 cells reversed, angles negated."""
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
    keypoints = sorted(sift.detect(gray, allowed), key=lambda key: -key.response)
    strong = FEATURES - LARGE
    chosen = keypoints[:strong] + sorted(keypoints[strong:], key=lambda key: -key.size)[:LARGE]
    if not chosen:
        return np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8)
    described, raw = sift.compute(gray, chosen)
    points = np.array([key.pt for key in described], np.float32).reshape(-1, 2)
    root = np.sqrt(raw / np.maximum(raw.sum(axis=1, keepdims=True), 1e-9))
    return points, np.rint(root * 255).astype(np.uint8)


def _structure(gray: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, float]:
    """Band-pass luma divided by its local amplitude, and its scale relative to ``gray``."""
    scale = min(1.0, STRUCTURE_SIDE / max(gray.shape))
    if scale < 1:
        size = max(1, round(gray.shape[1] * scale)), max(1, round(gray.shape[0] * scale))
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
        inside = cv2.resize(inside, size, interpolation=cv2.INTER_NEAREST)
    weight = inside.astype(np.float32)
    luma = gray.astype(np.float32)
    band = (_blurred(luma, weight, 0.8) - _blurred(luma, weight, 4.0)) * weight
    amplitude = np.sqrt(_blurred(band * band, weight, 6.0))
    normal = band / (amplitude + 3.0)  # 3 gray levels keep flat skin and sky from becoming texture
    structure = np.clip(np.rint(normal * 40), -127, 127).astype(np.int8)
    structure[inside == 0] = BLANK
    return structure, scale


def _blurred(values: np.ndarray, weight: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian mean over the pixels of the photo only."""
    total = cv2.GaussianBlur(values * weight, (0, 0), sigma)
    return total / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-3)
