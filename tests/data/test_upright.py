"""Pictures of every mode and orientation become upright RGB."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from excite.data.decoding import decode
from excite.data.upright import upright
from tests.data.files import COLOR, SMOOTH, encoded


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_followed_once(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(COLOR), kind, exif=exif)
    picture = decode(data)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(expected.convert("RGB")))
    assert picture.size == ((40, 24) if orientation < 5 else (24, 40))
    np.testing.assert_array_equal(np.asarray(upright(picture)), np.asarray(picture))
    opened = Image.open(io.BytesIO(data))
    np.testing.assert_array_equal(np.asarray(upright(opened)), np.asarray(picture))


def test_turning_agrees_with_numpy() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    data = encoded(Image.fromarray(COLOR), "PNG", exif=exif)
    np.testing.assert_array_equal(np.asarray(decode(data)), np.rot90(COLOR, -1))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_exif_tag_is_no_bad_picture() -> None:
    data = encoded(Image.fromarray(COLOR), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff nonsense")
    assert decode(data).size == (40, 24)


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"]
)
def test_every_mode_becomes_rgb(mode: str) -> None:
    gray = Image.fromarray(SMOOTH)
    if mode == "LAB":
        neutral = np.stack([SMOOTH, 0 * SMOOTH, 0 * SMOOTH], axis=2)
        image = Image.frombytes("LAB", (40, 24), neutral.tobytes())
    elif mode == "I;16":
        image = Image.fromarray(SMOOTH.astype(np.uint16) * 257)
    elif mode == "I":
        image = Image.fromarray(SMOOTH.astype(np.int32) * 257)
    else:
        image = gray.convert(mode)
    before = image.tobytes()
    result = upright(image, (0, 255) if mode == "F" else None)
    assert (result.mode, result.size) == ("RGB", (40, 24))
    assert image.tobytes() == before
    pixels = np.asarray(result).astype(int)
    if mode not in ("1", "LAB"):
        assert np.abs(pixels - SMOOTH[..., None]).max() <= 3  # CMYK and YCbCr round
    if mode == "LAB":
        assert np.ptp(pixels, axis=2).max() <= 6  # neutral stays neutral


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_over_white(mode: str) -> None:
    alpha = np.tile(np.array([0, 128, 255], np.uint8), (2, 1))
    image = Image.merge("LA", [Image.new("L", (3, 2), 40), Image.fromarray(alpha)])
    if mode == "P":
        image = Image.fromarray(np.tile(np.arange(3, dtype=np.uint8), (2, 1)), "P")
        image.putpalette([40] * 9)
        data = encoded(image, "PNG", transparency=bytes([0, 128, 255]))
    else:
        data = encoded(image.convert(mode), "PNG")
    expected = 40 * (alpha / 255) + 255 * (1 - alpha / 255)
    assert np.abs(np.asarray(decode(data))[..., 0] - expected).max() <= 1


def test_a_transparent_color_is_laid_over_white() -> None:
    image = Image.new("RGB", (2, 1), (10, 20, 30))
    image.putpixel((1, 0), (200, 0, 0))
    data = encoded(image, "PNG", transparency=(10, 20, 30))
    assert np.asarray(decode(data)).tolist() == [[[255, 255, 255], [200, 0, 0]]]
