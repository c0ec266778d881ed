"""Test-time augmentation: several versions of each image, over which predictions are averaged."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

CROP_FRACTION = 7 / 8  # side of a crop: 224 of 256 pixels, as in Krizhevsky et al. 2012, section 4.1


def apply_tta(images: Tensor, mode: str) -> list[Tensor]:
    """Versions of a batch (N, C, S, S), each of that shape; the first is the batch itself.

    Args:
        mode: ``none``: the images only; ``flip``: and their mirror images; ``crops``: and crops of the four
            corners and the center, enlarged to S, and the mirror images of all.

    >>> import torch
    >>> [len(apply_tta(torch.zeros(2, 3, 8, 8), mode)) for mode in ("none", "flip", "crops")]
    [1, 2, 12]
    """
    if mode == "none":
        return [images]
    crops = _crops(images) if mode == "crops" else []
    return [version for batch in (images, *crops) for version in (batch, batch.flip(3))]


def tta_boxes(mode: str, side: int) -> list[tuple[int, int, int, bool]]:
    """Where the versions of ``apply_tta`` are in the image: (top, left, size in pixels, mirrored).

    >>> tta_boxes("flip", 8)
    [(0, 0, 8, False), (0, 0, 8, True)]
    """
    if mode == "none":
        return [(0, 0, side, False)]
    crops = _crop_boxes(side) if mode == "crops" else []
    return [(*box, mirrored) for box in [(0, 0, side), *crops] for mirrored in (False, True)]


def _crop_boxes(side: int) -> list[tuple[int, int, int]]:
    """(top, left, size) of the crops of the four corners and the center."""
    size = max(1, round(CROP_FRACTION * side))
    end, center = side - size, (side - size) // 2
    return [(top, left, size) for top, left in [(0, 0), (0, end), (end, 0), (end, end), (center, center)]]


def _crops(images: Tensor) -> list[Tensor]:
    side = images.shape[-1]
    crops = [images[..., top : top + size, left : left + size] for top, left, size in _crop_boxes(side)]
    return [F.interpolate(crop, size=(side, side), mode="bilinear", align_corners=False) for crop in crops]
