"""Weights of images that balance classes or photos."""

from __future__ import annotations

import numpy as np
import torch

from excite.data.manifest import Manifest


def class_weights(manifest: Manifest, *, by_photo: bool = False) -> torch.Tensor:
    """(C,) inverse class frequencies with mean 1 over the images, or over the photos with ``by_photo``."""
    photos = photo_weights(manifest) if by_photo else None
    counts = np.bincount(manifest.targets(), photos, len(manifest.classes))
    return torch.tensor(counts.sum() / (len(manifest.classes) * counts), dtype=torch.float32)


def photo_weights(manifest: Manifest) -> np.ndarray:
    """(N,) one over the number of copies of each image's photo, so that all photos have equal weight."""
    codes = manifest.photo_codes()
    return np.asarray(1 / np.bincount(codes)[codes])
