"""Pictures without their object, or with little else: what a classifier can still tell from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

MIDDLE = 0.7  # fraction of the area that is masked in the middle
FRAME = 0.1  # width of the frame, as a fraction of the side
TINY = 8  # side of the tiny pictures in pixels
PATCHES = 4  # patches along a side
CORNER = 0.2  # side of a corner, as a fraction of the picture's

Alter = Callable[[np.ndarray], np.ndarray]  # (S, S, 3) uint8 -> the same


@dataclass(frozen=True)
class Alteration:
    """A change of a picture.

    Args:
        name: short, for tables and JSON.
        text: what is left of the picture.
        shows_object: whether the object can still be recognized in part.
        alter: (S, S, 3) uint8 -> (S, S, 3) uint8.
    """

    name: str
    text: str
    shows_object: bool
    alter: Alter


def mask_middle(picture: np.ndarray) -> np.ndarray:
    """The middle 70 % of the area black."""
    return _square(picture, MIDDLE**0.5, keep=False)


def keep_frame(picture: np.ndarray) -> np.ndarray:
    """The outermost tenth on each side; black inside."""
    return _square(picture, 1 - 2 * FRAME, keep=False)


def mean_color(picture: np.ndarray) -> np.ndarray:
    """Every pixel the mean color."""
    return np.broadcast_to(picture.mean(axis=(0, 1)).round().astype(np.uint8), picture.shape).copy()


def tiny(picture: np.ndarray) -> np.ndarray:
    """Reduced to 8 x 8 pixels and enlarged again."""
    side = picture.shape[0]
    small = cv2.resize(picture, (TINY, TINY), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR)


def shuffle_patches(picture: np.ndarray) -> np.ndarray:
    """Sixteen patches in another order, the same for all pictures."""
    side = picture.shape[0]
    edges = np.linspace(0, side, PATCHES + 1).astype(int)
    step = int(np.diff(edges).min())
    corners = [(top, left) for top in edges[:-1] for left in edges[:-1]]
    order = np.random.default_rng(0).permutation(len(corners))
    result = picture.copy()
    for (top, left), source in zip(corners, order, strict=True):
        y, x = corners[source]
        result[top : top + step, left : left + step] = picture[y : y + step, x : x + step]
    return result


def edges_only(picture: np.ndarray) -> np.ndarray:
    """The strength of edges in the gray picture, without color and brightness."""
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    strength = np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1)) / 4
    return np.repeat(strength.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def _square(picture: np.ndarray, fraction: float, *, keep: bool) -> np.ndarray:
    """A central square of this fraction of the side black, or everything else."""
    side = picture.shape[0]
    margin = round(side * (1 - fraction) / 2)
    inner = slice(margin, side - margin)
    result = np.zeros_like(picture) if keep else picture.copy()
    result[inner, inner] = picture[inner, inner] if keep else 0
    return result


WHOLE = Alteration("whole", "the whole picture", True, lambda picture: picture)
ALTERATIONS = (
    Alteration("middle masked", "the middle 70 % black", False, mask_middle),
    Alteration("frame only", "the outermost tenth on each side", False, keep_frame),
    Alteration("mean color only", "one color, the mean", False, mean_color),
    Alteration("tiny", "8 x 8 pixels", True, tiny),
    Alteration("shuffled patches", "16 patches in another order", True, shuffle_patches),
    Alteration("edges only", "the strength of edges, gray", True, edges_only),
)


def altered(pictures: np.ndarray, alteration: Alteration) -> np.ndarray:
    """Pictures (N, S, S, 3) uint8, each altered."""
    return np.stack([alteration.alter(picture) for picture in pictures])


def with_masks(pictures: np.ndarray, masks: np.ndarray, *, keep: bool) -> np.ndarray:
    """Pictures (N, S, S, 3) with the object only, or the background only; the rest is black.

    Args:
        masks: (N, S, S) bool, True on the object.
        keep: whether to keep the object.
    """
    chosen = masks if keep else ~masks
    result: np.ndarray = pictures * chosen[..., None].astype(np.uint8)
    return result


REGIONS = (
    "middle",
    "frame",
    "top left corner",
    "top right corner",
    "bottom left corner",
    "bottom right corner",
)


def region_statistics(pictures: np.ndarray) -> dict[str, np.ndarray]:
    """What regions of the pictures look like without a network: region -> (N, F) float.

    Mean and standard deviation of each color in the central square and in the four sides of the frame
    without its corners; a thumbnail of 4 x 4 pixels of each corner.

    Args:
        pictures: (N, S, S, 3) uint8.
    """
    side = pictures.shape[1]
    wide, corner = max(1, round(FRAME * side)), max(1, round(CORNER * side))
    inner, along = slice(side // 4, side - side // 4), slice(corner, side - corner)
    values = pictures
    sides = [
        values[:, :wide, along],
        values[:, side - wide :, along],
        values[:, along, :wide],
        values[:, along, side - wide :],
    ]
    low, high = slice(0, corner), slice(side - corner, side)
    corners = [values[:, rows, columns] for rows in (low, high) for columns in (low, high)]
    tables = [
        _moments(values[:, inner, inner]),
        np.concatenate([_moments(each) for each in sides], axis=1),
        *[_thumbnails(each) for each in corners],
    ]
    return dict(zip(REGIONS, tables, strict=True))


def _moments(pixels: np.ndarray) -> np.ndarray:
    """(N, 6) mean and standard deviation of each color."""
    wide = pixels.reshape(len(pixels), -1, 3).astype(np.float32)
    return np.concatenate([wide.mean(axis=1), wide.std(axis=1)], axis=1)


def _thumbnails(pixels: np.ndarray) -> np.ndarray:
    """(N, 48) pixels of a thumbnail."""
    return np.stack(
        [
            cv2.resize(np.ascontiguousarray(each), (4, 4), interpolation=cv2.INTER_AREA).ravel()
            for each in pixels
        ]
    ).astype(np.float32)
