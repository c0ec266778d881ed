"""Weights of images that balance classes, labels, or photos."""

from __future__ import annotations

import numpy as np
import torch

from excite.data.labels import ABSENT, PRESENT
from excite.data.manifest import Manifest


def class_weights(manifest: Manifest, *, by_photo: bool = False) -> torch.Tensor:
    """(C,) inverse class frequencies with mean 1 over the images, or over the photos with ``by_photo``."""
    photos = photo_weights(manifest) if by_photo else None
    counts = np.bincount(manifest.targets(), photos, len(manifest.classes))
    return torch.tensor(counts.sum() / (len(manifest.classes) * counts), dtype=torch.float32)


def label_weights(manifest: Manifest, *, by_photo: bool = False) -> torch.Tensor:
    """(L, 2) weights of the values 0 and 1 of each label, inverse to their frequency; their mean is 1.

    The ratio of both is the ``pos_weight`` of ``torch.nn.BCEWithLogitsLoss``: absent images per present one.
    """
    photos, values = photo_weights(manifest) if by_photo else np.ones(len(manifest)), manifest.targets()
    counts = np.stack([photos @ (values == ABSENT), photos @ (values == PRESENT)], axis=1)
    return torch.tensor(counts.sum(axis=1, keepdims=True) / (2 * counts), dtype=torch.float32)


def photo_weights(manifest: Manifest) -> np.ndarray:
    """(N,) one over the number of copies of each image's photo, so that all photos have equal weight."""
    codes = manifest.photo_codes()
    return np.asarray(1 / np.bincount(codes)[codes])
