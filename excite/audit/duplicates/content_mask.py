"""Separate the photo in an image from a black or white border."""

from __future__ import annotations

import cv2
import numpy as np

_BLACK, _WHITE = 12, 243  # flat black and white after JPEG differ by up to ten levels
_SMALLEST = 0.01  # fraction of the image; a smaller area at the edge, such as a shadow, belongs to the photo


def content_mask(gray: np.ndarray, *, margin: int = 2) -> np.ndarray:
    """The mask of the photo, (height, width) uint8: 1 inside, 0 on black or white that touches the edge.

    Rotated and sheared copies have black corners, scans a dark background: their outlines would match those
    of any other such image.

    Args:
        gray: (height, width) uint8.
        margin: pixels next to the border that are masked too.
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
