"""Each corruption changes its own property, reproducibly."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from excite.data.corruptions import CORRUPTIONS, corrupt

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_changes_pixels_reproducibly_and_keeps_their_shape(name: str) -> None:
    before = PIXELS.copy()
    first, second = corrupt(PIXELS, name), corrupt(PIXELS, name)
    assert first.dtype == np.uint8
    assert first.shape == PIXELS.shape
    assert np.array_equal(first, second)
    assert np.array_equal(PIXELS, before)
    assert np.abs(first.astype(int) - PIXELS).mean() > 2


def test_darker_and_pale_are_pillows() -> None:
    dark = np.asarray(ImageEnhance.Brightness(Image.fromarray(PIXELS[0])).enhance(0.6))
    pale = np.asarray(ImageEnhance.Color(Image.fromarray(PIXELS[0])).enhance(0.4))
    assert np.abs(corrupt(PIXELS, "darker")[0].astype(int) - dark).max() <= 1
    assert np.abs(corrupt(PIXELS, "pale")[0].astype(int) - pale).max() <= 2


def test_light_is_warm_or_cold_and_leaves_green() -> None:
    gray = np.full((1, 8, 8, 3), 100, dtype=np.uint8)
    warm, cold = corrupt(gray, "warm light")[0, 0, 0], corrupt(gray, "cold light")[0, 0, 0]
    assert warm.tolist() == [115, 100, 80]
    assert cold.tolist() == [80, 100, 115]


def test_blur_and_contrast_keep_the_mean_and_lower_the_spread() -> None:
    for name in ("blurred", "flat"):
        changed = corrupt(PIXELS, name).astype(float)
        assert changed.mean() == pytest.approx(PIXELS.mean(), abs=2)
        assert changed.std() < 0.95 * PIXELS.std()


def test_nearer_enlarges_the_center() -> None:
    image = np.zeros((1, 40, 40, 3), dtype=np.uint8)
    image[:, 6:34, 6:34] = 255  # 28 of 40, the part that stays in view
    assert corrupt(image, "nearer")[0, 1:-1, 1:-1].min() == 255
    assert corrupt(image, "nearer").mean() > image.mean()
