"""From a picture of any shape to the square of pixels that a network sees; saved with the model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from excite.data.intensity import IntensityRange, range_text
from excite.errors import ExciteError, unknown_name

RESIZE_MODES = ("crop", "stretch", "pad")
TTA_MODES = ("none", "flip", "crops")

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """How pictures become input; the same in training, evaluation, prediction and export.

    Args:
        image_size: side of the square that the network sees, in pixels.
        fit: how a picture that is not square becomes one: ``crop`` scales the short side and cuts the
            middle out, ``squash`` scales both sides, ``pad`` scales the long side and adds black.
        mean, std: per channel (R, G, B), in units of [0, 1]; input = (pixel / 255 - mean) / std.
        views: of which views of the input the logits are the mean; see ``excite.inference.tta``.
        intensity_range: the samples that become 0 and 255 in images with more than 8 bits per channel, as
            measured over the training data; None: it had no such images.
    """

    image_size: int
    resize_mode: str = "crop"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    tta: str = "none"
    intensity_range: IntensityRange | None = None

    def __post_init__(self) -> None:
        if self.resize_mode not in RESIZE_MODES:
            raise unknown_name("fit", self.resize_mode, RESIZE_MODES)
        if self.tta not in TTA_MODES:
            raise unknown_name("views", self.tta, TTA_MODES)
        if self.image_size < 1:
            raise ExciteError(f"image size must be at least 1, not {self.image_size}", exit_code=2)
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ExciteError("mean and std need three numbers each, std above 0", exit_code=2)
        object.__setattr__(self, "mean", tuple(float(value) for value in self.mean))
        object.__setattr__(self, "std", tuple(float(value) for value in self.std))

        if self.intensity_range is not None:
            low, high = self.intensity_range
            object.__setattr__(self, "intensity_range", (float(low), float(high)))

    @property
    def geometry(self) -> str:
        """What the pixels depend on besides the picture: part of the cache's key."""
        text = f"{self.resize_mode}-{self.image_size}"
        return text if self.intensity_range is None else f"{text}-{range_text(self.intensity_range)}"

    def pixels(self, image: Image.Image) -> np.ndarray:
        """An upright RGB picture as uint8 pixels, (image_size, image_size, 3).

        Scaling is Pillow's bilinear filter, which averages over all source pixels when it shrinks.
        """
        size = self.image_size
        width, height = image.size
        box: tuple[float, float, float, float] = (0, 0, width, height)
        if self.resize_mode == "crop":
            side = min(width, height)
            left, top = (width - side) / 2, (height - side) / 2
            box = (left, top, left + side, top + side)
        if self.resize_mode != "pad":
            return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box))
        scale = size / max(width, height)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        canvas = Image.new("RGB", (size, size))
        scaled = image.resize(inner, Image.Resampling.BILINEAR)
        canvas.paste(scaled, ((size - inner[0]) // 2, (size - inner[1]) // 2))
        return np.asarray(canvas)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
