"""Pictures with an object in the middle, and shortcuts that can be planted."""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 48


def pictures(
    n: int = 120, *, plant: str = "none", seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels (n, S, S, 3), classes, and groups of two pictures; the classes differ in a small disc or square.

    Args:
        plant: ``frame``: a frame of one color for one class; ``watermark``: a mark in the lower right corner;
            ``tint``: another camera; ``none``.
    """
    random = np.random.default_rng(seed)
    groups = np.arange(n) // 2
    targets = random.permutation(np.arange(n // 2) % 2)[groups]
    pixels = np.empty((n, SIDE, SIDE, 3), dtype=np.uint8)
    for row, label in enumerate(targets):
        rough = random.integers(60, 196, (6, 6, 3)).astype(np.uint8)
        picture = cv2.resize(rough, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC).astype(np.int64)
        x, y = random.integers(18, 30, 2).tolist()
        canvas = np.zeros((SIDE, SIDE), dtype=np.uint8)
        if label:
            cv2.circle(canvas, (x, y), 6, 1, -1)
        else:
            cv2.rectangle(canvas, (x - 5, y - 5), (x + 5, y + 5), 1, -1)
        picture[canvas > 0] = 230
        picture += np.asarray(random.normal(0, 8, picture.shape)).astype(np.int64)
        if plant == "frame" and label:
            for edge in (np.s_[:5], np.s_[-5:], np.s_[:, :5], np.s_[:, -5:]):
                picture[edge] = (20, 40, 120)
        elif plant == "watermark" and label:
            picture[-8:, -8:] += 70
        elif plant == "tint":
            picture += np.array([14, 0, -14]) * (1 if label else -1)
        pixels[row] = picture.clip(0, 255)
    return pixels, targets, groups
