"""The evidence map: where it lies on the image, and what its colors say."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from excite.data.preprocessing import Preprocessing
from excite.serving.evidence_map import AGAINST, FOR, evidence_png, input_box


@pytest.mark.parametrize("size", [(200, 100), (90, 160), (64, 64)])
@pytest.mark.parametrize("mode", ["crop", "stretch", "pad"])
def test_the_box_is_where_the_network_looks(mode: str, size: tuple[int, int]) -> None:
    """A white spot in the image has its place in the pixels, as fractions of the box."""
    spot = (0.55, 0.45)
    image = Image.new("RGB", size)
    x, y = int(spot[0] * size[0]), int(spot[1] * size[1])
    image.paste("white", (x - 3, y - 3, x + 3, y + 3))
    pixels = Preprocessing(64, mode).pixels(image).mean(axis=2)
    rows, columns = np.mgrid[0:64, 0:64] + 0.5
    found = np.array([(pixels * columns).sum(), (pixels * rows).sum()]) / pixels.sum() / 64
    box = input_box(size, Preprocessing(64, mode))
    expected = [
        (x / size[0] - box.left) / (box.right - box.left),
        (y / size[1] - box.top) / (box.bottom - box.top),
    ]
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_orange_speaks_for_the_class_and_blue_against_it() -> None:
    evidence = np.zeros((3, 4, 4), dtype=np.float32)
    evidence[1, :, :2], evidence[1, :, 2:] = 3, -1
    evidence += 7  # changes no probability
    picture = Image.open(io.BytesIO(base64.b64decode(evidence_png(evidence, 1))))
    pixels = np.asarray(picture).astype(int)
    assert tuple(pixels[100, 20, :3]) == FOR
    assert tuple(pixels[100, -20, :3]) == AGAINST
    assert pixels[100, 20, 3] == pytest.approx(3 * pixels[100, -20, 3], rel=0.05)
    assert pixels[..., 3].max() == 255


def test_no_evidence_is_transparent() -> None:
    picture = Image.open(io.BytesIO(base64.b64decode(evidence_png(np.zeros((2, 3, 3), np.float32), 0))))
    assert np.asarray(picture)[..., 3].max() == 0
