"""One image laid over another: crops, rotations, and mirror images match, unrelated images do not."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from excite.audit.duplicates.local_features import extract, mirrored
from excite.audit.duplicates.photo_matching import NOTHING, overlay


def picture(seed: int) -> Image.Image:
    """Blobs of several sizes, as photos have."""
    random = np.random.default_rng(seed)
    layers = [
        np.asarray(
            Image.fromarray(random.integers(0, 256, (side, side), dtype=np.uint8)).resize(
                (256, 256), Image.Resampling.BICUBIC
            ),
            dtype=float,
        )
        for side in (8, 16, 32, 64)
    ]
    luma = np.clip(np.mean(layers, axis=0) * 1.6 - 70, 20, 235).astype(np.uint8)
    return Image.fromarray(luma).convert("RGB")


CHANGES = {
    "saved again": lambda image: image.filter(ImageFilter.GaussianBlur(0.7)),
    "cropped": lambda image: image.crop((30, 40, 230, 240)),
    "rotated": lambda image: image.rotate(20, expand=True),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_copy_is_aligned_with_its_original(name: str) -> None:
    image = picture(0)
    seen = overlay(extract(image), extract(CHANGES[name](image)), mirror=False)
    assert seen.correlation > 0.65
    assert seen.agreeing >= 16
    assert not seen.mirror


def test_a_mirror_image_is_recognized() -> None:
    image = picture(0)
    flipped = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    seen = overlay(extract(image), extract(flipped), mirror=True)
    assert seen.correlation > 0.65
    assert seen.mirror


def test_unrelated_images_do_not_match() -> None:
    seen = overlay(extract(picture(0)), extract(picture(1)), mirror=False)
    assert seen.correlation < 0.4 or seen.agreeing < 8


def test_a_flat_image_has_no_features() -> None:
    flat = extract(Image.new("RGB", (200, 200), (99, 99, 99)))
    assert len(flat) == 0
    assert overlay(flat, extract(picture(0)), mirror=False) == NOTHING


def test_mirrored_twice_is_the_descriptor() -> None:
    descriptors = extract(picture(2)).descriptors
    assert np.array_equal(mirrored(mirrored(descriptors)), descriptors)
