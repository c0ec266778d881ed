"""The photo inside black or white borders."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from excite.audit.duplicates.content_mask import content_mask
from tests.audit.duplicates.scenes import scene


@pytest.mark.parametrize("border", [0, 255])
def test_a_border_is_outside_and_its_margin_too(border: int) -> None:
    gray = np.full((60, 80), border, np.uint8)
    gray[20:40, 20:60] = 128
    mask = content_mask(gray, margin=2)
    expected = np.zeros_like(gray)
    expected[22:38, 22:58] = 1
    assert np.array_equal(mask, expected)


def test_dark_areas_inside_the_photo_are_part_of_it() -> None:
    gray = np.full((60, 80), 128, np.uint8)
    gray[20:40, 20:60] = 0
    assert content_mask(gray).all()


def test_a_small_shadow_at_the_edge_belongs_to_the_photo() -> None:
    gray = np.full((100, 100), 128, np.uint8)
    gray[:5, :5] = 0  # 0.25 % of the image
    assert content_mask(gray).all()


def test_black_corners_are_outside_and_a_dark_photo_is_not() -> None:
    turned = np.asarray(scene(1).rotate(30).convert("L"))
    truth = np.asarray(Image.new("L", (224, 200), 255).rotate(30)) > 0
    assert (content_mask(turned) == truth).mean() > 0.9
    assert content_mask(turned)[~truth].max() == 0
    assert content_mask(np.full((50, 50), 90, np.uint8)).all()
