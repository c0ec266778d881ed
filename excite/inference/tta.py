"""Views of an image: what is said of it is the mean over all of them."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

CROP = 7 / 8  # side of a crop; 256 pixels cut to 224, as in Krizhevsky et al. 2012, section 4.1


def views_of(images: Tensor, views: str) -> list[Tensor]:
    """The views of a batch (N, C, S, S), each of that shape.

    Args:
        views: ``one``: the images as they are; ``flip``: and their mirror images; ``crops``: and the four
            corners and the middle, each enlarged to the whole, and the mirror images of all.
    """
    if views == "none":
        return [images]
    several = [images, *(_crops(images) if views == "crops" else [])]
    return [view for image in several for view in (image, image.flip(3))]


def _crops(images: Tensor) -> list[Tensor]:
    side = images.shape[-1]
    kept = max(1, round(CROP * side))
    far, middle = side - kept, (side - kept) // 2
    places = [(0, 0), (0, far), (far, 0), (far, far), (middle, middle)]
    cut = [images[..., top : top + kept, left : left + kept] for top, left in places]
    return [F.interpolate(one, size=(side, side), mode="bilinear", align_corners=False) for one in cut]
