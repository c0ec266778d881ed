"""What another camera, light or hand changes: how a classifier bears it can be measured at home.

Each is fixed, not drawn, so that two classifiers meet the same pictures. They imitate what augmentation can;
other patients, devices and clinics differ in more.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from excite.data.augmentation import GRAY, to_float

Corruption = Callable[[Tensor], Tensor]


def corrupt(pixels: np.ndarray, name: str) -> np.ndarray:
    """Pixels (N, S, S, 3) uint8 under the shift of that name, as pixels again."""
    images = CORRUPTIONS[name](to_float(torch.from_numpy(np.ascontiguousarray(pixels))))
    return images.clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _light(red: float, green: float, blue: float) -> Corruption:
    return lambda images: images * torch.tensor([red, green, blue]).view(1, 3, 1, 1)


def _contrast(factor: float) -> Corruption:
    def shift(images: Tensor) -> Tensor:
        level = images.mean(dim=(1, 2, 3), keepdim=True)
        return level + factor * (images - level)

    return shift


def _saturation(factor: float) -> Corruption:
    def shift(images: Tensor) -> Tensor:
        gray = (images * torch.tensor(GRAY).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
        return gray + factor * (images - gray)

    return shift


def _blurred(images: Tensor) -> Tensor:
    """A Gaussian of one hundredth of the side."""
    deviation = images.shape[-1] / 100
    reach = max(1, min(round(3 * deviation), images.shape[-1] - 1))
    steps = torch.arange(-reach, reach + 1, dtype=torch.float32)
    weights = torch.exp(-(steps**2) / (2 * deviation**2))
    weights /= weights.sum()
    padded = F.pad(images, (reach, reach, reach, reach), mode="reflect")
    rows = F.conv2d(padded, weights.view(1, 1, 1, -1).repeat(3, 1, 1, 1), groups=3)
    return F.conv2d(rows, weights.view(1, 1, -1, 1).repeat(3, 1, 1, 1), groups=3)


def _noisy(images: Tensor) -> Tensor:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return images + 0.06 * noise


def _placed(scale: float, degrees: float) -> Corruption:
    """Seen from nearer (scale below 1) and turned."""
    angle = math.radians(degrees)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)

    def shift(images: Tensor) -> Tensor:
        matrix = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]]).expand(len(images), 2, 3)
        grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)

    return shift


CORRUPTIONS: dict[str, Corruption] = {
    "darker": _light(0.6, 0.6, 0.6),
    "brighter": _light(1.4, 1.4, 1.4),
    "warm light": _light(1.15, 1.0, 0.8),
    "cold light": _light(0.8, 1.0, 1.15),
    "flat": _contrast(0.6),
    "pale": _saturation(0.4),
    "blurred": _blurred,
    "noisy": _noisy,
    "nearer": _placed(0.7, 0.0),
    "turned": _placed(0.9, 20.0),
}
