"""The evidence of a class as a picture to lay over the image."""

from __future__ import annotations

import base64
import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from excite.data.preprocessing import Preprocessing

FOR, AGAINST = (230, 97, 1), (33, 102, 172)  # orange and blue, which color-blind people can tell apart
SIDE = 224  # pixels


class Box(NamedTuple):
    """The part of an upright image that the network saw, in fractions of its width and height.

    With ``pad`` it extends beyond the image: fractions below 0 and above 1.
    """

    left: float
    top: float
    right: float
    bottom: float


def input_box(size: tuple[int, int], preprocessing: Preprocessing) -> Box:
    """The part of an image of a size (width, height) that becomes the input of the network.

    >>> input_box((200, 100), Preprocessing(8, "crop"))
    Box(left=0.25, top=0.0, right=0.75, bottom=1.0)
    """
    width, height = size
    if preprocessing.resize_mode == "stretch":
        return Box(0.0, 0.0, 1.0, 1.0)
    side = min(size) if preprocessing.resize_mode == "crop" else max(size)
    left, top = (width - side) / 2 / width, (height - side) / 2 / height
    return Box(left, top, left + side / width, top + side / height)


def evidence_png(evidence: np.ndarray, index: int) -> str:
    """The evidence for a class as a PNG in Base64: orange speaks for it, blue against it.

    Evidence is shown as its difference from the mean over the classes, because a number that is added to the
    evidence of all classes changes no probability. The opacity is its size relative to the largest.

    Args:
        evidence: (C, h, w), of one image.
        index: of the class.
    """
    own = evidence[index] - evidence.mean(axis=0)
    smooth = np.asarray(
        Image.fromarray(own.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    )
    largest = float(np.abs(smooth).max()) or 1.0
    pixels = np.empty((SIDE, SIDE, 4), dtype=np.uint8)
    pixels[..., :3] = np.where(smooth[..., None] >= 0, FOR, AGAINST)
    pixels[..., 3] = np.round(255 * np.abs(smooth) / largest)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return base64.b64encode(file.getvalue()).decode()
