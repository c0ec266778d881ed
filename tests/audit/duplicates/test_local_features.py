"""Features and noise of a picture, and of its mirror image."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageOps
from scipy import ndimage

from excite.audit.duplicates.local_features import extract, mirrored, noise_level
from excite.audit.duplicates.photo_matching import overlay
from excite.audit.duplicates.same_photo import evidence_bits
from tests.audit.duplicates.scenes import scene


def test_noise_is_measured() -> None:
    flat = ndimage.gaussian_filter(np.random.default_rng(0).normal(0, 300, (200, 200)), 10) + 120
    for sigma in (5.0, 15.0, 25.0):
        gray = np.clip(flat + np.random.default_rng(1).normal(0, sigma, flat.shape), 0, 255).astype(np.uint8)
        assert noise_level(gray) == pytest.approx(sigma, rel=0.15)


def test_mirrored_descriptors_are_those_of_the_mirrored_picture() -> None:
    picture = scene(3)
    straight, mirror = extract(picture), extract(ImageOps.mirror(picture))
    width = straight.structure.shape[1]
    there = straight.points.copy()
    there[:, 0] = width - 1 - there[:, 0]  # where each point lies in the mirror, to half a pixel
    likeness = []
    for place, descriptor in zip(there, mirrored(straight.descriptors).astype(float), strict=True):
        near = np.linalg.norm(mirror.points - place, axis=1) < 1.5
        if near.any():
            likeness.append((mirror.descriptors[near].astype(float) @ descriptor).max() / 255**2)
    assert len(likeness) > 0.8 * len(straight)
    assert np.median(likeness) > 0.95
    seen = overlay(straight, mirror, mirror=True)
    assert seen.mirror
    assert evidence_bits(seen) > 9
    assert not overlay(straight, straight, mirror=False).mirror
