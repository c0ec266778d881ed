"""How much images count, where classes or photos are to count alike."""

from __future__ import annotations

import numpy as np
import torch

from excite.data.manifest import Manifest


def class_weights(manifest: Manifest, *, by_photo: bool = False) -> torch.Tensor:
    """(C,) weights that make classes count alike, with mean 1 over the images or over the photos."""
    photos = photo_weights(manifest) if by_photo else None
    counts = np.bincount(manifest.targets(), photos, len(manifest.classes))
    return torch.tensor(counts.sum() / (len(manifest.classes) * counts), dtype=torch.float32)


def photo_weights(manifest: Manifest) -> np.ndarray:
    """(N,) 1 over the number of copies of each image's photo: all photos count alike."""
    codes = manifest.photo_codes()
    return np.asarray(1 / np.bincount(codes)[codes])
