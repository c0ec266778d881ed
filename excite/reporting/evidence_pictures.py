"""Evidence maps as pictures: orange where a position speaks for the class, blue where it speaks against."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

FOR, AGAINST = (217, 95, 2), (31, 95, 168)  # distinguishable with any color vision
OPACITY = 0.8
SIDE = 224  # pixels of a picture


def common_scale(maps: list[np.ndarray]) -> float:
    """The evidence of a position that is drawn in full color: the 99th percentile of magnitudes of all maps.

    One scale for all images, so that a weak map looks weak.
    """
    values = np.concatenate([np.abs(each).ravel() for each in maps]) if maps else np.zeros(1)
    return float(np.percentile(values, 99)) or 1.0


def colored(values: np.ndarray, scale: float, side: int = SIDE) -> Image.Image:
    """A map (h, w) as an RGBA picture; transparent where there is no evidence.

    >>> colored(np.array([[1.0, -1.0]]), 1.0, side=2).size
    (2, 2)
    """
    strength = Image.fromarray(np.clip(values / scale, -1, 1).astype(np.float32))
    smooth = np.asarray(strength.resize((side, side), Image.Resampling.BILINEAR))
    picture = np.empty((side, side, 4), dtype=np.uint8)
    picture[..., :3] = np.where(smooth[..., None] >= 0, FOR, AGAINST)
    picture[..., 3] = (255 * OPACITY * np.abs(smooth)).round()
    return Image.fromarray(picture)


def overlay(pixels: np.ndarray | None, values: np.ndarray, scale: float) -> Image.Image:
    """The map on the picture (S, S, 3) that the network saw, turned gray; on white without a picture."""
    if pixels is None:
        ground = Image.new("RGB", (SIDE, SIDE), "white")
    else:
        ground = enlarged(pixels).convert("L").convert("RGB")
    map_ = colored(values, scale, ground.size[0])
    ground.paste(map_, mask=map_)
    return ground


def enlarged(pixels: np.ndarray) -> Image.Image:
    """The pixels as a picture of at least ``SIDE`` pixels."""
    picture = Image.fromarray(pixels)
    if picture.size[0] >= SIDE:
        return picture
    return picture.resize((SIDE, SIDE), Image.Resampling.NEAREST)


def data_address(picture: Image.Image, *, photo: bool = False) -> str:
    """A picture as a data URI: PNG, or JPEG for a photo."""
    stream = io.BytesIO()
    if photo:
        picture.save(stream, "JPEG", quality=80)
    else:
        picture.save(stream, "PNG", optimize=True)
    kind = "jpeg" if photo else "png"
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def png_bytes(picture: Image.Image) -> bytes:
    """The contents of a PNG file."""
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return stream.getvalue()
