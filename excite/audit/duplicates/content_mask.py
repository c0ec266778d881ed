"""Where in a picture the photo is, and where only black or white lies around it."""

from __future__ import annotations

import cv2
import numpy as np

_BLACK, _WHITE = 12, 243  # JPEG leaves flat black and white within some ten levels
_SMALLEST = 0.01  # share of the picture; a shadow that touches the rim is part of the photo


def content_mask(gray: np.ndarray, *, margin: int = 2) -> np.ndarray:
    """1 where the photo is, 0 on the black or white that touches the rim, (height, width) uint8.

    Turned and sheared copies carry black corners, scans a dark ground: their outlines would match those of
    any other such picture.

    Args:
        gray: (height, width) uint8.
        margin: pixels beside the black or white that are left out too.
    """
    extreme = ((gray <= _BLACK) | (gray >= _WHITE)).astype(np.uint8)
    count, labels = cv2.connectedComponents(extreme, connectivity=4)
    rim = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    area = np.bincount(labels.ravel(), minlength=count)
    rim = rim[(rim > 0) & (area[rim] >= _SMALLEST * gray.size)]
    if len(rim) == 0:
        return np.ones(gray.shape, np.uint8)
    outside = np.zeros(count, np.uint8)
    outside[rim] = 1
    kernel = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    return 1 - cv2.dilate(outside[labels], kernel)
