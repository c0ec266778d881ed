"""Augmentation of whole batches on the device, as a pure function of pixels and random numbers.

A draw is a row of uniform numbers in [0, 1), one row per image. There is no random state, so that the same
numbers give the same batch in one process or several, and after a resume. No value is read back from the
device, which would make it wait.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from excite.data.seeded_transform import SeededTransform
from excite.errors import BAD_USAGE, ExciteError
from excite.plugins.registry import register_built_in

DRAWS = 14  # uniform numbers per image, and what each of them decides
CROP, FLIP, COLOR, ERASE, TINT = slice(0, 4), slice(4, 6), slice(6, 9), slice(9, 11), slice(11, 14)

# Luma weights of ITU-R BT.601, as in Pillow's conversion to gray.
GRAY = (0.299, 0.587, 0.114)

# Smallest and largest value of each parameter.
LIMITS = {
    "area": (0.01, 1.0),
    "aspect": (1.0, 10.0),
    "horizontal_flip": (0.0, 1.0),
    "vertical_flip": (0.0, 1.0),
    "rotation": (0.0, 180.0),
    "brightness": (0.0, 1.0),
    "contrast": (0.0, 1.0),
    "saturation": (0.0, 1.0),
    "tint": (0.0, 1.0),
    "erase": (0.0, 1.0),
    "mixup": (0.0, 100.0),
    "cutmix": (0.0, 100.0),
}


@dataclass(frozen=True)
class Augmentation:
    """How much each image may be changed in training.

    Args:
        area: smallest fraction of the area that a random resized crop retains; a crop that would exceed the
            image after stretching is clipped to it, and retains at least 1 / aspect.
        aspect: largest ratio of the sides of the crop, in either direction, relative to that of the image.
        horizontal_flip, vertical_flip: probabilities.
        rotation: largest angle in degrees, in either direction.
        brightness, contrast, saturation: largest relative change, in either direction.
        tint: largest relative change of each of red, green, and blue independently, as by another light.
        erase: probability of a gray rectangle with 15 to 50 % of each side of the image (https://arxiv.org/abs/1708.04896).
        mixup, cutmix: parameter of the Beta distribution of the mixing fraction
            (https://arxiv.org/abs/1710.09412, https://arxiv.org/abs/1905.04899); 0 is off. If both are on,
            one of them is drawn for each batch.
        transform: a plug-in's augmentation, which follows the flips and takes the place of all others.

    Raises:
        ExciteError: for a value outside its limits.
    """

    area: float = 1.0
    aspect: float = 1.0
    horizontal_flip: float = 0.0
    vertical_flip: float = 0.0
    rotation: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    tint: float = 0.0
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    transform: SeededTransform | None = None

    def __post_init__(self) -> None:
        for name, (low, high) in LIMITS.items():
            raw = getattr(self, name)
            try:
                value = float(raw)  # YAML reads 1e-3 as text
            except (TypeError, ValueError):
                value = math.nan
            if not low <= value <= high:
                raise ExciteError(
                    f"must be a number from {low:g} to {high:g}, got {raw!r}",
                    where=name,
                    exit_code=BAD_USAGE,
                )
            object.__setattr__(self, name, value)

    @property
    def moves(self) -> bool:
        """Whether images are resampled; flips alone are cheaper."""
        return self.area < 1 or self.aspect > 1 or self.rotation > 0

    @property
    def adjusts_color(self) -> bool:
        """Whether brightness, contrast, or saturation changes; ``tint`` is applied separately."""
        return max(self.brightness, self.contrast, self.saturation) > 0

    @property
    def mixes(self) -> bool:
        """Whether images of a batch are mixed."""
        return max(self.mixup, self.cutmix) > 0


PRESETS = {
    "none": Augmentation(),
    "quick": Augmentation(area=0.7, aspect=1.15),
    "standard": Augmentation(
        area=0.5, aspect=4 / 3, rotation=15, brightness=0.2, contrast=0.2, saturation=0.2
    ),
    # For small data sets. Hue is kept, because color may be diagnostic.
    "small": Augmentation(
        area=0.3,
        aspect=4 / 3,
        rotation=20,
        brightness=0.3,
        contrast=0.3,
        saturation=0.3,
        tint=0.1,
        mixup=0.4,
    ),
    "best": Augmentation(
        area=0.35,
        aspect=4 / 3,
        rotation=20,
        brightness=0.3,
        contrast=0.3,
        saturation=0.3,
        erase=0.1,
        mixup=0.2,
        cutmix=1.0,
    ),
}
register_built_in(
    "augmentation", __name__, ((name, partial(replace, each)) for name, each in PRESETS.items())
)


def to_float(pixels: Tensor) -> Tensor:
    """Pixels (N, H, W, 3) uint8 -> images (N, 3, H, W) float32 in [0, 1], channels-last in memory."""
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(255)


def normalize(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] -> (image - mean) / std, in place; mean and std (3,)."""
    return images.sub_(mean.view(1, 3, 1, 1)).div_(std.view(1, 3, 1, 1))


def augment(pixels: Tensor, draws: Tensor, augmentation: Augmentation, seeds: Sequence[int] = ()) -> Tensor:
    """Pixels (N, H, W, 3) uint8 and draws (N, DRAWS) -> images (N, 3, H, W) float32 in [0, 1].

    Args:
        seeds: of a plug-in's augmentation, one for each image; with ``whole_batch``, one for all.
    """
    draws = draws.to(pixels.device)
    if not augmentation.moves:  # flips need no interpolation, and are cheapest on uint8
        horizontal, vertical = draws[:, FLIP].unbind(dim=1)
        if augmentation.horizontal_flip > 0:
            pixels = _flip(pixels, horizontal < augmentation.horizontal_flip, 2)
        if augmentation.vertical_flip > 0:
            pixels = _flip(pixels, vertical < augmentation.vertical_flip, 1)
    if augmentation.transform is not None:
        return augmentation.transform(pixels, seeds)
    images = to_float(pixels)
    if augmentation.moves:
        images = _resample(images, draws[:, CROP], draws[:, FLIP], augmentation)
    if augmentation.adjusts_color:
        images = _adjust_color(images, draws[:, COLOR], augmentation)
    if augmentation.tint > 0:
        images = images.mul_(1 + augmentation.tint * (2 * draws[:, TINT, None, None] - 1)).clamp_(0, 1)
    if augmentation.erase > 0:
        images = _erase(images, draws[:, ERASE], augmentation)
    return images


def _flip(pixels: Tensor, chosen: Tensor, axis: int) -> Tensor:
    return torch.where(chosen.view(-1, 1, 1, 1), pixels.flip(axis), pixels)


def _resample(images: Tensor, crop: Tensor, flip: Tensor, augmentation: Augmentation) -> Tensor:
    """Crop, stretch, rotate, and flip in one bilinear sampling, so that pixels are interpolated once."""
    height, width = images.shape[-2:]
    area, aspect, x, y = crop.unbind(dim=1)
    horizontal, vertical = flip.unbind(dim=1)
    area = 1 - area * (1 - augmentation.area)
    stretch = torch.exp((2 * aspect - 1) * math.log(augmentation.aspect) / 2)
    # Half sides of the crop in units where the image is [-1, 1]; a crop never exceeds the image.
    half_w, half_h = (area.sqrt() * stretch).clamp(max=1), (area.sqrt() / stretch).clamp(max=1)
    center_x, center_y = (2 * x - 1) * (1 - half_w), (2 * y - 1) * (1 - half_h)
    flip_x = 1 - 2 * (horizontal < augmentation.horizontal_flip).float()
    flip_y = 1 - 2 * (vertical < augmentation.vertical_flip).float()
    angle = (_low_digits(aspect) * 2 - 1) * math.radians(augmentation.rotation)
    cos, sin = angle.cos(), angle.sin()
    height_over_width = height / width
    # From output to input positions, as affine_grid expects.
    matrix = torch.stack(
        [
            torch.stack([cos * half_w * flip_x, -sin * half_h * flip_y * height_over_width, center_x], dim=1),
            torch.stack([sin * half_w * flip_x / height_over_width, cos * half_h * flip_y, center_y], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _low_digits(draw: Tensor) -> Tensor:
    """A second uniform number of each draw: its low digits, which are independent of its high ones."""
    return (draw * 4096).frac()


def _adjust_color(images: Tensor, draws: Tensor, augmentation: Augmentation) -> Tensor:
    """Saturation, contrast and brightness, all linear in a pixel and its gray level, in one expression."""
    limits = (augmentation.brightness, augmentation.contrast, augmentation.saturation)
    brightness, contrast, saturation = (
        (1 + (2 * draw - 1) * limit).view(-1, 1, 1, 1)
        for draw, limit in zip(draws.unbind(dim=1), limits, strict=True)
    )
    red, green, blue = images.split(1, dim=1)
    gray = (red * GRAY[0]).add_(green, alpha=GRAY[1]).add_(blue, alpha=GRAY[2])
    level = gray.mean(dim=(2, 3), keepdim=True)  # saturation does not change the mean gray level
    scale = brightness * contrast
    gray.mul_(scale * (1 - saturation)).add_(brightness * (1 - contrast) * level)
    return torch.addcmul(gray, images, scale * saturation).clamp_(0, 1)


def _erase(images: Tensor, draws: Tensor, augmentation: Augmentation) -> Tensor:
    height, width = images.shape[-2:]
    choice, place = draws.unbind(dim=1)
    chosen = choice < augmentation.erase
    side = 0.15 + 0.35 * (choice / augmentation.erase)  # uniform in [0.15, 0.5) of the chosen images
    top, left = place * (1 - side), _low_digits(place) * (1 - side)
    inside_rows = _between(height, top, top + side) & chosen[:, None]
    inside_columns = _between(width, left, left + side)
    return images.masked_fill_((inside_rows[:, :, None] & inside_columns[:, None, :])[:, None], 0.5)


def _between(size: int, start: Tensor, stop: Tensor) -> Tensor:
    """The pixels of a side of ``size`` from start to stop, fractions (N,) rounded down: mask (N, size)."""
    places = torch.arange(size, device=start.device)
    # Exact in float64; in float32 the product could be rounded up to the next pixel.
    first, last = (start.double() * size).long(), (stop.double() * size).long()
    return (places >= first[:, None]) & (places < last[:, None])


@dataclass(frozen=True)
class Mixing:
    """How one batch is mixed.

    Args:
        partners: (B,) index of the image in the batch that each image is mixed with.
        share: fraction of the image itself, in [0, 1]; lambda in the papers.
        box: (top, bottom, left, right) as fractions of the sides for CutMix; None for mixup.
    """

    partners: Tensor
    share: float
    box: tuple[float, float, float, float] | None


def draw_mixing(size: int, augmentation: Augmentation, generator: torch.Generator) -> Mixing:
    """Draw the mixing of a batch of ``size`` images."""
    partners = torch.randperm(size, generator=generator)
    coin, u, v = torch.rand(3, generator=generator).tolist()
    cut = augmentation.cutmix > 0 and (augmentation.mixup == 0 or coin < 0.5)
    alpha = augmentation.cutmix if cut else augmentation.mixup
    # Beta(a, a) from two gamma draws; torch's own generator keeps this independent of global state.
    gammas = torch._standard_gamma(torch.full((2,), alpha, dtype=torch.float64), generator=generator)
    total = float(gammas.sum())
    share = float(gammas[0]) / total if total > 0 else 0.5
    if not cut:
        return Mixing(partners, share, None)
    half = math.sqrt(1 - share) / 2
    box = (max(0.0, u - half), min(1.0, u + half), max(0.0, v - half), min(1.0, v + half))
    return Mixing(partners, share, box)


def mix(
    images: Tensor, others: Tensor, targets: Tensor, other_targets: Tensor, mixing: Mixing
) -> tuple[Tensor, Tensor]:
    """Mix images (N, 3, H, W) and targets (N, C) with those of their partners."""
    share = mixing.share
    if mixing.box is None:
        mixed = torch.lerp(others, images, share)
    else:
        height, width = images.shape[-2:]
        top, bottom = round(mixing.box[0] * height), round(mixing.box[1] * height)
        left, right = round(mixing.box[2] * width), round(mixing.box[3] * width)
        mixed = images.clone()
        mixed[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
        share = 1 - (bottom - top) * (right - left) / (height * width)
    # An unmixed image keeps its targets, also where the partner's are unknown (NaN).
    return mixed, targets if share == 1 else share * targets + (1 - share) * other_targets
