"""From an image of any shape to the square of pixels that a network receives; saved with the model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from excite.config.imagenet import IMAGENET_MEAN, IMAGENET_STD
from excite.data.intensity import IntensityRange, format_range
from excite.errors import ExciteError, unknown_name

RESIZE_MODES = ("crop", "stretch", "pad")
TTA_MODES = ("none", "flip", "crops")
INTERPOLATIONS = ("bilinear", "bicubic")


@dataclass(frozen=True)
class Preprocessing:
    """How images become network input; the same in training, evaluation, prediction, and export.

    Args:
        image_size: side of the square input, in pixels.
        resize_mode: how an image becomes square: ``crop`` scales the short side and crops the center,
            ``stretch`` scales both sides, ``pad`` scales the long side and adds black.
        mean, std: per channel (R, G, B), in units of [0, 1]; input = (pixel / 255 - mean) / std.
        tta: test-time augmentation, the versions of an image whose logits are averaged: ``none``, ``flip``,
            or ``crops``; see ``excite.inference.tta``.
        intensity_range: the samples that become 0 and 255 in images with more than 8 bits per channel, as
            measured over the training data; None if it has no such images.
        interpolation: Pillow's filter for resizing, ``bilinear`` or ``bicubic``; both average over all source
            pixels when they shrink.

    Raises:
        ExciteError: for an unknown mode or filter, a size below 1, or statistics that are not three numbers
            each.

    Example:
        >>> from PIL import Image
        >>> preprocessing = Preprocessing(image_size=8, resize_mode="pad")
        >>> preprocessing.pixels(Image.new("RGB", (32, 16), "white")).shape
        (8, 8, 3)
    """

    image_size: int
    resize_mode: str = "crop"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    tta: str = "none"
    intensity_range: IntensityRange | None = None
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        if self.resize_mode not in RESIZE_MODES:
            raise unknown_name("resize mode", self.resize_mode, RESIZE_MODES)
        if self.tta not in TTA_MODES:
            raise unknown_name("tta", self.tta, TTA_MODES)
        if self.interpolation not in INTERPOLATIONS:
            raise unknown_name("interpolation", self.interpolation, INTERPOLATIONS)
        if self.image_size < 1:
            raise ExciteError(f"image size must be at least 1, got {self.image_size}", exit_code=2)
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ExciteError(
                "mean and std must have three numbers each, and std must be positive", exit_code=2
            )
        object.__setattr__(self, "mean", tuple(float(value) for value in self.mean))
        object.__setattr__(self, "std", tuple(float(value) for value in self.std))

        if self.intensity_range is not None:
            low, high = self.intensity_range
            object.__setattr__(self, "intensity_range", (float(low), float(high)))

    @property
    def geometry(self) -> str:
        """The part of the preprocessing that pixels depend on, for the key of the cache."""
        text = f"{self.resize_mode}-{self.image_size}"
        if self.interpolation != "bilinear":
            text += f"-{self.interpolation}"
        return text if self.intensity_range is None else f"{text}-{format_range(self.intensity_range)}"

    def pixels(self, image: Image.Image) -> np.ndarray:
        """Resize an upright RGB image to (image_size, image_size, 3) uint8."""
        size, method = self.image_size, Image.Resampling[self.interpolation.upper()]
        width, height = image.size
        box: tuple[float, float, float, float] = (0, 0, width, height)
        if self.resize_mode == "crop":
            side = min(width, height)
            left, top = (width - side) / 2, (height - side) / 2
            box = (left, top, left + side, top + side)
        if self.resize_mode != "pad":
            return np.asarray(image.resize((size, size), method, box=box))
        scale = size / max(width, height)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        canvas = Image.new("RGB", (size, size))
        scaled = image.resize(inner, method)
        canvas.paste(scaled, ((size - inner[0]) // 2, (size - inner[1]) // 2))
        return np.asarray(canvas)

    def to_dict(self) -> dict[str, Any]:
        """The preprocessing as JSON, which ``from_dict`` reads."""
        return asdict(self)
